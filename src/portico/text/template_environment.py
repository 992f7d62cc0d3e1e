"""The Jinja environment of chat templates: a sandbox, with what checkpoints' templates expect, and with bounds.

The sandbox keeps a template from the process. The bounds are on what Jinja lets a template do for ever or at any size:
loops, macros that call themselves, and texts that grow; the time is counted where one of these takes its next step.
"""

from __future__ import annotations

import datetime
import json
import threading
import time
from collections.abc import Iterable
from typing import Any, NoReturn

import jinja2
from jinja2 import nodes
from jinja2.compiler import CodeGenerator, Frame
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

MAX_SECONDS = 2.0
MAX_CHARACTERS = 1 << 26
_MAX_BITS = 4096


class _GenerationBlock(Extension):
    """`{% generation %}` marks what an assistant wrote, for those who train with the template."""

    tags = {"generation"}  # noqa: RUF012 - Jinja's own declaration

    def parse(self, parser: Parser) -> list[nodes.Node]:
        """The block's content, as if it were not in a block."""
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class BoundedGenerator(CodeGenerator):
    """Writes templates that join texts by the environment's own function."""

    def visit_Concat(self, node: nodes.Concat, frame: Frame) -> None:  # noqa: N802
        self.write("environment.concat((")
        for each in node.nodes:
            self.write("str(")
            self.visit(each, frame)
            self.write("), ")
        self.write("))")


def _join(parts: Iterable[str]) -> str:
    return check_size("".join(parts))


class TemplateEnvironment(ImmutableSandboxedEnvironment):
    """Compiles chat templates as transformers does."""

    code_generator_class = BoundedGenerator
    concat = staticmethod(_join)
    intercepted_binops = frozenset(("+", "*", "**"))

    def __init__(self) -> None:
        super().__init__(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, _GenerationBlock])
        self.filters["tojson"] = _to_json
        self.globals["raise_exception"] = _refuse
        self.globals["strftime_now"] = _format_now
        self._clock = threading.local()

    def start_clock(self) -> None:
        """Begins to count the time of this thread for one rendering."""
        self._clock.deadline = time.thread_time() + MAX_SECONDS

    def take_step(self) -> None:
        """What loops and macros of templates call.

        Raises:
            TemplateRuntimeError: the rendering takes too long.
        """
        if time.thread_time() > self._clock.deadline:
            raise jinja2.TemplateRuntimeError(f"it takes more than {MAX_SECONDS:g} seconds")

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """See Jinja: an operation that can make much of little."""
        is_integer = isinstance(left, int) and isinstance(right, int)
        if operator == "**" and is_integer and left.bit_length() * right > _MAX_BITS:
            raise jinja2.TemplateRuntimeError(f"a number has more than {_MAX_BITS} bits")
        if operator == "*":
            for one, other in ((left, right), (right, left)):
                if isinstance(one, str | list | tuple) and isinstance(other, int):
                    _check_length(len(one) * other)
        found = super().call_binop(context, operator, left, right)
        return check_size(found) if isinstance(found, str) else found

    def _generate(self, source: nodes.Template, *arguments: Any, **options: Any) -> str:
        bodies: list[Any] = [
            each for kind in (nodes.For, nodes.Macro, nodes.CallBlock) for each in source.find_all(kind)
        ]
        for each in bodies:
            step = nodes.Call(nodes.EnvironmentAttribute("take_step"), [], [], None, None)
            statement: nodes.Node = nodes.ExprStmt(step)
            each.body.insert(0, statement.set_lineno(each.lineno).set_environment(self))
        return super()._generate(source, *arguments, **options)


def check_size(text: str) -> str:
    """The text, unless it is too long.

    Raises:
        TemplateRuntimeError: it is.
    """
    _check_length(len(text))
    return text


def _check_length(length: int) -> None:
    if length > MAX_CHARACTERS:
        raise jinja2.TemplateRuntimeError(f"it writes more than {MAX_CHARACTERS} characters")


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | str | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _refuse(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)


def _format_now(pattern: str) -> str:
    return datetime.datetime.now().strftime(pattern)
