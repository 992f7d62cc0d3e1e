"""What the operator decides about this dialect."""

from __future__ import annotations

from dataclasses import dataclass

from portico.core.model import NO_ADVICE, SamplingDefaults


@dataclass(frozen=True, slots=True)
class Profile:
    """What differs from server to server.

    Attributes:
        defaults: what applies where a request says nothing; without it, what the OpenAI API documents.
        trusts_chat_template: requests may bring a chat template.
    """

    defaults: SamplingDefaults
    trusts_chat_template: bool


DOCUMENTED = Profile(NO_ADVICE, trusts_chat_template=False)
