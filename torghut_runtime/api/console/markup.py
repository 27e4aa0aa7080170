"""HTML whose every value is escaped: text becomes markup only through :func:`el`."""

import html
import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Final

from torghut_runtime.api.loose import mapping_of, sequence_of

_VOID: Final = ("br", "hr", "input", "link", "meta", "meter")
NOTHING: Final = "–"


class Markup(str):
    """Text that is markup already."""

    __slots__ = ()


def el(tag: str, *content: object, **attributes: object) -> Markup:
    """An element. Content that is no :class:`Markup` is escaped; ``None`` and ``False`` attributes are left out.

    ``class_`` and ``for_`` name attributes that Python does not allow, and ``aria_label`` is ``aria-label``.
    """
    given = "".join(
        f" {name.rstrip('_').replace('_', '-')}" + ("" if value is True else f'="{html.escape(str(value))}"')
        for name, value in attributes.items()
        if value is not None and value is not False
    )
    return Markup(f"<{tag}{given}>" if tag in _VOID else f"<{tag}{given}>{joined(content)}</{tag}>")


def joined(content: Iterable[object]) -> Markup:
    """Pieces one after the other, each escaped unless it is markup."""
    return Markup("".join(each if isinstance(each, Markup) else html.escape(str(each)) for each in content))


def badge(text: object, tone: str) -> Markup:
    """A state in text and in colour; tones are good, warn, bad, idle."""
    return el("span", text, class_=f"badge {tone}")


def number(value: object, *, money: bool = False) -> str:
    """A number with groups of thousands; what is none is shown as it is."""
    if value is None or value == "":
        return NOTHING
    try:
        exact = Decimal(str(value))
    except InvalidOperation:
        return str(value)
    if not exact.is_finite():
        return str(value)
    if money:
        return f"{exact:,.2f}"
    text = f"{exact.normalize():,f}"
    return "0" if text == "-0" else text


def signed(value: object) -> Markup:
    """An amount of money with a colour by its sign, which its text says, too."""
    text = number(value, money=True)
    if text == NOTHING:
        return joined([text])
    if text in ("0.00", "-0.00"):
        return joined(["0.00"])
    is_loss = text.startswith("-")
    return el("span", text if is_loss else f"+{text}", class_="loss" if is_loss else "gain")


def moment(value: object) -> Markup:
    """A time to the second, with the full one beside it."""
    if value is None or value == "":
        return joined([NOTHING])
    try:
        at = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
    except ValueError:
        return joined([value])
    exact = at.astimezone(UTC)
    shown = exact.strftime("%H:%M:%S") if exact.date() == datetime.now(UTC).date() else exact.strftime("%d %b %H:%M:%S")
    return el("time", shown, datetime=exact.isoformat(), title=exact.isoformat())


def age(seconds: float | None) -> str:
    """A duration in the unit that suits it."""
    if seconds is None:
        return NOTHING
    for limit, unit, by in ((120, "s", 1.0), (7_200, "min", 60.0), (172_800, "h", 3_600.0)):
        if seconds < limit:
            return f"{seconds / by:.1f} {unit}" if by == 1.0 and seconds < 10 else f"{seconds / by:.0f} {unit}"
    return f"{seconds / 86_400:.0f} days"


def table(heads: Sequence[str], rows: Iterable[Sequence[object]], empty: str, numeric: Sequence[int] = ()) -> Markup:
    """A table; the columns ``numeric`` are set right. Without rows it says so."""
    made = list(rows)
    if not made:
        return el("p", empty, class_="empty")
    kinds = ["num" if index in numeric else None for index in range(len(heads))]
    return el(
        "table",
        el(
            "thead",
            el("tr", *(el("th", head, scope="col", class_=kind) for head, kind in zip(heads, kinds, strict=True))),
        ),
        el(
            "tbody",
            *(
                el(
                    "tr",
                    *(el("td", *_cell(cell), class_=kind) for cell, kind in zip(row, kinds, strict=True)),
                )
                for row in made
            ),
        ),
    )


def facts(pairs: Iterable[tuple[str, object]]) -> Markup:
    """Names and values."""
    return el("dl", *(el("div", el("dt", name), el("dd", *_cell(value))) for name, value in pairs))


def _cell(value: object) -> list[object]:
    if value is None or value == "":
        return [NOTHING]
    named = mapping_of(value)
    if named is not None:
        return [", ".join(f"{name}: {each}" for name, each in named.items()) or NOTHING]
    many = sequence_of(value)
    if many is not None:
        return [", ".join(str(each) for each in many) or NOTHING]
    return [value]


def words(code: object) -> str:
    """A code as it reads: the code itself, with room to break behind its underscores."""
    return re.sub(r"_", "_\u200b", str(code))
