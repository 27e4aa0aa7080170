"""Values as parts of bytes, and back: what the artifact store keeps of frames, models and records.

Numbers come back bit by bit, so that a stage which reads its inputs from the store concludes the same as one that gets
them in memory. (The bundle's files are canonical JSON, which rounds; they are rendered from the values.) Where parts
are stored is ``artifacts``'s business.
"""

import dataclasses
import io
import types
from collections.abc import Mapping
from typing import Any, Union, cast, get_args, get_origin, get_type_hints

import numpy as np
import polars as pl
from pydantic import BaseModel, TypeAdapter

from torghut_assets.artifacts import parquet_bytes, read_parquet_bytes

_WHOLE = "value"
_NULL = "null"


def encode(value: object) -> dict[str, bytes]:
    """Parts of ``value``: Parquet for frames, exact JSON for models and plain values, one part per field of a record.

    Raises:
        TypeError: a value that has no such form.
    """
    return _encode(value, _WHOLE)


def decode(parts: Mapping[str, bytes], kind: object) -> Any:
    """The value of type ``kind`` that :func:`encode` took apart.

    Raises:
        TypeError: the parts are not those of such a value.
    """
    return _decode(parts, kind, _WHOLE)


def _encode(value: object, name: str) -> dict[str, bytes]:
    if value is None:
        return {f"{name}.{_NULL}": b""}
    if isinstance(value, pl.DataFrame):
        return {f"{name}.parquet": parquet_bytes(value)}
    if isinstance(value, np.ndarray):
        buffer = io.BytesIO()
        np.save(buffer, cast("Any", value), allow_pickle=False)
        return {f"{name}.npy": buffer.getvalue()}
    if isinstance(value, bytes):
        return {f"{name}.bin": value}
    if isinstance(value, BaseModel):
        return {f"{name}.json": value.model_dump_json(by_alias=True).encode()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        parts: dict[str, bytes] = {}
        for field in dataclasses.fields(value):
            parts.update(_encode(getattr(value, field.name), field.name if name == _WHOLE else f"{name}.{field.name}"))
        return parts
    plain = sorted(cast("frozenset[str]", value)) if isinstance(value, frozenset) else value
    return {f"{name}.json": TypeAdapter[Any](type(plain)).dump_json(plain)}


def _decode(parts: Mapping[str, bytes], kind: Any, name: str) -> Any:
    if get_origin(kind) in {types.UnionType, Union} and type(None) in get_args(kind):
        if f"{name}.{_NULL}" in parts:
            return None
        remaining = [each for each in get_args(kind) if each is not type(None)]
        return _decode(parts, remaining[0] if len(remaining) == 1 else Union[tuple(remaining)], name)  # noqa: UP007
    if kind is pl.DataFrame:
        return read_parquet_bytes(_part(parts, f"{name}.parquet"))
    if kind is np.ndarray or get_origin(kind) is np.ndarray:
        return np.load(io.BytesIO(_part(parts, f"{name}.npy")), allow_pickle=False)
    if kind is bytes:
        return _part(parts, f"{name}.bin")
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        hints = get_type_hints(cast("Any", kind))
        values = {
            field.name: _decode(parts, hints[field.name], field.name if name == _WHOLE else f"{name}.{field.name}")
            for field in dataclasses.fields(cast("Any", kind))
        }
        return kind(**values)
    return TypeAdapter[Any](cast("Any", kind)).validate_json(_part(parts, f"{name}.json"))


def _part(parts: Mapping[str, bytes], name: str) -> bytes:
    try:
        return parts[name]
    except KeyError:
        raise TypeError(
            f"no part {name} among {', '.join(sorted(parts)) or 'none'}: the stored value is older"
        ) from None
