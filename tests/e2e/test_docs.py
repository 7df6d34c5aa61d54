"""The commands and the Python of every page, run one after another as a reader would, on one stack without a model.

What cannot be run here stands in tests/harness/doc_ways.py with its reason, and is held to the code by tests/unit/docs.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.doc_blocks import ROOT, Block, blocks_of, commands_of, pages, read
from tests.harness.doc_stack import DocStack, doc_stack
from tests.harness.doc_ways import PYTHON_ELSEWHERE, lesser, run_of

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("cache_server")]

#: Of these every command is run where it stands; elsewhere one that a page before has run is not run again.
STORIES = ("docs/tutorial/",)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DocStack]:
    with doc_stack(tmp_path_factory.mktemp("docs")) as running:
        yield running


def to_run(page: str) -> list[Block]:
    found = [block for block in blocks_of(page, read(page)) if block.kind != "yaml" or block.file]
    if page in PYTHON_ELSEWHERE:
        assert (ROOT / PYTHON_ELSEWHERE[page]).exists()
        found = [block for block in found if block.kind != "python"]
    return [b for b in found if b.file or b.kind == "python" or any(lesser(c) is None for c in commands_of(b))]


@pytest.mark.timeout(240)  # the first page also waits for the stack
@pytest.mark.parametrize("page", [page for page in pages() if to_run(page)])
def test_what_a_page_tells_to_do_can_be_done(stack: DocStack, page: str) -> None:
    folder = stack.page_folder(page.replace("/", "-"))
    story = page.startswith(STORIES)
    # The Python up to the next command is one program, each block where it stands: an error names the page's line.
    program = ""
    for block in to_run(page):
        if block.file:
            _write(folder, block)
        if block.kind == "python":
            program += "\n" * (block.line - program.count("\n")) + block.text
        for command in commands_of(block):
            if lesser(command) is None and (story or command.text not in stack.done):
                if program:
                    stack.python(program, folder)
                    program = ""
                stack.run(command, run_of(command), folder)
                stack.done.add(command.text)
    if program:
        stack.python(program, folder)


def _write(folder: Path, block: Block) -> None:
    assert block.file is not None
    file = folder / block.file
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(block.text, encoding="utf-8")
