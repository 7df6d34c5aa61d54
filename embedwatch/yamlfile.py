"""YAML files of settings and rules, with the line of every entry, so that a mistake can be shown where it stands."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from embedwatch.errors import ConfigError

#: A file of rules or settings is some kilobytes. This also stops a wrong path (a data file) from being read whole.
#: Parsing takes some 10 s for each MiB.
MAX_FILE_BYTES = 256 * 1024

#: Anchors may be used, but a file that grows beyond this when they are followed was made to hang its reader.
MAX_ENTRIES = 100_000

#: Of a whole number, as it is written. A longer one is no setting, fits into no float, and may be too long to be shown.
MAX_DIGITS = 100

Path_ = tuple[str | int, ...]


class YamlFile:
    """Parsed data with places. `place(("rules", 0, "window"))` is "rules.yaml, line 7"."""

    def __init__(self, name: str, text: str) -> None:
        """Raises `ConfigError` when the text is not YAML, or says the same key twice."""
        self.name = name
        self._lines: dict[Path_, int] = {}
        self.data: Any = None
        try:
            loader = yaml.SafeLoader(text)
            node = loader.get_single_node()
            if node is not None:
                self._walk(node, ())
                self.data = loader.construct_document(node)
        except yaml.MarkedYAMLError as error:
            line = error.problem_mark.line + 1 if error.problem_mark else "?"
            raise ConfigError(f"{name}, line {line}: not valid YAML: {error.problem}") from None
        except RecursionError:
            raise ConfigError(f"{name}: not valid YAML: nested too deeply, or an alias inside its own anchor") from None
        except (yaml.YAMLError, ValueError) as error:
            raise ConfigError(f"{name}: not valid YAML: {str(error).splitlines()[0][:200]}") from None
        except (LookupError, TypeError, AttributeError, ArithmeticError):  # PyYAML 6: of `!!int ''`, `!!bool maybe`
            raise ConfigError(f"{name}: not valid YAML: a value is not what its tag says it is") from None

    def place(self, path: Path_) -> str:
        """File and line of an entry, or of the nearest one around it."""
        while path and path not in self._lines:
            path = path[:-1]
        return f"{self.name}, line {self._lines[path]}" if path else self.name

    def _walk(self, node: yaml.Node, path: Path_) -> None:
        if isinstance(node, yaml.ScalarNode):
            self._check(node)
        elif isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                if isinstance(key, yaml.ScalarNode):
                    self._check(key)
                inner = (*path, str(key.value))
                if inner in self._lines:
                    raise ConfigError(
                        f"{self.name}, line {key.start_mark.line + 1}: {key.value!r} stands here a second time "
                        f"(first in line {self._lines[inner]})"
                    )
                self._note(inner, key)
                self._walk(value, inner)
        elif isinstance(node, yaml.SequenceNode):
            for index, value in enumerate(node.value):
                inner = (*path, index)
                self._note(inner, value)
                self._walk(value, inner)

    def _check(self, node: yaml.ScalarNode) -> None:
        if node.tag == "tag:yaml.org,2002:int" and len(node.value) > MAX_DIGITS:
            raise ConfigError(
                f"{self.name}, line {node.start_mark.line + 1}: a number of {len(node.value):,} digits; "
                f"at most {MAX_DIGITS} are read"
            )

    def _note(self, path: Path_, node: yaml.Node) -> None:
        if len(self._lines) >= MAX_ENTRIES:
            raise ConfigError(f"{self.name}: more than {MAX_ENTRIES} entries when its aliases are followed")
        self._lines[path] = node.start_mark.line + 1


def read_yaml(path: Path, kind: str, hint: str) -> YamlFile:
    """Read a file. Raises `ConfigError` saying which kind of file, where, and `hint` (what to check)."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{kind} {path}: {getattr(error, 'strerror', None) or error}; {hint}") from None
    if len(data) > MAX_FILE_BYTES:
        raise ConfigError(f"{kind} {path}: larger than {MAX_FILE_BYTES // 1024} KiB: that is none; {hint}")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise ConfigError(f"{kind} {path} is not UTF-8 text; {hint}") from None
    return YamlFile(f"{kind} {path}", text)


def closest(word: str, known: Iterable[str]) -> str:
    """ "; did you mean X?", or the list of what is known."""
    names = sorted(known)
    near = difflib.get_close_matches(word, names, n=1)
    return f"; did you mean {near[0]}?" if near else f"; known are: {', '.join(names)}"
