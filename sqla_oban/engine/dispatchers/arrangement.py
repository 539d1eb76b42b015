"""What a process must have before it can run a job: the module of the worker, and what the worker asks for."""

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Mapping
from typing import Any

from sqla_oban.engine.dispatchers.wire import Boot
from sqla_oban.errors import ConfigurationError, shown
from sqla_oban.process import only_declaring
from sqla_oban.workers.providing import BY_PROCESS, Provider
from sqla_oban.workers.registry import AS_MAIN, MAIN


def imported(module: str, boot: Boot) -> Any:
    """The module of that name, in which nothing may start a runner.

    The main script is run under the name that Python gives it in such a process, so that what stands below
    `if __name__ == "__main__"` is left out.

    Raises:
        whatever it raises.
    """
    with only_declaring():
        if module != MAIN or boot.main is None:
            return importlib.import_module(module)
        if sys.modules[MAIN].__name__ == MAIN:  # this process's own
            _run_main(boot.main)
        return sys.modules[MAIN]


async def made(boot: Boot) -> Provider:
    """What gives workers here what they ask for, by `ProcessSettings.setup`.

    Raises:
        ConfigurationError: that is not to be had, or of another kind.
        whatever it raises.
    """
    if boot.setup is None:
        return Provider(schema=boot.schema, lacking=BY_PROCESS)
    found = _found(boot.setup, boot)
    if callable(found):
        found = found()
        found = await found if inspect.isawaitable(found) else found
    return _provider(found, boot)


def _provider(found: Any, boot: Boot) -> Provider:
    own = getattr(getattr(found, "settings", None), "provider", None)  # a SqlaOban, which no engine knows
    if isinstance(own, Provider):
        own.schema = boot.schema
        return own
    if found is None or isinstance(found, Mapping):
        return Provider(None, found, schema=boot.schema, lacking=BY_PROCESS)
    raise ConfigurationError(
        f"ProcessSettings(setup={boot.setup!r}) came to {shown(found)}; it is to be a SqlaOban, or a function that "
        "returns one, or a dict as SqlaOban(dependencies=...) takes, or None"
    )


def _found(setup: str, boot: Boot) -> Any:
    module, _, path = setup.partition(":")
    found = imported(module, boot)
    for name in path.split("."):
        if not hasattr(found, name):
            raise ConfigurationError(f"ProcessSettings(setup={setup!r}): {shown(found)} has no {name!r}")
        found = getattr(found, name)
    return found


def _run_main(file: str) -> None:
    spec = importlib.util.spec_from_file_location(AS_MAIN, file)
    if spec is None or spec.loader is None:
        raise ConfigurationError(f"the script {file} declares a worker for processes, and cannot be imported by one")
    module, own = importlib.util.module_from_spec(spec), sys.modules[MAIN]
    sys.modules[MAIN] = sys.modules[AS_MAIN] = module
    module.__spec__ = None  # as of a script: its workers have the names that they have in the runner
    try:
        spec.loader.exec_module(module)
    except BaseException:
        sys.modules[MAIN] = sys.modules[AS_MAIN] = own
        raise
