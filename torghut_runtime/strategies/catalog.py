"""The strategy catalog: the file (YAML or JSON) that says which strategies run, with what parameters and limits.

Accepted are a list of entries, an object with ``strategies``, and a Kubernetes ConfigMap manifest whose
``data."strategies.yaml"`` holds either. Whether a type exists and its parameters are valid is judged in
:mod:`torghut_runtime.strategies.registry`; here an entry is only well-formed.
"""

import difflib
import json
import re
from pathlib import Path
from typing import Annotated, Any, Literal, cast, get_args

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    StringConstraints,
    ValidationError,
    model_validator,
)

from torghut_runtime.errors import InputError
from torghut_runtime.market.timeframe import TIMEFRAMES

CONFIGMAP_KEY = "strategies.yaml"

_SYMBOL = re.compile(r"[A-Z0-9][A-Z0-9._/-]{0,31}")
_LARGEST_FILE = 4 * 1024 * 1024

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=128)]
Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


def _decimal_text(value: object) -> object:
    """Money may be written as text, as in manifests; anything but a plain decimal is left for the type to refuse."""
    if isinstance(value, str) and re.fullmatch(r"\d{1,15}(\.\d{1,12})?", value):
        return float(value)
    return value


def _symbols(value: object) -> object:
    if not isinstance(value, list | tuple) or not value:
        raise ValueError("must be a list of symbols; leave the key out to have the whole universe")
    symbols = [each.upper() if isinstance(each, str) else each for each in cast("list[object]", value)]
    for symbol in symbols:
        if not isinstance(symbol, str) or not _SYMBOL.fullmatch(symbol):
            raise ValueError(f"not a symbol: {symbol!r} (text such as ON, NO or 600519 needs quotes)")
    if len(set(symbols)) != len(symbols):
        raise ValueError("a symbol is listed twice")
    return tuple(symbols)


def _grid(value: object) -> object:
    if not isinstance(value, list | tuple) or not value:
        raise ValueError("must be a list of at least one value")
    values = cast("list[object]", value)
    texts = [json.dumps(each, sort_keys=True, default=str) for each in values]
    if len(set(texts)) != len(texts):
        raise ValueError("a value is listed twice")
    return tuple(values)


def _timeframe(value: str) -> str:
    if value not in TIMEFRAMES:
        raise ValueError(f"unknown timeframe {value!r}, known are {', '.join(TIMEFRAMES)}")
    return value


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Provenance(_Strict):
    """Which candidate an entry comes from, and the digest of its attestation."""

    candidate_id: Text
    run_id: Text
    sha256: Digest


Money = Annotated[float, BeforeValidator(_decimal_text), Field(ge=0)]
Symbols = Annotated[tuple[str, ...], BeforeValidator(_symbols)]
Values = Annotated[tuple[JsonValue, ...], BeforeValidator(_grid)]
Timeframe = Annotated[str, AfterValidator(_timeframe), Field(json_schema_extra={"enum": list(TIMEFRAMES)})]


class StrategyEntry(_Strict):
    """One strategy of a catalog; keys and defaults as in ``lane.md`` 2.3 and ``runtime.md`` 7.

    ``name`` and ``strategy_id`` stand for each other where one is left out, ``symbols`` is another name of
    ``universe_symbols``. Without symbols an entry has the whole universe. A cap that is not set does not limit; a cap
    of 0 allows nothing.
    """

    strategy_id: Text
    name: Text
    description: str = Field(default="", max_length=2000)
    enabled: bool = True
    strategy_type: Text
    version: Text | None = Field(default=None, description="may be left out while only one is registered")
    params: dict[str, JsonValue] = Field(default_factory=dict[str, JsonValue])
    priority: int = Field(default=100, ge=0, le=1_000_000, description="lower goes first")
    base_timeframe: Timeframe = "1Min"
    universe_type: Literal["static"] = "static"
    universe_symbols: Symbols | None = None
    max_position_pct_equity: Money | None = Field(default=None, description="fraction of equity, 1 is all of it", le=1)
    max_notional_per_trade: Money | None = Field(default=None, description="account currency")
    provenance: Provenance | None = None
    search: dict[str, Values] = Field(default_factory=dict[str, Values], description="parameter to the values to try")

    @model_validator(mode="before")
    @classmethod
    def _fill_names(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        entry = dict(cast("dict[str, Any]", data))
        if "symbols" in entry:
            if "universe_symbols" in entry:
                raise ValueError("symbols and universe_symbols are two names of one key, give one of them")
            entry["universe_symbols"] = entry.pop("symbols")
        for key, other in (("strategy_id", "name"), ("name", "strategy_id")):
            if key not in entry and other in entry:
                entry[key] = entry[other]
        return entry


def load_catalog(source: Path | str) -> list[StrategyEntry]:
    """Read a catalog from a file (``Path``) or from its text (``str``).

    Raises:
        InputError: unreadable or malformed, an unknown or repeated key, a value of the wrong type or out of range, two
            entries with one name or id; it names file, entry (``row``, from 1) and field.
    """
    if isinstance(source, str):
        return _entries(_parse(source, None), None)
    try:
        if source.stat().st_size > _LARGEST_FILE:
            raise InputError(f"is larger than {_LARGEST_FILE} bytes", file=source)
        text = source.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot be read: {error}", file=source) from None
    return _entries(_parse(text, source), source)


class _UniqueKeys(yaml.SafeLoader):
    """YAML in which a mapping may not name a key twice, nor merge or alias its way to another meaning."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[object] = set()
        for key_node, _ in node.value:
            key: object = cast("Any", self).construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise yaml.constructor.ConstructorError(None, None, f"the key {key!r} is not text", key_node.start_mark)
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} stands twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key {key!r} stands twice")
        found[key] = value
    return found


def _parse(text: str, file: Path | None) -> Any:
    try:
        if text.lstrip()[:1] in ("[", "{"):
            return json.loads(text, object_pairs_hook=_unique)
        return yaml.load(text, Loader=_UniqueKeys)  # noqa: S506 - a subclass of the safe loader
    except json.JSONDecodeError as error:
        raise InputError(f"is not JSON: {error.msg} at line {error.lineno}", file=file) from None
    except yaml.MarkedYAMLError as error:
        line = "" if error.problem_mark is None else f" at line {error.problem_mark.line + 1}"
        raise InputError(f"is not YAML: {error.problem or error.context}{line}", file=file) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InputError(f"is not YAML or JSON: {' '.join(str(error).split())}", file=file) from None


def _entries(content: Any, file: Path | None) -> list[StrategyEntry]:
    raw = _entry_list(content, file)
    entries: list[StrategyEntry] = []
    for row, each in enumerate(raw, start=1):
        entry = _entry(each, file, row)
        for field in ("name", "strategy_id"):
            value: object = getattr(entry, field)
            first = next((at for at, other in enumerate(entries, start=1) if getattr(other, field) == value), None)
            if first is not None:
                raise InputError(f"{value!r} is the {field} of entry {first} too", file=file, row=row, field=field)
        entries.append(entry)
    return entries


def _entry_list(content: Any, file: Path | None) -> list[Any]:
    if isinstance(content, dict):
        mapping = cast("dict[str, Any]", content)
        if mapping.get("kind") == "ConfigMap":
            return _configmap_entries(mapping, file)
        unknown = [key for key in mapping if key != "strategies"]
        if unknown:
            raise InputError(f"unknown key{_nearest(unknown[0], ['strategies'])}", file=file, field=unknown[0])
        content = mapping.get("strategies")
    if not isinstance(content, list):
        raise InputError("must be a list of strategies, or an object with the key strategies that holds one", file=file)
    return cast("list[Any]", content)


def _configmap_entries(manifest: dict[str, Any], file: Path | None) -> list[Any]:
    data = manifest.get("data")
    text: object = cast("dict[str, Any]", data).get(CONFIGMAP_KEY) if isinstance(data, dict) else None
    if not isinstance(text, str):
        raise InputError(f"the ConfigMap has no text under {CONFIGMAP_KEY}", file=file, field=f"data.{CONFIGMAP_KEY}")
    content = _parse(text, file)
    if isinstance(content, dict) and cast("dict[str, Any]", content).get("kind") == "ConfigMap":
        raise InputError("a ConfigMap inside a ConfigMap", file=file, field=f"data.{CONFIGMAP_KEY}")
    return _entry_list(content, file)


def _entry(raw: Any, file: Path | None, row: int) -> StrategyEntry:
    if not isinstance(raw, dict):
        raise InputError(f"must be an object with keys and values, was {raw!r:.80}", file=file, row=row)
    try:
        return StrategyEntry.model_validate(raw)
    except ValidationError as error:
        message, field = explain(error, StrategyEntry)
        raise InputError(message, file=file, row=row, field=field) from None


def explain(error: ValidationError, model: type[BaseModel]) -> tuple[str, str | None]:
    """Message and dotted field of the first fault; an unknown key is told with the nearest known one."""
    first = next((each for each in error.errors() if each["type"] == "extra_forbidden"), error.errors()[0])
    location = first["loc"]
    field = ".".join(str(part) for part in location) or None
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        known = _keys_at(model, location[:-1])
        message = f"unknown key{_nearest(str(location[-1]), known)}"
    elif first["type"] != "missing" and not first["msg"].startswith("Value error"):
        message = f"{message[0].lower()}{message[1:]}, was {first['input']!r:.80}"
    elif first["type"] == "missing":
        message = "is required"
    return message, field


def _keys_at(model: type[BaseModel], path: tuple[int | str, ...]) -> list[str]:
    for part in path:
        annotation: Any = model.model_fields[str(part)].annotation if str(part) in model.model_fields else None
        inner = [each for each in (annotation, *get_args(annotation)) if isinstance(each, type)]
        model = next((each for each in inner if issubclass(each, BaseModel)), model)
    return [*model.model_fields]


def _nearest(key: str, known: list[str]) -> str:
    near = difflib.get_close_matches(key, known, n=1)
    return f"; did you mean {near[0]}?" if near else f"; known are {', '.join(sorted(known))}"
