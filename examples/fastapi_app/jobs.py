"""What happens after the response."""

from sqlalchemy import func, update

from examples.fastapi_app.database import Order, sessions
from sqla_oban import job


@job(name="orders.confirm", queue="orders")  # a name of its own, because stored jobs outlive a refactoring
async def confirm_order(order_id: str) -> None:
    async with sessions.begin() as session:
        await session.execute(update(Order).where(Order.id == order_id).values(confirmed_at=func.now()))
