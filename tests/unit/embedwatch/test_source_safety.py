"""What no line of ours does: read pickles, run what was read, skip the check of a certificate, ask a shell."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from embedwatch.settings import WorkerSettings
from workers.backends.sentence_transformers import ModelOptions

ROOT = Path(__file__).resolve().parents[3]
FOLDERS = (
    "embedwatch",
    "producers",
    "workers",
    "stream_agents",
    "alerting",
    "console",
    "tools",
    "deploy",
    "benchmarks",
)
PICKLERS = frozenset(
    {"pickle", "_pickle", "cPickle", "cloudpickle", "dill", "marshal", "shelve", "joblib", "jsonpickle"}
)
#: Found and good, with the reason.
KNOWN = {
    ("stream_agents/compute/adding.py", "exec"): "text of our own, from the fields of a class of ours",
    ("embedwatch/kafka_auth.py", "CERT_NONE"): "to see whether TLS is spoken; nothing is said on that connection",
    ("embedwatch/kafka_auth.py", "check_hostname"): "the same",
}


def problems(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names if name.name.split(".")[0] in PICKLERS)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in PICKLERS:
            yield node.module or ""
        elif isinstance(node, ast.Attribute) and node.attr in ("CERT_NONE", "_create_unverified_context"):
            yield node.attr
        elif isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant) and node.value.value is False:
            yield from (
                each.attr for each in node.targets if isinstance(each, ast.Attribute) and each.attr == "check_hostname"
            )
        elif isinstance(node, ast.Call):
            yield from _of_call(node)


def _of_call(node: ast.Call) -> Iterator[str]:
    name = ast.unparse(node.func)
    given = {word.arg: word.value.value for word in node.keywords if isinstance(word.value, ast.Constant)}
    if name in ("eval", "exec", "compile", "__import__", "os.system", "os.popen"):
        yield name
    if name.endswith("yaml.load") or (name == "torch.load" and given.get("weights_only") is not True):
        yield name
    for word, wrong in (("allow_pickle", True), ("trust_remote_code", True), ("verify", False), ("shell", True)):
        if given.get(word, not wrong) is wrong:
            yield word
    if name in ("np.load", "numpy.load") and given.get("allow_pickle", False) is not False:
        yield name


def test_no_line_of_ours_does_what_is_not_safe() -> None:
    found: dict[tuple[str, str], int] = {}
    files = 0
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            files += 1
            for what in problems(ast.parse(path.read_text(encoding="utf-8"))):
                place = (path.relative_to(ROOT).as_posix(), what)
                found[place] = found.get(place, 0) + 1
    assert files > 300
    assert dict.fromkeys(KNOWN, 1) == found


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("import pickle", "pickle"),
        ("from joblib import load", "joblib"),
        ("np.load(x, allow_pickle=True)", "allow_pickle"),
        ("torch.load(x)", "torch.load"),
        ("torch.load(x, weights_only=False)", "torch.load"),
        ("yaml.load(x, Loader)", "yaml.load"),
        ("load(m, trust_remote_code=True)", "trust_remote_code"),
        ("httpx.get(u, verify=False)", "verify"),
        ("context.check_hostname = False", "check_hostname"),
        ("subprocess.run(x, shell=True)", "shell"),
        ("eval(x)", "eval"),
    ],
)
def test_what_is_looked_for_is_found(line: str, what: str) -> None:
    assert what in problems(ast.parse(line))


@pytest.mark.parametrize(
    "line", ["np.load(x, allow_pickle=False)", "torch.load(x, weights_only=True)", "yaml.safe_load(x)", "model.eval()"]
)
def test_what_is_safe_is_not(line: str) -> None:
    assert not list(problems(ast.parse(line)))


def test_code_of_a_model_does_not_run_unless_told() -> None:
    assert WorkerSettings().trust_remote_code is False
    assert ModelOptions().trust_remote_code is False


def test_no_sentence_transformers_is_taken_that_trusts_the_code_in_a_local_folder() -> None:
    """Before 6.0 the code in a model's folder ran without `trust_remote_code`, just because the folder was there."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    found = [line for lines in extras.values() for line in lines if line.startswith("sentence-transformers")]
    lowest = [re.search(r">=(\d+)", line) for line in found]
    assert found
    assert all(bound is not None and int(bound[1]) >= 6 for bound in lowest), found
