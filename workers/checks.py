"""What `embedwatch check` asks of a worker's machine: is the model here, and what is there to run it?"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable

from embedwatch.checks import Check
from embedwatch.settings import Settings
from workers.backends import model_files


def check_model(settings: Settings) -> Iterable[Check]:
    """Looks for files, imports no torch. Raises `ModelError`."""
    worker = settings.worker
    if worker.backend == "hashing":
        yield Check("model", "warning", "backend hashing: vectors without meaning, for tests and load tests")
        return
    lacking = [name for name in ("torch", "sentence_transformers") if importlib.util.find_spec(name) is None]
    if lacking:
        yield Check(
            "model", "skipped", f"no worker here: {', '.join(lacking)} not installed (pip install 'embedwatch[local]')"
        )
        return
    folder = model_files.find(worker.model, allow_download=worker.allow_download, revision=worker.revision)
    if folder is None:
        yield Check("model", "warning", f"{worker.model} is not here yet; the first worker fetches it from the hub")
        return
    yield Check("model", "ok", f"{model_files.display_name(worker.model)} in {folder}, device {worker.device}")
