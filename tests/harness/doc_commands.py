"""Commands of the documentation held to the code without running them."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Any

import typer.exceptions
import yaml

from embedwatch import cli
from embedwatch.settings import PREFIX, SECRET_FILE, Settings, listed, secret_variables
from tests.harness.doc_blocks import ROOT, Call

#: Programs that are not ours and of which nothing is checked but that a page needs them.
THEIRS = frozenset(
    (
        "cat",
        "cd",
        "cp",
        "curl",
        "echo",
        "export",
        "git",
        "head",
        "jq",
        "mkdir",
        "npm",
        "openssl",
        "pip",
        "python",
        "source",
        "tail",
        "zcat",
        "kill",
        "keytool",
    )
)
#: What a page may call a file that its reader has: not looked for.
_MAKE_TARGET = re.compile(r"^([a-z][a-z-]*):", re.MULTILINE)


def mistake(tree: Any, call: Call, folder: Path) -> str | None:
    """What is wrong with a command, in words; None when nothing is. `folder`: where it is called."""
    for name in _named_variables(call):
        if name.startswith(PREFIX) and name not in known_variables(tree):
            return f"there is no variable {name}"
    program, arguments = Path(call.program).name, list(call.words[1:])
    if program == "" or program in THEIRS or program.endswith(".sh"):
        return None
    if program == "embedwatch":
        return wrong_usage(tree, arguments)
    if program == "make":
        return _wrong_target(arguments)
    if program in ("kubectl", "docker"):
        return _wrong_file(arguments, folder)
    return f"{program} is not among the programs that are known (tests/harness/doc_commands.py)"


def known_variables(tree: Any) -> set[str]:
    files = {name + SECRET_FILE for name in secret_variables()}
    own = {f"{PREFIX}CONFIG", f"{PREFIX}LOG_LEVEL", f"{PREFIX}LOG_FORMAT"}
    return cli.variables(tree) | {env for env, _, _ in listed(Settings())} | files | own


def find(tree: Any, arguments: list[str]) -> tuple[Any, list[str], list[str]]:
    """(command, its path, what is left) of the longest path of names."""
    command, path, rest = tree, ["embedwatch"], list(arguments)
    while rest and rest[0] in getattr(command, "commands", {}):
        path.append(rest[0])
        command, rest = command.commands[rest[0]], rest[1:]
    return command, path, rest


def wrong_usage(tree: Any, arguments: list[str]) -> str | None:
    """What the command line itself says of these arguments."""
    command, path, rest = find(tree, arguments)
    if {"--help", "-h", "--version"} & set(rest):
        return None
    if getattr(command, "commands", {}) and rest and not rest[0].startswith("-"):
        return f"{' '.join(path)} has no command {rest[0]!r}"
    try:
        command.make_context(" ".join(path), list(rest), allow_extra_args=False)
    except typer.exceptions.TyperException as error:
        return error.format_message() if hasattr(error, "format_message") else str(error)
    return None


def wrong_words(tree: Any, text: str) -> str | None:
    """Of a command in a sentence, which may lack arguments: whether it and its options are there."""
    words = text.split()[1:]
    command, path, rest = find(tree, words)
    names = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    names |= {"--help", "-h"}
    for word in rest:
        name = word.split("=")[0].rstrip(",.;")
        if re.fullmatch(r"--?[a-z][a-z-]*", name) and name not in names:
            return f"{' '.join(path)} has no option {name}"
    first = rest[0] if rest else ""
    if getattr(command, "commands", {}) and re.fullmatch(r"[a-z][a-z-]+", first):
        return f"{' '.join(path)} has no command {first!r}"
    return None


def _named_variables(call: Call) -> list[str]:
    exported = call.words[1:] if call.program == "export" else ()
    return [word.split("=")[0] for word in (*call.variables, *exported)]


def _wrong_target(arguments: list[str]) -> str | None:
    targets = _MAKE_TARGET.findall((ROOT / "Makefile").read_text(encoding="utf-8"))
    wrong = [word for word in arguments if "=" not in word and word not in targets]
    return f"the Makefile has no target {wrong[0]}" if wrong else None


def _wrong_file(arguments: list[str], folder: Path) -> str | None:
    """Of `-f X` and `--env-file X`: the file is there, and YAML where its name says so."""
    for flag, name in itertools.pairwise(arguments):
        if flag not in ("-f", "--filename", "--env-file", "--file") or name.startswith("-"):
            continue
        path = next((base / name for base in (folder, ROOT) if (base / name).is_file()), None)
        if path is None:
            return f"there is no file {name}"
        if path.suffix in (".yaml", ".yml"):
            list(yaml.safe_load_all(path.read_text(encoding="utf-8")))
    return None
