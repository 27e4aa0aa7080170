"""What the lane tells the guard at each stage: whose run it is, what a stage concluded, and may it go on.

The assets and the headless lane call the same methods, in the same order. Deciding is the guard's business; here stands
only which artifact, verdict and move belong to which stage. A denial is told, never raised.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from torghut_assets.gates.evaluation import GateEvaluation
from torghut_assets.guard.progression import PolicyDryRun
from torghut_assets.guard.records import JUDGED_FOR, Verdict
from torghut_assets.guard.store import Guard
from torghut_assets.guard.transitions import Decision, TransitionRequest
from torghut_assets.promotion.decision import GuardAnswer
from torghut_assets.promotion.prerequisites import PromotionPrerequisites
from torghut_assets.promotion.readiness import RollbackReadiness
from torghut_runtime.canonical import canonical_json
from torghut_runtime.errors import TorghutError

INTAKE: Final = "research-intake"
BUILD: Final = "candidate-build"
BACKTEST: Final = "backtest-robustness"
GATES: Final = "gate-evaluation"
PREREQUISITES: Final = "promotion-prerequisites"
READINESS: Final = "rollback-readiness"
DRY_RUN: Final = "policy-dry-run"
PAPER: Final = "shadow-paper"
ASSET_STAGES: Final = (INTAKE, BUILD, BACKTEST, GATES, PREREQUISITES, READINESS, DRY_RUN, PAPER)
"""Stages whose result an asset records; those of the others a person does."""
_LEFT_BY_RETURN: Final = (BUILD, BACKTEST, GATES, PREREQUISITES)


class PublicationRefusedError(TorghutError):
    """The guard refused what had been decided, because something changed in between."""

    def __init__(self, name: str, reason: str) -> None:
        self.reason = reason
        super().__init__(f"no patch for {name}: the guard refused: {reason}")


@dataclass(frozen=True)
class Conclusion:
    """What a stage concluded, and the bytes of its artifact."""

    stage: str
    verdict: Verdict
    reasons: Sequence[str]
    content: bytes


def gates_concluded(evaluation: GateEvaluation) -> Conclusion:
    """Passed when the gates that paper requires pass, whatever was asked for."""
    judged = evaluation.targets[JUDGED_FOR]
    reasons = sorted({rule.reason_code for rule in judged.open})
    return Conclusion(GATES, "passed" if judged.passes else "failed", reasons, canonical_json(evaluation))


def prerequisites_concluded(report: PromotionPrerequisites) -> Conclusion:
    """Passed when all prerequisites hold."""
    reasons = sorted({record.reason_code or "" for record in report.records if record.denies})
    return Conclusion(PREREQUISITES, "passed" if report.passed else "failed", reasons, canonical_json(report))


def readiness_concluded(report: RollbackReadiness) -> Conclusion:
    """Waiting while nothing but a drill is missing, which somebody can run."""
    reasons = sorted({record.reason_code or "" for record in report.records if record.denies})
    only_missing = bool(report.missing_checks) and not report.failed_checks and len(reasons) == 1
    verdict: Verdict = "passed" if report.passed else "waiting" if only_missing else "failed"
    return Conclusion(READINESS, verdict, reasons, canonical_json(report))


def dry_run_concluded(run: PolicyDryRun) -> Conclusion:
    """Passed when the plain run allows and each simulation denies."""
    still_allowed = [
        f"{name}_not_denied" for name, each in run.simulations.items() if each.promotion_progression_allowed
    ]
    reasons = sorted({*run.plain.reasons, *still_allowed})
    return Conclusion(DRY_RUN, "passed" if run.passed else "failed", reasons, canonical_json(run))


@dataclass(frozen=True)
class StageGuard:
    """The guard as the lane of one candidate uses it."""

    guard: Guard
    name: str
    actor: str

    def lead_to_gates(
        self, candidate_id: str, run_id: str, *, signals: str | None, spec: bytes, report: bytes
    ) -> Decision:
        """Start a run and lead it through the stages that are done already, up to the gate evaluation.

        Args:
            candidate_id: whose run it is.
            run_id: of the evaluation.
            signals: sha256 of the signals in the artifact store, ``None`` when they are not there.
            spec: bytes of the candidate specification.
            report: bytes of the evaluation report.

        Returns:
            the entry into the gate evaluation, or the denial before it.
        """
        self._return_from_another_run(candidate_id, run_id)
        decision = self.guard.start(self.name, candidate_id, run_id, actor=self.actor)
        put = self.guard.artifacts.put
        done = ((INTAKE, signals, BUILD), (BUILD, put(spec), BACKTEST), (BACKTEST, put(report), GATES))
        for stage, sha256, following in done:
            if not decision.accepted:
                break
            if sha256 is not None:
                self._record(run_id, stage, "passed", (), sha256)
            decision = self.enter(run_id, following)
        return decision

    def _return_from_another_run(self, candidate_id: str, run_id: str) -> None:
        with self.guard.sessions.reading() as session:
            state = session.find(self.name)
        if state is None or state.run_id is None or (state.candidate_id, state.run_id) == (candidate_id, run_id):
            return
        if state.active_stage in _LEFT_BY_RETURN:
            self.guard.enter(TransitionRequest(self.name, state.run_id, INTAKE, self.actor))

    def enter(self, run_id: str, stage: str) -> Decision:
        """Enter a stage, once however often it is asked."""
        return self.guard.enter(TransitionRequest(self.name, run_id, stage, self.actor))

    def conclude(self, run_id: str, conclusion: Conclusion) -> None:
        """Record what the active stage concluded."""
        sha256 = self.guard.artifacts.put(conclusion.content)
        self._record(run_id, conclusion.stage, conclusion.verdict, conclusion.reasons, sha256)

    def enter_and_conclude(self, run_id: str, conclusion: Conclusion) -> Decision:
        """Enter the stage and record what it concluded; denied, no result is added."""
        decision = self.enter(run_id, conclusion.stage)
        if decision.accepted:
            self.conclude(run_id, conclusion)
        return decision

    def _record(self, run_id: str, stage: str, verdict: Verdict, reasons: Sequence[str], sha256: str) -> None:
        self.guard.record_result(
            self.name, run_id, stage, verdict, reasons=reasons, blob_sha256=sha256, actor=self.actor
        )

    def promotion_answer(self, run_id: str) -> GuardAnswer:
        """May the run enter paper trading; a run that stands there already may, so that a repeat says the same."""
        decision = self.guard.check(TransitionRequest(self.name, run_id, PAPER, self.actor))
        if decision.standing and not decision.allowed:
            return GuardAnswer(allowed=True, reason="transition_allowed")
        return GuardAnswer(allowed=decision.allowed, reason=decision.reason)

    def publish(self, run_id: str, patch: bytes) -> None:
        """Enter paper trading with the patch as the stage's artifact.

        Raises:
            PublicationRefusedError: the guard does not let the run enter.
        """
        decision = self.enter(run_id, PAPER)
        if not decision.accepted:
            raise PublicationRefusedError(self.name, decision.reason)
        self.conclude(run_id, Conclusion(PAPER, "passed", (), patch))

    def bound_run(self, stage: str) -> str | None:
        """The run that a failure in a stage belongs to: the bound one, while the candidate is in that stage."""
        with self.guard.sessions.reading() as session:
            state = session.find(self.name)
        return None if state is None or state.active_stage != stage else state.run_id
