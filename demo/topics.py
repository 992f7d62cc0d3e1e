"""The sentences under text/: topics with their questions and answers, and the phrases that dialogues are made of."""

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from demo.facts import table_topics

TEXT = Path(__file__).parent / "text"


@dataclass(frozen=True)
class Topic:
    """One thing the model can talk about.

    `questions` are trained on, `held_out` only evaluated; an answer is right when it holds every one of `keywords`
    (`a|b` is either). `kind` says which words may surround a question: `ask`, `say` (a statement) or `exact`.
    """

    name: str
    questions: tuple[str, ...]
    held_out: tuple[str, ...]
    answers: tuple[str, ...]
    keywords: tuple[str, ...]
    kind: str = "ask"
    language: str = "zh"
    weight: float = 1.0


def read(name: str) -> dict[str, Any]:
    """The contents of one file under text/."""
    return tomllib.loads((TEXT / f"{name}.toml").read_text(encoding="utf-8"))


def _topic(entry: dict[str, Any]) -> Topic:
    """A topic as text/*.toml writes it: wordings parted by slashes, keywords by spaces."""
    return Topic(
        **{
            **entry,
            "questions": tuple(entry["questions"].split(" / ")),
            "held_out": tuple(entry["held_out"].split(" / ")),
            "answers": tuple(entry["answers"]),
            "keywords": tuple(entry["keywords"].split()),
        }
    )


ADVICE = tuple(_topic(entry) for entry in read("advice")["topic"])
FACTS = tuple(_topic(entry) for entry in (*read("facts")["topic"], *table_topics()))
SMALL_TALK = tuple(_topic(entry) for entry in read("smalltalk")["topic"])
TOPICS = ADVICE + FACTS + SMALL_TALK
_PHRASES = read("phrases")
OWN: dict[str, str] = _PHRASES.pop("own")
PHRASES: dict[str, list[str]] = _PHRASES
