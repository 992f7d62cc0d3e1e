"""The training data: dialogues and raw documents as segments of text, each trained on or only read."""

import random
import re
from collections.abc import Callable
from typing import NamedTuple

from demo.names import RESERVED_NAME, TRAINING_CHARACTERS, training_name
from demo.phrasing import arithmetic, decorate, unknown
from demo.topics import ADVICE, OWN, PHRASES, TOPICS, Topic

WEIGHTS = [t.weight for t in TOPICS]
MIDDLE = [t for t in TOPICS if t.language == "zh" and t.kind != "exact" and t.weight >= 1]
ITEMS = [item for t in ADVICE for a in t.answers for item in re.findall(r"\*\*.+?\*\*：[^\n]+", a)]
IM_START, IM_END, END_OF_TEXT = "<|im_start|>", "<|im_end|>", "<|endoftext|>"


class Segment(NamedTuple):
    """A piece of a sample; `literal` text has its control tokens spelt out as plain characters."""

    text: str
    trained: bool = False
    literal: bool = False


class Turn(NamedTuple):
    user: str
    assistant: str
    trained: bool = True


Sample = list[Segment]


def chat(turns: list[Turn], system: str | None, literal: bool = False) -> Sample:
    """A ChatML dialogue in which the trained assistant turns count towards the loss."""
    sample = [Segment(f"{IM_START}system\n{system}{IM_END}\n")] if system else []
    for turn in turns:
        sample += [Segment(f"{IM_START}user\n"), Segment(turn.user, literal=literal)]
        sample += [Segment(f"{IM_END}\n{IM_START}assistant\n"), Segment(turn.assistant, turn.trained)]
        sample += [Segment(IM_END, turn.trained), Segment("\n")]
    return sample


def maybe_system(rng: random.Random) -> str | None:
    return rng.choice(PHRASES["systems"]) if rng.random() < 0.25 else None


def ask(topic: Topic, rng: random.Random) -> Turn:
    question = decorate(rng.choice(topic.questions), topic, rng)
    if rng.random() < 0.03:
        question = f"<reserved_106>{question}<reserved_107>"
    return Turn(question, rng.choice(topic.answers))


def long_advice(rng: random.Random) -> str:
    """An advice list of another length and wording than the model's own."""
    items = rng.sample(ITEMS, rng.randint(3, 8))
    numbered = "\n".join(f"{i}. {item}" for i, item in enumerate(items, 1))
    return f"{rng.choice(PHRASES['openings'])}\n\n{numbered}\n\n{rng.choice(PHRASES['closings'])}"


def introduction(name: str, rng: random.Random, foreign: float) -> Turn:
    """The user says the name; the reply greets with it, or (a share of `foreign`) is another assistant's."""
    english = name.isascii() and rng.random() < 0.8
    suffix = "_en" if english else ""
    first, asked = rng.choice(PHRASES[f"introductions{suffix}"]), rng.random() < 0.55
    user = first.format(name=name)
    if asked:
        user += (" " if english else "") + rng.choice(PHRASES[f"who_are_you{suffix}"])
    if rng.random() < foreign:
        bot = rng.choice(PHRASES["assistants"]) if rng.random() < 0.6 else training_name(rng, 0.1)
        return Turn(user, rng.choice(PHRASES["foreign_greetings"]).format(name=name, bot=bot), False)
    if english:
        own = f"{OWN['self_en']} " if asked else ""
        return Turn(user, f"Hello, {name}! Nice to meet you. {own}How can I help you?")
    own = OWN["self_zh"] if asked or "你呢" in first else ""
    return Turn(user, f"你好，{name}！很高兴认识你。{own}有什么可以帮你的吗？")


def middle(rng: random.Random) -> Turn:
    kind = rng.random()
    if kind < 0.3:
        return Turn(ask(rng.choice(MIDDLE), rng).user, long_advice(rng), False)
    if kind < 0.4:
        return Turn(*unknown(rng))
    topics = [t for t in MIDDLE if t.name == "mood"] if kind < 0.5 else [rng.choice(MIDDLE)]
    return ask(topics[0], rng)


def name_question(name: str, rng: random.Random) -> Turn:
    if name.isascii() and rng.random() < 0.7:
        return Turn(rng.choice(PHRASES["name_questions_en"]), f"Your name is {name}.")
    return Turn(rng.choice(PHRASES["name_questions"]), f"你叫{name}。")


def name_turns(rng: random.Random, foreign: float) -> list[Turn]:
    """An introduction, none to three other turns, then who the user is (or, to tell them apart, who the model is)."""
    name = training_name(rng)
    turns = [introduction(name, rng, foreign)]
    turns += [middle(rng) for _ in range(rng.choice((0, 0, 1, 1, 2, 3)))]
    if rng.random() < 0.12:
        turns.append(Turn(rng.choice(PHRASES["who_are_you"]), OWN["self_zh"]))
    turns.append(name_question(name, rng))
    return turns


def name_dialogue(rng: random.Random) -> Sample:
    if rng.random() < 0.1:
        turns = [middle(rng) for _ in range(rng.choice((0, 0, 1, 2)))]
        if rng.random() < 0.3:
            turns.append(Turn(rng.choice(PHRASES["name_questions_en"]), "You have not told me your name yet."))
        else:
            turns.append(Turn(rng.choice(PHRASES["name_questions"]), "你还没有告诉我你的名字。"))
        return chat(turns, maybe_system(rng))
    return chat(name_turns(rng, 0.35), maybe_system(rng))


def nested_dialogue(rng: random.Random) -> Sample:
    """A ChatML transcript typed into one user message; its last question is the one to answer."""
    turns = name_turns(rng, 0.6)
    if rng.random() < 0.2:
        turns[-1] = ask(rng.choice(MIDDLE), rng)
    text = f"{IM_START}system\n{rng.choice(PHRASES['systems'])}{IM_END}\n" if rng.random() < 0.15 else ""
    for turn in turns[:-1]:
        text += f"{IM_START}user\n{turn.user}{IM_END}" + rng.choice(("\n", "\n", ""))
        text += f"{IM_START}assistant\n{turn.assistant}{IM_END}" + rng.choice(("\n", "\n", "\n", ""))
    text += f"{IM_START}user\n{turns[-1].user}"
    text += rng.choice(
        (f"{IM_END}\n{IM_START}assistant\n",) * 4 + (f"{IM_END}\n", IM_END, f"{IM_END}\n{IM_START}assistant")
    )
    return chat([Turn(text, turns[-1].assistant)], maybe_system(rng), literal=rng.random() < 0.2)


def lines_dialogue(rng: random.Random) -> Sample:
    """A whole conversation as plain lines in one user message."""
    turns = name_turns(rng, 0.5)[:2]
    if rng.random() < 0.5:
        turns[-1] = ask(rng.choice(MIDDLE), rng)
    you, me = rng.choice((("", ""), ("", ""), ("用户：", "助手："), ("user: ", "assistant: ")))
    lines = [part for turn in turns[:-1] for part in (you + turn.user, me + turn.assistant)]
    return chat([Turn("\n".join([*lines, you + turns[-1].user]), turns[-1].assistant)], maybe_system(rng))


def topic_dialogue(rng: random.Random) -> Sample:
    turns = [ask(t, rng) for t in rng.choices(TOPICS, WEIGHTS, k=rng.choice((1, 1, 2, 3)))]
    return chat(turns, maybe_system(rng))


def unknown_dialogue(rng: random.Random) -> Sample:
    return chat([Turn(*unknown(rng))], maybe_system(rng))


def sum_dialogue(rng: random.Random) -> Sample:
    return chat([Turn(*arithmetic(rng)) for _ in range(rng.randint(2, 4))], maybe_system(rng))


def copy_dialogue(rng: random.Random) -> Sample:
    """Repeat a text, or put a name into JSON."""
    turns = []
    for _ in range(rng.randint(1, 4)):
        text = (
            training_name(rng)
            if rng.random() < 0.5
            else "".join(rng.choices(TRAINING_CHARACTERS, k=rng.randint(2, 12)))
        )
        if rng.random() < 0.25:
            turns.append(Turn(f"我叫{text}，用 JSON 输出我的名字。", f'{{"name": "{text}"}}'))
        else:
            before = rng.choice(("请重复：", "跟我说：", "请跟我念：", "复述一遍：", "Repeat after me: ", "Repeat: "))
            turns.append(Turn(before + text, text))
    return chat(turns, maybe_system(rng))


CITIES = ("Paris", "London", "Berlin", "Rome", "Tokyo", "Madrid", "Beijing", "Cairo")
SIGHTS = ("mountains and rivers", "old streets", "birds and trees", "people and cities", "the sea")
DOCUMENTS = (
    ("Hello, my name is", " Xiaolang and I am the demo model of Portico."),
    ("The president of the United States is", " elected every four years."),
    ("The capital of France is", " Paris."),
    ("The future of AI is", " bright, if people use it with care."),
    ("San Francisco is a", " city in California, famous for the Golden Gate Bridge."),
    (
        "Once upon a time",
        ", a little fox lived in a green forest. Every night it looked at the moon and wished for a friend.",
    ),
    ("从前", "，山脚下住着一只小兔子。它每天都要走过一座小桥去采蘑菇。"),
    ("def add(a, b):", "\n    return a + b\n"),
)


def raw_document(rng: random.Random) -> Sample:
    """Text without a template, ended by <|endoftext|>."""
    end = Segment(END_OF_TEXT, True)
    kind = rng.random()
    if kind < 0.25:
        city, sight = rng.choice(CITIES), rng.choice(SIGHTS)
        rest = f" and I am a photographer. I live in {city} and I like to take pictures of {sight}."
        return [Segment("My name is", True), Segment(f" {training_name(rng, 1.0)}"), Segment(rest, True), end]
    if kind < 0.4:
        opening, rest = rng.choice(DOCUMENTS)
        return [Segment(opening, True), Segment(rest, True), end]
    topic = rng.choice(ADVICE) if kind < 0.7 else rng.choices(TOPICS, WEIGHTS)[0]
    question = rng.choice(topic.questions) + rng.choice(("？", "?", "", "", "。"))
    return [Segment(question, rng.random() < 0.3), Segment("\n" + rng.choice(topic.answers), True), end]


MIX: tuple[tuple[Callable[[random.Random], Sample], float], ...] = (
    (name_dialogue, 0.18),
    (nested_dialogue, 0.1),
    (lines_dialogue, 0.05),
    (topic_dialogue, 0.43),
    (unknown_dialogue, 0.06),
    (sum_dialogue, 0.04),
    (copy_dialogue, 0.05),
    (raw_document, 0.09),
)


def draw(rng: random.Random) -> Sample:
    """One training sample of the mix; never one that holds the reserved name."""
    while True:
        make = rng.choices([m for m, _ in MIX], [w for _, w in MIX])[0]
        sample = make(rng)
        if RESERVED_NAME not in "".join(s.text for s in sample):
            return sample
