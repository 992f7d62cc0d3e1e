"""Command-line flags generated from configuration dataclasses."""

from __future__ import annotations

import argparse
import re
from dataclasses import Field, fields
from decimal import Decimal
from types import NoneType, UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

C = TypeVar("C")

# As in vLLM's flags, capital letters are powers of 1024 and small ones of 1000; `Ki` is Kubernetes' spelling of K.
_MULTIPLES = {"": 1} | {
    suffix: base**power
    for power, letter in enumerate("kmgt", 1)
    for suffix, base in ((letter, 1000), (letter.upper(), 1024), (f"{letter.upper()}i", 1024))
}


class FlagError(Exception):
    """A flag has a value out of its range; the message is one sentence for the operator."""


def add_flags(parser: argparse.ArgumentParser, config: type[Any], title: str, prefix: str = "") -> None:
    """Adds one flag for every field of a configuration class, in a group of their own or those that fields begin."""
    group = parser.add_argument_group(title)
    hints = get_type_hints(config)
    for each in fields(config):
        if each.metadata["begins"] is not None:
            group = parser.add_argument_group(each.metadata["begins"])
        _add_flag(group, each, hints[each.name], prefix)


def read_flags(arguments: argparse.Namespace, config: type[C], prefix: str = "") -> C:
    """The configuration that was given on the command line.

    Raises:
        FlagError: the configuration does not accept a value.
    """
    values = vars(arguments)
    given = {each.name: values[prefix + each.name] for each in fields(config)}  # type: ignore[arg-type]
    try:
        return config(**{name: tuple(value) if isinstance(value, list) else value for name, value in given.items()})
    except ValueError as error:
        raise FlagError(str(error)) from error


def name_flags(message: str, *configs: type[Any]) -> str:
    """A message in which fields of configurations have the names of their flags, as the operator knows them.

    Names of a single word stay as they are: they may be words of the sentence.
    """
    names = {each.name for config in configs for each in fields(config) if "_" in each.name}
    known = "|".join(sorted(names, key=len, reverse=True))
    return re.sub(rf"(?<![\w/.-])(?:{known})(?![\w/.-]*\w)", lambda found: "--" + found[0].replace("_", "-"), message)


def parse_bytes(text: str) -> int:
    """A number of bytes, such as `4096`, `512M` or `1.5G`; a part of a byte is left out.

    Raises:
        ArgumentTypeError: it is no such number; the message is one sentence for the operator.
    """
    found = re.fullmatch(r"(-?[0-9]+(?:\.[0-9]+)?)([A-Za-z]*)", text)
    if found is None or found[2] not in _MULTIPLES or ("." in found[1] and not found[2]):
        raise argparse.ArgumentTypeError(
            f"{text!r} is no number of bytes, such as 4096, 512M or 1.5G: K, M, G and T (or Ki, Mi, Gi and Ti) are "
            "powers of 1024, k, m, g and t of 1000"
        )
    return int(Decimal(found[1]) * _MULTIPLES[found[2]])


class _Gather(argparse.Action):
    """A flag with several values, which may also be given several times; what is given replaces the default."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        before = getattr(namespace, self.dest)
        setattr(namespace, self.dest, [*(() if before is self.default else before), *values])


def _add_flag(group: argparse._ArgumentGroup, each: Field[Any], hint: Any, prefix: str) -> None:
    flag = "--" + (prefix + each.name).replace("_", "-")
    text = each.metadata["help"]
    if hint is bool:
        text += " (default)" if each.default else ""
        group.add_argument(flag, action=argparse.BooleanOptionalAction, default=each.default, help=text)
        return
    if each.default not in (None, (), ""):
        text += " (default: %(default)s)"
    choices, metavar = each.metadata["choices"], each.metadata["metavar"]
    if metavar == "BYTES":
        text += "; with K, M, G or T times a power of 1024, with k, m, g or t of 1000"
    extra: dict[str, Any] = {}
    if get_origin(hint) is tuple:
        extra = {"action": _Gather, "nargs": 1 if each.metadata["is_secret"] else "+"}
    if each.metadata["bare"] is not None:
        extra = {"nargs": "?", "const": each.metadata["bare"]}
    group.add_argument(
        flag,
        type=parse_bytes if metavar == "BYTES" else _value_type(hint),
        default=each.default,
        choices=choices,
        metavar=metavar or (None if choices else _value_type(hint).__name__.upper()),
        help=text,
        **extra,
    )


def _value_type(hint: Any) -> type[Any]:
    if isinstance(hint, UnionType):
        hint = next(each for each in get_args(hint) if each is not NoneType)
    if get_origin(hint) is tuple:
        hint = get_args(hint)[0]
    value_type: type[Any] = hint
    return value_type
