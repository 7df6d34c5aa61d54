"""The file of a saved state on the disk: read several times, and told in words where it is damaged."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from embedwatch.errors import InputError
from stream_agents import saving
from stream_agents.compute.state_file import Head, Kept, lines

HEAD = Head("embedwatch-agents", 1_770_000_000.5, 1, {0: 1}, {0: None})
RECORDS = [Kept("windows", 0, b"w%d" % n, bytes([n % 256]) * 50, n) for n in range(2000)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    saving._write(tmp_path / "state.jsonl.gz", lines(HEAD, RECORDS))
    return tmp_path / "state.jsonl.gz"


def test_a_file_is_read_as_often_as_asked_also_when_another_takes_its_name(path: Path) -> None:
    with path.open("rb") as file:
        for _ in range(2):
            head, records = saving._records(path, file)
            assert (head, list(records)) == (HEAD, RECORDS)
            saving._write(path, lines(HEAD, []))


@pytest.mark.parametrize("damage", ["cut off", "changed in the middle", "no such block", "no gzip"])
def test_a_damaged_file_is_told_by_its_name(path: Path, damage: str) -> None:
    whole = path.read_bytes()
    middle = len(whole) // 2
    path.write_bytes({
        "cut off": whole[:middle], "changed in the middle": whole[:middle] + b"\xff" * 50 + whole[middle + 50 :],
        "no such block": gzip.compress(b"")[:10] + b"\xff" * 20,  # after the header: there are no blocks of this kind
        "no gzip": gzip.decompress(whole),
    }[damage])  # fmt: skip
    with path.open("rb") as file, pytest.raises(InputError, match=path.name):
        list(saving._records(path, file)[1])
