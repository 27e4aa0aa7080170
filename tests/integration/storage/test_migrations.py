"""The schema goes up and down on a real PostgreSQL, once however many ask, and is what the tables say."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from torghut_runtime.errors import StoreUnavailableError
from torghut_runtime.storage import guard_tables, migrations, order_tables
from torghut_runtime.storage.database import connect, create_engine
from torghut_runtime.storage.ledger import append, history
from torghut_runtime.storage.migrations import downgrade, head, is_at_head, migrate
from torghut_runtime.storage.tables import metadata

REGISTERED = (guard_tables, order_tables)
VERSIONS = Path(migrations.__file__).parent / "versions"


def table_names(engine: sa.Engine) -> set[str]:
    return set(sa.inspect(engine).get_table_names())


def test_a_migrated_database_is_what_the_tables_say(engine: sa.Engine) -> None:
    with connect(engine) as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, metadata) == []


def test_constraints_and_identities_are_what_the_tables_say(engine: sa.Engine, empty_database_dsn: str) -> None:
    """What the comparison above does not look at: checks, names, foreign keys, identity columns."""
    other = create_engine(empty_database_dsn)
    metadata.create_all(other)
    assert described(engine) == described(other)


def described(engine: sa.Engine) -> dict[str, object]:
    inspector = sa.inspect(engine)
    return {
        name: (
            sorted((c["name"], c["sqltext"]) for c in inspector.get_check_constraints(name)),
            sorted((c["name"], c["column_names"]) for c in inspector.get_unique_constraints(name)),
            sorted(
                (c["name"], c["constrained_columns"], c["referred_table"]) for c in inspector.get_foreign_keys(name)
            ),
            inspector.get_pk_constraint(name),
            sorted((i["name"], i["column_names"]) for i in inspector.get_indexes(name)),
            [
                (c["name"], str(c["type"]), c["nullable"], c["default"], c.get("identity"))
                for c in inspector.get_columns(name)
            ],
        )
        for name in sorted(metadata.tables)
    }


def test_an_empty_database_goes_up_down_and_up_again(empty_database_dsn: str) -> None:
    engine = create_engine(empty_database_dsn)
    assert not is_at_head(engine)
    migrate(engine)
    assert is_at_head(engine)
    assert table_names(engine) == {*metadata.tables, "alembic_version"}
    downgrade(engine, "base")
    assert table_names(engine) == {"alembic_version"}
    assert not is_at_head(engine)
    migrate(engine)
    assert table_names(engine) == {*metadata.tables, "alembic_version"}


def test_several_that_migrate_at_once_all_end_at_the_newest_schema(empty_database_dsn: str) -> None:
    start = threading.Barrier(3)

    def migrate_one(_: int) -> bool:
        engine = create_engine(empty_database_dsn)
        start.wait()
        migrate(engine)
        return is_at_head(engine)

    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(migrate_one, range(3))) == [True, True, True]
    with connect(create_engine(empty_database_dsn)) as connection:
        assert connection.execute(sa.text("SELECT seq, hash FROM governance_ledger_head")).all() == [(0, "0" * 64)]


def test_migrating_a_current_database_leaves_what_is_in_it(engine: sa.Engine) -> None:
    with connect(engine) as connection:
        append(connection, kind="drill", subject="x", actor="anna", body={})
    migrate(engine)
    with connect(engine) as connection:
        assert len(history(connection, "x")) == 1


def test_a_step_that_fails_leaves_the_schema_as_it_was(empty_database_dsn: str) -> None:
    engine = create_engine(empty_database_dsn)
    with connect(engine) as connection:
        connection.execute(sa.text("CREATE TABLE research_promotions (in_the_way integer)"))
    with pytest.raises(sa.exc.ProgrammingError, match="already exists"):
        migrate(engine)
    assert table_names(engine) == {"research_promotions"}


@pytest.mark.parametrize("change", [migrate, lambda engine: downgrade(engine, "base")])
def test_a_schema_of_a_newer_version_is_left_alone(engine: sa.Engine, change: Callable[[sa.Engine], None]) -> None:
    with connect(engine) as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999_future'"))
    assert not is_at_head(engine)
    with pytest.raises(StoreUnavailableError, match="has schema 9999_future, which this version"):
        change(engine)
    assert table_names(engine) == {*metadata.tables, "alembic_version"}


def test_every_step_has_a_number_and_they_make_one_line() -> None:
    versions = sorted(path.stem for path in VERSIONS.glob("[0-9]*.py"))
    assert [name[:4] for name in versions] == [f"{number:04}" for number in range(1, len(versions) + 1)]
    assert head() == versions[-1]
    assert all(len(name) <= 32 for name in versions), "Alembic keeps 32 characters"
