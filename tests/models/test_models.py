"""`make_models`: the tables on bases of an application's own, in its MetaData and its schemas."""

import importlib
import pickle
import warnings
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import BigInteger, Connection, ForeignKey, MetaData, Text, select, text
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    MappedAsDataclass,
    Session,
    configure_mappers,
    declarative_base,
    joinedload,
    mapped_column,
    registry,
    relationship,
)
from sqlalchemy.schema import CreateSchema

from sqla_oban import JobState, insert_all
from sqla_oban.errors import ConfigurationError, InvalidJob
from sqla_oban.migrations import migrate
from sqla_oban.models import Job, JobMixin, Models, Peer, PeerMixin, make_models, metadata
from sqla_oban.models.models import table_of

MOMENT = datetime(2030, 1, 1, tzinfo=UTC)
CONVENTION = {"pk": "pk_%(table_name)s", "ck": "ck_%(table_name)s_%(constraint_name)s", "ix": "ix_%(column_0_label)s"}


def plain() -> type[Any]:
    class Base(DeclarativeBase):
        metadata = MetaData(naming_convention=CONVENTION)
        type_annotation_map = {int: Text, str: Text, dict[str, Any]: Text}  # noqa: RUF012 (the host's own taste)

    return Base


def dataclass() -> type[Any]:
    class Base(MappedAsDataclass, DeclarativeBase, kw_only=True):
        pass

    return Base


def sqlmodel() -> type[Any]:
    """A class of SQLModel's with a registry of its own, as its documentation makes them."""

    class Base(imported("sqlmodel").SQLModel, registry=registry()):  # type: ignore[misc, call-arg]
        pass

    return Base


def advanced_alchemy() -> type[Any]:
    """Put together as its documentation says; its own bases share one registry, which would know every test's `Job`."""
    made = imported("advanced_alchemy.base")

    class Base(made.BigIntPrimaryKey, made.CommonTableAttributes, DeclarativeBase):  # type: ignore[misc, name-defined]
        registry = made.create_registry()

    return Base


def imported(name: str) -> Any:
    """A package that may not go with this SQLAlchemy; the warnings that its import makes are not ours."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return importlib.import_module(name)
        except Exception as error:
            pytest.skip(f"{name} does not work here: {error!r}")


every_base = pytest.mark.parametrize(
    "make_base", [plain, dataclass, sqlmodel, advanced_alchemy, registry, declarative_base]
)
every_schema = pytest.mark.parametrize("schema", [None, "jobs"])

Own, OwnPeer = make_models(declarative_base())


@every_base
@every_schema
def test_its_tables_are_those_of_the_library(make_base: Callable[[], Any], schema: str | None) -> None:
    models: Any = make_models(make_base(), schema=schema)
    for model, ours in ((models.Job, Job), (models.Peer, Peer)):
        table, expected = model.__table__, ours.__table__
        assert table.schema == schema
        assert [column.name for column in table.columns] == [column.name for column in expected.columns]
        for column in table.columns:
            other = expected.columns[column.name]
            assert (column.nullable, column.primary_key) == (other.nullable, other.primary_key), column
            assert type(column.type) is type(other.type)
        for items in ("indexes", "constraints"):
            assert {one.name for one in getattr(table, items)} == {one.name for one in getattr(expected, items)}


@every_base
@every_schema
def test_its_jobs_are_stored_and_loaded(
    connection: Connection, make_base: Callable[[], Any], schema: str | None
) -> None:
    migrate(connection, schema=schema)
    models: Any = make_models(make_base(), schema=schema)
    with Session(connection) as session:
        added = models.Job(worker="w", args={"n": 0}, queue="q")
        session.add_all([added, models.Peer(name="Oban", node="n", started_at=MOMENT, expires_at=MOMENT)])
        session.flush()
        inserted = insert_all(session, [models.Job(worker="w", args={"n": n}, schedule_in=60) for n in (1, 2)])
        session.expire_all()

        found = session.scalars(
            select(models.Job).where(models.Job.args["n"].as_integer() >= 0).order_by(models.Job.id)
        ).all()
        assert [type(one) for one in found] == [models.Job] * 3
        assert [one.id for one in found] == [added.id, *(one.id for one in inserted)]
        assert [one.args["n"] for one in found] == [0, 1, 2]
        assert [one.state for one in found] == [JobState.AVAILABLE, JobState.SCHEDULED, JobState.SCHEDULED]
        assert session.scalars(select(models.Job).where(models.Job.state == JobState.AVAILABLE)).all() == [added]
        assert session.get(models.Peer, "Oban") is not None
        with pytest.raises(InvalidJob):
            added.queue = ""


def test_two_schemas_on_one_base(connection: Connection) -> None:
    base = plain()
    emea, apac = make_models(base, schema="emea"), make_models(base, schema="apac")
    for schema in ("emea", "apac"):
        migrate(connection, schema=schema)
    with Session(connection) as session:
        session.add_all([emea.Job(worker="e"), apac.Job(worker="a")])
        session.flush()
        insert_all(session, [emea.Job(worker="e2"), apac.Job(worker="a2"), emea.Job(worker="e3")])
        assert session.scalars(select(emea.Job.worker).order_by(emea.Job.id)).all() == ["e", "e2", "e3"]
        assert session.scalars(select(apac.Job.worker).order_by(apac.Job.id)).all() == ["a", "a2"]
        assert session.scalars(select(Job)).all() == []


def test_the_schema_of_the_metadata_is_that_of_the_tables_and_of_the_states_type(connection: Connection) -> None:
    class Base(DeclarativeBase):
        metadata = MetaData(schema="app")

    class Mixed(JobMixin, Base):
        __tablename__ = "oban_jobs"

    class Lease(PeerMixin, Base):
        __tablename__ = "oban_peers"

    migrate(connection, schema="app")
    tables: Any = Base.metadata.tables
    assert set(tables) == {"app.oban_jobs", "app.oban_peers"}
    assert tables["app.oban_jobs"].c.state.type.schema == "app"
    with Session(connection) as session:
        session.add(Mixed(worker="w", state=JobState.SCHEDULED))
        session.flush()
        assert session.scalars(select(Mixed.worker).where(Mixed.state == JobState.SCHEDULED)).all() == ["w"]


def test_create_all_makes_the_type_where_the_table_is(connection: Connection) -> None:
    base = plain()
    models = make_models(base, schema="created")
    connection.execute(CreateSchema("created"))
    base.metadata.create_all(connection)
    with Session(connection) as session:
        session.add(models.Job(worker="w"))
        session.flush()
        assert session.scalars(select(models.Job.state)).all() == [JobState.AVAILABLE]


def test_the_hosts_own_models_refer_to_jobs_and_jobs_to_them(connection: Connection) -> None:
    base = plain()
    models = make_models(base, schema="jobs")

    class User(base):  # type: ignore[misc, valid-type]
        __tablename__ = "host_users"

        id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
        job_id: Mapped[int | None] = mapped_column(ForeignKey(models.Job.id))
        named_id: Mapped[int | None] = mapped_column(ForeignKey("jobs.oban_jobs.id"))
        job: Mapped[JobMixin | None] = relationship(models.Job, foreign_keys=job_id, backref="users")
        named: Mapped[JobMixin | None] = relationship("Job", foreign_keys=named_id)

    configure_mappers()
    migrate(connection, schema="jobs")
    base.metadata.create_all(connection, [User.__table__])
    with Session(connection) as session:
        session.add(User(job=models.Job(worker="one"), named=models.Job(worker="other")))
        session.flush()
        session.expunge_all()
        user = session.scalars(select(User).options(joinedload(User.job), joinedload(User.named))).one()
        assert user.job is not None
        assert user.named is not None
        assert (user.job.worker, user.named.worker) == ("one", "other")
        assert user.job.users == [user]  # type: ignore[attr-defined]


def test_tables_of_sqlmodel_refer_to_jobs(connection: Connection) -> None:
    base, field = sqlmodel(), imported("sqlmodel").Field
    models = make_models(base, schema="jobs")

    class Hero(base, table=True):  # type: ignore[misc, valid-type, call-arg]
        id: int | None = field(default=None, primary_key=True)
        job_id: int | None = field(default=None, foreign_key="jobs.oban_jobs.id", sa_type=BigInteger)
        job: Any = imported("sqlmodel").Relationship(sa_relationship=relationship("Job"))

    migrate(connection, schema="jobs")
    base.metadata.create_all(connection, [Hero.__table__])
    with imported("sqlmodel").Session(connection) as session:
        session.add(Hero(job=models.Job(worker="fly")))
        session.flush()
        session.expunge_all()
        assert session.exec(select(Hero)).scalars().one().job.worker == "fly"


def test_dataclasses_refer_to_jobs(connection: Connection) -> None:
    base = dataclass()
    models = make_models(base, schema="jobs")

    class Order(base):  # type: ignore[misc, valid-type]
        __tablename__ = "host_orders"

        id: Mapped[int] = mapped_column(primary_key=True, init=False)
        job_id: Mapped[int | None] = mapped_column(ForeignKey(models.Job.id), init=False)
        job: Mapped[JobMixin | None] = relationship(models.Job, default=None)

    migrate(connection, schema="jobs")
    base.metadata.create_all(connection, [Order.__table__])
    with Session(connection) as session:
        session.add(Order(job=models.Job(worker="pack")))
        session.flush()
        session.expunge_all()
        order = session.scalars(select(Order)).one()
        assert order.job is not None
        assert order.job.worker == "pack"


def test_a_subclass_adds_columns_to_the_table_of_its_base() -> None:
    models = make_models(plain(), schema="jobs")

    class TenantJob(models.Job):  # type: ignore[name-defined, misc]
        tenant: Mapped[str | None] = mapped_column(Text)

    assert table_of(TenantJob) is table_of(models.Job)
    assert "tenant" in table_of(TenantJob).columns
    assert "tenant" not in metadata.tables["oban_jobs"].columns


def test_columns_of_a_subclass_are_stored_with_many_jobs_at_once(connection: Connection) -> None:
    models = make_models(plain(), schema="jobs")

    class TenantJob(models.Job):  # type: ignore[name-defined, misc]
        tenant: Mapped[str | None] = mapped_column(Text)

    migrate(connection, schema="jobs")
    connection.execute(text("ALTER TABLE jobs.oban_jobs ADD COLUMN tenant text"))
    with Session(connection) as session:
        given: list[JobMixin] = [TenantJob(worker="w", tenant="acme"), models.Job(worker="w"), TenantJob(worker="w")]
        insert_all(session, given)
        assert session.scalars(select(TenantJob.tenant).order_by(TenantJob.id)).all() == ["acme", None, None]


def test_a_job_that_is_stored_in_two_tables_is_added_and_not_inserted_in_bulk(connection: Connection) -> None:
    base = plain()
    models = make_models(base, schema="jobs")

    class ImportJob(models.Job):  # type: ignore[name-defined, misc]
        __tablename__ = "host_imports"

        id: Mapped[int] = mapped_column(ForeignKey(models.Job.id), primary_key=True)
        file: Mapped[str]

    migrate(connection, schema="jobs")
    base.metadata.create_all(connection, [ImportJob.__table__])
    with Session(connection) as session:
        session.add(ImportJob(worker="w", file="a.csv"))
        session.flush()
        session.expunge_all()
        [found] = session.scalars(select(ImportJob))
        assert (found.worker, found.file) == ("w", "a.csv")
        assert table_of(ImportJob) is table_of(models.Job)
        with pytest.raises(InvalidJob, match="is stored in several tables"):
            insert_all(session, [ImportJob(worker="w", file="b.csv")])


def test_its_jobs_can_be_pickled_where_a_module_has_its_class_by_that_name() -> None:
    globals()["Job_"], globals()["Job"] = Job, Own
    try:
        copy = pickle.loads(pickle.dumps(Own(worker="w", args={"a": 1})))
    finally:
        globals()["Job"] = globals().pop("Job_")
    assert type(copy) is Own
    assert (copy.worker, copy.args) == ("w", {"a": 1})


def test_the_second_set_for_the_same_tables_is_refused() -> None:
    class Base(DeclarativeBase):
        metadata = MetaData(schema="app")

    make_models(Base)
    make_models(Base, schema="jobs")
    with pytest.raises(ConfigurationError, match="has the tables for the schema 'app' already"):
        make_models(Base, schema="app")
    other = declarative_base()
    make_models(other)
    with pytest.raises(ConfigurationError, match="has the tables for no schema already"):
        make_models(other)


@pytest.mark.parametrize("base", [None, object, MetaData(), "Base", 1])
def test_what_is_no_base_is_refused(base: Any) -> None:
    with pytest.raises(ConfigurationError, match="takes a declarative base or a registry"):
        make_models(base)


def test_the_librarys_own_are_the_default() -> None:
    assert Models() == (Job, Peer)
