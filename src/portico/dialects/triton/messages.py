"""Protocol buffer messages from their declarations.

They live in a pool of their own: generated code of other libraries registers messages of the same names in the common
one, and two of them in one process fail.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message, message_factory

from portico.core.errors import MalformedRequest
from portico.dialects.triton.protos import PROTOS

_DECLARATION = re.compile(r"(message|enum|service) (\w+) \{(.*?)\}", re.DOTALL)
_FIELD = re.compile(r"(?:(repeated|map|oneof) )?(\w+) (\w+) = (\d+);")
_VALUE = re.compile(r"(\w+) = (\d+);")
_METHOD = re.compile(r"(\w+) \((stream )?(\w+)\) \((stream )?(\w+)\);")
_Field = descriptor_pb2.FieldDescriptorProto


class Messages:
    """The message classes of all packages, by their names without the package; `pool` has their descriptors."""

    def __init__(self) -> None:
        self.pool: Any = descriptor_pool.DescriptorPool()
        self._classes: dict[str, Any] = {}
        for package, text in PROTOS.items():
            added = self.pool.Add(_build_file(package, text)) or self.pool.FindFileByName(f"portico/{package}.proto")
            for name, descriptor in added.message_types_by_name.items():
                self._classes.setdefault(name, message_factory.GetMessageClass(descriptor))

    def decode(self, name: str, body: bytes) -> Any:
        """A message of the named type.

        Raises:
            MalformedRequest: the bytes are none.
        """
        decoded = self._classes[name]()
        try:
            decoded.ParseFromString(body)
        except message.DecodeError:
            raise MalformedRequest(f"The message is no {name}.") from None
        return decoded

    def encode(self, name: str, fields: Mapping[str, Any]) -> bytes:
        """The bytes of a message whose fields are given as JSON has them.

        Fields that are not declared here are those that are always empty.
        """
        filled = json_format.ParseDict(dict(fields), self._classes[name](), ignore_unknown_fields=True)
        return bytes(filled.SerializeToString())

    def make(self, name: str, **fields: Any) -> Any:
        """A message of the named type with these fields."""
        return self._classes[name](**fields)


def _build_file(package: str, text: str) -> Any:
    declared = [match.groups() for match in _DECLARATION.finditer(text)]
    enums = {name for kind, name, _ in declared if kind == "enum"}
    file = descriptor_pb2.FileDescriptorProto(name=f"portico/{package}.proto", package=package, syntax="proto3")
    for kind, name, body in declared:
        if kind == "enum":
            values = file.enum_type.add(name=name).value
            for value, number in _VALUE.findall(body):
                values.add(name=value, number=int(number))
        elif kind == "service":
            _fill_service(file.service.add(name=name), package, body)
        else:
            _fill_message(file.message_type.add(name=name), package, body, enums)
    return file


def _fill_service(proto: Any, package: str, body: str) -> None:
    for name, streams_in, request, streams_out, response in _METHOD.findall(body):
        proto.method.add(
            name=name,
            input_type=f".{package}.{request}",
            output_type=f".{package}.{response}",
            client_streaming=bool(streams_in),
            server_streaming=bool(streams_out),
        )


def _fill_message(proto: Any, package: str, body: str, enums: set[str]) -> None:
    for label, kind, name, number in _FIELD.findall(body):
        field = proto.field.add(name=name, number=int(number), label=_Field.LABEL_OPTIONAL)
        if label == "map":
            entry = _add_map_entry(proto, package, name, kind)
            field.label, field.type, field.type_name = _Field.LABEL_REPEATED, _Field.TYPE_MESSAGE, entry
            continue
        _set_type(field, package, kind, enums)
        if label == "repeated":
            field.label = _Field.LABEL_REPEATED
        elif label == "oneof":
            if not proto.oneof_decl:
                proto.oneof_decl.add(name="choice")
            field.oneof_index = 0


def _add_map_entry(proto: Any, package: str, name: str, kind: str) -> str:
    """Maps are lists of pairs on the wire; all of them have strings for keys."""
    entry = proto.nested_type.add(name="".join(part.title() for part in name.split("_")) + "Entry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, type=_Field.TYPE_STRING, label=_Field.LABEL_OPTIONAL)
    _set_type(entry.field.add(name="value", number=2, label=_Field.LABEL_OPTIONAL), package, kind, set())
    return f".{package}.{proto.name}.{entry.name}"


def _set_type(field: Any, package: str, kind: str, enums: set[str]) -> None:
    if kind.islower():
        field.type = _Field.Type.Value(f"TYPE_{kind.upper()}")
        return
    field.type = _Field.TYPE_ENUM if kind in enums else _Field.TYPE_MESSAGE
    field.type_name = f".{package}.{kind}"
