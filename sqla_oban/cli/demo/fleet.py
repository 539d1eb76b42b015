"""The node processes of the demonstration."""

import asyncio
import itertools
from types import TracebackType
from typing import Self

import click

from sqla_oban.cli.demo.ground import Ground
from sqla_oban.cli.demo.node_process import NodeProcess
from sqla_oban.cli.demo.patience import Patience
from sqla_oban.cli.demo.screen import Screen
from sqla_oban.cli.demo.sentence import sentence
from sqla_oban.cli.demo.wire import Assignment

STARTING = Patience(30.0)


class Fleet:
    """All nodes; none outlives the block.

    Args:
        ground: where their tables are.
        screen: told what they do.

    >>> async with Fleet(ground, screen) as fleet:  # doctest: +SKIP
    ...     await fleet.add()
    """

    def __init__(self, ground: Ground, screen: Screen) -> None:
        self._ground = ground
        self._screen = screen
        self._names = (f"node-{number}" for number in itertools.count(1))
        self._nodes: dict[str, NodeProcess] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await asyncio.gather(*(node.stop() for node in self._nodes.values()))

    @property
    def leaders(self) -> set[str]:
        """The nodes that lead, each by its own word."""
        return {name for name, node in self._nodes.items() if node.leads}

    async def add(self) -> None:
        """Start one more node, and wait until it runs jobs.

        Raises:
            ClickException: it does not start.
        """
        assignment = Assignment(
            node=next(self._names),
            url=self._ground.address.render_as_string(hide_password=False),
            schema=self._ground.schema,
        )
        node = await NodeProcess.start(assignment, lambda event: self._screen.tell(sentence(event)))
        self._nodes[node.name] = node
        self._screen.tell(f"{node.name} starts as process {node.pid}")
        if not await STARTING.until(lambda: self._is_up(node)):
            raise click.ClickException(f"{node.name} did not start in {STARTING.seconds:.0f} seconds")

    async def kill(self, name: str) -> None:
        """Kill a node without a word."""
        node = self._nodes.pop(name)
        await node.kill()
        self._screen.tell(f"{name} is killed: kill -9 {node.pid}")

    def check(self) -> None:
        """Make sure that all nodes still run.

        Raises:
            ClickException: one has ended.
        """
        for node in self._nodes.values():
            node.check()

    async def _is_up(self, node: NodeProcess) -> bool:
        node.check()
        return node.up
