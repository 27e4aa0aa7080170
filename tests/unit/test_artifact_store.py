import hashlib
import os
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from torghut_assets.artifacts import ArtifactError, ArtifactStore, parquet_bytes, read_parquet_bytes

KEY = ("research", "candidate_spec")


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(tmp_path / "store")


def test_bytes_come_back_under_their_sha256(store: ArtifactStore):
    sha256 = store.put(b"verdict")
    assert sha256 == hashlib.sha256(b"verdict").hexdigest()
    assert store.get(sha256) == b"verdict"
    assert store.has(sha256)


def test_storing_the_same_bytes_twice_keeps_one_file(store: ArtifactStore):
    store.put(b"verdict")
    before = {path: path.stat().st_mtime_ns for path in store.root.rglob("*") if path.is_file()}
    store.put(b"verdict")
    assert {path: path.stat().st_mtime_ns for path in store.root.rglob("*") if path.is_file()} == before


def test_one_changed_byte_is_refused_when_reading(store: ArtifactStore):
    sha256 = store.put(b"verdict")
    (path,) = (store.root / "blobs").rglob(sha256[2:])
    path.write_bytes(b"verdicT")
    with pytest.raises(ArtifactError, match="is not what its digest says"):
        store.get(sha256)


def test_a_blob_that_was_cut_short_is_written_again(store: ArtifactStore):
    sha256 = store.put(b"verdict")
    (path,) = (store.root / "blobs").rglob(sha256[2:])
    path.write_bytes(b"ver")
    store.put(b"verdict")
    assert store.get(sha256) == b"verdict"


def test_a_blob_that_was_never_stored_is_named(store: ArtifactStore):
    with pytest.raises(ArtifactError, match="no such artifact"):
        store.get("0" * 64)
    assert not store.has("0" * 64)


@pytest.mark.parametrize("sha256", ["", "../etc/passwd", "A" * 64, "0" * 63])
def test_what_is_no_digest_never_becomes_a_path(store: ArtifactStore, sha256: str):
    with pytest.raises(ArtifactError, match="is no sha256"):
        store.get(sha256)


def test_partitions_hold_their_own_parts(store: ArtifactStore):
    first = store.write(KEY, "one", {"value.json": b"1", "frame.parquet": b"11"})
    second = store.write(KEY, "two", {"value.json": b"2"})
    assert store.read(KEY, "one") == {"value.json": b"1", "frame.parquet": b"11"}
    assert store.read(KEY, "two") == {"value.json": b"2"}
    assert store.partitions(KEY) == ["one", "two"]
    assert first.digest != second.digest
    assert first.size == 3


def test_equal_parts_have_equal_versions_whatever_the_order(store: ArtifactStore):
    first = store.write(KEY, "one", {"a": b"1", "b": b"2"})
    second = store.write(KEY, "two", {"b": b"2", "a": b"1"})
    assert first.digest == second.digest == store.reference(KEY, "one").digest


def test_a_later_write_replaces_all_parts(store: ArtifactStore):
    store.write(KEY, "one", {"value.json": b"1", "patch.yaml": b"old"})
    store.write(KEY, "one", {"value.json": b"2"})
    assert store.read(KEY, "one") == {"value.json": b"2"}


def test_forgetting_drops_one_partition_only(store: ArtifactStore):
    store.write(KEY, "one", {"a": b"1"})
    store.write(KEY, "two", {"a": b"2"})
    store.forget(KEY, "one")
    store.forget(KEY, "one")
    assert store.reference(KEY, "one") is None
    assert store.read(KEY, "two") == {"a": b"2"}


def test_reading_what_was_never_written_says_what_to_do(store: ArtifactStore):
    with pytest.raises(ArtifactError, match="research/candidate_spec of one: nothing is stored; materialise it first"):
        store.read(KEY, "one")


def test_an_unpartitioned_asset_has_a_reference_of_its_own(store: ArtifactStore):
    store.write(("research", "leaderboard"), None, {"rows": b"[]"})
    assert store.read(("research", "leaderboard"), None) == {"rows": b"[]"}


@pytest.mark.parametrize("partition", ["../up", "a/b", "", "A", ".hidden"])
def test_a_partition_never_leaves_its_folder(store: ArtifactStore, partition: str):
    with pytest.raises(ArtifactError, match="cannot be part"):
        store.write(KEY, partition, {"a": b"1"})


def test_a_reference_that_somebody_edited_is_an_error(store: ArtifactStore):
    store.write(KEY, "one", {"a": b"1"})
    (path,) = (store.root / "references").rglob("one.json")
    path.write_text("{}")
    with pytest.raises(ArtifactError, match="is no reference"):
        store.read(KEY, "one")


def test_nothing_half_written_remains_when_a_write_fails(store: ArtifactStore, monkeypatch: pytest.MonkeyPatch):
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        store.put(b"verdict")
    assert [path for path in store.root.rglob("*") if path.is_file()] == []


FRAME = """
import hashlib, polars as pl
from torghut_assets.artifacts import parquet_bytes
n = 300_000
frame = pl.DataFrame({"i": range(n), "x": [k * 0.1 for k in range(n)], "s": [f"S{k % 7}" for k in range(n)]})
frame = frame.with_columns(t=pl.from_epoch("i", time_unit="us").dt.replace_time_zone("UTC"))
parts = pl.concat([frame[:1000], frame[1000:]], rechunk=False) if CHUNKED else frame
print(hashlib.sha256(parquet_bytes(parts)).hexdigest())
"""


def test_parquet_is_the_same_for_every_number_of_threads_and_chunks():
    digests = set()
    for threads, chunked in ((1, False), (2, True), (8, True)):
        run = subprocess.run(
            [sys.executable, "-c", FRAME.replace("CHUNKED", str(chunked))],
            env={**os.environ, "POLARS_MAX_THREADS": str(threads), "PYTHONHASHSEED": str(threads)},
            capture_output=True,
            text=True,
            check=True,
        )
        digests.add(run.stdout.strip())
    assert len(digests) == 1


def test_parquet_comes_back_as_it_was():
    frame = pl.DataFrame({"ts": [1, 2], "x": [0.1, float("nan")], "s": ["a", None]}).with_columns(
        pl.from_epoch("ts", time_unit="us").dt.replace_time_zone("UTC")
    )
    assert read_parquet_bytes(parquet_bytes(frame)).equals(frame)
    assert read_parquet_bytes(parquet_bytes(frame)).schema == frame.schema
