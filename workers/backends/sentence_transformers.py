"""sentence-transformers models on torch, without the library's own batching.

`SentenceTransformer.encode` sorts by characters, takes a fixed number of texts a batch and tokenises batch by batch.
Here all texts of a poll are tokenised in one call of the fast tokenizer, the worker sorts and fills batches by tokens,
and `forward` runs the modules (transformer, pooling, normalisation) in the fastest way that gives the same vectors. A
parity test holds the result to `encode`.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from embedwatch.errors import ModelError
from embedwatch.events import TokenMethod
from workers.backend import Encoded, Vectors
from workers.backends import model_files
from workers.backends.one_thread import torch_thread
from workers.failures import EmbedError, classify

if TYPE_CHECKING:
    import torch
    from sentence_transformers import SentenceTransformer

    from workers.backends.forward import Precision

#: Padded tokens a batch. On a CPU small batches stay in its caches (1024 was best of those measured); a GPU wants work.
CPU_TOKEN_BUDGET = 1024
GPU_TOKEN_BUDGET = 32_768


class SentenceTransformerEmbedder:
    """A loaded text model with a fast tokenizer."""

    token_method: TokenMethod = "model"  # noqa: S105
    local = True

    def __init__(self, model: SentenceTransformer, *, name: str, revision: str, precision: Precision = "auto") -> None:
        """Raises `ModelError` for a model that is not a plain text encoder with a fast tokenizer."""
        import tokenizers

        from workers.backends.forward import PROBES, Padded, choose

        first: Any = model[0]
        tokenizer: Any = getattr(model, "tokenizer", None)
        backend = getattr(tokenizer, "backend_tokenizer", None)
        if not isinstance(backend, tokenizers.Tokenizer) or list(getattr(first, "modality_config", ())) != ["text"]:
            raise ModelError(
                f"model {name!r} cannot be used: its first module is {type(first).__name__}, and only text encoders "
                "with a fast tokenizer are supported"
            )
        self.name = name
        self.dims = int(model.get_embedding_dimension() or 0)
        self.device = str(model.device)
        self.max_tokens = int(model.max_seq_length or tokenizer.model_max_length)
        self._model = model.eval()
        # A copy: our truncation and padding must not leak into the model's own tokenizer, nor the other way round.
        self._tokenizer = tokenizers.Tokenizer.from_str(backend.to_str())
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(self.max_tokens, direction=tokenizer.truncation_side)
        self._special_tokens = self._tokenizer.num_special_tokens_to_add(False)
        self._prompt = model.prompts.get(model.default_prompt_name or "") or ""
        extra: dict[str, Any] = {"modality": "text"}
        if self._prompt:
            features: Any = model.preprocess(["text"], prompt=self._prompt)
            if "prompt_length" in features:
                extra["prompt_length"] = features["prompt_length"]
        modules = "|".join(f"{type(m).__name__}{getattr(m, 'get_config_dict', dict)()}" for m in model)
        plain = Padded(
            self._model,
            pad_id=int(tokenizer.pad_token_id or 0),
            pad_left=tokenizer.padding_side == "left",
            type_ids="token_type_ids" in tokenizer.model_input_names,
            extra=extra,
        )
        #: How it is run: `packed-bfloat16`, `packed-float32`, `float32`, ...
        probes = self.tokenise(PROBES).payloads
        self._forward, self.way = torch_thread.run(lambda: choose(self._model, plain, probes, precision, extra))
        described = (name, revision, self.dims, self.way, self.max_tokens, self._prompt, model.truncate_dim, modules)
        self.fingerprint = blake2b("\0".join(map(str, described)).encode(), digest_size=16).hexdigest()

    @property
    def pads(self) -> bool:
        return not self.way.startswith("packed")

    @property
    def token_budget(self) -> int:
        return CPU_TOKEN_BUDGET if self.device == "cpu" else GPU_TOKEN_BUDGET

    @property
    def gpu_uuids(self) -> Sequence[str]:
        if not self.device.startswith("cuda"):
            return ()
        import torch

        return (f"GPU-{torch.cuda.get_device_properties(self._model.device).uuid}",)

    def tokenise(self, texts: Sequence[str]) -> Encoded:
        prompted = [self._prompt + text for text in texts] if self._prompt else list(texts)
        payloads: list[Any] = []
        full = np.empty(len(texts), np.int64)
        for index, encoding in enumerate(self._tokenizer.encode_batch_fast(prompted)):
            ids = np.array(encoding.ids, np.int32)
            payloads.append(ids)
            full[index] = ids.size
            if ids.size >= self.max_tokens:
                full[index] += sum(len(rest) - self._special_tokens for rest in encoding.overflowing)
        counts = np.fromiter((ids.size for ids in payloads), np.int64, len(payloads))
        return Encoded(payloads, counts, full)

    def embed(self, payloads: Sequence[Any]) -> Vectors:
        return torch_thread.run(lambda: self._embed(payloads))

    def _embed(self, payloads: Sequence[Any]) -> Vectors:
        import torch

        try:
            with torch.inference_mode():
                out = self._forward(payloads)
                if self._model.truncate_dim is not None:
                    out = out[:, : self._model.truncate_dim]
                vectors = _to_host(out.float())
        except RuntimeError as error:
            if classify(error) == "out_of_memory":
                self._free_memory()
                raise EmbedError("out_of_memory", str(error).splitlines()[0]) from None
            raise
        return vectors

    def billed_tokens(self) -> None:
        return None

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [int(count) for count in self.tokenise(texts).full_counts]

    def health(self) -> str | None:
        return None

    def close(self) -> None:
        pass

    def drop_spare_weights(self) -> None:
        """Let go of matrices that the packed way has copied. The model's own forward pass cannot run any more."""
        if self.way.startswith("packed"):
            first: Any = self._model[0]
            module = getattr(first, "model", None) or first.auto_model
            module.encoder.to("meta")

    def _free_memory(self) -> None:
        import torch

        if self.device.startswith("cuda"):
            torch.cuda.empty_cache()


@dataclass(frozen=True, slots=True)
class ModelOptions:
    """`prompt_name` None: the model's own default prompt, where it has one. `revision` is of the hub."""

    precision: Precision = "auto"
    prompt_name: str | None = None
    truncate_dim: int | None = None
    revision: str | None = None
    trust_remote_code: bool = False


def load(
    model: str, *, device: str, threads: int, allow_download: bool, options: ModelOptions = ModelOptions()
) -> SentenceTransformerEmbedder:
    """Find, load and warm up a model. Raises `ModelError` in one line, within a second when its files are not here."""
    folder = model_files.find(model, allow_download=allow_download, revision=options.revision)
    import torch
    import transformers
    from sentence_transformers import SentenceTransformer

    logging.getLogger("sentence_transformers").setLevel(logging.WARNING)  # the worker says itself what it loads
    logging.getLogger("torch").setLevel(logging.WARNING)
    transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        torch.set_num_threads(1)  # here; no pool of this thread's own (`one_thread`)
        torch_thread.run(lambda: torch.set_num_threads(threads))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the library about itself; nothing a user of the worker could act on
            loaded = SentenceTransformer(
                str(folder or model),
                device=_device(device),
                trust_remote_code=options.trust_remote_code,
                local_files_only=folder is not None,
                revision=options.revision,
                truncate_dim=options.truncate_dim,
            )
        _check_dims(loaded, options.truncate_dim)
        if options.prompt_name is not None:
            _set_prompt(loaded, options.prompt_name)
        here = folder or model_files.find(model, allow_download=False, revision=options.revision) or Path(model)
        embedder = SentenceTransformerEmbedder(
            loaded,
            name=model_files.display_name(model),
            revision=model_files.revision(here),
            precision=options.precision,
        )
        # The first forward pass sets up kernels and takes several times as long: not at a user's expense.
        warm = embedder.embed(embedder.tokenise(["warm-up"]).payloads)
    except ModelError:
        raise
    except Exception as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelError(f"model {model!r} cannot be loaded from {folder or 'the hub'}: {first[:300]}") from None
    if warm.shape != (1, embedder.dims) or not np.isfinite(warm).all():
        raise ModelError(f"model {model!r} gives unusable vectors (shape {warm.shape})")
    return embedder


def _check_dims(model: SentenceTransformer, truncate_dim: int | None) -> None:
    if truncate_dim is None:
        return
    model.truncate_dim, asked = None, model.truncate_dim
    whole = model.get_embedding_dimension()
    model.truncate_dim = asked
    if whole is not None and truncate_dim > whole:
        raise ModelError(f"--truncate-dim {truncate_dim}: the model's vectors have {whole} numbers only")


def _set_prompt(model: SentenceTransformer, name: str) -> None:
    if name not in model.prompts:
        known = ", ".join(sorted(model.prompts)) or "none"
        raise ModelError(f"--prompt-name: the model has no prompt {name!r}; it has {known}")
    model.default_prompt_name = name


def _to_host(out: torch.Tensor) -> Vectors:
    """Through pinned memory from a GPU: the driver copies from there without a buffer of its own in between."""
    vectors: Vectors
    if out.device.type != "cuda":
        vectors = out.cpu().numpy()
        return vectors
    import torch

    host = torch.empty(out.shape, dtype=out.dtype, pin_memory=True)
    host.copy_(out, non_blocking=True)
    copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
    copied.record()
    copied.synchronize()
    vectors = host.numpy()
    return vectors


def _device(wanted: str) -> str:
    """A device torch can use. Raises `ModelError` when the wanted one is not there."""
    import torch

    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    if wanted.startswith("cuda"):
        index = int(wanted.partition(":")[2] or 0)
        if not torch.cuda.is_available() or index >= torch.cuda.device_count():
            raise ModelError(f"device {wanted}: torch sees {torch.cuda.device_count()} CUDA GPUs; use --device cpu")
    if wanted == "mps" and not torch.backends.mps.is_available():
        raise ModelError("device mps: not available here; use --device cpu")
    return wanted
