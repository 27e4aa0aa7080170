"""Digests of source code: which code concluded something."""

import hashlib
import pkgutil
from collections.abc import Iterable
from functools import cache
from importlib import util
from pathlib import Path


def _module_files(name: str) -> Iterable[tuple[str, Path]]:
    spec = util.find_spec(name)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"no source for module {name}")
    yield name, Path(spec.origin)
    if spec.submodule_search_locations is not None:
        for child in pkgutil.iter_modules(spec.submodule_search_locations, prefix=f"{name}."):
            yield from _module_files(child.name)
        for template in (Path(spec.origin).parent / "templates").glob("*.j2"):
            yield f"{name}/templates/{template.name}", template


@cache
def code_digest(*modules: str) -> str:
    """sha256 over the source text of ``modules``; a package counts with everything in it, its templates included.

    Line ends are normalised; file locations and modification times do not count. A process reads a module once, so that
    a file which is edited under a running server does not change what that server says it runs.

    Raises:
        ModuleNotFoundError: a module that does not exist or has no source file.
    """
    hasher = hashlib.sha256()
    files = {name: path for module in modules for name, path in _module_files(module)}
    for name in sorted(files):
        source = files[name].read_bytes().replace(b"\r\n", b"\n")
        hasher.update(f"{name}\0{hashlib.sha256(source).hexdigest()}\n".encode())
    return hasher.hexdigest()
