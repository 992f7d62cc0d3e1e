"""The items that an answer's output consists of, and the events that tell of them.

Source: OpenAI API reference, "The response object" and "Streaming events".
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from portico.core.events import ToolCall

# Fields of an event, in the order in which they are sent; its number is added by the sender.
Fields = dict[str, Any]
_CALL = "function_call"


class Output:
    """The output while it comes: reasoning, messages and function calls, one after another.

    Methods give the events of what they are told. An item that is open goes on until another kind comes.
    """

    def __init__(self, request_id: str) -> None:
        self._request_id = request_id
        self.items: list[Fields] = []
        self._pieces: list[str] = []
        self._logprobs: list[Fields] = []
        self._open = ""

    @property
    def is_writing(self) -> bool:
        """Whether a message is open."""
        return self._open == "message"

    def reason(self, text: str) -> Iterator[Fields]:
        """More reasoning."""
        yield from self._begin(
            "reasoning", "rs", {"summary": [], "content": []}, {"type": "reasoning_text", "text": ""}
        )
        self._pieces.append(text)
        yield {"type": "response.reasoning_text.delta", **self._place(), "delta": text}

    def write(self, text: str, logprobs: list[Fields]) -> Iterator[Fields]:
        """More text, with the log-probabilities of its tokens where they are asked for."""
        yield from self._begin("message", "msg", {"role": "assistant", "content": []}, _text_part("", []))
        self._pieces.append(text)
        self._logprobs += logprobs
        yield {"type": "response.output_text.delta", **self._place(), "delta": text, "logprobs": logprobs}

    def call(self, call: ToolCall) -> Iterator[Fields]:
        """A function call, or a piece of it."""
        if call.is_first:
            yield from self.close("completed")
            self._open = _CALL
            item = self._add(_CALL, "fc", {"call_id": call.id, "name": call.name, "arguments": ""})
            yield self._added(item)
        if call.arguments:
            self._pieces.append(call.arguments)
            yield {"type": "response.function_call_arguments.delta", **self._place(), "delta": call.arguments}
        if call.is_last:
            yield from self.close("completed")

    def _close_call(self, arguments: str, status: str) -> Iterator[Fields]:
        item = self.items[-1]
        item |= {"arguments": arguments, "status": status}
        done = {"name": item["name"], "arguments": arguments}
        yield {"type": "response.function_call_arguments.done", **self._place(), **done}
        yield self._done(item)

    def close(self, status: str) -> Iterator[Fields]:
        """The end of the item that is open, if one is."""
        kind, self._open = self._open, ""
        if not kind:
            return
        text = "".join(self._pieces)
        self._pieces = []
        if kind == _CALL:
            yield from self._close_call(text, status)
            return
        item = self.items[-1]
        is_message = kind == "message"
        logprobs, self._logprobs = self._logprobs, []
        part = _text_part(text, logprobs) if is_message else {"type": "reasoning_text", "text": text}
        item |= {"content": [part], "status": status}
        name = "output_text" if is_message else "reasoning_text"
        extra: Fields = {"logprobs": logprobs} if is_message else {}
        yield {"type": f"response.{name}.done", **self._place(), "text": text, **extra}
        yield {"type": "response.content_part.done", **self._place(), "part": part}
        yield self._done(item)

    def _begin(self, kind: str, prefix: str, fields: Fields, part: Fields) -> Iterator[Fields]:
        if self._open == kind:
            return
        yield from self.close("completed")
        self._open = kind
        item = self._add(kind, prefix, fields)
        yield self._added(item)
        yield {"type": "response.content_part.added", **self._place(), "part": part}

    def _add(self, kind: str, prefix: str, fields: Fields) -> Fields:
        item = {"id": f"{prefix}_{self._request_id}_{len(self.items)}", "type": kind, "status": "in_progress", **fields}
        self.items.append(item)
        return item

    def _place(self) -> Fields:
        place = {"item_id": self.items[-1]["id"], "output_index": len(self.items) - 1}
        return place if self.items[-1]["type"] == _CALL else {**place, "content_index": 0}

    def _added(self, item: Fields) -> Fields:
        return {"type": "response.output_item.added", "output_index": len(self.items) - 1, "item": dict(item)}

    def _done(self, item: Fields) -> Fields:
        return {"type": "response.output_item.done", "output_index": len(self.items) - 1, "item": dict(item)}


def _text_part(text: str, logprobs: list[Fields]) -> Fields:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": logprobs}
