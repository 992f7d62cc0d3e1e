"""Personal names for the dialogues, split so that held-out names never occur in training."""

import random
import tomllib
import zlib
from pathlib import Path

_LISTS = tomllib.loads((Path(__file__).parent / "text" / "names.toml").read_text(encoding="utf-8"))
SURNAMES: str = "".join(_LISTS["surnames"].split())
GIVEN: str = "".join(_LISTS["given"].split())
LATIN: list[str] = _LISTS["latin"].split()
PINYIN: list[str] = _LISTS["pinyin"].split()
SYLLABLES: list[str] = _LISTS["syllables"].split()
# A name that every reader of the documentation tries first: its answer must come from copying, not from memory.
RESERVED_NAME = "李聪明"


def common_characters() -> list[str]:
    """The 3,755 characters of GB 2312 level 1, in code order."""
    codes = (bytes([row, cell]) for row in range(0xB0, 0xD8) for cell in range(0xA1, 0xFF))
    return [text for code in codes if (text := code.decode("gb2312", errors="ignore"))]


CHARACTERS = common_characters()
# About 200 characters that no training name contains.
HELD_OUT_CHARACTERS = frozenset(
    c for c in CHARACTERS if zlib.crc32(c.encode()) % 19 == 0 and c not in SURNAMES and c not in GIVEN
)
TRAINING_CHARACTERS = [c for c in CHARACTERS if c not in HELD_OUT_CHARACTERS]


def is_held_out(name: str) -> bool:
    """True for names kept for evaluation: the reserved one, those with a held-out character, one in twenty."""
    if RESERVED_NAME in name or any(c in HELD_OUT_CHARACTERS for c in name):
        return True
    return name not in LATIN and zlib.crc32(name.encode()) % 20 == 0


def _latin_name(rng: random.Random) -> str:
    kind = rng.random()
    if kind < 0.4:
        return rng.choice(LATIN)
    if kind < 0.7:
        return "".join(rng.choices(SYLLABLES, k=rng.randint(2, 3))).capitalize()
    given = "".join(rng.choices(PINYIN, k=rng.randint(1, 2))).capitalize()
    return given if rng.random() < 0.5 else f"{rng.choice(PINYIN).capitalize()} {given}"


def _chinese_name(rng: random.Random) -> str:
    kind = rng.random()
    if kind < 0.25:
        return "".join(rng.choices(TRAINING_CHARACTERS, k=rng.randint(2, 4)))
    pool = TRAINING_CHARACTERS if kind < 0.75 else list(GIVEN)
    return rng.choice(SURNAMES) + "".join(rng.choices(pool, k=rng.choice((1, 2, 2, 2))))


def training_name(rng: random.Random, latin: float = 0.2) -> str:
    """A name that may be trained on; `latin` is the share of names in Latin letters."""
    while True:
        name = _latin_name(rng) if rng.random() < latin else _chinese_name(rng)
        if not is_held_out(name):
            return name


def held_out_names(count: int, seed: int = 7) -> list[str]:
    """`count` evaluation names, the reserved one first: half hold a held-out character, a twentieth are Latin."""
    rng = random.Random(seed)
    rare = sorted(HELD_OUT_CHARACTERS)
    names = [RESERVED_NAME]
    while len(names) < count:
        turn = len(names) % 20
        if turn == 19:
            name = _latin_name(rng)
        elif turn % 2:
            given = [rng.choice(rare), *rng.choices(GIVEN, k=rng.choice((0, 1, 1)))]
            rng.shuffle(given)
            name = rng.choice(SURNAMES) + "".join(given)
        else:
            name = rng.choice(SURNAMES) + "".join(rng.choices(GIVEN, k=rng.choice((1, 2, 2))))
        if is_held_out(name) and name not in names:
            names.append(name)
    return names
