"""One target under atheris, which owns its process: `python -m tests.fuzz.one TARGET [options of libFuzzer]`."""

from __future__ import annotations

import logging
import sys


def main() -> None:
    import atheris

    packages = ["embedwatch", "producers", "workers", "stream_agents", "alerting"]
    with atheris.instrument_imports(include=packages):
        from tests.fuzz.all import TARGETS
    logging.disable(logging.CRITICAL)
    target = TARGETS[sys.argv[1]]
    atheris.Setup([sys.argv[0], *sys.argv[2:]], target)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
