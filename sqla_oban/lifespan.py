"""To run for as long as something else does."""

import contextlib
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Self


class Lifespan(ABC):
    """Something that is started and stopped: by itself, by a `with`, or with an ASGI application."""

    @abstractmethod
    async def start(self) -> None:
        """Begin."""

    @abstractmethod
    async def stop(self) -> None:
        """End."""

    @contextlib.asynccontextmanager
    async def lifespan(self, app: object) -> AsyncIterator[None]:
        """Run from the startup of an application to its shutdown, as the `lifespan` of Starlette, FastAPI or Litestar.

        >>> FastAPI(lifespan=oban.lifespan)  # doctest: +SKIP
        >>> Litestar(lifespan=[oban.lifespan])  # doctest: +SKIP
        """
        async with self:
            yield

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stop()
