"""A reactivex operator on outcomes on their way up."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import reactivex
from reactivex import Observable
from reactivex import operators as rx
from through import through

from streamcrawl import Again, Crawl, Drop, Dropped, Failed, Request, Response, Summary
from streamcrawl import operators as ops
from streamcrawl.core import Outcome
from streamcrawl.errors import ConnectError, LawBroken
from streamcrawl.testing import Answer, FakeFetch, check_layer, page, run_virtual

URL = "http://a.test/"
SITE: dict[str, Answer] = {
    "/": page("home"),
    "/down": ConnectError("refused"),
    "/old": page(status=302, headers={"Location": "/"}),
}


def text(page: Response) -> dict[str, str]:
    return {"text": page.text}


def crawl(*layers: Any, starts: Any = URL) -> tuple[Summary, list[str]]:
    async def main() -> tuple[Summary, list[str]]:
        flow = Crawl(starts).pipe(ops.download(*layers, fetch=FakeFetch(SITE)), ops.scrape(text))
        out: list[Any] = []
        summary = await flow.start(on_item=out.append)
        return summary, [item["text"] for item in out]

    return run_virtual(main())


def test_it_sees_outcomes_of_every_kind() -> None:
    kinds: list[type] = []
    answered = Request(URL, answer=Dropped(Request(URL), "known"))
    through(
        ops.up(rx.do_action(lambda outcome: kinds.append(type(outcome)))),
        ops.redirect(),
        to=[URL, f"{URL}down", f"{URL}old", answered],
        fetch=FakeFetch(SITE),
    )
    assert sorted(kind.__name__ for kind in kinds) == ["Again", "Dropped", "Failed", "Response", "Response"]


def test_it_may_make_another_outcome_of_one() -> None:
    def calm(outcome: Outcome) -> Outcome:
        return Dropped(outcome.request, "down") if isinstance(outcome, Failed) else outcome

    (outcome,) = through(ops.up(rx.map(calm)), to=[f"{URL}down"], fetch=FakeFetch(SITE))
    assert isinstance(outcome, Dropped)
    assert outcome.reason == "down"


def test_what_it_swallows_is_dropped_with_its_name() -> None:
    (outcome,) = through(ops.up(rx.filter(lambda outcome: False)), to=[URL], fetch=FakeFetch(SITE))
    assert isinstance(outcome, Dropped)
    assert outcome.reason.startswith("swallowed by up(filter(<lambda> at test_up.py:")


@pytest.mark.parametrize(("error", "kind"), [(KeyError("author"), Failed), (Drop("not today"), Dropped)])
def test_what_it_raises_is_that_requests_outcome(error: Exception, kind: type) -> None:
    def fail(outcome: Outcome) -> Outcome:
        raise error

    (outcome,) = through(ops.up(rx.map(fail)), to=[URL], fetch=FakeFetch(SITE))
    assert isinstance(outcome, kind)
    assert "author" in str(getattr(outcome, "error", "")) or getattr(outcome, "reason", "") == "not today"


def twice(outcome: Outcome) -> Observable[Outcome]:
    return reactivex.of(outcome, outcome)


def request_of(outcome: Outcome) -> Request:
    return outcome.request


def test_asynchronous_work_goes_through_map_async() -> None:
    async def translate(outcome: Outcome) -> Outcome:
        await asyncio.sleep(1.0)
        if isinstance(outcome, Response):
            return outcome.replace(body=outcome.body.upper())
        return outcome

    summary, texts = crawl(ops.up(ops.map_async(translate)), starts=[URL, f"{URL}down"])
    assert texts == ["HOME"]
    assert (summary.failed, summary.balanced) == (1, True)


def test_what_map_async_raises_on_a_failure_leaves_the_failure_as_it_is() -> None:
    async def fail(outcome: Outcome) -> Outcome:
        raise KeyError("a bug")

    first, second = through(ops.up(ops.map_async(fail)), to=[f"{URL}down", URL], fetch=FakeFetch(SITE))
    assert isinstance(first, Failed)
    assert isinstance(first.error, ConnectError)
    assert isinstance(second, Failed)
    assert "map_async(fail at test_up.py:" in str(second.error)


@pytest.mark.parametrize(
    ("operator", "text"),
    [
        (rx.flat_map(twice), "a second output"),
        (rx.map(request_of), "a Request, where outcomes come up"),
        (rx.start_with(Dropped(Request(URL), "first")), "with no input in hand"),
    ],
    ids=["twice", "other", "start_with"],
)
def test_one_that_is_not_one_for_one_stops_the_run_and_is_named(operator: Any, text: str) -> None:
    summary, _ = crawl(ops.up(operator))
    assert isinstance(summary.error, LawBroken)
    assert "up(" in str(summary.error)
    assert text in str(summary.error)
    assert summary.balanced


def test_a_hop_may_be_sent_from_here() -> None:
    def instead(outcome: Outcome) -> Outcome:
        origin = outcome.request.origin
        if isinstance(outcome, Failed) and origin.attempt == 0:
            return Again(outcome.request, origin.replace(url=URL, attempt=1), "mirror", hop=True)
        return outcome

    summary, texts = crawl(ops.up(rx.map(instead)), starts=f"{URL}down")
    assert texts == ["home"]
    assert (summary.again, summary.failed, summary.balanced) == (1, 0, True)


def test_it_keeps_the_laws() -> None:
    assert check_layer(lambda: ops.up(rx.filter(lambda o: not isinstance(o, Failed))), seeds=range(2)).offered > 0
    assert check_layer(lambda: ops.up(rx.map(lambda outcome: outcome)), seeds=range(2)).offered > 0
