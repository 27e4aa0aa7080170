"""Query parameters as Alpaca reads them; a bad one is refused in its own words."""

from collections.abc import Mapping
from datetime import date

from torghut_runtime.broker.simulator.instants import parse_moment
from torghut_runtime.broker.simulator.refusals import invalid


class Query:
    """The parameters of one request."""

    def __init__(self, parameters: Mapping[str, str]) -> None:
        self._parameters = parameters

    def text(self, name: str) -> str | None:
        """The text, None when absent or empty."""
        return self._parameters.get(name) or None

    def choice(self, name: str, known: tuple[str, ...], default: str) -> str:
        """One of a closed set. Raises ``Refusal``."""
        value = self.text(name) or default
        if value not in known:
            raise invalid(f"invalid {name}")
        return value

    def number(self, name: str, default: int, *, least: int, most: int) -> int:
        """A whole number. Raises ``Refusal``."""
        value = self.text(name)
        if value is None:
            return default
        if not value.isdigit() or not least <= int(value) <= most:
            raise invalid(f"{name} must be between {least} and {most}")
        return int(value)

    def flag(self, name: str) -> bool:
        """``true`` in any spelling."""
        return (self.text(name) or "").lower() == "true"

    def moment(self, name: str) -> int | None:
        """Nanoseconds of an RFC 3339 time or a date. Raises ``Refusal``."""
        value = self.text(name)
        if value is None:
            return None
        try:
            return parse_moment(value)
        except ValueError:
            raise invalid(f"invalid {name}: {value}") from None

    def day(self, name: str, default: date) -> date:
        """A date. Raises ``Refusal``."""
        value = self.text(name)
        try:
            return default if value is None else date.fromisoformat(value[:10])
        except ValueError:
            raise invalid(f"invalid {name}: {value}") from None

    def symbols(self, name: str = "symbols") -> list[str]:
        """A comma-separated list, upper case, without repetitions, in order."""
        listed = [part.strip().upper() for part in (self.text(name) or "").split(",")]
        return list(dict.fromkeys(part for part in listed if part))
