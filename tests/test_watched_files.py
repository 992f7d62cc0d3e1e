"""Files that change while a server runs: read again once they are whole, kept as they were if they cannot be used."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from portico.watched_files import WatchedFiles


class Reader:
    """Reads a file as a number."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.read: list[int] = []

    def reload(self) -> None:
        self.read.append(int(self.path.read_text()))


@pytest.fixture
def reader(tmp_path: Path) -> Reader:
    path = tmp_path / "number"
    path.write_text("1")
    return Reader(path)


def watched(reader: Reader) -> WatchedFiles:
    return WatchedFiles("Numbers", [reader.path], reader.reload, (ValueError, OSError))


def test_a_change_is_read_once_it_is_over(reader: Reader) -> None:
    files = watched(reader)
    files.check()
    assert reader.read == []
    reader.path.write_text("22")
    files.check()
    # Somebody may be writing it still.
    assert reader.read == []
    reader.path.write_text("333")
    files.check()
    assert reader.read == []
    files.check()
    assert reader.read == [333]
    files.check()
    assert reader.read == [333]


def test_another_file_in_its_place_is_a_change(reader: Reader, tmp_path: Path) -> None:
    files = watched(reader)
    other = tmp_path / "other"
    other.write_text("2")
    other.replace(reader.path)
    files.check()
    files.check()
    assert reader.read == [2]


def test_what_cannot_be_used_is_told_once_and_read_when_it_is_mended(
    reader: Reader, caplog: pytest.LogCaptureFixture
) -> None:
    files = watched(reader)
    for damage in (lambda: reader.path.write_text("no number"), reader.path.unlink):
        caplog.clear()
        damage()
        for _ in range(4):
            files.check()
        [record] = caplog.records
        assert record.levelno == logging.ERROR
        assert record.getMessage().startswith("Numbers have changed and cannot be used, those before hold on: ")
    reader.path.write_text("4")
    with caplog.at_level(logging.INFO, logger="portico"):
        files.check()
        files.check()
    assert caplog.records[-1].getMessage() == "Numbers were read again"
    assert reader.read == [4]
