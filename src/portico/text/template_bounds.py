"""What a chat template may make of what it is given: how much text, how many items, and for how long.

Jinja counts none of this, and one filter, call or operator can take all memory there is. So each is measured before it
is run: by the sizes of what it is given, which are known, and a count of all that was made in a rendering.
"""

from __future__ import annotations

import functools
import re
import threading
import time
from collections.abc import Callable, ItemsView, Iterable, Iterator, KeysView, Mapping, Sequence, ValuesView
from typing import Any

import jinja2
from jinja2.utils import Namespace

MAX_SECONDS = 2.0
# Of one text.
MAX_CHARACTERS = 1 << 24
# Of one list.
MAX_ITEMS = 1 << 20
# Of everything that is made in one rendering, in characters; an item of a list is as much as sixteen.
_MAX_MADE = 1 << 28
_CHARACTERS_PER_ITEM = 16
_MAX_BITS = 4096
_MAX_PLACES = 100
_MAX_WIDTH = 999
# For filters that copy the rest of their text again and again.
_MAX_SLOW = 1 << 16
_SLOW_FILTERS = frozenset(("pprint", "striptags", "urlize", "wordwrap", "xmlattr"))
_SMALL = 64
_STEPS_PER_LOOK = 16
_PLAIN_TYPES = frozenset((bool, int, float, type(None)))
# Filters that look at no more than a part, or make no more than there is.
_FREE_FILTERS = frozenset(("count", "d", "default", "first", "last", "length", "safe"))
# What is worth a look at the clock before something is done with it.
_LARGE = 1 << 14
_PADDING = frozenset(("center", "ljust", "rjust", "zfill"))
_PARTING = frozenset(("partition", "rpartition"))
_SPLITTING = frozenset(("split", "rsplit", "splitlines"))
_WIDE_PERCENT = re.compile(r"%(?:\([^)]*\))?[-#0 +]*(?:\d*\.)?(?:\*|\d{4})")
_WIDE_BRACES = re.compile(r"\{[^{}]*:[^{}]*(?:\{|\d{4})")


class _Rendering(threading.local):
    """What is known of the rendering in this thread.

    Attributes:
        deadline: by the thread's own clock; None while there is none.
        num_made: characters of all that was made.
        num_steps: of loops, macros and iterators.
        sizes: weight and depth of containers by id; with the containers, so that none has the id of another. What a
            template is given or makes never changes.
    """

    deadline: float | None = None
    num_made = 0
    num_steps = 0

    def __init__(self) -> None:
        self.sizes: dict[int, tuple[object, int, int]] = {}


class Meter:
    """Follows the renderings of an environment, one in each thread."""

    def __init__(self) -> None:
        self._now = _Rendering()

    def start(self) -> None:
        """Begins a rendering in this thread."""
        self._now.deadline = time.thread_time() + MAX_SECONDS
        self._now.num_made = self._now.num_steps = 0

    def stop(self) -> None:
        """Ends the rendering of this thread."""
        self._now.deadline = None
        self._now.sizes.clear()

    def check_running(self) -> None:
        """Refuses to compute what Jinja would like to know while it compiles.

        Raises:
            TemplateRuntimeError: there is no rendering.
        """
        if self._now.deadline is None:
            raise jinja2.TemplateRuntimeError("nothing is being rendered")

    def take_step(self) -> None:
        """Looks at the clock now and then.

        Raises:
            TemplateRuntimeError: the rendering takes too long.
        """
        self._now.num_steps += 1
        if self._now.num_steps % _STEPS_PER_LOOK == 0:
            self.look()

    def look(self) -> None:
        """Looks at the clock.

        Raises:
            TemplateRuntimeError: the rendering takes too long.
        """
        if self._now.deadline is not None and time.thread_time() > self._now.deadline:
            raise jinja2.TemplateRuntimeError(f"it takes more than {MAX_SECONDS:g} seconds")

    def weigh(self, value: object) -> int:
        """The characters that a value would be written with, about, with everything in it as often as it is there.

        Raises:
            TemplateRuntimeError: they are too many, or there is no time left for so many.
        """
        weight = len(value) if isinstance(value, str) else self._measure(value)[0]
        if weight > _LARGE:
            self.look()
        return weight

    def take(self, value: Any) -> Any:
        """What an operation has made, counted; an iterator counts as it goes.

        Raises:
            TemplateRuntimeError: it is too large, or too much was made.
        """
        if isinstance(value, str | bytes):
            # There is no time to make too much in small pieces.
            if len(value) > _SMALL:
                check_length(len(value))
                self._count(len(value))
        elif isinstance(value, list | tuple | dict):
            check_items(len(value))
            self._count(_CHARACTERS_PER_ITEM * len(value))
        elif isinstance(value, int):
            _check_bits(value.bit_length())
        elif isinstance(value, Iterator):
            return self._count_items(value)
        return value

    def check_operation(self, operator: str, left: Any, right: Any) -> None:
        """Looks at what `+`, `*`, `**` or `%` is to work on.

        Raises:
            TemplateRuntimeError: it would make too much.
        """
        self.weigh(left), self.weigh(right)
        match operator:
            case "%" if isinstance(left, str | bytes):
                self._check_percent(left, right)
            case "**" if isinstance(left, int) and isinstance(right, int):
                _check_bits(left.bit_length() * max(right, 0))
            case "*":
                for one, other in ((left, right), (right, left)):
                    if isinstance(other, int):
                        check_product(one, other)

    def check_filter(self, name: str, value: Any, *given: Any, **named: Any) -> None:
        """Looks at what a filter is to work on.

        Raises:
            TemplateRuntimeError: it would make too much, or take too long.
        """
        self.check_running()
        self.weigh(value)
        weight, depth = self._measure(value)
        further = (*given, *named.values())
        num_others = sum(map(self.weigh, further))
        match name:
            case "center" | "batch" | "slice" | "round":
                _check_number(name, max((abs(each) for each in further if isinstance(each, int)), default=0))
            case "indent":
                num_lines = value.count("\n") + 1 if isinstance(value, str) else 1
                check_length(weight + num_lines * _width(further))
            case "tojson":
                num_lines = weight // _CHARACTERS_PER_ITEM
                check_length(weight + num_lines * (depth * _width(further) + num_others if further else 0))
            case "sum" if not all(isinstance(each, int | float | str | None) for each in further):
                raise jinja2.TemplateRuntimeError("`sum` adds numbers only")
            case "format":
                self._check_percent(value, [*given, named])
            case "replace" if len(given) > 1:
                _check_replaced(str(value), str(given[0]), str(given[1]))
            case "join":
                check_length(weight + _num_items(value) * num_others)
            case _ if name in _SLOW_FILTERS and weight > _MAX_SLOW:
                raise jinja2.TemplateRuntimeError(f"`{name}` gets more than {_MAX_SLOW} characters")

    def check_call(self, function: Any, given: Sequence[Any], named: Mapping[str, Any]) -> None:
        """Looks at what a function, or a method of a text, is to work on.

        Raises:
            TemplateRuntimeError: it would make too much, or take too long.
        """
        further = (*given, *named.values())
        num_others = sum(map(self.weigh, further))
        owner = getattr(function, "__self__", None)
        self.weigh(owner)
        name = getattr(function, "__name__", "")
        numbers = [abs(each) for each in further if isinstance(each, int)]
        if isinstance(owner, int) and numbers:
            check_length(max(numbers))
        if not isinstance(owner, str | bytes):
            return
        if name in _PADDING:
            check_length(max(numbers, default=0))
        elif name in _PARTING:
            self._count(len(owner))
        elif name in _SPLITTING:
            self._count(len(owner))
            check_items(_num_parts(owner, given[0] if given and name != "splitlines" else None))
        elif name == "expandtabs":
            check_length(len(owner) * max([8, *numbers]))
        elif name == "translate":
            raise jinja2.TemplateRuntimeError("`translate` is not available")
        elif name == "replace" and len(given) > 1:
            _check_replaced(owner, *given[:2])
        elif name == "join" and given:
            check_length(num_others + _num_items(given[0]) * len(owner))

    def check_format(self, text: str, given: Sequence[Any], named: Mapping[str, Any]) -> None:
        """Looks at what `text.format(...)` is to work on.

        Raises:
            TemplateRuntimeError: it would make too much, or could not be told.
        """
        if _WIDE_BRACES.search(text):
            raise jinja2.TemplateRuntimeError(f"a format has a width of more than {_MAX_WIDTH}, or one that is given")
        weight = sum(map(self.weigh, (*given, *named.values())))
        check_length(len(text) + text.count("{") * (weight + _MAX_WIDTH))

    def listed(self, values: Any) -> Any:
        """What texts are joined of, with all its items at hand.

        Raises:
            TemplateRuntimeError: they are too many to be written one after the other.
        """
        if isinstance(values, str | list | tuple | dict) or not isinstance(values, Iterable):
            return values
        found: list[Any] = []
        length = 0
        for each in values:
            length += self.weigh(each)
            check_length(length)
            found.append(each)
        return found

    def _check_percent(self, text: Any, given: Any) -> None:
        text = text.decode("latin-1") if isinstance(text, bytes) else str(text)
        if _WIDE_PERCENT.search(text):
            raise jinja2.TemplateRuntimeError(f"a format has a width of more than {_MAX_WIDTH}, or one that is given")
        check_length(len(text) + text.count("%") * (self.weigh(given) + _MAX_WIDTH))

    def _count(self, num_characters: int) -> None:
        self._now.num_made += num_characters
        if self._now.num_made > _MAX_MADE:
            raise jinja2.TemplateRuntimeError(f"it makes texts and lists of more than {_MAX_MADE} characters in all")

    def _count_items(self, values: Iterator[Any]) -> Iterator[Any]:
        for num_items, value in enumerate(values):
            self.take_step()
            check_items(num_items)
            self._count(_CHARACTERS_PER_ITEM)
            self.weigh(value)
            yield value

    def _measure(self, value: object) -> tuple[int, int]:
        """The weight of a value, and how deep it is nested."""
        if isinstance(value, str | bytes):
            return len(value), 0
        if type(value) in _PLAIN_TYPES:
            return _CHARACTERS_PER_ITEM, 0
        if isinstance(value, Namespace):
            # It can be changed, and be in itself.
            raise jinja2.TemplateRuntimeError("a namespace is used as a value")
        if isinstance(value, KeysView | ValuesView | ItemsView):
            value = tuple(value)
        if not isinstance(value, list | tuple | dict):
            return _CHARACTERS_PER_ITEM, 0
        known = self._now.sizes.get(id(value))
        if known is not None:
            return known[1], known[2]
        inner = (*value.keys(), *value.values()) if isinstance(value, dict) else value
        sizes = [self._measure(each) for each in inner]
        weight = _CHARACTERS_PER_ITEM * len(sizes) + sum(weight for weight, _ in sizes)
        check_length(weight)
        depth = 1 + max((depth for _, depth in sizes), default=0)
        self._now.sizes[id(value)] = (value, weight, depth)
        return weight, depth


def bounded(meter: Meter, name: str, function: Callable[..., Any], num_passed: int) -> Callable[..., Any]:
    """A filter that is measured; `num_passed` arguments before its value are Jinja's own."""
    if name in _FREE_FILTERS:
        return function

    @functools.wraps(function)
    def measured(*given: Any, **named: Any) -> Any:
        if name == "join" and len(given) > num_passed:
            given = (*given[:num_passed], meter.listed(given[num_passed]), *given[num_passed + 1 :])
        meter.check_filter(name, *given[num_passed:], **named)
        return meter.take(function(*given, **named))

    return measured


def check_length(length: int) -> None:
    """Refuses a text that is too long.

    Raises:
        TemplateRuntimeError: it is.
    """
    if length > MAX_CHARACTERS:
        raise jinja2.TemplateRuntimeError(f"it writes more than {MAX_CHARACTERS} characters")


def check_items(num_items: int) -> None:
    """Refuses a list that is too long.

    Raises:
        TemplateRuntimeError: it is.
    """
    if num_items > MAX_ITEMS:
        raise jinja2.TemplateRuntimeError(f"it makes a list of more than {MAX_ITEMS} items")


def check_product(value: Any, times: int) -> None:
    """Refuses to repeat a text or a list, or to multiply a number, too often.

    Raises:
        TemplateRuntimeError: it would be too large.
    """
    if isinstance(value, str | bytes):
        check_length(len(value) * times)
    elif isinstance(value, list | tuple):
        check_items(len(value) * times)
    elif isinstance(value, int):
        _check_bits(value.bit_length() + times.bit_length())


def _check_number(name: str, number: int) -> None:
    """Of places, items, or decimals."""
    if name == "round" and number > _MAX_PLACES:
        raise jinja2.TemplateRuntimeError(f"`round` has more than {_MAX_PLACES} places")
    check_length(number) if name == "center" else check_items(number)


def _check_bits(num_bits: int) -> None:
    if num_bits > _MAX_BITS:
        raise jinja2.TemplateRuntimeError(f"a number has more than {_MAX_BITS} bits")


def _check_replaced(text: Any, old: Any, new: Any) -> None:
    num_places = text.count(old) if old else len(text) + 1
    check_items(num_places)
    check_length(len(text) + num_places * len(new))


def _width(given: Sequence[Any]) -> int:
    """How far lines are indented: by a number of spaces, or by a text."""
    return max(
        (len(each) if isinstance(each, str) else abs(each) for each in given if isinstance(each, str | int)), default=4
    )


def _num_items(value: Any) -> int:
    return len(value) if isinstance(value, str | bytes | list | tuple | dict) else 1


def _num_parts(text: Any, separator: Any) -> int:
    if separator is None:
        # Only the parts themselves would tell; as many as there can be are bearable for eight times the limit.
        return len(text) // 8
    return int(text.count(separator)) + 1
