"""Rows A1 to A14: numbers out of range, lists without end, and fields that are the engine's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from reliability.payloads.attack import Attack, Raw, Verdict, on_surface
from reliability.surfaces import Surface

# Numbers that no field takes, whatever it means.
NO_NUMBERS: tuple[tuple[str, Any], ...] = (
    ("NaN", Raw("NaN")),
    ("Infinity", Raw("Infinity")),
    ("minus Infinity", Raw("-Infinity")),
    ("1e999", Raw("1e999")),
    ("1e400 for an int", Raw("1" + "0" * 400)),
    ("5000 digits", Raw("9" * 5000)),
    ("text", "hot"),
    ("an object", {"a": 1}),
    ("a list", [1, 2]),
    ("true", True),
)
# By row and meaning: values that are out of every wire's range.
OUT_OF_RANGE: tuple[tuple[str, str, tuple[Any, ...]], ...] = (
    ("A1", "n", (10**6, 2**31, 16384, 0, -1, 2**63, 2**64)),
    ("A2", "best_of", (10**6, 2**31, -1, 2**64)),
    ("A3", "logprobs", (-2, 21, 4096, 4095, 10**9, 2**63)),
    ("A3", "prompt_logprobs", (-2, 21, 4096, 10**9, 2**63)),
    ("A7", "temperature", (-0.1, -1e308)),
    ("A7", "top_p", (-1, 1.0001, 2)),
    ("A7", "typical_p", (-1, 1.5)),
    ("A7", "min_p", (-1, 1.5)),
    ("A7", "repetition_penalty", (0, -1)),
    ("A7", "presence_penalty", (-3, 3, 1e308)),
    ("A7", "frequency_penalty", (-3, 3, 1e308)),
    ("A7", "top_k", (-5, -(2**31))),
    ("A8", "max_tokens", (-1, -(2**31), 1.5)),
    ("A8", "min_tokens", (-1, -(2**63))),
    ("A8", "truncate", (-7,)),
    ("A8", "truncate_prompt_tokens", (-7, 0)),
    ("A8", "n_discard", (-1,)),
    ("A8", "n_predict", (-1, 10**9)),
    ("A8", "seed", (2**80, -(2**80))),
    ("A8", "timeout", (-1, 2**64)),
)
# Values at the edge of a range, which an answer may follow: the numbers inside must stay finite.
AT_THE_EDGE: tuple[tuple[str, str, tuple[Any, ...]], ...] = (
    ("A7", "temperature", (0, 1e-300, 1e-45, 2, 999999, 1e308)),
    ("A7", "top_p", (0, 1e-300, 1)),
    ("A7", "typical_p", (1e-300, 1)),
    ("A7", "min_p", (1,)),
    ("A7", "repetition_penalty", (1e-300, 1e-30, 1e30, 1e300)),
    ("A7", "top_k", (0, 1, 2**31, 2**63 - 1, 2**63, 2**64)),
    ("A8", "seed", (0, -1, 2**63 - 1, 2**63, 2**64 - 1, 2**64)),
    ("A8", "truncate", (1, 2**31, 2**63)),
    ("A8", "truncate_prompt_tokens", (1, 2**31, 2**63)),
    ("A8", "timeout", (0, 10**6)),
    ("A9", "min_tokens", (10**9,)),
    ("A9", "max_tokens", (0, 10**9, 2**31, 2**63, 2**64)),
    ("A10", "n", ("1000000", 1.0)),
)
# Fields of the engine's own, of control planes, and of other servers' inner protocols.
INTERNAL: tuple[tuple[str, Any], ...] = (
    ("kv_transfer_params", {"tp_size": 10**9, "do_remote_prefill": True}),
    ("data_parallel_rank", 10**6),
    ("lora_request", {"lora_path": "/etc/passwd"}),
    ("lora_name", "../../../etc/passwd"),
    ("request_id", "x"),
    ("priority", 5),
    ("prompt_embeds", "gASVAAAAAAAAAA=="),
    ("bypass_capacity_check", True),
    ("api_base", "http://127.0.0.1:9"),
    ("logits_processors", ["os.system"]),
    ("extra_args", {"kv_transfer_params": {}}),
)
_TOKEN_LISTS = ("allowed_token_ids", "stop_token_ids")


def attacks(surfaces: tuple[Surface, ...], vocab_size: int = 5511) -> Iterator[Attack]:
    """All rows, on every path that they have a meaning for; ids from `vocab_size` on are no tokens."""
    for surface in surfaces:
        if surface.generates:
            yield from _values(surface)
            yield from _lists(surface)
            yield from _ids(surface, vocab_size)
        yield from _internal(surface)
        yield from _crowds(surface)


def _values(surface: Surface) -> Iterator[Attack]:
    for row, meaning, values in OUT_OF_RANGE:
        for value in values:
            yield _field(row, surface, meaning, value, Verdict.REFUSED)
    for row, meaning, values in AT_THE_EDGE:
        for value in values:
            yield _field(row, surface, meaning, value, Verdict.SURVIVED)
    for meaning in ("temperature", "top_k", "max_tokens", "seed", "repetition_penalty"):
        for label, value in NO_NUMBERS:
            row = "A10" if "digits" in label or "int" in label else "A7"
            is_whole = row == "A10" and meaning in ("top_k", "max_tokens")
            # As many as anybody likes is all there are.
            verdict = Verdict.SURVIVED if is_whole else Verdict.REFUSED
            # What is no JSON is recognised by nobody, so on a path that wires share any of them may refuse.
            wire = None if isinstance(value, Raw) else surface.wire
            yield on_surface(
                row,
                f"{meaning} {label}",
                surface,
                partial(surface.with_field, meaning, value),
                verdict,
                wire=wire,
            )


def _field(row: str, surface: Surface, meaning: str, value: Any, verdict: Verdict) -> Attack:
    return on_surface(row, f"{meaning} {value!r}", surface, lambda: surface.with_field(meaning, value), verdict)


def _lists(surface: Surface) -> Iterator[Attack]:
    many: tuple[tuple[str, str, str, Callable[[], Any]], ...] = (
        ("A4", "500k stop strings", "stop", lambda: [f"s{number}" for number in range(500_000)]),
        ("A4", "a stop string of 1 MB", "stop", lambda: ["x" * 1_000_000]),
        ("A4", "an empty stop string", "stop", lambda: [""]),
        ("A5", "50k bad words", "bad_words", lambda: [f"w{number}" for number in range(50_000)]),
        ("A5", "a bad word of 1 MB", "bad_words", lambda: ["x" * 1_000_000]),
        ("A5", "300k logit biases", "logit_bias", lambda: {str(number): 1 for number in range(300_000)}),
        ("A5", "100k stop ids", "stop_token_ids", lambda: [1] * 100_000),
        ("A5", "100k allowed ids", "allowed_token_ids", lambda: [1] * 100_000),
    )
    for row, label, meaning, make in many:
        heavy = "k " in label and label != "an empty stop string"
        yield on_surface(
            row,
            label,
            surface,
            partial(_with_made, surface, meaning, make),
            _verdict(label, surface),
            is_heavy=heavy,
        )


def _verdict(label: str, surface: Surface) -> Verdict:
    """Triton's ensembles say none by an empty string."""
    is_none = label.startswith("an empty") and surface.wire == "triton"
    return Verdict.SURVIVED if is_none else Verdict.REFUSED


def _ids(surface: Surface, vocab_size: int) -> Iterator[Attack]:
    for value in (-1, vocab_size, 2**31, 2**63, 2**64):
        for meaning in _TOKEN_LISTS:
            yield on_surface("A6", f"{meaning} {value}", surface, partial(surface.with_field, meaning, [value]))
        yield on_surface("A6", f"logit_bias {value}", surface, partial(surface.with_field, "logit_bias", {value: 1}))
        for name in ("prompt", "input_id", "input_ids", "prompt_token_ids"):
            yield on_surface(
                "A6",
                f"{name} [{value}]",
                surface,
                partial(_with_ids, surface, name, [value]),
                wire=None,
            )
    for label, value in NO_NUMBERS[:6]:
        yield on_surface(
            "A7",
            f"logit_bias of {label}",
            surface,
            partial(surface.with_field, "logit_bias", {"1": value}),
            wire=None,
        )
    yield on_surface(
        "A6",
        "a prompt of text and ids",
        surface,
        lambda: {**_without_prompt(surface), "prompt": ["a", 1, [2]]},
        wire=None,
    )


def _with_made(surface: Surface, meaning: str, make: Callable[[], Any]) -> dict[str, Any]:
    return surface.with_field(meaning, make())


def _with_ids(surface: Surface, name: str, ids: list[int]) -> dict[str, Any]:
    return {**_without_prompt(surface), name: ids}


def _without_prompt(surface: Surface) -> dict[str, Any]:
    return {name: value for name, value in surface.body.items() if name not in ("prompt", "inputs", "text_input")}


def _internal(surface: Surface) -> Iterator[Attack]:
    for name, value in INTERNAL:
        # To some wires a priority is a remark, since there is one queue, and a name of the client's own is one.
        is_remark = name in ("priority", "request_id")
        verdict = Verdict.SURVIVED if is_remark else Verdict.REFUSED
        yield on_surface("A12", name, surface, partial(surface.with_top, {name: value}), verdict)
        if surface.scope:
            make = partial(surface.with_fields, {name: value})
            yield on_surface("A12", f"inner {name}", surface, make, verdict)


def _crowds(surface: Surface) -> Iterator[Attack]:
    if "messages" in surface.body:
        message = {"role": "user", "content": "a"}
        yield on_surface(
            "A11", "400k messages", surface, lambda: {**surface.body, "messages": [message] * 400_000}, is_heavy=True
        )
        parts = [{"type": "text", "text": "a"}] * 400_000
        yield on_surface(
            "A11",
            "400k parts",
            surface,
            lambda: {**surface.body, "messages": [{"role": "user", "content": parts}]},
            is_heavy=True,
        )
        tool = {"type": "function", "function": {"name": "f", "parameters": {}}}
        named = {"name": "f", "input_schema": {}}
        yield on_surface(
            "A11",
            "10k tools",
            surface,
            lambda: {**surface.body, "tools": [named if surface.wire == "anthropic" else tool] * 10_000},
            is_heavy=True,
        )
    if surface.wire == "openai" and "prompt" in surface.body:
        yield on_surface(
            "A11", "100k prompts", surface, lambda: {**surface.body, "prompt": ["a"] * 100_000}, is_heavy=True
        )
    if "input" in surface.body:
        item = {"role": "user", "content": "a"}
        yield on_surface(
            "A11", "400k items", surface, lambda: {**surface.body, "input": [item] * 400_000}, is_heavy=True
        )
