"""The mechanism of layers: hooks down and up, at once or later, values for failures, one completion."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reactivex import Observable, from_iterable, merge
from reactivex import operators as rx
from reactivex.subject import Subject

from streamcrawl import Again, Drop, Dropped, Failed, Request, Response
from streamcrawl.core import RUN, Layer, Outcome, Run, Stage
from streamcrawl.errors import ConnectError, OperatorError
from streamcrawl.streams.fetching import fetching
from streamcrawl.streams.layer import Down, Hooks, Up, failure, layer, stack
from streamcrawl.streams.local import LocalRun
from streamcrawl.testing import Chunks, virtual

HOME = Request("http://a.test/")


class Staged:
    """A stage under a run of its own; what comes up is written down."""

    def __init__(self, *layers: Layer, fetch: Callable[[Request], Awaitable[Response]] | None = None) -> None:
        self.run = LocalRun(asyncio.get_running_loop())
        self.fetched: list[Request] = []
        self.source: Subject[Request] = Subject()
        self.out: list[Outcome] = []
        self.completed = 0
        token = RUN.set(self.run)
        stage: Stage = stack(*layers)(fetching(fetch or self.fetch))
        self.subscription = stage(self.source).subscribe(self.out.append, self.run.fail, self._end)
        RUN.reset(token)

    async def fetch(self, request: Request) -> Response:
        self.fetched.append(request)
        return Response(request.url, body=b"fetched", request=request)

    def _end(self) -> None:
        self.completed += 1

    async def send(self, *requests: Request) -> list[Outcome]:
        for request in requests:
            self.source.on_next(request)
        await asyncio.sleep(10.0)
        return self.out


def going_down(hook: Down) -> Layer:
    return layer("named", lambda run: Hooks(down=hook))


def coming_up(hook: Up) -> Layer:
    return layer("named", lambda run: Hooks(up=hook))


def later(value: Any) -> Callable[[Any], Awaitable[Any]]:
    """A hook that gives `value` after a while, or raises it."""

    async def hook(element: Any) -> Any:
        await asyncio.sleep(1.0)
        if isinstance(value, BaseException):
            raise value
        return value

    return hook


def giving(value: Any) -> Callable[[Any], Any]:
    def hook(element: Any) -> Any:
        return value

    return hook


def raising(error: Exception) -> Callable[[Any], Any]:
    def hook(element: Any) -> Any:
        raise error

    return hook


@virtual
async def test_layers_see_requests_from_the_outside_in_and_outcomes_from_the_inside_out() -> None:
    told: list[str] = []

    def noting(name: str) -> Layer:
        def down(request: Request) -> Request:
            told.append(f"down {name}")
            return request

        def up(outcome: Outcome) -> Outcome:
            told.append(f"up {name}")
            return outcome

        return layer(name, lambda run: Hooks(down, up))

    await Staged(noting("a"), noting("b")).send(HOME)
    assert told == ["down a", "down b", "up b", "up a"]


@virtual
async def test_a_stack_of_nothing_is_nothing_and_stacks_stack() -> None:
    staged = Staged()
    (outcome,) = await staged.send(HOME)
    assert isinstance(outcome, Response)
    nested = Staged(stack(going_down(lambda r: r.replace(priority=1)), stack(going_down(lambda r: r.replace(depth=2)))))
    await nested.send(HOME)
    assert [(request.priority, request.depth) for request in nested.fetched] == [(1, 2)]


@virtual
async def test_a_layer_without_hooks_changes_nothing() -> None:
    staged = Staged(layer("empty", lambda run: Hooks()))
    (outcome,) = await staged.send(HOME)
    assert outcome.request is HOME
    assert repr(layer("empty", lambda run: Hooks())) == "<layer empty>"


@pytest.mark.parametrize("wait", [False, True])
@virtual
async def test_a_changed_request_goes_down_and_an_outcome_goes_up_at_once(wait: bool) -> None:
    changed = HOME.replace(priority=7)
    staged = Staged(going_down(later(changed) if wait else lambda _: changed))
    await staged.send(HOME)
    assert staged.fetched == [changed]

    dropped = Dropped(HOME, "not today")
    staged = Staged(coming_up(lambda o: o), going_down(later(dropped) if wait else lambda _: dropped))
    assert await staged.send(HOME) == [dropped]
    assert staged.fetched == []


@pytest.mark.parametrize("wait", [False, True])
@virtual
async def test_an_outcome_may_become_another(wait: bool) -> None:
    again = Again(HOME, HOME, "once more")
    staged = Staged(coming_up(later(again) if wait else lambda _: again))
    assert await staged.send(HOME) == [again]


@pytest.mark.parametrize("wait", [False, True])
@pytest.mark.parametrize("make", [going_down, coming_up])
@virtual
async def test_what_a_hook_raises_becomes_the_outcome(make: Callable[[Any], Layer], wait: bool) -> None:
    def hook(error: Exception) -> Any:
        return later(error) if wait else raising(error)

    (dropped,) = await Staged(make(hook(Drop("not this one")))).send(HOME)
    assert isinstance(dropped, Dropped)
    assert dropped.reason == "not this one"

    (own,) = await Staged(make(hook(ConnectError("refused")))).send(HOME)
    assert isinstance(own, Failed)
    assert isinstance(own.error, ConnectError)

    (failed,) = await Staged(make(hook(KeyError("author")))).send(HOME)
    assert isinstance(failed, Failed)
    assert isinstance(failed.error, OperatorError)
    assert str(failed.error) == "operator named: KeyError: 'author'"
    assert isinstance(failed.error.__cause__, KeyError)


@pytest.mark.parametrize("wait", [False, True])
@pytest.mark.parametrize(
    ("make", "value"), [(going_down, None), (going_down, "text"), (coming_up, None), (coming_up, HOME)]
)
@virtual
async def test_a_hook_that_gives_no_outcome_fails_and_is_named(
    make: Callable[[Any], Layer], value: Any, wait: bool
) -> None:
    (failed,) = await Staged(make(later(value) if wait else giving(value))).send(HOME)
    assert isinstance(failed, Failed)
    assert str(failed.error).startswith(f"operator named: TypeError: gave {value!r} for ")


@pytest.mark.parametrize("make", [going_down, coming_up])
@virtual
async def test_a_cancellation_out_of_a_hook_is_a_failure_like_others(make: Callable[[Any], Layer]) -> None:
    staged = Staged(make(later(asyncio.CancelledError())))
    (failed,) = await staged.send(HOME)
    assert isinstance(failed, Failed)
    assert "named: RuntimeError: what it awaited was cancelled" in str(failed.error)


@virtual
async def test_a_cancellation_out_of_fetch_is_a_failure_like_others() -> None:
    (failed,) = await Staged(fetch=later(asyncio.CancelledError())).send(HOME)
    assert isinstance(failed, Failed)
    assert "fetch: RuntimeError: what it awaited was cancelled" in str(failed.error)


@pytest.mark.parametrize("wait", [False, True])
@virtual
async def test_a_streamed_body_that_nobody_gets_is_closed(wait: bool) -> None:
    chunks = Chunks(b"x" * 100, size=10)
    error = KeyError("author")

    async def fetch(request: Request) -> Response:
        return Response(request.url, request=request, stream=chunks)

    (failed,) = await Staged(coming_up(later(error) if wait else raising(error)), fetch=fetch).send(HOME)
    assert isinstance(failed, Failed)
    assert chunks.closed


@pytest.mark.parametrize(
    "answer", [Response("http://a.test/", body=b"known"), Failed(HOME, ConnectError("x")), Dropped(HOME, "x")]
)
@virtual
async def test_an_answered_request_goes_down_untouched_and_its_answer_is_seen_on_the_way_up(answer: Outcome) -> None:
    seen: list[Outcome] = []

    def up(outcome: Outcome) -> Outcome:
        seen.append(outcome)
        return outcome

    staged = Staged(coming_up(up), going_down(raising(KeyError("touched"))))
    answered = HOME.replace(answer=answer)
    (outcome,) = await staged.send(answered)
    assert type(outcome) is type(answer)
    assert outcome.request is answered
    assert seen == [outcome]
    assert staged.fetched == []


@virtual
async def test_what_fetch_gives_that_is_no_response_fails_and_names_it() -> None:
    async def fetch(request: Request) -> Any:
        return "a page"

    (failed,) = await Staged(fetch=fetch).send(HOME)
    assert isinstance(failed, Failed)
    assert "fetch: TypeError: fetch returned 'a page', a str, and not a Response" in str(failed.error)


@virtual
async def test_completion_comes_once_after_everything_on_its_way() -> None:
    staged = Staged(coming_up(later(Dropped(HOME, "up"))), going_down(later(HOME)))
    staged.source.on_next(HOME)
    staged.source.on_completed()
    await asyncio.sleep(1.5)
    assert (staged.completed, staged.out) == (0, [])
    await asyncio.sleep(1.0)
    assert (staged.completed, len(staged.out)) == (1, 1)
    empty = Staged(going_down(later(HOME)))
    empty.source.on_completed()
    assert empty.completed == 1


@virtual
async def test_hooks_are_made_once_for_each_subscription_and_share_nothing() -> None:
    runs: list[Run] = []

    def make(run: Run) -> Hooks:
        runs.append(run)
        count = 0

        def down(request: Request) -> Request:
            nonlocal count
            count += 1
            return request.replace(depth=count)

        return Hooks(down=down)

    one = layer("counting", make)
    first, second = Staged(one), Staged(one)
    assert runs == [first.run, second.run]
    await first.send(HOME, HOME)
    await second.send(HOME)
    assert [request.depth for request in (*first.fetched, *second.fetched)] == [1, 2, 1]


@virtual
async def test_after_disposal_nothing_goes_down_or_comes_up() -> None:
    staged = Staged(coming_up(later(Dropped(HOME, "up"))))
    staged.source.on_next(HOME)
    await asyncio.sleep(0.5)
    staged.subscription.dispose()
    staged.source.on_next(HOME)
    await asyncio.sleep(5.0)
    assert (staged.out, len(staged.fetched), staged.completed) == ([], 1, 0)


def test_a_failure_is_made_of_an_exception_in_one_place() -> None:
    assert isinstance(failure("x", HOME, Drop("no")), Dropped)
    own = ConnectError("refused")
    failed = failure("x", HOME, own)
    assert isinstance(failed, Failed)
    assert failed.error is own


KINDS = ("as it is", "changed", "an end", "raised", "wrong")
HOOKS = st.none() | st.tuples(st.sampled_from(KINDS), st.booleans())


def behaving(number: int, down: tuple[str, bool] | None, up: tuple[str, bool] | None, told: list[str]) -> Layer:
    """A layer of any kind, whose name is its number, and which tells what it sees."""

    def hook(way: str, kind: str, wait: bool) -> Callable[[Any], Any]:
        def work(element: Any) -> Any:
            told.append(f"{way} {number} {type(element).__name__}")
            request = element if isinstance(element, Request) else element.request
            if kind == "raised":
                raise Drop(f"{way} {number}")
            if kind == "an end":
                return Dropped(request, f"{way} {number}")
            if kind == "changed":
                changed = request.replace(priority=request.priority + 1)
                return changed if way == "down" else Failed(changed, ConnectError(f"{way} {number}"))
            return element if kind == "as it is" else None

        async def waiting(element: Any) -> Any:
            await asyncio.sleep(1.0)
            return work(element)

        return waiting if wait else work

    hooks = Hooks(down and hook("down", *down), up and hook("up", *up))
    return layer(str(number), lambda run: hooks)


def apart(each: Layer) -> Layer:
    """The layer, which does not see that another one stands below."""
    return lambda stage: each(lambda requests: stage(requests))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(HOOKS, HOOKS), min_size=1, max_size=5), st.sets(st.integers(0, 4)), st.booleans())
def test_layers_that_stand_together_do_what_each_does_by_itself(
    kinds: list[tuple[tuple[str, bool] | None, tuple[str, bool] | None]], skip: set[int], answered: bool
) -> None:
    request = HOME.replace(skip=tuple(map(str, skip)))
    if answered:
        request = request.replace(answer=Dropped(HOME, "answered"))

    @virtual
    async def seen(among: Callable[[Layer], Layer]) -> list[str]:
        told: list[str] = []
        staged = Staged(*(among(behaving(number, *each, told)) for number, each in enumerate(kinds)))
        staged.source.on_next(request)
        staged.source.on_next(HOME)
        staged.source.on_completed()
        await asyncio.sleep(30.0)
        outcomes = [f"{type(each).__name__} {each.request.priority} {each}" for each in staged.out]
        return [*told, *outcomes, f"{len(staged.fetched)} fetched, {staged.completed} times completed"]

    assert seen(lambda each: each) == seen(apart)


@virtual
async def test_the_stage_below_completes_while_outcomes_are_still_under_way() -> None:
    """One that gives its last only then would else never give it."""
    last = asyncio.Event()

    async def in_order(outcome: Outcome) -> Outcome:
        if outcome.request.priority == 2:
            last.set()
        await last.wait()
        return outcome

    def holding(requests: Observable[Request]) -> Observable[Outcome]:
        def answered(request: Request) -> Outcome:
            return Response(request.url, request=request)

        def gathered(several: list[Request]) -> Observable[Outcome]:
            return from_iterable(map(answered, several))

        return merge(
            requests.pipe(rx.take(1), rx.map(answered)), requests.pipe(rx.skip(1), rx.to_list(), rx.flat_map(gathered))
        )

    async def slowly(outcome: Outcome) -> Outcome:
        await asyncio.sleep(1.0)
        return outcome

    told: list[Any] = []
    source: Subject[Request] = Subject()
    token = RUN.set(LocalRun(asyncio.get_running_loop()))
    stage = stack(coming_up(in_order), coming_up(slowly))(holding)
    stage(source).subscribe(lambda outcome: told.append(outcome.request.priority), on_completed=lambda: told.append(0))
    RUN.reset(token)
    for priority in 1, 2:
        source.on_next(HOME.replace(priority=priority))
    source.on_completed()
    await asyncio.sleep(10.0)
    assert sorted(told[:-1]) == [1, 2]
    assert told[-1] == 0


@pytest.mark.parametrize("disposed", [True, False])
@virtual
async def test_nothing_goes_on_when_nobody_listens_any_more(disposed: bool) -> None:
    told: list[str] = []

    def noted(request: Request) -> Request:
        told.append("down")
        return request

    staged = Staged(going_down(later(HOME)), going_down(noted))
    staged.source.on_next(HOME)
    if disposed:
        staged.subscription.dispose()
    else:
        staged.source.on_error(ValueError("over"))
    await asyncio.sleep(10.0)
    assert (told, staged.fetched, staged.out) == ([], [], [])
