# What `sqla-oban run --app examples.flask_app.runner:oban` runs: the jobs of the application, beside it.

from sqlalchemy import make_url
from sqlalchemy.ext.asyncio import create_async_engine

from examples.flask_app.app import app
from sqla_oban import SqlaOban

url = make_url(app.config["SQLALCHEMY_DATABASE_URI"]).set(drivername="postgresql+asyncpg")
oban = SqlaOban(create_async_engine(url), queues={"orders": 10})
