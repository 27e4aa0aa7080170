"""Signal files: decoding JSON lists and NDJSON into columns, with the place of every fault.

Only what the file says becomes columns here, chunk by chunk, so that memory stays near the size of the numbers. What
the columns mean together is told in :mod:`torghut_runtime.market.signal_columns`.
"""

import json
import math
import re
from collections.abc import Iterator, Sequence
from operator import attrgetter
from pathlib import Path
from typing import Annotated, Any, Final, cast

import msgspec
import polars as pl

from torghut_runtime.errors import InputError

CHUNK_ROWS: Final = 50_000

_Number = float | str | None


class _Macd(msgspec.Struct, gc=False):
    macd: _Number = None
    signal: _Number = None
    hist: _Number = None


class _Vwap(msgspec.Struct, gc=False):
    session: _Number = None
    w5m: _Number = None


class _Boll(msgspec.Struct, gc=False):
    mid: _Number = None
    upper: _Number = None
    lower: _Number = None


class _VolRealized(msgspec.Struct, gc=False):
    w60s: _Number = None


class _Imbalance(msgspec.Struct, gc=False):
    spread: _Number = None
    bid_px: _Number = None
    ask_px: _Number = None


class _Payload(msgspec.Struct, gc=False):
    macd: float | str | _Macd | None = None
    macd_signal: _Number = None
    macd_hist: _Number = None
    rsi14: _Number = None
    rsi: _Number = None
    price: _Number = None
    close: _Number = None
    c: _Number = None
    last: _Number = None
    ema12: _Number = None
    ema26: _Number = None
    vwap: float | str | _Vwap | None = None
    boll: _Boll | None = None
    vol_realized: float | str | _VolRealized | None = None
    imbalance: float | str | _Imbalance | None = None
    spread: _Number = None
    open: _Number = None
    high: _Number = None
    low: _Number = None
    volume: _Number = None
    regime_label: str | None = None
    signal_quality_flag: str | None = None
    feature_schema_version: str | float | None = None


class _Signal(msgspec.Struct, gc=False):
    event_ts: str
    symbol: str
    timeframe: str
    payload: _Payload
    ingest_ts: str | None = None
    seq: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)] | None = None
    source: str | None = None


_NESTED: Final[dict[str, type[msgspec.Struct]]] = {
    "macd": _Macd,
    "vwap": _Vwap,
    "boll": _Boll,
    "vol_realized": _VolRealized,
    "imbalance": _Imbalance,
}
_NUMBERS: Final = tuple(
    name
    for name in _Payload.__struct_fields__
    if name not in {"regime_label", "signal_quality_flag", "feature_schema_version"}
)
NUMBER_PATHS: Final = tuple(
    path
    for name in _NUMBERS
    for path in (name, *(f"{name}.{part}" for part in (_NESTED[name].__struct_fields__ if name in _NESTED else ())))
)
"""Places of numbers in a payload, as ``name`` or ``name.part``."""

TEXTS: Final = ("event_ts", "symbol", "timeframe", "ingest_ts")
LABELS: Final = ("regime_label", "signal_quality_flag", "feature_schema_version")

_decode_chunk = msgspec.json.Decoder(list[_Signal])
_decode_list = msgspec.json.Decoder(list[msgspec.Raw])
_PLACE: Final = re.compile(r" - at `\$\[(\d+)\]\.?(.*)`$")
_MISSING: Final = re.compile(r"missing required field `(\w+)`")


def decode_signals(path: Path) -> pl.DataFrame:
    """One row per signal in the order of the file, as written.

    Returns:
        String columns :data:`TEXTS` and :data:`LABELS`, ``seq`` (Int64), and one Float64 column per
        :data:`NUMBER_PATHS`; null where the file has nothing.

    Raises:
        InputError: unreadable file, no JSON list of objects and no NDJSON, no row at all, a missing or mistyped
            field, a number that is not finite. Names row (from 1) and field.
    """
    try:
        data = path.read_bytes().removeprefix(b"\xef\xbb\xbf")
    except FileNotFoundError as error:
        raise InputError("does not exist") from error
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}") from error
    rows = _split(data)
    del data
    if not rows:
        raise InputError("holds no signals")
    frames = [_decode_rows(rows[start : start + CHUNK_ROWS], start) for start in range(0, len(rows), CHUNK_ROWS)]
    return pl.concat(frames)


def _split(data: bytes) -> Sequence[msgspec.Raw | bytes]:
    """The rows' own JSON texts."""
    if not data.lstrip().startswith(b"["):
        return [line for line in data.splitlines() if line.strip()]
    try:
        return _decode_list.decode(data)
    except msgspec.DecodeError as error:
        raise _malformed(data) or InputError(f"is no JSON list of signals: {error}") from error


def _decode_rows(rows: Sequence[msgspec.Raw | bytes], start: int) -> pl.DataFrame:
    try:
        signals = _decode_chunk.decode(b"[" + b",".join(rows) + b"]")
    except msgspec.ValidationError as error:
        raise _misfit(str(error), start) from error
    except msgspec.DecodeError as error:
        raise _first_malformed(rows, start) or InputError(f"is not JSON: {error}") from error
    if len(signals) != len(rows):
        raise InputError("holds more than one object in a line", row=start + 1)
    payloads = [signal.payload for signal in signals]
    numbers = {path: values for name in _NUMBERS for path, values in _parts(name, payloads)}
    return pl.DataFrame(
        [
            *(pl.Series(name, list(map(attrgetter(name), signals)), dtype=pl.String) for name in TEXTS),
            pl.Series("seq", list(map(attrgetter("seq"), signals)), dtype=pl.Int64),
            *(pl.Series(name, _label_texts(name, payloads), dtype=pl.String) for name in LABELS),
            *(_number_series(path, numbers.get(path), len(signals), start) for path in NUMBER_PATHS),
        ]
    )


def _label_texts(name: str, payloads: Sequence[_Payload]) -> list[str | None]:
    values = map(attrgetter(name), payloads)
    return [f"{value:g}" if isinstance(value, float) else value for value in values]


def _parts(name: str, payloads: Sequence[_Payload]) -> Iterator[tuple[str, list[_Number]]]:
    """Values of one payload field, and of the parts of its object form; nothing for what no row has."""
    values: list[Any] = list(map(attrgetter(name), payloads))
    if values.count(None) == len(values):
        return
    nested = _NESTED.get(name)
    if nested is not None:
        objects = [value if type(value) is nested else None for value in values]
        if objects.count(None) < len(objects):
            for part in nested.__struct_fields__:
                yield f"{name}.{part}", [None if value is None else getattr(value, part) for value in objects]
            values = [None if type(value) is nested else value for value in values]
    yield name, values


def _number_series(path: str, values: list[_Number] | None, height: int, start: int) -> pl.Series:
    if values is None:
        return pl.Series(path, [None], dtype=pl.Float64).new_from_index(0, height).alias(path)
    if str not in set(map(type, values)):
        return pl.Series(path, values, dtype=pl.Float64)
    texts = pl.Series([value.strip() if isinstance(value, str) else None for value in values], dtype=pl.String)
    read = texts.cast(pl.Float64, strict=False)
    bad = texts.is_not_null() & ~read.is_finite().fill_null(value=False)
    row = bad.arg_max()
    if row is not None and bad[row]:
        raise InputError(f"must be a finite number, was {values[row]!r}", row=start + row + 1, field=f"payload.{path}")
    plain = pl.Series([None if isinstance(value, str) else value for value in values], dtype=pl.Float64)
    return plain.fill_null(read).alias(path)


def _misfit(message: str, start: int) -> InputError:
    """The place of a value that is JSON but no signal, from msgspec's message."""
    place = _PLACE.search(message)
    missing = _MISSING.search(message)
    text = message[: place.start()] if place else message
    row = start + int(place[1]) + 1 if place else None
    field = ".".join(part for part in (place[2] if place else "", missing[1] if missing else "") if part)
    return InputError("is missing" if missing else text[:1].lower() + text[1:], row=row, field=field or None)


def _first_malformed(rows: Sequence[msgspec.Raw | bytes], start: int) -> InputError | None:
    for index, row in enumerate(rows):
        try:
            _decode_chunk.decode(b"[" + bytes(row) + b"]")
        except msgspec.DecodeError as error:
            found = _malformed(bytes(row)) or InputError(f"is not JSON: {error}")
            return InputError(found.message, row=start + index + 1, field=found.field)
    return None


def _malformed(data: bytes) -> InputError | None:
    """What a tolerant parser finds: NaN and infinities, which JSON does not have, or the place of the fault."""
    try:
        content: object = json.loads(data)
    except ValueError as error:
        return InputError(f"is not JSON: {error}")
    rows = cast("list[object]", content) if isinstance(content, list) else [content]
    for index, row in enumerate(rows):
        field = _not_finite(row)
        if field is not None:
            return InputError("NaN and infinities are not numbers of JSON", row=index + 1, field=field or None)
    return None


def _not_finite(value: object) -> str | None:
    """Dotted place of the first float that is not finite."""
    if isinstance(value, float):
        return None if math.isfinite(value) else ""
    items: list[tuple[str, object]] = []
    if isinstance(value, dict):
        items = [(str(key), item) for key, item in cast("dict[object, object]", value).items()]
    elif isinstance(value, list):
        items = [(str(index), item) for index, item in enumerate(cast("list[object]", value))]
    for key, item in items:
        found = _not_finite(item)
        if found is not None:
            return f"{key}.{found}" if found else key
    return None
