"""Our end of oban.py in a process of its own; `peer.py` is the other."""

import asyncio
import contextlib
import itertools
import json
from pathlib import Path
from typing import Any, Self

from tests.support import PATIENCE, eventually

PEER = Path(__file__).with_name("peer.py")

Happening = dict[str, Any]


class ObanPy:
    """A node of oban.py: `await peer.do("pause_queue", queue="mail")`, `await peer.said("oban.job.start", job=7)`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.happenings: list[Happening] = []
        self.name = ""
        self._process = process
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._numbers = itertools.count(1)
        self._reader = asyncio.create_task(self._read())

    @classmethod
    async def spawn(cls, python: Path, dsn: str) -> Self:
        """Start the process; `start` starts the node in it."""
        process = await asyncio.create_subprocess_exec(
            *(str(python), str(PEER), dsn), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=2**20
        )
        peer = cls(process)
        await peer.said("ready")
        return peer

    async def start(self, **options: Any) -> None:
        """Run the node with oban.py's own options."""
        self.name = await self.do("start", **options)

    async def do(self, verb: str, **arguments: Any) -> Any:
        """Call a method of the node; raises what it raised."""
        number, answer = next(self._numbers), asyncio.get_running_loop().create_future()
        self._answers[number] = answer
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"id": number, "do": verb, "with": arguments}).encode() + b"\n")
        return await asyncio.wait_for(answer, PATIENCE)

    async def enqueue(self, *jobs: dict[str, Any]) -> list[int]:
        """Enqueue by oban.py, by default jobs that count."""
        ids: list[int] = await self.do("enqueue", jobs=jobs)
        return ids

    async def said(self, event: str, *, count: int = 1, **fields: Any) -> list[Happening]:
        """What happened there, once it has happened `count` times."""
        await eventually(lambda: len(self.of(event, **fields)) >= count, f"{count} {event} {fields} of oban.py")
        return self.of(event, **fields)

    def of(self, event: str, **fields: Any) -> list[Happening]:
        """What has happened there."""
        wanted = {"event": event, **fields}
        return [one for one in self.happenings if wanted.items() <= one.items()]

    async def kill(self) -> None:
        """End it without a farewell."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()
        await self._reader

    async def _read(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            said = json.loads(line)
            if "event" in said:
                self.happenings.append(said)
            elif "error" in said:
                self._answers.pop(said["id"]).set_exception(RuntimeError(said["error"]))
            else:
                self._answers.pop(said["id"]).set_result(said["result"])
