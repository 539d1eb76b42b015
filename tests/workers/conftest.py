import pytest

from sqla_oban.workers import decorators
from sqla_oban.workers.registry import Registry


@pytest.fixture(autouse=True)
def registry(monkeypatch: pytest.MonkeyPatch) -> Registry:
    """A registry of the test's own, which the decorators fill, so that tests may use one name twice."""
    registry = Registry()
    monkeypatch.setattr(decorators, "REGISTRY", registry)
    return registry
