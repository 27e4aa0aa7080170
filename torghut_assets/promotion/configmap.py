"""The strategy ConfigMap patch: rendered, applied and shown, all on texts.

``strategies.yaml`` is one string inside a ConfigMap, so a patch carries the whole merged text. Everything here is a
pure function; files are ``promotion.configmap_file``'s business, and whether a patch may exist is the decision's.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import yaml

from torghut_assets.gates.rule import Target
from torghut_assets.promotion.catalog_text import Entry, catalog_entries, entry_id, merge_entries
from torghut_runtime.canonical import digest, sha256_hex
from torghut_runtime.errors import InputError, TorghutError
from torghut_runtime.strategies.catalog import CONFIGMAP_KEY, StrategyEntry, load_catalog

PREFIX = "torghut.proompteng.ai/"
CANDIDATE_ID, RUN_ID, MODE = f"{PREFIX}candidate-id", f"{PREFIX}run-id", f"{PREFIX}recommended-mode"
SOURCE_SHA256, ENTRY_SHA256 = f"{PREFIX}source-sha256", f"{PREFIX}entry-sha256"
ANNOTATIONS = (CANDIDATE_ID, RUN_ID, MODE, SOURCE_SHA256, ENTRY_SHA256)
ENTRY_KEYS = (
    "name",
    "strategy_id",
    "strategy_type",
    "version",
    "description",
    "enabled",
    "base_timeframe",
    "priority",
    "universe_type",
    "universe_symbols",
    "params",
    "max_notional_per_trade",
    "max_position_pct_equity",
)


class PatchRefusedError(TorghutError):
    """A patch does not fit the ConfigMap it is applied to; ``reason_code`` says why."""

    def __init__(self, reason_code: str, message: str) -> None:
        self.reason_code = reason_code
        super().__init__(f"{reason_code}: {message}")


@dataclass(frozen=True)
class PatchSummary:
    """What a patch says: its annotations, the ConfigMap it is for, and its strategies by id, in order.

    ``added`` and ``replaced`` name the strategies that differ from a source, empty when none was given.
    """

    configmap: str
    annotations: Mapping[str, str]
    strategies: tuple[str, ...]
    added: tuple[str, ...]
    replaced: tuple[str, ...]


def patch_entry(entry: StrategyEntry, *, cap_multiplier: float = 1.0) -> dict[str, Any]:
    """A strategy entry as the ConfigMap carries it: the values that were evaluated.

    With a multiplier below 1 (gate 7: degrade) both caps shrink; where neither is set, the position is capped at that
    share of equity, because an unset cap means all of it. Keys without a value are left out.
    """
    content = entry.model_dump(mode="json")
    if cap_multiplier != 1.0:
        caps = {
            key: content[key]
            for key in ("max_notional_per_trade", "max_position_pct_equity")
            if content[key] is not None
        }
        content.update(
            {key: value * cap_multiplier for key, value in (caps or {"max_position_pct_equity": 1.0}).items()}
        )
    return {key: content[key] for key in ENTRY_KEYS if content[key] is not None}


def entries_digest(entries: Sequence[Entry]) -> str:
    """sha256 of the canonical strategy entries, the subject of their provenance."""
    return digest([dict(entry) for entry in entries])


def source_digest(text: str) -> str:
    """sha256 of a ConfigMap's text, by which a patch knows its base."""
    return sha256_hex(text.encode())


def render_patch(
    source_text: str,
    entries: Sequence[StrategyEntry],
    *,
    candidate_id: str,
    run_id: str,
    mode: Target,
    cap_multiplier: float = 1.0,
) -> str:
    """Render the patch that brings ``entries`` into the ConfigMap of ``source_text``.

    Args:
        source_text: the ConfigMap manifest that the patch is made against.
        entries: the strategies of the candidate, with the parameters that were evaluated.
        candidate_id: goes into the annotations.
        run_id: goes into the annotations.
        mode: the promotion that was decided.
        cap_multiplier: see :func:`patch_entry`.

    Returns:
        A manifest that ``kubectl patch --patch-file`` and kustomize accept.

    Raises:
        InputError: the source is no strategy ConfigMap, or an entry cannot be merged into it.
    """
    source = _manifest(source_text)
    plain = [patch_entry(entry, cap_multiplier=cap_multiplier) for entry in entries]
    merged = merge_entries(_strategies(source), plain)
    load_catalog(merged)
    annotations = {
        CANDIDATE_ID: candidate_id,
        RUN_ID: run_id,
        MODE: mode,
        SOURCE_SHA256: source_digest(source_text),
        ENTRY_SHA256: entries_digest(plain),
    }
    metadata = cast("dict[str, Any]", source["metadata"])
    lines = ["apiVersion: v1", "kind: ConfigMap", "metadata:", f"  name: {_quoted(metadata['name'])}"]
    if "namespace" in metadata:
        lines.append(f"  namespace: {_quoted(metadata['namespace'])}")
    lines += ["  annotations:", *(f"    {key}: {_quoted(value)}" for key, value in sorted(annotations.items()))]
    lines += ["data:", f"  {CONFIGMAP_KEY}: {_scalar(merged, indent=4)}"]
    return "\n".join(lines).rstrip("\n") + "\n" * max(1, len(merged) - len(merged.rstrip("\n")))


def apply_patch(source_text: str, patch_text: str) -> str:
    """Return the ConfigMap with the patch in it; comments and other keys of the source stay.

    Raises:
        PatchRefusedError: ``patch_base_changed`` when the patch was rendered from another text,
            ``patch_for_other_configmap`` when it names another ConfigMap.
        InputError: one of the texts is no strategy ConfigMap, or the patch lacks an annotation.
    """
    source, patch = _manifest(source_text), _manifest(patch_text)
    annotations = _annotations(patch)
    mine, other = _full_name(source), _full_name(patch)
    if mine != other:
        raise PatchRefusedError("patch_for_other_configmap", f"the patch is for {other}, the ConfigMap is {mine}")
    if annotations[SOURCE_SHA256] != source_digest(source_text):
        raise PatchRefusedError(
            "patch_base_changed", "the ConfigMap is not the one that the patch was rendered from; render it again"
        )
    expected = _with(source, annotations, _strategies(patch))
    spliced = _spliced(source_text, annotations, _strategies(patch))
    if spliced is not None and yaml.safe_load(spliced) == expected:
        return spliced
    return yaml.safe_dump(expected, sort_keys=False, allow_unicode=True, width=10**6)


def show_patch(patch_text: str, source_text: str | None = None) -> PatchSummary:
    """Summarise a patch, against its source when that is given.

    Raises:
        InputError: no patch of ours.
    """
    patch = _manifest(patch_text)
    after = catalog_entries(_strategies(patch))
    before = (
        {}
        if source_text is None
        else {entry_id(each): each for each in catalog_entries(_strategies(_manifest(source_text)))}
    )
    known = source_text is not None
    return PatchSummary(
        configmap=_full_name(patch),
        annotations=_annotations(patch),
        strategies=tuple(str(entry_id(entry)) for entry in after),
        added=tuple(str(entry_id(entry)) for entry in after if known and entry_id(entry) not in before),
        replaced=tuple(
            str(entry_id(entry)) for entry in after if entry_id(entry) in before and before[entry_id(entry)] != entry
        ),
    )


def _manifest(text: str) -> dict[str, Any]:
    try:
        content: object = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InputError(f"is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict) or cast("dict[str, Any]", content).get("kind") != "ConfigMap":
        raise InputError("must be a ConfigMap manifest", field="kind")
    manifest = cast("dict[str, Any]", content)
    metadata = manifest.get("metadata")
    if not isinstance(metadata, dict) or not isinstance(cast("dict[str, Any]", metadata).get("name"), str):
        raise InputError("must be a text", field="metadata.name")
    data = manifest.get("data")
    if not isinstance(data, dict) or not isinstance(cast("dict[str, Any]", data).get(CONFIGMAP_KEY), str):
        raise InputError("must be a text", field=f'data."{CONFIGMAP_KEY}"')
    return manifest


def _strategies(manifest: Mapping[str, Any]) -> str:
    return cast("str", manifest["data"][CONFIGMAP_KEY])


def _full_name(manifest: Mapping[str, Any]) -> str:
    metadata = manifest["metadata"]
    return f"{metadata.get('namespace', 'default')}/{metadata['name']}"


def _annotations(patch: Mapping[str, Any]) -> dict[str, str]:
    found = cast("Mapping[str, object]", patch["metadata"].get("annotations") or {})
    for key in ANNOTATIONS:
        if not isinstance(found.get(key), str):
            raise InputError("is missing; the file is no promotion patch", field=f"metadata.annotations.{key}")
    return {key: cast("str", found[key]) for key in ANNOTATIONS}


def _with(source: Mapping[str, Any], annotations: Mapping[str, str], strategies: str) -> dict[str, Any]:
    metadata = dict(source["metadata"])
    metadata["annotations"] = {**(metadata.get("annotations") or {}), **annotations}
    return {**source, "metadata": metadata, "data": {**source["data"], CONFIGMAP_KEY: strategies}}


def _spliced(source_text: str, annotations: Mapping[str, str], strategies: str) -> str | None:
    """The source with annotations and strategies put in place, ``None`` where its layout does not allow it."""
    root = _children(yaml.compose(source_text, Loader=yaml.SafeLoader))
    metadata, data = _children(root["metadata"][1]), _children(root["data"][1])
    key, value = data[CONFIGMAP_KEY]
    start, end = value.start_mark.index, value.end_mark.index
    body = _scalar(strategies, indent=key.start_mark.column + 2)
    tail = "" if source_text[start:end].endswith("\n") else "\n"
    replacement = f"{body.rstrip(chr(10))}{chr(10)}" if not tail else body.rstrip("\n")
    edits = [(start, end, replacement)]
    if isinstance(root["metadata"][1], yaml.CollectionNode) and root["metadata"][1].flow_style:
        return None
    if "annotations" in metadata:
        existing = _children(metadata["annotations"][1])
        if not existing or cast("yaml.MappingNode", metadata["annotations"][1]).flow_style:
            return None
        for name in (name for name in annotations if name in existing):
            old = existing[name][1]
            edits.append((old.start_mark.index, old.end_mark.index, _quoted(annotations[name])))
        first = next(iter(existing.values()))[0].start_mark
        new = sorted(name for name in annotations if name not in existing)
        lines = "".join(f"{name}: {_quoted(annotations[name])}\n{' ' * first.column}" for name in new)
        edits.append((first.index, first.index, lines))
    else:
        first = next(iter(metadata.values()))[0].start_mark
        inner = "".join(
            f"{' ' * (first.column + 2)}{name}: {_quoted(annotations[name])}\n" for name in sorted(annotations)
        )
        edits.append((first.index, first.index, f"annotations:\n{inner}{' ' * first.column}"))
    for begin, finish, text in sorted(edits, reverse=True):
        source_text = f"{source_text[:begin]}{text}{source_text[finish:]}"
    return source_text


def _children(node: yaml.Node | None) -> dict[str, tuple[yaml.Node, yaml.Node]]:
    pairs = cast("list[tuple[yaml.Node, yaml.Node]]", node.value) if isinstance(node, yaml.MappingNode) else []
    return {cast("str", key.value): (key, value) for key, value in pairs}


def _quoted(value: object) -> str:
    return json.dumps(str(value), ensure_ascii=False)


def _scalar(text: str, *, indent: int) -> str:
    """``text`` as a literal block, or quoted where a block could not hold it."""
    chomping = "+" if text.endswith("\n\n") else "" if text.endswith("\n") else "-"
    indicator = "2" if text[:1] in {" ", "\n"} else ""
    body = "".join(f"{' ' * indent}{line}\n" if line else "\n" for line in text.removesuffix("\n").split("\n"))
    block = f"|{indicator}{chomping}\n{body}"
    probe = f"{' ' * (indent - 2)}key: {block}"
    try:
        same = yaml.safe_load(probe) == {"key": text}
    except yaml.YAMLError:
        same = False
    return block if same else yaml.safe_dump(text, default_style='"', width=10**9)
