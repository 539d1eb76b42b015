"""The graph of a workflow: jobs by their names, and what each waits for."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from enum import StrEnum
from typing import Any, TypeAlias

from sqla_oban.errors import InvalidWorkflow, shown

MAX_NAME = 255
"""Characters of a job's name in its workflow, its sub-workflows' names included."""
MAX_EDGES = 1_000_000
"""Dependencies of one workflow; more come of two large groups of which one depends on the other, and are a mistake."""
SEPARATOR = "."


class Ending(StrEnum):
    """How a job that others depend on may end without having done its work."""

    CANCELLED = "cancelled"
    DISCARDED = "discarded"
    DELETED = "deleted"


Endings: TypeAlias = Collection[str]
"""Those that are ignored: any of "cancelled", "discarded" and "deleted"."""


@dataclass(frozen=True, slots=True)
class After:
    """A dependency with a policy of its own: `deps=[After("extract", ignore={"discarded"})]`.

    Args:
        name: the job or the sub-workflow to wait for.
        ignore: with which ends of it the dependent runs all the same: "cancelled", "discarded", "deleted". With any
            other than these, or completed, the dependent is cancelled.

    Raises:
        InvalidWorkflow: `ignore` holds something else.

    >>> After("extract", ignore=["discarded"])
    After(name='extract', ignore=(<Ending.DISCARDED: 'discarded'>,))
    """

    name: str
    ignore: Endings = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "ignore", endings(self.ignore))


Deps: TypeAlias = str | After | Iterable[str | After]
"""What a job waits for: a name, several, or with a policy for each."""


@dataclass(frozen=True, slots=True)
class Node:
    """A job of a workflow.

    Args:
        name: its name there.
        job: what is to be inserted.
        deps: the names of the jobs that it waits for, each with the ends of it that are ignored.
    """

    name: str
    job: Any
    deps: Mapping[str, tuple[Ending, ...]]


@dataclass(slots=True)
class Graph:
    """Jobs by their names, and the groups of those that came from a sub-workflow.

    INVARIANT: a node depends on nodes that were added before it. So there is no cycle, and ids, which are given in the
    order of `nodes`, grow along every edge.

    Args:
        stored: whether jobs of the same workflow may be stored already, so that a name may be theirs.
    """

    stored: bool = False
    nodes: dict[str, Node] = field(default_factory=dict)
    groups: dict[str, tuple[str, ...]] = field(default_factory=dict)
    _edges: int = 0

    def add(self, name: object, job: Any, deps: Deps, ignore: Endings) -> None:
        """One node.

        Raises:
            InvalidWorkflow: the name is taken or none, or a dependency is unknown.
        """
        self._put(Node(self._free(name), job, self._expanded(str(name), deps, endings(ignore))))

    def add_graph(self, name: object, sub: "Graph", deps: Deps, ignore: Endings) -> None:
        """The nodes of another graph, their names behind `name` and a dot; those that wait for nothing wait for `deps`.

        Whoever depends on `name` waits for the last of them.

        Raises:
            InvalidWorkflow: the name is taken or none, a dependency is unknown, or the other graph is empty.
        """
        prefix = self._free(name) + SEPARATOR
        if not sub.nodes:
            raise InvalidWorkflow(f"the sub-workflow {name!r} has no jobs; add them before it is added itself")
        first = self._expanded(str(name), deps, endings(ignore))
        for node in sub.nodes.values():
            within = {prefix + one: ignored for one, ignored in node.deps.items()}
            self._put(Node(_checked(prefix + node.name, dotted=True), node.job, within or first))
        needed = {one for node in sub.nodes.values() for one in node.deps}
        self.groups[str(name)] = tuple(prefix + one for one in sub.nodes if one not in needed)
        self.groups.update({prefix + one: tuple(prefix + last for last in some) for one, some in sub.groups.items()})

    def _put(self, node: Node) -> None:
        if self._edges + len(node.deps) > MAX_EDGES:
            raise InvalidWorkflow(
                f"{node.name!r} would bring the workflow to more than {MAX_EDGES:,} dependencies; put a job between "
                "two large groups, on which the one waits and which waits for the other"
            )
        self._edges += len(node.deps)
        self.nodes[node.name] = node

    def _free(self, name: object) -> str:
        free = _checked(name)
        if free in self.nodes or free in self.groups:
            raise InvalidWorkflow(f"the workflow has {free!r} already; give each of its jobs a name of its own")
        return free

    def _expanded(self, name: str, deps: Deps, ignore: tuple[Ending, ...]) -> dict[str, tuple[Ending, ...]]:
        found: dict[str, tuple[Ending, ...]] = {}
        for dep in _each(deps):
            for one in self._meant(name, dep.name):
                if one in found:
                    raise InvalidWorkflow(f"{name!r} depends on {one!r} twice; name it once")
                found[one] = endings(dep.ignore) or ignore
        return found

    def _meant(self, name: str, dep: str) -> tuple[str, ...]:
        if dep in self.nodes:
            return (dep,)
        if dep in self.groups:
            return self.groups[dep]
        if dep == name:
            raise InvalidWorkflow(f"{name!r} depends on itself; a workflow has no cycles")
        if self.stored:
            return (dep,)
        known = [*self.nodes, *self.groups]
        close = get_close_matches(str(dep), known, n=1)
        hint = f"did you mean {close[0]!r}?" if close else "what a job depends on is added before it"
        raise InvalidWorkflow(f"{name!r} depends on {dep!r}, which the workflow does not have; {hint}")


def endings(ignore: object) -> tuple[Ending, ...]:
    """The ends that are ignored, each once.

    Raises:
        InvalidWorkflow: there are others among them.
    """
    if isinstance(ignore, str) or not isinstance(ignore, Collection):
        raise InvalidWorkflow(f"ignore must be a list or a set of {', '.join(Ending)}, got {shown(ignore)}")
    try:
        return tuple(sorted({Ending(one) for one in ignore}))
    except ValueError:
        raise InvalidWorkflow(f"ignore takes {', '.join(Ending)}, got {shown(ignore)}") from None


def _each(deps: object) -> Iterator[After]:
    if isinstance(deps, str | After):
        deps = [deps]
    if not isinstance(deps, Iterable):
        raise InvalidWorkflow(f"deps must be names, got {shown(deps)}")
    for dep in deps:
        if not isinstance(dep, str | After):
            raise InvalidWorkflow(f"deps must be names, got {shown(dep)} among them")
        yield After(dep) if isinstance(dep, str) else dep


def _checked(name: object, *, dotted: bool = False) -> str:
    if not isinstance(name, str) or not name.strip():
        raise InvalidWorkflow(f"the name of a job in a workflow must be a text, got {shown(name)}")
    if len(name) > MAX_NAME:
        raise InvalidWorkflow(f"the name of a job in a workflow may have {MAX_NAME} characters, got {len(name)}")
    if "\x00" in name or (SEPARATOR in name and not dotted):
        raise InvalidWorkflow(
            f"the name of a job in a workflow has no dots, which name the jobs of sub-workflows, got {shown(name)}"
        )
    return name
