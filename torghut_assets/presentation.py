"""How results look in Dagster's pages: rule tables, column schemas, pictures, digests.

Only formatting; what the numbers mean is decided where they are made.
"""

import base64
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

import dagster as dg
import polars as pl

from torghut_assets.gates.engine import RuleRecord

PICTURE_LIMIT = 400_000
"""Bytes of a picture that may stand inside a Markdown entry; Dagster keeps metadata in its event log."""


def margin(record: RuleRecord) -> float | None:
    """Room between observed value and limit, negative when it is crossed; ``None`` where neither is a number."""
    observed, threshold = _number(record.observed), _number(record.threshold)
    if observed is None or threshold is None:
        return None
    if record.comparator in {"<=", "<"}:
        return threshold - observed
    if record.comparator in {">=", ">"}:
        return observed - threshold
    return None


def rule_table(records: Iterable[RuleRecord]) -> dg.MetadataValue:
    """Rules as Markdown: observed value, limit, margin, verdict and why."""
    lines = [
        "| rule | observed | must be | limit | margin | verdict | reason | note |",
        "|---|--:|:-:|--:|--:|---|---|---|",
    ]
    for record in records:
        room = margin(record)
        cells = [
            record.rule_id,
            _shown(record.observed, record.unit),
            record.comparator,
            _shown(record.threshold, ""),
            "" if room is None else _shown(room, ""),
            _verdict(record),
            f"`{record.reason_code}`" if record.reason_code else "",
            record.note,
        ]
        lines.append("| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |")
    return dg.MetadataValue.md("\n".join(lines))


def denials(records: Iterable[RuleRecord]) -> str:
    """What speaks against promotion, in one line: each rule that denies with its reason code."""
    return "; ".join(f"{record.rule_id}: {record.reason_code}" for record in records if record.denies)


def denial_metadata(records: Iterable[RuleRecord]) -> dict[str, dg.MetadataValue]:
    """The rules that deny, if any, under ``denied_by``: what was observed, and what it must be."""
    rows = [
        (
            record.rule_id,
            _shown(record.observed, record.unit),
            f"{record.comparator} {'' if record.threshold is None else _shown(record.threshold, '')}".strip(),
        )
        for record in records
        if record.denies
    ]
    return {"denied_by": table(("rule", "observed", "must be"), rows)} if rows else {}


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> dg.MetadataValue:
    """A table that stands open in Dagster's pages, where long Markdown hides behind a click."""
    records = [dg.TableRecord({name: _shown(cell, "") for name, cell in zip(header, row, strict=True)}) for row in rows]
    return dg.MetadataValue.table(records, schema=dg.TableSchema([dg.TableColumn(name) for name in header]))


def reasons_list(reasons: Sequence[str]) -> dg.MetadataValue:
    """Reason codes as a Markdown list."""
    return dg.MetadataValue.md("\n".join(f"* `{reason}`" for reason in reasons) or "none")


def picture(png: bytes, title: str) -> dg.MetadataValue:
    """A PNG that Dagster's page shows.

    Raises:
        ValueError: it is too large to be kept in an event.
    """
    if len(png) > PICTURE_LIMIT:
        raise ValueError(f"a picture in metadata has at most {PICTURE_LIMIT:,} bytes, was {len(png):,}")
    return dg.MetadataValue.md(f"![{title}](data:image/png;base64,{base64.b64encode(png).decode()})")


def frame_metadata(frame: pl.DataFrame) -> dict[str, Any]:
    """Row count and column schema under the names that Dagster's pages know."""
    columns = [dg.TableColumn(name, str(dtype)) for name, dtype in frame.schema.items()]
    return {
        "dagster/row_count": frame.height,
        "dagster/column_schema": dg.TableSchema(columns=columns),
    }


def numbers(values: Mapping[str, object]) -> dict[str, Any]:
    """Those of ``values`` that can be metadata of a chart: finite numbers."""
    return {name: number for name, value in values.items() if (number := _number(value)) is not None}


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    return number if abs(number) < float("inf") else None


def _verdict(record: RuleRecord) -> str:
    if record.status in {"fail", "missing"}:
        return f"**{record.status}**" if record.severity == "error" else f"{record.status} (warning)"
    return record.status.replace("_", " ")


def _shown(value: object, unit: str) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        text = f"{value:,.6g}"
    elif isinstance(value, list | tuple):
        text = ", ".join(str(item) for item in cast("Sequence[object]", value)) or "none"
    else:
        text = f"{value:,}" if isinstance(value, int) else str(value)
    return f"{text} {unit}".strip()
