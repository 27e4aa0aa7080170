"""The orchestration guard: candidates, stage results, failures, freezes, and the control facts of the runtime."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP

revision = "0002_guard"
down_revision = "0001_governance_and_research"

_MOMENT = TIMESTAMP(timezone=True)
_TABLES = (
    "guard_candidates",
    "guard_stage_results",
    "guard_failures",
    "guard_freezes",
    "control_records",
    "incidents",
    "trading_state",
)


def upgrade() -> None:
    """Make the seven tables; control records are never changed."""
    op.create_table(
        "guard_candidates",
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("candidate_id", sa.Text),
        sa.Column("run_id", sa.Text),
        sa.Column("active_stage", sa.Text, nullable=False),
        sa.Column("paused", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("pause_reason", sa.Text),
        sa.Column("version", sa.BigInteger, nullable=False, server_default="1"),
        sa.Column("updated_at", _MOMENT, nullable=False, server_default=sa.func.clock_timestamp()),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_guard_candidates")),
        sa.UniqueConstraint("candidate_id", name=op.f("uq_guard_candidates_candidate_id")),
    )
    _make_stage_results()
    _make_failures()
    _make_control_facts()
    op.execute(
        "CREATE TRIGGER immutable BEFORE UPDATE OR DELETE OR TRUNCATE ON control_records "
        "FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
    )


def downgrade() -> None:
    """Remove the seven tables."""
    for table in reversed(_TABLES):
        op.drop_table(table)


def _reference(table: str, column: str, target: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint([column], [target], name=op.f(f"fk_{table}_{column}"))


def _make_stage_results() -> None:
    op.create_table(
        "guard_stage_results",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("candidate_id", sa.Text, nullable=False),
        sa.Column("run_id", sa.Text, nullable=False),
        sa.Column("stage", sa.Text, nullable=False),
        sa.Column("entry", sa.Integer, nullable=False),
        sa.Column("edge", sa.Text, nullable=False),
        sa.Column("once", sa.Boolean, nullable=False),
        sa.Column("from_stage", sa.Text),
        sa.Column("entered_at", _MOMENT, nullable=False),
        sa.Column("decision_seq", sa.BigInteger, nullable=False),
        sa.Column("verdict", sa.Text),
        sa.Column("reasons", JSONB, nullable=False, server_default=sa.text("'[]'::jsonb")),
        sa.Column("blob_sha256", sa.Text),
        sa.Column("recorded_at", _MOMENT),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_guard_stage_results")),
        _reference("guard_stage_results", "name", "guard_candidates.name"),
        _reference("guard_stage_results", "decision_seq", "governance_ledger.seq"),
        sa.CheckConstraint(
            "edge IN ('start', 'forward', 'return', 'closing', 'containment')", name=op.f("ck_guard_stage_results_edge")
        ),
        sa.CheckConstraint("verdict IN ('passed', 'failed', 'waiting')", name=op.f("ck_guard_stage_results_verdict")),
        sa.UniqueConstraint(
            "name", "run_id", "stage", "entry", name=op.f("uq_guard_stage_results_name_run_id_stage_entry")
        ),
    )
    op.create_index(
        "uq_guard_stage_results_once",
        "guard_stage_results",
        ["name", "run_id", "stage"],
        unique=True,
        postgresql_where=sa.text("once"),
    )


def _make_failures() -> None:
    op.create_table(
        "guard_failures",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("candidate_id", sa.Text),
        sa.Column("run_id", sa.Text),
        sa.Column("stage", sa.Text, nullable=False),
        sa.Column("failure_class", sa.Text, nullable=False),
        sa.Column("occurrence_id", sa.Text, nullable=False),
        sa.Column("dagster_run_id", sa.Text),
        sa.Column("message", sa.String(500), nullable=False),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("stage_failures", sa.Integer, nullable=False),
        sa.Column("counted", sa.Boolean, nullable=False),
        sa.Column("at", _MOMENT, nullable=False, server_default=sa.func.clock_timestamp()),
        sa.Column("cleared_at", _MOMENT),
        sa.Column("decision_seq", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_guard_failures")),
        _reference("guard_failures", "name", "guard_candidates.name"),
        _reference("guard_failures", "decision_seq", "governance_ledger.seq"),
        sa.UniqueConstraint("occurrence_id", name=op.f("uq_guard_failures_occurrence_id")),
        sa.CheckConstraint(
            "failure_class IN ('transient', 'deterministic', 'spec', 'policy')",
            name=op.f("ck_guard_failures_failure_class"),
        ),
        sa.CheckConstraint("action IN ('retry', 'fail', 'pause_for_review')", name=op.f("ck_guard_failures_action")),
    )
    op.create_index(
        "ix_guard_failures_name_stage_failure_class_at", "guard_failures", ["name", "stage", "failure_class", "at"]
    )
    op.create_index("ix_guard_failures_dagster_run_id", "guard_failures", ["dagster_run_id"])


def _make_control_facts() -> None:
    op.create_table(
        "guard_freezes",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), nullable=False),
        sa.Column("cause", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("opened_at", _MOMENT, nullable=False, server_default=sa.func.clock_timestamp()),
        sa.Column("opened_by", sa.Text, nullable=False),
        sa.Column("lifted_at", _MOMENT),
        sa.Column("lifted_by", sa.Text),
        sa.Column("lift_reason", sa.Text),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_guard_freezes")),
    )
    op.create_index("ix_guard_freezes_open", "guard_freezes", ["id"], postgresql_where=sa.text("lifted_at IS NULL"))
    op.create_table(
        "control_records",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("verdict", sa.Text, nullable=False),
        sa.Column("at", _MOMENT, nullable=False, server_default=sa.func.clock_timestamp()),
        sa.Column("body", JSONB, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_control_records")),
        sa.CheckConstraint("kind IN ('risk', 'execution', 'reconciliation')", name=op.f("ck_control_records_kind")),
        sa.CheckConstraint("verdict IN ('pass', 'fail')", name=op.f("ck_control_records_verdict")),
    )
    op.create_index("ix_control_records_kind_at", "control_records", ["kind", "at"])
    op.create_table(
        "incidents",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), nullable=False),
        sa.Column("opened_at", _MOMENT, nullable=False, server_default=sa.func.clock_timestamp()),
        sa.Column("opened_by", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("closed_at", _MOMENT),
        sa.Column("closed_by", sa.Text),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_incidents")),
    )
    op.create_index("ix_incidents_open", "incidents", ["id"], postgresql_where=sa.text("closed_at IS NULL"))
    op.create_table(
        "trading_state",
        sa.Column("account_label", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("reasons", JSONB, nullable=False, server_default=sa.text("'[]'::jsonb")),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("since", _MOMENT, nullable=False),
        sa.Column("updated_at", _MOMENT, nullable=False),
        sa.Column("fencing_token", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("stops", JSONB, nullable=False, server_default=sa.text("'{}'::jsonb")),
        sa.PrimaryKeyConstraint("account_label", name=op.f("pk_trading_state")),
    )
