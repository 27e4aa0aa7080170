"""JSON and YAML texts read strictly: no key twice, no NaN, decimals kept exactly. What they mean is the caller's."""

import json
from decimal import Decimal
from pathlib import Path
from typing import NoReturn, cast

import yaml

from torghut_runtime.errors import InputError


def parse_text(text: str, path: Path) -> object:
    """The content of a JSON or (any other suffix) YAML text.

    Raises:
        InputError: not JSON/YAML, a number that is none, or a key that stands twice.
    """
    return _parse_json(text, path) if path.suffix.lower() == ".json" else _parse_yaml(text, path)


def _parse_json(text: str, path: Path) -> object:
    def unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
        content = dict(pairs)
        for key in content:
            if sum(name == key for name, _ in pairs) > 1:
                raise InputError("key stands twice", file=path, field=key)
        return content

    def no_constant(name: str) -> NoReturn:
        raise InputError(f"holds {name}, which is no number", file=path)

    try:
        return json.loads(text, parse_float=Decimal, parse_constant=no_constant, object_pairs_hook=unique)
    except json.JSONDecodeError as error:
        raise InputError(f"is not JSON: {error.msg}, column {error.colno}", file=path, row=error.lineno) from error


def _parse_yaml(text: str, path: Path) -> object:
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        if root is not None:
            _refuse_duplicates(root, path)
        return cast("object", yaml.safe_load(text))
    except yaml.YAMLError as error:
        raise InputError(f"is not YAML: {' '.join(str(error).split())}", file=path) from error


def _refuse_duplicates(node: yaml.Node, path: Path) -> None:
    if isinstance(node, yaml.MappingNode):
        seen = set[str]()
        for key, value in cast("list[tuple[yaml.Node, yaml.Node]]", node.value):
            name = str(key.value)
            if name in seen:
                raise InputError("key stands twice", file=path, row=key.start_mark.line + 1, field=name)
            seen.add(name)
            _refuse_duplicates(value, path)
    elif isinstance(node, yaml.SequenceNode):
        for item in cast("list[yaml.Node]", node.value):
            _refuse_duplicates(item, path)
