"""Fields to canonical requests, and the routes of `generate`."""

from __future__ import annotations

import re

from portico.core.dialect import RawRequest
from portico.core.errors import InvalidParameter
from portico.core.model import ServerLimits
from portico.core.request import (
    GenerationRequest,
    OutputOptions,
    Prompt,
    Sampling,
    Stopping,
    TextPrompt,
    Watermark,
    keep_end,
)
from portico.dialects import wire
from portico.dialects.triton import ledgers
from portico.dialects.triton.compression import require_identity
from portico.dialects.triton.encode import TextExchange
from portico.dialects.triton.errors import UnknownVersion
from portico.dialects.triton.fields import Given, gather, require_distinct_keys, spread
from portico.dialects.triton.grammar import decode_grammar
from portico.dialects.triton.layout import Layout
from portico.dialects.triton.outputs import ALL_OUTPUTS, TEXT_OUTPUT
from portico.dialects.triton.profile import Profile
from portico.dialects.triton.schema import Fields

ONLY_VERSION = "1"
WATERMARK = Watermark(gamma=0.5, delta=2.0, hash_key=15485863)
_SEED_RANGE = 2**64
_ID = re.compile(r"[A-Za-z0-9_-]{1,256}\Z")
_MAX_BIAS = 100.0
_MAX_TIMEOUT = 2**64 - 1


class Decoder:
    """Reads the requests of one profile."""

    def __init__(self, profile: Profile) -> None:
        self.profile = profile

    def decode_generate(self, raw: RawRequest) -> TextExchange:
        """Reads `generate`.

        Raises:
            RequestError: a field is out of range or not honoured, or a stream was asked for.
        """
        given = self._read(raw)
        if given.fields.stream:
            raise InvalidParameter(
                given.name("stream"),
                "generate expects model to produce exactly 1 response, use generate stream for model that generates "
                "various number of responses",
            )
        return self._exchange(raw, given, on_stream_path=False)

    def decode_generate_stream(self, raw: RawRequest) -> TextExchange:
        """Reads `generate_stream`.

        Raises:
            RequestError: a field is out of range or not honoured.
        """
        return self._exchange(raw, self._read(raw), on_stream_path=True)

    def own_id(self, raw: RawRequest) -> str:
        """The id of a request whose body has none: of the client's header or the server's own, or empty.

        Raises:
            InvalidParameter: the header is no id.
        """
        if not self.profile.always_has_id:
            return ""
        named = raw.headers.get("req-id")
        if named is None:
            return raw.request_id
        if not _ID.match(named):
            raise InvalidParameter(
                "req-id", "The header `req-id` must be 1 to 256 letters, digits, dashes and underscores."
            )
        return named

    def build_layout(self, given: Given, id: str, version: str | None, *, is_incremental: bool) -> Layout:
        """How an answer to text is laid out; `id` and `version` are the client's, or empty.

        Raises:
            InvalidParameter: the prompt is to be echoed in a stream.
        """
        fields = given.fields
        return Layout(
            profile=self.profile,
            id=id,
            model_version=version or self.profile.model_version,
            prefix=fields.text_input if self._echoes(given, is_incremental) else "",
            is_incremental=is_incremental,
            outputs=_asked_outputs(fields),
            details=fields.details,
        )

    def build_request(
        self, raw: RawRequest, given: Given, model: str, layout: Layout, prompt: Prompt, *, stream: bool
    ) -> GenerationRequest:
        """The canonical request, with the details that its answer needs.

        Raises:
            InvalidParameter: a field is out of range.
        """
        fields = given.fields
        if isinstance(prompt, TextPrompt) and not prompt.text:
            raise InvalidParameter("text_input", "`text_input` cannot be empty.")
        _check(given, raw.limits)
        return GenerationRequest(
            request_id=raw.request_id,
            client_id=layout.id or None,
            timeout=self._timeout(given),
            model=model,
            prompts=(prompt,),
            cache_salt="",
            truncate=None if fields.truncate_prompt_tokens == -1 else keep_end(fields.truncate_prompt_tokens),
            banned_words=tuple(fields.bad_words),
            sampling=self._sampling(given, raw.limits),
            stopping=self._stopping(fields),
            output=self._output(fields, layout),
            stream=stream,
        )

    def _read(self, raw: RawRequest) -> Given:
        require_identity(raw.headers)
        require_version(raw.path_params["model"], raw.path_params.get("version", ""))
        fields = wire.decode_object(raw.body)
        require_distinct_keys(raw.body)
        return gather(spread(fields, ledgers.GENERATE), raw.path_params["model"])

    def _exchange(self, raw: RawRequest, given: Given, *, on_stream_path: bool) -> TextExchange:
        fields = given.fields
        is_incremental = fields.stream or (on_stream_path and self.profile.streams_by_path)
        id = fields.id or self.own_id(raw)
        layout = self.build_layout(given, id, raw.path_params.get("version"), is_incremental=is_incremental)
        prompt = TextPrompt(fields.text_input, add_special_tokens=True)
        request = self.build_request(raw, given, raw.path_params["model"], layout, prompt, stream=on_stream_path)
        return TextExchange(request, layout)

    def _echoes(self, given: Given, is_incremental: bool) -> bool:
        excluded = given.fields.exclude_input_in_output
        if is_incremental and excluded is False:
            raise InvalidParameter(
                given.name("exclude_input_in_output"),
                "When streaming, `exclude_input_in_output` = False is not allowed.",
            )
        if is_incremental:
            return False
        return self.profile.echoes_prompt if excluded is None else not excluded

    def _sampling(self, given: Given, limits: ServerLimits) -> Sampling:
        fields = given.fields
        return Sampling(
            temperature=self._temperature(fields),
            top_k=max(fields.top_k or 0, 0),
            top_p=fields.top_p or 1.0,
            typical_p=fields.typical_p,
            min_p=fields.min_p,
            repetition_penalty=fields.repetition_penalty,
            presence_penalty=fields.presence_penalty,
            frequency_penalty=fields.frequency_penalty,
            frequency_penalty_is_relative=False,
            logit_bias=wire.token_biases("logit_bias", fields.logit_bias, _MAX_BIAS, limits.max_token_ids),
            allowed_token_ids=None if fields.allowed_token_ids is None else tuple(fields.allowed_token_ids),
            banned_sequences=(),
            grammar=decode_grammar(given),
            watermark=WATERMARK if fields.watermark else None,
            seed=None if fields.seed is None else fields.seed % _SEED_RANGE,
        )

    def _temperature(self, fields: Fields) -> float:
        if fields.top_p == 0 and (fields.top_k or 0) <= 0:
            # To one backend 0 leaves the choice to `top_k`, and without that the most likely token is taken.
            return 0.0
        if fields.temperature is not None:
            return fields.temperature
        if fields.do_sample or fields.filters_tokens:
            return 1.0
        draws = self.profile.draws_by_default if fields.do_sample is None else False
        return 1.0 if draws else 0.0

    def _timeout(self, given: Given) -> float | None:
        """In seconds; 0 is none, as in the original."""
        timeout = given.fields.timeout
        if timeout is None:
            return None
        wire.require_between(given.name("timeout"), timeout, 0, _MAX_TIMEOUT)
        return timeout * self.profile.timeout_unit or None

    def _stopping(self, fields: Fields) -> Stopping:
        has_end = fields.end_id is not None
        own_end = () if fields.end_id in (None, -1) else (fields.end_id,)
        return Stopping(
            max_tokens=wire.or_default(fields.max_tokens, self.profile.max_tokens),
            clamps_max_tokens=fields.max_tokens is None,
            min_room=1,
            min_tokens=fields.min_tokens,
            stop=tuple(fields.stop),
            stop_token_ids=(*fields.stop_token_ids, *own_end),
            ignore_eos=fields.ignore_eos or has_end,
            include_stop=fields.include_stop_str_in_output,
            stop_at_token_end=False,
        )

    def _output(self, fields: Fields, layout: Layout) -> OutputOptions:
        shows_tokens = layout.details and not self.profile.has_costs
        has_logprobs = shows_tokens or any(ALL_OUTPUTS[name].needs_logprobs for name in layout.outputs)
        return OutputOptions(
            num_choices=fields.n,
            token_details=has_logprobs,
            logprobs=(fields.logprobs or 0) if has_logprobs else None,
            prompt_logprobs=None,
            prompt_details=False,
            processed_logprobs=False,
            skip_special_tokens=fields.skip_special_tokens,
        )


def require_version(model: str, version: str) -> None:
    """Checks that a model has that version; empty is the latest.

    Raises:
        UnknownVersion: it has not.
    """
    if version and version != ONLY_VERSION:
        raise UnknownVersion(model, version)


def _asked_outputs(fields: Fields) -> tuple[str, ...]:
    """The outputs that flags ask for; how many rivals of a token to show is asked for no other reason."""
    flags = {spec.flag for spec in ALL_OUTPUTS.values() if spec.flag and getattr(fields, spec.flag)}
    if fields.logprobs is not None:
        flags.add(ALL_OUTPUTS["logprobs"].flag)
    return tuple(name for name, spec in ALL_OUTPUTS.items() if name == TEXT_OUTPUT or spec.flag in flags)


def _check(given: Given, limits: ServerLimits) -> None:
    fields = given.fields
    _check_range(given, "n", 1, limits.max_choices)
    _check_range(given, "max_tokens", 1)
    _check_range(given, "min_tokens", 0)
    _check_range(given, "temperature", 0)
    _check_range(given, "top_k", -1)
    _check_range(given, "top_p", 0, 1)
    _check_range(given, "typical_p", 0, 1, without_low=True)
    _check_range(given, "min_p", 0, 1)
    _check_range(given, "repetition_penalty", 0, without_low=True)
    _check_range(given, "presence_penalty", -2, 2)
    _check_range(given, "frequency_penalty", -2, 2)
    _check_range(given, "seed", -(2**63), _SEED_RANGE - 1)
    _check_range(given, "end_id", -1)
    _check_range(given, "logprobs", 0, limits.max_logprobs)
    if fields.truncate_prompt_tokens != -1:
        _check_range(given, "truncate_prompt_tokens", 1)
    wire.stop_strings(given.name("stop"), fields.stop, limits.max_stop)
    wire.require_few("bad_words", fields.bad_words, wire.MAX_BANNED_WORDS, "strings")
    wire.require_short_words("bad_words", fields.bad_words)
    wire.token_ids(given.name("stop_token_ids"), fields.stop_token_ids, limits.max_token_ids)
    wire.token_ids("allowed_token_ids", fields.allowed_token_ids, limits.max_token_ids)
    if fields.allowed_token_ids == []:
        raise InvalidParameter("allowed_token_ids", "`allowed_token_ids` cannot be empty.")


def _check_range(given: Given, field: str, low: float, high: float | None = None, *, without_low: bool = False) -> None:
    value = getattr(given.fields, field)
    if value is not None:
        wire.require_between(given.name(field), value, low, high, without_low=without_low)
