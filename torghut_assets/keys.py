"""Keys and groups of the assets: the names by which Dagster, documents and commands know them."""

import dagster as dg

BARS = dg.AssetKey(["market", "bars"])
SIGNALS = dg.AssetKey(["market", "signals"])
CANDIDATE_SPEC = dg.AssetKey(["research", "candidate_spec"])
WALKFORWARD_RESULTS = dg.AssetKey(["backtest", "walkforward_results"])
EVALUATION_REPORT = dg.AssetKey(["backtest", "evaluation_report"])
EVIDENCE = dg.AssetKey(["gates", "evidence"])
GATE_EVALUATION = dg.AssetKey(["gates", "gate_evaluation"])
PREREQUISITES = dg.AssetKey(["gates", "promotion_prerequisites"])
READINESS = dg.AssetKey(["gates", "rollback_readiness"])
POLICY_DRY_RUN = dg.AssetKey(["gates", "policy_dry_run"])
DECISION = dg.AssetKey(["gates", "promotion_decision"])
PATCH = dg.AssetKey(["paper_candidate", "strategy_configmap_patch"])
LEADERBOARD = dg.AssetKey(["research", "leaderboard"])

RESEARCHERS = ["team:research"]
RISK = ["team:risk"]
OPERATORS = ["team:trading-operations"]
