"""Laws of the policy's graph and of `decide()` over all pairs of stages."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from torghut_assets.guard.policy import POLICY_PATH, load_policy
from torghut_assets.guard.transitions import CandidateState, Facts, TransitionRequest, decide

POLICY = load_policy(Path(__file__).parents[3] / POLICY_PATH)
STAGES = st.sampled_from(POLICY.stage_names)
JUDGEMENTS = st.sampled_from(("passed", "failed", "unknown"))
GOOD = Facts(artifact_fault=None, gate="passed", risk="passed", execution="passed")


def state(active: str, *, paused: bool = False) -> CandidateState:
    return CandidateState("momentum", "cand-0426c28f7b82", "run-000001", active, paused, version=1)


def request(to_stage: str) -> TransitionRequest:
    return TransitionRequest("cand-0426c28f7b82", "run-000001", to_stage, "ada")


@given(source=STAGES, target=STAGES)
def test_every_listed_edge_is_allowed_with_good_facts_and_every_other_pair_is_illegal(source: str, target: str) -> None:
    decision = decide(POLICY, request(target), state(source), GOOD)
    if source == target:
        assert decision.reason in {"transition_already_applied", "already_in_containment"}
    elif POLICY.graph.has_edge(source, target):
        assert (decision.allowed, decision.reason) == (True, "transition_allowed")
    else:
        assert (decision.allowed, decision.reason) == (False, f"illegal_transition:{source}->{target}")


@given(
    source=STAGES,
    target=STAGES,
    paused=st.booleans(),
    facts=st.builds(
        Facts,
        artifact_fault=st.sampled_from((None, "missing_previous_artifact")),
        gate=JUDGEMENTS,
        risk=JUDGEMENTS,
        execution=JUDGEMENTS,
        freeze=st.sampled_from((None, "operator")),
        entered=st.frozensets(STAGES),
        entered_forward=st.frozensets(STAGES),
    ),
)
def test_a_worse_fact_never_opens_a_way_and_containment_never_closes(
    source: str, target: str, paused: bool, facts: Facts
) -> None:
    decision = decide(POLICY, request(target), state(source, paused=paused), facts)
    assert decision.allowed == (decision.next_action == "proceed")
    if decision.allowed:
        assert decide(POLICY, request(target), state(source), GOOD).allowed
    if target == POLICY.controls.containment_stage:
        assert decision.allowed


@given(walk=st.lists(st.integers(0, 3), max_size=40))
def test_no_forward_walk_reaches_live_ramp_without_stages_4_to_8(walk: list[int]) -> None:
    active, seen = "research-intake", ["research-intake"]
    for choice in walk:
        ways = [target for target in POLICY.graph.edges[active] if POLICY.edge_kind(target) == "forward"]
        if not ways:
            break
        active = ways[choice % len(ways)]
        seen.append(active)
    if "live-ramp" in seen:
        assert set(POLICY.stage_names[3:8]) <= set(seen[: seen.index("live-ramp")])
