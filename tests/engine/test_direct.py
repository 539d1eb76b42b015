import pytest
from sqlalchemy import URL, make_url
from sqlalchemy.ext.asyncio import AsyncEngine

from sqla_oban import SqlaOban
from sqla_oban.engine.direct import direct_url
from sqla_oban.errors import ConfigurationError, UnsupportedEngine


@pytest.mark.parametrize(
    ("said", "driver", "meant"),
    [
        ("postgresql://db/shop", "asyncpg", "postgresql+asyncpg://db/shop"),
        ("postgres://db/shop", "psycopg", "postgresql+psycopg://db/shop"),
        ("postgresql+psycopg://db/shop?sslmode=require", "asyncpg", "postgresql+psycopg://db/shop?sslmode=require"),
        ("postgresql://db/shop?sslmode=require", "asyncpg", "postgresql+asyncpg://db/shop?ssl=require"),
        (make_url("postgresql://db/shop"), "asyncpg", "postgresql+asyncpg://db/shop"),
    ],
)
def test_an_address_is_read_for_the_drivers_that_can_listen(said: str | URL, driver: str, meant: str) -> None:
    assert str(direct_url(said, driver)) == meant


@pytest.mark.parametrize(
    ("said", "error", "complaint"),
    [
        (7, ConfigurationError, "must be a str or a sqlalchemy URL, got a int"),
        ("me:secret@db", ConfigurationError, "listen_url is no database URL"),
        ("mysql://me:secret@db/shop", ConfigurationError, "must lead to PostgreSQL, it names mysql"),
        (
            "postgresql+psycopg2://me:secret@db/shop",
            UnsupportedEngine,
            "names postgresql+psycopg2; a runner listens by",
        ),
    ],
)
async def test_what_no_runner_can_listen_by_is_refused_without_telling_the_password(
    said: object, error: type[Exception], complaint: str, engine: AsyncEngine
) -> None:
    with pytest.raises(error) as refusal:
        SqlaOban(engine, listen_url=said)  # type: ignore[arg-type]
    assert complaint in str(refusal.value)
    assert "secret" not in str(refusal.value)


async def test_the_settings_of_a_runner_do_not_show_the_password(engine: AsyncEngine) -> None:
    assert "secret" not in repr(SqlaOban(engine, listen_url="postgresql://me:secret@db/shop").settings)
