"""sentence-transformers: `encode`, `encode_query`, `encode_document`, in this process.

The tokens are those that the model was given, special tokens and truncation included: its first module is looked at
while it works, so that nothing is tokenised twice. Where other processes do the work (several devices, a pool) they are
counted in the background. A model on a machine of yours has no price but that of the machine
(`Monitor(gpu_usd_per_hour=...)`); a name that somebody sells, too, changes nothing of that.
"""

from __future__ import annotations

import functools
import threading
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from embedwatch.sdk.context import CallContext
from embedwatch.sdk.wrapping.proxy import stand_in

if TYPE_CHECKING:
    from embedwatch.sdk.monitor import Monitor

METHODS = ("encode", "encode_query", "encode_document")
_TEXTS = ("inputs", "sentences", "input", "texts")


def wrap(monitor: Monitor, encoder: Any, **labels: str | None) -> Any:
    """The model, measured: a stand-in, so that the model itself can be pickled to other processes as before."""
    name = labels.get("model") or monitor.model or name_of(encoder)
    methods = {
        method: _measured(monitor, encoder, getattr(encoder, method), {**labels, "model": name})
        for method in METHODS
        if callable(getattr(encoder, method, None))
    }
    return stand_in(monitor, encoder, methods)


def _measured(monitor: Monitor, model: Any, encode: Any, labels: dict[str, str | None]) -> Any:
    given = labels.get("model"), labels.get("provider"), labels.get("tenant"), labels.get("source")

    def run(*args: Any, **kwargs: Any) -> Any:
        texts = args[0] if args else next((kwargs[name] for name in _TEXTS if name in kwargs), None)
        call = CallContext(monitor, _inputs(model, texts), *given)
        call.local = True
        watch = None if _elsewhere(kwargs) else TokenWatch.on(model)
        call.begin()
        try:
            result = encode(*args, **kwargs)
        except BaseException as error:
            call.end(error)
            raise
        else:
            call.stop()
            _told(call, result, watch)
            call.end()
            return result
        finally:
            if watch is not None:
                watch.off()

    return functools.wraps(encode)(run)


def _inputs(model: Any, given: Any) -> Any:
    """What is to be counted: a picture, or a text beside one, has a length and is one input."""
    try:
        return 1 if not isinstance(given, str) and model.is_singular_input(given) else given
    except Exception:  # an older version, which takes texts only
        return given


def _told(call: CallContext, result: Any, watch: TokenWatch | None) -> None:
    try:
        tokens = None if watch is None else watch.tokens()
        if tokens is not None:
            call.counted_by = "model"
            call.usage(tokens)
        row = result[-1] if isinstance(result, list) and result else result
        shape = tuple(getattr(row, "shape", ()))
        call.response(dimensions=int(shape[-1]) if shape else None)
    except Exception as error:
        call._monitor._trouble("what a model gave could not be read", error)


def _elsewhere(kwargs: dict[str, Any]) -> bool:
    """Whether other processes will do the work."""
    return kwargs.get("pool") is not None or isinstance(kwargs.get("device"), list | tuple)


class TokenWatch:
    """Adds up the attention masks that a model's first module is given, in the thread that made it.

    They are added where they lie: on a GPU nothing waits for it until `tokens` is asked for, after the vectors came.
    """

    def __init__(self) -> None:
        self._thread = threading.get_ident()
        self._sum: Any = None
        self._blind = False
        self._handle: Any = None

    @classmethod
    def on(cls, model: Any) -> TokenWatch | None:
        """Watches the model; None where it has no modules to look at. Never raises."""
        try:
            watch = cls()
            watch._handle = model[0].register_forward_pre_hook(watch)
        except Exception:
            return None
        return watch

    def __call__(self, module: Any, args: tuple[Any, ...]) -> None:
        if threading.get_ident() != self._thread:
            return
        try:
            mask = args[0].get("attention_mask")
            if mask is None:
                self._blind = True  # an image, or a model that has none
            else:
                self._sum = mask.sum() if self._sum is None else self._sum + mask.sum()
        except Exception:
            self._blind = True

    def tokens(self) -> int | None:
        """Tokens so far; None where they could not be seen."""
        return None if self._blind or self._sum is None else int(self._sum)

    def off(self) -> None:
        """Leaves the model as it was."""
        self._handle.remove()


def name_of(model: Any) -> str | None:
    """The model's name as the hub knows it, or of its folder; never a path, which may tell whose machine it is."""
    for found in (_card(model), _path(model)):
        if isinstance(found, str) and found:
            parts = PurePath(found).parts
            hub = len(parts) == 2 and not found.startswith((".", "/", "~"))
            return found if hub else parts[-1]
    return None


def _card(model: Any) -> Any:
    card = getattr(model, "model_card_data", None)
    return getattr(card, "model_id", None) or getattr(card, "base_model", None)


def _path(model: Any) -> Any:
    try:
        return model[0].auto_model.config._name_or_path
    except Exception:
        return None
