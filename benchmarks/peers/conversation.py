"""Does what the benchmark asks for, one line of JSON after the other."""

import asyncio
import contextlib
import json
import sys
import time
import traceback
from collections.abc import Awaitable, Callable
from typing import Any, TextIO

from benchmarks.peers.contender import Contender, Missing
from benchmarks.peers.witness import Witness

Answer = dict[str, Any]
POLL = 0.002
"""Seconds between two looks whether all outcomes are in the tables."""


class Conversation:
    """Reads requests from standard input and writes an answer to each.

    A request names what to `do`, and its arguments; the answer is an object, with `missing` where the library cannot
    do that and `error` where it failed. The end of the input ends the conversation.
    """

    def __init__(self, contender: Contender, answers: TextIO) -> None:
        self._contender = contender
        self._answers = answers
        self._witness = Witness()
        self._working = contextlib.AsyncExitStack()
        self._verbs: dict[str, Callable[..., Awaitable[Answer]]] = {
            "prepare": self._prepare,
            "fill": self._fill,
            "keep": self._keep,
            "drain": self._drain,
            "burn": self._burn,
            "serve": self._serve,
            "seen": self._seen,
            "enqueue": self._enqueue,
            "insert": self._insert,
            "schedule": self._schedule,
        }

    async def hold(self) -> None:
        """Answer until the input ends."""
        requests = asyncio.StreamReader(limit=2**26)
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(requests), sys.stdin)
        while line := await requests.readline():
            print(json.dumps(await self._answer(json.loads(line))), file=self._answers, flush=True)

    async def _answer(self, request: Answer) -> Answer:
        try:
            return await self._verbs[request.pop("do")](**request)
        except Missing as reason:
            return {"missing": str(reason)}
        except Exception as error:
            traceback.print_exc()
            return {"error": f"{type(error).__name__}: {error}"}

    async def _prepare(self) -> Answer:
        await self._contender.prepare()
        return {"version": self._contender.version, "given": self._contender.given}

    async def _fill(self, jobs: int, nap: float = 0) -> Answer:
        await self._contender.fill(jobs, nap)
        return {}

    async def _keep(self, jobs: int) -> Answer:
        await self._contender.keep(jobs)
        return {}

    async def _drain(self, jobs: int, concurrency: int, budget: float, *, whole: bool) -> Answer:
        """From the first job's start: to the start of the last, or, of a `whole` queue, until all outcomes are stored.

        What takes longer than `budget` seconds is judged by how far it came.
        """
        witness = Witness(jobs)
        async with self._contender.work(concurrency, witness):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(witness.enough.wait(), budget)
            while whole and witness.enough.is_set() and not await self._contender.is_finished():  # noqa: ASYNC110
                await asyncio.sleep(POLL)
            ended = time.time()
            starts = [at for _, at in witness.starts]
            if not starts:
                raise Missing(f"ran nothing within {budget:g} s")
            if not witness.enough.is_set() or whole:
                return {"jobs": len(starts), "seconds": ended - starts[0]}
            return {"jobs": jobs - 1, "seconds": starts[jobs - 1] - starts[0]}

    async def _burn(self, jobs: int, concurrency: int, budget: float) -> Answer:
        """From the end of the first job, when the processes are warm, to the end of the last."""
        witness = Witness(jobs)
        async with self._contender.burn(jobs, concurrency, witness):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(witness.enough.wait(), budget)
        if not witness.enough.is_set():
            raise Missing(f"ended {len(witness.starts)} of {jobs} jobs within {budget:g} s")
        ends = [at for _, at in witness.starts]
        return {"jobs": jobs - concurrency, "seconds": ends[-1] - ends[concurrency - 1]}

    async def _serve(self, concurrency: int) -> Answer:
        """Work until the conversation ends."""
        await self._working.enter_async_context(self._contender.work(concurrency, self._witness))
        return {}

    async def _seen(self, *, each: bool = False) -> Answer:
        """What has started since `serve`."""
        starts = self._witness.starts
        moments = [starts[0][1], starts[-1][1]] if starts else []
        return {"count": len(starts), "moments": moments, "starts": starts if each else []}

    async def _enqueue(self, jobs: int, committers: int, every: float = 0, warm: int = 0) -> Answer:
        """Commit one by one, as fast as it goes or each at its time, by that many committers side by side."""
        await self._contender.connect(committers)
        for number in range(warm):
            await self._contender.add(number)
        commits: list[tuple[int, float]] = []
        began = time.time()

        async def commit(first: int) -> None:
            for number in range(first, jobs, committers):
                if every:
                    await asyncio.sleep(began + number * every - time.time())
                await self._contender.add(number)
                commits.append((number, time.time()))

        await asyncio.gather(*(commit(first) for first in range(committers)))
        return {"seconds": time.time() - began, "commits": commits}

    async def _insert(self, jobs: int, warm: int = 0) -> Answer:
        """Put in jobs that are made already, after `warm` others that are not counted."""
        await self._contender.connect(1)
        if warm:
            await self._contender.add_many(range(warm))
        putting_in = self._contender.add_many(range(jobs))
        began = time.time()
        await putting_in
        return {"seconds": time.time() - began}

    async def _schedule(self, jobs: int, ahead: float, every: float) -> Answer:
        """Jobs that become due one after the other, the first in `ahead` seconds."""
        await self._contender.connect(1)
        first = time.time() + ahead
        due = [(number, first + number * every) for number in range(jobs)]
        for number, moment in due:
            await self._contender.add_at(number, moment)
        late = time.time() - first
        if late > 0:
            raise Missing(f"took {late + ahead:.1f} s to put in {jobs} scheduled jobs")
        return {"due": due}
