"""What mypy knows of class workers by our plugin: they are still classes. pyright takes a decorator at its word."""

from typing import assert_type

from sqlalchemy.orm import DeclarativeBase

from sqla_oban import Job, make_models, worker
from sqla_oban.models import JobMixin


@worker
class Resize:
    def process(self, job: Job) -> None: ...

    def again(self, job: Job) -> Job:
        return self.new(job.args, priority=job.priority)


class Shrink(Resize):
    """Has the `new` of its base, which makes jobs of that."""


class Base(DeclarativeBase): ...


class ThumbJob(JobMixin, Base):
    __tablename__ = "oban_jobs"


models = make_models(Base, schema="jobs")


@worker(model=ThumbJob, queue="media")
class Thumb:
    def process(self, job: ThumbJob) -> None: ...


@worker(model=models.Job)
class Tile:
    def process(self, job: JobMixin) -> None: ...


def models_of_ones_own() -> None:
    assert_type(Thumb(), Thumb)
    assert_type(Thumb.new({}, priority=1), ThumbJob)
    assert_type(Thumb.new({}, model=Job), Job)
    assert_type(Resize.new(), Job)
    one: JobMixin = Tile.new()
    assert_type(one.queue, str)


def uses() -> Job:
    assert_type(Resize(), Resize)
    assert_type(Resize().again(Job(worker="w")), Job)
    return Shrink.new()
