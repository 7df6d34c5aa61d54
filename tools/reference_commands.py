"""The page of every command: what it does, its arguments and options with their variables and defaults, exit codes.

From the typer app itself, so that it cannot differ from what `--help` says.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import typer.main

from embedwatch.cli import build, unfold

Table = Callable[[tuple[str, ...], Sequence[tuple[str, ...]]], str]

_PAGE = """\
{note}

# Commands

`embedwatch COMMAND --help` says the same. An option comes before its variable, that before the file named by `--config`
(`EMBEDWATCH_CONFIG`), that before the default; an empty variable counts as not set. An option whose variable is that of
a setting can stand in the file, too: [settings.md](settings.md). Exit codes mean the same everywhere:
[exit-codes.md](exit-codes.md).

`--json` (`EMBEDWATCH_JSON=1` for all of them) prints JSON on standard output and nothing else there; whatever is said
beside it goes to standard error.

`embedwatch --install-completion` makes bash, zsh or fish complete commands and options, and, where it can be asked
within a second, scopes, alerts (of the agents), baselines (of the folder) and traces; `--show-completion` only prints
the script.

{index}
"""
#: Help of an option that is a setting ends so.
_SETTING = re.compile(r"\s*\((?:default: (?P<default>.*?); )?env: (?P<env>EMBEDWATCH_\w+)\)$", re.DOTALL)
_OWN = ("help", "install_completion", "show_completion")


def leaves(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Each command that can be run, by its words."""
    below = getattr(command, "commands", {})
    if path and (not below or getattr(command, "invoke_without_command", False)):
        yield path, command
    for name, child in below.items():
        yield from leaves(child, (*path, name))


def page(note: str, table: Table) -> str:
    root = typer.main.get_command(build())
    unfold(root)
    found = sorted(leaves(root))
    index = "\n".join(f"- [`{' '.join(path)}`](#{'-'.join(('embedwatch', *path))})" for path, _ in found)
    return "\n".join([_PAGE.format(note=note, index=index), *(_command(path, each, table) for path, each in found)])


def _command(path: tuple[str, ...], command: Any, table: Table) -> str:
    name = " ".join(("embedwatch", *path))
    arguments = [each for each in command.params if each.param_type_name == "argument"]
    named = [each for each in command.params if each.param_type_name == "option" and each.name not in _OWN]
    usage = " ".join([name, "[OPTIONS]", *(_metavar(each) for each in arguments)])
    parts = [f"## {name}\n", f"```\n{usage}\n```\n", *(f"{each}\n" for each in _paragraphs(command))]
    if arguments:
        rows = [(f"`{_metavar(each)}`", _variable(each), _meaning(each)) for each in arguments]
        parts.append(table(("argument", "variable", "meaning"), rows))
    if named:
        rows = [(_flags(each), _variable(each), _default(each), _meaning(each)) for each in named]
        parts.append(table(("option", "variable", "default", "meaning"), rows))
    return "\n".join(parts)


def _paragraphs(command: Any) -> list[str]:
    text = f"{command.help or ''}\n\n{command.epilog or ''}"
    found = []
    for part in filter(None, (each.strip() for each in text.split("\n\n"))):
        example = re.fullmatch(r"Examples?: (.*)", part, re.DOTALL)
        found.append(f"```console\n{_examples(example[1])}\n```" if example else _escaped(part))
    return found


def _examples(text: str) -> str:
    return "\n".join(f"$ {line}" for line in re.split(r";\s+(?=embedwatch |zcat )", text.strip()))


def _escaped(text: str) -> str:
    """Outside of code, angle brackets and stars would be markup."""
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(each if each.startswith("`") else re.sub(r"([<>*])", r"\\\1", each) for each in parts)


def _metavar(argument: Any) -> str:
    name = (argument.metavar or argument.name.upper()).strip("[].")
    shown = name if argument.required else f"[{name}]"
    return f"{shown}..." if argument.nargs == -1 else shown


def _flags(option: Any) -> str:
    kind = "" if option.is_flag else f" {_kind(option)}"
    both = [*sorted(option.opts, key=len, reverse=True), *option.secondary_opts]
    return ", ".join(f"`{flag}`" for flag in both) + kind


def _kind(option: Any) -> str:
    """What is to be typed: choices, or a word for the type."""
    return _word(option.type_descriptor.annotation)


def _word(kind: Any) -> str:
    origin, parts = get_origin(kind), get_args(kind)
    if origin is Literal:
        return " or ".join(f"`{each}`" for each in parts)
    if parts:
        return _word(next(each for each in parts if each is not type(None)))
    return {int: "NUMBER", float: "NUMBER", Path: "PATH"}.get(kind, "TEXT")


def _variable(parameter: Any) -> str:
    setting = _SETTING.search(parameter.help or "")
    name = setting["env"] if setting else parameter.envvar
    names = [name] if isinstance(name, str) else list(name or ())
    return ", ".join(f"`{each}`" for each in names) or "none"


def _default(option: Any) -> str:
    setting = _SETTING.search(option.help or "")
    if setting:
        value: Any = setting["default"]
        return "none" if value in (None, "none") else f"`{value}`"
    if option.is_flag and option.default in (None, False):
        return "off"
    if option.is_flag:
        return "on"
    value = option.default
    return "none" if value is None or value == () or value == [] else f"`{getattr(value, 'value', value)}`"


def _meaning(parameter: Any) -> str:
    text = _SETTING.sub("", parameter.help or "")
    low, high = parameter.min, parameter.max
    bounds = [f"from {low:g}" if low is not None else "", f"to {high:g}" if high is not None else ""]
    said = " ".join(filter(None, bounds))
    return _escaped(" ".join(text.split())) + (f" ({said})" if said else "")
