"""Orders over HTTP: each is stored together with the job that confirms it."""

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException, status
from pydantic import BaseModel, ConfigDict, StringConstraints
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from examples.fastapi_app.database import Order, engine, sessions
from examples.fastapi_app.jobs import confirm_order
from sqla_oban import SqlaOban

oban = SqlaOban(engine, queues={"orders": 10}, session_factory=sessions)
app = FastAPI(lifespan=oban.lifespan)  # the runner starts and stops with the application


async def session_of_request() -> AsyncIterator[AsyncSession]:
    async with sessions() as session:  # rolls back what the endpoint did not commit
        yield session


Session = Annotated[AsyncSession, Depends(session_of_request)]
OrderId = Annotated[str, StringConstraints(pattern="^[A-Za-z0-9-]{1,40}$")]


class NewOrder(BaseModel):
    id: OrderId
    item: Annotated[str, StringConstraints(pattern="^[^\x00]{1,200}$")]


class StoredOrder(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: str
    item: str
    confirmed_at: datetime | None


@app.post("/orders", status_code=status.HTTP_201_CREATED, response_model=StoredOrder)
async def create_order(new: NewOrder, session: Session) -> Order:
    order = Order(id=new.id, item=new.item, job=confirm_order.new(new.id))
    session.add(order)
    try:
        await session.commit()  # the order and its job, or neither
    except IntegrityError:
        raise HTTPException(status.HTTP_409_CONFLICT, f"there is an order {new.id} already") from None
    return order


@app.get("/orders/{order_id}", response_model=StoredOrder)
async def read_order(order_id: OrderId, session: Session) -> Order:
    order = await session.get(Order, order_id)
    if order is None:
        raise HTTPException(status.HTTP_404_NOT_FOUND, f"there is no order {order_id}")
    return order
