from sqla_oban import QueueConfig
from sqla_oban.engine.standing import Standing, Word, standings

MAIL = {"mail": QueueConfig(limit=5)}


def word(
    queue: str = "mail",
    node: str = "",
    *,
    running: bool | None = None,
    paused: bool | None = None,
    limit: int | None = None,
    global_limit: int | None = None,
    rate_limit: object = None,
) -> Word:
    return Word(queue, node, running, paused, limit, global_limit, rate_limit, "now")


def mail(*words: Word) -> Standing:
    return standings(words, MAIL)["mail"]


def test_what_nobody_spoke_of_is_as_configured() -> None:
    configured = {**MAIL, "media": QueueConfig(limit=2, paused=True)}
    assert standings([], configured) == {
        "mail": Standing(running=True, paused=False, limit=5),
        "media": Standing(running=True, paused=True, limit=2),
    }


def test_the_word_for_the_node_counts_more_than_that_for_all_field_by_field() -> None:
    held = mail(word(paused=True, limit=3), word(node="here", paused=False))
    assert (held.running, held.paused, held.limit) == (True, False, 3)


def test_the_word_for_the_queue_counts_more_than_that_for_all_queues() -> None:
    assert mail(word("*", "here", paused=True), word(paused=False)).paused is False
    assert mail(word("*", "here", paused=True), word("*", paused=False)).paused is True
    assert mail(word("*", paused=True)).paused is True


def test_a_word_for_all_queues_is_no_queue() -> None:
    assert set(standings([word("*", paused=True)], MAIL)) == {"mail"}


def test_a_queue_of_that_name_is_one_all_the_same() -> None:
    assert standings([word("*", paused=True)], {"*": QueueConfig()})["*"].paused


def test_a_stopped_queue_does_not_run_and_a_started_one_does() -> None:
    assert mail(word(running=False)).running is False
    assert standings([word("new", running=True)], MAIL)["new"] == Standing(
        running=True, paused=False, limit=10, said_at=("now",)
    )


def test_who_runs_no_queues_starts_one_only_when_it_is_meant() -> None:
    assert standings([word(running=True)], {})["mail"].running is False
    assert standings([word(running=True), word(node="here", running=True)], {})["mail"].running is True


def test_a_limit_that_is_none_counts_for_nothing() -> None:
    assert mail(word(limit=0)).limit == 5
    assert mail(word(limit=-7)).limit == 5


def test_the_same_word_said_later_is_another() -> None:
    assert mail(word(paused=True)) != mail(word(paused=True)._replace(said_at="later"))
