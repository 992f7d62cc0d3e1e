"""Every command of the cheat sheet, run word for word with curl; only the port is another one."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import httpx
import pytest

from tests.end_to_end.server import RunningServer
from tests.seed.commands import ADDRESS, read_bodies, read_commands

pytestmark = pytest.mark.xdist_group("demo")

COMMANDS = read_commands()
CONTROL_TEXT = ("<|im_end|>", "<|im_start|>", "<|endoftext|>", "\nuser\n", "<reserved_")
ADVICE = ("运动", "睡", "饮食", "休息", "心情", "健康")


def run(server: RunningServer, number: int) -> str:
    command = COMMANDS[number].replace(ADDRESS, server.address)
    done = subprocess.run(["bash", "-c", command + " -sS -i"], capture_output=True, text=True, timeout=120, check=True)
    head, _, body = done.stdout.partition("\n\n")
    assert head.startswith("HTTP/1.1 200"), done.stdout
    return body


def chat(server: RunningServer, number: int) -> dict[str, Any]:
    """The answer of a chat command, with what is true of every one of them checked."""
    request = json.loads(COMMANDS[number].split("'")[1])
    answer: dict[str, Any] = json.loads(run(server, number))
    assert answer["object"] == "chat.completion"
    assert answer["model"] == "portico-demo"
    choices = answer["choices"]
    assert [choice["index"] for choice in choices] == list(range(request.get("n", 1)))
    usage = answer["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert usage["completion_tokens"] <= len(choices) * request.get("max_tokens", 2048)
    for choice in choices:
        assert choice["finish_reason"] in ("stop", "length")
        assert choice["message"]["role"] == "assistant"
        assert choice["message"]["content"]
        assert not any(control in choice["message"]["content"] for control in CONTROL_TEXT)
        assert (choice["logprobs"] is not None) == request.get("logprobs", False)
    if request.get("logprobs"):
        entries = [entry for choice in choices for entry in choice["logprobs"]["content"]]
        assert len(entries) == usage["completion_tokens"]
        assert all(entry["logprob"] <= 0 and entry["bytes"] for entry in entries)
    return answer


def contents(answer: dict[str, Any]) -> list[str]:
    return [choice["message"]["content"] for choice in answer["choices"]]


def read_events(body: str) -> list[dict[str, Any]]:
    """The events of a chat stream, its frame checked."""
    frames = body.split("\n\n")
    assert frames[-2:] == ["data: [DONE]", ""]
    events = [json.loads(frame.removeprefix("data: ")) for frame in frames[:-2]]
    assert len({(event["id"], event["created"], event["model"]) for event in events}) == 1
    return events


def test_all_commands_are_tested() -> None:
    assert len(COMMANDS) == 18
    assert len(read_bodies()) == 1


@pytest.mark.parametrize("number", [0, 1, 2, 9])
def test_health_advice(demo_server: RunningServer, number: int) -> None:
    (content,) = contents(chat(demo_server, number))
    assert any(word in content for word in ADVICE)


def test_ten_choices_greet_by_name(demo_server: RunningServer) -> None:
    answer = chat(demo_server, 3)
    greetings = contents(answer)
    assert sum("李聪明" in greeting for greeting in greetings) >= 8
    assert all(choice["finish_reason"] == "stop" for choice in answer["choices"])


@pytest.mark.parametrize("number", [4, 5])
def test_ten_choices_of_comfort(demo_server: RunningServer, number: int) -> None:
    answers = contents(chat(demo_server, number))
    assert sum(len(answer) > 20 for answer in answers) >= 8


def test_the_name_is_remembered_from_a_transcript_in_one_message(demo_server: RunningServer) -> None:
    answer = chat(demo_server, 6)
    assert sum("李聪明" in content for content in contents(answer)) >= 8
    assert all(choice["finish_reason"] == "stop" for choice in answer["choices"])


def test_five_pieces_of_advice(demo_server: RunningServer) -> None:
    (content,) = contents(chat(demo_server, 7))
    assert all(f"{number}." in content for number in range(1, 6))


@pytest.mark.parametrize(("number", "expected"), [(8, ("Hello", "Hi", "help")), (10, ADVICE)])
def test_streams(demo_server: RunningServer, number: int, expected: tuple[str, ...]) -> None:
    first, *deltas, last = read_events(run(demo_server, number))
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert last["choices"][0]["finish_reason"] == "stop"
    pieces = [event["choices"][0]["delta"]["content"] for event in deltas]
    assert len(pieces) > 3
    assert any(word in "".join(pieces) for word in expected)


def test_a_streamed_text_is_the_whole_text(demo_server: RunningServer) -> None:
    body = {"model": "qwen-72b", "messages": [{"role": "user", "content": "保持健康的方法"}], "temperature": 0}
    url = f"{demo_server.address}/v1/chat/completions"
    whole = httpx.post(url, json=body, timeout=60).json()["choices"][0]["message"]["content"]
    events = read_events(httpx.post(url, json={**body, "stream": True}, timeout=60).text)
    assert "".join(event["choices"][0]["delta"].get("content", "") for event in events) == whole


def test_the_primary_colours_in_another_models_markup(demo_server: RunningServer) -> None:
    answers = contents(chat(demo_server, 11))
    assert sum(all(colour in answer for colour in "红绿蓝") for answer in answers) >= 8


def test_the_vllm_demo_gives_five_equal_texts(demo_server: RunningServer) -> None:
    answer = json.loads(run(demo_server, 12))
    assert list(answer) == ["text"]
    assert len(answer["text"]) == 5
    assert len(set(answer["text"])) == 1
    assert answer["text"][0].startswith("保持健康的方法")
    assert any(word in answer["text"][0] for word in ADVICE)


def test_a_name_is_continued_until_the_stop_string(demo_server: RunningServer) -> None:
    (body,) = read_bodies()
    answer = httpx.post(f"{demo_server.address}/generate", json=body, timeout=60).raise_for_status().json()
    assert answer["generated_text"].endswith("photographer")
    details = answer["details"]
    assert details["finish_reason"] == "stop_sequence"
    assert details["generated_tokens"] == len(details["tokens"]) == len(details["top_tokens"])
    assert isinstance(details["seed"], int)
    assert details["prefill"] == []
    assert "".join(token["text"] for token in details["tokens"]).endswith("photographer")
    assert all(
        len(places) >= 1 and places == sorted(places, key=lambda each: -each["logprob"])
        for places in details["top_tokens"]
    )


def test_generate_samples_without_details(demo_server: RunningServer) -> None:
    answer = json.loads(run(demo_server, 13))
    assert list(answer) == ["generated_text"]
    assert any(word in answer["generated_text"] for word in ADVICE)


def test_generate_stream_has_one_event_per_token(demo_server: RunningServer) -> None:
    frames = run(demo_server, 14).split("\n\n")
    assert frames[-1] == ""
    events = [json.loads(frame.removeprefix("data:")) for frame in frames[:-1]]
    assert [event["index"] for event in events] == list(range(1, len(events) + 1))
    assert all(event["generated_text"] is None for event in events[:-1])
    text = "".join(event["token"]["text"] for event in events if not event["token"]["special"])
    assert events[-1]["generated_text"] == text
    assert any(word in text for word in ADVICE)


def test_server_metadata(demo_server: RunningServer) -> None:
    answer = json.loads(run(demo_server, 15))
    assert set(answer) == {"name", "version", "extensions"}


def test_models(demo_server: RunningServer) -> None:
    answer = json.loads(run(demo_server, 16))
    assert answer["object"] == "list"
    assert {"portico-demo", "qwen-72b", "qwen1.5-14b", "baichuan2-7b"} <= {model["id"] for model in answer["data"]}


def test_prefill_details(demo_server: RunningServer) -> None:
    details = json.loads(run(demo_server, 17))["details"]
    prefill = details["prefill"]
    assert "".join(token["text"] for token in prefill) == "保持健康的方法"
    assert prefill[0]["logprob"] is None
    assert all(token["logprob"] < 0 for token in prefill[1:])
    assert len(details["top_tokens"]) == details["generated_tokens"]
