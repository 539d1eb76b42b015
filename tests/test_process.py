import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from sqla_oban import SqlaOban
from sqla_oban.errors import ConfigurationError
from sqla_oban.process import only_declaring


async def test_a_module_that_is_imported_for_its_workers_starts_no_runner(engine: AsyncEngine) -> None:
    oban = SqlaOban(engine, queues={"default": 1})
    with only_declaring(), pytest.raises(ConfigurationError, match="put what starts the runner below `if __name__ =="):
        await oban.start()
    await oban.start()
    await oban.stop()
