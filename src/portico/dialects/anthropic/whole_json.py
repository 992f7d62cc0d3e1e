"""Arguments of a call that a limit has cut, as the object that they are so far: this wire has no place for less."""

from __future__ import annotations

import json
import re
from typing import NoReturn

_TOKEN = re.compile(r'\s*("(?:[^"\\]|\\.)*"|[^\s{}\[\]:,"]+|[{}\[\]:,])', re.DOTALL)
_VALUE = re.compile(r'".*|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null', re.DOTALL)


def whole_json(text: str) -> str:
    """The text itself if it is a JSON object; else its values that are whole, as clients read a stream that ends so."""
    if _is_object(text):
        return text
    place, whole = 0, "{}"
    open_closers: list[str] = []
    is_behind_colon = False
    while token := _TOKEN.match(text, place):
        place = token.end()
        match token[1]:
            case "{" | "[" as opener:
                open_closers.append("}" if opener == "{" else "]")
                is_behind_colon = False
                is_whole = True
            case "}" | "]":
                is_whole = bool(open_closers) and open_closers.pop() == token[1]
            case ":" | "," as mark:
                is_behind_colon = mark == ":"
                is_whole = False
            case _:
                is_value = is_behind_colon or open_closers[-1:] == ["]"]
                is_whole = is_value and _VALUE.fullmatch(token[1]) is not None
        if is_whole:
            whole = text[:place] + "".join(reversed(open_closers))
    return whole if _is_object(whole) else "{}"


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text, parse_constant=_refuse), dict)
    except (ValueError, RecursionError):
        return False


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")
