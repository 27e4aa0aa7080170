"""What must not be seen in a log line or an answer: values of secret variables, credentials within URLs and headers.

The environment is read once. Where a text comes from does not matter: a driver's error message may quote the URL that
it was given, a traceback the value of a variable.
"""

import json
import os
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, cast
from urllib.parse import unquote, urlsplit

HIDDEN: Final = "***"
_SECRET_NAME: Final = re.compile(r"SECRET|PASSWORD|PASSWD|TOKEN|API_KEY|KEY_ID|WEBHOOK_URL|_AUTH_HEADER", re.IGNORECASE)
_NO_VALUE: Final = re.compile(r"_(ENABLED|AUTH|BUDGET_MAX|BUDGET_DAILY|MAX_TOKENS)$", re.IGNORECASE)
"""Names that say secret and hold a number or a switch."""
_URL_NAME: Final = re.compile(r"(DSN|URL)$", re.IGNORECASE)
_SHORTEST: Final = 6
_PUBLIC: Final = frozenset({"torghut", "simulator", "postgres"})
"""Documented values of the embedded server and the simulator: hiding them would hide our own name."""
_PATTERNS: Final = (
    (re.compile(r"(://[^\s:/@]*:)[^\s@]+(@)"), rf"\g<1>{HIDDEN}\g<2>"),
    (re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{6,}"), rf"\g<1> {HIDDEN}"),
    (
        re.compile(
            r"(?i)\b((?:apca-api-(?:secret-key|key-id)|password|secret_key|api_key)['\"]?\s*[:=]\s*)(['\"]?)[^\s'\",}]+"
        ),
        rf"\g<1>\g<2>{HIDDEN}",
    ),
)


def secrets_of(environment: Mapping[str, str]) -> frozenset[str]:
    """The values that an environment must not show, those within URLs included."""
    return frozenset(
        value for value in _candidates(environment) if len(value) >= _SHORTEST and value.lower() not in _PUBLIC
    )


def _candidates(environment: Mapping[str, str]) -> Iterator[str]:
    for name, value in environment.items():
        if _SECRET_NAME.search(name) and not _NO_VALUE.search(name):
            yield value
            yield value.strip()
            yield from _digests(value)
        if _URL_NAME.search(name):
            yield from _within_url(value)


def _within_url(value: str) -> Iterator[str]:
    try:
        parts = urlsplit(value.strip())
    except ValueError:
        return
    if parts.password:
        yield parts.password
        yield unquote(parts.password)
    if parts.query:
        yield parts.query


def _digests(value: str) -> Iterator[str]:
    """The digests of the operators' tokens; they are no tokens, and still nobody's business."""
    try:
        entries: Any = json.loads(value)
    except ValueError:
        return
    if isinstance(entries, list):
        for entry in cast("list[Any]", entries):
            if isinstance(entry, dict):
                yield str(cast("dict[str, Any]", entry).get("sha256", ""))


class Redactor:
    """Replaces what must not be seen."""

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        found = secrets_of(os.environ if environment is None else environment)
        longest_first = sorted(found, key=lambda text: (-len(text), text))
        self._values = re.compile("|".join(re.escape(text) for text in longest_first)) if longest_first else None

    def text(self, text: str) -> str:
        """The text without secrets."""
        if self._values is not None:
            text = self._values.sub(HIDDEN, text)
        for pattern, replacement in _PATTERNS:
            text = pattern.sub(replacement, text)
        return text

    def value(self, value: Any) -> Any:
        """The same for plain values, within lists and mappings too; what is no text stays."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {self.value(key): self.value(item) for key, item in cast("Mapping[Any, Any]", value).items()}
        if isinstance(value, list | tuple | set | frozenset):
            return [self.value(item) for item in cast("list[Any]", value)]
        if value is None or isinstance(value, bool | int | float):
            return value
        return self.text(str(value))
