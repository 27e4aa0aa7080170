"""The environment is read once: defaults, other names, and what is said about a value that cannot be used."""

from pathlib import Path

import pytest

from torghut_runtime.errors import InputError
from torghut_runtime.settings import DSN_VARIABLES, Settings, embedded_dsn, load_settings

VARIABLES = (*DSN_VARIABLES, "TORGHUT_HOME", "TORGHUT_POSTGRES_PORT")
DEFAULT = "postgresql+psycopg://torghut:torghut@127.0.0.1:15438/torghut"


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


def test_without_variables_the_embedded_database_of_the_working_directory_is_meant(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = load_settings()
    assert (settings.db_dsn, settings.given_dsn, settings.home) == (DEFAULT, None, tmp_path / ".torghut")
    assert embedded_dsn(15438) == DEFAULT


def test_an_empty_variable_is_as_good_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DB_DSN", "")
    assert load_settings().given_dsn is None


@pytest.mark.parametrize("variable", DSN_VARIABLES)
@pytest.mark.parametrize(
    "scheme", ["postgres", "postgresql", "postgresql+psycopg", "postgresql+psycopg2", "postgres+psycopg"]
)
def test_every_postgresql_url_is_taken_and_gets_our_driver(
    variable: str, scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, f"{scheme}://anna:s%40cret@db.example:5432/torghut?sslmode=require")
    settings = load_settings()
    assert settings.given_dsn == "postgresql+psycopg://anna:s%40cret@db.example:5432/torghut?sslmode=require"
    assert settings.db_dsn == settings.given_dsn


def test_the_default_given_explicitly_is_a_given_database(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DB_DSN", DEFAULT)
    assert load_settings().given_dsn == DEFAULT


def test_db_dsn_comes_before_its_other_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://a@h/other")
    monkeypatch.setenv("DB_DSN", "postgresql://a@h/torghut")
    assert load_settings().db_dsn.endswith("/torghut")


@pytest.mark.parametrize("variable", DSN_VARIABLES)
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sqlite:///s3cret.db", "must begin with postgresql://, was sqlite://"),
        ("postgresql://anna:s3cret@db.example:5432", "must name a database"),
        ("postgresql://anna:s3cret@db.example:port/torghut", "is no URL of a PostgreSQL database"),
        ("s3cret", "is no URL of a PostgreSQL database"),
    ],
)
def test_a_url_that_cannot_be_used_is_told_by_variable_and_without_its_text(
    variable: str, text: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, text)
    with pytest.raises(InputError) as caught:
        load_settings()
    assert str(caught.value).startswith(f"field {variable}: {message}")
    assert "s3cret" not in repr(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


@pytest.mark.parametrize("text", ["0", "65536", "many", "15438.5"])
def test_a_port_that_is_none_is_told_by_variable(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORGHUT_POSTGRES_PORT", text)
    with pytest.raises(InputError, match=r"^field TORGHUT_POSTGRES_PORT: "):
        load_settings()


@pytest.mark.parametrize("port", [1, 65535])
def test_every_port_can_be_the_embedded_server_s(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORGHUT_POSTGRES_PORT", str(port))
    assert load_settings().db_dsn == f"postgresql+psycopg://torghut:torghut@127.0.0.1:{port}/torghut"


def test_home_is_absolute_and_may_begin_with_a_tilde(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/somewhere")
    monkeypatch.setenv("TORGHUT_HOME", "~/data")
    assert load_settings().home == Path("/somewhere/data")


def test_settings_are_printed_without_the_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DB_DSN", "postgresql://anna:s3cret@h/torghut")
    settings = load_settings()
    assert "s3cret" not in repr(settings)
    assert "s3cret" not in str(settings)


def test_a_setting_goes_by_the_name_of_its_variable_only() -> None:
    assert Settings.model_validate({"TORGHUT_HOME": "/x"}).home == Path("/x")
    assert Settings.model_validate({"home": "/x"}).home != Path("/x")
