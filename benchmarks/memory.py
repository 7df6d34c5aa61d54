"""How much memory processes take, for docs/explanation/sizing.md: `python -m benchmarks.memory`. Linux only.

No claims, as nothing is promised: agents with few and with 1,000 scopes, and a Python process with and without the SDK.
"""

from __future__ import annotations

import json
import platform
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

from benchmarks import rig
from benchmarks.agents_recovery import MODELS, TENANTS
from benchmarks.agents_rig import Agents, batch_events, encoded

TEXTS = 16
#: What a call of the SDK takes is kept until it is sent: enough that each kind of object was there.
CALLS = 20_000

_SDK = """
import re, sys
def rss():
    return int(re.search(r"VmRSS:\\s+(\\d+)", open("/proc/self/status").read())[1]) * 1024
server, calls = sys.argv[1], int(sys.argv[2])
found = {"python": rss()}
from embedwatch import Monitor
found["monitor_imported"] = rss()
monitor = Monitor("text-embedding-3-small", tenant="search")
for _ in range(calls):
    with monitor.call("text") as call:
        call.usage(tokens=1)
monitor.flush(10)
found["monitor_calls"] = rss()
monitor.close(5)
from embedwatch.sdk import KafkaSink
monitor = Monitor("text-embedding-3-small", [KafkaSink(server, topic_prefix=sys.argv[3])], tenant="search")
for _ in range(calls):
    with monitor.call("text") as call:
        call.usage(tokens=1)
monitor.flush(10)
found["kafka_sink_calls"] = rss()
monitor.close(5)
import json
print(json.dumps(found))
"""


def status_bytes(pid: int, name: str) -> int:
    """`VmRSS` is what a process has now, `VmHWM` the most it had."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


def agents_bytes(agents: Agents, models: int, tenants: int, *, every_seconds: int) -> dict[str, float]:
    """Each model of each tenant has an event each `every_seconds` of the last hour, and one an hour of the last day."""
    hour, day, now = 3600 // every_seconds, 24, time.time()
    pairs = models * tenants
    made = encoded(
        batch_events(pairs * day, TEXTS, first_seconds=now - 86_400, seconds=82_800, models=models, tenants=tenants)
    )
    made += encoded(
        batch_events(pairs * hour, TEXTS, first_seconds=now - 3500, seconds=3500, models=models, tenants=tenants)
    )
    agents.send(made)
    with agents.running() as child:
        agents.wait_texts(child, len(made) * TEXTS)
        time.sleep(30)  # several windows close, and the garbage of the way there is collected
        assert child.pid is not None
        return {
            "scopes": len(agents.get("/api/v1/scopes")["scopes"]),
            "events": len(made),
            "rss_mb": status_bytes(child.pid, "VmRSS") / 1e6,
            "peak_rss_mb": status_bytes(child.pid, "VmHWM") / 1e6,
        }


def sdk_bytes(server: str) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, "-c", _SDK, server, str(CALLS), f"bench-{uuid.uuid4().hex[:8]}"],
        capture_output=True, timeout=120, check=True, text=True,
    )  # fmt: skip
    return {name: value / 1e6 for name, value in json.loads(done.stdout).items()}


def main() -> None:
    print(f"on {platform.machine()}, Python {platform.python_version()}")
    with tempfile.TemporaryDirectory() as folder, rig.broker() as broker:
        print(
            "SDK process, MB:", {name: round(value, 1) for name, value in sdk_bytes(broker.bootstrap_servers).items()}
        )
        for models, tenants in ((1, 1), (MODELS, TENANTS)):
            agents = Agents(
                broker, Path(folder), f"bench-{uuid.uuid4().hex[:8]}", max_scopes=1250, lag_interval_seconds=5
            )
            found = agents_bytes(agents, models, tenants, every_seconds=60)
            print("agents:", {name: round(value, 1) for name, value in found.items()}, flush=True)


if __name__ == "__main__":
    main()
