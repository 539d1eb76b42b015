"""What mypy knows of class workers by our plugin: they are still classes. pyright takes a decorator at its word."""

from typing import assert_type

from sqla_oban import Job, worker


@worker
class Resize:
    def process(self, job: Job) -> None: ...

    def again(self, job: Job) -> Job:
        return self.new(job.args, priority=job.priority)


class Shrink(Resize):
    """Has the `new` of its base, which makes jobs of that."""


def uses() -> Job:
    assert_type(Resize(), Resize)
    assert_type(Resize().again(Job(worker="w")), Job)
    return Shrink.new()
