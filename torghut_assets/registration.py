"""Candidate registrations (``config/candidates/NAME.yaml``): which inputs a candidate is judged on.

Here stands what a registration may say and where its paths lead. Reading the inputs is the lane's business; turning
registrations into partitions is ``sensors``'s.
"""

import re
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from torghut_assets.gates.rule import Target
from torghut_assets.strict_text import read_mapping
from torghut_runtime.errors import InputError
from torghut_runtime.strategies.catalog import explain

FOLDER: Final = Path("config/candidates")
DEFAULT_CONFIGMAP: Final = "deploy/k8s/base/strategy-configmap.yaml"
_NAME: Final = re.compile(r"(?!cand-)[a-z0-9][a-z0-9-]{2,62}")


def check_name(name: str) -> str:
    """Return ``name`` when it can be a candidate's.

    Raises:
        ValueError: it cannot; says what a name looks like.
    """
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no candidate name: 3 to 63 of a-z, 0-9 and -, not beginning with - or cand-")
    return name


class CandidateRegistration(BaseModel):
    """What determines a candidate's lane; all paths are relative to the project root."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    name: str
    bars: str | None = Field(default=None, min_length=1)
    signals: str | None = Field(default=None, min_length=1)
    timeframe: str | None = None
    strategy_config: str = Field(min_length=1)
    gate_policy: str = Field(min_length=1)
    research: str | None = Field(default=None, min_length=1)
    promotion_target: Target = "paper"
    strategy_configmap: str = Field(default=DEFAULT_CONFIGMAP, min_length=1)

    @model_validator(mode="after")
    def _consistent(self) -> "CandidateRegistration":
        check_name(self.name)
        if (self.bars is None) == (self.signals is None):
            raise ValueError("give either bars or signals")
        return self


def load_registration(path: Path) -> CandidateRegistration:
    """Read one registration.

    Raises:
        InputError: unreadable file, unknown key, a value that does not fit, or a name that is not the file's.
    """
    try:
        registration = CandidateRegistration.model_validate(read_mapping(path))
    except ValidationError as error:
        message, field = explain(error, CandidateRegistration)
        raise InputError(message, file=path, field=field) from None
    if registration.name != path.stem:
        raise InputError(f"must be the file's name {path.stem!r}, was {registration.name!r}", file=path, field="name")
    return registration


def registered(root: Path) -> tuple[list[CandidateRegistration], list[InputError]]:
    """All registrations of a project by name, and what is wrong with those that cannot be used."""
    good: list[CandidateRegistration] = []
    bad: list[InputError] = []
    for path in sorted((root / FOLDER).glob("*.yaml")):
        try:
            good.append(load_registration(path))
        except InputError as error:
            bad.append(error)
    return good, bad
