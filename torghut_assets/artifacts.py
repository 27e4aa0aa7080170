"""Artifacts: the content-addressed store, Parquet with fixed settings, and the bundle that users get.

Everything the platform concludes is bytes that are known by their sha256. The store keeps them, a reference says which
of them an asset holds for a partition, and :func:`export_bundle` lays one candidate's files out as a directory. Turning
models and frames into parts is ``artifact_values``'s business, Dagster's view of the store is ``io_manager``'s.
"""

import fcntl
import io
import json
import os
import re
import shutil
import tempfile
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final, cast

import polars as pl

from torghut_assets.directory_exchange import Checkpoint, restore, take_place
from torghut_runtime.canonical import canonical_json, digest, sha256_hex
from torghut_runtime.durable_file import sync_directory, write_atomically
from torghut_runtime.errors import InputError, TorghutError

MANIFEST: Final = "MANIFEST.json"
MANIFEST_SCHEMA: Final = "torghut.manifest.v1"
REFERENCE_SCHEMA: Final = "torghut.reference.v1"
BUNDLE_ENTRIES: Final = frozenset(("research", "backtest", "gates", "paper-candidate", MANIFEST))
NOT_REPRODUCIBLE: Final = frozenset(("gates/promotion-decision.json", "paper-candidate/provenance.intoto.json"))
_SHA256 = re.compile(r"[0-9a-f]{64}")
_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]*")


class ArtifactError(TorghutError):
    """A stored artifact that is missing or is not what its digest says."""


def parquet_bytes(frame: pl.DataFrame) -> bytes:
    """Parquet file of ``frame``; equal frames give equal bytes whatever the process and its number of threads."""
    buffer = io.BytesIO()
    frame.rechunk().write_parquet(
        buffer, compression="zstd", compression_level=3, statistics=True, row_group_size=131_072, data_page_size=1 << 20
    )
    return buffer.getvalue()


def read_parquet_bytes(data: bytes) -> pl.DataFrame:
    """The frame that :func:`parquet_bytes` wrote."""
    return pl.read_parquet(io.BytesIO(data))


@dataclass(frozen=True)
class Part:
    """One blob of an artifact."""

    sha256: str
    size: int


@dataclass(frozen=True)
class Reference:
    """What an asset holds for one partition: its parts by name."""

    parts: Mapping[str, Part]

    @property
    def digest(self) -> str:
        """sha256 over the names and digests of the parts: the content's version."""
        return digest({name: part.sha256 for name, part in self.parts.items()})

    @property
    def size(self) -> int:
        """Bytes of all parts."""
        return sum(part.size for part in self.parts.values())


class ArtifactStore:
    """Blobs by sha256 and references by asset and partition, under one directory.

    Writes are atomic and durable, and readable by other processes at once; a blob that is there already is not written
    again. Reading checks the digest. Nothing is ever changed in place.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def put(self, data: bytes) -> str:
        """Store ``data`` and return its sha256."""
        sha256 = sha256_hex(data)
        path = self._blob_path(sha256)
        if not path.exists() or path.stat().st_size != len(data):
            write_atomically(path, data)
        return sha256

    def get(self, sha256: str) -> bytes:
        """The bytes with that digest.

        Raises:
            ArtifactError: there are none, or they have been changed since they were stored.
        """
        path = self._blob_path(sha256)
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            raise ArtifactError(f"{path}: no such artifact; materialise the asset again") from None
        if sha256_hex(data) != sha256:
            raise ArtifactError(f"{path}: the content is not what its digest says; delete it and materialise again")
        return data

    def has(self, sha256: str) -> bool:
        """Whether there is a blob with that digest; its content is not read."""
        return self._blob_path(sha256).exists()

    def write(self, key: Sequence[str], partition: str | None, parts: Mapping[str, bytes]) -> Reference:
        """Store ``parts`` as what asset ``key`` holds for ``partition``; the reference is written last."""
        reference = Reference({name: Part(self.put(data), len(data)) for name, data in sorted(parts.items())})
        content = {
            "schema": REFERENCE_SCHEMA,
            "parts": {name: {"sha256": part.sha256, "size": part.size} for name, part in reference.parts.items()},
        }
        write_atomically(self._reference_path(key, partition), canonical_json(content))
        return reference

    def reference(self, key: Sequence[str], partition: str | None) -> Reference | None:
        """What asset ``key`` holds for ``partition``, ``None`` when nothing was ever stored.

        Raises:
            ArtifactError: the reference cannot be read.
        """
        path = self._reference_path(key, partition)
        try:
            content = cast("dict[str, Any]", json.loads(path.read_bytes()))
            parts = {name: Part(str(part["sha256"]), int(part["size"])) for name, part in content["parts"].items()}
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ArtifactError(f"{path}: is no reference; delete it and materialise again") from error
        return Reference(parts)

    def read(self, key: Sequence[str], partition: str | None) -> dict[str, bytes]:
        """The parts that asset ``key`` holds for ``partition``.

        Raises:
            ArtifactError: nothing was stored, or a part is missing or changed.
        """
        reference = self.reference(key, partition)
        if reference is None:
            where = "/".join(key) if partition is None else f"{'/'.join(key)} of {partition}"
            raise ArtifactError(f"{where}: nothing is stored; materialise it first")
        return {name: self.get(part.sha256) for name, part in reference.parts.items()}

    def forget(self, key: Sequence[str], partition: str | None) -> None:
        """Drop the reference of asset ``key`` for ``partition``; the blobs stay."""
        self._reference_path(key, partition).unlink(missing_ok=True)

    def partitions(self, key: Sequence[str]) -> list[str]:
        """Partitions for which asset ``key`` holds something, sorted."""
        folder = self._reference_path(key, "any").parent
        return sorted(path.name.removesuffix(".json") for path in folder.glob("*.json"))

    def _blob_path(self, sha256: str) -> Path:
        if not _SHA256.fullmatch(sha256):
            raise ArtifactError(f"{sha256!r} is no sha256")
        return self.root / "blobs" / "sha256" / sha256[:2] / sha256[2:]

    def _reference_path(self, key: Sequence[str], partition: str | None) -> Path:
        names = [*key, *(() if partition is None else (partition,))]
        for name in names:
            if not _NAME.fullmatch(name):
                raise ArtifactError(f"{name!r} cannot be part of a stored artifact's name")
        folder = self.root.joinpath("references", *key)
        return folder / "_.json" if partition is None else folder / f"{partition}.json"


@dataclass(frozen=True)
class ExportedBundle:
    """Where a bundle stands; ``displaced`` is where foreign files of the folder were moved, ``None`` mostly."""

    folder: Path
    manifest: Path
    displaced: Path | None


def manifest_of(files: Mapping[str, bytes], ids: Mapping[str, object]) -> bytes:
    """``MANIFEST.json`` for ``files``: the ids, and sha256 and size of every file but itself."""
    entries = {
        path: {"sha256": sha256_hex(data), "size": len(data), "reproducible": path not in NOT_REPRODUCIBLE}
        for path, data in files.items()
    }
    return canonical_json({"schema": MANIFEST_SCHEMA, **ids, "files": entries})


def export_bundle(
    files: Mapping[str, bytes],
    output_dir: Path,
    *,
    ids: Mapping[str, object],
    checkpoint: Checkpoint = lambda _: None,
) -> ExportedBundle:
    """Make ``output_dir`` hold exactly ``files`` and their manifest.

    The tree is built beside the folder and takes its place in one step, so a reader, or a crash at any point, finds the
    old bundle or the new one. Nothing of an earlier bundle survives; a folder with files that no bundle has is moved
    aside as a whole. Exports into one parent directory wait for each other.

    Args:
        files: content by bundle path, such as ``gates/evidence.json``.
        output_dir: the folder; parents are made.
        ids: what stands in the manifest beside the files (name, candidate_id, run_id, dataset_id).
        checkpoint: told each point that was reached.

    Raises:
        InputError: ``output_dir`` is a file, or a folder that nobody can mean (a repository, the working or home
            directory or one that holds it).
        OSError: the folder cannot be written; it is then as it was.
    """
    for path in files:
        if PurePosixPath(path).parts[0] not in BUNDLE_ENTRIES - {MANIFEST} or ".." in PurePosixPath(path).parts:
            raise ValueError(f"{path!r} is no path of a bundle")
    target = bundle_target(output_dir)
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = target.parent / f".{target.name}.torghut-old"
    prefix = f".{target.name}.torghut-new-"
    with _locked(target.parent):
        restore(target, aside=aside)
        for left in (*target.parent.glob(f"{prefix}*"), *([aside] if aside.exists() else [])):
            _discard(left, target)
        checkpoint("cleaned")
        staged = Path(tempfile.mkdtemp(dir=target.parent, prefix=prefix))
        try:
            _write_tree(staged, {**files, MANIFEST: manifest_of(files, ids)}, checkpoint)
            displaced = _free_name(target) if target.exists() and _is_foreign(target) else None
            checkpoint("staged")
            replaced = take_place(staged, target, aside=displaced or aside, checkpoint=checkpoint)
        finally:
            if staged.exists():
                _discard(staged, target)
        checkpoint("in place")
        if replaced and displaced is None:
            shutil.rmtree(aside)
        checkpoint("done")
    return ExportedBundle(output_dir, output_dir / MANIFEST, displaced)


def bundle_target(output_dir: Path) -> Path:
    """Where a bundle for ``output_dir`` is put, absolute.

    Raises:
        InputError: as :func:`export_bundle`.
    """
    target = output_dir.expanduser().resolve()
    if target.exists() and not target.is_dir():
        raise InputError("is a file; give a folder for the bundle", file=output_dir)
    protected = (Path.cwd(), Path.home())
    if any(place == target or target in place.parents for place in protected) or (target / ".git").exists():
        raise InputError("would be replaced as a whole by the bundle; give a folder of its own", file=output_dir)
    return target


def _write_tree(root: Path, files: Mapping[str, bytes], checkpoint: Checkpoint) -> None:
    root.chmod(0o755)
    for path, data in sorted(files.items()):
        place = root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        with place.open("xb") as out:
            out.write(data)
            out.flush()
            os.fsync(out.fileno())
        checkpoint(f"written {path}")
    for folder in sorted((path for path in root.rglob("*") if path.is_dir()), reverse=True):
        sync_directory(folder)
    sync_directory(root)


def _is_foreign(folder: Path) -> bool:
    """Whether a folder holds something that no bundle has."""
    return not {entry.name for entry in folder.iterdir()} <= BUNDLE_ENTRIES


def _discard(left: Path, target: Path) -> None:
    """Remove a tree that an export has no more use for; other people's files are kept beside the target."""
    if _is_foreign(left):
        left.rename(_free_name(target))
    else:
        shutil.rmtree(left)


def _free_name(target: Path) -> Path:
    number = 1
    while (name := target.with_name(f"{target.name}.displaced-{number}")).exists():
        number += 1
    return name


@contextmanager
def _locked(folder: Path) -> Generator[None]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
