"""The agents' scratch folder: Faust wants one, and keeps nothing in it that is worth keeping."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from embedwatch.errors import ConfigError


@contextlib.contextmanager
def scratch_folder(data_dir: Path | None) -> Iterator[Path]:
    """The one that is set, which stays; else one of a name that nobody can foresee, for this user alone, which goes.

    Raises `ConfigError` when it cannot be made.
    """
    if data_dir is not None:
        try:
            data_dir.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(
                f"the folder {data_dir} cannot be made: {error.strerror or error}; name another in agents.data_dir "
                "(EMBEDWATCH_AGENTS_DATA_DIR), or leave it out for a temporary one"
            ) from None
        yield data_dir
        return
    try:
        made = Path(tempfile.mkdtemp(prefix="embedwatch-agents-"))
    except OSError as error:
        raise ConfigError(
            f"no temporary folder can be made: {error.strerror or error}; name another place in TMPDIR, or a folder in "
            "agents.data_dir (EMBEDWATCH_AGENTS_DATA_DIR)"
        ) from None
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)
