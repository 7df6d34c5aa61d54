"""`embedwatch baseline` and `embedwatch compare` as a person or CI calls them, against the agents' own routes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embedwatch.baselines import read, write
from embedwatch.sketch import Sketch
from stream_agents.runtime import Runtime
from tests.harness.agents_log import NOW, batch_event, log_of, runtime_on
from tests.harness.baselines import baseline, measured

SPREAD = np.random.default_rng(9).lognormal(4.6, 0.4, 60 * 20).reshape(60, 20)


def agents(factor: float = 1.0, count: int = 60, small: int = 2, ready: bool = True) -> Runtime:
    """So many batches of 20 texts of model `big`, and a few of model `small`, each at a moment of its own."""
    runtime = runtime_on(log_of())
    if ready:
        runtime.recover({}, {0})
    for model, number in (("big", count), ("small", small)):
        for n in range(number):
            latency = Sketch.of(SPREAD[n] * factor).to_text()
            event = batch_event(n, time_seconds=NOW - n, texts=20, model=model, worker=model, latency_sketch=latency)
            runtime.world.apply_batch(event, NOW)
    return runtime


def test_save_list_and_diff_from_running_agents(run: Any, serve: Any, tmp_path: Path) -> None:
    url = serve(agents())
    code, out, err = run("baseline", "save", "v1", "--agents-url", url, "--window", "5m")
    assert code == 0, err
    assert out.startswith("baselines/v1.json written: all: 1,240 texts, p95 ")
    assert out.endswith("; 2 scopes\n")
    assert "left out for too few texts: 1 scope (" in err
    kept = read(tmp_path / "baselines" / "v1.json")
    assert (kept.name, kept.window_seconds, list(kept.scopes)) == ("v1", 300, ["all", "model=big"])

    code, out, err = run("baseline", "save", "v1", "--agents-url", url)
    assert code == 2
    assert "baselines/v1.json is there already" in err
    code, out, _ = run("baseline", "save", "v1", "--agents-url", url, "--force", "--json")
    assert code == 0
    told = json.loads(out)
    assert (told["file"], told["replaced"], told["scopes"]["all"]["texts"]) == ("baselines/v1.json", True, 1240)
    code, out, _ = run("baseline", "save", "v1", "--agents-url", url, "--force")
    assert code == 0
    assert out.startswith("baselines/v1.json written (in place of an older one): all: ")
    assert list(read(tmp_path / "baselines" / "v1.json").scopes) == ["all", "model=big", "model=small"]

    code, out, _ = run("baseline", "list")
    assert code == 0
    assert all(word in out for word in ("v1", "2027-01-15 08:00", "3600 s", "all", "1,240"))
    (row,) = json.loads(run("baseline", "list", "--json")[1])
    assert (row["name"], row["scopes"]["all"]["texts"]) == ("v1", 1240)

    code, out, _ = run("baseline", "diff", "v1", "--agents-url", url)
    assert code == 0
    assert "No regression (all)" in out
    slow = serve(agents(2.0))
    code, out, _ = run("baseline", "diff", "v1", "--agents-url", slow, "--scope", "model=big", "--scope", "all")
    assert code == 1
    assert "REGRESSION (model=big)" in out
    assert "REGRESSION (all)" in out
    assert run("baseline", "diff", "v1", "--agents-url", slow, "--max-regression-pct", "120")[0] == 0
    code, out, _ = run("baseline", "diff", "v1", "--agents-url", serve(agents(count=0, small=0)))
    assert code == 8
    assert "Inconclusive (all): now has no latency of any text." in out


@pytest.mark.parametrize(
    ("runtime", "arguments", "code", "words"),
    [
        (agents(count=20), (), 8, "all: 440 texts in the last 3600 s; 500 are needed"),
        (agents(), ("--scope", "model=small"), 8, "model=small: 40 texts in the last 3600 s; 500 are needed"),
        (agents(), ("--scope", "model=smal"), 3, "'model=smal'; did you mean model=small?"),
        (agents(ready=False), (), 4, "the agents are not ready: the state is not recovered yet"),
        (agents(), ("--dir", "/dev/null/x"), 3, "cannot be written"),
    ],
)  # fmt: skip
def test_what_is_no_ground_to_compare_with_is_not_saved(
    run: Any, serve: Any, tmp_path: Path, runtime: Runtime, arguments: tuple[str, ...], code: int, words: str
) -> None:
    found, out, err = run("baseline", "save", "v1", "--agents-url", serve(runtime), *arguments)
    assert (found, out) == (code, "")
    assert words in err
    assert not (tmp_path / "baselines").exists()


def test_a_path_gets_its_ending_and_what_is_no_baseline_stays_as_it_is(run: Any, serve: Any, tmp_path: Path) -> None:
    url = serve(agents())
    code, out, _ = run("baseline", "save", "ci/main", "--agents-url", url)
    assert (code, out.partition(":")[0]) == (0, "ci/main.json written")
    mine = tmp_path / "notes.json"
    mine.write_text('{"mine": 1}')
    for more in ((), ("--force",)):
        code, out, err = run("baseline", "save", "notes.json", "--agents-url", url, *more)
        assert (code, out) == (2, "")
        assert "notes.json is there already and is no baseline" in err
    assert mine.read_text() == '{"mine": 1}'


def test_every_command_counts_texts_with_a_vector(run: Any, serve: Any) -> None:
    """Of 1,200 texts 60 have failed: they are in the error rate, and in no number of texts."""
    runtime = runtime_on(log_of())
    runtime.recover({}, {0})
    for n in range(60):
        latency = Sketch.of(SPREAD[n][:19]).to_text()
        event = batch_event(n, time_seconds=NOW - n, texts=20, misses=15, errors={"timeout": 1}, latency_sketch=latency)
        runtime.world.apply_batch(event, NOW)
    url = serve(runtime)
    _, out, err = run("baseline", "save", "v1", "--agents-url", url)
    assert "all: 1,140 texts," in out, err
    _, out, _ = run("baseline", "list")
    assert "1,140" in out
    assert "1,200" not in out
    (row,) = json.loads(run("baseline", "list", "--json")[1])
    assert (row["scopes"]["all"]["texts"], row["scopes"]["all"]["error_rate_pct"]) == (1140, 5.0)
    for arguments in (("baseline", "diff", "v1", "--agents-url", url), ("compare", "v1", "v1")):
        _, out, _ = run(*arguments, "--json")
        rows = {r["name"]: r for r in json.loads(out)["scopes"][0]["rows"]}
        assert (rows["texts"]["a"], rows["texts"]["b"], rows["error rate"]["b"]) == (1140, 1140, 5.0)


def test_nobody_there_is_exit_code_four(run: Any) -> None:
    code, _, err = run("baseline", "save", "v1", "--agents-url", "http://127.0.0.1:9")
    assert code == 4
    assert "embedwatch agents" in err


def test_an_empty_folder_says_how_to_fill_it_and_a_broken_file_is_named(run: Any, tmp_path: Path) -> None:
    code, out, err = run("baseline", "list")
    assert (code, out) == (0, "")
    assert "embedwatch baseline save NAME" in err
    write(baseline("good"), tmp_path / "baselines" / "good.json")
    (tmp_path / "baselines" / "bad.json").write_text("{")
    code, out, err = run("baseline", "list")
    assert code == 3
    assert "good" in out
    assert "baselines/bad.json is not a baseline" in err


@pytest.fixture
def files(tmp_path: Path) -> None:
    values = SPREAD.ravel()
    for name, of in (("a", values), ("slow", values * 1.5), ("fast", values * 0.7), ("few", values[:50])):
        write(baseline(name, all=measured(of)), tmp_path / "baselines" / f"{name}.json")
    write(baseline("other", **{"model=[b]x": measured(values)}), tmp_path / "other.json")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["a", "a"], 0, "No regression (all)"),
        (["a", "fast"], 0, "No regression (all)"),
        (["baselines/a.json", "slow"], 1, "REGRESSION (all): p95 went from"),
        (["a", "slow", "--max-regression-pct", "55"], 0, "(+50."),
        (["slow", "a"], 0, "No regression"),
        (["a", "few"], 8, "Inconclusive (all): 50 texts, 200 are needed."),
        (["few", "a"], 8, "Inconclusive (all): few holds 50 texts, 200 are needed."),
        (["a", "few", "--inconclusive-ok"], 0, "Inconclusive (all)"),
        (["a", "few", "--min-texts", "40"], 0, "No regression"),
        (["other.json", "other.json"], 0, "No regression (model=[b]x)"),
        (["other", "other.json"], 0, "No regression (model=[b]x)"),  # `other` is no name in the folder, but a file
        (["./baselines/a", "a.json"], 0, "No regression (all)"),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("files")
def test_the_exit_code_is_the_verdict(run: Any, arguments: list[str], code: int, words: str) -> None:
    found, out, err = run("compare", *arguments)
    assert (found, err) == (code, "")
    assert words in out
    assert "p95 latency (ms)" in out


@pytest.mark.usefixtures("files")
def test_the_same_as_json(run: Any) -> None:
    code, out, _ = run("compare", "a", "slow", "--json")
    data = json.loads(out)
    assert (code, data["outcome"], data["a"]["name"], data["b"]["name"]) == (1, "regression", "a", "slow")
    (scope,) = data["scopes"]
    assert scope["p95_factor"] == pytest.approx(1.5, rel=0.011)
    assert scope["p_value"] < 1e-6
    p95 = next(row for row in scope["rows"] if row["name"] == "p95 latency")
    assert p95["change"] == pytest.approx(50, abs=1.6)


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["a", "none"], "there is no baseline 'none': looked for baselines/none.json, none and none.json;"),
        (["a", "b/none"], "there is no baseline 'b/none': looked for b/none.json and b/none;"),
        (["a", "other.json"], "baselines 'a' and 'other' have no scope in common"),
        (["a", "slow", "--scope", "model=b"], "baseline 'a' has no scope 'model=b'; known are: all"),
        (["a b", "slow"], "there is no baseline 'a b': looked for "),
    ],
)
def test_what_cannot_be_compared_is_told(run: Any, arguments: list[str], words: str) -> None:
    code, out, err = run("compare", *arguments)
    assert (code, out) == (3, "")
    assert words in err
