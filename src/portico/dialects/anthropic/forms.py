"""What goes over the wire on this dialect's routes."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from portico.dialects.anthropic import ledgers
from portico.dialects.anthropic.schema import Message, MessagesFields, OutputConfig, PromptFields, Tool
from portico.dialects.forms import Fields, reading, streaming

_ITEMS: Mapping[str, type[msgspec.Struct]] = {"messages": Message, "tools": Tool}
_WITHIN = {"output_config": Fields("anthropic.OutputConfig", ledgers.OUTPUT_CONFIG, (OutputConfig,))}

MESSAGES = streaming(Fields("anthropic.Messages", ledgers.MESSAGES, (MessagesFields,), items=_ITEMS, within=_WITHIN))
COUNT = reading(Fields("anthropic.Count", ledgers.COUNT, (PromptFields,), items=_ITEMS, within=_WITHIN))
