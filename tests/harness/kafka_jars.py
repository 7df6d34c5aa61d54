"""The jars of Apache Kafka's broker, from Maven Central, kept in the user's cache folder.

They are resolved into a folder of their own and moved into place in one step, with a list of names and sizes: a
download that was interrupted, or a cache that somebody half emptied, is seen and repaired.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import platformdirs

from embedwatch.errors import EmbedwatchError
from embedwatch.processes import Child

POM = Path(__file__).with_name("kafka-pom.xml")
MIN_JAVA = 17
RESOLVE_TIMEOUT_SECONDS = 300.0
_LIST = "jars.json"


class CannotRun(EmbedwatchError):
    """Apache Kafka cannot run here. The text is one line for the skip reason."""


def kafka_version() -> str:
    found = re.search(r"<kafka\.version>([^<]+)</kafka\.version>", POM.read_text(encoding="utf-8"))
    if found is None:
        raise RuntimeError(f"{POM} names no kafka.version")
    return found.group(1)


def cache_folder() -> Path:
    """Where the jars are kept; another pom means another folder."""
    digest = hashlib.sha256(POM.read_bytes()).hexdigest()[:8]
    return Path(platformdirs.user_cache_dir("embedwatch")) / f"apache-kafka-{kafka_version()}-{digest}"


def java_program() -> str | None:
    """`java` of JAVA_HOME, else of PATH."""
    home = os.environ.get("JAVA_HOME")
    if home and (Path(home) / "bin" / "java").is_file():
        return str(Path(home) / "bin" / "java")
    return shutil.which("java")


def java_major(program: str) -> int | None:
    """17 for Java 17; None when it does not run (a stand-in without a runtime, as macOS has)."""
    try:
        out = subprocess.run([program, "-version"], capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    found = re.search(r'version "(?:1\.)?(\d+)', out.stderr + out.stdout)
    return int(found.group(1)) if found else None


def why_not() -> str | None:
    """One line that says why Apache Kafka cannot run here; None when it can, as far as that is seen without network."""
    java = java_program()
    if java is None:
        return f"Apache Kafka {kafka_version()} needs Java {MIN_JAVA} or newer, and there is no java on PATH"
    major = java_major(java)
    if major is None or major < MIN_JAVA:
        have = "does not run" if major is None else f"is Java {major}"
        return f"Apache Kafka {kafka_version()} needs Java {MIN_JAVA} or newer, and {java} {have}"
    if not intact(cache_folder()) and shutil.which("mvn") is None:
        return f"Apache Kafka {kafka_version()} is fetched once with Maven, and there is no mvn on PATH"
    return None


def intact(folder: Path) -> bool:
    """Whether every jar of the list is there in full."""
    try:
        sizes = json.loads((folder / _LIST).read_text(encoding="utf-8"))
        return bool(sizes) and all((folder / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError, AttributeError):
        return False


def resolve(say: Callable[[str], None] = lambda _: None, folder: Path | None = None) -> Path:
    """The folder with the jars, fetched when it is missing or damaged. Raises `CannotRun`."""
    folder = folder or cache_folder()
    if intact(folder):
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as scratch:
        fresh = Path(scratch) / "jars"
        say(f"fetching Apache Kafka {kafka_version()} from Maven Central (about 45 MB, once)")
        _run_maven(fresh, Path(scratch) / "maven.log")
        sizes = {jar.name: jar.stat().st_size for jar in sorted(fresh.glob("*.jar"))}
        if f"kafka_2.13-{kafka_version()}.jar" not in sizes:
            raise CannotRun(f"Maven did not bring Apache Kafka {kafka_version()}; see {POM}")
        (fresh / _LIST).write_text(json.dumps(sizes, indent=1), encoding="utf-8")
        if folder.exists() and not intact(folder):
            folder.rename(Path(scratch) / "damaged")
        try:
            fresh.rename(folder)
        except OSError:
            if not intact(folder):  # else another run was faster
                raise
    return folder


def _run_maven(target: Path, log: Path) -> None:
    program = shutil.which("mvn")
    if program is None:
        raise CannotRun(f"Apache Kafka {kafka_version()} is fetched once with Maven, and there is no mvn on PATH")
    command = [program, "-B", "-q", "-f", str(POM), "dependency:copy-dependencies", f"-DoutputDirectory={target}"]
    with Child("Maven", [*command, "-DincludeScope=runtime"], log) as maven:
        try:
            status = maven.process.wait(RESOLVE_TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            raise CannotRun(f"Maven did not fetch Apache Kafka within {RESOLVE_TIMEOUT_SECONDS:.0f} s") from None
        if status != 0:
            errors = [line for line in maven.last_words(40).splitlines() if "ERROR" in line] or [maven.last_words(1)]
            raise CannotRun(f"Maven could not fetch Apache Kafka {kafka_version()}: {errors[0][:300]}")
