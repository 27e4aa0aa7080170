"""One directory takes the place of another, in one step.

:func:`take_place` is what a reader of a bundle relies on: whoever opens the path sees the old tree or the new one. What
stands in the trees is not this module's business.
"""

import ctypes
import errno
import os
import sys
from collections.abc import Callable
from pathlib import Path

from torghut_runtime.durable_file import sync_directory

AT_FDCWD = -100
RENAME_EXCHANGE = 2
_UNSUPPORTED = frozenset((errno.ENOSYS, errno.EINVAL, errno.ENOTSUP))

Checkpoint = Callable[[str], None]
"""Told the name of each point that was reached; tests end the process there."""


def exchange(first: Path, second: Path) -> bool:
    """Swap two directories atomically; ``False`` where the system or the file system cannot do it.

    Raises:
        OSError: any other failure; both directories are then where they were.
    """
    if not sys.platform.startswith("linux"):
        return False
    library = ctypes.CDLL(None, use_errno=True)
    rename = getattr(library, "renameat2", None)
    if rename is None:
        return False
    rename.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint]
    rename.restype = ctypes.c_int
    if rename(AT_FDCWD, os.fsencode(first), AT_FDCWD, os.fsencode(second), RENAME_EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code in _UNSUPPORTED:
        return False
    raise OSError(code, os.strerror(code), str(second))


def take_place(staged: Path, target: Path, *, aside: Path, checkpoint: Checkpoint) -> bool:
    """Put ``staged`` where ``target`` is; what was there is found at ``aside`` afterwards.

    All three lie in the same directory, whose entries are durable when this returns. Without an atomic exchange the
    old tree is moved aside first; :func:`restore` mends what a crash between the two moves leaves.

    Returns:
        Whether there was an old tree.
    """
    parent = target.parent
    if not target.exists():
        staged.rename(target)
        sync_directory(parent)
        return False
    if exchange(staged, target):
        checkpoint("exchanged")
        staged.rename(aside)
    else:
        target.rename(aside)
        checkpoint("moved aside")
        staged.rename(target)
    sync_directory(parent)
    return True


def restore(target: Path, *, aside: Path) -> None:
    """Bring back the tree that an interrupted :func:`take_place` had moved aside."""
    if aside.exists() and not target.exists():
        aside.rename(target)
        sync_directory(target.parent)
