"""Where a worker's call runs: as a task of the event loop, in a thread, or in another process."""

from sqla_oban.engine.dispatchers.async_dispatcher import AsyncDispatcher
from sqla_oban.engine.dispatchers.dispatcher import Dispatcher
from sqla_oban.engine.dispatchers.process_dispatcher import ProcessDispatcher
from sqla_oban.engine.dispatchers.process_pool import ProcessPool
from sqla_oban.engine.dispatchers.thread_dispatcher import ThreadDispatcher

__all__ = ["AsyncDispatcher", "Dispatcher", "ProcessDispatcher", "ProcessPool", "ThreadDispatcher"]
