"""The graph of stages: what must hold of it, and its picture.

A :class:`Graph` is read leniently from a policy file's content, so that everything wrong with a file can be told at
once, also where the strict model refuses it. Which conditions a stage has is the policy's business.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

EdgeKind = Literal["containment", "return", "closing", "forward"]


@dataclass(frozen=True)
class Graph:
    """Stages in their order, edges, and the stages with a part of their own."""

    stages: tuple[str, ...]
    edges: Mapping[str, tuple[str, ...]]
    on_failure: Mapping[str, str]
    repeatable: frozenset[str]
    requiring: frozenset[str]
    intake: str
    containment: str
    closing: str
    start_stages: tuple[str, ...]

    def kind(self, target: str) -> EdgeKind:
        """The kind of every edge that leads to ``target``."""
        if target == self.containment:
            return "containment"
        if target == self.intake:
            return "return"
        return "closing" if target == self.closing else "forward"

    def has_edge(self, source: str, target: str) -> bool:
        """Whether the policy lists this edge."""
        return target in self.edges.get(source, ())


def problems(graph: Graph) -> Iterator[str]:
    """Everything that keeps a graph from being used, one sentence each."""
    known = set(graph.stages)
    yield from (f"stage {name} stands twice" for name, count in Counter(graph.stages).items() if count > 1)
    yield from (f"controls name the unknown stage {name}" for name in _special(graph) if name not in known)
    yield from (f"transitions lack the stage {name}" for name in sorted(known - set(graph.edges)))
    yield from _edge_problems(graph, known)
    for name in dict.fromkeys(graph.stages):
        if name != graph.containment and not graph.has_edge(name, graph.containment):
            yield f"stage {name} has no edge to the containment stage {graph.containment}"
    if graph.containment in graph.requiring:
        yield f"the containment stage {graph.containment} must require nothing"
    for name, target in graph.on_failure.items():
        if not graph.has_edge(name, target):
            yield f"onFailure of {name} is {target}, which is no edge of it"
    if graph.intake in known:
        reached = reachable(graph.edges, graph.intake) | {graph.intake}
        yield from (f"stage {name} cannot be reached from {graph.intake}" for name in sorted(known - reached))
    open_edges = {
        source: tuple(target for target in targets if target not in {graph.containment, graph.intake})
        for source, targets in graph.edges.items()
        if source != graph.intake
    }
    cyclic = sorted(name for name in known if name in reachable(open_edges, name) and name not in graph.repeatable)
    if cyclic:
        yield (
            f"a cycle that does not pass through {graph.intake} holds stages that are not repeatable: "
            f"{', '.join(cyclic)}"
        )


def _edge_problems(graph: Graph, known: set[str]) -> Iterator[str]:
    for source, targets in graph.edges.items():
        if source not in known:
            yield f"transitions start from the unknown stage {source}"
        for target, count in Counter(targets).items():
            if target not in known:
                yield f"transition {source} -> {target} leads to an unknown stage"
            if target == source:
                yield f"transition {source} -> {target} leads back to its own stage"
            if count > 1:
                yield f"transition {source} -> {target} stands twice"
        forward = sorted({target for target in targets if graph.kind(target) == "forward"})
        if len(forward) > 1:
            yield f"stage {source} has more than one forward edge: {', '.join(forward)}"


def _special(graph: Graph) -> Sequence[str]:
    return list(dict.fromkeys((graph.intake, graph.containment, graph.closing, *graph.start_stages)))


def reachable(edges: Mapping[str, tuple[str, ...]], start: str) -> set[str]:
    """Stages that can be reached from ``start`` in one step or more."""
    found = set[str]()
    waiting = list(edges.get(start, ()))
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting.extend(edges.get(name, ()))
    return found


def graph_of(content: Mapping[str, Any]) -> Graph:
    """What can be read of the graph in a policy file's content; what has the wrong type is left to the model."""
    stages = [item for item in _items(content.get("stages")) if isinstance(item.get("stage"), str)]
    transitions = _mapping(content.get("transitions"))
    controls = {**CONTROL_DEFAULTS, **_mapping(content.get("controls"))}
    requirements = (
        "requirePreviousArtifact",
        "requirePreviousGatePass",
        "requireRiskControls",
        "requireExecutionControls",
    )
    return Graph(
        stages=tuple(item["stage"] for item in stages),
        edges={source: _texts(targets) for source, targets in transitions.items()},
        on_failure={item["stage"]: item["onFailure"] for item in stages if isinstance(item.get("onFailure"), str)},
        repeatable=frozenset(item["stage"] for item in stages if item.get("repeatable") is True),
        requiring=frozenset(item["stage"] for item in stages if any(item.get(key, True) for key in requirements)),
        intake=str(controls["intakeStage"]),
        containment=str(controls["containmentStage"]),
        closing=str(controls["closingStage"]),
        start_stages=_texts(controls["startStages"]),
    )


CONTROL_DEFAULTS: Mapping[str, Any] = {
    "intakeStage": "research-intake",
    "containmentStage": "incident-recovery",
    "closingStage": "audit-evidence",
    "startStages": ["research-intake", "shadow-paper", "continuous-monitoring"],
}
"""Stages with a part of their own, unless the policy names others."""


def _mapping(value: object) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        return {}
    return {key: item for key, item in cast("Mapping[object, Any]", value).items() if isinstance(key, str)}


def _items(value: object) -> list[dict[str, Any]]:
    return [_mapping(item) for item in cast("list[object]", value)] if isinstance(value, list) else []


def _texts(value: object) -> tuple[str, ...]:
    return (
        tuple(item for item in cast("list[object]", value) if isinstance(item, str)) if isinstance(value, list) else ()
    )


_ARROWS: Mapping[EdgeKind, str] = {"forward": "-->", "return": "-.->", "closing": "-.->", "containment": "-.->"}


def mermaid(graph: Graph, lanes: Mapping[str, str]) -> str:
    """The graph as Mermaid text: forward edges drawn through, the others dotted and named by their kind."""
    lines = ["flowchart TD"]
    lines += [f'    {name}["{name}<br/>{lanes[name]}"]' for name in graph.stages]
    for source in graph.stages:
        for target in graph.edges.get(source, ()):
            kind = graph.kind(target)
            label = "" if kind == "forward" else f"|{kind}|"
            lines.append(f"    {source} {_ARROWS[kind]}{label} {target}")
    return "\n".join(lines) + "\n"
