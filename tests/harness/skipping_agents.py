"""`embedwatch agents` whose consumer loses records on the way, as Faust was seen to do after a recovery.

    python -m tests.harness.skipping_agents PARTITION:FIRST-LAST[,...] agents ...

Each stretch of offsets is withheld once, when it is first fetched; what the log holds is untouched. Only then is the
command run, as a user would.
"""

from __future__ import annotations

import sys
from typing import Any

from embedwatch.cli import main
from stream_agents import runtime
from stream_agents.transport import ReadCommittedThread


def skip(stretches: dict[int, tuple[int, int]]) -> None:
    fetch = ReadCommittedThread.getmany

    async def getmany(self: ReadCommittedThread, active: Any, timeout: float) -> Any:
        fetched = await fetch(self, active, timeout)
        kept = {}
        for tp, records in fetched.items():
            if tp.topic.endswith(".metrics") and tp.partition in stretches:
                first, last = stretches[tp.partition]
                passed = [record for record in records if not first <= record.offset <= last]
                if len(passed) < len(records):
                    print(f"withheld {len(records) - len(passed)} of partition {tp.partition}", file=sys.stderr)
                if any(record.offset >= last for record in records):
                    del stretches[tp.partition]  # the whole stretch went by: it is delivered when sought back
                records = passed
            kept[tp] = records
        return kept

    ReadCommittedThread.getmany = getmany


if __name__ == "__main__":
    wanted: dict[int, tuple[int, int]] = {}
    for part in sys.argv.pop(1).split(","):
        partition, _, span = part.partition(":")
        first, _, last = span.partition("-")
        wanted[int(partition)] = (int(first), int(last))
    skip(wanted)
    runtime.IDLE_CHECK_SECONDS = 1.0  # nobody else sends anything here: a partition that stands still is soon compared
    main()
