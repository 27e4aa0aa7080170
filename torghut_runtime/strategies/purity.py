"""Which functions a strategy's step may be made of, so that its decisions depend on its arguments alone.

A compiled function freezes the globals it reads; one that reads something mutable would decide differently after a
restart, or in research and at run time. Therefore a step, and everything compiled that it calls, may use numbers,
``math``, ``numpy`` and other compiled functions, and nothing else.
"""

import builtins
import dis
import math
from collections.abc import Iterator
from enum import Enum
from types import BuiltinFunctionType, CodeType, FunctionType, ModuleType
from typing import Any, cast

import numpy as np

from torghut_runtime.strategies.contract import StrategyError

IMPURE = "impure_step"

_MODULES = (math, np)
_BUILTINS = frozenset(
    ("abs", "bool", "divmod", "enumerate", "float", "int", "len", "max", "min", "pow", "range", "round", "sum", "zip")
)
_FORBIDDEN_ATTRIBUTES = frozenset({"random"})
_FORBIDDEN_OPERATIONS = {
    "RAISE_VARARGS": "raises (set out[0] to NaN to report an error)",
    "LOAD_ASSERTION_ERROR": "asserts (set out[0] to NaN to report an error)",
    "STORE_GLOBAL": "writes a global",
    "DELETE_GLOBAL": "deletes a global",
    "IMPORT_NAME": "imports",
}


def reached_functions(step: FunctionType, name: str) -> tuple[FunctionType, ...]:
    """The step and every compiled function that it reaches.

    Raises:
        StrategyError: reason ``impure_step``; the message names the function and what it may not use.
    """
    reached: list[FunctionType] = []
    waiting = [step]
    while waiting:
        function = waiting.pop()
        if function not in reached:
            reached.append(function)
            waiting.extend(_called(function, name))
    return tuple(reached)


def _called(function: FunctionType, name: str) -> Iterator[FunctionType]:
    """The compiled functions that ``function`` refers to; anything else that is not allowed is an error."""
    if function.__closure__:
        raise _impure(name, function, f"closes over {', '.join(function.__code__.co_freevars)}")
    for code in _codes(function.__code__):
        for instruction in dis.get_instructions(code):
            if instruction.opname in _FORBIDDEN_OPERATIONS:
                raise _impure(name, function, _FORBIDDEN_OPERATIONS[instruction.opname])
            if instruction.opname in ("LOAD_ATTR", "LOAD_METHOD") and instruction.argval in _FORBIDDEN_ATTRIBUTES:
                raise _impure(name, function, f"uses {instruction.argval}")
            if instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
                called = _judge(function, str(instruction.argval), name)
                if called is not None:
                    yield called


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


def _judge(function: FunctionType, variable: str, name: str) -> FunctionType | None:
    """A compiled function behind a global name, None for a harmless value."""
    if variable not in function.__globals__:
        if variable in _BUILTINS:
            return None
        known = "the builtin" if hasattr(builtins, variable) else "the unknown name"
        raise _impure(name, function, f"uses {known} {variable}")
    value: Any = function.__globals__[variable]
    compiled: object = getattr(value, "py_func", None)
    if isinstance(compiled, FunctionType):
        options = cast("dict[str, object]", getattr(value, "targetoptions", {}))
        if options.get("fastmath"):
            raise _impure(name, function, f"calls {variable}, which was compiled with fast-math")
        return compiled
    if isinstance(value, ModuleType):
        if value not in _MODULES:
            raise _impure(name, function, f"uses the module {variable}; import the compiled function itself")
        return None
    if _is_constant(value):
        return None
    raise _impure(name, function, f"reads the global {variable} ({type(value).__name__})")


def _is_constant(value: object) -> bool:
    if value is None or isinstance(value, bool | int | float | np.number | np.bool_ | np.ufunc):
        return True
    if isinstance(value, tuple):
        return all(_is_constant(each) for each in cast("tuple[object, ...]", value))
    if isinstance(value, type):
        return issubclass(value, Enum | np.generic)
    return isinstance(value, BuiltinFunctionType) and value.__module__ == "math"


def _impure(name: str, function: FunctionType, problem: str) -> StrategyError:
    where = f"{function.__module__}.{function.__qualname__}"
    return StrategyError(IMPURE, f"{name}: {where} {problem}", field="step")
