"""The checkers catch what is broken, one law at a time, and let pass what is right."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from itertools import count
from pathlib import Path
from random import SystemRandom
from typing import Any

import pytest
import reactivex as rx
from reactivex import Observable, abc
from reactivex import operators as op

from streamcrawl.core import Again, Dropped, Failed, Layer, Outcome, Request, Run, Stage
from streamcrawl.errors import Drop, FetchTimeout
from streamcrawl.response import Response
from streamcrawl.streams.layer import Down, Hooks, Up, layer, stack
from streamcrawl.testing import ContractBroken, FakeFetch, Report, check_layer, check_operator, check_sink, laws, page

Make = Callable[[], Layer]


def of(down: Down | None = None, up: Up | None = None) -> Make:
    """A function that makes a layer of these hooks."""
    return lambda: layer("mine", lambda run: Hooks(down, up))


def plain(operator: Callable[[Observable[Any]], Observable[Any]], *, below: bool = False) -> Make:
    """A layer with a bare reactivex operator around the stage, or before it."""

    def mine(stage: Stage) -> Stage:
        return lambda requests: stage(operator(requests)) if below else operator(stage(requests))

    return lambda: mine


def broken(make: Any, law: str, match: str, **options: Any) -> ContractBroken:
    with pytest.raises(ContractBroken, match=match) as caught:
        check_layer(make, **options)
    error = caught.value
    assert error.law == law, str(error)
    assert str(error).startswith(law)
    assert error.subject in str(error)
    return error


# Layers that are right.


def retrying() -> Layer:
    """All at once: it waits on the way down, fetches beside, counts, answers itself, sends again."""

    def make(run: Run) -> Hooks:
        seen = count()

        async def slowly(request: Request) -> Request | Outcome:
            await asyncio.sleep(run.random.random())
            if "/private/" in request.url:
                raise Drop("private")
            if request.url.endswith("/links"):
                beside = await run.fetch(Request("http://a.example/ok"), request)
                return request.replace(headers=request.headers.set("X-Beside", type(beside).__name__))
            if request.url.endswith("/empty"):
                return Response(request.url, 200, body=b"short cut", request=request)
            return request.replace(headers=request.headers.set("Cookie", f"n={next(seen)}"))

        def again(outcome: Outcome) -> Outcome:
            bad = isinstance(outcome, Failed) or (isinstance(outcome, Response) and outcome.status == 503)
            origin = outcome.request.origin
            if bad and origin.attempt < 2:
                wait = run.now() + run.random.random()
                return Again(outcome.request, origin.replace(attempt=origin.attempt + 1, not_before=wait), "again")
            return outcome

        def down(request: Request) -> Request | Awaitable[Request | Outcome]:
            return request if request.url.endswith("/ok") else slowly(request)

        return Hooks(down, again)

    return layer("retrying", make)


def timing_out() -> Layer:
    """Answers itself while the stage below is still at work, and swallows the late answer."""

    def mine(stage: Stage) -> Stage:
        def staged(requests: Observable[Request]) -> Observable[Outcome]:
            def subscribe(
                upper: abc.ObserverBase[Outcome], scheduler: abc.SchedulerBase | None = None
            ) -> abc.DisposableBase:
                return _race(stage, requests, upper, scheduler)

            return Observable(subscribe)

        return staged

    return mine


def _race(
    stage: Stage, requests: Observable[Request], upper: abc.ObserverBase[Outcome], scheduler: abc.SchedulerBase | None
) -> abc.DisposableBase:
    timers: dict[object, asyncio.TimerHandle] = {}
    loop = asyncio.get_running_loop()

    def late(request: Request) -> None:
        del timers[request.lease]
        upper.on_next(Failed(request, FetchTimeout("too slow")))

    def watch(request: Request) -> None:
        timers[request.lease] = loop.call_later(60, late, request)

    def on_next(outcome: Outcome) -> None:
        timer = timers.pop(outcome.request.lease, None)
        if timer is not None:
            timer.cancel()
            upper.on_next(outcome)

    below = stage(requests.pipe(op.do_action(watch)))
    return below.subscribe(on_next, upper.on_error, upper.on_completed, scheduler=scheduler)


@pytest.mark.parametrize(
    "make",
    [
        of(),
        of(down=lambda request: request.replace(headers=request.headers.set("X", "1"))),
        of(down=lambda request: Dropped(request, "all of them")),
        of(up=lambda outcome: outcome),
        plain(op.map(lambda outcome: outcome)),
        plain(op.delay(1.0)),
        retrying,
        timing_out,
        lambda: stack(retrying(), timing_out()),
    ],
)
def test_right_layers_pass(make: Make) -> None:
    report = check_layer(make)
    assert report.offered > 500
    assert sum(report.came.values()) == report.offered
    assert report.scenarios >= 32


def test_the_report_tells_what_was_seen() -> None:
    report = check_layer(retrying, seeds=range(2))
    assert report.subject == "layer retrying"
    assert report.nested > 0
    assert set(report.came) == {"Response", "Failed", "Dropped", "Again"}


def test_a_layer_object_and_own_requests_and_fetch_will_do() -> None:
    fetch = FakeFetch({"/": page(status=503)}, latency=2.0)
    report = check_layer(retrying(), requests=["http://a.example/"], fetch=fetch, seeds=[0, 1])
    assert report.came["Again"] >= 2
    assert set(fetch.urls) == {"http://a.example/"}


# One law after the other.


@pytest.mark.parametrize(
    "make",
    [
        plain(op.filter(lambda outcome: outcome.request.method != "HEAD")),
        plain(op.filter(lambda request: request.method != "HEAD"), below=True),
        plain(op.debounce(5.0)),
    ],
)
def test_swallowing_breaks_law_1(make: Make) -> None:
    error = broken(make, laws.ONE_OUTCOME, "never emitted an outcome for: <")
    assert isinstance(error.element, Request)


def test_duplicating_breaks_law_1() -> None:
    error = broken(plain(op.flat_map(lambda outcome: rx.of(outcome, outcome))), laws.ONE_OUTCOME, "a second outcome")
    assert isinstance(error.element, (Response, Failed, Dropped, Again))


def test_an_outcome_out_of_nothing_breaks_law_1() -> None:
    broken(
        plain(op.start_with(Dropped(Request("http://a.example/"), "mine"))),
        laws.ONE_OUTCOME,
        "no request in hand",
    )


def test_an_outcome_of_a_request_made_anew_breaks_law_1() -> None:
    def anew(outcome: Outcome) -> Outcome:
        return Dropped(Request(outcome.request.url), "anew")

    broken(of(up=anew), laws.ONE_OUTCOME, "must descend from the offered one")


def test_a_request_made_anew_breaks_law_1() -> None:
    broken(of(down=lambda request: Request(request.url)), laws.ONE_OUTCOME, "descends from none in hand")


def test_emitting_what_is_no_outcome_breaks_law_1() -> None:
    broken(plain(op.map(lambda outcome: 42)), laws.ONE_OUTCOME, "no Outcome: 42")


def test_completing_with_requests_in_hand_breaks_law_1() -> None:
    broken(plain(op.take(5)), laws.COMPLETION, "completed before its source", seeds=[0])
    error = broken(plain(op.take(5)), laws.COMPLETION, "completed with [0-9]+ requests in hand", seeds=[1])
    assert isinstance(error.element, Request)


def test_completing_with_the_source_and_not_with_the_last_outcome_breaks_law_1() -> None:
    def mine(stage: Stage) -> Stage:
        return lambda requests: stage(requests).pipe(op.take_until(requests.pipe(op.last())))

    broken(lambda: mine, laws.COMPLETION, "requests in hand.*source completes early", seeds=range(8))


def test_never_completing_breaks_law_1() -> None:
    broken(plain(op.concat(rx.never())), laws.COMPLETION, "never completed")


def test_touching_an_answered_request_breaks_its_law() -> None:
    def add(request: Request) -> Request:
        return request.replace(headers=request.headers.set("X", "1"))

    error = broken(plain(op.map(add), below=True), laws.ANSWERED, "changed headers of an answered request")
    assert isinstance(error.element, Request)
    assert error.element.answer is not None


def is_answered(request: Request) -> bool:
    return request.answer is not None


def is_open(request: Request) -> bool:
    return request.answer is None


def answer(request: Request) -> Outcome:
    return Dropped(request, "answered already")


def test_not_sending_an_answered_request_down_breaks_its_law() -> None:
    def mine(stage: Stage) -> Stage:
        def staged(requests: Observable[Request]) -> Observable[Outcome]:
            shared = requests.pipe(op.share())
            known = shared.pipe(op.filter(is_answered), op.map(answer))
            return rx.merge(known, stage(shared.pipe(op.filter(is_open))))

        return staged

    broken(lambda: mine, laws.ANSWERED, "did not send an answered request down")


def test_not_passing_an_answer_through_the_up_hooks_breaks_its_law() -> None:
    def up(outcome: Outcome) -> Outcome:
        if isinstance(outcome, Response) and outcome.request.answer is None:
            return outcome.replace(flags=("seen",))
        return outcome

    broken(of(up=up), laws.ANSWERED, "of an answer, and .* when it was fetched")


@pytest.mark.parametrize("where", ["down", "up"])
def test_on_error_breaks_law_2(where: str) -> None:
    def fail(element: Any) -> Any:
        raise KeyError(type(element).__name__)

    broken(plain(op.map(fail), below=where == "down"), laws.VALUES, "on_error.KeyError: ")


def test_on_error_for_a_failing_fetch_breaks_law_2() -> None:
    def raising(outcome: Outcome) -> Observable[Outcome]:
        return rx.throw(outcome.error) if isinstance(outcome, Failed) else rx.of(outcome)

    broken(plain(op.flat_map(raising)), laws.VALUES, "on_error")


def test_raising_out_of_on_next_breaks_law_2() -> None:
    def mine(stage: Stage) -> Stage:
        def staged(requests: Observable[Request]) -> Observable[Outcome]:
            def subscribe(upper: Any, scheduler: Any = None) -> Any:
                return stage(requests).subscribe(lambda outcome: upper.on_next(vars(outcome)))

            return Observable(subscribe)

        return staged

    broken(lambda: mine, laws.VALUES, "raised TypeError", seeds=[1])
    broken(lambda: mine, laws.VALUES, "raised TypeError", seeds=[0])


def test_an_error_in_a_spawned_task_breaks_law_2() -> None:
    async def fail() -> None:
        raise ValueError("in a task")

    def make(run: Run) -> Hooks:
        def down(request: Request) -> Request:
            run.spawn(fail())
            return request

        return Hooks(down)

    broken(lambda: layer("mine", make), laws.VALUES, "stopped the run with ValueError: in a task")


def test_looping_breaks_law_4() -> None:
    broken(plain(op.flat_map(twice), below=True), laws.LOOP, "down twice")


def test_sending_again_without_an_end_breaks_law_4() -> None:
    broken(of(up=lambda outcome: Again(outcome.request, outcome.request.origin, "ever")), laws.LOOP, "without an end")


def with_cookie(request: Request) -> Request:
    return request.origin.replace(headers=request.headers.set("Cookie", "a=1"))


def with_cookies(request: Request) -> Request:
    return request.origin.replace(cookies={"mine": "1"})


def elsewhere(request: Request) -> Request:
    return request.origin.replace(url="http://other.test/")


def not_the_origin(request: Request) -> Request:
    return request.replace(lease=None, answer=None)


def as_it_is(request: Request) -> Request:
    return request


@pytest.mark.parametrize(
    ("made", "match"),
    [
        (as_it_is, "carries a lease"),
        (not_the_origin, "carries (X-Added|Authorization|Cookie|Proxy)"),
        (with_cookie, "carries Cookie"),
        (with_cookies, "carries cookies"),
        (elsewhere, "credentials to another host"),
    ],
)
def test_what_was_added_for_the_wire_in_an_again_breaks_law_4(made: Callable[[Request], Request], match: str) -> None:
    def up(outcome: Outcome) -> Outcome:
        request = outcome.request
        return outcome if request.origin.attempt else Again(request, made(request).replace(attempt=1), "mine")

    error = broken(of(up=up), laws.ORIGIN, match)
    assert isinstance(error.element, Again)


def test_an_answer_in_an_again_breaks_law_4() -> None:
    def up(outcome: Outcome) -> Outcome:
        request = outcome.request
        return Again(request, request.origin.replace(answer=Dropped(request, "x")), "mine")

    broken(of(up=up), laws.ORIGIN, "carries an answer")


def test_changing_the_users_meta_breaks_law_4() -> None:
    def down(request: Request) -> Request:
        request.meta["mine"] = 1
        return request

    broken(of(down=down), laws.ORIGIN, "changed the user's meta")


def shared_counter() -> Layer:
    numbers = count()  # made with the layer, not with its subscription

    def down(request: Request) -> Request:
        return request.replace(headers=request.headers.set("X", str(next(numbers))))

    return layer("mine", lambda run: Hooks(down))


def test_state_shared_by_two_subscriptions_breaks_law_8() -> None:
    error = broken(shared_counter, laws.STATE, "second run of one layer object")
    assert error.subject == "layer mine"
    broken(shared_counter(), laws.STATE, "second run of one layer object")


def test_state_shared_only_while_two_run_breaks_law_8() -> None:
    class Shared:
        """Forgets when the last run ends, so that one after the other does not show it."""

        hands = 0

        def down(self, request: Request) -> Request:
            self.hands += 1
            return request.replace(headers=request.headers.set("X-Hands", str(self.hands)))

        def up(self, outcome: Outcome) -> Outcome:
            self.hands -= 1
            return outcome

    def make() -> Layer:
        shared = Shared()

        def up(outcome: Outcome) -> Outcome:
            return shared.up(outcome) if outcome.request.answer is None else outcome

        return layer("mine", lambda run: Hooks(shared.down, up))

    broken(make, laws.STATE, "two runs at once", seeds=[1])


def test_chance_of_its_own_breaks_law_9() -> None:
    def down(request: Request) -> Request:
        return request.replace(headers=request.headers.set("X", str(SystemRandom().random())))

    broken(of(down=down), laws.CHANCE, "made anew")


def test_leaking_a_task_breaks_law_8() -> None:
    kept: list[Any] = []

    def down(request: Request) -> Request:
        kept.append(asyncio.get_running_loop().create_task(asyncio.sleep(7)))
        return request

    broken(of(down=down), laws.LEFT, "left [0-9]+ tasks behind .*: sleep")


def test_a_task_that_never_ends_breaks_law_8() -> None:
    def make(run: Run) -> Hooks:
        run.spawn(asyncio.sleep(10**9))
        return Hooks()

    broken(lambda: layer("mine", make), laws.LEFT, "no run can end: sleep")


def test_a_task_that_will_not_be_cancelled_breaks_law_8() -> None:
    async def stubborn(request: Request) -> Request:
        for _ in range(3):
            try:
                await asyncio.sleep(5)
            except asyncio.CancelledError:
                await asyncio.sleep(5)
        return request

    def down(request: Request) -> Request | Awaitable[Request]:
        return stubborn(request) if request.url.endswith("/ok") else request

    broken(of(down=down), laws.LEFT, "left [0-9]+ tasks behind")


# Plain operators.


def is_ok(request: Request) -> bool:
    return "ok" in request.url


def seen(response: Any) -> Any:
    return response.replace(flags=("seen",))


def url_of(request: Request) -> str:
    return request.url


def made_anew(request: Request) -> Request:
    return Request(request.url)


def twice(request: Request) -> Observable[Request]:
    return rx.of(request, request)


def name_in(response: Response) -> str:
    return str(response.json()["name"])


RIGHT: list[Any] = [
    (op.map(lambda request: request), {}),
    (op.do_action(lambda request: None), {}),
    (op.filter(is_ok), {"swallows": True}),
    (op.delay(1.0), {"waits": True}),
    (op.map(seen), {"edge": "response"}),
    (op.map(lambda outcome: outcome), {"edge": "outcome"}),
]


@pytest.mark.parametrize(("operator", "options"), RIGHT)
def test_right_operators_pass(operator: Any, options: dict[str, Any]) -> None:
    report = check_operator(operator, **options)
    assert isinstance(report, Report)
    assert report.offered >= sum(report.came.values()) > 0


def remembering() -> Callable[[Observable[Any]], Observable[Any]]:
    urls: set[str] = set()

    def fresh(request: Request) -> bool:
        known = request.url in urls
        urls.add(request.url)
        return not known

    return op.filter(fresh)


WRONG: list[Any] = [
    (op.filter(is_ok), {}, laws.ONE_TO_ONE, "emitted nothing"),
    (op.flat_map(twice), {}, laws.ONE_TO_ONE, "a second time"),
    (op.map(made_anew), {}, laws.ONE_TO_ONE, "descends from no element"),
    (op.map(url_of), {}, laws.ONE_TO_ONE, "descends from no element"),
    (op.delay(1.0), {"swallows": True}, laws.ONE_TO_ONE, "later than within"),
    (op.debounce(5.0), {"waits": True}, laws.ONE_TO_ONE, "emitted nothing"),
    (op.take(3), {"swallows": True}, laws.COMPLETION, "before its source"),
    (op.concat(rx.never()), {}, laws.COMPLETION, "never completed"),
    (op.map(name_in), {"edge": "response"}, laws.VALUES, "JSONDecodeError"),
    (op.map(seen), {"edge": "outcome"}, laws.VALUES, "AttributeError"),
    (remembering(), {"swallows": True}, laws.STATE, "subscribed again"),
]


@pytest.mark.parametrize(("operator", "options", "law", "match"), WRONG)
def test_broken_operators_do_not(operator: Any, options: dict[str, Any], law: str, match: str) -> None:
    with pytest.raises(ContractBroken, match=match) as caught:
        check_operator(operator, **options)
    assert caught.value.law == law


def test_an_unknown_edge_is_refused() -> None:
    with pytest.raises(ValueError, match="edge is 'item'"):
        check_operator(op.map(lambda item: item), edge="item")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]  # meant


# Sinks.


class Lines:
    """A sink into a file of JSON lines, right unless `wrong` says how not."""

    name = "lines"

    def __init__(self, path: Path, wrong: str = "") -> None:
        self.path = path
        self.wrong = wrong
        self.used = 0

    def open(self, run: Run, token: Any = None) -> OpenLines:
        if token is None:
            self.path.write_bytes(b"")
        elif self.wrong != "ignores the token":
            with self.path.open("r+b") as file:
                file.truncate(token)
        if self.wrong == "remembers":
            self.used += 1
        return OpenLines(self)

    def stored(self) -> list[Any]:
        return [json.loads(line) for line in self.path.read_text().split("\n")[:-1]]

    def __repr__(self) -> str:
        return f"Lines({self.used})"


class OpenLines:
    def __init__(self, sink: Lines) -> None:
        self.sink = sink
        self.waiting: list[Any] = []

    async def accept(self, item: Any, item_id: Any) -> Any:
        await asyncio.sleep(0.5)
        wrong = self.sink.wrong
        if wrong == "raises" and item["number"] == 3:
            raise OSError("disk full")
        if wrong != "loses" or item["number"] != 5:
            self.waiting.append(item)
        if wrong == "leaks" and item["number"] == 5:
            self.task = asyncio.create_task(asyncio.sleep(100))
        return {**item, "used": self.sink.used} if wrong == "remembers" else None

    async def flush(self) -> int:
        if self.sink.wrong == "flushes nothing":
            return 0
        with self.sink.path.open("a") as file:
            file.writelines(json.dumps(item) + "\n" for item in self.waiting)
        if self.sink.wrong != "writes again":
            self.waiting.clear()
        return self.sink.path.stat().st_size

    async def close(self) -> None:
        await self.flush()


def test_a_right_sink_passes(tmp_path: Path) -> None:
    sink = Lines(tmp_path / "items.jsonl")
    report = check_sink(sink, stored=sink.stored, at_once=True)
    assert report.came == {"passed on": report.offered}
    assert report.scenarios == 5


@pytest.mark.parametrize(
    ("wrong", "law", "match"),
    [
        ("loses", laws.SAFE, "does not have an accepted item after a flush"),
        ("flushes nothing", laws.SAFE, "does not have an accepted item after a flush"),
        ("writes again", laws.SAFE, "has 45 items after the last flush, and accepted 18"),
        ("ignores the token", laws.SAFE, "opened at a token after 9 items and given the other 9, stores 27"),
        ("raises", laws.VALUES, "raised OSError: disk full"),
        ("leaks", laws.LEFT, "left 2 tasks behind: sleep, sleep"),
        ("remembers", laws.STATE, "passed on other items when it was opened again"),
    ],
)
def test_a_broken_sink_does_not(tmp_path: Path, wrong: str, law: str, match: str) -> None:
    sink = Lines(tmp_path / "items.jsonl", wrong)
    with pytest.raises(ContractBroken, match=match) as caught:
        check_sink(sink, stored=sink.stored)
    assert caught.value.law == law
    assert caught.value.subject == "sink lines"


def test_a_sink_that_cannot_be_opened_is_told(tmp_path: Path) -> None:
    with pytest.raises(ContractBroken, match="could not be opened"):
        check_sink(Lines(tmp_path / "no" / "such" / "folder"))


def test_too_few_items_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="items has 1"):
        check_sink(Lines(tmp_path / "x"), items=[{}])
