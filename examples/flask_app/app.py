# Orders over HTTP, by Flask and Flask-SQLAlchemy: enqueueing is synchronous, and the jobs run in another process.
#
#     pip install "sqla-oban[cli]" flask flask-sqlalchemy psycopg2-binary
#     export DATABASE_URL=postgresql+psycopg2://user:password@localhost/orders
#     flask --app examples.flask_app.app init-db
#     flask --app examples.flask_app.app run
#     sqla-oban run --app examples.flask_app.runner:oban
#
#     curl localhost:5000/orders --json '{"item": "a bicycle"}'
#     curl localhost:5000/orders/1

import os
from typing import Any

from flask import Flask, request
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from sqla_oban import job
from sqla_oban.migrations import migrate


class Base(DeclarativeBase): ...


app = Flask(__name__)
app.config["SQLALCHEMY_DATABASE_URI"] = os.environ["DATABASE_URL"]
db = SQLAlchemy(app, model_class=Base)


class Order(db.Model):  # type: ignore[name-defined,misc]  # the class is made at run time
    __tablename__ = "orders"

    id: Mapped[int] = mapped_column(primary_key=True)
    item: Mapped[str]
    confirmed: Mapped[bool] = mapped_column(default=False)


@job(name="orders.confirm", queue="orders")  # a sync function: it runs in a thread
def confirm_order(order_id: int) -> None:
    with app.app_context():
        db.session.get_one(Order, order_id).confirmed = True
        db.session.commit()


@app.post("/orders")
def create_order() -> tuple[dict[str, Any], int]:
    order = Order(item=request.json["item"])
    db.session.add(order)
    db.session.flush()  # gives the order its id
    db.session.add(confirm_order.new(order.id))
    db.session.commit()  # the order and its job, or neither
    return {"id": order.id, "item": order.item}, 201


@app.get("/orders/<int:order_id>")
def read_order(order_id: int) -> dict[str, Any]:
    order = db.get_or_404(Order, order_id)
    return {"id": order.id, "item": order.item, "confirmed": order.confirmed}


@app.cli.command("init-db")
def init_db() -> None:
    with db.engine.begin() as connection:
        migrate(connection)  # makes the tables of sqla_oban; or have alembic do it
    db.create_all()
