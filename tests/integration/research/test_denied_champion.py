"""A champion that is judged again and denied is told to the webhook once; nobody else's denial is."""

from typing import Any

import pytest
import sqlalchemy as sa
from promotion_world import World
from test_promotion_records import promote

from torghut_assets.promotion.announcing import announce
from torghut_runtime.api.webhook import Webhook


class Heard(Webhook):
    """Keeps what it would post."""

    def __init__(self) -> None:
        super().__init__("http://127.0.0.1:1/", "1")
        self.heard: list[dict[str, Any]] = []

    def _deliver(self, url: str, event: str, body: dict[str, object]) -> None:
        self.heard.append(body)


def decided(**changes: Any) -> Any:
    return World().decision.model_copy(update={"name": "momentum", "reasons": ("gate6_failed",), **changes})


@pytest.mark.parametrize(
    ("changes", "told"),
    [({"action": "deny"}, 1), ({"action": "hold"}, 0), ({"action": "deny", "name": "another"}, 0)],
)
def test_only_the_denial_of_a_champion_is_told(changes: dict[str, Any], told: int, connection: sa.Connection) -> None:
    promote(connection, 1)
    webhook = Heard()
    for _ in range(100):
        announce(connection, decided(**changes), ("momentum-v1", "momentum-v2"), webhook)
    assert [(each["event"], each["subject"], each["reasons"]) for each in webhook.heard] == [
        ("champion_denied", "momentum", ["gate6_failed"])
    ] * told


def test_without_a_champion_nothing_is_told(connection: sa.Connection) -> None:
    webhook = Heard()
    assert announce(connection, decided(action="deny"), ("momentum-v1",), webhook) is False
    assert webhook.heard == []
