"""What `embedwatch check` asks of a worker's machine: is the model here, and what is there to run it?"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable

from embedwatch.checks import ASK_SECONDS, Check
from embedwatch.settings import Settings, WorkerSettings
from workers.backends import model_files


def check_model(settings: Settings) -> Iterable[Check]:
    """Looks for files, imports no torch; of an endpoint it asks one vector. Raises what its backend raises."""
    worker = settings.worker
    if worker.backend == "hashing":
        yield Check("model", "warning", "backend hashing: vectors without meaning, for tests and load tests")
        return
    if worker.backend == "openai":
        yield _endpoint(worker)
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


def _endpoint(worker: WorkerSettings) -> Check:
    from workers.backends.openai_compatible import OpenAIEmbedder

    # Once, and briefly: a check is not a worker, which has all the time in the world.
    patience = {"api_retry_seconds": 0.0, "api_timeout_seconds": min(ASK_SECONDS, worker.api_timeout_seconds)}
    embedder = OpenAIEmbedder(worker.model_copy(update=patience))
    try:
        return Check("model", "ok", f"{embedder.name} at {embedder.where}, {embedder.dims} dimensions")
    finally:
        embedder.close()
