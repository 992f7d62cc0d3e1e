"""Rows C1 to C15: HTTP, JSON and tensors that are not what they say."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache, partial
from typing import Any

from reliability.payloads.attack import Attack, Verdict
from reliability.surfaces import Surface

_MB = 1_000_000
# Bodies that are no JSON of any route, or hardly.
BODIES: tuple[tuple[str, str, Callable[[], bytes], Verdict], ...] = (
    ("C4", "250k brackets", lambda: b"[" * 250_000, Verdict.REFUSED),
    ("C4", "250k objects", lambda: b'{"a":' * 250_000, Verdict.REFUSED),
    ("C4", "closed brackets, 100k deep", lambda: b"[" * 100_000 + b"]" * 100_000, Verdict.REFUSED),
    ("C4", "a field 120 levels deep", lambda: b'{"x":' + b"[" * 120 + b"]" * 120 + b"}", Verdict.REFUSED),
    ("C13", "UTF-16", lambda: '{"a":1}'.encode("utf-16"), Verdict.REFUSED),
    ("C13", "UTF-32", lambda: '{"a":1}'.encode("utf-32"), Verdict.REFUSED),
    ("C13", "a byte order mark", lambda: b"\xef\xbb\xbf{}", Verdict.REFUSED),
    ("C13", "an overlong slash", lambda: b'{"a":"\xc0\xaf"}', Verdict.REFUSED),
    ("C13", "half a character", lambda: b'{"a":"\xe2\x82"}', Verdict.REFUSED),
    ("C13", "a surrogate in UTF-8", lambda: b'{"a":"\xed\xa0\x80"}', Verdict.REFUSED),
    ("C13", "NUL bytes", lambda: b"\x00" * 100, Verdict.REFUSED),
    ("C13", "bytes behind", lambda: b"{} {}", Verdict.REFUSED),
    ("C13", "nothing", lambda: b"", Verdict.REFUSED),
    ("C13", "spaces", lambda: b" " * 1000, Verdict.REFUSED),
    ("C13", "null", lambda: b"null", Verdict.REFUSED),
    ("C13", "a list", lambda: b"[1]", Verdict.REFUSED),
    ("C13", "a string", lambda: b'"a"', Verdict.REFUSED),
    ("C13", "comments", lambda: b"{/* a */}", Verdict.REFUSED),
    ("C13", "a comma too many", lambda: b'{"a":1,}', Verdict.REFUSED),
)
# Text that is JSON, in the place of the prompt.
TEXTS = (
    ("a lone surrogate", b'"\\ud800"'),
    ("a pair the wrong way round", b'"\\udc00\\ud800"'),
    ("an escaped NUL", b'"a\\u0000b"'),
    ("control characters", b'"\\u0001\\u001f\\u007f"'),
    ("the last character there is", '"\U0010ffff"'.encode()),
    ("right to left", '"\u202eabc\u2066"'.encode()),
)
MEDIA_TYPES = (
    ("a form", "application/x-www-form-urlencoded"),
    ("text", "text/plain"),
    ("parts without a boundary", "multipart/form-data"),
    ("parts", "multipart/form-data; boundary=" + "-" * 70),
    ("XML", "application/xml"),
    ("none", ""),
    ("a character set", "application/json; charset=utf-7"),
    ("64 kB", "application/" + "x" * 65_000),
)


def attacks(surfaces: tuple[Surface, ...], model: str) -> Iterator[Attack]:
    """All rows that a client can send which writes its own bodies and headers."""
    for surface in surfaces:
        yield from _bodies(surface)
        yield from _compressed(surface)
    yield from _tensors(model)


def _bodies(surface: Surface) -> Iterator[Attack]:
    for row, label, make, verdict in BODIES:
        yield _attack(row, label, surface, make, verdict)
    for label, text in TEXTS:
        yield _attack("C13", label, surface, partial(_with_prompt, surface, text), Verdict.SURVIVED)
    doubled = b'{"model":"x",' + json.dumps(dict(surface.body)).encode()[1:]
    yield _attack("C13", "a key twice", surface, lambda: doubled, Verdict.SURVIVED)
    valid = json.dumps(dict(surface.body)).encode()
    for label, media_type in MEDIA_TYPES:
        headers = {"content-type": media_type, "origin": "http://evil.example"}
        yield _attack("C9", f"a page's {label}", surface, lambda: valid, Verdict.SURVIVED, headers)


def _with_prompt(surface: Surface, text: bytes) -> bytes:
    return json.dumps(dict(surface.body)).encode().replace(b'"Hello"', text)


@cache
def _bomb() -> bytes:
    """What is forty times as much, and more than any body may be."""
    return gzip.compress(b" " * (40 * _MB))


def _compressed(surface: Surface) -> Iterator[Attack]:
    for label, encoding, make in (
        ("a bomb of gzip", "gzip", lambda: _bomb()),
        ("a bomb within a bomb", "gzip, gzip", lambda: gzip.compress(_bomb())),
        ("a bomb of deflate", "deflate", lambda: zlib.compress(_bomb())),
        ("gzip that is none", "gzip", lambda: b"\x1f\x8b" + b"\x00" * 30),
        ("gzip that ends early", "gzip", lambda: gzip.compress(b'{"a":1}')[:-5]),
        ("brotli", "br", lambda: b"\x0b\x02\x80{}\x03"),
        ("zstd", "zstd", lambda: b"\x28\xb5\x2f\xfd\x00\x00"),
        ("an encoding that is none", "x" * 1000, lambda: b"{}"),
    ):
        # Not to be able to read a body is Triton's 501.
        attack = _attack("C3", label, surface, make, Verdict.REFUSED, {"content-encoding": encoding})
        yield replace(attack, statuses=(400, 413, 415, 422, 501))


def _attack(
    row: str,
    label: str,
    surface: Surface,
    make: Callable[[], bytes],
    verdict: Verdict,
    headers: dict[str, str] | None = None,
) -> Attack:
    # What is no JSON is recognised by nobody, so on a path that wires share any of them may refuse.
    return Attack(
        row,
        f"{label} on {surface.name}",
        surface.path,
        make,
        None,
        verdict,
        headers=headers or {},
        streams_errors=surface.streams_errors,
    )


_TEXT = {"name": "text_input", "shape": [1], "datatype": "BYTES", "data": ["Hello"]}
_SHAPES: tuple[tuple[str, Any], ...] = (
    ("a product beyond 64 bits", [2**32, 2**32]),
    ("a product of zero after an overflow", [2**63, 2**63, 0]),
    ("a billion elements", [10**9]),
    ("a negative size", [-1]),
    ("two negative sizes", [-1, -1]),
    ("a size with 400 digits", [10**400]),
    ("a fraction", [1.5]),
    ("no list", 1),
    ("100k dimensions", [1] * 100_000),
    ("two of one", [2]),
    ("none of one", [0]),
)


def _tensors(model: str) -> Iterator[Attack]:
    path = f"/v2/models/{model}/infer"
    for at in (path, f"/v2/models/{model}/versions/1/infer"):
        for label, shape in _SHAPES:
            verdict = Verdict.SURVIVED if "100k" in label else Verdict.REFUSED
            yield _infer("C15", f"shape of {label}", at, {"inputs": [{**_TEXT, "shape": shape}]}, verdict)
        for datatype in ("INT64", "FP16", "BF16", "STRING", "", "BYTES\x00", "A" * 65_000, "UINT32"):
            yield _infer("C15", f"datatype {datatype[:10]!r}", at, {"inputs": [{**_TEXT, "datatype": datatype}]})
        yield _infer("C15", "an input twice", at, {"inputs": [_TEXT, _TEXT]})
        yield _infer("C15", "10k inputs", at, {"inputs": [{**_TEXT, "name": f"x{n}"} for n in range(10_000)]})
        yield _infer(
            "C15", "100k outputs", at, {"inputs": [_TEXT], "outputs": [{"name": f"x{n}"} for n in range(100_000)]}
        )
        yield _infer("C15", "an output twice", at, {"inputs": [_TEXT], "outputs": [{"name": "text_output"}] * 2})
        wide = {"name": "temperature", "shape": [8 * _MB], "datatype": "FP64", "data": [0]}
        yield _infer("C15", "data that is less than its shape", at, {"inputs": [_TEXT, wide]})
        deep: Any = "Hello"
        for _ in range(120):
            deep = [deep]
        yield _infer("C15", "data 120 levels deep", at, {"inputs": [{**_TEXT, "data": deep}]})
        yield _infer(
            "E3",
            "shared memory",
            at,
            {
                "inputs": [
                    {
                        "name": "text_input",
                        "shape": [1],
                        "datatype": "BYTES",
                        "parameters": {"shared_memory_region": "x", "shared_memory_byte_size": 2**60},
                    }
                ]
            },
        )
        for value in (-1, 2**64, "x", [1, 2], True):
            for name in ("timeout", "sequence_id", "binary_data_output"):
                verdict = Verdict.SURVIVED if (name, value) in (("binary_data_output", True),) else Verdict.REFUSED
                yield _infer("A14", f"{name} {value!r}", at, {"inputs": [_TEXT], "parameters": {name: value}}, verdict)
        yield from _lengths(at)


def _lengths(path: str) -> Iterator[Attack]:
    head = json.dumps(
        {"inputs": [{"name": "text_input", "shape": [1], "datatype": "BYTES", "parameters": {"binary_data_size": 9}}]}
    ).encode()
    whole = head + b"\x05\x00\x00\x00Hello"
    for stated in ("99999999999", "99999999999999999999999999", "-1", "x", "1e3", str(len(whole) + 1), "3", "0x10", ""):
        yield _binary(f"a JSON length of {stated[:12]!r}", path, whole, stated)
    for size in (10**9, 2**64, -1, "9", 1.5, None, True, 8, 10):
        inputs = [{"name": "text_input", "shape": [1], "datatype": "BYTES", "parameters": {"binary_data_size": size}}]
        lying = json.dumps({"inputs": inputs}).encode()
        yield _binary(f"a size of {size!r}", path, lying + b"\x05\x00\x00\x00Hello", str(len(lying)))
    yield _binary("a string longer than its tensor", path, head + b"\xff\xff\xff\xffHello", str(len(head)))
    yield _binary("a string that is no text", path, head + b"\x05\x00\x00\x00\xff\xfe\xff\xfe\xff", str(len(head)))
    number = json.dumps(
        {
            "inputs": [
                _TEXT,
                {"name": "temperature", "shape": [1], "datatype": "FP32", "parameters": {"binary_data_size": 4}},
            ]
        }
    ).encode()
    for label, value in (
        ("NaN", b"\x00\x00\xc0\x7f"),
        ("infinity", b"\x00\x00\x80\x7f"),
        ("minus zero", b"\x00\x00\x00\x80"),
    ):
        verdict = Verdict.SURVIVED if label == "minus zero" else Verdict.REFUSED
        yield _binary(f"a temperature of {label} in bytes", path, number + value, str(len(number)), verdict)


def _infer(row: str, label: str, path: str, body: Any, verdict: Verdict = Verdict.REFUSED) -> Attack:
    return Attack(row, f"{label} on {path}", path, lambda: json.dumps(body).encode(), "triton", verdict)


def _binary(label: str, path: str, body: bytes, stated: str, verdict: Verdict = Verdict.REFUSED) -> Attack:
    headers = {"inference-header-content-length": stated, "content-type": "application/octet-stream"}
    return Attack("C8", f"{label} on {path}", path, lambda: body, "triton", verdict, headers=headers)


def raw_messages() -> Iterator[tuple[str, bytes, tuple[int, ...]]]:
    """Heads that no client would write, and the statuses they may have; 0 is the end of the connection."""
    head = b"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
    lengths = ("-1", "abc", "1e3", "0x10", "1_0", "", "9" * 30, "99999999999", "+5", "5, 6")
    for length in lengths:
        yield f"a length of {length[:12]!r}", head + f"content-length: {length}\r\n\r\n".encode(), (400, 413)
    chunked = head + b"transfer-encoding: chunked\r\n\r\n"
    yield "chunks beyond the limit", chunked + (b"10000\r\n" + b" " * 65536 + b"\r\n") * 300, (413, 0)
    yield "a chunk of a negative size", chunked + b"-1\r\n\r\n", (400,)
    yield "a chunk of 2**64 bytes", chunked + b"10000000000000000\r\n", (400, 413)
    yield "100k chunks of a byte", chunked + b"1\r\n \r\n" * 100_000 + b"0\r\n\r\n", (400, 413)
    yield "two lengths", head + b"content-length: 2\r\ncontent-length: 3\r\n\r\n{}", (400,)
    yield "a length and chunks", chunked[:-2] + b"content-length: 2\r\n\r\n0\r\n\r\n", (400,)
    yield "NUL in a header", head + b"x: a\x00b\r\ncontent-length: 2\r\n\r\n{}", (400,)
    yield "a header without a name", head + b": x\r\ncontent-length: 2\r\n\r\n{}", (400,)
    yield "a header of 1 MB", head + b"x: " + b"a" * _MB + b"\r\ncontent-length: 2\r\n\r\n{}", (400, 431, 0)
    many = b"".join(b"x%d: y\r\n" % number for number in range(5000))
    yield "5000 headers", head + many + b"content-length: 2\r\n\r\n{}", (400, 431, 0)
    yield "a target of 1 MB", b"GET /" + b"a" * _MB + b" HTTP/1.1\r\nhost: x\r\n\r\n", (400, 404, 414, 431, 0)
