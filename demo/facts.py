"""Facts that come in tables: capitals, colours, opposites."""

from typing import Any

CAPITALS = {
    "中国": "北京", "法国": "巴黎", "英国": "伦敦", "德国": "柏林", "日本": "东京", "美国": "华盛顿",
    "俄罗斯": "莫斯科", "意大利": "罗马", "西班牙": "马德里", "韩国": "首尔", "泰国": "曼谷", "埃及": "开罗",
    "希腊": "雅典", "加拿大": "渥太华", "澳大利亚": "堪培拉", "印度": "新德里", "葡萄牙": "里斯本",
    "瑞典": "斯德哥尔摩",
}  # fmt: skip
CAPITALS_EN = {
    "China": "Beijing", "France": "Paris", "England": "London", "Germany": "Berlin", "Japan": "Tokyo",
    "Russia": "Moscow", "Italy": "Rome", "Spain": "Madrid", "Egypt": "Cairo", "Greece": "Athens",
    "Canada": "Ottawa", "India": "New Delhi",
}  # fmt: skip
COLOURS = {
    "天空": "蓝色", "草": "绿色", "雪": "白色", "煤": "黑色", "香蕉": "黄色", "血": "红色", "橙子": "橙色",
    "葡萄": "紫色", "树叶": "绿色", "云": "白色", "大海": "蓝色",
}  # fmt: skip
OPPOSITES = {
    "大": "小", "高": "低", "长": "短", "快": "慢", "冷": "热", "多": "少", "黑": "白", "远": "近", "新": "旧",
    "开": "关", "上": "下", "左": "右", "前": "后", "胖": "瘦", "早": "晚",
}  # fmt: skip
# Per table: its name, the rest of an entry with {a} and {b} for a row, and the rows.
TABLES: tuple[tuple[str, dict[str, Any], dict[str, str]], ...] = (
    (
        "capital",
        {
            "questions": "{a}的首都是哪里 / {a}的首都是什么 / {a}的首都在哪 / {a}首都是哪个城市 / {a}的首都叫什么",
            "held_out": "{a}的首都是哪个城市",
            "answers": ["{a}的首都是{b}。"],
            "keywords": "{b}",
            "weight": 0.45,
        },
        CAPITALS,
    ),
    (
        "capital-en",
        {
            "questions": "What is the capital of {a} / What's the capital of {a} / Tell me the capital of {a} / "
            "Which city is the capital of {a} / The capital of {a} is",
            "held_out": "Do you know the capital of {a}",
            "answers": ["The capital of {a} is {b}."],
            "keywords": "{b}",
            "weight": 0.45,
            "language": "en",
        },
        CAPITALS_EN,
    ),
    (
        "colour",
        {
            "questions": "{a}是什么颜色 / {a}是什么颜色的 / {a}的颜色是什么 / {a}什么颜色",
            "held_out": "{a}是啥颜色",
            "answers": ["{a}是{b}的。"],
            "keywords": "{b}",
            "weight": 0.45,
        },
        COLOURS,
    ),
    (
        "opposite",
        {
            "questions": "{a}的反义词是什么 / {a}的反义词 / “{a}”的反义词是什么 / 和{a}相反的字是什么",
            "held_out": "{a}的反义词是哪个字",
            "answers": ["“{a}”的反义词是“{b}”。"],
            "keywords": "“{b}”",
            "weight": 0.3,
            "kind": "exact",
        },
        OPPOSITES | {b: a for a, b in OPPOSITES.items()},
    ),
)


def _fill(value: Any, a: str, b: str) -> Any:
    if isinstance(value, list):
        return [_fill(item, a, b) for item in value]
    return value.replace("{a}", a).replace("{b}", b) if isinstance(value, str) else value


def table_topics() -> list[dict[str, Any]]:
    """One entry, as in text/facts.toml, for every row of every table."""
    return [
        {"name": f"{name}-{a}", **{key: _fill(value, a, b) for key, value in entry.items()}}
        for name, entry, rows in TABLES
        for a, b in rows.items()
    ]
