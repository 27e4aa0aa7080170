"""The page around the sections. It is complete without JavaScript; with it sections are replaced as they change."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

from torghut_runtime.api.console.markup import Markup, badge, el, joined, moment
from torghut_runtime.settings import Settings

POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_WIDE: Final = ("positions", "orders", "decisions", "limits")
_TITLES: Final = {
    "state": "Trading state",
    "account": "Account",
    "positions": "Positions",
    "orders": "Orders",
    "decisions": "Decisions",
    "limits": "Limits",
    "data": "Market data",
    "parts": "Components",
    "feed": "Order feed",
    "strategies": "Strategies",
}
_STOPS: Final = (
    ("halt", "Halt", "Nothing is sent any more; every open order is cancelled."),
    ("reduce", "Reduce", "No entries; open entries are cancelled, exits stay."),
    ("cancel-all", "Cancel all", "Every open order is cancelled; the state stays."),
    ("flatten", "Flatten", "Cancels, then closes every position. Asks for confirmation."),
)


def page(settings: Settings, made: Mapping[str, Markup] | None, head: Mapping[str, object]) -> bytes:
    """The whole document; ``made`` is ``None`` where a token is needed to see anything."""
    label = settings.account_label
    title = f"{label}: torghut console"
    body = joined(
        [
            el("a", "Skip to the trading state", href="#state", class_="skip"),
            el(
                "header",
                el("h1", "torghut ", el("span", label, class_="account")),
                el("div", *_heads(head), id="live-head", class_="badges"),
                el("p", _connection(), id="connection", role="status"),
            ),
            el(
                "main",
                _locked() if made is None else "",
                el("div", _column(("state",), made), _stops(), class_="first"),
                _column(("account", "positions", "orders", "decisions"), made),
                el(
                    "div",
                    _column(("limits", "strategies"), made),
                    _column(("data", "parts", "feed"), made),
                    class_="two",
                ),
            ),
            el(
                "footer",
                f"version {settings.version}, commit {settings.commit}. ",
                el("a", "API", href="docs"),
                " ",
                el("a", "Metrics", href="metrics"),
            ),
        ]
    )
    document = el(
        "html",
        el(
            "head",
            el("meta", charset="utf-8"),
            el("meta", name="viewport", content="width=device-width, initial-scale=1"),
            el("meta", name="color-scheme", content="light dark"),
            el("title", title),
            el("link", rel="icon", href="console/icon.svg", type="image/svg+xml"),
            el("link", rel="stylesheet", href="console/console.css"),
            el("noscript", el("meta", http_equiv="refresh", content="5")),
            el("script", src="console/console.js", defer=True),
        ),
        el("body", body, data_locked="true" if made is None else None),
        lang="en",
    )
    return f"<!doctype html>\n{document}\n".encode()


def heads(head: Mapping[str, object]) -> Markup:
    """What stands beside the account's name."""
    return joined(_heads(head))


def _heads(head: Mapping[str, object]) -> list[object]:
    if not head:
        return []
    mode = str(head["mode"])
    return [
        badge(f"{mode} mode", "bad" if mode == "live" else "idle"),
        badge(head["adapter"], "idle"),
        badge(head["role"], "good" if head["role"] == "leader" else "idle"),
        badge("engine runs", "good") if head["running"] else badge("engine does not run", "bad"),
    ]


def _connection() -> Markup:
    return joined(["As of ", moment(datetime.now(UTC)), el("noscript", ", shown again every 5 s")])


def _column(names: tuple[str, ...], made: Mapping[str, Markup] | None) -> Markup:
    return el("div", *(_section(name, Markup("") if made is None else made[name]) for name in names), class_="column")


def _section(name: str, content: Markup) -> Markup:
    inner = el("div", content, id=f"live-{name}")
    if name in _WIDE:  # wide tables scroll by themselves, also by keyboard
        inner = el("div", inner, class_="scroll", tabindex=0, role="region", aria_labelledby=f"{name}-title")
    return el("section", el("h2", _TITLES[name], id=f"{name}-title"), inner, id=name, aria_labelledby=f"{name}-title")


def _locked() -> Markup:
    return el(
        "form",
        el("label", "This service shows nothing without a token.", for_="reader-token"),
        el("input", id="reader-token", type="password", autocomplete="off", required=True),
        el("button", "Show", type="submit"),
        el("p", "", id="reader-answer", role="alert"),
        id="unlock",
        class_="panel",
    )


def _stops() -> Markup:
    return el(
        "section",
        el("h2", "Stop", id="stop-title"),
        el(
            "noscript",
            el("p", "The buttons need JavaScript. Without it: ", el("code", "POST /trading/halt"), " with a token."),
        ),
        el(
            "form",
            el("label", "Token", for_="token"),
            el("input", id="token", type="password", autocomplete="off", spellcheck="false"),
            el("label", "Reason", for_="reason"),
            el("input", id="reason", type="text", maxlength=500, autocomplete="off"),
            el(
                "div",
                *(
                    el("button", name, type="button", data_action=action, title=text, class_=action, disabled=True)
                    for action, name, text in _STOPS
                ),
                class_="buttons",
            ),
            el("p", "The token stays in this page's memory and is gone with it.", class_="faint"),
            el("p", "", id="answer", role="alert"),
            id="stops",
        ),
        el(
            "dialog",
            el("h2", "Flatten every position?", id="confirm-title"),
            el("p", "Open orders are cancelled, then every position is closed at the market."),
            el(
                "div",
                el("button", "Keep positions", type="button", id="keep"),
                el("button", "Close all positions", type="button", id="close-all", class_="halt"),
                class_="buttons",
            ),
            id="confirm",
            aria_labelledby="confirm-title",
        ),
        id="stop",
        aria_labelledby="stop-title",
    )
