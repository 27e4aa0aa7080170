"""Laws of the patch: others stay as they are, everybody reads the same, and the way back is exact."""

import json
from typing import Any

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from torghut_assets.promotion.catalog_text import catalog_entries, merge_entries
from torghut_assets.promotion.configmap import apply_patch, patch_entry, render_patch
from torghut_runtime.strategies.catalog import StrategyEntry, load_catalog

IDS = st.sampled_from(["alpha", "beta", "gamma", "delta", "on", "0123", "a b", "ü"])
TEXTS = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cs", "Cn"], exclude_characters="\ufeff"), max_size=8
) | st.sampled_from(["", "# no comment", "a: b", "- x", "line\nline\n", "  indented", "tail \n\n", "'\"", "yes", "1e3"])
SCALARS = st.booleans() | st.integers(-(10**6), 10**6) | st.floats(-1e6, 1e6).map(lambda x: round(x, 4)) | TEXTS
ENTRIES = st.fixed_dictionaries(
    {"strategy_id": IDS, "strategy_type": st.just("legacy_macd_rsi")},
    optional={
        "description": TEXTS,
        "enabled": st.booleans(),
        "priority": st.integers(0, 100),
        "params": st.dictionaries(st.sampled_from(["k", "long_key", "on"]), SCALARS | st.lists(SCALARS, max_size=2)),
        "universe_symbols": st.lists(st.sampled_from(["ON", "NO", "AAPL", "BRK.B"]), min_size=1, unique=True),
        "max_notional_per_trade": st.integers(0, 10**6),
    },
)
CATALOGS = st.lists(ENTRIES, max_size=3, unique_by=lambda entry: entry["strategy_id"])
CANDIDATES = st.lists(ENTRIES, min_size=1, max_size=2, unique_by=lambda entry: entry["strategy_id"])
LAYOUTS = st.sampled_from(["block", "indented", "list", "flow", "json", "commented"])


def written(entries: list[dict[str, Any]], layout: str) -> str:
    if layout == "flow":
        return f"strategies: {yaml.safe_dump(entries, default_flow_style=True, allow_unicode=True)}"
    if layout == "json":
        return json.dumps({"strategies": entries})
    if layout == "list":
        return yaml.safe_dump(entries, sort_keys=False, allow_unicode=True)
    text = yaml.safe_dump({"strategies": entries}, sort_keys=False, allow_unicode=True, width=10**6)
    if layout == "block" or not entries:
        return text
    head, *items = [
        yaml.safe_dump([entry], sort_keys=False, allow_unicode=True, width=10**6) for entry in [{}, *entries]
    ]
    assert head == "- {}\n"
    blocks = ["".join(f"  {line}\n" if line else "\n" for line in item.splitlines()) for item in items]
    if layout == "commented":
        blocks = [f"  # comment {number}\n{block}" for number, block in enumerate(blocks)]
    return "# head\nstrategies:\n" + "".join(blocks) + ("  # tail\n" if layout == "commented" else "")


@settings(deadline=None)
@given(catalog=CATALOGS, candidates=CANDIDATES, layout=LAYOUTS)
def test_others_stay_in_their_order_and_the_candidates_are_what_was_evaluated(
    catalog: list[dict[str, Any]], candidates: list[dict[str, Any]], layout: str
) -> None:
    text = written(catalog, layout)
    new = {each["strategy_id"]: patch_entry(StrategyEntry.model_validate(each)) for each in candidates}
    merged = merge_entries(text, list(new.values()))
    before = catalog_entries(text)
    assert catalog_entries(merged) == [
        *(new.get(each["strategy_id"], each) for each in before),
        *(entry for key, entry in new.items() if key not in {each["strategy_id"] for each in before}),
    ]
    assert merge_entries(merged, list(new.values())) == merged
    if layout == "commented" and catalog:
        numbers = [f"  # comment {number}" for number in range(len(catalog))]
        assert [line for line in merged.splitlines() if line.startswith("  # ")] == [*numbers, "  # tail"]


@settings(deadline=None)
@given(
    catalog=CATALOGS,
    candidates=CANDIDATES,
    layout=LAYOUTS,
    style=st.sampled_from([None, "|", '"', ">"]),
    annotated=st.booleans(),
)
def test_what_apply_makes_is_what_a_strategic_merge_makes(
    catalog: list[dict[str, Any]], candidates: list[dict[str, Any]], layout: str, style: str | None, annotated: bool
) -> None:
    metadata: dict[str, Any] = {"name": "strategies", "namespace": "desk"}
    if annotated:
        metadata["annotations"] = {"note": "kept"}
    content = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata,
        "data": {"strategies.yaml": written(catalog, layout), "other": "kept"},
    }
    source = yaml.dump(content, Dumper=yaml.SafeDumper, default_style=style, allow_unicode=True, sort_keys=False)
    entries = [StrategyEntry.model_validate(each) for each in candidates]
    patch = render_patch(source, entries, candidate_id="cand-1", run_id="run-1", mode="paper")
    changes, applied = yaml.safe_load(patch), yaml.safe_load(apply_patch(source, patch))
    assert applied["data"] == {**content["data"], **changes["data"]}
    assert applied["metadata"] == {
        **metadata,
        "annotations": {**metadata.get("annotations", {}), **changes["metadata"]["annotations"]},
    }
    by_id = {each.strategy_id: each for each in load_catalog(patch)}
    for entry in entries:
        assert by_id[entry.strategy_id] == entry
