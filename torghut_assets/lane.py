"""The whole lane without a Dagster process: what ``torghut lane run`` and the demo call.

It calls the functions that Dagster's assets call, in the same order, and exports the same bundle. Stages themselves
live in ``market``, ``research``, ``gates`` and ``promotion``.
"""

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import sqlalchemy as sa

from torghut_assets.artifacts import ArtifactStore, bundle_target, export_bundle, parquet_bytes
from torghut_assets.bundle import Research, bundle_files, bundle_ids, digests, judged_documents, judged_files
from torghut_assets.gates.collection import collect_facts
from torghut_assets.gates.engine import Document
from torghut_assets.gates.evaluation import GateEvaluation, evaluate_gates
from torghut_assets.gates.evidence import Evidence, freeze_evidence
from torghut_assets.gates.policy import GatePolicy, load_policy
from torghut_assets.gates.rule import REPORT, SPEC, Target
from torghut_assets.guard.memory import MemoryBlobs, MemorySessions
from torghut_assets.guard.policy import default_policy_path
from torghut_assets.guard.policy import load_policy as load_orchestration_policy
from torghut_assets.guard.progression import Bundle, policy_dry_run
from torghut_assets.guard.records import JUDGED_FOR
from torghut_assets.guard.session import SqlSessions
from torghut_assets.guard.stages import (
    StageGuard,
    dry_run_concluded,
    gates_concluded,
    prerequisites_concluded,
    readiness_concluded,
)
from torghut_assets.guard.store import Guard
from torghut_assets.market.data import MarketData, market_signals, read_market_bars
from torghut_assets.promotion.approval import PresentedApproval
from torghut_assets.promotion.configmap import render_patch
from torghut_assets.promotion.configmap_file import read_text
from torghut_assets.promotion.decision import PromotionDecision, decide_promotion
from torghut_assets.promotion.prerequisites import PromotionPrerequisites, judge_prerequisites
from torghut_assets.promotion.readiness import RollbackReadiness, judge_rollback_readiness
from torghut_assets.promotion.recording import record_decision
from torghut_assets.registration import DEFAULT_CONFIGMAP, check_name
from torghut_assets.research.candidate import lane_code_version, slug, specify
from torghut_assets.research.lookahead import LookaheadReport
from torghut_assets.research.report import evaluate
from torghut_assets.research.settings import ResearchSettings, load_settings
from torghut_assets.research.strategies import load_strategies
from torghut_assets.research.walkforward import Progress, applied_strategies, set_up, silent, walk_forward
from torghut_runtime.command_line import operating_system_user
from torghut_runtime.errors import InputError
from torghut_runtime.market.features import FeaturePipeline, compute_features
from torghut_runtime.strategies.catalog import StrategyEntry
from torghut_runtime.strategies.registry import BoundStrategy

DEFAULT_RESEARCH = Path("config/research.yaml")


@dataclass(frozen=True)
class LaneRequest:
    """What ``torghut lane run`` is asked; paths are used as they are given."""

    strategy_config: Path
    gate_policy: Path
    output_dir: Path
    signals: Path | None = None
    bars: Path | None = None
    timeframe: str | None = None
    name: str | None = None
    research: Path | None = None
    promotion_target: Target = "paper"
    strategy_configmap: Path = Path(DEFAULT_CONFIGMAP)
    approval_token: str | None = None
    ledger: Literal["auto", "none"] = "auto"
    store: Path = Path("artifacts/store")
    """Artifact store of the project, where the guard finds each stage's artifact; not used without a ledger."""


@dataclass(frozen=True)
class LaneResult:
    """The verdict with everything it rests on, and where the bundle is."""

    research: Research
    evidence: Evidence
    evaluation: GateEvaluation
    prerequisites: PromotionPrerequisites
    readiness: RollbackReadiness
    decision: PromotionDecision
    applied: tuple[StrategyEntry, ...]
    """The strategies as a promotion trades them, whatever was decided."""
    output_dir: Path

    @property
    def rows(self) -> int:
        """Rows of the data set."""
        return self.research.spec.dataset.rows


@dataclass(frozen=True)
class _Inputs:
    market: MarketData
    name: str
    strategies: tuple[BoundStrategy, ...]
    settings: ResearchSettings
    policy: GatePolicy
    configmap: str


def run_lane(
    request: LaneRequest,
    progress: Progress = silent,
    *,
    pipeline: FeaturePipeline = compute_features,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> LaneResult:
    """Judge one candidate and export its bundle.

    Args:
        request: inputs and options.
        progress: told how far it is.
        pipeline: computes the features of bars.
        clock: the time of the promotion decision; nothing else depends on it.

    Raises:
        InputError: an input cannot be used; the output folder is then as it was, as after any other error.
        StoreUnavailableError: the database cannot be reached.
    """
    inputs = _read(request, progress, pipeline)
    research = research_candidate(inputs.name, inputs.market, inputs.strategies, inputs.settings, progress, pipeline)
    with recorder(request.ledger) as connection:
        return _judge(request, inputs, research, connection, progress, clock)


def lookahead_of(
    signals: Path | None,
    bars: Path | None,
    timeframe: str | None,
    strategy_config: Path,
    research: Path | None,
    progress: Progress = silent,
) -> LookaheadReport:
    """The lookahead check alone.

    Raises:
        InputError: an input cannot be used.
    """
    settings = read_settings(research)
    market = _read_market(signals, bars, timeframe, compute_features)
    strategies = load_strategies(strategy_config, market.signals)
    name = slug(strategies[0].entry.strategy_id)
    return research_candidate(name, market, strategies, settings, progress).report.lookahead


def _read_market(
    signals: Path | None, bars: Path | None, timeframe: str | None, pipeline: FeaturePipeline
) -> MarketData:
    found = read_market_bars(bars, timeframe)
    return MarketData(found, market_signals(found, signals, pipeline))


def _read(request: LaneRequest, progress: Progress, pipeline: FeaturePipeline) -> _Inputs:
    """Small files first, so that a mistake in one of them is told at once."""
    bundle_target(request.output_dir)
    policy = load_policy(request.gate_policy)
    settings = read_settings(request.research)
    configmap = read_text(request.strategy_configmap)
    name = None if request.name is None else _checked_name(request.name)
    progress("reading data", 0, 1)
    market = _read_market(request.signals, request.bars, request.timeframe, pipeline)
    progress("reading data", 1, 1)
    strategies = load_strategies(request.strategy_config, market.signals)
    _check_configmap(configmap, request.strategy_configmap, strategies)
    return _Inputs(market, name or slug(strategies[0].entry.strategy_id), strategies, settings, policy, configmap)


def _check_configmap(text: str, path: Path, strategies: tuple[BoundStrategy, ...]) -> None:
    """A patch could be rendered: told before the research that it would have ended, and with the file's name."""
    try:
        render_patch(text, [each.entry for each in strategies], candidate_id="", run_id="", mode="shadow")
    except InputError as error:
        raise error.located(file=path) from error


def read_settings(path: Path | None) -> ResearchSettings:
    """Research settings: the given file, else the project's, else the defaults.

    Raises:
        InputError: the file cannot be used.
    """
    return load_settings(path or (DEFAULT_RESEARCH if DEFAULT_RESEARCH.is_file() else None))


def _checked_name(name: str) -> str:
    try:
        return check_name(name)
    except ValueError as error:
        raise InputError(str(error), field="--name") from None


def research_candidate(
    name: str,
    market: MarketData,
    strategies: tuple[BoundStrategy, ...],
    settings: ResearchSettings,
    progress: Progress = silent,
    pipeline: FeaturePipeline = compute_features,
) -> Research:
    """The research layer of a candidate: specification, walk-forward results and evaluation report."""
    spec = specify(name, market.signals, strategies, settings)
    setup = set_up(market.signals, strategies, settings)
    results = walk_forward(setup, spec.candidate_id, progress)
    report = evaluate(spec, setup, results, bars=market.bars, pipeline=pipeline, progress=progress)
    return Research(spec, results, report)


@contextmanager
def recorder(mode: Literal["auto", "none"]) -> Generator[sa.Connection | None]:
    """A connection to the database that records, None where nothing is to be recorded.

    Raises:
        StoreUnavailableError: PostgreSQL cannot be started or reached.
    """
    if mode == "none":
        yield None
        return
    from torghut_runtime.settings import load_settings as load_environment
    from torghut_runtime.storage.database import connect, create_engine
    from torghut_runtime.storage.embedded import ensure_database

    with ensure_database(load_environment()) as dsn, connect(create_engine(dsn)) as connection:
        yield connection


def _judge(
    request: LaneRequest,
    inputs: _Inputs,
    research: Research,
    connection: sa.Connection | None,
    progress: Progress,
    clock: Callable[[], datetime],
) -> LaneResult:
    progress("gates", 0, 2)
    version = lane_code_version()
    spec = research.spec
    facts = collect_facts(connection, spec, research.results.report, inputs.configmap)
    evidence = freeze_evidence(
        spec.name,
        spec.candidate_id,
        request.promotion_target,
        ledger="none" if connection is None else "database",
        facts=facts,
    )
    documents = judged_documents(research, evidence)
    evaluation = evaluate_gates(inputs.policy, documents, request.promotion_target, code_version=version)
    judged = judged_files(research, evidence, evaluation)
    prerequisites = judge_prerequisites(inputs.policy, evaluation, documents, artifacts=digests(judged))
    readiness = judge_rollback_readiness(inputs.policy, evaluation, documents)
    stages = stage_guard(spec.name, connection, request.store)
    guard_stages(stages, inputs, research, judged, documents, evaluation, prerequisites, readiness)
    token = request.approval_token
    decision = decide_promotion(
        inputs.policy,
        documents,
        evaluation,
        prerequisites,
        readiness,
        now=clock(),
        approval=None if token is None else PresentedApproval(token, ()),
        guard=stages.promotion_answer(evaluation.run_id),
    )
    applied = tuple(each.entry for each in applied_strategies(inputs.strategies, research.results.report))
    patch = render_patch(
        inputs.configmap,
        applied,
        candidate_id=spec.candidate_id,
        run_id=evaluation.run_id,
        mode=request.promotion_target,
        cap_multiplier=decision.cap_multiplier,
    )
    if connection is not None:
        decision = record_decision(
            connection,
            decision,
            evaluation,
            research.results.report,
            research.report,
            tuple(each.strategy_id for each in spec.strategies),
            actor=operating_system_user(),
            code_version=version,
        )
    if decision.promotion_allowed:
        stages.publish(evaluation.run_id, patch.encode())
    progress("bundle", 1, 2)
    files = bundle_files(judged, prerequisites, readiness, decision, patch)
    export_bundle(files, request.output_dir, ids=bundle_ids(spec, decision))
    progress("bundle", 2, 2)
    return LaneResult(research, evidence, evaluation, prerequisites, readiness, decision, applied, request.output_dir)


def stage_guard(name: str, connection: sa.Connection | None, store: Path) -> StageGuard:
    """The guard for a candidate's lane: on the database, or in memory where nothing is recorded.

    Raises:
        PolicyError: the orchestration policy cannot be used.
    """
    policy = load_orchestration_policy(default_policy_path())
    if connection is None:
        guard = Guard(policy, MemorySessions(), MemoryBlobs())
    else:
        guard = Guard(policy, SqlSessions(connection.engine), ArtifactStore(store))
    return StageGuard(guard, name, operating_system_user())


def guard_stages(
    stages: StageGuard,
    inputs: _Inputs,
    research: Research,
    judged: Mapping[str, bytes],
    documents: Sequence[Document],
    evaluation: GateEvaluation,
    prerequisites: PromotionPrerequisites,
    readiness: RollbackReadiness,
) -> None:
    """Tell the guard what each stage concluded, up to the dry run of the policy; denied stages add no result."""
    run_id = evaluation.run_id
    stages.lead_to_gates(
        research.spec.candidate_id,
        run_id,
        signals=stages.guard.artifacts.put(parquet_bytes(inputs.market.signals.frame)),
        spec=judged[SPEC],
        report=judged[REPORT],
    )
    stages.conclude(run_id, gates_concluded(evaluation))
    stages.enter_and_conclude(run_id, prerequisites_concluded(prerequisites))
    stages.enter_and_conclude(run_id, readiness_concluded(readiness))
    bundle = Bundle(evaluation, documents, digests(judged))
    stages.enter_and_conclude(run_id, dry_run_concluded(policy_dry_run(inputs.policy, bundle, JUDGED_FOR)))
