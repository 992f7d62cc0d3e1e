"""Documents that are generated are what the code says now."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from docs.generate_ledgers import render_pages
from portico.app import build_dialects
from portico.config import ServerConfig
from portico.core.model import DraftCounts, EngineMemory, EngineStats
from portico.dialects import triton, vllm
from portico.telemetry.metrics import Metrics

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


def test_the_page_of_metrics_has_those_that_there_are() -> None:
    page = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    here = re.sub(r"^Not exported.*?(?=^## |\Z)", "", page, flags=re.MULTILINE | re.DOTALL)
    listed, named = (set(re.findall(r"`([a-z_:0-9]+)[`{]", text)) for text in (here, page))
    absent = {each for each in named - listed if re.match("vllm:|tgi_|nv_", each)}
    assert len(absent) > 30
    memory = EngineMemory(weights=1, kv_cache=1, base=1, peak=1)
    stats = EngineStats(0, 0, 1, 1, 0, drafts=DraftCounts(0, 0, (0,)), memory=memory)
    dialects = build_dialects(ServerConfig())
    metrics = Metrics("m", lambda: stats, tuple(alias for each in dialects for alias in each.metric_aliases))
    families = [each.name for each in text_string_to_metric_families(metrics.render()[0].decode())]
    own = {each.removeprefix("portico_") for each in families if each.startswith("portico_")}
    aliases = {alias.name for each in dialects for alias in each.metric_aliases}
    aliases |= {each.name for each in (*triton.METRICS, *vllm.METRICS)}
    exported = own | aliases
    assert len(own) > 30
    assert not {each for each in exported if not {each, f"{each}_total"} & listed}
    assert not exported & absent
    assert not {each for each in listed if ":" in each or each.startswith(("tgi_", "nv_"))} - aliases


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
