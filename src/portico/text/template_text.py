"""Text that knows which of its parts a template wrote, and a Jinja environment whose templates write such text.

Only what is known to come from the template's own source is marked: whatever an operation loses track of is taken for
content, so that an operation that is not followed here can never turn content into markup.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import accumulate
from typing import Any, SupportsIndex

from jinja2 import nodes, pass_eval_context
from jinja2.compiler import Frame
from jinja2.filters import do_join
from markupsafe import Markup

from portico.core.tokens import Spans
from portico.text.template_bounds import check_length
from portico.text.template_environment import BoundedGenerator, TemplateEnvironment


class TemplateText(str):
    """A string, with the places of the characters that are the template's own, in order and without touching.

    Made from text alone it has none of them: that is how libraries copy the type of a string that they have changed.
    """

    __slots__ = ("_own",)
    _own: Spans

    def __new__(cls, text: str, own: Spans = ()) -> TemplateText:
        """With the places of its own characters."""
        made = super().__new__(cls, text)
        made._own = own
        return made

    @classmethod
    def of_template(cls, text: str) -> TemplateText:
        """Text that is the template's own throughout."""
        return cls(text, ((0, len(text)),) if text else ())

    def __str__(self) -> str:
        return self

    def __add__(self, other: str) -> str:
        return join((self, other)) if isinstance(other, str) else NotImplemented

    def __radd__(self, other: str) -> str:
        return join((other, self)) if isinstance(other, str) else NotImplemented

    def __mul__(self, times: SupportsIndex) -> str:
        text = super().__mul__(times)
        return TemplateText.of_template(text) if self._own == ((0, len(self)),) else text

    __rmul__ = __mul__

    def __getitem__(self, key: SupportsIndex | slice) -> str:
        if isinstance(key, slice):
            start, end, step = key.indices(len(self))
            return self._part(start, max(start, end)) if step == 1 else super().__getitem__(key)
        character = super().__getitem__(key)
        place = key.__index__() % len(self)
        return self._part(place, place + 1) if self._own else character

    def strip(self, chars: str | None = None, /) -> str:
        """See `str`."""
        start = len(self) - len(super().lstrip(chars))
        return self._part(start, start + len(super().strip(chars)))

    def lstrip(self, chars: str | None = None, /) -> str:
        """See `str`."""
        return self._part(len(self) - len(super().lstrip(chars)), len(self))

    def rstrip(self, chars: str | None = None, /) -> str:
        """See `str`."""
        return self._part(0, len(super().rstrip(chars)))

    def removeprefix(self, prefix: str, /) -> str:
        """See `str`."""
        return self._part(len(self) - len(super().removeprefix(prefix)), len(self))

    def removesuffix(self, suffix: str, /) -> str:
        """See `str`."""
        return self._part(0, len(super().removesuffix(suffix)))

    def split(self, sep: str | None = None, maxsplit: SupportsIndex = -1) -> list[str]:
        """See `str`."""
        return self._placed(super().split(sep, maxsplit), sep)

    def rsplit(self, sep: str | None = None, maxsplit: SupportsIndex = -1) -> list[str]:
        """See `str`."""
        return self._placed(super().rsplit(sep, maxsplit), sep)

    def splitlines(self, keepends: bool = False) -> list[str]:
        """See `str`."""
        whole = super().splitlines(True)
        starts = accumulate(map(len, whole), initial=0)
        lines = zip(starts, super().splitlines(keepends), strict=False)
        return [self._part(start, start + len(line)) for start, line in lines]

    def partition(self, sep: str, /) -> tuple[str, str, str]:
        """See `str`."""
        return self._three(*super().partition(sep))

    def rpartition(self, sep: str, /) -> tuple[str, str, str]:
        """See `str`."""
        return self._three(*super().rpartition(sep))

    def replace(self, old: str, new: str, count: SupportsIndex = -1, /) -> str:
        """See `str`."""
        if not old:
            return super().replace(old, new, count)
        return join(_between(new, self._placed(super().split(old, count), old)))

    def join(self, parts: Iterable[str], /) -> str:
        """See `str`."""
        return join(_between(self, parts))

    def _part(self, start: int, end: int) -> str:
        """What stands between two places."""
        own = tuple(
            (max(first, start) - start, min(last, end) - start)
            for first, last in self._own
            if max(first, start) < min(last, end)
        )
        text = super().__getitem__(slice(start, end))
        return TemplateText(text, own) if own else text

    def _three(self, before: str, middle: str, behind: str) -> tuple[str, str, str]:
        first, second = len(before), len(before) + len(middle)
        return self._part(0, first), self._part(first, second), self._part(second, second + len(behind))

    def _placed(self, parts: list[str], sep: str | None) -> list[str]:
        """Parts that stand in this order, with a separator, or white space, between them."""
        found, place = [], 0
        for each in parts:
            if sep is None:
                # A part begins with something else than the white space before it.
                place = self.index(each, place)
            found.append(self._part(place, place + len(each)))
            place += len(each) + len(sep or "")
        return found


def own_parts(text: str) -> Spans:
    """The places of what a template wrote by itself."""
    return text._own if isinstance(text, TemplateText) else ()


def without_marks(text: str) -> str:
    """The same characters as an ordinary string."""
    return str.__str__(text)


def join(parts: Iterable[str]) -> str:
    """One text of many."""
    found = list(parts)
    check_length(sum(map(len, found)))
    own: list[tuple[int, int]] = []
    place = 0
    for part in found:
        for start, end in own_parts(part):
            if own and own[-1][1] == place + start:
                own[-1] = (own[-1][0], place + end)
            else:
                own.append((place + start, place + end))
        place += len(part)
    text = "".join(found)
    return TemplateText(text, tuple(own)) if own else text


def _between(separator: str, parts: Iterable[str]) -> Iterator[str]:
    for index, part in enumerate(parts):
        if index:
            yield separator
        yield part


class _MarkingGenerator(BoundedGenerator):
    """Writes templates whose string constants are marked as theirs."""

    def visit_Const(self, node: nodes.Const, frame: Frame) -> None:  # noqa: N802
        value = node.as_const(frame.eval_ctx)
        # What is safe for HTML makes everything that is joined to it so, with whatever it has of `<` and `&`.
        if isinstance(value, str) and not isinstance(value, Markup):
            self.write(self._mark(value))
        else:
            super().visit_Const(node, frame)

    def visit_TemplateData(self, node: nodes.TemplateData, frame: Frame) -> None:  # noqa: N802
        self.write(self._mark(node.data))

    def _output_const_repr(self, group: Iterable[Any]) -> str:
        return self._mark("".join(map(str, group)))

    def _mark(self, text: str) -> str:
        assert isinstance(self.environment, MarkingEnvironment)
        return self.environment.name_own(text)


@pass_eval_context
def _join(context: nodes.EvalContext, value: Any, d: str = "", attribute: str | int | None = None) -> str:
    joined: str = do_join(context, value, TemplateText(d, own_parts(d)), attribute)
    return joined


class MarkingEnvironment(TemplateEnvironment):
    """An environment in which what a template writes is `TemplateText`."""

    code_generator_class = _MarkingGenerator

    def __init__(self) -> None:
        super().__init__()
        self.own_texts: list[TemplateText] = []
        self.bound([("join", _join)])

    def join_texts(self, parts: Iterable[str]) -> str:
        """See `TemplateEnvironment`."""
        return join(parts)

    def name_own(self, text: str) -> str:
        """The expression that compiled templates have for a text of theirs."""
        self.own_texts.append(TemplateText.of_template(text))
        return f"environment.own_texts[{len(self.own_texts) - 1}]"
