"""The schema goes up and down on a real PostgreSQL, once however many ask, and is what the tables say."""

import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from torghut_runtime.storage.database import connect, create_engine
from torghut_runtime.storage.migrations import downgrade, is_at_head, migrate
from torghut_runtime.storage.order_tables import metadata


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
