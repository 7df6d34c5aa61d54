"""What a page of the documentation holds that can be tried: blocks of code, commands in them and in the text, links.

Blocks of the kinds `console` (lines that begin with `$ ` are commands, the others what they print), `sh` and `bash`
(every line is one) hold commands. `<!-- file: NAME -->` on the line before a block says that the block is that file.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
SHELLS = ("console", "sh", "bash")
#: Of these nothing is run: drawings and what a command prints, and what belongs to other programs.
SHOWN = ("", "text")
#: Decisions are kept as they were taken; the messages in alerts.md are made by the code that sends them.
LEFT_OUT = ("docs/adr/", "docs/reference/alerts.md")

_FENCE = re.compile(r"^(?P<indent> *)```(?P<kind>[\w+-]*)\s*$")
_FILE = re.compile(r"^ *<!-- file: (?P<name>[\w./-]+) -->$")
_LINK = re.compile(r"\[(?:[^\]\[]|\[[^\]]*\])*\]\((?P<target>[^)\s]+)\)")
_SPAN = re.compile(r"`(embedwatch [^`]+)`")
_ASSIGNMENT = re.compile(r"^[A-Za-z_][A-Za-z0-9_]*=")


@dataclass(frozen=True, slots=True)
class Block:
    page: str  # from the root of the repository
    line: int  # of its fence
    kind: str
    text: str
    file: str | None = None

    @property
    def place(self) -> str:
        return f"{self.page}:{self.line}"


@dataclass(frozen=True, slots=True)
class Call:
    """One program of a command line: the variables before it, its name and its arguments."""

    variables: tuple[str, ...]
    words: tuple[str, ...]

    @property
    def program(self) -> str:
        return self.words[0] if self.words else ""


@dataclass(frozen=True, slots=True)
class Command:
    page: str
    line: int
    text: str  # as a shell takes it, without the comment

    @property
    def place(self) -> str:
        return f"{self.page}:{self.line}"

    def calls(self) -> list[Call]:
        """The programs of a pipe or of a chain, from the left. What stands after `<` and `>` is no argument."""
        found: list[Call] = []
        variables: list[str] = []
        words: list[str] = []
        redirected = False
        lexer = shlex.shlex(self.text, posix=True, punctuation_chars="();<>|&")
        lexer.whitespace_split = True
        lexer.commenters = ""
        for token in lexer:
            if token in ("|", "&&", ";", "||", "&"):
                found.append(Call(tuple(variables), tuple(words)))
                variables, words = [], []
            elif token in ("<", ">", ">>"):
                redirected = True
            elif redirected:
                redirected = False
            elif not words and _ASSIGNMENT.match(token):
                variables.append(token)
            else:
                words.append(token)
        return [*found, Call(tuple(variables), tuple(words))]


@cache
def pages() -> tuple[str, ...]:
    """Every page that a user reads, by its path from the root."""
    found = ["README.md", *(p.relative_to(ROOT).as_posix() for p in sorted(ROOT.glob("docs/**/*.md")))]
    return tuple(page for page in found if not page.startswith(LEFT_OUT))


def read(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def blocks_of(page: str, text: str) -> list[Block]:
    """Raises `ValueError` for a block that does not end, or a fence of a form that is not understood."""
    found: list[Block] = []
    file: str | None = None
    lines = iter(enumerate(text.splitlines(), 1))
    for number, line in lines:
        fence = _FENCE.match(line)
        if fence is None:
            if line.lstrip().startswith("```"):
                raise ValueError(f"{page}:{number}: a fence that is not understood: {line}")
            named = _FILE.match(line)
            file = named["name"] if named else file if not line.strip() else None
            continue
        inside: list[str] = []
        for _, each in lines:
            if each.strip() == "```":
                break
            inside.append(each.removeprefix(fence["indent"]))
        else:
            raise ValueError(f"{page}:{number}: the block does not end")
        found.append(Block(page, number, fence["kind"], "\n".join(inside) + "\n", file))
        file = None
    return found


def commands_of(block: Block) -> list[Command]:
    """The command lines of a shell's block, continued lines put together and comments taken off."""
    if block.kind not in SHELLS:
        return []
    found: list[Command] = []
    lines = iter(enumerate(block.text.splitlines(), block.line + 1))
    for number, line in lines:
        if block.kind == "console":
            if not line.startswith("$ "):
                continue
            line = line.removeprefix("$ ")
        whole = line
        while whole.endswith("\\"):
            whole = whole.removesuffix("\\") + next(lines)[1].strip()
        if text := _without_comment(whole):
            found.append(Command(block.page, number, text))
    return found


def commands(page: str) -> list[Command]:
    return [command for block in blocks_of(page, read(page)) for command in commands_of(block)]


def spans(page: str) -> Iterator[tuple[int, str]]:
    """Commands of ours that stand in a sentence: (line, text). They may lack arguments."""
    for number, line in prose(page):
        for found in _SPAN.finditer(line):
            yield number, found[1]


def links(page: str) -> Iterator[tuple[int, str]]:
    """(line, target) of every link to a file here or to a heading."""
    for number, line in prose(page):
        for found in _LINK.finditer(re.sub(r"`[^`]*`", "", line)):
            if not re.match(r"[a-z]+:", found["target"]):
                yield number, found["target"]


def prose(page: str) -> Iterator[tuple[int, str]]:
    """The lines outside blocks."""
    inside = False
    for number, line in enumerate(read(page).splitlines(), 1):
        if line.lstrip().startswith("```"):
            inside = not inside
        elif not inside:
            yield number, line


@cache
def anchors(page: str) -> frozenset[str]:
    """The headings of a page as GitHub names them."""
    seen: dict[str, int] = {}
    found: set[str] = set()
    for _, line in prose(page):
        heading = re.match(r"#{1,6} +(.*)", line)
        if heading is None:
            continue
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading[1]).strip().lower()
        slug = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
        found.add(f"{slug}-{seen[slug]}" if slug in seen else slug)
        seen[slug] = seen.get(slug, 0) + 1
    return frozenset(found)


def _without_comment(line: str) -> str:
    """Without ` # ...` at its end, where no quote is open."""
    quote = ""
    for at, character in enumerate(line):
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        elif character == "#" and (at == 0 or line[at - 1].isspace()):
            return line[:at].strip()
    return line.strip()
