"""The previous stage's artifact as a file of an exported bundle: is it listed, unchanged, and of the right run?

For state files and CI. In database mode the artifact store answers instead, which is ``facts``'s business.
"""

import hashlib
import json
from pathlib import Path
from typing import Any, cast

from torghut_assets.artifacts import MANIFEST
from torghut_assets.guard.transitions import ArtifactFault


def file_sha256(path: Path) -> str | None:
    """sha256 of a regular file; ``None`` when there is no such file to read."""
    try:
        if not path.is_file():
            return None
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except (OSError, ValueError):
        return None


def artifact_fault(path: Path | None, run_id: str) -> ArtifactFault | None:
    """What is wrong with a bundle's file; ``None`` when it may stand as the previous stage's artifact.

    The bundle is the folder of the first ``MANIFEST.json`` on the way up. A link that leads out of it is not listed.
    """
    sha256 = None if path is None else file_sha256(path)
    if path is None or sha256 is None:
        return "missing_previous_artifact"
    given = path.absolute()
    folder = next((parent for parent in given.parents if (parent / MANIFEST).is_file()), None)
    manifest = None if folder is None else _json_object(folder / MANIFEST)
    if folder is None or manifest is None:
        return "previous_artifact_unlisted"
    place, root = path.resolve(), folder.resolve()
    files = manifest.get("files")
    if not place.is_relative_to(root) or not isinstance(files, dict):
        return "previous_artifact_unlisted"
    entry = cast("dict[str, Any]", files).get(place.relative_to(root).as_posix())
    if not isinstance(entry, dict):
        return "previous_artifact_unlisted"
    if cast("dict[str, Any]", entry).get("sha256") != sha256:
        return "previous_artifact_hash_mismatch"
    content = _json_object(place) if place.suffix.lower() == ".json" else None
    runs = [manifest.get("run_id"), *([content["run_id"]] if content is not None and "run_id" in content else [])]
    return None if all(run == run_id for run in runs) else "previous_artifact_run_mismatch"


def _json_object(path: Path) -> dict[str, Any] | None:
    try:
        content = cast("object", json.loads(path.read_bytes()))
    except (OSError, ValueError, RecursionError):
        return None
    return cast("dict[str, Any]", content) if isinstance(content, dict) else None
