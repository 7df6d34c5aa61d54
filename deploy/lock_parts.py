"""Cut a lock file of requirements/ into what an image's build needs, hashes and markers kept. Standard library only.

python lock_parts.py run requirements/worker.txt              packages of the running image
python lock_parts.py run-without-torch requirements/worker.txt   the same, torch and its CUDA packages left out
python lock_parts.py build requirements/worker.txt            what builds our own wheel
python lock_parts.py torch-version requirements/worker.txt    the version of torch that the lock names
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

#: Hatchling and what it needs. `packaging` is needed at run time too.
BUILD = frozenset({"editables", "hatchling", "packaging", "pathspec", "pluggy", "tomlkit", "trove-classifiers"})
#: Not needed beside a CPU build of torch. nvidia-ml-py is ours: it reads the GPU's counters and is tiny.
CUDA = re.compile(r"torch|triton|cuda-.*|nvidia-(?!ml-py).*")


def requirements(lock: str) -> dict[tuple[str, str], str]:
    """(name, version and marker) -> the requirement with its hash lines, in the lock's order."""
    found = {}
    for block in re.findall(r"^[A-Za-z0-9].*(?:\n[ \t]+.*)*", lock, re.M):
        name, rest = re.match(r"([A-Za-z0-9._-]+)(?:\[[^\]]*\])?(.*)", block).groups()  # type: ignore[union-attr]
        found[(name.lower(), rest.strip())] = block + "\n"
    return found


def part(lock: str, which: str) -> str:
    """One of the parts named above. Raises `ValueError` for a lock without torch where its version is asked for."""
    blocks = requirements(lock)
    if which == "torch-version":
        versions = {re.sub(r"==([^ ;]+).*", r"\1", rest) for name, rest in blocks if name == "torch"}
        if len(versions) != 1:
            raise ValueError(f"expected one version of torch in the lock, found {sorted(versions) or 'none'}")
        return f"{versions.pop()}\n"
    return "".join(block for (name, _), block in blocks.items() if _wanted(name, which))


def _wanted(name: str, which: str) -> bool:
    if which == "build":
        return name in BUILD
    if which not in ("run", "run-without-torch"):
        raise KeyError(which)
    if which == "run-without-torch" and CUDA.fullmatch(name):
        return False
    return name == "packaging" or name not in BUILD


if __name__ == "__main__":
    try:
        sys.stdout.write(part(Path(sys.argv[2]).read_text(), sys.argv[1]))
    except (IndexError, KeyError):
        sys.exit(__doc__)
    except (OSError, ValueError) as error:
        sys.exit(f"lock_parts: {sys.argv[2]}: {error}")
