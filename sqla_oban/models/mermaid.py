"""A graph as text that documentation and dashboards draw."""

from collections.abc import Iterable, Mapping


def flowchart(nodes: Mapping[str, str | None], edges: Iterable[tuple[str, str]]) -> str:
    """A Mermaid flowchart.

    Args:
        nodes: names, each with what to write below it, as the state of its job.
        edges: from the one to the other.

    >>> print(flowchart({"a": "completed", "b": None}, [("a", "b")]))
    flowchart TD
        n0["a<br/>completed"]
        n1["b"]
        n0 --> n1
    """
    ids = {name: f"n{number}" for number, name in enumerate(nodes)}
    lines = [f'{ids[name]}["{_escaped(name)}{f"<br/>{note}" if note else ""}"]' for name, note in nodes.items()]
    lines += [f"{ids[one]} --> {ids[other]}" for one, other in edges if one in ids and other in ids]
    return "\n    ".join(["flowchart TD", *lines])


def _escaped(name: str) -> str:
    return name.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;").replace("\n", " ")
