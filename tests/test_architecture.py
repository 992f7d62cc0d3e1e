"""The rules of the layering that import contracts alone do not say.

Imports inside functions count like those at the top of a module.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import portico

ROOT = Path(portico.__file__).parent
DIALECTS = ("openai", "vllm", "tgi", "triton", "mindie", "anthropic")
NAMED = re.compile("|".join(DIALECTS), re.IGNORECASE)
MODULES = sorted(ROOT.rglob("*.py"))

# Where each library may be imported; everything else of the package must do without it.
HOMES = {
    "torch": ("engines/native/", "bench/probe.py"),
    "safetensors": ("engines/native/",),
    "starlette": ("web/",),
    "uvicorn": ("web/", "app.py"),
    "uvloop": ("web/", "app.py", "cli.py"),
    "grpc": ("web/",),
    "google": ("dialects/triton/",),
    "msgspec": ("dialects/",),
    "prometheus_client": ("telemetry/",),
    "tokenizers": ("text/",),
    "llguidance": ("text/", "engines/native/"),
    "tiktoken": ("text/",),
    "sentencepiece": ("text/",),
    "jinja2": ("text/",),
    "transformers": (),
}

# Packages that serve every dialect alike and so must not speak of any.
IMPARTIAL = ("core", "text", "service", "web", "engines", "telemetry")


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def place(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imports(path: Path) -> Iterator[str]:
    """Full names of imported modules, and of what is taken from them."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{place(path)}: imports are absolute"
            assert node.module is not None
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def words_of_code(path: Path) -> Iterator[str]:
    """Identifiers and string constants; docstrings and comments are free to name a source."""
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str | bytes) and id(node) not in docstrings:
            yield node.value if isinstance(node.value, str) else node.value.decode("latin-1")
        for field in ("id", "attr", "arg", "name", "module", "asname"):
            if isinstance(value := getattr(node, field, None), str):
                yield value


@pytest.mark.parametrize("path", MODULES, ids=place)
def test_libraries_stay_at_home(path: Path) -> None:
    for name in imports(path):
        homes = HOMES.get(name.partition(".")[0])
        assert homes is None or place(path).startswith(homes), f"{place(path)} imports {name}"


@pytest.mark.parametrize("path", [each for each in MODULES if place(each).startswith(IMPARTIAL)], ids=place)
def test_no_dialect_is_named_outside_its_folder(path: Path) -> None:
    found = sorted({word for word in words_of_code(path) if NAMED.search(word)})
    assert not found, f"{place(path)} names a dialect: {found}"


@pytest.mark.parametrize("dialect", DIALECTS)
def test_only_the_composition_root_imports_a_dialect(dialect: str) -> None:
    """Deleting the folder and the lines in `app` removes the dialect."""
    package = f"portico.dialects.{dialect}"
    importers = {
        place(path)
        for path in MODULES
        if any(name == package or name.startswith(f"{package}.") for name in imports(path))
        and not place(path).startswith(f"dialects/{dialect}/")
    }
    assert importers <= {"app.py"}


def test_the_folders_of_dialects_are_known() -> None:
    found = {each.parent.name for each in (ROOT / "dialects").glob("*/__init__.py")}
    assert found <= set(DIALECTS), "add the name to DIALECTS, so that it is looked for"


@pytest.mark.parametrize("path", [each for each in MODULES if place(each).startswith("dialects/")], ids=place)
def test_dialects_are_synchronous(path: Path) -> None:
    asynchronous = (ast.AsyncFunctionDef, ast.Await, ast.AsyncFor, ast.AsyncWith)
    assert not any(isinstance(node, asynchronous) for node in ast.walk(tree(path)))
    assert not {"asyncio", "logging", "threading", "socket"} & set(imports(path))


@pytest.mark.parametrize("module", ["portico.cli", "portico.app"])
def test_heavy_libraries_are_not_loaded_at_start(module: str) -> None:
    """Those of the engine's process not at all, and those of gRPC only where its port is on."""
    heavy = {"torch", "transformers", "grpc", "google.protobuf"}
    script = f"import sys, {module}; sys.exit(', '.join({heavy} & set(sys.modules)) or None)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
