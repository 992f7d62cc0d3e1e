"""Documents that are generated are what the code says now."""

from __future__ import annotations

import re
from pathlib import Path

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
