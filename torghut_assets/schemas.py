"""JSON Schemas of everything that torghut writes for others to read, generated from the models.

``python -m torghut_assets.schemas`` writes them to ``docs/schemas``; with ``--check`` it only says which are not
current (exit 1). A model joins by a line in :data:`ARTIFACT_MODELS`.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import BaseModel

from torghut_assets.gates.evaluation import GateEvaluation
from torghut_assets.gates.evidence import Evidence
from torghut_assets.gates.policy import policy_schema
from torghut_assets.promotion.decision import PromotionDecision
from torghut_assets.promotion.prerequisites import PromotionPrerequisites
from torghut_assets.promotion.readiness import RollbackReadiness
from torghut_assets.research.candidate import CandidateSpec
from torghut_assets.research.report import EvaluationReport
from torghut_assets.research.walkforward import WalkforwardReport

DIALECT = "https://json-schema.org/draft/2020-12/schema"
FOLDER = Path(__file__).parents[1] / "docs" / "schemas"

ARTIFACT_MODELS: Mapping[str, type[BaseModel]] = {
    "candidate-spec": CandidateSpec,
    "walkforward-results": WalkforwardReport,
    "evaluation-report": EvaluationReport,
    "evidence": Evidence,
    "gate-evaluation": GateEvaluation,
    "promotion-prerequisites": PromotionPrerequisites,
    "rollback-readiness": RollbackReadiness,
    "promotion-decision": PromotionDecision,
}
"""Model of each artifact; the schema's file is named after the artifact."""


def schema_texts() -> dict[str, str]:
    """Text of every schema file, by file name."""
    schemas = {
        name: {"$schema": DIALECT, **model.model_json_schema(mode="serialization", by_alias=True)}
        for name, model in ARTIFACT_MODELS.items()
    }
    schemas["gate-policy"] = policy_schema()
    return {
        f"{name}.schema.json": json.dumps(schema, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
        for name, schema in sorted(schemas.items())
    }


def outdated(folder: Path = FOLDER) -> list[str]:
    """Names of the schema files that are missing, differ, or belong to no model."""
    texts = schema_texts()
    present = {path.name: path.read_text(encoding="utf-8") for path in folder.glob("*.schema.json")}
    return sorted(name for name in {*texts, *present} if texts.get(name) != present.get(name))


def main(arguments: Sequence[str]) -> int:
    """Write the schemas, or with ``--check`` name those that are not current."""
    if "--check" in arguments:
        for name in outdated():
            sys.stderr.write(f"docs/schemas/{name} is not current: run python -m torghut_assets.schemas\n")
        return 1 if outdated() else 0
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name in outdated():
        text = schema_texts().get(name)
        if text is None:
            (FOLDER / name).unlink()
        else:
            (FOLDER / name).write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
