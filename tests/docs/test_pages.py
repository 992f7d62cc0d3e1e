"""Documents that are generated are what the code says now."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from docs.generate_ledgers import render_pages

ROOT = Path(__file__).parents[2]


def test_ledger_pages_are_up_to_date() -> None:
    stale = [path.name for path, text in render_pages().items() if path.read_text(encoding="utf-8") != text]
    assert not stale, "run: python docs/generate_ledgers.py"


def test_the_structure_page_has_every_package() -> None:
    page = (ROOT / "docs" / "structure.md").read_text(encoding="utf-8")
    packages = [path.parent.relative_to(ROOT / "src" / "portico") for path in (ROOT / "src").rglob("__init__.py")]
    missing = [str(package) for package in packages if f"`{package}`" not in page and str(package) != "."]
    assert not missing


def test_links_between_documents_lead_somewhere() -> None:
    documents = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    for document in documents:
        for link in re.findall(r"\]\((?!https?:)([^)#]+)", document.read_text(encoding="utf-8")):
            assert (document.parent / link).exists(), f"{document.name} links to {link}"


@pytest.mark.parametrize("name", ["tgi", "triton", "mindie"])
def test_the_flags_that_others_have_here_are_there(name: str) -> None:
    """Of the commands for this server and of the column that is its own."""
    page = (ROOT / "docs" / "migration" / f"{name}.md").read_text(encoding="utf-8")
    # Commands go on in the next line after a backslash.
    commands = re.findall(r"^portico serve .*$", page.replace("\\\n", ""), re.MULTILINE)
    rows = re.findall(r"^\|[^|\n]*\|([^|\n]*)\|$", page, re.MULTILINE)
    assert commands
    assert rows
    flags = {flag for text in (*commands, *rows) for flag in re.findall(r"--[a-z][a-z-]*", text)}
    known = subprocess.run([sys.executable, "-m", "portico", "serve", "--help"], capture_output=True, text=True).stdout
    assert not {flag for flag in flags if flag not in known.split() and f"{flag}," not in known}
