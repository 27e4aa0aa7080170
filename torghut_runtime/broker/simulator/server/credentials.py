"""Who may talk to the simulator: one key pair, or any pair that is not empty."""

import hmac
from base64 import b64decode
from binascii import Error as BadBase64
from collections.abc import Mapping
from dataclasses import dataclass

from torghut_runtime.broker.simulator.refusals import Refusal


@dataclass(frozen=True)
class Credentials:
    """The key pair that is accepted; None accepts every pair that is not empty."""

    key: str | None = None
    secret: str | None = None

    def accept(self, key: object, secret: object) -> bool:
        """Whether a pair is the right one; compared in constant time."""
        if not isinstance(key, str) or not isinstance(secret, str) or not key or not secret:
            return False
        if self.key is None or self.secret is None:
            return True
        right_key = hmac.compare_digest(key.encode(), self.key.encode())
        right_secret = hmac.compare_digest(secret.encode(), self.secret.encode())
        return right_key and right_secret

    def check(self, headers: Mapping[str, str]) -> None:
        """Check the headers of a request.

        Raises:
            Refusal: 401 without keys, 403 with wrong ones.
        """
        key, secret = headers.get("apca-api-key-id"), headers.get("apca-api-secret-key")
        basic = headers.get("authorization", "")
        if key is None and basic.startswith("Basic "):
            try:
                key, _, secret = b64decode(basic[6:]).decode().partition(":")
            except (BadBase64, ValueError):
                key = secret = None
        if not key or not secret:
            raise Refusal(401, None, "unauthorized.")
        if not self.accept(key, secret):
            raise Refusal(403, None, "forbidden.")
