"""The shell that turns an exception in an asset's code into the guard's answer: retry later, or fail for good.

Everything that is decided is decided by ``Guard.evaluate_failure``. Dagster's own signals pass.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

import functools
import inspect
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar, cast

import dagster as dg

from torghut_assets.gates.evaluation import GateEvaluation
from torghut_assets.guard.classification import classify
from torghut_assets.guard.errors import PolicyError
from torghut_assets.guard.resource import GuardResource
from torghut_assets.guard.session import Failure
from torghut_runtime.errors import StoreUnavailableError

ACTOR = "dagster"
_Function = TypeVar("_Function", bound=Callable[..., Any])


def answered(stage: str) -> Callable[[_Function], _Function]:
    """Let the guard answer what an asset's function raises; goes between ``@dg.asset`` and the function.

    The function gets a resource parameter ``guard`` where it has none of its own.
    """

    def decorate(function: _Function) -> _Function:
        signature = inspect.signature(function)
        own = "guard" in signature.parameters
        parameters = list(signature.parameters.values())
        if not own:
            extra = inspect.Parameter("guard", inspect.Parameter.KEYWORD_ONLY, annotation=GuardResource)
            parameters.append(extra)

        def call(guard: GuardResource, arguments: dict[str, Any]) -> Any:
            return function(**arguments, **({"guard": guard} if own else {}))

        @functools.wraps(function)
        def yielding(context: dg.AssetExecutionContext, *, guard: GuardResource, **inputs: Any) -> Iterator[Any]:
            with _failures_answered(context, guard, stage, inputs):
                yield from call(guard, {"context": context, **inputs})

        @functools.wraps(function)
        def returning(context: dg.AssetExecutionContext, *, guard: GuardResource, **inputs: Any) -> Any:
            with _failures_answered(context, guard, stage, inputs):
                return call(guard, {"context": context, **inputs})

        wrapper: Any = yielding if inspect.isgeneratorfunction(function) else returning
        wrapper.__signature__ = signature.replace(parameters=parameters)
        wrapper.__annotations__ = {**function.__annotations__, "guard": GuardResource}
        return cast("_Function", wrapper)

    return decorate


@contextmanager
def _failures_answered(
    context: dg.AssetExecutionContext, guard: GuardResource, stage: str, inputs: dict[str, Any]
) -> Generator[None]:
    try:
        yield
    except (dg.Failure, dg.RetryRequested):
        raise
    except Exception as error:
        raise _answer(context, guard, stage, inputs, error) from error


def _answer(
    context: dg.AssetExecutionContext, guard: GuardResource, stage: str, inputs: dict[str, Any], error: Exception
) -> Exception:
    failure_class = classify(error)
    op, run = context.op_execution_context, context.run.run_id
    text = f"{type(error).__name__}: {error}"
    try:
        stages = guard.of(context.partition_key, ACTOR)
        evaluation = inputs.get("evaluation")
        run_id = evaluation.run_id if isinstance(evaluation, GateEvaluation) else stages.bound_run(stage)
        failure = Failure(
            name=context.partition_key,
            run_id=run_id,
            stage=stage,
            failure_class=failure_class,
            occurrence_id=f"{run}/{op.op_handle}/{op.retry_number}",
            message=text,
            dagster_run_id=run,
        )
        outcome = stages.guard.evaluate_failure(failure, actor=ACTOR, apply=True, first_sight=True)
    except (PolicyError, StoreUnavailableError) as unanswered:
        return dg.Failure(f"{text} (the guard could not answer: {unanswered})", allow_retries=False)
    answer = outcome.answer
    if answer.action == "retry":
        limits = stages.guard.policy.failure_policies.of(failure_class)
        context.log.warning("%s; retried in %s s at the earliest", text, answer.next_backoff_seconds)
        return dg.RetryRequested(max_retries=limits.max_retries, seconds_to_wait=answer.next_backoff_seconds)
    return dg.Failure(
        f"{text} ({answer.action}: {answer.reason})",
        metadata={
            "failure_class": failure_class,
            "action": answer.action,
            "reason": answer.reason or "",
            "attempt": answer.attempt,
            "stage_failures": answer.stage_failures,
            "moved_to": outcome.moved_to or "nowhere",
        },
        allow_retries=False,
    )
