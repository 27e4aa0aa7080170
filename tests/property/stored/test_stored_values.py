"""What the store keeps comes back bit by bit: a stage that reads its inputs concludes what one in memory concludes."""

import math
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field
from research_world import momentum, nothing

from torghut_assets.artifact_values import decode, encode
from torghut_assets.io_manager import Encoded
from torghut_assets.research.candidate import CandidateSpec
from torghut_assets.research.report import EvaluationReport
from torghut_assets.research.walkforward import WalkforwardResults
from torghut_runtime.compiled import Matrix
from torghut_runtime.market.bars import BarSet
from torghut_runtime.market.signals import SignalSet

FLOATS = st.floats(allow_nan=False, allow_infinity=False)
MOMENTS = st.datetimes(datetime(1970, 1, 1), datetime(2100, 1, 1)).map(lambda moment: moment.replace(tzinfo=UTC))  # noqa: DTZ001


class Figures(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_: str = Field(default="figures.v1", alias="schema")
    number: float
    maybe: float | None
    at: datetime
    names: dict[str, float]


@dataclass(frozen=True)
class Inner:
    frame: pl.DataFrame
    matrix: Matrix


@dataclass(frozen=True)
class Outer:
    figures: Figures
    inner: Inner | None
    blob: bytes
    words: frozenset[str]
    day: date


def bits(value: float) -> bytes:
    return np.float64(value).tobytes()


@given(
    number=FLOATS, maybe=st.none() | FLOATS, at=MOMENTS, names=st.dictionaries(st.text(max_size=5), FLOATS, max_size=5)
)
def test_numbers_of_a_model_come_back_bit_by_bit(
    number: float, maybe: float | None, at: datetime, names: dict[str, float]
) -> None:
    given_model = Figures(number=number, maybe=maybe, at=at, names=names)
    found = decode(encode(given_model), Figures)
    assert found == given_model
    assert bits(found.number) == bits(number)
    assert {name: bits(value) for name, value in found.names.items()} == {
        name: bits(value) for name, value in names.items()
    }


@given(
    values=st.lists(st.floats(), max_size=30), words=st.frozensets(st.text(max_size=4), max_size=4), blob=st.binary()
)
def test_records_of_frames_and_matrices_come_back_with_their_nans(
    values: list[float], words: frozenset[str], blob: bytes
) -> None:
    frame = pl.DataFrame(
        {
            "f": pl.Series(values, dtype=pl.Float64),
            "s": pl.Series(["a"] * len(values), dtype=pl.String),
            "t": pl.Series([datetime(2024, 1, 2, tzinfo=UTC)] * len(values), dtype=pl.Datetime("us", "UTC")),
            "n": pl.Series([None] * len(values), dtype=pl.Int32),
        }
    )
    matrix = np.array(values).reshape(-1, 1)
    figures = Figures(number=0.1, maybe=None, at=datetime(2024, 1, 2, tzinfo=UTC), names={})
    for inner in (None, Inner(frame, matrix)):
        found = decode(encode(Outer(figures, inner, blob, words, date(2024, 1, 2))), Outer)
        assert (found.figures, found.blob, found.words, found.day) == (figures, blob, words, date(2024, 1, 2))
        if inner is None:
            assert found.inner is None
        else:
            assert found.inner.frame.equals(frame)
            assert found.inner.frame.schema == frame.schema
            assert found.inner.matrix.tobytes() == matrix.tobytes()
            assert found.inner.matrix.shape == matrix.shape


@pytest.mark.parametrize("candidate", [momentum, nothing])
def test_everything_that_the_lane_stores_comes_back_and_has_the_same_version(candidate: Any) -> None:
    found = candidate()
    research = found.research
    stored: list[tuple[object, Any]] = [
        (found.market.bars, BarSet | None),
        (found.market.signals, SignalSet),
        (research.spec, CandidateSpec),
        (research.results, WalkforwardResults),
        (research.report, EvaluationReport),
    ]
    for value, kind in stored:
        parts = encode(value)
        again = decode(parts, kind)
        assert encode(again) == parts
        assert Encoded.of(again).data_version == Encoded.of(value).data_version
    assert decode(encode(research.report), EvaluationReport) == research.report


def test_a_text_is_kept_as_it_is() -> None:
    text = "kind: ConfigMap\n  – ü\r\n"
    assert decode(encode(text), str) == text


def test_parts_of_an_older_form_are_told() -> None:
    parts = encode(Inner(pl.DataFrame({"a": [1]}), np.zeros((1, 1))))
    del parts["matrix.npy"]
    with pytest.raises(TypeError, match=r"no part matrix\.npy among frame\.parquet: the stored value is older"):
        decode(parts, Inner)


def test_a_changed_value_has_another_version() -> None:
    one = Figures(number=0.1, maybe=None, at=datetime(2024, 1, 2, tzinfo=UTC), names={})
    other = one.model_copy(update={"number": math.nextafter(0.1, 1)})
    assert Encoded.of(one).data_version != Encoded.of(other).data_version
    assert Encoded.of(one).data_version == Encoded.of(one.model_copy()).data_version
