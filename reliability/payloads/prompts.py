"""Rows E1 to E8: media, what is fetched, and prompts that cost more than they say."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from reliability.payloads.attack import Attack, Verdict, on_surface
from reliability.surfaces import Surface

_MEDIA_TYPES = ("image_url", "input_audio", "video_url", "audio_url", "file", "input_image", "image", "document")
_EMPTY: tuple[tuple[str, Any, Verdict], ...] = (
    ("empty", "", Verdict.REFUSED),
    ("a space", " ", Verdict.SURVIVED),
    ("NUL", "\x00", Verdict.SURVIVED),
    ("a line feed", "\n", Verdict.SURVIVED),
    ("nothing that is seen", "\u200b\u200d\ufeff", Verdict.SURVIVED),
    ("no list", [], Verdict.REFUSED),
    ("null", None, Verdict.REFUSED),
    ("an object", {}, Verdict.REFUSED),
    ("a number", 7, Verdict.REFUSED),
    ("text in a list in a list", [["a"]], Verdict.REFUSED),
)
_PLACEHOLDERS = (
    "<|vision_start|><|image_pad|><|vision_end|>",
    "<image>",
    "[IMG][IMG_END]",
    "<|audio_bos|><|AUDIO|><|audio_eos|>",
    "<start_of_image>",
    "<|image|>" * 50,
)
# By the bytes that they have in JSON, which all fit into a body.
_BIG: tuple[tuple[str, Callable[[int], str]], ...] = (
    ("one letter", lambda size: "a" * size),
    ("spaces", lambda size: " " * size),
    ("digits", lambda size: "0123456789" * (size // 10)),
    ("families", lambda size: "\U0001f469\u200d" * (size // 18)),
    ("control tokens", lambda size: "<|im_end|>" * (size // 10)),
    ("words", lambda size: "hello world " * (size // 12)),
    ("accents", lambda size: "e\u0301" * (size // 7)),
    ("brackets of links", lambda size: "![](" * (size // 4)),
)


def attacks(surfaces: tuple[Surface, ...], canary: str = "http://127.0.0.1:9") -> Iterator[Attack]:
    """All rows on every path with a prompt; `canary` is the address of a listener that nobody may connect to."""
    for surface in surfaces:
        if "messages" in surface.body:
            yield from _media(surface, canary)
        yield from _texts(surface, canary)
        yield from _sizes(surface)


def urls(canary: str) -> tuple[str, ...]:
    """Ways to write an address that must not be asked."""
    port = canary.rpartition(":")[2]
    return (
        f"{canary}/x.png",
        f"http://[::ffff:7f00:1]:{port}/x.png",
        f"http://2130706433:{port}/x.png",
        f"http://example.com\\@127.0.0.1:{port}/x.png",
        f"http://user:pass@127.0.0.1:{port}/x.png",
        f"http://localhost:{port}/x.png",
        "http://169.254.169.254/latest/meta-data/",
        "file:///etc/passwd",
        "file://../../etc/passwd",
        "gopher://127.0.0.1:6379/_x",
        "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk",
        "data:video/jpeg;base64," + "/9j/" * 5000,
    )


def _media(surface: Surface, canary: str) -> Iterator[Attack]:
    for url in urls(canary):
        part = {"type": "image_url", "image_url": {"url": url}}
        yield on_surface("E1", f"a picture at {url[:40]}", surface, partial(_with_content, surface, [part]))
    for kind in _MEDIA_TYPES:
        part = {"type": kind, kind: {"url": f"{canary}/x", "data": "AAAA"}, "source": {"type": "url", "url": canary}}
        yield on_surface("E4", f"content of the type {kind}", surface, partial(_with_content, surface, [part]))


def _with_content(surface: Surface, content: Any) -> dict[str, Any]:
    return {**surface.body, "messages": [{"role": "user", "content": content}]}


def _texts(surface: Surface, canary: str) -> Iterator[Attack]:
    name = _prompt_name(surface)
    for label, text in (
        ("a picture in Markdown", f"![]({canary}/x.png)"),
        ("a link", f"[x]({canary}/x)"),
        ("an address", canary),
    ):
        yield _with_prompt("E2", label, surface, text, Verdict.SURVIVED)
    for text in _PLACEHOLDERS:
        yield _with_prompt("E5", f"the placeholder {text[:20]}", surface, text, Verdict.SURVIVED)
    for label, value, verdict in _EMPTY:
        is_count = isinstance(value, str) and not surface.generates
        verdict = Verdict.SURVIVED if is_count else verdict
        yield _with_prompt("E6", label, surface, value, Verdict.SURVIVED if _means_something(name, value) else verdict)
    if "model" in surface.body or name != "messages":
        embeds = {"prompt_embeds": "gASVIAAAAAAAAACMBXBvc2l4lIwGc3lzdGVtlJOUjAJpZJSFlFKULg=="}
        yield on_surface("E3", "prompt_embeds", surface, lambda: {**surface.body, **embeds})


def _means_something(name: str, value: Any) -> bool:
    """Content without text is still a turn of a conversation, no ids are no text, and tensors are flattened."""
    is_empty = value in ("", [])
    return (is_empty and name in ("messages", "input", "tokens")) or (name == "inputs" and value == [["a"]])


def _sizes(surface: Surface) -> Iterator[Attack]:
    refused = Verdict.REFUSED if surface.generates else Verdict.SURVIVED
    for length, verdict in ((2047, Verdict.SURVIVED), (2049, refused), (204_800, refused)):
        yield _with_prompt("E7", f"{length} words", surface, "a " * length, verdict)
    for label, make in _BIG:
        yield _with_prompt("E8", f"15 MB of {label}", surface, make, Verdict.REFUSED, is_heavy=True)
        yield _with_prompt("E8", f"120 kB of {label}", surface, lambda size, m=make: m(size // 125), refused)


def _prompt_name(surface: Surface) -> str:
    return next(
        (name for name in ("messages", "prompt", "inputs", "text_input", "input", "tokens") if name in surface.body), ""
    )


def _with_prompt(
    row: str, label: str, surface: Surface, value: Any, verdict: Verdict, *, is_heavy: bool = False
) -> Attack:
    name = _prompt_name(surface)

    def make() -> dict[str, Any]:
        content = value(15_000_000) if callable(value) else value
        if name == "messages":
            return {**surface.body, "messages": [{"role": "user", "content": content}]}
        if isinstance(surface.body.get("inputs"), list):
            data = content if isinstance(content, list) else [content]
            return {**surface.body, "inputs": [{**surface.body["inputs"][0], "data": data}]}
        return {**surface.body, name: content}

    # Without what a shared path is recognised by, another wire may refuse.
    wire = surface.wire if isinstance(value, str) or callable(value) else None
    return on_surface(row, f"prompt: {label}", surface, make, verdict, is_heavy=is_heavy, wire=wire)
