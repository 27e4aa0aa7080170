"""Evaluating asset checks in CI: this process, a throw-away Dagster instance, the stored artifacts.

Checks read what is stored and change nothing, and neither does this: their results go into no event log. What a check
judges stands in the ``checks`` module of its stage.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from xml.etree import ElementTree as ET

import dagster as dg

from torghut_assets.definitions import build_definitions
from torghut_assets.partitions import CANDIDATES
from torghut_assets.registration import registered
from torghut_runtime.errors import InputError

Outcome = Literal["passed", "failed", "warned", "no result"]
_JOB = "selected_checks"
_QUIETLY = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@dataclass(frozen=True)
class CheckOutcome:
    """One declared check of one candidate; ``warned`` is a failed check whose severity is not ERROR."""

    candidate: str
    asset: str
    check: str
    outcome: Outcome
    description: str


def run_checks(project: Path, *, select: str | None = None, partition: str | None = None) -> list[CheckOutcome]:
    """Evaluate the checks of one candidate, or of all registered ones.

    Args:
        project: folder with ``config/`` and the artifact store.
        select: assets whose checks are evaluated, in Dagster's selection syntax or as ``group/name``; all when
            left out.
        partition: the candidate.

    Raises:
        InputError: an unknown candidate, or a selection that names no check.
    """
    definitions = build_definitions(project=project)
    names = _candidates(project, partition)
    keys = _checks(definitions, select)
    if not keys:
        raise InputError(f"names no asset with a check: {select!r}", field="--select")
    job = dg.define_asset_job(_JOB, selection=dg.AssetSelection.checks(*keys))
    own = dg.Definitions.merge(definitions, dg.Definitions(jobs=[job])).resolve_job_def(_JOB)
    found: list[CheckOutcome] = []
    for name in names:
        with dg.DagsterInstance.ephemeral() as instance:
            instance.add_dynamic_partitions(CANDIDATES.name or "", [name])
            result = own.execute_in_process(
                instance=instance, tags={"dagster/partition": name}, run_config=_QUIETLY, raise_on_error=False
            )
            found.extend(_outcomes(name, keys, result.get_asset_check_evaluations()))
    return found


def _candidates(project: Path, partition: str | None) -> list[str]:
    good, bad = registered(project)
    names = [registration.name for registration in good]
    if partition is None:
        if bad:
            raise bad[0]
        return names
    if partition not in names:
        raise next((error for error in bad if error.file and Path(error.file).stem == partition), None) or InputError(
            f"candidate {partition!r} is not registered, known are {', '.join(names) or 'none'}", field="--partition"
        )
    return [partition]


def _checks(definitions: dg.Definitions, select: str | None) -> set[dg.AssetCheckKey]:
    graph = definitions.resolve_asset_graph()
    of_candidates = {key for key in graph.asset_check_keys if graph.get(key).partitions_def == CANDIDATES}
    if select is None:
        return of_candidates
    plain_key = "/" in select and ":" not in select and not set(select) & set(' +*"()')
    text = f'key:"{select}"' if plain_key else select
    try:
        with warnings.catch_warnings():
            # Dagster's own parser uses a parameter that it calls beta
            warnings.simplefilter("ignore", dg.BetaWarning)
            assets = dg.AssetSelection.from_string(text).resolve(graph)
    except Exception as error:
        raise InputError(f"cannot be read as a selection of assets: {select!r}", field="--select") from error
    return {key for key in of_candidates if key.asset_key in assets}


def _outcomes(
    name: str, keys: Iterable[dg.AssetCheckKey], evaluations: Sequence[dg.AssetCheckEvaluation]
) -> list[CheckOutcome]:
    by_key = {evaluation.asset_check_key: evaluation for evaluation in evaluations}
    found: list[CheckOutcome] = []
    for key in sorted(keys, key=lambda each: (each.asset_key.path, each.name)):
        evaluation = by_key.get(key)
        asset = key.asset_key.to_user_string()
        if evaluation is None:
            text = "no result: nothing is stored, or the check could not read it"
            found.append(CheckOutcome(name, asset, key.name, "no result", text))
            continue
        failed: Outcome = "failed" if evaluation.severity == dg.AssetCheckSeverity.ERROR else "warned"
        found.append(
            CheckOutcome(name, asset, key.name, "passed" if evaluation.passed else failed, evaluation.description or "")
        )
    return found


def junit(outcomes: Sequence[CheckOutcome]) -> bytes:
    """The outcomes as a JUnit report; a warning is a passed test with its text as output."""
    suite = ET.Element(
        "testsuite",
        name="torghut checks",
        tests=str(len(outcomes)),
        failures=str(sum(each.outcome == "failed" for each in outcomes)),
        errors=str(sum(each.outcome == "no result" for each in outcomes)),
    )
    for each in outcomes:
        case = ET.SubElement(suite, "testcase", classname=f"{each.candidate}.{each.asset}", name=each.check)
        if each.outcome == "failed":
            ET.SubElement(case, "failure", message=each.description)
        elif each.outcome == "no result":
            ET.SubElement(case, "error", message=each.description)
        elif each.outcome == "warned":
            ET.SubElement(case, "system-out").text = each.description
    return ET.tostring(suite, encoding="utf-8", xml_declaration=True) + b"\n"
