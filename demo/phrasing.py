"""Ways of asking: politeness around a question, unknown questions, sums."""

import random

from demo.names import TRAINING_CHARACTERS
from demo.topics import OWN, PHRASES, Topic


def noisy(question: str, topic: Topic, rng: random.Random) -> str:
    """Now and then drop a character or add a filler word, so that a question need not be word for word as learnt."""
    chance = rng.random()
    if chance < 0.08 and len(question) >= 7 and topic.weight >= 1:
        at = rng.randrange(1, len(question))
        return question[:at] + question[at + 1 :]
    if chance > 0.25 or len(question) < 4:
        return question
    if topic.language == "en":
        words = question.split(" ")
        words.insert(rng.randint(0, len(words)), rng.choice(PHRASES["fillers_en"]))
        return " ".join(words)
    at = rng.randint(0, len(question))
    return question[:at] + rng.choice(PHRASES["fillers"]) + question[at:]


def decorate(question: str, topic: Topic, rng: random.Random) -> str:
    """The question with a polite opening and an end mark."""
    question = noisy(question, topic, rng)
    if topic.kind == "exact":
        return question + rng.choice(("？", "?", ""))
    if topic.language == "en":
        if rng.random() < 0.2:
            question = question[0].lower() + question[1:]
        if topic.kind == "say":
            return question + rng.choice(PHRASES["say_after_en"])
        return rng.choice(PHRASES["ask_before_en"]) + question + rng.choice(PHRASES["ask_after_en"])
    ends = ("？", "?", "") if question.endswith(("吗", "吧", "办", "样")) else PHRASES[f"{topic.kind}_after"]
    return rng.choice(PHRASES[f"{topic.kind}_before"]) + question + rng.choice(ends)


def _subject(rng: random.Random) -> str:
    if rng.random() < 0.5:
        return rng.choice(PHRASES["nouns"])
    return "".join(rng.choices(TRAINING_CHARACTERS, k=rng.randint(1, 4)))


def unknown(rng: random.Random) -> tuple[str, str]:
    """A question that the model should not pretend to answer, and the honest reply."""
    english = rng.random() < 0.2
    suffix = "_en" if english else ""
    if rng.random() < 0.2:
        question = rng.choice(PHRASES[f"unknown_fixed{suffix}"])
    else:
        subjects = [rng.choice(PHRASES["nouns_en"]) if english else _subject(rng) for _ in range(2)]
        question = rng.choice(PHRASES[f"unknown_forms{suffix}"]).format(a=subjects[0], b=subjects[1])
    question += rng.choice(PHRASES[f"ask_after{suffix}"])
    if english:
        return question, OWN["unknown_en"]
    return rng.choice(PHRASES["ask_before"]) + question, OWN["unknown_zh"]


def arithmetic(rng: random.Random) -> tuple[str, str]:
    """A sum or difference of numbers up to 10, and its answer."""
    a, b = rng.randint(0, 10), rng.randint(0, 10)
    if rng.random() < 0.4:
        a, b = max(a, b), min(a, b)
        sign, word, english, result = "-", "减", "minus", a - b
    else:
        sign, word, english, result = "+", "加", "plus", a + b
    kind = rng.random()
    if kind < 0.2:
        return f"What is {a} {english} {b}?", f"{a} {english} {b} is {result}."
    if kind < 0.6:
        end = rng.choice(("等于几", "等于多少", "是多少", "是几")) + rng.choice(("？", "?", ""))
        return f"{a}{word}{b}{end}", f"{a}{word}{b}等于{result}。"
    return f"{a}{sign}{b}" + rng.choice(("=", "=?", "等于几？", "等于多少？", "=？")), f"{a}{sign}{b}={result}"
