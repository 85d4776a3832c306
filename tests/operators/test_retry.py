"""retry: what goes again, when, and what is left alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Iterator
from random import Random
from typing import Any

import pytest
import reactivex as rx
from reactivex import operators as rxo

from streamcrawl.backoff import backoff
from streamcrawl.breaker import RetryBudget
from streamcrawl.core import Again, Dropped, Failed, Lease, Outcome, Request
from streamcrawl.errors import ConnectError, OperatorError, TLSError
from streamcrawl.events import Notice
from streamcrawl.headers import Headers
from streamcrawl.operators.download import download
from streamcrawl.operators.retry import retry
from streamcrawl.response import Response
from streamcrawl.streams.layer import NamedLayer
from streamcrawl.streams.local import LocalRun
from streamcrawl.testing.virtual_time import run_virtual

NOW = 784_111_777.0
URL = "http://a.example/page"
EVEN = backoff(10, ceiling=60, jitter=0)


@pytest.fixture
def run() -> Iterator[LocalRun]:
    loop = asyncio.new_event_loop()
    made = LocalRun(loop, seed=1)
    made.now = lambda: NOW
    made.monotonic = lambda: 0.0
    yield made
    loop.close()


def up(run: LocalRun, layer: NamedLayer, outcome: Outcome) -> Outcome:
    hook = layer.make(run).up
    assert hook is not None
    result = hook(outcome)
    assert not isinstance(result, Awaitable)
    return result


def busy(status: int, retry_after: str | None = None, **request: object) -> Response:
    headers = Headers([] if retry_after is None else [("Retry-After", retry_after)])
    return Response(URL, status, headers, request=Request(URL).replace(**request))


def test_a_transient_error_goes_again_after_a_wait(run: LocalRun) -> None:
    request = Request(URL, priority=5, meta={"mine": 1})
    again = up(run, retry(wait=EVEN), Failed(request, ConnectError("refused")))
    assert isinstance(again, Again)
    assert again.request is request
    assert (again.next.url, again.next.meta) == (URL, {"mine": 1})
    assert (again.next.attempt, again.next.priority, again.next.not_before) == (1, 4, NOW + 10)
    assert (again.reason, again.hop) == ("ConnectError", False)
    assert run.stats == {"retry/count": 1, "retry/reason_count/ConnectError": 1}


def test_each_repeat_waits_longer_and_the_last_outcome_is_passed_on(run: LocalRun) -> None:
    layer = retry(times=3, wait=EVEN)
    second = up(run, layer, busy(503, attempt=1))
    assert isinstance(second, Again)
    assert (second.next.attempt, second.next.not_before) == (2, NOW + 20)
    last = busy(503, attempt=3)
    assert up(run, layer, last) is last
    assert run.stats["retry/count"] == 1
    assert run.stats["retry/reason_count/503 Service Unavailable"] == 1
    assert run.stats["retry/max_reached"] == 1


def test_the_repeat_is_made_from_the_request_as_it_was_leased(run: LocalRun) -> None:
    leased = Request(URL, headers=Headers({"X-Mine": "1"}))
    wire = leased.replace(
        lease=Lease(1, leased, "http://a.example", lambda lease: None),
        headers=Headers({"X-Mine": "1", "Cookie": "secret=1", "Proxy-Authorization": "secret"}),
    )
    again = up(run, retry(), Failed(wire, ConnectError("refused")))
    assert isinstance(again, Again)
    assert again.request is wire
    assert again.next.headers == leased.headers
    assert again.next.lease is None


def test_a_known_answer_is_not_sent_again_with_the_request(run: LocalRun) -> None:
    request = Request(URL).replace(answer=busy(503))
    again = up(run, retry(), Response(URL, 503, request=request))
    assert isinstance(again, Again)
    assert again.next.answer is None


@pytest.mark.parametrize(
    "outcome",
    [
        busy(200),
        busy(404),
        busy(503, statuses=(503,)),
        busy(503, statuses="any"),
        busy(500, method="POST"),
        Failed(Request(URL), TLSError("expired")),
        Dropped(Request(URL), "robots.txt"),
        Again(Request(URL), Request(URL), "redirect 301", hop=True),
    ],
)
def test_left_alone(run: LocalRun, outcome: Outcome) -> None:
    assert up(run, retry(), outcome) is outcome
    assert run.stats == {}


def test_priority_and_level_by_request(run: LocalRun) -> None:
    layer = retry(
        times=1,
        priority=lambda request: request.meta.get("priority_adjust", -1),
        give_up_level=lambda request: request.meta.get("give_up_level", "error"),
    )
    levels: list[str] = []
    run.events.on(Notice, lambda notice: levels.append(notice.level))
    priorities: list[int] = []
    for meta in {"priority_adjust": 7, "give_up_level": "debug"}, dict[str, Any]():
        again = up(run, layer, busy(503, priority=10, meta=meta))
        assert isinstance(again, Again)
        priorities.append(again.next.priority)
        up(run, layer, busy(503, attempt=1, meta=meta))
    assert (priorities, levels) == ([17, 9], ["debug", "error"])


@pytest.mark.parametrize("seconds", [-1.0, float("inf")])
def test_a_wait_that_never_ends_is_told_and_not_begun(seconds: float) -> None:
    async def fetch(request: Request) -> Response:
        return Response(request.url, 503, request=request)

    async def work() -> list[Outcome]:
        layer = retry(wait=lambda repeat, random: seconds)
        return await rx.of(Request(URL)).pipe(download(layer, fetch=fetch), rxo.to_list())

    (end,) = run_virtual(work)
    assert isinstance(end, Failed)
    assert "a wait before repeat 1 of" in str(end.error)


def test_a_test_of_your_own(run: LocalRun) -> None:
    def captcha(outcome: Outcome) -> bool:
        return isinstance(outcome, Response) and b"captcha" in outcome.body

    page = Response(URL, 200, body=b"<p>captcha", request=Request(URL))
    again = up(run, retry(on=captcha, times=1), page)
    assert isinstance(again, Again)
    assert again.reason == "200 OK"
    assert up(run, retry(on=captcha), busy(503)).request.attempt == 0
    assert run.stats["retry/count"] == 1


@pytest.mark.parametrize(
    ("status", "header", "seconds", "host_rests"),
    [
        (503, "30", 30.0, 30.0),
        (429, "Sun, 06 Nov 1994 08:50:37 GMT", 60.0, 60.0),
        (503, "3", 10.0, 3.0),
        (503, "Sun, 06 Nov 1994 08:00:00 GMT", 10.0, None),
        (503, "soon", 10.0, None),
        (503, None, 10.0, None),
        (500, "30", 30.0, None),
    ],
)
def test_retry_after(run: LocalRun, status: int, header: str | None, seconds: float, host_rests: float | None) -> None:
    again = up(run, retry(wait=EVEN), busy(status, header))
    assert isinstance(again, Again)
    assert again.next.not_before == NOW + seconds
    assert run.hosts.not_before.get("http://a.example") == host_rests


def test_a_server_that_asks_for_too_long_gets_no_repeat(run: LocalRun) -> None:
    response = busy(503, "3601")
    assert up(run, retry(), response) is response
    assert run.hosts.not_before == {}
    assert run.stats == {"retry/retry_after_too_long": 1}
    assert isinstance(up(run, retry(max_retry_after=4000), response), Again)


def test_the_host_rests_even_when_no_repeat_is_left(run: LocalRun) -> None:
    response = busy(429, "30")
    assert up(run, retry(times=0), response) is response
    assert run.hosts.not_before == {"http://a.example": 30.0}


def test_statuses_and_errors_of_your_own(run: LocalRun) -> None:
    layer = retry(statuses={418, 503}, errors=(TLSError, KeyError))
    for status, method, goes in (418, "GET", True), (418, "POST", False), (503, "POST", True), (500, "GET", False):
        assert isinstance(up(run, layer, busy(status, method=method)), Again) is goes
    assert isinstance(up(run, layer, Failed(Request(URL), TLSError("expired"))), Again)
    raised = up(run, layer, Failed(Request(URL), OperatorError("fetch", KeyError("x"))))
    assert isinstance(raised, Again)
    assert raised.reason == "KeyError"
    refused = Failed(Request(URL), ConnectError("refused"))
    assert up(run, layer, refused) is refused
    assert isinstance(up(run, retry(unsafe=True), busy(500, method="POST")), Again)


def test_a_request_may_say_how_often_it_is_sent_again(run: LocalRun) -> None:
    response = busy(500, max_retries=0)
    assert up(run, retry(), response) is response
    assert isinstance(up(run, retry(times=0), busy(500, max_retries=3, attempt=2)), Again)
    last = busy(500, max_retries=3, attempt=3)
    assert up(run, retry(), last) is last


@pytest.mark.parametrize(("level", "attempt", "tries"), [("error", 2, "3 tries"), ("debug", 2, "3 tries")])
def test_giving_up_is_told(run: LocalRun, level: Any, attempt: int, tries: str) -> None:
    told: list[Notice] = []
    run.events.on(Notice, told.append)
    up(run, retry(give_up_level=level), busy(500, attempt=attempt))
    up(run, retry(), busy(500, max_retries=0))  # it wants none
    up(run, retry(times=0), busy(500))
    assert [(notice.text, notice.level) for notice in told] == [
        (f"retry: gave up {URL} after {tries}: 500 Internal Server Error", level)
    ]
    assert run.stats["retry/max_reached"] == 1


@pytest.mark.parametrize("status", [429, 503])
def test_what_the_cache_has_kept_asks_for_no_rest(run: LocalRun, status: int) -> None:
    stored = busy(status, "600").replace(flags=("cached",))
    assert isinstance(up(run, retry(), stored), Again)
    assert run.hosts.not_before == {}
    up(run, retry(), stored.replace(flags=("cached", "revalidated")))
    assert run.hosts.not_before == {"http://a.example": 600.0}


def test_when_the_budget_of_a_host_is_used_up_there_is_no_repeat(run: LocalRun) -> None:
    hook = retry(budget=RetryBudget(ratio=0, reserve=2), breaker=None).make(run).up
    assert hook is not None
    came = [type(hook(busy(500))).__name__ for _ in range(4)]
    assert came == ["Again", "Again", "Response", "Response"]
    elsewhere = Failed(Request("http://b.example/"), ConnectError("refused"))
    assert isinstance(hook(elsewhere), Again)
    assert run.stats["retry/budget_exhausted"] == 2


def test_arguments_are_checked_when_built() -> None:
    with pytest.raises(ValueError, match="give_up_level='loud'"):
        retry(give_up_level="loud")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType] - what is tested
    with pytest.raises(ValueError, match="status 99"):
        retry(statuses=[99])
    with pytest.raises(TypeError, match="error 'OSError'"):
        retry(errors=("OSError",))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType] - what is tested
    with pytest.raises(ValueError, match="times=-1"):
        retry(times=-1)
    with pytest.raises(ValueError, match="max_retry_after=-2"):
        retry(max_retry_after=-2)


class Body:
    def __init__(self) -> None:
        self.closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield b"x"

    async def aclose(self) -> None:
        self.closed = True


def test_a_streamed_body_that_nobody_reads_is_closed(run: LocalRun) -> None:
    body = Body()
    response = Response(URL, 503, request=Request(URL, stream=True), stream=body)
    hook = retry().make(run).up
    assert hook is not None
    result = hook(response)
    assert isinstance(result, Awaitable)

    async def wait() -> Outcome:
        return await result

    assert isinstance(asyncio.run(wait()), Again)
    assert body.closed


def test_in_a_pipe_it_waits_and_succeeds() -> None:
    sent: list[float] = []

    async def flaky(request: Request) -> Response:
        sent.append(asyncio.get_running_loop().time())
        if len(sent) == 1:
            raise ConnectError("refused")
        return Response(request.url, 503 if len(sent) == 2 else 200, request=request)

    def wait(repeat: int, random: Random) -> float:
        return 100.0 * repeat

    async def work() -> list[Outcome]:
        return await rx.of(Request(URL)).pipe(download(retry(wait=wait), fetch=flaky), rxo.to_list())

    (outcome,) = run_virtual(work)
    assert isinstance(outcome, Response)
    assert outcome.status == 200
    assert outcome.request.attempt == 2
    assert sent == pytest.approx([0, 100, 300])
