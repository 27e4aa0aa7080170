"""Settings of a torghut process: every environment variable it reads, validated once, when it starts.

Here stands what a variable may say. What a research result depends on is no setting: that comes from files alone
(contract ``lane.md`` 2.4), so no variable changes a verdict.
"""

import os
import re
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from pydantic import AliasChoices, Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict
from sqlalchemy.exc import ArgumentError

from torghut_runtime.errors import InputError

DSN_VARIABLES: Final = ("DB_DSN", "DB_URL", "DATABASE_URL")
DRIVER: Final = "postgresql+psycopg"
EMBEDDED_PORT: Final = 15438
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

    model_config = SettingsConfigDict(frozen=True, extra="forbid", env_ignore_empty=True, case_sensitive=True)

    # database
    given_dsn: str | None = Field(default=None, validation_alias=AliasChoices(*DSN_VARIABLES), repr=False)
    """The database that the user named; torghut never starts or stops its server."""
    embedded_port: int = Field(default=EMBEDDED_PORT, ge=1, le=65535, validation_alias="TORGHUT_POSTGRES_PORT")
    """Where the embedded server listens on 127.0.0.1."""

    # files
    home: Path = Field(default=Path(".torghut"), validation_alias="TORGHUT_HOME")
    """Folder of what torghut keeps on this machine (embedded database, Dagster's files)."""

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
