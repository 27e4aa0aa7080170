"""Fault controls: what can be made to go wrong, as strict models, and how often each was applied.

What a control does to orders, streams or answers stands where that happens; here it is only asked for and used up.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from decimal import Decimal
from random import Random
from typing import Annotated, Any, Literal, TypeVar, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from torghut_runtime.broker.simulator.instants import MILLISECOND, SECOND, parse_moment
from torghut_runtime.errors import InputError

Probability = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Milliseconds = Annotated[float, Field(ge=0, le=86_400_000, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1, le=1_000_000)]
Dollars = Annotated[Decimal, Field(allow_inf_nan=False)]
Step = Annotated[Decimal, Field(gt=0, le=1_000_000, decimal_places=9, allow_inf_nan=False)]
StreamName = Literal["trading", "data"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class PartialFill(_Strict):
    """Fills are split into ``parts`` with this probability."""

    probability: Probability
    parts: Annotated[int, Field(ge=2, le=1000)]


class Rejection(_Strict):
    """The next submit is refused with this answer; the first three digits of the code are the HTTP status."""

    code: Annotated[int, Field(ge=40000000, le=59999999)]
    message: str
    existing_order_id: str | None = None


class HttpError(_Strict):
    """The next ``count`` requests of this method and path get this status instead of an effect."""

    method: Literal["GET", "POST", "PATCH", "PUT", "DELETE", "*"]
    path: Annotated[str, Field(pattern=r"^[/*]")]
    status: Annotated[int, Field(ge=400, le=599)]
    count: Count = 1
    retry_after: Annotated[float, Field(ge=0)] | None = None


class InjectedEvent(_Strict):
    """A stream event of the order with this id (or client order id); ``fields`` are put over those of the event."""

    order: str
    event: Annotated[str, Field(pattern=r"^[a-z_]{1,64}$")]
    fields: dict[str, Any] = {}


class Silence(_Strict):
    """A stream that is closed or mute for so many simulated seconds."""

    stream: StreamName
    seconds: Annotated[float, Field(gt=0, le=864_000)]


class BarFault(_Strict):
    """The next ``count`` bars of the symbol go wrong."""

    symbol: str
    count: Count = 1


class LateBar(BarFault):
    """The next ``count`` bars of the symbol come late."""

    delay_ms: Milliseconds


class BarCorrection(_Strict):
    """A bar whose values are corrected after the fact."""

    symbol: str
    ts: str
    fields: dict[Literal["open", "high", "low", "close", "volume"], float]

    @field_validator("ts")
    @classmethod
    def _is_time(cls, value: str) -> str:
        parse_moment(value)
        return value


class AssetOverride(_Strict):
    """Fields of an asset that are other than usual; steps that are not set are named to nobody."""

    tradable: bool | None = None
    shortable: bool | None = None
    fractionable: bool | None = None
    price_increment: Step | None = None
    min_order_size: Step | None = None
    min_trade_increment: Step | None = None


class Split(_Strict):
    """``ratio`` new shares for one old share, from the start of the session of ``effective`` (or that moment) on."""

    symbol: str
    ratio: Annotated[Decimal, Field(gt=0, le=1000)]
    effective: str

    @field_validator("effective")
    @classmethod
    def _is_time(cls, value: str) -> str:
        parse_moment(value)
        return value


class AccountOverride(_Strict):
    """Deposits, withdrawals, another account, a blocked one."""

    equity: Dollars | None = None
    cash: Dollars | None = None
    buying_power: Dollars | None = None
    account_number: str | None = None
    blocked: bool | None = None


_Counted = TypeVar("_Counted", HttpError, BarFault)


class ControlSettings(_Strict):
    """Every key of ``POST /sim/control``; the defaults are a broker that behaves."""

    latency_ms: Milliseconds = 0
    jitter_ms: Milliseconds = 0
    cancel_latency_ms: Milliseconds = 0
    partial_fill: PartialFill | None = None
    reject_next: list[Rejection] = []
    lose_response: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    http_errors: list[HttpError] = []
    duplicate_events: Probability = 0
    reorder_events: Probability = 0
    inject_event: list[InjectedEvent] = []
    disconnect: list[Silence] = []
    mute: list[Silence] = []
    drop_bars: list[BarFault] = []
    late_bars: list[LateBar] = []
    duplicate_bars: list[BarFault] = []
    correct_bars: list[BarCorrection] = []
    halt: list[str] = []
    assets: dict[str, AssetOverride] = {}
    split: list[Split] = []
    clock_skew_ms: Annotated[float, Field(ge=-864_000_000, le=864_000_000, allow_inf_nan=False)] = 0
    foreign_order: list[dict[str, Any]] = []
    account: AccountOverride | None = None


class Controls:
    """The controls in force; items of a list are used up by their next match.

    Attributes:
        settings: what is set, less what was used up.
        applied: how often each key was applied.
    """

    def __init__(self, seed: int) -> None:
        self.settings = ControlSettings()
        self.applied: Counter[str] = Counter()
        self._seed = seed
        self._random: dict[str, Random] = {}

    def merged(self, changes: object) -> tuple[ControlSettings, frozenset[str]]:
        """What would be set with the given keys, and these keys; null sets a key back. Nothing changes yet.

        Raises:
            InputError: an unknown key or a bad value.
        """
        if not isinstance(changes, Mapping):
            raise InputError("must be a JSON object of control keys")
        given = dict(cast("Mapping[str, Any]", changes))
        foreign = given.get("foreign_order")
        if isinstance(foreign, Mapping):
            given["foreign_order"] = [foreign]
        kept = self.settings.model_dump(exclude_none=True)
        merged = {**kept, **given}
        try:
            validated = ControlSettings.model_validate_json(_json({k: v for k, v in merged.items() if v is not None}))
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            raise InputError(first["msg"], field=".".join(str(part) for part in first["loc"])) from None
        return validated, frozenset(given)

    def clear(self) -> None:
        """Back to a broker that behaves; the counts begin anew."""
        self.settings = ControlSettings()
        self.applied.clear()

    def document(self) -> dict[str, Any]:
        """What is set and how often each key was applied, as JSON."""
        set_keys = self.settings.model_dump(mode="json", exclude_defaults=True)
        return {"controls": set_keys, "applied": dict(sorted(self.applied.items()))}

    def random(self, purpose: str) -> Random:
        """The generator of one purpose; what one fault draws does not move another."""
        if purpose not in self._random:
            self._random[purpose] = Random(f"{self._seed}:{purpose}")  # noqa: S311 - a repeatable fault, no secret
        return self._random[purpose]

    def happens(self, key: str, probability: float) -> bool:
        """Whether a fault of this probability strikes now; counted when it does."""
        if probability <= 0 or self.random(key).random() >= probability:
            return False
        self.applied[key] += 1
        return True

    def latency(self) -> int:
        """Nanoseconds that a fill takes now."""
        return self._delay("latency_ms", self.settings.latency_ms)

    def answer_latency(self) -> int:
        """Nanoseconds that an answer takes now; its jitter moves that of fills as little as reading does."""
        return self._delay("latency_ms", self.settings.latency_ms, "answers")

    def cancel_latency(self) -> int:
        """Nanoseconds that a cancel or replace takes now."""
        return self._delay("cancel_latency_ms", self.settings.latency_ms + self.settings.cancel_latency_ms)

    def _delay(self, key: str, milliseconds: float, purpose: str = "jitter_ms") -> int:
        if self.settings.jitter_ms:
            milliseconds += self.random(purpose).uniform(0, self.settings.jitter_ms)
            self.applied["jitter_ms"] += 1
        if milliseconds:
            self.applied[key] += 1
        return int(milliseconds * MILLISECOND)

    @property
    def clock_skew(self) -> int:
        """Nanoseconds by which the broker's clock is ahead."""
        return int(self.settings.clock_skew_ms * MILLISECOND)

    def note_asset(self, symbol: str) -> None:
        """Count that an order was judged by fields of an asset that are other than usual."""
        if symbol in self.settings.assets:
            self.applied["assets"] += 1

    def take(self, key: str) -> list[Any]:
        """All items of a list key; the list is empty afterwards."""
        items: list[Any] = list(getattr(self.settings, key))
        if items:
            self._put(key, [])
        return items

    def put_back(self, key: str, items: list[Any]) -> None:
        """Leave items for their next match."""
        self._put(key, items)

    def take_rejection(self) -> Rejection | None:
        """The rejection that the next submit gets."""
        if not self.settings.reject_next:
            return None
        first, *rest = self.settings.reject_next
        self._put("reject_next", rest)
        self.applied["reject_next"] += 1
        return first

    def take_lost_response(self) -> bool:
        """Whether the answer to this submit is lost."""
        if not self.settings.lose_response:
            return False
        self._put("lose_response", self.settings.lose_response - 1)
        self.applied["lose_response"] += 1
        return True

    def take_bar_fault(self, key: Literal["drop_bars", "late_bars", "duplicate_bars"], symbol: str) -> Any:
        """The fault that strikes this bar, if any; one of its count is used up."""
        items: list[BarFault] = list(getattr(self.settings, key))
        place = next((index for index, item in enumerate(items) if item.symbol == symbol), None)
        return None if place is None else self._take_one(key, items, place)

    def take_http_error(self, method: str, path: str) -> HttpError | None:
        """The error that this request gets, if any; one of its count is used up."""
        items = self.settings.http_errors
        place = next(
            (i for i, item in enumerate(items) if item.method in {method, "*"} and _covers(item.path, path)), None
        )
        return None if place is None else self._take_one("http_errors", items, place)

    def _take_one(self, key: str, items: Sequence[_Counted], place: int) -> _Counted:
        """Use up one of the count of an item."""
        item = items[place]
        rest = [item.model_copy(update={"count": item.count - 1})] if item.count > 1 else []
        self._put(key, [*items[:place], *rest, *items[place + 1 :]])
        self.applied[key] += 1
        return item

    def _put(self, key: str, value: object) -> None:
        self.settings = self.settings.model_copy(update={key: value})


def _covers(pattern: str, path: str) -> bool:
    return path.startswith(pattern[:-1]) if pattern.endswith("*") else path == pattern


def _json(value: Mapping[str, Any]) -> bytes:
    """The settings once more as JSON, so that strict validation sees the types that a client sent."""
    import json

    return json.dumps(value, default=str).encode()


def silence_ends(silence: Silence, now: int) -> int:
    """Nanoseconds at which the stream speaks again."""
    return now + int(silence.seconds * SECOND)
