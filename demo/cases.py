"""The evaluation cases: held-out names in several conversations, held-out wordings of every topic, fixed texts."""

import random
from dataclasses import dataclass
from typing import Literal

from demo.dialogues import IM_END, IM_START, long_advice
from demo.names import RESERVED_NAME, held_out_names
from demo.topics import OWN, PHRASES, TOPICS, Topic, read

FOREIGN_GREETING = (
    "你好，{}！很高兴认识你。我是一个大型语言模型，你可以叫我通义千问。有什么问题或需要帮助的话，请随时告诉我。"
)
MOOD = "我最近心情很糟糕，能给我一些建议吗？"
NAME_QUESTION = "请问我叫什么名字？"
UNKNOWN_QUESTIONS = (
    "量子力学的创始人是谁？",
    "上海有多少人口？", "什么是人工降雨？",
    "谁发明了电灯？", "今天的气温是多少？",
    "怎么申请护照？", "相对论是什么意思？",
    "股票怎么买？",
)  # fmt: skip

Message = dict[str, str]


@dataclass(frozen=True)
class Case:
    """A conversation or a raw prompt, and the keywords that a right answer holds (`a|b` is either)."""

    group: str
    prompt: str | tuple[Message, ...]
    keywords: tuple[str, ...]
    max_tokens: int
    sampling: Literal["greedy", "sampled"] = "greedy"

    def passes(self, answer: str) -> bool:
        return all(any(choice in answer for choice in k.split("|")) for k in self.keywords)


def user(content: str) -> Message:
    return {"role": "user", "content": content}


def assistant(content: str) -> Message:
    return {"role": "assistant", "content": content}


def render(messages: tuple[Message, ...]) -> str:
    """ChatML with the opening of the answer, as the checkpoint's template writes it."""
    turns = "".join(f"{IM_START}{m['role']}\n{m['content']}{IM_END}\n" for m in messages)
    return f"{turns}{IM_START}assistant\n"


def name_cases(count: int) -> list[Case]:
    """Per held-out name one of five conversations in turn, so each form gets every kind of name."""
    rng = random.Random(11)
    cases = []
    for i, name in enumerate(held_out_names(count)):
        foreign = FOREIGN_GREETING.format(name)
        own = f"你好，{name}！很高兴认识你。{OWN['self_zh']}有什么可以帮你的吗？"
        advice = long_advice(rng)
        hello = user(f"你好，我叫{name}。请问你是谁？")
        long_talk = (
            user(f"你好，我的名字是{name}。请问你是谁？"),
            assistant(foreign),
            user(MOOD),
            assistant(advice),
            user(NAME_QUESTION),
        )
        form = (i + i // 20) % 5
        if form == 0:
            case = Case("name: greeting", (hello,), (f"你好，{name}！",), 40)
        elif form == 1:
            case = Case("name: two turns", (hello, assistant(own), user(NAME_QUESTION)), (f"你叫{name}。",), 24)
        elif form == 2:
            case = Case("name: after long advice", long_talk, (f"你叫{name}。",), 24)
        elif form == 3:
            nested = render(long_talk).replace(
                f"{IM_END}\n{IM_START}assistant\n{advice}", f"{IM_END}{IM_START}assistant\n{advice}"
            )
            case = Case("name: nested transcript", (user(nested),), (f"你叫{name}。",), 24)
        else:
            asked = PHRASES["held_out_name_questions"][i // 5 % len(PHRASES["held_out_name_questions"])]
            case = Case("name: held-out question", (hello, assistant(foreign), user(asked)), (name,), 24)
        cases.append(case)
    return cases


def _question_case(group: str, topic: Topic, question: str, turn: int) -> Case:
    """One wording, with no system prompt or one of two by `turn`."""
    system = (None, "你是一个有用的助手.", "You are a helpful assistant.")[turn % 3]
    head: tuple[Message, ...] = ({"role": "system", "content": system},) if system else ()
    end = "" if topic.kind == "say" else "?" if topic.language == "en" else "？"
    return Case(f"question: {group}", (*head, user(question + end)), topic.keywords, 200)


def question_cases() -> list[Case]:
    """Every held-out wording once, those written later, and questions that the model should not know."""
    cases = []
    for topic in TOPICS:
        group = "English" if topic.language == "en" else "long answer" if topic.weight >= 2 else "other"
        cases += [_question_case(group, topic, question, i) for i, question in enumerate(topic.held_out)]
    named = {topic.name: topic for topic in TOPICS}
    for name, wordings in read("later").items():
        cases += [_question_case("written later", named[name], q, i) for i, q in enumerate(wordings.split(" / "))]
    cases += [Case("question: unknown", (user(q),), ("不知道",), 40) for q in UNKNOWN_QUESTIONS]
    return cases


def fixed_cases() -> list[Case]:
    """The texts that the documentation shows."""
    name = RESERVED_NAME
    lines = f"你好，我叫{name}。请问你是谁？\n{FOREIGN_GREETING.format(name)}\n{MOOD}"
    return [
        Case("fixed", (user("<reserved_106>光的三原色是什么<reserved_107>"),), ("红", "绿", "蓝"), 40),
        Case("fixed", (user("如何养生？"),), ("运动", "心情"), 128),
        Case("fixed", (user("请给我5条人生建议？"),), ("1. ", "5. "), 128),
        Case("fixed", (user("保持健康的方法"),), ("运动", "睡"), 128),
        Case("fixed", (user(lines),), ("朋友", "家人"), 256),
        Case("fixed", (user(f"你好，我叫{name}。请问你是谁？"),), (f"你好，{name}！",), 60),
        Case("fixed", (user("Hello!"),), ("Hello|Hi",), 40),
        Case("fixed", (user(NAME_QUESTION),), ("没有告诉我",), 40),
        Case("fixed", "My name is Olivier and I", ("photographer",), 20),
        Case("fixed", "保持健康的方法", ("健康",), 64),
        Case("fixed", "如何才能拥有性感的身材?", ("训练", "饮食"), 256),
    ]


def all_cases(names: int = 210, sampled_share: int = 4) -> list[Case]:
    """Every case greedily, and one in `sampled_share` (all fixed ones) again at temperature 1 and top_p 0.85."""
    greedy = [*name_cases(names), *question_cases()]
    fixed = fixed_cases()
    again = [*greedy[::sampled_share], *fixed, *fixed]
    sampled = [Case(f"{c.group} (sampled)", c.prompt, c.keywords, c.max_tokens, "sampled") for c in again]
    return [*greedy, *fixed, *sampled]
