"""The strategy contract (``runtime.md`` 7): what a strategy class declares and how its parameters become numbers.

Here are the base classes that a strategy is written against, the checks that a class is complete, and the encoding of
parameters, common exits and tags. The rules of single strategies stand in modules of their own, evaluation at a bar in
:mod:`torghut_runtime.strategies.decide`, discovery and compilation in :mod:`torghut_runtime.strategies.registry`.
"""

import math
import re
import types
from enum import Enum
from typing import Any, ClassVar, Literal, Union, cast, get_args, get_origin

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from torghut_runtime.compiled import Vector
from torghut_runtime.errors import InputError

COMMON_TAGS = ("stop_loss", "take_profit", "time_stop", "flatten_before_close")
"""Tags of the common exits; they are set by the wrapper, never by a step."""
FIRST_COMMON_TAG = 40
"""Bit of the first common tag; a strategy's own tags take the bits from 0."""
MAX_TAGS = 32

POSITION = ("qty", "average_entry", "bars_held", "unrealised_return", "pending_qty")
"""What the entries of ``pos`` are; quantities are signed, the return is a fraction of the average entry price."""
OUTPUT = ("signal", "target", "confidence", "tags")
"""What the entries of ``out`` are."""

HOLD, ENTER_LONG, ENTER_SHORT, EXIT, TARGET = 0.0, 1.0, -1.0, 2.0, 3.0
"""The values of ``out[0]``."""

_ParamsClass = type[Any]

_IDENTIFIER = re.compile(r"[a-z][a-z0-9_]{0,62}")
_VERSION = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)")


class StrategyError(InputError):
    """A strategy that may not run; ``reason`` is a stable code such as ``plugin_conflict`` or ``impure_step``."""

    def __init__(
        self, reason: str, message: str, *, file: Any = None, row: int | None = None, field: str | None = None
    ):
        self.reason = reason
        super().__init__(message, file=file, row=row, field=field)

    def located(self, *, file: Any = None, row: int | None = None) -> "StrategyError":
        """Return the same error with what the raiser could not know filled in."""
        return StrategyError(self.reason, self.message, file=self.file or file, row=self.row or row, field=self.field)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Exits(_Strict):
    """Exits that every strategy may use; they are judged before the strategy's own rule. Unset means never.

    All are judged at a bar's close: the returns against the average entry price, ``max_bars`` against the number of
    bars since the position was opened, ``flatten_before_close_seconds`` against the close of the session.
    """

    stop_pct: float | None = Field(default=None, ge=0, le=1, description="loss, as a fraction, at which to leave")
    take_profit_pct: float | None = Field(default=None, ge=0, description="gain, as a fraction, at which to leave")
    max_bars: int | None = Field(default=None, ge=1, description="bars after which to leave; also the purge horizon")
    flatten_before_close_seconds: float | None = Field(
        default=None, ge=0, description="from so many seconds before the session's close: leave, and enter no more"
    )

    def vector(self) -> Vector:
        """The exits in field order, NaN for unset."""
        return np.array([_number(getattr(self, name)) for name in Exits.model_fields], dtype=np.float64)


class StrategyParams(_Strict):
    """Base of every strategy's parameters; a subclass adds its own fields, which alone reach the step as ``p``.

    Own fields may be ``bool``, ``int``, ``float``, a ``Literal`` or an ``Enum``, each also optional. Unknown keys are
    refused, booleans come only from booleans, and an explicit 0 is 0.
    """

    qty: float | None = Field(default=None, ge=0, description="fixed number of shares; unset: a share of the budget")
    pyramid: bool = Field(default=False, description="whether a signal in the direction already held adds to it")
    exits: Exits = Exits()

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        for name in cls.own_fields():
            annotation: Any = cls.model_fields[name].annotation
            if not _is_encodable(annotation):
                raise TypeError(f"{cls.__qualname__}.{name}: a parameter is a number, flag or choice, was {annotation}")

    @classmethod
    def own_fields(cls) -> tuple[str, ...]:
        """Names of the fields that the subclass adds, in order: the entries of ``p``."""
        return tuple(name for name in cls.model_fields if name not in StrategyParams.model_fields)

    def vector(self) -> Vector:
        """Own fields in order: flags 0 or 1, choices by their ordinal, None as NaN."""
        values = [_encode(type(self).model_fields[name].annotation, getattr(self, name)) for name in self.own_fields()]
        return np.array(values, dtype=np.float64)


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _alternatives(annotation: Any) -> tuple[Any, ...]:
    """What remains of an annotation without None."""
    if get_origin(annotation) in (Union, types.UnionType):
        return tuple(each for each in get_args(annotation) if each is not type(None))
    return (annotation,)


def _is_choice(annotation: Any) -> bool:
    return get_origin(annotation) is Literal or (isinstance(annotation, type) and issubclass(annotation, Enum))


def _is_encodable(annotation: Any) -> bool:
    parts = _alternatives(annotation)
    if len(parts) == 1 and _is_choice(parts[0]):
        return True
    return all(part in (bool, int, float) for part in parts)


def _encode(annotation: Any, value: object) -> float:
    choice = next((part for part in _alternatives(annotation) if _is_choice(part)), None)
    if value is None or choice is None:
        return _number(cast("float | None", value))
    known: list[object] = list(get_args(choice)) if get_origin(choice) is Literal else list(choice)
    return float(known.index(value))


class Strategy:
    """Base of every strategy: one class per type and version.

    A subclass sets the class attributes, a nested ``Params`` and :meth:`step`, and where it needs them
    :meth:`warmup_bars` and :meth:`state_size`. It is never instantiated.

    ``features``: feature columns without which a bar is skipped; ``optional_features``: columns that may be NaN.
    ``timeframes``: the base timeframes that it is made for, empty for any. ``tags``: names of the bits of ``out[3]``.
    """

    type: ClassVar[str]
    version: ClassVar[str]
    tags: ClassVar[tuple[str, ...]] = ()
    features: ClassVar[tuple[str, ...]] = ()
    optional_features: ClassVar[tuple[str, ...]] = ()
    timeframes: ClassVar[tuple[str, ...]] = ()

    Params: ClassVar[_ParamsClass] = StrategyParams
    """Subclass of :class:`StrategyParams`, most readably a nested class of the same name."""

    @staticmethod
    def warmup_bars(params: Any, /) -> int:
        """Number of valid bars that are fed, with their outputs ignored, before the first decision counts."""
        del params
        return 0

    @staticmethod
    def state_size(params: Any, /) -> int:
        """Number of float64 entries of ``state``, the strategy's own memory per symbol; it begins as zeros."""
        del params
        return 0

    @staticmethod
    def step(f: Vector, p: Vector, pos: Vector, state: Vector, out: Vector, /) -> None:
        """Judge one closed bar; compiled, pure, and the same machine code in research and runtime.

        ``f``: the declared features and after them the optional ones; ``p``: own parameters in field order; ``pos``:
        see :data:`POSITION`; ``state``: own memory, read and written; ``out``: zeros, to be filled as :data:`OUTPUT`.
        ``out[0]`` is a signal (0 hold, 1 enter long, -1 enter short, 2 exit, 3 target); ``out[1]`` the target as a
        fraction of the budget in [-1, 1], not 0 for an entry (a short one may write it with either sign); ``out[2]``
        the confidence in [0, 1]; ``out[3]`` the sum of the tags' bits.
        """
        raise NotImplementedError


def validate_class(strategy: type[Strategy]) -> None:
    """Check that a strategy class is complete and well-formed.

    Raises:
        StrategyError: reason ``invalid_strategy``; the message names the class and the attribute.
    """
    where = f"{strategy.__module__}.{strategy.__qualname__}"

    def refuse(attribute: str, problem: str) -> StrategyError:
        return StrategyError("invalid_strategy", f"{where}: {problem}", field=attribute)

    for attribute, pattern, form in (
        ("type", _IDENTIFIER, "lower_case_text"),
        ("version", _VERSION, "text like 1.0.0"),
    ):
        value: object = getattr(strategy, attribute, None)
        if not isinstance(value, str) or not pattern.fullmatch(value):
            raise refuse(attribute, f"{attribute} must be {form}, was {value!r}")
    for attribute in ("tags", "features", "optional_features", "timeframes"):
        value: object = getattr(strategy, attribute, None)
        if not isinstance(value, tuple) or not all(isinstance(name, str) for name in cast("tuple[object, ...]", value)):
            raise refuse(attribute, f"{attribute} must be a tuple of texts, was {value!r}")
    columns = strategy.features + strategy.optional_features
    if not strategy.features or len(set(columns)) != len(columns):
        raise refuse("features", "features must name at least one column, and no column twice")
    if len(strategy.tags) > MAX_TAGS or len(set(strategy.tags)) != len(strategy.tags):
        raise refuse("tags", f"at most {MAX_TAGS} different tags")
    if set(strategy.tags) & set(COMMON_TAGS):
        raise refuse("tags", f"{', '.join(COMMON_TAGS)} are tags of the common exits")
    params: object = getattr(strategy, "Params", None)
    if not isinstance(params, type) or not issubclass(params, StrategyParams):
        raise refuse("Params", "Params must be a subclass of StrategyParams")
    step: object = getattr(strategy, "step", None)
    if step is Strategy.step or not isinstance(step, types.FunctionType):
        raise refuse("step", "step must be a function of f, p, pos, state and out")
    arguments = step.__code__.co_argcount
    if arguments != 5 or step.__defaults__ or step.__code__.co_kwonlyargcount:
        raise refuse("step", f"step takes exactly f, p, pos, state and out, was declared with {arguments} arguments")


def tag_names(tags: tuple[str, ...], mask: float) -> tuple[str, ...]:
    """Names of the bits set in ``out[3]``, given the strategy's own tags."""
    bits = int(mask)
    own = tuple(name for index, name in enumerate(tags) if bits >> index & 1)
    return own + tuple(name for index, name in enumerate(COMMON_TAGS) if bits >> (FIRST_COMMON_TAG + index) & 1)
