"""What goes over the wire on this dialect's routes."""

from __future__ import annotations

from portico.core.errors import UnknownModel, UnknownRoute
from portico.core.form import JSON, Form
from portico.dialects.forms import Fields, reading, streaming
from portico.dialects.mindie import ledgers
from portico.dialects.mindie.cluster import NotHere
from portico.dialects.mindie.schema import Body, Parameters, StopFields, TokenizerFields

_PARAMETERS = Fields("mindie.Parameters", ledgers.PARAMETERS, (Parameters,), takes_null=True)
INFER = streaming(Fields("mindie.Infer", ledgers.BODY, (Body,), within={"parameters": _PARAMETERS}, takes_null=True))
TOKENIZER = reading(Fields("mindie.Tokenizer", ledgers.TOKENIZER, (TokenizerFields,), takes_null=True))
STOP = reading(Fields("mindie.Stop", ledgers.STOP, (StopFields,)), UnknownModel("model", ("served",)))
TIMED = Form(errors=(UnknownRoute("GET", "/health/timed-0"),))
PROBE = Form(answers={200: (), 500: (JSON,), 503: (JSON,)})
ORDER = Form(answers={}, errors=(NotHere("There is nobody for this order."),))
SHUTDOWN = Form(answers={200: (), 500: ()})
