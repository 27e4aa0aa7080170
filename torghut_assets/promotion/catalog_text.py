"""Merging strategy entries into the text of a ``strategies.yaml`` without touching what else stands in it.

The text is cut at the marks of the YAML parser, so that other strategies keep every byte, comments included. What the
text becomes is always read back and compared with what it should say. Manifests are ``promotion.configmap``'s business.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, cast

import yaml

from torghut_runtime.errors import InputError

Entry = Mapping[str, Any]
_Edit = tuple[int, int, str]
_ODD = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")
"""Characters that are line breaks to one reader and text to another, or that YAML does not print."""


def merge_entries(text: str, entries: Sequence[Entry], *, file: str | None = None) -> str:
    """Return ``text`` with each entry in the place of the strategy of the same id, or appended.

    Args:
        text: a list of strategies, or a mapping with ``strategies``; YAML or JSON.
        entries: plain mappings with at least ``name`` and ``strategy_id``.
        file: named in errors.

    Raises:
        InputError: the text is no catalog, an entry takes the name of another strategy, or the text cannot be edited
            without changing other strategies.
    """
    before = catalog_entries(text, file=file)
    after = _merged(before, entries, file)
    edited = _edited(text, before, entries, file)
    try:
        same = _loaded(edited, file) == after
    except InputError:
        same = False
    if not same:
        raise InputError(
            "cannot be merged into without changing other strategies; write it as a plain list without anchors",
            file=file,
            field="strategies.yaml",
        )
    return edited


def catalog_entries(text: str, *, file: str | None = None) -> list[dict[str, Any]]:
    """The strategies of a catalog text, as they are written there.

    Raises:
        InputError: not YAML, or no list of strategies.
    """
    return _loaded(text, file)


def entry_id(entry: Entry) -> object:
    """Identity of a strategy: its id, else its name."""
    return entry.get("strategy_id", entry.get("name"))


def _loaded(text: str, file: str | None) -> list[dict[str, Any]]:
    try:
        content: object = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InputError(f"is not YAML: {' '.join(str(error).split())}", file=file, field="strategies.yaml") from error
    strategies = cast("dict[str, object]", content).get("strategies") if isinstance(content, dict) else content
    if strategies is None:
        return []
    if not isinstance(strategies, list):
        raise InputError("must be a list of strategies, or hold one", file=file, field="strategies.yaml")
    items = cast("list[object]", strategies)
    for row, item in enumerate(items, start=1):
        if not isinstance(item, dict):
            raise InputError("a strategy must be a mapping", file=file, row=row, field="strategies.yaml")
    return cast("list[dict[str, Any]]", items)


def _merged(before: Sequence[Entry], entries: Sequence[Entry], file: str | None) -> list[Entry]:
    after = list(before)
    for entry in entries:
        ids = [entry_id(each) for each in after]
        if entry_id(entry) in ids:
            after[ids.index(entry_id(entry))] = entry
        else:
            after.append(entry)
    names = [each.get("name", entry_id(each)) for each in after]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"another strategy is already named {name!r}", file=file, field="name")
    return after


def _edited(text: str, before: Sequence[Entry], entries: Sequence[Entry], file: str | None) -> str:
    ids = [entry_id(each) for each in before]
    sequence, column = _sequence(text, file)
    replaced = {ids.index(entry_id(entry)): entry for entry in entries if entry_id(entry) in ids}
    added = [entry for entry in entries if entry_id(entry) not in ids]
    if sequence is None or not sequence.value:
        edits = [_first_entries(text, sequence, column, added)]
    elif sequence.flow_style:
        edits = _flow_edits(sequence, replaced, added)
    else:
        edits = _block_edits(text, sequence, replaced, added)
    for start, end, replacement in sorted(edits, reverse=True):
        text = f"{text[:start]}{replacement}{text[end:]}"
    return text


def _sequence(text: str, file: str | None) -> tuple[yaml.SequenceNode | None, int | None]:
    """The node of the list of strategies, and the column for dashes where the list is still empty.

    There is no column where everything stands in braces, as in JSON.
    """
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise InputError(f"is not YAML: {' '.join(str(error).split())}", file=file, field="strategies.yaml") from error
    if isinstance(root, yaml.MappingNode):
        for key, value in cast("list[tuple[yaml.Node, yaml.Node]]", root.value):
            if key.value == "strategies":
                empty = yaml.SequenceNode(value.tag, [], value.start_mark, value.end_mark, flow_style=True)
                column = None if root.flow_style else key.start_mark.column + 2
                return (value if isinstance(value, yaml.SequenceNode) else empty), column
    return (root if isinstance(root, yaml.SequenceNode) else None), 0


def _first_entries(text: str, sequence: yaml.SequenceNode | None, column: int | None, added: Sequence[Entry]) -> _Edit:
    if sequence is None:
        return len(text), len(text), f"{_break(text)}strategies:\n" + "".join(_block(entry, 2) for entry in added)
    if not added:
        return 0, 0, ""
    start, end = sequence.start_mark.index, sequence.end_mark.index
    if column is None:
        return start, end, f" [{', '.join(_flow(entry) for entry in added)}]"
    blocks = "".join(_block(entry, column) for entry in added)
    start = len(text[:start].rstrip(" "))
    return start, end, f"\n{blocks}".rstrip("\n") if column else blocks.rstrip("\n")


def _flow_edits(sequence: yaml.SequenceNode, replaced: Mapping[int, Entry], added: Sequence[Entry]) -> list[_Edit]:
    items = cast("list[yaml.Node]", sequence.value)
    edits = [
        (items[index].start_mark.index, items[index].end_mark.index, _flow(entry)) for index, entry in replaced.items()
    ]
    last = items[-1].end_mark.index
    edits += [(last, last, "".join(f", {_flow(entry)}" for entry in added))] if added else []
    return edits


def _block_edits(
    text: str, sequence: yaml.SequenceNode, replaced: Mapping[int, Entry], added: Sequence[Entry]
) -> list[_Edit]:
    items = cast("list[yaml.Node]", sequence.value)
    column = sequence.start_mark.column
    edits: list[_Edit] = []
    for index, entry in replaced.items():
        start, end = _dash_line(text, items[index], column), _content_end(text, items[index])
        edits.append((start, end, _block(entry, column)))
    if added:
        end = _content_end(text, items[-1])
        edits.append((end, end, _break(text[:end]) + "".join(_block(entry, column) for entry in added)))
    return edits


def _dash_line(text: str, item: yaml.Node, column: int) -> int:
    """Where the line begins whose dash opens ``item``."""
    dash = f"{' ' * column}-"
    return text.rfind(f"\n{dash}", 0, item.start_mark.index + 1) + 1


def _content_end(text: str, item: yaml.Node) -> int:
    """Where the line after the last content of ``item`` begins, so that comments below it stay."""
    node = item
    while not isinstance(node, yaml.ScalarNode) and not _is_flow(node) and node.value:
        last = node.value[-1]
        node = cast("yaml.Node", last[1] if isinstance(last, tuple) else last)
    end = node.end_mark.index
    if end and text[end - 1] == "\n":
        return end
    line_end = text.find("\n", end)
    return len(text) if line_end < 0 else line_end + 1


def _is_flow(node: yaml.Node) -> bool:
    return isinstance(node, yaml.CollectionNode) and bool(node.flow_style)


def _block(entry: Entry, column: int) -> str:
    plain = _ODD.search(json.dumps(entry, ensure_ascii=False)) is None
    dumped = yaml.safe_dump([dict(entry)], sort_keys=False, default_flow_style=False, allow_unicode=plain, width=10**6)
    return "".join(f"{' ' * column}{line}\n" if line else "\n" for line in dumped.removesuffix("\n").split("\n"))


def _flow(value: object) -> str:
    """A plain value on one line that JSON and YAML 1.1 read alike: floats with a point, odd characters escaped."""
    if isinstance(value, Mapping):
        pairs = cast("Mapping[str, object]", value).items()
        return f"{{{', '.join(f'{_flow(key)}: {_flow(item)}' for key, item in pairs)}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(_flow(item) for item in cast('Sequence[object]', value))}]"
    text = json.dumps(value, ensure_ascii=False)
    if isinstance(value, float):
        return text if "." in text else text.replace("e", ".0e")
    return _ODD.sub(lambda found: f"\\u{ord(found.group()):04x}", text)


def _break(text: str) -> str:
    return "\n" if text and not text.endswith("\n") else ""
