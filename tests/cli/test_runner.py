import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from sqla_oban import QueueConfig, SqlaOban
from sqla_oban.cli.configuration import Configuration
from sqla_oban.cli.runner import adjusted
from sqla_oban.errors import ConfigurationError
from sqla_oban.settings import StagerSettings


@pytest.fixture
def oban(engine: AsyncEngine) -> SqlaOban:
    """An application's runner, not started."""
    return SqlaOban(engine, queues={"default": 5, "media": 1}, name="Shop", stager=StagerSettings(limit=7))


async def test_what_is_not_configured_stays_as_the_application_has_it(oban: SqlaOban) -> None:
    assert adjusted(oban, Configuration()) is oban


async def test_the_configuration_counts_more_than_the_application(oban: SqlaOban) -> None:
    found = adjusted(
        oban,
        Configuration(queues={"media": 2, "default": None, "new": 1}, services={"stager": {"interval": 3.0}}),
    )
    assert found.settings.queues == {"media": QueueConfig(2), "default": QueueConfig(5), "new": QueueConfig(1)}
    assert found.settings.stager == StagerSettings(interval=3.0, limit=7)
    assert (found.name, found.node) == (oban.name, oban.node)


async def test_settings_that_do_not_fit_each_other_are_refused(oban: SqlaOban) -> None:
    with pytest.raises(ConfigurationError, match="the settings of heartbeat do not fit: HeartbeatSettings"):
        adjusted(oban, Configuration(services={"heartbeat": {"ttl": 4.0}}))


@pytest.mark.parametrize(
    ("queue", "hint"), [("medai", "did you mean 'media'?"), ("far", "say how many jobs, as in far:10")]
)
async def test_a_queue_without_a_number_must_be_the_applications(queue: str, hint: str, oban: SqlaOban) -> None:
    with pytest.raises(ConfigurationError) as refusal:
        adjusted(oban, Configuration(queues={queue: None}))
    assert str(refusal.value) == f"the application runs no queue {queue!r}; {hint}"
