"""The tables of the database ``torghut``, as SQLAlchemy Core sees them: one ``MetaData``, no mapper.

Governance and research stand here, the guard's and the control facts' tables in ``guard_tables``.
The migrations make the tables; a test compares what they made with what stands here. Triggers stand in the migrations
only. Rows of the ledger and of research are never changed: the database refuses it.
"""

from typing import Any, Final, Literal, get_args

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, DOUBLE_PRECISION, JSONB, TIMESTAMP

metadata = sa.MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)

MOMENT: Final = TIMESTAMP(timezone=True)


def _recorded_at() -> sa.Column[Any]:
    return sa.Column("recorded_at", MOMENT, nullable=False, server_default=sa.func.clock_timestamp())


# governance

LedgerKind = Literal[
    "guard_decision",
    "guard_state",
    "approval",
    "promotion",
    "demotion",
    "drill",
    "trading_state",
    "operator_action",
    "flags_effective",
    "waiver",
]
LEDGER_KINDS: Final[tuple[LedgerKind, ...]] = get_args(LedgerKind)

governance_ledger = sa.Table(
    "governance_ledger",
    metadata,
    sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("subject", sa.Text, nullable=False),
    sa.Column("at", MOMENT, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("body", JSONB, nullable=False),
    sa.Column("prev_hash", sa.Text, nullable=False, unique=True),
    sa.Column("hash", sa.Text, nullable=False, unique=True),
    sa.CheckConstraint(sa.column("kind").in_(LEDGER_KINDS), name="kind"),
    sa.CheckConstraint("seq > 0", name="seq"),
    sa.Index(None, "subject", "seq"),
    sa.Index(None, "kind", "seq"),
)

governance_ledger_head = sa.Table(
    "governance_ledger_head",
    metadata,
    sa.Column("is_head", sa.Boolean, primary_key=True, server_default=sa.true()),
    sa.Column("seq", sa.BigInteger, nullable=False),
    sa.Column("hash", sa.Text, nullable=False),
    sa.CheckConstraint("is_head", name="is_head"),
)

# research

research_candidates = sa.Table(
    "research_candidates",
    metadata,
    sa.Column("candidate_id", sa.Text, primary_key=True),
    sa.Column("dataset_id", sa.Text, nullable=False),
    sa.Column("spec", JSONB, nullable=False),
    sa.Column("created_at", MOMENT, nullable=False, server_default=sa.func.clock_timestamp()),
)

research_runs = sa.Table(
    "research_runs",
    metadata,
    sa.Column("run_id", sa.Text, primary_key=True),
    sa.Column("run_no", sa.BigInteger, sa.Identity(always=True), nullable=False, unique=True),
    sa.Column("name", sa.Text, nullable=False, index=True),
    sa.Column("candidate_id", sa.Text, sa.ForeignKey("research_candidates.candidate_id"), nullable=False, index=True),
    sa.Column("policy_sha256", sa.Text, nullable=False),
    sa.Column("evidence_sha256", sa.Text, nullable=False),
    sa.Column("code_version", sa.Text, nullable=False),
    sa.Column("promotion_target", sa.Text, nullable=False),
    sa.Column("recommended_mode", sa.Text),
    sa.Column("action", sa.Text, nullable=False),
    sa.Column("reasons", ARRAY(sa.Text), nullable=False),
    sa.Column("report", JSONB, nullable=False),
    sa.Column("ledger_seq", sa.BigInteger, sa.ForeignKey("governance_ledger.seq")),
    _recorded_at(),
    sa.CheckConstraint(sa.column("action").in_(("promote", "hold", "deny")), name="action"),
)

research_fold_metrics = sa.Table(
    "research_fold_metrics",
    metadata,
    sa.Column("run_id", sa.Text, sa.ForeignKey("research_runs.run_id"), primary_key=True),
    sa.Column("fold", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("train_start", MOMENT, nullable=False),
    sa.Column("train_end", MOMENT, nullable=False),
    sa.Column("test_start", MOMENT, nullable=False),
    sa.Column("test_end", MOMENT, nullable=False),
    sa.Column("parameters", JSONB, nullable=False),
    sa.Column("in_sample", JSONB, nullable=False),
    sa.Column("out_of_sample", JSONB, nullable=False),
    _recorded_at(),
)

research_stress_metrics = sa.Table(
    "research_stress_metrics",
    metadata,
    sa.Column("run_id", sa.Text, sa.ForeignKey("research_runs.run_id"), primary_key=True),
    sa.Column("stress_case", sa.Text, primary_key=True),
    sa.Column("metrics", JSONB, nullable=False),
    _recorded_at(),
)

research_trials = sa.Table(
    "research_trials",
    metadata,
    sa.Column("trial_no", sa.BigInteger, sa.Identity(always=True), primary_key=True),
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
    sa.CheckConstraint("span_start <= span_end", name="span"),
    sa.UniqueConstraint(
        "family", "timeframe", "symbols", "parameters_sha256", "span_start", "span_end", name="uq_research_trials_trial"
    ),
)

research_promotions = sa.Table(
    "research_promotions",
    metadata,
    sa.Column("promotion_no", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    sa.Column("strategy", sa.Text, nullable=False),
    sa.Column("action", sa.Text, nullable=False),
    sa.Column("candidate_id", sa.Text, sa.ForeignKey("research_candidates.candidate_id"), nullable=False),
    sa.Column("run_id", sa.Text, sa.ForeignKey("research_runs.run_id"), nullable=False),
    sa.Column("target", sa.Text, nullable=False),
    sa.Column("ledger_seq", sa.BigInteger, sa.ForeignKey("governance_ledger.seq"), nullable=False),
    _recorded_at(),
    sa.CheckConstraint(sa.column("action").in_(("promoted", "demoted")), name="action"),
    sa.Index(None, "strategy", "promotion_no"),
)
