"""Governance ledger with its head, and the research tables; rows that nobody may change."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, DOUBLE_PRECISION, JSONB, TIMESTAMP

revision = "0001_governance_and_research"
down_revision = None

_MOMENT = TIMESTAMP(timezone=True)
_IMMUTABLE = (
    "governance_ledger",
    "research_candidates",
    "research_runs",
    "research_fold_metrics",
    "research_stress_metrics",
    "research_trials",
    "research_promotions",
)
_REFUSE = """
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% of % is refused: its rows are never changed', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'restrict_violation';
END $$
"""


def upgrade() -> None:
    """Make the tables and the triggers that keep them."""
    op.execute(_REFUSE)
    _make_governance()
    _make_research()
    for table in _IMMUTABLE:
        op.execute(
            f"CREATE TRIGGER immutable BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
        )
    op.execute(
        "CREATE TRIGGER immutable BEFORE DELETE OR TRUNCATE ON governance_ledger_head "
        "FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
    )


def downgrade() -> None:
    """Remove everything; the ledger with it."""
    for table in ("governance_ledger_head", *reversed(_IMMUTABLE)):
        op.drop_table(table)
    op.execute("DROP FUNCTION refuse_change()")


def _recorded_at() -> sa.Column[object]:
    return sa.Column("recorded_at", _MOMENT, nullable=False, server_default=sa.func.clock_timestamp())


def _make_governance() -> None:
    op.create_table(
        "governance_ledger",
        sa.Column("seq", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("at", _MOMENT, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("body", JSONB, nullable=False),
        sa.Column("prev_hash", sa.Text, nullable=False),
        sa.Column("hash", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_governance_ledger")),
        sa.UniqueConstraint("prev_hash", name=op.f("uq_governance_ledger_prev_hash")),
        sa.UniqueConstraint("hash", name=op.f("uq_governance_ledger_hash")),
        sa.CheckConstraint(
            "kind IN ('guard_decision', 'guard_state', 'approval', 'promotion', 'demotion', 'drill', 'trading_state', "
            "'operator_action', 'flags_effective', 'waiver')",
            name=op.f("ck_governance_ledger_kind"),
        ),
        sa.CheckConstraint("seq > 0", name=op.f("ck_governance_ledger_seq")),
    )
    op.create_index("ix_governance_ledger_subject_seq", "governance_ledger", ["subject", "seq"])
    op.create_index("ix_governance_ledger_kind_seq", "governance_ledger", ["kind", "seq"])
    op.create_table(
        "governance_ledger_head",
        sa.Column("is_head", sa.Boolean, nullable=False, server_default=sa.true()),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("hash", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("is_head", name=op.f("pk_governance_ledger_head")),
        sa.CheckConstraint("is_head", name=op.f("ck_governance_ledger_head_is_head")),
    )
    op.execute("INSERT INTO governance_ledger_head (seq, hash) VALUES (0, repeat('0', 64))")


def _make_research() -> None:
    op.create_table(
        "research_candidates",
        sa.Column("candidate_id", sa.Text, nullable=False),
        sa.Column("dataset_id", sa.Text, nullable=False),
        sa.Column("spec", JSONB, nullable=False),
        sa.Column("created_at", _MOMENT, nullable=False, server_default=sa.func.clock_timestamp()),
        sa.PrimaryKeyConstraint("candidate_id", name=op.f("pk_research_candidates")),
    )
    op.create_table(
        "research_runs",
        sa.Column("run_id", sa.Text, nullable=False),
        sa.Column("run_no", sa.BigInteger, sa.Identity(always=True), nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("candidate_id", sa.Text, nullable=False),
        sa.Column("policy_sha256", sa.Text, nullable=False),
        sa.Column("evidence_sha256", sa.Text, nullable=False),
        sa.Column("code_version", sa.Text, nullable=False),
        sa.Column("promotion_target", sa.Text, nullable=False),
        sa.Column("recommended_mode", sa.Text),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("reasons", ARRAY(sa.Text), nullable=False),
        sa.Column("report", JSONB, nullable=False),
        sa.Column("ledger_seq", sa.BigInteger),
        _recorded_at(),
        sa.PrimaryKeyConstraint("run_id", name=op.f("pk_research_runs")),
        sa.UniqueConstraint("run_no", name=op.f("uq_research_runs_run_no")),
        _reference("research_runs", "candidate_id", "research_candidates.candidate_id"),
        _reference("research_runs", "ledger_seq", "governance_ledger.seq"),
        sa.CheckConstraint("action IN ('promote', 'hold', 'deny')", name=op.f("ck_research_runs_action")),
    )
    op.create_index("ix_research_runs_candidate_id", "research_runs", ["candidate_id"])
    op.create_index("ix_research_runs_name", "research_runs", ["name"])
    op.create_table(
        "research_fold_metrics",
        sa.Column("run_id", sa.Text, nullable=False),
        sa.Column("fold", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("train_start", _MOMENT, nullable=False),
        sa.Column("train_end", _MOMENT, nullable=False),
        sa.Column("test_start", _MOMENT, nullable=False),
        sa.Column("test_end", _MOMENT, nullable=False),
        sa.Column("parameters", JSONB, nullable=False),
        sa.Column("in_sample", JSONB, nullable=False),
        sa.Column("out_of_sample", JSONB, nullable=False),
        _recorded_at(),
        sa.PrimaryKeyConstraint("run_id", "fold", name=op.f("pk_research_fold_metrics")),
        _reference("research_fold_metrics", "run_id", "research_runs.run_id"),
    )
    op.create_table(
        "research_stress_metrics",
        sa.Column("run_id", sa.Text, nullable=False),
        sa.Column("stress_case", sa.Text, nullable=False),
        sa.Column("metrics", JSONB, nullable=False),
        _recorded_at(),
        sa.PrimaryKeyConstraint("run_id", "stress_case", name=op.f("pk_research_stress_metrics")),
        _reference("research_stress_metrics", "run_id", "research_runs.run_id"),
    )
    op.create_table(
        "research_trials",
        sa.Column("trial_no", sa.BigInteger, sa.Identity(always=True), nullable=False),
        sa.Column("family", sa.Text, nullable=False),
        sa.Column("timeframe", sa.Text, nullable=False),
        sa.Column("symbols", ARRAY(sa.Text), nullable=False),
        sa.Column("parameters", JSONB, nullable=False),
        sa.Column("parameters_sha256", sa.Text, nullable=False),
        sa.Column("span_start", sa.Date, nullable=False),
        sa.Column("span_end", sa.Date, nullable=False),
        sa.Column("sharpe_per_period", DOUBLE_PRECISION),
        sa.Column("n_observations", sa.BigInteger, nullable=False),
        _recorded_at(),
        sa.PrimaryKeyConstraint("trial_no", name=op.f("pk_research_trials")),
        sa.UniqueConstraint(
            "family",
            "timeframe",
            "symbols",
            "parameters_sha256",
            "span_start",
            "span_end",
            name=op.f("uq_research_trials_trial"),
        ),
        sa.CheckConstraint("span_start <= span_end", name=op.f("ck_research_trials_span")),
    )
    op.create_table(
        "research_promotions",
        sa.Column("promotion_no", sa.BigInteger, sa.Identity(always=True), nullable=False),
        sa.Column("strategy", sa.Text, nullable=False),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("candidate_id", sa.Text, nullable=False),
        sa.Column("run_id", sa.Text, nullable=False),
        sa.Column("target", sa.Text, nullable=False),
        sa.Column("ledger_seq", sa.BigInteger, nullable=False),
        _recorded_at(),
        sa.PrimaryKeyConstraint("promotion_no", name=op.f("pk_research_promotions")),
        _reference("research_promotions", "candidate_id", "research_candidates.candidate_id"),
        _reference("research_promotions", "run_id", "research_runs.run_id"),
        _reference("research_promotions", "ledger_seq", "governance_ledger.seq"),
        sa.CheckConstraint("action IN ('promoted', 'demoted')", name=op.f("ck_research_promotions_action")),
    )
    op.create_index("ix_research_promotions_strategy_promotion_no", "research_promotions", ["strategy", "promotion_no"])


def _reference(table: str, column: str, target: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint([column], [target], name=op.f(f"fk_{table}_{column}"))
