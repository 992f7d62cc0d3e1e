"""Generate requests to canonical ones."""

from __future__ import annotations

from portico.core.dialect import RawRequest
from portico.core.errors import InvalidParameter
from portico.core.model import ServerLimits
from portico.core.request import GenerationRequest, OutputOptions, Sampling, Stopping, TextPrompt, Watermark
from portico.dialects import wire
from portico.dialects.triton import ledgers
from portico.dialects.triton.encode import TensorExchange
from portico.dialects.triton.errors import UnknownVersion
from portico.dialects.triton.fields import Given, gather
from portico.dialects.triton.layout import Layout
from portico.dialects.triton.profile import Profile
from portico.dialects.triton.schema import Fields

ONLY_VERSION = "1"
WATERMARK = Watermark(gamma=0.5, delta=2.0, hash_key=15485863)
_SEED_RANGE = 2**64
_MAX_BIAS = 100.0


class Decoder:
    """Reads the generating routes of one profile."""

    def __init__(self, profile: Profile) -> None:
        self._profile = profile

    def decode_generate(self, raw: RawRequest) -> TensorExchange:
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

    def decode_generate_stream(self, raw: RawRequest) -> TensorExchange:
        """Reads `generate_stream`.

        Raises:
            RequestError: a field is out of range or not honoured.
        """
        return self._exchange(raw, self._read(raw), on_stream_path=True)

    def _read(self, raw: RawRequest) -> Given:
        model = raw.path_params["model"]
        version = raw.path_params.get("version", ONLY_VERSION)
        if version != ONLY_VERSION:
            raise UnknownVersion(model, version)
        given = gather(raw.body, ledgers.GENERATE, model)
        _check(given, raw.limits)
        return given

    def _exchange(self, raw: RawRequest, given: Given, *, on_stream_path: bool) -> TensorExchange:
        fields = given.fields
        is_incremental = fields.stream or (on_stream_path and self._profile.streams_by_path)
        request = GenerationRequest(
            request_id=raw.request_id,
            model=raw.path_params["model"],
            prompts=(TextPrompt(fields.text_input, add_special_tokens=True),),
            truncate=None if fields.truncate_prompt_tokens == -1 else fields.truncate_prompt_tokens,
            sampling=self._sampling(fields),
            stopping=self._stopping(fields),
            output=self._output(fields),
            stream=on_stream_path,
        )
        layout = Layout(
            profile=self._profile,
            id=fields.id or (raw.request_id if self._profile.always_has_id else ""),
            model_version=raw.path_params.get("version", self._profile.model_version),
            prefix=fields.text_input if self._echoes(given, is_incremental) else "",
            is_incremental=is_incremental,
            finish_reason=fields.return_finish_reason,
            num_input_tokens=fields.return_num_input_tokens,
            num_output_tokens=fields.return_num_output_tokens,
            cumulative_logprob=fields.return_cumulative_logprob,
            details=fields.details,
        )
        return TensorExchange(request, layout)

    def _echoes(self, given: Given, is_incremental: bool) -> bool:
        excluded = given.fields.exclude_input_in_output
        if is_incremental and excluded is False:
            raise InvalidParameter(
                given.name("exclude_input_in_output"),
                "When streaming, `exclude_input_in_output` = False is not allowed.",
            )
        if is_incremental:
            return False
        return self._profile.echoes_prompt if excluded is None else not excluded

    def _sampling(self, fields: Fields) -> Sampling:
        return Sampling(
            temperature=self._temperature(fields),
            top_k=max(fields.top_k or 0, 0),
            top_p=wire.or_default(fields.top_p, 1.0),
            typical_p=fields.typical_p,
            min_p=fields.min_p,
            repetition_penalty=fields.repetition_penalty,
            presence_penalty=fields.presence_penalty,
            frequency_penalty=fields.frequency_penalty,
            frequency_penalty_is_relative=False,
            logit_bias=wire.token_biases("logit_bias", fields.logit_bias, _MAX_BIAS),
            watermark=WATERMARK if fields.watermark else None,
            seed=None if fields.seed is None else fields.seed % _SEED_RANGE,
        )

    def _temperature(self, fields: Fields) -> float:
        if fields.temperature is not None:
            return fields.temperature
        if fields.do_sample or fields.filters_tokens:
            return 1.0
        draws = self._profile.draws_by_default if fields.do_sample is None else False
        return 1.0 if draws else 0.0

    def _stopping(self, fields: Fields) -> Stopping:
        has_end = fields.end_id is not None
        own_end = () if fields.end_id in (None, -1) else (fields.end_id,)
        return Stopping(
            max_tokens=wire.or_default(fields.max_tokens, self._profile.max_tokens),
            clamps_max_tokens=fields.max_tokens is None,
            min_tokens=fields.min_tokens,
            stop=tuple(fields.stop),
            stop_token_ids=(*fields.stop_token_ids, *own_end),
            ignore_eos=fields.ignore_eos or has_end,
            include_stop=fields.include_stop_str_in_output,
        )

    def _output(self, fields: Fields) -> OutputOptions:
        shows_tokens = fields.details and not self._profile.has_costs
        has_logprobs = shows_tokens or fields.return_cumulative_logprob
        return OutputOptions(
            num_choices=fields.n,
            token_details=has_logprobs,
            logprobs=0 if has_logprobs else None,
            prompt_logprobs=None,
            processed_logprobs=False,
            skip_special_tokens=fields.skip_special_tokens,
        )


def _check(given: Given, limits: ServerLimits) -> None:
    fields = given.fields
    if not fields.text_input:
        raise InvalidParameter("text_input", "`text_input` cannot be empty.")
    _check_range(given, "n", 1, limits.max_choices)
    _check_range(given, "max_tokens", 1)
    _check_range(given, "min_tokens", 0)
    _check_range(given, "temperature", 0)
    _check_range(given, "top_k", -1)
    _check_range(given, "top_p", 0, 1, without_low=True)
    _check_range(given, "typical_p", 0, 1, without_low=True)
    _check_range(given, "min_p", 0, 1)
    _check_range(given, "repetition_penalty", 0, without_low=True)
    _check_range(given, "presence_penalty", -2, 2)
    _check_range(given, "frequency_penalty", -2, 2)
    _check_range(given, "seed", -(2**63), _SEED_RANGE - 1)
    _check_range(given, "end_id", -1)
    if fields.truncate_prompt_tokens != -1:
        _check_range(given, "truncate_prompt_tokens", 1)
    wire.stop_strings(given.name("stop"), fields.stop, limits.max_stop)
    wire.token_ids("stop_token_ids", fields.stop_token_ids)


def _check_range(given: Given, field: str, low: float, high: float | None = None, *, without_low: bool = False) -> None:
    value = getattr(given.fields, field)
    if value is not None:
        wire.require_between(given.name(field), value, low, high, without_low=without_low)
