"""Settings of a torghut process: every environment variable it reads, validated once, when it starts.

Here stands what a variable may say. What a research result depends on is no setting: that comes from files alone
(contract ``lane.md`` 2.4), so no variable changes a verdict.
"""

import os
import re
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import sqlalchemy as sa
from pydantic import AliasChoices, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict
from sqlalchemy.exc import ArgumentError

from torghut_runtime.addresses import is_web_address
from torghut_runtime.errors import InputError
from torghut_runtime.operator_tokens import OperatorToken, entries_of
from torghut_runtime.trading_settings import TradingMode

DSN_VARIABLES: Final = ("DB_DSN", "DB_URL", "DATABASE_URL")
DRIVER: Final = "postgresql+psycopg"
EMBEDDED_PORT: Final = 15438
_SERVER: Final = re.compile(r"[A-Za-z0-9._\[\]:-]+:[0-9]{1,5}")
_TOPIC: Final = re.compile(r"[A-Za-z0-9._-]{1,249}")
_SCHEME: Final = re.compile(r"postgres(ql)?(\+psycopg2?)?")


def embedded_dsn(port: int, database: str = "torghut") -> str:
    """URL of a database of the embedded server, with its documented credentials; it listens on the loopback only."""
    return f"{DRIVER}://torghut:torghut@127.0.0.1:{port}/{database}"


def database_url(text: str) -> sa.URL:
    """``text`` as the URL of a PostgreSQL database, with psycopg 3 as its driver.

    Raises:
        ValueError: it is none; the message never holds the text, which may hold a password.
    """
    try:
        url = sa.make_url(text.strip())
        _ = url.port
    except (ArgumentError, ValueError):
        raise ValueError("is no URL of a PostgreSQL database: postgresql://USER:PASSWORD@HOST:PORT/DATABASE") from None
    if not _SCHEME.fullmatch(url.drivername):
        raise ValueError(f"must begin with postgresql://, was {url.drivername}://")
    if not url.database:
        raise ValueError("must name a database: postgresql://USER:PASSWORD@HOST:PORT/DATABASE")
    return url.set(drivername=DRIVER)


class Settings(BaseSettings):
    """What the environment says; the names of the variables stand beside the fields.

    A field is set by its variable's name only: by its own, ``home`` would be read from ``HOME``.
    """

    model_config = SettingsConfigDict(
        frozen=True, extra="ignore", env_ignore_empty=True, case_sensitive=True, env_file=".env"
    )

    # database
    given_dsn: str | None = Field(default=None, validation_alias=AliasChoices(*DSN_VARIABLES), repr=False)
    """The database that the user named; torghut never starts or stops its server."""
    embedded_port: int = Field(default=EMBEDDED_PORT, ge=1, le=65535, validation_alias="TORGHUT_POSTGRES_PORT")
    """Where the embedded server listens on 127.0.0.1."""

    # files
    home: Path = Field(default=Path(".torghut"), validation_alias="TORGHUT_HOME")
    """Folder of what torghut keeps on this machine (embedded database, Dagster's files)."""

    # account
    account_label: str = Field(
        default_factory=lambda: TradingMode().account_label,
        min_length=1,
        max_length=64,
        validation_alias="TRADING_ACCOUNT_LABEL",
    )
    """Whose orders a message is about when it does not say."""

    # order feed
    order_feed_enabled: bool = Field(default=False, validation_alias="TRADING_ORDER_FEED_ENABLED")
    order_feed_bootstrap_servers: str | None = Field(
        default=None, validation_alias="TRADING_ORDER_FEED_BOOTSTRAP_SERVERS"
    )
    order_feed_topic: str = Field(default="torghut.trade-updates.v1", validation_alias="TRADING_ORDER_FEED_TOPIC")
    """Topics, separated by commas; the first is the one that is written."""
    order_feed_group_id: str = Field(
        default="torghut-order-feed-v1", min_length=1, validation_alias="TRADING_ORDER_FEED_GROUP_ID"
    )
    order_feed_client_id: str = Field(
        default="torghut-order-feed", min_length=1, max_length=64, validation_alias="TRADING_ORDER_FEED_CLIENT_ID"
    )
    order_feed_auto_offset_reset: Literal["latest", "earliest"] = Field(
        default="latest", validation_alias="TRADING_ORDER_FEED_AUTO_OFFSET_RESET"
    )
    order_feed_poll_ms: int = Field(default=250, ge=1, le=60_000, validation_alias="TRADING_ORDER_FEED_POLL_MS")
    order_feed_batch_size: int = Field(default=200, ge=1, le=10_000, validation_alias="TRADING_ORDER_FEED_BATCH_SIZE")
    order_feed_driver: Literal["sensor", "runtime"] = Field(
        default="sensor", validation_alias="TRADING_ORDER_FEED_DRIVER"
    )
    order_feed_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        default="PLAINTEXT", validation_alias="TRADING_ORDER_FEED_SECURITY_PROTOCOL"
    )
    order_feed_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = Field(
        default=None, validation_alias="TRADING_ORDER_FEED_SASL_MECHANISM"
    )
    order_feed_sasl_username: str | None = Field(default=None, validation_alias="TRADING_ORDER_FEED_SASL_USERNAME")
    order_feed_sasl_password: SecretStr | None = Field(
        default=None, validation_alias="TRADING_ORDER_FEED_SASL_PASSWORD", repr=False
    )
    order_feed_ssl_ca_location: Path | None = Field(default=None, validation_alias="TRADING_ORDER_FEED_SSL_CA_LOCATION")

    # forwarder
    forwarder_outbox_dir: Path = Field(default=Path("var/outbox"), validation_alias="TRADING_FORWARDER_OUTBOX_DIR")
    """A disk that survives a restart."""
    forwarder_outbox_max_bytes: int = Field(
        default=268_435_456, ge=1 << 20, validation_alias="TRADING_FORWARDER_OUTBOX_MAX_BYTES"
    )

    # what is reported
    webhook_url: str | None = Field(default=None, validation_alias="TORGHUT_WEBHOOK_URL", repr=False)
    """Where alerts are posted; it may hold a token."""
    version: str = Field(default="dev", validation_alias="TORGHUT_VERSION")
    commit: str = Field(default="unknown", validation_alias="TORGHUT_COMMIT")

    # who may ask
    app_env: Literal["dev", "stage", "prod"] = Field(default="dev", validation_alias="APP_ENV")
    """In stage and prod no service starts without an operator who could stop it."""
    operator_tokens: Annotated[tuple[OperatorToken, ...], NoDecode] = Field(
        default=(), validation_alias="TORGHUT_OPERATOR_TOKENS"
    )
    http_read_auth: bool = Field(default=False, validation_alias="TORGHUT_HTTP_READ_AUTH")
    """Whether reading over HTTP needs a token, too."""

    @field_validator("operator_tokens", mode="before")
    @classmethod
    def _tokens(cls, given: object) -> object:
        return entries_of(given) if isinstance(given, str) else given

    @field_validator("webhook_url")
    @classmethod
    def _web_address(cls, text: str | None) -> str | None:
        if text is not None and not is_web_address(text):
            raise ValueError("must be an http or https address")
        return text

    @field_validator("order_feed_bootstrap_servers")
    @classmethod
    def _servers(cls, text: str | None) -> str | None:
        if text is None:
            return None
        servers = [server.strip() for server in text.split(",")]
        if not all(_SERVER.fullmatch(server) for server in servers):
            raise ValueError("must be host:port, several separated by commas")
        return ",".join(servers)

    @field_validator("order_feed_topic")
    @classmethod
    def _topics(cls, text: str) -> str:
        topics = [topic.strip() for topic in text.split(",")]
        if not all(_TOPIC.fullmatch(topic) for topic in topics) or len(set(topics)) != len(topics):
            raise ValueError("must be names of topics (letters, digits, dots, _ and -), each once, separated by commas")
        return ",".join(topics)

    @field_validator("order_feed_ssl_ca_location")
    @classmethod
    def _existing_file(cls, path: Path | None) -> Path | None:
        if path is not None and not path.is_file():
            raise ValueError(f"is no file: {path}")
        return path

    @model_validator(mode="after")
    def _sasl_is_complete(self) -> "Settings":
        if self.order_feed_security_protocol.startswith("SASL"):
            for name in ("mechanism", "username", "password"):
                if getattr(self, f"order_feed_sasl_{name}") is None:
                    raise ValueError(
                        f"TRADING_ORDER_FEED_SASL_{name.upper()} is required with "
                        f"TRADING_ORDER_FEED_SECURITY_PROTOCOL={self.order_feed_security_protocol}"
                    )
        return self

    @property
    def order_feed_topics(self) -> tuple[str, ...]:
        """The topics that are read."""
        return tuple(self.order_feed_topic.split(","))

    @field_validator("given_dsn")
    @classmethod
    def _with_driver(cls, text: str | None) -> str | None:
        return None if text is None else database_url(text).render_as_string(hide_password=False)

    @field_validator("home")
    @classmethod
    def _absolute(cls, path: Path) -> Path:
        return path.expanduser().absolute()

    @property
    def db_dsn(self) -> str:
        """URL of the database ``torghut``: the given one, else that of the embedded server."""
        return self.given_dsn or embedded_dsn(self.embedded_port)


def require_operators(settings: Settings) -> None:
    """What serving over HTTP needs beside valid settings; other commands go without operators.

    Raises:
        InputError: nobody could stop a service of stage or prod, or read from one that asks for tokens.
    """
    if settings.app_env != "dev" and not any(each.role == "operator" for each in settings.operator_tokens):
        raise InputError(f"must name an operator with APP_ENV={settings.app_env}", field="TORGHUT_OPERATOR_TOKENS")
    if settings.http_read_auth and not settings.operator_tokens:
        raise InputError("is required with TORGHUT_HTTP_READ_AUTH=true", field="TORGHUT_OPERATOR_TOKENS")


def load_settings() -> Settings:
    """Read the environment.

    Raises:
        InputError: a variable cannot be used; names it, and never shows its value where that may hold a secret.
    """
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        raise InputError(first["msg"].removeprefix("Value error, "), field=_variable(first["loc"])) from None


def _variable(location: tuple[Any, ...]) -> str:
    name = str(location[0]) if location else "environment"
    if name not in ("given_dsn", *DSN_VARIABLES):
        return name
    return next((variable for variable in DSN_VARIABLES if os.environ.get(variable)), DSN_VARIABLES[0])
