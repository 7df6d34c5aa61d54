"""Options shared by the commands: each is a setting, so flag, environment variable, file and default stay one thing."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from embedwatch.settings import PREFIX, Settings, env_name


def setting(section: str, field: str, *flags: str, help: str | None = None) -> Any:
    """A typer option for one setting. Its help names the environment variable and the default.

    The option itself defaults to None ("not given"): `settings.load` then looks at environment, file and default.
    """
    model = Settings.model_fields[section].annotation
    info = model.model_fields[field]  # type: ignore[union-attr]
    default = info.default
    text = (help or info.description or field.replace("_", " ")).rstrip(".")
    shown = "none" if default is None else str(default)
    flag_names = flags or (f"--{field.replace('_', '-')}",)
    return typer.Option(
        *flag_names,
        # Round brackets: square ones are markup to rich, which would swallow them.
        help=f"{_sentence(text)}. (default: {shown}; env: {env_name(section, field)})",
        show_default=False,
    )


def _sentence(text: str) -> str:
    """With a capital, unless it begins with a value: that is to be typed as it stands."""
    return f"{text[0].upper()}{text[1:]}" if text.split()[0].isalpha() else text


ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", "-c", help=f"YAML file of settings. (env: {PREFIX}CONFIG)", show_default=False),
]
BootstrapServers = Annotated[str | None, setting("kafka", "bootstrap_servers", "--bootstrap-servers", "-b")]
TopicPrefix = Annotated[str | None, setting("kafka", "topic_prefix", help="prefix of all topic names")]
CacheUrl = Annotated[str | None, setting("cache", "url", "--cache-url")]
AsJson = Annotated[
    bool, typer.Option("--json", envvar=f"{PREFIX}JSON", help="Print JSON for programs instead of text.")
]
