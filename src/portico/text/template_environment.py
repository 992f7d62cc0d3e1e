"""The Jinja environment of chat templates: a sandbox, with what checkpoints' templates expect, and with bounds.

The sandbox keeps a template from the process. The bounds are on what Jinja lets a template do for ever or at any size:
loops and macros that call themselves look at the clock with each step, and operators, filters, calls and what is
written are measured before and after; see `template_bounds`.
"""

from __future__ import annotations

import datetime
import functools
import json
from collections.abc import Callable, Iterable
from typing import Any, NoReturn, cast

import jinja2
from jinja2 import nodes
from jinja2.compiler import CodeGenerator, Frame, operators
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import _PassArg

from portico.text.template_bounds import Meter, bounded, check_length

_COMPARING = frozenset(
    ("in", "eq", "equalto", "==", "ne", "!=", "lt", "lessthan", "<", "le", "<=", "gt", "greaterthan", ">", "ge", ">=")
)
_MAX_PATTERN = 200
# Texts that need not be counted.
_SHORT = 64
# Methods that cannot make much of a text which is not long.
_SIMPLE = frozenset(
    ("startswith", "endswith", "strip", "lstrip", "rstrip", "lower", "upper", "find", "count", "split", "rsplit")
)
_MIDDLING = 1 << 14


class _GenerationBlock(Extension):
    """`{% generation %}` marks what an assistant wrote, for those who train with the template."""

    tags = {"generation"}  # noqa: RUF012 - Jinja's own declaration

    def parse(self, parser: Parser) -> list[nodes.Node]:
        """The block's content, as if it were not in a block."""
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class BoundedGenerator(CodeGenerator):
    """Writes templates that ask the environment before they do what Jinja has no hook for."""

    def visit_Concat(self, node: nodes.Concat, frame: Frame) -> None:  # noqa: N802
        self.write("environment.concat((")
        for each in node.nodes:
            self._visit_with("shown", each, frame)
            self.write(", ")
        self.write("))")

    def visit_Compare(self, node: nodes.Compare, frame: Frame) -> None:  # noqa: N802
        # What is compared with a constant is soon found to be another, unless it is looked through.
        has_constant = isinstance(node.expr, nodes.Const) or all(
            isinstance(each.expr, nodes.Const) for each in node.ops
        )
        looks_through = any(each.op in ("in", "notin") for each in node.ops)
        if has_constant and not looks_through:
            super().visit_Compare(node, frame)
            return
        self.write("(")
        self._visit_with("weighed", node.expr, frame)
        for each in node.ops:
            self.write(f" {operators[each.op]} ")
            self._visit_with("weighed", each.expr, frame)
        self.write(")")

    def visit_Dict(self, node: nodes.Dict, frame: Frame) -> None:  # noqa: N802
        self.write("{")
        for each in node.items:
            self._visit_with("weighed", each.key, frame)
            self.write(": ")
            self.visit(each.value, frame)
            self.write(", ")
        self.write("}")

    def visit_Getitem(self, node: nodes.Getitem, frame: Frame) -> None:  # noqa: N802
        is_slice = isinstance(node.arg, nodes.Slice)
        self.write("environment.taken(" if is_slice else "")
        super().visit_Getitem(node, frame)
        self.write(")" if is_slice else "")

    def _output_child_pre(self, node: nodes.Expr, frame: Frame, finalize: Any) -> None:
        super()._output_child_pre(node, frame, finalize)
        self.write("environment.shown(")

    def _output_child_post(self, node: nodes.Expr, frame: Frame, finalize: Any) -> None:
        self.write(")")
        super()._output_child_post(node, frame, finalize)

    def _visit_with(self, name: str, node: nodes.Node, frame: Frame) -> None:
        is_plain = isinstance(node, nodes.Const) and isinstance(node.value, str)
        self.write("" if is_plain else f"environment.{name}(")
        self.visit(node, frame)
        self.write("" if is_plain else ")")


class TemplateEnvironment(ImmutableSandboxedEnvironment):
    """Compiles chat templates as transformers does."""

    code_generator_class = BoundedGenerator
    intercepted_binops = frozenset(("+", "*", "**", "%"))

    def __init__(self) -> None:
        # What is computed of constants is computed when it is rendered, where it can be measured.
        extensions = [loopcontrols, _GenerationBlock]
        super().__init__(trim_blocks=True, lstrip_blocks=True, extensions=extensions, optimized=False)
        self.meter = Meter()
        self.taken = self.meter.take
        self.take_step = self.meter.take_step
        self.filters["tojson"] = _to_json
        self.globals["raise_exception"] = _refuse
        self.globals["strftime_now"] = _format_now
        # It writes any number of words, which no conversation needs.
        del self.globals["lipsum"]
        self.bound(self.filters.items())
        self.tests.update(
            {
                name: self._comparing(cast(Callable[..., Any], self.tests[name]))
                for name in _COMPARING & self.tests.keys()
            }
        )

    def bound(self, filters: Iterable[tuple[str, Callable[..., Any]]]) -> None:
        """Takes filters, or those that are there already, with measures of what they do."""
        self.filters.update(
            {name: bounded(self.meter, name, each, int(_PassArg.from_obj(each) is not None)) for name, each in filters}
        )

    def concat(self, parts: Iterable[str]) -> str:
        """One text of many; compiled templates call it."""
        found = list(parts)
        check_length(sum(map(len, found)))
        text: str = self.meter.take(self.join_texts(found))
        return text

    def join_texts(self, parts: Iterable[str]) -> str:
        """One text of many, which are not too long."""
        return "".join(parts)

    def shown(self, value: Any) -> str:
        """What a value is written as."""
        if isinstance(value, str):
            return value
        self.meter.weigh(value)
        text: str = self.meter.take(str(value))
        return text

    def weighed(self, value: Any) -> Any:
        """The value, which can be compared in bounded time."""
        if not isinstance(value, str) or len(value) > _SHORT:
            self.meter.weigh(value)
        return value

    def getitem(self, obj: Any, argument: Any) -> Any:
        """See Jinja: a key may be of any depth."""
        return super().getitem(obj, self.weighed(argument))

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """See Jinja: an operation that can make much of little."""
        if operator == "+" and isinstance(left, str) and isinstance(right, str):
            found = left + right
            return found if len(found) < _SHORT else self.meter.take(found)
        self.meter.check_operation(operator, left, right)
        return self.meter.take(super().call_binop(context, operator, left, right))

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805
        """See Jinja: a function, a method or a macro."""
        name = getattr(__obj, "__name__", "")
        if name == "join" and args:
            args = (__self.meter.listed(args[0]), *args[1:])
        owner = getattr(__obj, "__self__", None)
        if name in _SIMPLE and isinstance(owner, str) and len(owner) <= _MIDDLING:
            return __self.meter.take(super().call(__context, __obj, *args, **kwargs))
        __self.meter.check_call(__obj, args, kwargs)
        return __self.meter.take(super().call(__context, __obj, *args, **kwargs))

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        """See Jinja: the formatting methods of a text."""
        wrapped = super().wrap_str_format(value)
        if wrapped is None:
            return None

        @functools.wraps(wrapped)
        def measured(*given: Any, **named: Any) -> str:
            self.meter.check_format(value.__self__, given, named)
            return wrapped(*given, **named)

        return measured

    def _comparing(self, test: Callable[..., Any]) -> Callable[..., bool]:
        def measured(*given: Any) -> bool:
            return bool(test(*map(self.weighed, given)))

        return measured

    def _generate(self, source: nodes.Template, *arguments: Any, **options: Any) -> str:
        bodies: list[Any] = [
            each for kind in (nodes.For, nodes.Macro, nodes.CallBlock) for each in source.find_all(kind)
        ]
        for each in bodies:
            step = nodes.Call(nodes.EnvironmentAttribute("take_step"), [], [], None, None)
            statement: nodes.Node = nodes.ExprStmt(step)
            each.body.insert(0, statement.set_lineno(each.lineno).set_environment(self))
        return super()._generate(source, *arguments, **options)


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
    if len(pattern) > _MAX_PATTERN:
        raise jinja2.TemplateRuntimeError(f"a time's pattern has more than {_MAX_PATTERN} characters")
    return datetime.datetime.now().strftime(pattern)
