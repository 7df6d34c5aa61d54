"""Arguments of the command line, as far as they are read: nothing is started."""

from __future__ import annotations

import contextlib
import io
from functools import cache
from typing import Any

import typer
import typer.exceptions
import typer.main

from embedwatch import cli
from embedwatch.errors import EXIT_CODES, EmbedwatchError
from tests.fuzz.dice import Dice

WORDS = (
    "-b",
    "--json",
    "--help",
    "-h",
    "--version",
    "--",
    "-",
    "-o",
    "--scope",
    "all",
    "1h",
    "2",
    "-1",
    "0:1",
    "x",
    "",
)


@cache
def _tree() -> Any:
    command = typer.main.get_command(cli.build())
    cli.unfold(command)
    return command


def fuzz_arguments(data: bytes) -> None:
    """Any arguments: they are understood, or one line says what is wrong with them, with exit code 2."""
    dice = Dice(data)
    command, arguments = _tree(), []
    while getattr(command, "commands", None) and dice.byte() % 8:
        name = dice.pick(sorted(command.commands))
        arguments.append(name)
        command = command.commands[name]
    options = [o for parameter in command.params for o in (*parameter.opts, *parameter.secondary_opts) if o[:1] == "-"]
    for _ in range(dice.below(6)):
        word = dice.pick(options) if options and dice.byte() % 2 else dice.pick(WORDS)
        if not dice.byte() % 5:
            word = dice.text()
        arguments.append(f"{word}={dice.text()}" if word.startswith("--") and dice.maybe(4) else word)
    out, wrong = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(wrong):
        code = _read(arguments)
    assert code in EXIT_CODES
    assert len(out.getvalue()) + len(wrong.getvalue()) < 60_000
    if code:
        assert code in (1, 2, 3), code
        said = wrong.getvalue().splitlines() or out.getvalue().splitlines()
        assert said, arguments
        assert not any("Traceback" in line for line in said)


def _read(arguments: list[str]) -> int:
    """What `main` does, up to the point where the command would begin."""
    context, command, rest = None, _tree(), arguments
    name: str | None = "embedwatch"
    try:
        while True:
            context = command.make_context(name, list(rest), parent=context)
            if not getattr(command, "commands", None):
                return 0
            rest = [*context._protected_args, *context.args]
            if not rest:
                return 0
            name, command, rest = command.resolve_command(context, rest)
    except typer.exceptions.TyperException as error:
        return cli._complain_of_usage(error)
    except typer.exceptions.Exit as error:
        return int(error.exit_code)
    except EmbedwatchError as error:
        cli._complain(str(error))
        return error.exit_code
