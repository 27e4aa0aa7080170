"""The patch: other strategies untouched, the candidate's merged in, applied to its base only, read by everybody."""

from collections.abc import Mapping
from typing import Any, cast

import kubernetes_validate
import pytest
import yaml

from torghut_assets.promotion.catalog_text import catalog_entries, merge_entries
from torghut_assets.promotion.configmap import (
    ANNOTATIONS,
    ENTRY_KEYS,
    PatchRefusedError,
    apply_patch,
    entries_digest,
    patch_entry,
    render_patch,
    show_patch,
    source_digest,
)
from torghut_assets.shipped_files import shipped
from torghut_runtime.errors import InputError
from torghut_runtime.strategies.catalog import StrategyEntry, load_catalog

SHIPPED = shipped("deploy/k8s/base/strategy-configmap.yaml").read_text(encoding="utf-8")
CATALOG = """\
# Traded by the desk; ask before you touch it.
strategies:
  - name: first            # oldest
    strategy_id: first
    strategy_type: legacy_macd_rsi
    version: 1.0.0
    params: {buy_rsi_threshold: 30}

  # the second one
  - strategy_id: second
    strategy_type: legacy_macd_rsi
    version: "1.0.0"
    description: |
      Two lines,
      kept as they are.
    universe_symbols:
      - "ON"
      - AAPL
  # end of the list
"""
_HEAD = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n"
SECOND = """\
  # the second one
  - strategy_id: second
    strategy_type: legacy_macd_rsi
    version: "1.0.0"
    description: |
      Two lines,
      kept as they are.
    universe_symbols:
      - "ON"
      - AAPL
"""


def entry(strategy_id: str = "candidate", **keys: object) -> StrategyEntry:
    return StrategyEntry.model_validate(
        {"strategy_id": strategy_id, "strategy_type": "legacy_macd_rsi", "version": "1.0.0", **keys}
    )


def configmap(catalog: str, **data: str) -> str:
    block = "".join(f"    {line}\n" if line else "\n" for line in catalog.splitlines())
    more = "".join(f"  {key}: {value}\n" for key, value in data.items())
    return (
        "# owned by the platform team\napiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: strategies  # the one\n"
        f"  namespace: desk\n  labels: {{app: torghut}}\ndata:\n  strategies.yaml: |\n{block}{more}"
    )


def render(source: str, *entries: StrategyEntry, **keys: Any) -> str:
    return render_patch(
        source, entries or (entry(),), **{"candidate_id": "cand-1", "run_id": "run-1", "mode": "paper", **keys}
    )


def strategies(manifest: str) -> str:
    return cast("str", yaml.safe_load(manifest)["data"]["strategies.yaml"])


def strategic_merge(source: str, patch: str) -> Any:
    """What ``kubectl patch`` and kustomize make of a ConfigMap: maps are merged by key, texts replaced."""

    def merged(old: Any, new: Any) -> Any:
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            return {**old, **{key: merged(old.get(key), value) for key, value in new.items()}}
        return new

    return merged(yaml.safe_load(source), yaml.safe_load(patch))


class TestMerging:
    def test_an_added_strategy_follows_the_others_whose_every_byte_stays(self) -> None:
        merged = merge_entries(CATALOG, [patch_entry(entry())])
        head, tail = CATALOG.split("  # end of the list\n")
        assert merged.startswith(head)
        assert merged.endswith(f"  # end of the list\n{tail}")
        assert [each["strategy_id"] for each in catalog_entries(merged)] == ["first", "second", "candidate"]

    def test_a_replaced_strategy_keeps_its_place_and_the_others_every_byte(self) -> None:
        merged = merge_entries(CATALOG, [patch_entry(entry("first", priority=7))])
        assert SECOND in merged
        assert merged.startswith("# Traded by the desk; ask before you touch it.\nstrategies:\n  - name: first\n")
        assert merged.endswith("  # end of the list\n")
        first, second = catalog_entries(merged)
        assert (first["strategy_id"], first["priority"]) == ("first", 7)
        assert second == catalog_entries(CATALOG)[1]

    def test_several_at_once(self) -> None:
        entries = [patch_entry(entry("new")), patch_entry(entry("second")), patch_entry(entry("newer"))]
        merged = merge_entries(CATALOG, entries)
        assert [each["strategy_id"] for each in catalog_entries(merged)] == ["first", "second", "new", "newer"]
        assert "  - name: first            # oldest\n" in merged

    def test_merging_again_changes_nothing(self) -> None:
        once = merge_entries(CATALOG, [patch_entry(entry())])
        assert merge_entries(once, [patch_entry(entry())]) == once

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "# none yet\n",
            "strategies:\n",
            "strategies: # none yet\n",
            "strategies: []\n",
            "strategies: [] # none yet\n",
            "[]\n",
            '{"strategies": []}',
            '{"strategies": null}',
            '{"strategies": [{"name": "a", "strategy_id": "a", "strategy_type": "x"}]}',
            "strategies: [{name: a, strategy_id: a, strategy_type: x}] # flow\n",
            "- name: a\n  strategy_id: a\n  strategy_type: x",
            "strategies:\n- name: a\n  strategy_id: a\n  strategy_type: x\n# tail\n",
            "---\nstrategies:\n  - name: a\n    strategy_id: a\n    strategy_type: x\n...\n",
            "strategies:\n  -   name: a\n      strategy_id: a\n      strategy_type: x\n\n\n",
            "strategies:\n  - # odd\n    name: a\n    strategy_id: a\n    strategy_type: x\n",
            "strategies:\r\n  - name: a\r\n    strategy_id: a\r\n    strategy_type: x\r\n",
        ],
    )
    @pytest.mark.parametrize("strategy_id", ["a", "candidate"])
    def test_every_layout_of_a_catalog_is_understood(self, text: str, strategy_id: str) -> None:
        new = patch_entry(
            entry(
                strategy_id,
                params={"buy_rsi_threshold": 31.5, "tiny": 1e-05, "huge": 1e16},
                universe_symbols=["ON", "NO"],
            )
        )
        before = catalog_entries(text)
        merged = merge_entries(text, [new])
        expected = [new if each["strategy_id"] == strategy_id else each for each in before]
        assert catalog_entries(merged) == (expected if new in expected else [*expected, new])
        load_catalog(merged)
        assert [line for line in text.splitlines() if "#" in line and line.strip()[0] == "#"] == [
            line for line in merged.splitlines() if line.strip().startswith("#")
        ]

    @pytest.mark.parametrize(
        ("text", "strategy_id"),
        [
            ("strategies:\n  - &a {name: a, strategy_id: a}\n  - {<<: *a, name: b, strategy_id: b}\n", "a"),
            ("{}\n", "a"),
        ],
    )
    def test_what_cannot_be_edited_without_touching_others_is_refused(self, text: str, strategy_id: str) -> None:
        with pytest.raises(InputError, match="without changing other strategies") as caught:
            merge_entries(text, [patch_entry(entry(strategy_id))], file="c.yaml")
        assert caught.value.file == "c.yaml"

    @pytest.mark.parametrize("text", ["a: [", "strategies: 1\n", "strategies: [1]\n", "- x\n"])
    def test_what_is_no_catalog_is_refused(self, text: str) -> None:
        with pytest.raises(InputError):
            merge_entries(text, [patch_entry(entry())])

    def test_the_name_of_another_strategy_is_refused(self) -> None:
        with pytest.raises(InputError, match="another strategy is already named 'first'"):
            merge_entries(CATALOG, [patch_entry(entry("other", name="first"))])


class TestEntry:
    def test_it_holds_the_values_that_were_evaluated_under_the_promised_keys(self) -> None:
        full = entry(
            description="d",
            priority=5,
            enabled=False,
            base_timeframe="1Day",
            universe_symbols=["AAPL"],
            params={"buy_rsi_threshold": 31},
            max_notional_per_trade=0,
            max_position_pct_equity=0.25,
            search={"buy_rsi_threshold": [30, 31]},
        )
        content = patch_entry(full)
        assert tuple(content) == ENTRY_KEYS
        assert (content["max_notional_per_trade"], content["max_position_pct_equity"]) == (0, 0.25)
        assert content["params"] == {"buy_rsi_threshold": 31}
        read = load_catalog(yaml.safe_dump([content]))[0]
        assert read == full.model_copy(update={"search": {}})

    @pytest.mark.parametrize(
        ("caps", "halved"),
        [
            ({}, {"max_position_pct_equity": 0.5}),
            ({"max_notional_per_trade": 1000}, {"max_notional_per_trade": 500}),
            ({"max_position_pct_equity": 0.2}, {"max_position_pct_equity": 0.1}),
            (
                {"max_notional_per_trade": 0, "max_position_pct_equity": 0.2},
                {"max_notional_per_trade": 0, "max_position_pct_equity": 0.1},
            ),
        ],
    )
    def test_degrading_halves_every_cap_and_never_lifts_one(
        self, caps: dict[str, float], halved: dict[str, float]
    ) -> None:
        keys = ("max_notional_per_trade", "max_position_pct_equity")
        full, half = patch_entry(entry(**caps)), patch_entry(entry(**caps), cap_multiplier=0.5)
        assert {key: full[key] for key in keys if key in full} == caps
        assert {key: half[key] for key in keys if key in half} == halved


class TestRendering:
    def test_it_carries_the_merged_text_and_says_what_it_is(self) -> None:
        source = configmap(CATALOG)
        patch = render(source)
        assert strategies(patch) == merge_entries(CATALOG, [patch_entry(entry())])
        manifest = yaml.safe_load(patch)
        assert {key: manifest["metadata"][key] for key in ("name", "namespace")} == {
            "name": "strategies",
            "namespace": "desk",
        }
        assert manifest["metadata"]["annotations"] == {
            "torghut.proompteng.ai/candidate-id": "cand-1",
            "torghut.proompteng.ai/run-id": "run-1",
            "torghut.proompteng.ai/recommended-mode": "paper",
            "torghut.proompteng.ai/source-sha256": source_digest(source),
            "torghut.proompteng.ai/entry-sha256": entries_digest([patch_entry(entry())]),
        }
        assert set(manifest["metadata"]["annotations"]) == set(ANNOTATIONS)

    def test_equal_inputs_give_equal_bytes(self) -> None:
        assert render(configmap(CATALOG)) == render(configmap(CATALOG))

    def test_the_runtime_reads_it(self) -> None:
        text = render(SHIPPED, entry(universe_symbols=["ON"], max_notional_per_trade=2500))
        names = [each.strategy_id for each in load_catalog(text)]
        assert names == [*[each.strategy_id for each in load_catalog(SHIPPED)], "candidate"]

    @pytest.mark.parametrize("source", [SHIPPED, configmap(CATALOG)])
    def test_kubernetes_accepts_it_and_what_it_makes(self, source: str) -> None:
        patch = render(source)
        for manifest in (patch, apply_patch(source, patch)):
            kubernetes_validate.validate(yaml.safe_load(manifest), "1.33", strict=True)

    @pytest.mark.parametrize("source", [SHIPPED, configmap(CATALOG, other="kept")])
    def test_kubectl_and_apply_come_to_the_same(self, source: str) -> None:
        patch = render(source)
        assert yaml.safe_load(apply_patch(source, patch)) == strategic_merge(source, patch)

    def test_degraded_caps_are_in_the_text_and_in_the_digest(self) -> None:
        full = render(SHIPPED, entry(max_notional_per_trade=1000))
        half = render(SHIPPED, entry(max_notional_per_trade=1000), cap_multiplier=0.5)
        assert load_catalog(half)[-1].max_notional_per_trade == 500
        digests = {show_patch(each).annotations["torghut.proompteng.ai/entry-sha256"] for each in (full, half)}
        assert len(digests) == 2

    @pytest.mark.parametrize(
        "text",
        [
            "kind: Secret\nmetadata: {name: a}\ndata: {strategies.yaml: ''}\n",
            "kind: ConfigMap\nmetadata: {}\ndata: {strategies.yaml: ''}\n",
            "kind: ConfigMap\nmetadata: {name: a}\ndata: {}\n",
            "kind: ConfigMap\nmetadata: {name: a}\ndata: {strategies.yaml: [1]}\n",
            "kind: ConfigMap\nmetadata: {name: a}\n",
            "[]\n",
            "a: [\n",
            "",
        ],
    )
    def test_a_source_that_is_no_strategy_configmap_is_refused(self, text: str) -> None:
        with pytest.raises(InputError):
            render(text)

    def test_a_source_whose_strategies_the_runtime_would_refuse_is_refused(self) -> None:
        with pytest.raises(InputError, match="did you mean enabled"):
            render(configmap("strategies:\n  - {name: a, strategy_type: x, enabld: true}\n"))


class TestApplying:
    def test_comments_and_other_keys_stay(self) -> None:
        source = configmap(CATALOG, other="kept")
        applied = apply_patch(source, render(source))
        second = "".join(f"    {line}\n" for line in SECOND.splitlines())
        for kept in ("# owned by the platform team\n", "  name: strategies  # the one\n", "  other: kept\n", second):
            assert kept in applied
        assert strategies(applied) == strategies(render(source))

    def test_another_base_is_refused_until_rendered_again(self) -> None:
        base = configmap(CATALOG)
        one, two = render(base, entry("one")), render(base, entry("two"))
        after = apply_patch(base, one)
        with pytest.raises(PatchRefusedError, match="render it again") as caught:
            apply_patch(after, two)
        assert caught.value.reason_code == "patch_base_changed"
        both = apply_patch(after, render(after, entry("two")))
        assert [each.strategy_id for each in load_catalog(both)] == ["first", "second", "one", "two"]

    def test_one_changed_byte_of_the_base_is_another_base(self) -> None:
        base = configmap(CATALOG)
        with pytest.raises(PatchRefusedError, match="patch_base_changed"):
            apply_patch(base.replace("oldest", "Oldest"), render(base))

    def test_applying_twice_is_refused(self) -> None:
        base = configmap(CATALOG)
        patch = render(base)
        with pytest.raises(PatchRefusedError, match="patch_base_changed"):
            apply_patch(apply_patch(base, patch), patch)

    @pytest.mark.parametrize("change", [("name: strategies", "name: others"), ("namespace: desk", "namespace: x")])
    def test_a_patch_for_another_configmap_is_refused(self, change: tuple[str, str]) -> None:
        base = configmap(CATALOG)
        with pytest.raises(PatchRefusedError) as caught:
            apply_patch(base.replace(*change), render(base))
        assert caught.value.reason_code == "patch_for_other_configmap"

    @pytest.mark.parametrize("annotation", ANNOTATIONS)
    def test_a_patch_without_one_of_its_annotations_is_none(self, annotation: str) -> None:
        base = configmap(CATALOG)
        lines = [line for line in render(base).splitlines(keepends=True) if annotation not in line]
        with pytest.raises(InputError, match="is missing") as caught:
            apply_patch(base, "".join(lines))
        assert caught.value.field == f"metadata.annotations.{annotation}"

    def test_a_second_promotion_takes_the_annotations_over(self) -> None:
        base = configmap(CATALOG)
        once = apply_patch(base, render(base, entry("one")))
        twice = apply_patch(once, render(once, entry("two"), candidate_id="cand-2", run_id="run-2"))
        annotations = yaml.safe_load(twice)["metadata"]["annotations"]
        assert annotations["torghut.proompteng.ai/candidate-id"] == "cand-2"
        assert twice.count("torghut.proompteng.ai/candidate-id") == 1
        assert annotations["torghut.proompteng.ai/source-sha256"] == source_digest(once)

    @pytest.mark.parametrize(
        "source",
        [
            "{apiVersion: v1, kind: ConfigMap, metadata: {name: a}, data: {strategies.yaml: 'strategies: []'}}\n",
            f"{_HEAD}  name: a\n  annotations: {{k: v}}\ndata:\n  strategies.yaml: |-\n    strategies: []\n",
            f"{_HEAD}  annotations:\n    k: v # why\n  name: a\ndata:\n  strategies.yaml: '[]'   # quoted\n  z: '1'\n",
            "apiVersion: v1\ndata:\n  strategies.yaml: |+\n    []\n\n\n\nkind: ConfigMap\nmetadata: {name: a}\n",
            f"{_HEAD}    name: a\ndata:\n    strategies.yaml: >\n      strategies: []\n",
        ],
    )
    def test_every_layout_of_a_configmap_is_understood(self, source: str) -> None:
        patch = render(source)
        assert yaml.safe_load(apply_patch(source, patch)) == strategic_merge(source, patch)

    def test_texts_that_no_block_can_hold_survive(self) -> None:
        source = configmap('strategies:\n  - {name: a, strategy_type: x, description: "\\r \\U0001F600 \\x85"}\n')
        described = entry(description="first\r\nsecond \U0001f600\x85")
        applied = apply_patch(source, render(source, described))
        assert load_catalog(applied)[-1].description == "first\r\nsecond \U0001f600\x85"


class TestShowing:
    def test_it_names_what_is_added_and_replaced(self) -> None:
        base = configmap(CATALOG)
        patch = render(base, entry("second"), entry("new"))
        summary = show_patch(patch, base)
        assert summary.configmap == "desk/strategies"
        assert summary.strategies == ("first", "second", "new")
        assert (summary.added, summary.replaced) == (("new",), ("second",))

    def test_without_a_source_nothing_is_claimed(self) -> None:
        summary = show_patch(render(configmap(CATALOG)))
        assert (summary.added, summary.replaced) == ((), ())
