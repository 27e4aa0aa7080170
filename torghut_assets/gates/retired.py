"""Keys of the predecessor's gate policy that have no rule any more, and what took their place.

They are accepted in a policy file and listed in each verdict; they change nothing.
"""

from collections.abc import Mapping

RETIRED_KEYS: Mapping[str, str] = {
    "gate2_max_fragility_state_rank": "covered by 2.fragility_score",
    "gate2_require_stability_mode_under_stress": "covered by 2.stress_loss_fraction",
    "gate3_max_forecast_fallback_rate": "covered by 3.forecast_calibration_score",
    "gate3_max_forecast_latency_ms_p95": "covered by 3.parity_ratio: a late decision is another decision",
    "gate6_max_cost_bps": "covered by 2.cost_bps",
    "gate6_max_calibration_error": "covered by 3.forecast_calibration_score and 7.coverage_error",
    "gate6_min_reproducibility_hashes": "covered by p.required_artifact_digest_mismatch",
    "gate6_require_benchmark_parity_evidence": "covered by 6.net_pnl_delta and 6.baseline_equality",
    "gate6_require_janus_evidence": "covered by 6.regime_slice_pass_ratio",
    "gate6_min_janus_event_count": "covered by 6.confidence_samples",
    "gate6_min_janus_reward_count": "covered by 6.confidence_samples",
    "promotion_require_patch_targets": "covered by the promotion decision: without it there is no patch",
    "promotion_require_benchmark_parity_evidence": "covered by 6.net_pnl_delta and 6.baseline_equality",
    "promotion_require_janus_evidence": "covered by 6.regime_slice_pass_ratio",
    "promotion_min_janus_event_count": "covered by 6.confidence_samples",
    "promotion_min_janus_reward_count": "covered by 6.confidence_samples",
}
"""Keys of the predecessor's policy that are accepted and listed in each verdict, with what took their place."""
RETIRED_FAMILIES: Mapping[str, str] = {
    "promotion_benchmark_parity_": "covered by 6.net_pnl_delta and 6.baseline_equality",
    "promotion_janus_": "covered by 6.regime_slice_pass_ratio",
}


def successor(key: str) -> str | None:
    """What covers a retired key, ``None`` for a key that was never retired."""
    if key in RETIRED_KEYS:
        return RETIRED_KEYS[key]
    return next((text for prefix, text in RETIRED_FAMILIES.items() if key.startswith(prefix)), None)
