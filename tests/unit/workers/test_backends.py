from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedwatch.errors import ModelError
from embedwatch.settings import WorkerSettings
from workers import loading
from workers.backends import model_files
from workers.backends.hashing import HashingEmbedder


@given(texts=st.lists(st.text(), min_size=1, max_size=5), dims=st.integers(1, 64))
def test_the_hashing_model_gives_each_text_its_own_unit_vector_every_time(texts: list[str], dims: int) -> None:
    model = HashingEmbedder("h", dims)
    vectors = model.embed(model.tokenise(texts).payloads)
    assert vectors.shape == (len(texts), dims)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-5)
    for text, vector in zip(texts, vectors, strict=True):
        assert np.array_equal(HashingEmbedder("h", dims).embed(model.tokenise([text]).payloads)[0], vector)


def test_the_hashing_model_truncates_and_its_fingerprint_follows_what_matters() -> None:
    model = HashingEmbedder("h", 4, max_tokens=2)
    encoded = model.tokenise(["a b c", "a b", "a"])
    assert (encoded.counts.tolist(), encoded.full_counts.tolist()) == ([2, 2, 1], [3, 2, 1])
    assert np.array_equal(*model.embed(encoded.payloads[:2]))
    others = [HashingEmbedder("h", 5), HashingEmbedder("i", 4), HashingEmbedder("h", 4, max_tokens=3)]
    assert len({other.fingerprint for other in [model, *others]}) == 4


def test_the_hashing_models_artificial_cost_is_by_text() -> None:
    slept: list[float] = []
    model = HashingEmbedder(seconds_per_text=0.25, sleep=slept.append)
    model.embed(model.tokenise(["a", "b", "c"]).payloads)
    assert slept == [0.75]


def test_the_settings_choose_the_backend() -> None:
    settings = WorkerSettings(backend="hashing", model="any-name", hashing_dims=7)
    model = loading.load(settings)
    assert (model.name, model.dims, model.health()) == ("any-name", 7, None)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"cpu.max": "150000 100000"}, 1.5),
        ({"cpu.max": "max 100000"}, None),
        ({"cpu/cpu.cfs_quota_us": "200000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 2.0),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None),
        ({"cpu.max": "nonsense"}, None),
        ({}, None),
    ],
)
def test_the_containers_quota_is_read_in_both_versions(
    tmp_path: Path, files: dict[str, str], expected: float | None
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert loading._cgroup_quota(tmp_path) == expected


def test_there_is_always_at_least_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "_cgroup_quota", lambda root: 0.5)
    assert loading.cpu_quota() == 1


@pytest.fixture
def empty_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No model in the hub's cache."""
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("name", ["no-such-model", "owner/no-such-model"])
def test_a_model_that_is_not_here_is_one_line_that_says_what_to_do(empty_hub: Path, name: str) -> None:
    with pytest.raises(ModelError) as raised:
        model_files.find(name, allow_download=False)
    assert name in str(raised.value)
    assert "--allow-download" in str(raised.value)
    assert "\n" not in str(raised.value)
    assert model_files.find(name, allow_download=True) is None


@pytest.mark.parametrize("name", ["./missing", "/no/such/folder", "a/b/c", "~/model"])
def test_a_folder_that_is_not_there_is_said_to_be_a_folder(name: str) -> None:
    with pytest.raises(ModelError, match=f"model folder {name} does not exist"):
        model_files.find(name, allow_download=True)


def test_a_name_that_cannot_be_one_is_refused(empty_hub: Path) -> None:
    with pytest.raises(ModelError, match="neither a folder nor a model name"):
        model_files.find("what is this?", allow_download=True)


def test_a_folder_without_a_model_is_refused_and_one_with_it_is_named_by_its_last_part(tmp_path: Path) -> None:
    folder = tmp_path / "my-model"
    folder.mkdir()
    with pytest.raises(ModelError, match="it is not a model"):
        model_files.find(str(folder), allow_download=False)
    (folder / "config.json").write_text("{}")
    assert model_files.find(str(folder), allow_download=False) == folder
    assert model_files.display_name(str(folder)) == "my-model"
    assert model_files.display_name("owner/name") == "owner/name"


def test_the_revision_follows_weights_and_configuration_and_nothing_else(tmp_path: Path) -> None:
    weights = bytearray(5 * 1024 * 1024)
    (tmp_path / "model.safetensors").write_bytes(weights)
    (tmp_path / "config.json").write_text('{"a": 1}')
    first = model_files.revision(tmp_path)
    (tmp_path / "README.md").write_text("changed")
    (tmp_path / "onnx").mkdir()
    (tmp_path / "onnx" / "config.json").write_text("{}")
    assert model_files.revision(tmp_path) == first
    (tmp_path / "config.json").write_text('{"a": 2}')
    second = model_files.revision(tmp_path)
    weights[-1] = 1
    (tmp_path / "model.safetensors").write_bytes(weights)
    assert len({first, second, model_files.revision(tmp_path)}) == 3


def test_a_model_kept_in_the_hubs_cache_is_found_by_both_its_names(empty_hub: Path) -> None:
    snapshot = empty_hub / "models--sentence-transformers--tiny" / "snapshots" / ("a" * 40)
    snapshot.mkdir(parents=True)
    (snapshot / "modules.json").write_text("[]")
    (snapshot.parent.parent / "refs").mkdir()
    (snapshot.parent.parent / "refs" / "main").write_text("a" * 40)
    for name in ("tiny", "sentence-transformers/tiny"):
        found: Any = model_files.find(name, allow_download=False)
        assert found == snapshot
