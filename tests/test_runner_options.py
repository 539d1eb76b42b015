import inspect

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker

from sqla_oban import QueueConfig, SqlaOban
from sqla_oban.errors import ConfigurationError, UnknownOption
from sqla_oban.settings import StagerSettings


async def test_another_runner_has_the_options_that_were_given_and_those_of_the_first(engine: AsyncEngine) -> None:
    first = SqlaOban(engine, queues={"default": 5}, name="Shop", node="web-1", stager=StagerSettings(limit=7))
    other = first.with_options(queues={"media": 2})
    assert type(other) is SqlaOban
    assert other.settings.queues == {"media": QueueConfig(2)}
    assert (other.name, other.node, other.settings.stager.limit) == ("Shop", "web-1", 7)
    assert other.engine is first.engine is engine
    assert first.settings.queues == {"default": QueueConfig(5)}


async def test_a_client_that_gets_queues_may_lead(engine: AsyncEngine) -> None:
    client = SqlaOban(engine)
    assert not client.settings.leadership
    assert client.with_options(queues={"default": 1}).settings.leadership


async def test_every_option_can_be_replaced(engine: AsyncEngine) -> None:
    oban = SqlaOban(engine, session_factory=async_sessionmaker(engine))
    for option, parameter in inspect.signature(SqlaOban).parameters.items():
        if option != "engine":
            assert isinstance(oban.with_options(**{option: parameter.default}), SqlaOban)


async def test_an_unknown_option_is_refused_and_a_wrong_one_as_ever(engine: AsyncEngine) -> None:
    with pytest.raises(UnknownOption, match="SqlaOban has no option 'quues'; did you mean 'queues'"):
        SqlaOban(engine).with_options(quues={})
    with pytest.raises(UnknownOption):
        SqlaOban(engine).with_options(engine=engine)
    with pytest.raises(ConfigurationError):
        SqlaOban(engine).with_options(queues={"default": 0})
    with pytest.raises(ConfigurationError, match="queues must be a dict of names and limits"):
        SqlaOban(engine, queues=["mailers"])  # type: ignore[arg-type]
