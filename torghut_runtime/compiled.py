"""The door to numba: every compiled function of torghut goes through :func:`kernel`.

Features, strategies, costs, sizing and the simulation are compiled once, ahead of their first call, with explicit
signatures and without fast-math, so that batch and streaming run the very same machine code. Compiled code is cached
on disk in a folder named after the digest of every source that uses this module: numba itself looks only at the file
of the outermost function, and a stale inner function would silently change a verdict.

Nothing here knows what is computed; plain Python code does not belong here.
"""

import hashlib
import os
import tempfile
import warnings
from collections.abc import Callable, Generator
from contextlib import contextmanager
from importlib import util
from pathlib import Path
from typing import Any, TypeVar, cast

import numba  # pyright: ignore[reportMissingTypeStubs]
import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]
"""One-dimensional, C-contiguous float64 array."""
Matrix = NDArray[np.float64]
"""Two-dimensional, C-contiguous float64 array."""
Integers = NDArray[np.int64]
"""One-dimensional, C-contiguous int64 array."""

_F = TypeVar("_F", bound=Callable[..., object])

_nb = cast("Any", numba)
boolean: Any = _nb.types.boolean
float64: Any = _nb.types.float64
int64: Any = _nb.types.int64
void: Any = _nb.types.void
vector: Any = _nb.types.float64[::1]
matrix: Any = _nb.types.float64[:, ::1]
integers: Any = _nb.types.int64[::1]
integer_matrix: Any = _nb.types.int64[:, ::1]
"""Signature atoms for :func:`kernel`."""


@contextmanager
def functions_as_arguments() -> Generator[None]:
    """Where functions are passed to kernels: numba calls that experimental and warns, our tests watch over it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", _nb.core.errors.NumbaExperimentalFeatureWarning)
        yield


def tuple_of(*members: Any) -> Any:
    """The type of a tuple."""
    with functions_as_arguments():
        return _nb.types.Tuple(members)


def function_type(signature: Any) -> Any:
    """The type of a compiled function that is passed as an argument."""
    return _nb.types.FunctionType(signature)


def record_type(record: type[tuple[Any, ...]], *fields: Any) -> Any:
    """The type of a named tuple with the given field types; kernels read its fields by name."""
    return _nb.types.NamedTuple(fields, record)


def kernel(signature: Any, *, cache: bool = True) -> Callable[[_F], _F]:
    """Compile a function for exactly ``signature``; Python sees it as an ordinary function.

    Division by zero gives infinity or NaN as in NumPy; there is no fast-math. ``cache=False`` is for functions whose
    source may change while the process lives (strategy plugins, notebooks).
    """

    def compile_it(function: _F) -> _F:
        with functions_as_arguments():
            compiled: Any = _nb.njit(signature, cache=cache, fastmath=False, error_model="numpy")(function)
        return compiled

    return compile_it


def part_of_kernel(function: _F) -> _F:
    """Mark a function that is compiled as part of the kernel that calls it, for whatever types it is called with."""
    compiled: Any = _nb.njit(fastmath=False, error_model="numpy")(function)
    return compiled


class _Address(_nb.types.WrapperAddressProtocol):
    """A compiled function as an argument whose address is known: the dispatcher looks it up at every call."""

    def __init__(self, function: Callable[..., object], signature: Any) -> None:
        result = cast("Any", function).overloads[signature.args]
        self._function = function
        self._signature = signature
        self._at: int = result.library.get_pointer_to_function(result.fndesc.llvm_cfunc_wrapper_name)

    def __wrapper_address__(self) -> int:
        return self._at

    def signature(self) -> Any:
        """Of the function."""
        return self._signature


def as_argument(function: Callable[..., object], signature: Any) -> Any:
    """A compiled function as an argument of :func:`entry_point`, for a call at every bar."""
    return _Address(function, signature)


def entry_point(kernel_function: Callable[..., object]) -> Callable[..., Any]:
    """The code of a kernel without the search for its types, which costs more than a short kernel itself.

    The arguments must have exactly the kernel's types; functions among them come from :func:`as_argument`.
    """
    (result,) = cast("Any", kernel_function).overloads.values()
    return cast("Callable[..., Any]", result.entry_point)


def _uses_kernels(source: bytes) -> bool:
    return b"torghut_runtime.compiled" in source


def compiled_sources_digest() -> str:
    """sha256 over every module of torghut that compiles something."""
    hasher = hashlib.sha256(numba.__version__.encode())
    for package in ("torghut_runtime", "torghut_assets"):
        spec = util.find_spec(package)
        if spec is None or spec.submodule_search_locations is None:
            continue
        root = Path(next(iter(spec.submodule_search_locations)))
        for path in sorted(root.rglob("*.py")):
            source = path.read_bytes()
            if _uses_kernels(source):
                hasher.update(f"{package}/{path.relative_to(root).as_posix()}\0".encode())
                hasher.update(hashlib.sha256(source).digest())
    return hasher.hexdigest()


def _use_cache_folder() -> None:
    base = os.environ.get("NUMBA_CACHE_DIR") or os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    folder = Path(base) / "torghut" / "compiled" / compiled_sources_digest()[:16]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".writable-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError:
        folder = Path(tempfile.mkdtemp(prefix="torghut-compiled-"))
    cast("Any", numba).config.CACHE_DIR = str(folder)


_use_cache_folder()
