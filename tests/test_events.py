"""Events: who hears what, and that nothing is made for nobody."""

from __future__ import annotations

from reactivex import operators as rx

from streamcrawl import Request
from streamcrawl.events import Event, Events, Leased, Notice, RunFinished, RunStarted, Scheduled

HOME = Request("http://a.test/")


def test_every_event_names_its_run() -> None:
    events = Events("run-7")
    heard: list[Event] = []
    events.subscribe(heard.append)
    events.emit(Notice(text="one"))
    events.emit(Notice(text="two", run="run-8"))
    assert [event.run for event in heard] == ["run-7", "run-8"]


def test_an_event_is_wanted_only_while_somebody_listens() -> None:
    events = Events("run-1")
    assert not events.wants(Leased)

    listening = events.on(Leased, lambda event: None)
    assert events.wants(Leased)
    assert not events.wants(Scheduled)
    listening.dispose()
    listening.dispose()
    assert not events.wants(Leased)

    subscription = events.subscribe()
    assert events.wants(Scheduled)
    subscription.dispose()
    assert not events.wants(Scheduled)


def test_a_listener_hears_one_kind_in_order_and_no_other() -> None:
    events = Events()
    heard: list[str] = []
    events.on(Notice, lambda event: heard.append(f"first {event.text}"))
    events.on(Notice, lambda event: heard.append(f"second {event.text}"))
    events.emit(Notice(text="a"))
    events.emit(RunStarted())
    events.emit(Notice(text="b"))
    assert heard == ["first a", "second a", "first b", "second b"]


def test_listeners_may_leave_and_come_while_an_event_is_told() -> None:
    events = Events()
    heard: list[str] = []

    def once(event: Notice) -> None:
        heard.append(event.text)
        leaving.dispose()
        events.on(Notice, lambda later: heard.append(f"late {later.text}"))

    leaving = events.on(Notice, once)
    events.on(Notice, lambda event: heard.append(f"other {event.text}"))
    events.emit(Notice(text="a"))
    assert heard == ["a", "other a"]
    heard.clear()
    events.emit(Notice(text="b"))
    assert heard == ["other b", "late b"]


def test_a_subscriber_that_has_had_enough_hears_no_more() -> None:
    events = Events()
    heard: list[Event] = []
    events.pipe(rx.take(2)).subscribe(heard.append)
    for text in "abc":
        events.emit(Notice(text=text))
    assert len(heard) == 2
    assert not events.wants(Notice)


def test_the_crawls_hub_hears_all_its_runs_and_never_completes() -> None:
    crawl = Events()
    one, two = Events("run-1", crawl), Events("run-2", crawl)
    heard: list[tuple[str, type]] = []
    ended: list[bool] = []
    crawl.subscribe(lambda event: heard.append((event.run, type(event))), on_completed=lambda: ended.append(True))
    crawl.on(RunFinished, lambda event: heard.append((event.run, str)))
    assert one.wants(Leased)
    one.emit(RunStarted())
    two.emit(Leased(request=HOME))
    one.emit(RunFinished(reason="finished"))
    one.complete()
    assert heard == [("run-1", RunStarted), ("run-2", Leased), ("run-1", str), ("run-1", RunFinished)]
    assert ended == []


def test_completion_reaches_who_is_there_and_who_comes_late() -> None:
    events = Events("run-1")
    ended: list[str] = []
    events.subscribe(on_completed=lambda: ended.append("there"))
    events.complete()
    events.subscribe(on_completed=lambda: ended.append("late"))
    assert ended == ["there", "late"]


def test_its_repr_says_whose_and_how_many() -> None:
    events = Events("run-3")
    events.subscribe()
    assert repr(events) == "<Events of run-3, 1 subscribers>"
    assert repr(Events()) == "<Events of no run, 0 subscribers>"
