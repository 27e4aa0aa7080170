"""Tables of the orchestration guard, and the control facts that the runtime writes and the guard reads.

``migrations/versions/0002_guard.py`` makes them. The guard's own three are written by ``torghut_assets.guard.store``,
the others through ``trading_state``, ``controls``, ``incidents`` and ``freezes`` of this package.
"""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from torghut_runtime.storage.tables import MOMENT, metadata

guard_candidates = sa.Table(
    "guard_candidates",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("candidate_id", sa.Text, unique=True),
    sa.Column("run_id", sa.Text),
    sa.Column("active_stage", sa.Text, nullable=False),
    sa.Column("paused", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("pause_reason", sa.Text),
    sa.Column("version", sa.BigInteger, nullable=False, server_default="1"),
    sa.Column("updated_at", MOMENT, nullable=False, server_default=sa.func.clock_timestamp()),
)

guard_stage_results = sa.Table(
    "guard_stage_results",
    metadata,
    sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    sa.Column("name", sa.Text, sa.ForeignKey("guard_candidates.name"), nullable=False),
    sa.Column("candidate_id", sa.Text, nullable=False),
    sa.Column("run_id", sa.Text, nullable=False),
    sa.Column("stage", sa.Text, nullable=False),
    sa.Column("entry", sa.Integer, nullable=False),
    sa.Column("edge", sa.Text, nullable=False),
    sa.Column("once", sa.Boolean, nullable=False),
    sa.Column("from_stage", sa.Text),
    sa.Column("entered_at", MOMENT, nullable=False),
    sa.Column("decision_seq", sa.BigInteger, sa.ForeignKey("governance_ledger.seq"), nullable=False),
    sa.Column("verdict", sa.Text),
    sa.Column("reasons", JSONB, nullable=False, server_default=sa.text("'[]'::jsonb")),
    sa.Column("blob_sha256", sa.Text),
    sa.Column("recorded_at", MOMENT),
    sa.CheckConstraint(
        sa.column("edge").in_(("start", "forward", "return", "closing", "containment")),
        name="edge",
    ),
    sa.CheckConstraint(sa.column("verdict").in_(("passed", "failed", "waiting")), name="verdict"),
    sa.UniqueConstraint("name", "run_id", "stage", "entry"),
    sa.Index("uq_guard_stage_results_once", "name", "run_id", "stage", unique=True, postgresql_where=sa.text("once")),
)
"""``once``: entered by a forward edge into a stage that is not repeatable, so there is no second one under this run."""

guard_failures = sa.Table(
    "guard_failures",
    metadata,
    sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    sa.Column("name", sa.Text, sa.ForeignKey("guard_candidates.name"), nullable=False),
    sa.Column("candidate_id", sa.Text),
    sa.Column("run_id", sa.Text),
    sa.Column("stage", sa.Text, nullable=False),
    sa.Column("failure_class", sa.Text, nullable=False),
    sa.Column("occurrence_id", sa.Text, nullable=False, unique=True),
    sa.Column("dagster_run_id", sa.Text, index=True),
    sa.Column("message", sa.String(500), nullable=False),
    sa.Column("action", sa.Text, nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("stage_failures", sa.Integer, nullable=False),
    sa.Column("counted", sa.Boolean, nullable=False),
    sa.Column("at", MOMENT, nullable=False, server_default=sa.func.clock_timestamp()),
    sa.Column("cleared_at", MOMENT),
    sa.Column("decision_seq", sa.BigInteger, sa.ForeignKey("governance_ledger.seq"), nullable=False),
    sa.CheckConstraint(
        sa.column("failure_class").in_(("transient", "deterministic", "spec", "policy")), name="failure_class"
    ),
    sa.CheckConstraint(sa.column("action").in_(("retry", "fail", "pause_for_review")), name="action"),
    sa.Index(None, "name", "stage", "failure_class", "at"),
)

guard_freezes = sa.Table(
    "guard_freezes",
    metadata,
    sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    sa.Column("cause", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("opened_at", MOMENT, nullable=False, server_default=sa.func.clock_timestamp()),
    sa.Column("opened_by", sa.Text, nullable=False),
    sa.Column("lifted_at", MOMENT),
    sa.Column("lifted_by", sa.Text),
    sa.Column("lift_reason", sa.Text),
    sa.Index("ix_guard_freezes_open", "id", postgresql_where=sa.text("lifted_at IS NULL")),
)

control_records = sa.Table(
    "control_records",
    metadata,
    sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("verdict", sa.Text, nullable=False),
    sa.Column("at", MOMENT, nullable=False, server_default=sa.func.clock_timestamp()),
    sa.Column("body", JSONB, nullable=False),
    sa.CheckConstraint(sa.column("kind").in_(("risk", "execution", "reconciliation")), name="kind"),
    sa.CheckConstraint(sa.column("verdict").in_(("pass", "fail")), name="verdict"),
    sa.Index(None, "kind", "at"),
)

incidents = sa.Table(
    "incidents",
    metadata,
    sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    sa.Column("opened_at", MOMENT, nullable=False, server_default=sa.func.clock_timestamp()),
    sa.Column("opened_by", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("closed_at", MOMENT),
    sa.Column("closed_by", sa.Text),
    sa.Column("detail", JSONB, nullable=False, server_default=sa.text("'{}'::jsonb")),
    sa.Index("ix_incidents_open", "id", postgresql_where=sa.text("closed_at IS NULL")),
)

trading_state = sa.Table(
    "trading_state",
    metadata,
    sa.Column("account_label", sa.Text, primary_key=True),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("reasons", JSONB, nullable=False, server_default=sa.text("'[]'::jsonb")),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("since", MOMENT, nullable=False),
    sa.Column("updated_at", MOMENT, nullable=False),
    sa.Column("fencing_token", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("stops", JSONB, nullable=False, server_default=sa.text("'{}'::jsonb")),
)
"""``state`` is text without a constraint: a value that nobody knows must be seen and freeze promotion, not be lost."""
