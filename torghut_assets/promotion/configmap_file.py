"""Applying a patch to a ConfigMap file in place, and taking it back.

Files are replaced atomically. The text that was replaced is kept in ``.torghut/`` beside the ConfigMap, under the
digest of the text that took its place, so that a revert restores exactly those bytes and refuses when somebody edited
the file since.
"""

from pathlib import Path

from torghut_assets.promotion.configmap import apply_patch
from torghut_runtime.canonical import sha256_hex
from torghut_runtime.durable_file import write_atomically
from torghut_runtime.errors import InputError

STORE = ".torghut"


def read_text(path: Path) -> str:
    """The text of a manifest, byte for byte (line ends are not translated).

    Raises:
        InputError: unreadable, or not UTF-8.
    """
    try:
        return path.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot be read: {error}", file=path) from error


def apply_in_place(configmap: Path, patch: Path) -> None:
    """Apply ``patch`` to the file ``configmap`` and keep what was there.

    Raises:
        PatchRefusedError: the patch was made for another base or another ConfigMap.
        InputError: one of the files cannot be read, or is not what it should be.
    """
    configmap = configmap.resolve()
    source = read_text(configmap)
    applied = apply_patch(source, read_text(patch)).encode()
    kept = _kept(configmap, applied)
    kept.parent.mkdir(exist_ok=True)
    _replace(kept.parent / ".gitignore", b"*\n")
    _replace(kept, source.encode())
    _replace(configmap, applied)


def revert_in_place(configmap: Path) -> None:
    """Restore, byte for byte, what the last patch replaced.

    Raises:
        InputError: nothing was applied, or the file was edited since.
    """
    configmap = configmap.resolve()
    kept = _kept(configmap, read_text(configmap).encode())
    if not kept.is_file():
        raise InputError("holds no applied patch, or was edited since; nothing was changed", file=configmap)
    _replace(configmap, kept.read_bytes())


def _kept(configmap: Path, applied: bytes) -> Path:
    return configmap.parent / STORE / f"{configmap.name}.{sha256_hex(applied)}.source"


def _replace(path: Path, data: bytes) -> None:
    mode = path.stat().st_mode & 0o777 if path.exists() else 0o644
    write_atomically(path, data, mode=mode)
