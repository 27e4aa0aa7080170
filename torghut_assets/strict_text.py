"""JSON and YAML texts read strictly: no key twice, no NaN, decimals kept exactly, ``yes`` and ``off`` are no booleans.

What the texts mean is the caller's business.
"""

import json
import re
from decimal import Decimal
from pathlib import Path
from typing import Any, NoReturn, cast

import yaml

from torghut_runtime.errors import InputError


class _PlainBooleans(yaml.SafeLoader):
    """YAML in which only ``true`` and ``false`` are booleans, as in JSON."""


_PlainBooleans.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:bool"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
for _first in "tf":
    _PlainBooleans.yaml_implicit_resolvers[_first].append(("tag:yaml.org,2002:bool", re.compile(r"^(?:true|false)$")))


def read_mapping(path: Path) -> dict[str, Any]:
    """The mapping that a JSON or YAML file holds; an empty file holds an empty one.

    Raises:
        InputError: unreadable, not strict JSON/YAML, or no mapping with text keys.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot be read: {error}", file=path) from error
    content = parse_text(text, path, decimals=False)
    if content is None:
        return {}
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in cast("dict[object, object]", content)):
        raise InputError("must hold a mapping with text keys", file=path)
    return cast("dict[str, Any]", content)


def parse_text(text: str, path: Path, *, decimals: bool = True) -> object:
    """The content of a JSON or (any other suffix) YAML text.

    Args:
        text: what the file holds.
        path: of the file, for its suffix and for messages.
        decimals: whether fractions in JSON become decimals instead of floats.

    Raises:
        InputError: not JSON/YAML, a number that is none, or a key that stands twice.
    """
    return _parse_json(text, path, decimals) if path.suffix.lower() == ".json" else _parse_yaml(text, path)


def _parse_json(text: str, path: Path, decimals: bool) -> object:
    def unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
        content = dict[str, object]()
        for key, value in pairs:
            if key in content:
                raise InputError("key stands twice", file=path, field=key)
            content[key] = value
        return content

    def no_constant(name: str) -> NoReturn:
        raise InputError(f"holds {name}, which is no number", file=path)

    try:
        return json.loads(
            text, parse_float=Decimal if decimals else float, parse_constant=no_constant, object_pairs_hook=unique
        )
    except json.JSONDecodeError as error:
        raise InputError(f"is not JSON: {error.msg}, column {error.colno}", file=path, row=error.lineno) from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"is not JSON that can be read: {error}", file=path) from error


def _parse_yaml(text: str, path: Path) -> object:
    try:
        root = yaml.compose(text, Loader=_PlainBooleans)
        if root is not None:
            _refuse_duplicates(root, path, set())
        return cast("object", yaml.load(text, Loader=_PlainBooleans))  # noqa: S506 - a subclass of the safe loader
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InputError(f"is not YAML: {' '.join(str(error).split())}", file=path) from error


def _refuse_duplicates(node: yaml.Node, path: Path, visited: set[int]) -> None:
    if id(node) in visited:
        return
    visited.add(id(node))
    if isinstance(node, yaml.MappingNode):
        seen = set[str]()
        for key, value in cast("list[tuple[yaml.Node, yaml.Node]]", node.value):
            name = str(key.value)
            if name in seen:
                raise InputError("key stands twice", file=path, row=key.start_mark.line + 1, field=name)
            seen.add(name)
            _refuse_duplicates(value, path, visited)
    elif isinstance(node, yaml.SequenceNode):
        for item in cast("list[yaml.Node]", node.value):
            _refuse_duplicates(item, path, visited)
