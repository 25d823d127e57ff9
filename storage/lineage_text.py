"""A lineage as a tree, as Mermaid, and as plain data."""

from typing import Any

from storage.lineage import Direction, Lineage, Node

SHORT = 12
ARROW = {"up": "made of", "down": "became"}


def tree(lineage: Lineage) -> list[str]:
    """The lineage as lines of text: what the node was made of, then what it became.

    A node that several others lead to is opened once; elsewhere it ends in "(see above)".
    """
    lines = [title(lineage, lineage.start, whole=True)]
    for direction in ("up", "down"):
        near = _adjacent(lineage, direction)
        if lineage.start in near:
            lines.append(ARROW[direction])
            _grow(lineage, near, lineage.start, direction, "", {lineage.start}, lines)
    return lines


def _adjacent(lineage: Lineage, direction: Direction) -> dict[Node, list[Node]]:
    near: dict[Node, list[Node]] = {}
    for parent, child in lineage.edges:
        here, there = (parent, child) if direction == "down" else (child, parent)
        near.setdefault(here, []).append(there)
    return near


def _grow(
    lineage: Lineage,
    near: dict[Node, list[Node]],
    node: Node,
    direction: Direction,
    indent: str,
    opened: set[Node],
    lines: list[str],
) -> None:
    hidden = [
        f"… and {count:,} more of kind {kind}"
        for (of, way, kind), count in lineage.more.items()
        if of == node and way == direction
    ]
    children = near.get(node, [])
    for number, child in enumerate(children):
        last = number == len(children) - 1 and not hidden
        again = child in opened and bool(near.get(child))
        mark = " (see above)" if again else ""
        lines.append(f"{indent}{'└─' if last else '├─'} {title(lineage, child)}{mark}")
        if child not in opened:
            opened.add(child)
            deeper = indent + ("   " if last else "│  ")
            _grow(lineage, near, child, direction, deeper, opened, lines)
    for number, line in enumerate(hidden):
        lines.append(f"{indent}{'└─' if number == len(hidden) - 1 else '├─'} {line}")


def title(lineage: Lineage, node: Node, whole: bool = False) -> str:
    """A node in one line; a leaf, which has no id of its own, without one."""
    text = lineage.texts[node]
    if node in lineage.counts:
        return f"{node.kind} {text}".rstrip()
    short = node.id if whole or node.kind == "file" else node.id[:SHORT]
    return f"{node.kind} {short}  {text}".rstrip()


def mermaid(lineage: Lineage) -> str:
    """The lineage as a Mermaid flow chart, to be pasted into Markdown."""
    names = {node: f"n{number}" for number, node in enumerate(lineage.texts)}
    lines = ["flowchart LR"]
    for node, name in names.items():
        lines.append(f'  {name}["{_escaped(title(lineage, node))}"]')
    lines += [f"  {names[parent]} --> {names[child]}" for parent, child in lineage.edges]
    for number, ((node, direction, kind), count) in enumerate(lineage.more.items()):
        lines.append(f'  m{number}["… {count:,} more of kind {kind}"]')
        ends = (names[node], f"m{number}")[:: 1 if direction == "down" else -1]
        lines.append(f"  {ends[0]} -.-> {ends[1]}")
    lines.append(f"  style {names[lineage.start]} stroke-width:3px")
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    # Mermaid knows entities with # and reads anything else literally between quotes.
    text = text.replace("#", "#35;").replace('"', "#quot;").replace("<", "#lt;")
    return " ".join(text.split())


def as_data(lineage: Lineage) -> dict[str, Any]:
    """The lineage as lists of nodes and edges, ready for JSON."""
    return {
        "start": lineage.start._asdict(),
        "nodes": [
            node._asdict() | {"text": text, "rows": lineage.counts.get(node)}
            for node, text in lineage.texts.items()
        ],
        "edges": [
            {"parent": parent._asdict(), "child": child._asdict()}
            for parent, child in lineage.edges
        ],
        "more": [
            {"node": node._asdict(), "direction": direction, "kind": kind, "left_out": count}
            for (node, direction, kind), count in lineage.more.items()
        ],
    }
