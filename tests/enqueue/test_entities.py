"""Entities as arguments: whatever the order, kind of key or fate of the flush, the job's row holds the key."""

import json
from collections.abc import AsyncIterator, Callable
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import BigInteger, ForeignKey, Identity, Text, TypeDecorator, event, insert, select, text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, relationship

from sqla_oban import Job, insert_all, job
from sqla_oban.enqueue import entities as listeners
from sqla_oban.errors import InvalidArguments, InvalidEntity, UnserialisableValue
from tests.support import both_drivers


class Base(DeclarativeBase):
    pass


class User(Base):
    __tablename__ = "users"

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True, start=100), primary_key=True)
    name: Mapped[str] = mapped_column(Text, default="ann")
    welcome_id: Mapped[int | None] = mapped_column(BigInteger)
    jobs: Mapped[list[Job]] = relationship(
        Job,
        primaryjoin=lambda: User.welcome_id == Job.id,
        foreign_keys=lambda: [User.welcome_id],
        viewonly=True,
        uselist=True,
    )


class Document(Base):
    """Its key is composite, and half of it is another row's."""

    __tablename__ = "documents"

    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    user: Mapped[User] = relationship()


class ZParcel(Base):
    """Its name sorts behind `Job`, which is how a unit of work orders classes that do not know each other."""

    __tablename__ = "parcels"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)


class ZToken(Base):
    __tablename__ = "tokens"

    id: Mapped[UUID] = mapped_column(primary_key=True, server_default=text("gen_random_uuid()"))


class ZTicket(Base):
    """It refers to jobs: with a job that takes it as an argument, each row needs the other's key."""

    __tablename__ = "tickets"

    id: Mapped[int] = mapped_column(BigInteger, Identity(start=500), primary_key=True)
    job_id: Mapped[int | None] = mapped_column(ForeignKey(Job.id))
    job: Mapped[Job | None] = relationship(Job)


class ZAnimal(Base):
    __tablename__ = "animals"

    id: Mapped[int] = mapped_column(Identity(start=7), primary_key=True)
    kind: Mapped[str] = mapped_column(Text)
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "animal"}  # noqa: RUF012


class ZDog(ZAnimal):
    __tablename__ = "dogs"

    dog_id: Mapped[int] = mapped_column(ForeignKey("animals.id"), primary_key=True)
    __mapper_args__ = {"polymorphic_identity": "dog"}  # noqa: RUF012


class Code:
    """A value that JSON does not know, and that equals nothing but its like."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __eq__(self, other: object) -> bool:
        return self.text == other.text  # type: ignore[attr-defined,no-any-return]

    def __hash__(self) -> int:
        return hash(self.text)


class CodeType(TypeDecorator[Code]):
    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Code | None, dialect: Any) -> str | None:
        return None if value is None else value.text

    def process_result_value(self, value: str | None, dialect: Any) -> Code | None:
        return None if value is None else Code(value)


class ZCountry(Base):
    __tablename__ = "countries"

    code: Mapped[Code] = mapped_column(CodeType, primary_key=True)


@job(name="entities.visit")
async def visit(country: ZCountry) -> None: ...


@job(name="entities.welcome")
async def welcome(user: User, lang: str = "en") -> None: ...


@job(name="entities.file")
async def file(document: Document) -> None: ...


@job(name="entities.ship")
async def ship(parcel: ZParcel | None) -> None: ...


@job(name="entities.use")
async def use(token: ZToken) -> None: ...


@job(name="entities.punch")
async def punch(ticket: ZTicket) -> None: ...


@job(name="entities.feed")
async def feed(animal: ZAnimal) -> None: ...


@job(name="entities.untyped")
async def untyped(thing: Any) -> None: ...


Check = Callable[[Callable[[Session], None]], Any]


@pytest.fixture
async def tables(engine: AsyncEngine) -> AsyncIterator[None]:
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    yield
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.drop_all)


@pytest.fixture
def within(tables: None, sessions: async_sessionmaker[AsyncSession]) -> Check:
    """Runs a check in a session, on either driver: `await within(check)`."""

    async def run(check: Callable[[Session], None]) -> None:
        async with sessions() as session:
            await session.run_sync(check)

    return run


def stored(session: Session, one: Job) -> Any:
    """What the row holds, asked of PostgreSQL."""
    found = session.connection().scalar(text("SELECT args::text FROM oban_jobs WHERE id = :id"), {"id": one.id})
    return json.loads(found)


def pk(session: Session, one: Job, name: str) -> Any:
    return stored(session, one)[name]["pk"]


@both_drivers
@pytest.mark.parametrize("job_first", [True, False])
async def test_a_job_holds_the_key_that_the_database_made(within: Check, job_first: bool) -> None:
    def check(session: Session) -> None:
        user = User()
        made = welcome.new(user, lang="de")
        session.add_all([made, user] if job_first else [user, made])
        session.flush()
        assert stored(session, made) == {"user": {"$entity": "User", "pk": [user.id]}, "lang": "de"}
        assert user.id >= 100

    await within(check)


@both_drivers
async def test_keys_of_every_kind_are_held(within: Check) -> None:
    def check(session: Session) -> None:
        document = Document(number=2, user=User())
        parcel, token, dog = ZParcel(), ZToken(), ZDog()
        made = [file.new(document), ship.new(parcel), use.new(token), feed.new(dog), ship.new(None)]
        session.add_all([*made, document, parcel, token, dog])
        session.flush()
        assert pk(session, made[0], "document") == [document.user.id, 2]
        assert pk(session, made[1], "parcel") == [str(parcel.id)]
        assert pk(session, made[2], "token") == [str(token.id)]
        assert pk(session, made[3], "animal") == [dog.id]
        assert stored(session, made[4]) == {"parcel": None}

    await within(check)


@both_drivers
async def test_rows_that_need_each_others_keys_are_written_with_an_update(within: Check) -> None:
    def check(session: Session) -> None:
        ticket = ZTicket()
        ticket.job = punch.new(ticket)
        session.add(ticket)
        session.flush()
        assert pk(session, ticket.job, "ticket") == [ticket.id]
        assert ticket.job_id == ticket.job.id

    await within(check)


async def test_many_jobs_and_entities_take_one_insert_each(within: Check) -> None:
    def check(session: Session) -> None:
        statements: list[str] = []
        event.listen(
            session.connection(), "before_cursor_execute", lambda *seen: statements.append(seen[2].split("(")[0])
        )
        animals = [ZAnimal() for _ in range(50)]
        made = [feed.new(animal) for animal in animals]
        session.add_all([*made, *animals])
        session.flush()
        assert [one.split()[:3] for one in statements] == [
            ["INSERT", "INTO", "animals"],
            ["INSERT", "INTO", "oban_jobs"],
        ]
        assert [pk(session, one, "animal") for one in made] == [[animal.id] for animal in animals]

    await within(check)


async def test_without_the_hint_to_the_unit_of_work_an_update_writes_the_keys(
    within: Check, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listeners, "SAVE_ALL", None)

    def check(session: Session) -> None:
        token = ZToken()
        made = use.new(token)
        session.add_all([made, token])
        session.flush()
        assert pk(session, made, "token") == [str(token.id)]

    await within(check)


@both_drivers
async def test_a_savepoint_that_is_rolled_back_leaves_both_free_to_be_added_again(within: Check) -> None:
    def check(session: Session) -> None:
        user = User()
        made = welcome.new(user)
        with session.begin_nested() as savepoint:
            session.add_all([made, user])
            session.flush()
            savepoint.rollback()
        user.id = None  # type: ignore[assignment]  # the identity column refuses the old one
        session.add_all([made, user])
        session.flush()
        assert pk(session, made, "user") == [user.id]

    await within(check)


async def test_a_flush_that_fails_can_be_tried_again(within: Check) -> None:
    def check(session: Session) -> None:
        first = User()
        session.add(first)
        session.flush()
        bad, ticket = User(name=None), ZTicket()
        made, punched = welcome.new(bad), punch.new(ticket)
        ticket.job = punched
        session.add_all([made, ticket])
        with pytest.raises(InvalidEntity, match="is not in the session"):
            session.flush()
        assert session.is_active
        bad.name = "bob"
        session.add(bad)
        session.flush()
        assert (pk(session, made, "user"), pk(session, punched, "ticket")) == ([bad.id], [ticket.id])

    await within(check)


async def test_args_that_change_take_another_entity(within: Check) -> None:
    def check(session: Session) -> None:
        user, other = User(), User()
        made = welcome.new(user)
        session.add_all([user, made])
        session.flush()
        made.args = welcome.new(other).args
        session.add(other)
        session.flush()
        assert pk(session, made, "user") == [other.id]

    await within(check)


async def test_a_natural_key_that_changes_in_the_same_flush_is_the_new_one(within: Check) -> None:
    def check(session: Session) -> None:
        parcel = ZParcel()
        session.add(parcel)
        session.flush()
        parcel.id = uuid4()
        made = ship.new(parcel)
        session.add(made)
        session.flush()
        assert pk(session, made, "parcel") == [str(parcel.id)]

    await within(check)


async def test_a_detached_or_expired_entity_is_known_by_its_identity(within: Check) -> None:
    def check(session: Session) -> None:
        user, other = User(), User()
        session.add_all([user, other])
        session.flush()
        ids = [[user.id], [other.id]]
        session.expunge(user)
        session.expire(other)
        made = [welcome.new(user), welcome.new(other)]
        session.add_all(made)
        session.flush()
        assert [pk(session, one, "user") for one in made] == ids

    await within(check)


async def test_an_entity_that_will_have_no_key_is_refused_and_the_session_stays_usable(
    within: Check, sessions: async_sessionmaker[AsyncSession]
) -> None:
    def check(session: Session) -> None:
        gone = User()
        session.add(gone)
        session.flush()
        elsewhere = User()
        Session().add(elsewhere)
        session.delete(gone)
        for entity, reason in (
            (User(), "is not in the session"),
            (elsewhere, "is not in the session"),
            (gone, "is deleted"),
        ):
            made = welcome.new(entity)
            session.add(made)
            with pytest.raises(InvalidEntity, match=reason):
                session.flush()
            assert session.is_active
            session.expunge(made)
        session.commit()
        assert session.scalar(select(Job.id)) is None

    await within(check)


async def test_bulk_inserts_take_entities_that_have_keys(within: Check) -> None:
    def check(session: Session) -> None:
        user = User()
        session.add(user)
        session.flush()
        several = insert_all(session, [welcome.new(user), welcome.new(user, lang="de")])
        assert [pk(session, one, "user") for one in several] == [[user.id]] * 2
        session.execute(insert(Job), [{"worker": "w", "args": welcome.new(user).args}])
        with pytest.raises(InvalidEntity, match="no primary key yet"):
            insert_all(session, [welcome.new(User())])
        with pytest.raises(InvalidEntity, match="no primary key yet"):
            session.execute(insert(Job), [{"worker": "w", "args": welcome.new(User()).args}])
        session.commit()
        rows = session.scalars(select(Job.args["user"]["pk"])).all()
        assert rows == [[user.id]] * 3

    await within(check)


async def test_after_a_commit_args_are_what_is_stored(within: Check) -> None:
    def check(session: Session) -> None:
        user = User()
        made = welcome.new(user)
        session.add_all([user, made])
        session.flush()
        session.refresh(made)
        assert made.args == {"user": {"$entity": "User", "pk": [user.id]}}

    await within(check)


def test_only_an_instance_of_the_declared_class_is_taken() -> None:
    with pytest.raises(InvalidArguments, match="'user' takes a row of User, got <"):
        welcome.new(ZParcel())  # type: ignore[arg-type]
    with pytest.raises(InvalidArguments, match="'user' takes a row of User, got None"):
        welcome.new(None)  # type: ignore[arg-type]
    with pytest.raises(InvalidArguments, match="got 7; to pass a row's key, annotate the type of that"):
        welcome.new(7)  # type: ignore[arg-type]


def test_a_row_where_none_was_declared_is_refused_at_once() -> None:
    with pytest.raises(
        UnserialisableValue, match="is a row of User: annotate the parameter with that class, or pass the key"
    ):
        untyped.new(User())
    with pytest.raises(UnserialisableValue, match="is a row of User"):
        Job(worker="w", args={"user": User()})
    with pytest.raises(UnserialisableValue, match="is a row of User"):
        untyped.new([User()])
