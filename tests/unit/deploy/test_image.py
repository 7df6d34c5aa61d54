"""deploy/Dockerfile and the cutting of lock files, as far as they can be judged without an engine."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path

import pytest

from deploy.lock_parts import part, requirements

LOCKS = ("agents", "worker", "all")


@pytest.fixture(scope="session")
def dockerfile(root: Path) -> list[list[str]]:
    """Its instructions as words, continuation lines joined, comments left out."""
    text = re.sub(r"^\s*#.*\n", "", (root / "deploy" / "Dockerfile").read_text(), flags=re.M)
    return [shlex.split(line) for line in text.replace("\\\n", " ").splitlines() if line.strip()]


def copied(dockerfile: list[list[str]]) -> list[str]:
    """What is copied out of the checkout."""
    copies = [words[1:-1] for words in dockerfile if words[0] == "COPY" and not words[1].startswith("--from")]
    return [source for sources in copies for source in sources]


def test_what_is_copied_exists_and_is_let_through(root: Path, dockerfile: list[list[str]]) -> None:
    ignore = [line for line in (root / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert ignore[0] == "*"
    let_through = {line.removeprefix("!") for line in ignore if line.startswith("!")}
    assert set(copied(dockerfile)) == let_through
    assert all((root / source).exists() for source in let_through)


def test_every_package_of_the_wheel_is_copied(root: Path, dockerfile: list[list[str]]) -> None:
    project = tomllib.loads((root / "pyproject.toml").read_text())
    packages = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert {f"{name}/" for name in packages} <= set(copied(dockerfile))
    assert project["project"]["readme"] in copied(dockerfile)


def test_the_image_runs_embedwatch_itself_and_not_as_root(dockerfile: list[list[str]]) -> None:
    final = dockerfile[max(i for i, words in enumerate(dockerfile) if words[0] == "FROM") :]
    by_name = {words[0]: words[1:] for words in final}
    assert by_name["ENTRYPOINT"] == ["[embedwatch]"]  # exec form: signals reach it
    assert by_name["USER"] == ["embedwatch"]
    assert by_name["STOPSIGNAL"] == ["SIGTERM"]
    assert "PYTHONUNBUFFERED=1" in by_name["ENV"]


def test_the_python_of_the_image_is_one_that_the_project_allows(root: Path, dockerfile: list[list[str]]) -> None:
    (version,) = [w[1].removeprefix("PYTHON_VERSION=") for w in dockerfile if w[1].startswith("PYTHON_VERSION=")]
    allowed = tomllib.loads((root / "pyproject.toml").read_text())["project"]["requires-python"]
    low, high = re.fullmatch(r">=3\.(\d+),<3\.(\d+)", allowed).groups()  # type: ignore[union-attr]
    assert int(low) <= int(version.removeprefix("3.")) < int(high)


@pytest.mark.parametrize("name", LOCKS)
def test_no_requirement_is_lost_and_each_keeps_its_hashes(root: Path, name: str) -> None:
    lock = (root / "requirements" / f"{name}.txt").read_text()
    run, build = requirements(part(lock, "run")), requirements(part(lock, "build"))
    assert run | build == requirements(lock)
    assert {package for package, _ in run.keys() & build.keys()} == {"packaging"}
    assert "".join(requirements(lock).values()) == lock.split("\n", 1)[1]
    assert all("--hash=sha256:" in block for block in (run | build).values())


def test_an_image_holds_no_build_tools(root: Path) -> None:
    for name in LOCKS:
        run = {package for package, _ in requirements(part((root / f"requirements/{name}.txt").read_text(), "run"))}
        assert not run & {"hatchling", "editables", "pip"}


def test_the_image_of_the_agents_holds_no_torch_and_that_of_the_worker_no_faust(root: Path) -> None:
    agents = {package for package, _ in requirements((root / "requirements/agents.txt").read_text())}
    worker = {package for package, _ in requirements((root / "requirements/worker.txt").read_text())}
    assert "torch" not in agents
    assert {"faust-streaming", "slack-sdk"} <= agents
    assert "torch" in worker
    assert not {"faust-streaming", "slack-sdk"} & worker


def test_beside_a_cpu_build_of_torch_nothing_of_cuda_is_left_and_nothing_else_is_missing(root: Path) -> None:
    lock = (root / "requirements" / "worker.txt").read_text()
    with_cuda = {package for package, _ in requirements(part(lock, "run"))}
    without = {package for package, _ in requirements(part(lock, "run-without-torch"))}
    gone = with_cuda - without
    assert {"torch", "triton", "nvidia-cublas"} <= gone
    assert all(name in ("torch", "triton") or name.startswith(("nvidia-", "cuda-")) for name in gone)
    assert "nvidia-ml-py" in without


def test_the_version_of_torch_is_that_of_the_lock(root: Path) -> None:
    lock = (root / "requirements" / "worker.txt").read_text()
    version = part(lock, "torch-version").strip()
    assert f"\ntorch=={version} \\\n" in lock


def test_a_lock_without_torch_says_so() -> None:
    with pytest.raises(ValueError, match="found none"):
        part("msgspec==0.22.0 \\\n    --hash=sha256:00\n", "torch-version")
