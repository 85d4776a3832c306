"""conditional: what a request asks for, given what the last crawl brought, and what is made of the answer."""

from __future__ import annotations

import asyncio
import gzip
import sys
from dataclasses import dataclass
from typing import Any, cast

import pytest
from reactivex import Observable
from reactivex import operators as rx
from through import Spy, through

from streamcrawl.cookies import CookieJar
from streamcrawl.core import Again, Dropped, Failed, Layer, Lease, Outcome, Request, Stage, Visit
from streamcrawl.errors import ConnectError
from streamcrawl.headers import NO_HEADERS, Headers
from streamcrawl.operators.conditional import conditional, conditions
from streamcrawl.operators.cookies import cookies
from streamcrawl.operators.decompress import decompress
from streamcrawl.operators.default_layers import default_layers
from streamcrawl.operators.redirect import redirect
from streamcrawl.operators.retry import retry
from streamcrawl.response import Response, body_digest
from streamcrawl.streams.layer import stack
from streamcrawl.streams.local import LocalRun
from streamcrawl.testing import check_layer
from streamcrawl.testing.fake_fetch import Chunks, FakeFetch, page
from streamcrawl.testing.scenarios import TEXT

URL = "http://a.example/"
DATE = "Tue, 01 Jan 2030 00:01:00 GMT"
OLD = Visit(0.0, '"v1"', DATE, body_digest(b"old"))


def visited(visit: Visit | None) -> Layer:
    """A layer that says what was brought for every request; stands in for the frontier of a job."""

    def give(request: Request) -> None:
        assert request.lease is not None
        request.lease.visit = visit

    def layer(stage: Stage) -> Stage:
        def staged(requests: Observable[Request]) -> Observable[Outcome]:
            return stage(requests.pipe(rx.do_action(give)))

        return staged

    return layer


# -- what is sent ------------------------------------------------------------------------------------------------------

SENT: list[tuple[str | None, str | None, dict[str, str]]] = [
    ('"v1"', None, {"if-none-match": '"v1"'}),
    ('W/"v1"', None, {"if-none-match": 'W/"v1"'}),  # RFC 9110 §13.1.2: compared weakly
    ('"v1"', DATE, {"if-none-match": '"v1"', "if-modified-since": DATE}),
    (None, DATE, {"if-modified-since": DATE}),
    (None, None, {}),
    ("", "", {}),
    ('""', None, {"if-none-match": '""'}),  # §8.8.3: an opaque tag may be empty
    ('"a\xe4,* b"', None, {"if-none-match": '"a\xe4,* b"'}),
    (' "v1"\t', f" {DATE} ", {"if-none-match": '"v1"', "if-modified-since": DATE}),
    # No entity-tags, but they are sent back to the servers that write so.
    ("v1", None, {"if-none-match": "v1"}),
    ('w/"v1"', None, {"if-none-match": 'w/"v1"'}),
    # Not to be sent: it would ask for any page at all.
    ("*", None, {}),
    ('"a", *', None, {}),
    ('"a", "b"', None, {}),
    ('"a', None, {}),
    ('"a\n"', None, {}),
    ("a\r\nX: 1", None, {}),
    ('"\u20ac"', None, {}),
    # Dates as they come, the obsolete forms of §5.6.7 too, for servers compare them as text.
    (None, "Tuesday, 01-Jan-30 00:01:00 GMT", {"if-modified-since": "Tuesday, 01-Jan-30 00:01:00 GMT"}),
    (None, "Tue Jan  1 00:01:00 2030", {"if-modified-since": "Tue Jan  1 00:01:00 2030"}),
    (None, "yesterday", {}),
    (None, "0", {}),
    (None, f"{DATE}\r\nX: 1", {}),
    (None, DATE.replace("GMT", "\xe4"), {}),
]


@pytest.mark.parametrize(("etag", "modified", "sent"), SENT)
def test_validators_make_conditions(etag: str | None, modified: str | None, sent: dict[str, str]) -> None:
    made = conditions(Headers({"Accept": "text/html"}), Visit(0.0, etag, modified))
    assert {name: made[name] for name in made} == {"accept": "text/html", **sent}


@pytest.mark.parametrize("name", ["If-None-Match", "if-modified-since", "If-Match", "If-Unmodified-Since", "If-Range"])
def test_a_condition_of_its_own_stays_alone(name: str) -> None:
    own = Headers({name: '"mine"'})
    assert conditions(own, OLD) is own


@dataclass
class Case:
    """A request that was visited, and what is sent and made of the answer."""

    answer: Any
    outcome: str
    method: str = "GET"
    conditions: bool = True
    visit: Visit | None = OLD
    headers: Headers = NO_HEADERS
    stream: bool = False


NOT_MODIFIED, UNCHANGED = f"<Dropped {URL}: not modified>", f"<Dropped {URL}: unchanged>"

CASES = {
    "a 304": Case(page(status=304), NOT_MODIFIED),
    "a 304 to a HEAD": Case(page(status=304), NOT_MODIFIED, method="HEAD"),
    "a 304 to a request whose body is streamed": Case(page(status=304), NOT_MODIFIED, stream=True),
    "a 304 that was not asked for": Case(
        page(status=304), f"<Response 304 {URL}>", conditions=False, visit=Visit(0.0, None, None, b"x")
    ),
    "a 304 to a condition of its own": Case(
        page(status=304), f"<Response 304 {URL}>", conditions=False, headers=Headers({"If-None-Match": '"mine"'})
    ),
    "a 304, never visited": Case(page(status=304), f"<Response 304 {URL}>", conditions=False, visit=None),
    "a 304 to a POST": Case(page(status=304), f"<Response 304 {URL}>", conditions=False, method="POST"),
    "the same body": Case("old", UNCHANGED),
    "the same body, no validators": Case("old", UNCHANGED, conditions=False, visit=Visit(0.0, digest=OLD.digest)),
    "the same body of a POST": Case("old", UNCHANGED, conditions=False, method="POST"),
    "the same body, although its own condition held": Case(
        "old", UNCHANGED, conditions=False, headers=Headers({"If-Modified-Since": DATE})
    ),
    "another body": Case("new", f"<Response 200 {URL}>"),
    "no body, as a HEAD has it": Case(
        page(), f"<Response 200 {URL}>", method="HEAD", visit=Visit(0.0, '"v1"', DATE, body_digest(b""))
    ),
    "an empty body, as before": Case(page(), UNCHANGED, visit=Visit(0.0, '"v1"', DATE, body_digest(b""))),
    "a body that was streamed": Case("old", f"<Response 200 {URL}>", visit=Visit(0.0, '"v1"', DATE)),
    "a body that is streamed": Case("old", f"<Response 200 {URL}>", stream=True),
    "the same body, never visited": Case("old", f"<Response 200 {URL}>", conditions=False, visit=None),
    "another status": Case(page("old", status=404), f"<Response 404 {URL}>"),
    "a part of it": Case(page("old", status=206), f"<Response 206 {URL}>"),
    "no answer": Case(ConnectError("refused"), f"<Failed {URL}: ConnectError: refused>"),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_what_is_asked_and_what_is_made_of_the_answer(case: Case) -> None:
    spy = Spy()
    request = Request(URL, method=case.method, headers=case.headers, stream=case.stream)
    (outcome,) = through(visited(case.visit), conditional(), to=[request], fetch=FakeFetch({"/": case.answer}), spy=spy)
    assert repr(outcome) == case.outcome
    (sent,) = spy.sent
    ours = {"If-None-Match": '"v1"', "If-Modified-Since": DATE} if case.conditions else {}
    assert sent.headers == case.headers.defaults(ours)
    assert outcome.request.headers == case.headers  # what was added for the wire does not come back


def test_a_request_that_was_not_visited_passes_as_the_object_that_it_is() -> None:
    loop = asyncio.new_event_loop()
    try:
        hooks = conditional().make(LocalRun(loop))
    finally:
        loop.close()
    assert hooks.down is not None
    lease = Lease(1, Request(URL), URL, lambda lease: None)
    for request in (Request(URL), lease.request.replace(lease=lease)):
        assert hooks.down(request) is request


def test_a_lease_is_not_kept_beyond_its_outcome() -> None:
    loop = asyncio.new_event_loop()
    try:
        hooks = conditional().make(LocalRun(loop))
    finally:
        loop.close()
    assert hooks.down is not None
    assert hooks.up is not None
    lease = Lease(1, Request(URL), URL, lambda lease: None)
    lease.visit = OLD
    before = sys.getrefcount(lease)
    sent: Any = hooks.down(lease.request.replace(lease=lease))
    hooks.up(Failed(sent, ConnectError("refused")))
    del sent
    assert sys.getrefcount(lease) == before


def test_a_304_with_a_stream_gives_its_place_back() -> None:
    stream = Chunks(b"")
    spy = Spy()

    async def fetch(request: Request) -> Response:
        return Response(request.url, 304, request=request, stream=stream)

    through(visited(OLD), conditional(), to=[Request(URL, stream=True)], fetch=fetch, spy=spy)
    assert stream.closed


# -- its place among the others ----------------------------------------------------------------------------------------


def test_a_retry_and_a_redirect_go_on_without_a_condition_that_was_made_for_the_first() -> None:
    """The next request is another row of the frontier: it has its own visit, or none."""
    visits: dict[str, Visit] = {URL: OLD}

    def give(request: Request) -> None:
        assert request.lease is not None
        request.lease.visit = visits.pop(request.url, None)

    def once(stage: Stage) -> Stage:
        return lambda requests: stage(requests.pipe(rx.do_action(give)))

    for first in (page(status=503), page(status=302, headers={"Location": "/"})):
        visits[URL] = OLD
        spy = Spy()
        fetch = FakeFetch({"/": [first, "old"]})
        (outcome,) = through(once, conditional(), retry(), redirect(), to=[URL], fetch=fetch, spy=spy)
        assert repr(outcome) == f"<Response 200 {URL}>"
        assert ["If-None-Match" in request.headers for request in spy.sent] == [True, False]


def test_what_retry_sends_again_is_not_taken_for_an_unchanged_page() -> None:
    def is_a_wall(outcome: Outcome) -> bool:
        return isinstance(outcome, Response) and outcome.body == b"old"

    fetch = FakeFetch({"/": ["old", "new"]})
    (outcome,) = through(
        visited(OLD), *default_layers(robots_txt=None, retry=retry(on=is_a_wall)), to=[URL], fetch=fetch
    )
    assert cast(Response, outcome).body == b"new"


def test_the_cookie_of_a_304_is_kept() -> None:
    jar = CookieJar()
    fetch = FakeFetch({"/": page(status=304, headers={"Set-Cookie": "a=1"})})
    (outcome,) = through(visited(OLD), conditional(), cookies(jar=lambda: jar), to=[URL], fetch=fetch)
    assert repr(outcome) == NOT_MODIFIED
    assert [each.name for each in jar] == ["a"]


def test_the_body_is_compared_as_the_callback_would_see_it() -> None:
    packed = page(gzip.compress(b"old", mtime=0), headers={"Content-Encoding": "gzip"})
    layers = default_layers(robots_txt=None, decompress=decompress())
    (outcome,) = through(visited(OLD), *layers, to=[URL], fetch=FakeFetch({"/": packed}))
    assert repr(outcome) == UNCHANGED


def test_it_stands_in_the_default_layers_and_can_be_left_out() -> None:
    for layers, expected in (
        (default_layers(robots_txt=None), UNCHANGED),
        (default_layers(robots_txt=None, conditional=None), f"<Response 200 {URL}>"),
    ):
        (outcome,) = through(visited(OLD), *layers, to=[URL], fetch=FakeFetch({"/": "old"}))
        assert repr(outcome) == expected


# -- the laws ----------------------------------------------------------------------------------------------------------

VISITS = {
    "the same body": Visit(0.0, '"v1"', DATE, body_digest(TEXT.encode())),
    "other bodies": Visit(0.0, 'W/"v1"', None, b"another"),
    "no validators": Visit(0.0, None, None, body_digest(b"")),
}


@pytest.mark.parametrize("visit", VISITS.values(), ids=VISITS)
@pytest.mark.parametrize("among", [False, True])
def test_it_keeps_the_laws_on_requests_that_were_visited(visit: Visit, among: bool) -> None:
    def made() -> Layer:
        return stack(visited(visit), *(default_layers() if among else (conditional(),)))

    report = check_layer(made)
    assert sum(report.came.values()) == report.offered > 1000
    assert report.came["Dropped"] > report.came["Failed"] / 10


@pytest.mark.parametrize("outcome", [Failed, Dropped, Again])
def test_what_is_no_response_passes_as_the_object_that_it_is(outcome: Any) -> None:
    loop = asyncio.new_event_loop()
    try:
        hooks = conditional().make(LocalRun(loop))
    finally:
        loop.close()
    assert hooks.down is not None
    assert hooks.up is not None
    lease = Lease(1, Request(URL), URL, lambda lease: None)
    lease.visit = OLD
    sent = hooks.down(lease.request.replace(lease=lease))
    assert isinstance(sent, Request)
    kinds: dict[type, Outcome] = {
        Failed: Failed(sent, ConnectError("refused")),
        Dropped: Dropped(sent, "not modified by others"),
        Again: Again(sent, Request(URL), "503"),
    }
    assert hooks.up(kinds[outcome]) is kinds[outcome]
