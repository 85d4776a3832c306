"""proxy: which requests go through which proxy, and what a rotation makes of what comes back."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import reactivex as rx
from reactivex import operators as rxo
from reactivex.disposable import Disposable
from through import Spy, through

from streamcrawl import Crawl
from streamcrawl.core import Again, Dropped, Failed, Outcome, Request
from streamcrawl.errors import ConnectError, FlowError, ProxyError
from streamcrawl.events import Notice
from streamcrawl.headers import Headers
from streamcrawl.operators.download import download
from streamcrawl.operators.proxy import proxy
from streamcrawl.operators.redirect import redirect
from streamcrawl.operators.retry import retry
from streamcrawl.operators.scrape import scrape
from streamcrawl.proxies import ProxyRested, ProxyRestored, banned, rotation
from streamcrawl.response import Response
from streamcrawl.streams.local import LocalRun
from streamcrawl.testing.fake_fetch import Chunks, FakeFetch
from streamcrawl.testing.virtual_time import run_virtual

HTTP, HTTPS = "http://a.example/", "https://a.example/"
P, Q, R = "http://u:secret@p:1", "http://u:secret@q:1", "http://u:secret@r:1"
PROXY = "http://u:secret@p:1"
VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "REQUEST_METHOD")


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Sets variables; none is left of those that the machine has."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)

    def set_variables(**variables: str) -> None:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return set_variables


def rested(failures: int, random: object) -> float:
    return 10.0 * failures


def is_failed(outcome: Outcome) -> bool:
    return isinstance(outcome, Failed)


def sent(layer: Any, *requests: Request | str) -> list[str | None]:
    """The proxies that reach the wire."""
    spy = Spy()
    through(layer, to=requests, spy=spy)
    return [request.proxy for request in spy.sent]


def through_one_proxy(bad: set[str], log: list[tuple[str, str | None]] | None = None) -> Any:
    """A fetch whose proxies fail if their URL is in `bad`."""

    async def fetch(request: Request) -> Response:
        if log is not None:
            log.append((request.url, request.proxy))
        await asyncio.sleep(0.1)
        if request.proxy in bad:
            raise ProxyError("refused", proxy="http://p:1")
        return Response(request.url, 200, request=request)

    return fetch


# which proxy


def test_one_proxy_for_all() -> None:
    assert sent(proxy(PROXY), HTTP, HTTPS) == [PROXY, PROXY]
    assert sent(proxy("socks5h://p"), HTTP) == ["socks5h://p"]


def test_by_scheme() -> None:
    assert sent(proxy({"http": P, "https": Q}), HTTP, HTTPS) == [P, Q]
    assert sent(proxy({"all": P, "https": Q}), HTTP, HTTPS) == [P, Q]
    assert sent(proxy({"https": Q}), HTTP, HTTPS) == [None, Q]


def test_by_a_function_of_the_request() -> None:
    layer = proxy(lambda request: P if request.meta.get("far") else None)
    assert sent(layer, HTTP, Request(HTTPS, meta={"far": True})) == [None, P]


def test_what_a_function_gives_is_checked() -> None:
    spy = Spy()
    (outcome,) = through(proxy(lambda request: "ftp://u:secret@p"), to=[HTTP], spy=spy)
    assert isinstance(outcome, Failed)
    assert "proxy ftp://…@p: its scheme is one of" in str(outcome.error)
    assert "secret" not in str(outcome.error)
    assert spy.sent == []


@pytest.mark.parametrize("given", [5, [PROXY]])
def test_a_function_that_gives_no_url_is_told(given: Any) -> None:
    (outcome,) = through(proxy(lambda request: given), to=[HTTP])
    assert isinstance(outcome, Failed)
    assert "TypeError: proxy(via=…): the function gave " in str(outcome.error)
    assert str(outcome.error).endswith("; a proxy's URL or None is needed")
    assert "secret" not in str(outcome.error)


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_a_request_s_own_url_that_is_none_is_refused_in_every_encoding(encoding: str) -> None:
    for layer in (proxy(P, encoding=encoding), proxy([P], encoding=encoding)):
        spy = Spy()
        (outcome,) = through(layer, to=[Request(HTTP, proxy="http://u:se/cret@p:1")], spy=spy)
        assert isinstance(outcome, Failed)
        assert "proxy http://…@p:1: write / ? and # in its credentials as %2F" in str(outcome.error)
        assert spy.sent == []


def test_a_request_of_its_own_mind_wins_over_everything(environment: Any) -> None:
    environment(http_proxy=P, no_proxy="*")
    own = Request(HTTP, proxy=Q)
    assert sent(proxy(), own, HTTP) == [Q, None]
    assert sent(proxy(P, no_proxy="a.example"), own, HTTP, Request(HTTPS, proxy="")) == [Q, None, ""]
    assert sent(proxy([P, R]), own, HTTP, Request(HTTPS, proxy="")) == [Q, P, ""]


def test_no_proxy() -> None:
    layer = proxy(P, no_proxy=[".a.example", "10.0.0.0/8"])
    assert sent(layer, HTTP, "https://b.example/", "http://10.1.1.1/") == [None, P, None]
    assert sent(proxy([P, Q], no_proxy="a.example"), HTTP, "http://b.example/") == [None, P]


def test_files_and_data_have_no_proxy(environment: Any) -> None:
    environment(all_proxy=P)
    for layer in (proxy(), proxy(P), proxy([P, Q])):
        assert sent(layer, "data:,x", "file:///nothing") == [None, None]


def test_a_request_that_is_skipped_or_answered_is_left_alone() -> None:
    assert sent(proxy(P), Request(HTTP, skip=("proxy",)), HTTPS) == [None, P]
    (outcome,) = through(proxy([P]), to=[Request(HTTP).replace(answer=Response(HTTP, 407))])
    assert isinstance(outcome, Response)
    assert (outcome.status, outcome.request.proxy) == (407, None)


def test_a_field_of_another_proxy_does_not_go_to_the_one_that_the_layer_chooses() -> None:
    own = Headers({"Proxy-Authorization": "Basic dTpw", "X-Mine": "1"})
    for layer in (proxy(P), proxy([P, Q])):
        spy = Spy()
        through(layer, to=[Request(HTTP, headers=own), Request(HTTPS, headers=own, proxy=R)], spy=spy)
        assert [request.headers.get("proxy-authorization") for request in spy.sent] == [None, "Basic dTpw"]
        assert [request.headers.get("x-mine") for request in spy.sent] == ["1", "1"]


def test_credentials_in_another_encoding() -> None:
    latin = "http://us%E9r:p@p:1"
    for given in ("http://us\u00e9r:p@p:1", "http://us%C3%A9r:p@p:1", latin):
        for layer in (proxy(given, encoding="latin-1"), proxy([given], encoding="latin-1")):
            assert sent(layer, HTTP) == [latin]
    own = Request(HTTP, proxy="http://us%C3%A9r:p@p:1")
    assert sent(proxy(encoding="latin-1"), own) == [latin]
    assert sent(proxy([P], encoding="latin-1"), own) == [latin]
    assert sent(proxy(), own) == [own.proxy]


# the environment


def test_the_environment_is_read_when_the_run_starts(environment: Any) -> None:
    layer = proxy()
    assert sent(layer, HTTP) == [None]
    environment(HTTP_PROXY=P, https_proxy="q:1", no_proxy="b.example")
    assert sent(layer, HTTP, HTTPS, "http://www.b.example/") == [P, "q:1", None]


def test_httpoxy_a_cgi_program_takes_no_proxy_from_its_client(environment: Any) -> None:
    environment(REQUEST_METHOD="GET", HTTP_PROXY=P)
    assert sent(proxy(), HTTP) == [None]


def test_no_proxy_given_stands_in_for_that_of_the_environment(environment: Any) -> None:
    environment(all_proxy=P, no_proxy="a.example")
    assert sent(proxy(no_proxy=""), HTTP) == [P]


def test_a_bad_variable_stops_the_run_and_is_named(environment: Any) -> None:
    environment(https_proxy="ftp://u:secret@h")
    with pytest.raises(FlowError, match="environment variable https_proxy: proxy ftp://…@h: its scheme"):
        through(proxy(), to=[HTTP])


def test_what_no_proxy_cannot_mean_is_told(environment: Any) -> None:
    environment(http_proxy=P, no_proxy="b.example,<local>")
    told: list[Any] = []

    async def main() -> None:
        run = LocalRun(asyncio.get_running_loop())
        run.events.on(Notice, told.append)
        proxy().make(run)

    run_virtual(main)
    assert [(each.text, each.level) for each in told] == [("no_proxy: <local> is not understood", "warning")]


def test_nothing_in_the_environment_costs_nothing() -> None:
    async def main() -> None:
        assert proxy().make(LocalRun(asyncio.get_running_loop())) == (None, None)

    run_virtual(main)


def test_a_hop_to_another_scheme_has_its_own_proxy(environment: Any) -> None:
    environment(http_proxy=P, https_proxy=Q, no_proxy="c.example")
    site = FakeFetch({HTTP: _to(HTTPS), HTTPS: _to("http://c.example/"), "http://c.example/": "end"})
    (outcome,) = through(redirect(), proxy(), to=[HTTP], fetch=site)
    assert isinstance(outcome, Response)
    assert [(request.url, request.proxy) for _, request in site.log] == [
        (HTTP, P),
        (HTTPS, Q),
        ("http://c.example/", None),
    ]
    assert outcome.request.proxy is None


def test_a_hop_keeps_the_proxy_that_the_request_named() -> None:
    site = FakeFetch({HTTP: _to(HTTPS), HTTPS: "end"})
    through(redirect(), proxy(P), to=[Request(HTTP, proxy=Q)], fetch=site)
    assert [request.proxy for _, request in site.log] == [Q, Q]


def _to(url: str) -> Response:
    return Response(HTTP, 302, Headers({"Location": url}))


def test_a_job_stores_no_credentials_of_the_layer(environment: Any, tmp_path: Path) -> None:
    environment(all_proxy=P)
    seen: list[tuple[str, str | None]] = []

    async def fetch(request: Request) -> Response:
        seen.append((request.url, request.proxy))
        if request.attempt == 0:
            raise ConnectError("not now")
        return Response(request.url, 200, Headers({"Content-Type": "text/html"}), b"<a href='/b'>b</a>", request)

    stages = download(retry(on=is_failed, wait=lambda repeat, random: 0.0), proxy(), fetch=fetch)
    crawl = Crawl(HTTP, job=tmp_path / "job").pipe(stages, scrape(_follow))
    crawl.run()
    assert [proxy for _, proxy in seen] == [P] * 4
    files = [path for path in (tmp_path / "job").rglob("*") if path.is_file()]
    assert files
    assert [path.name for path in files if b"secret" in path.read_bytes()] == []


def _follow(page: Response) -> Any:
    yield from page.follow_all(css="a")


# a rotation


def test_they_take_turns() -> None:
    urls = [f"http://a.example/{number}" for number in range(4)]
    spy = Spy()
    through(proxy(rotation([P, Q, P])), to=urls, spy=spy)
    assert [request.proxy for request in spy.sent] == [P, Q, P, Q]
    assert spy.stats == {
        "proxy/request_count": 4,
        "proxy/request_count/http://p:1": 2,
        "proxy/request_count/http://q:1": 2,
    }


def test_a_retry_goes_through_another_proxy() -> None:
    log: list[tuple[str, str | None]] = []
    layers = retry(on=is_failed), proxy(rotation([P, Q, R], order="random", rest=rested))
    outcomes = through(*layers, to=[f"http://a.example/{n}" for n in range(30)], fetch=through_one_proxy({P, Q}, log))
    assert [type(each) for each in outcomes] == [Response] * 30
    tries = Counter(url for url, _ in log)
    assert max(tries.values()) > 1
    for url in tries:
        used = [name for each, name in log if each == url]
        assert len(set(used)) == len(used)
        assert used[-1] == R


def test_the_default_retry_is_enough_to_get_past_a_proxy_that_fails() -> None:
    log: list[tuple[str, str | None]] = []
    (outcome,) = through(retry(), proxy([P, Q]), to=[HTTP], fetch=through_one_proxy({P}, log))
    assert isinstance(outcome, Response)
    assert [used for _, used in log] == [P, Q]


def test_one_that_fails_rests_and_comes_back() -> None:
    bad = {P}
    events: list[Any] = []
    outcomes: list[Outcome] = []
    stats: list[dict[str, Any]] = []

    def ticking(observer: Any, scheduler: Any = None) -> Any:
        """One request a second; after 25 all proxies are good."""

        async def go() -> None:
            for number in range(40):
                if number == 25:
                    bad.clear()
                observer.on_next(Request(f"http://a.example/{number}"))
                await asyncio.sleep(1)
            observer.on_completed()

        task = asyncio.get_running_loop().create_task(go())

        def dispose() -> None:
            task.cancel()

        return Disposable(dispose)

    async def main() -> None:
        spy = Spy()
        stage = download(proxy(rotation([P, Q], rest=rested)), spy.layer, fetch=through_one_proxy(bad))
        source: rx.Observable[Any] = rx.create(ticking)
        await stage(source).pipe(rxo.do_action(outcomes.append), rxo.default_if_empty(None))
        events.extend(each for each in spy.events if isinstance(each, (ProxyRested, ProxyRestored)))
        stats.append(spy.stats)

    run_virtual(main)
    assert [(type(each).__name__, each.proxy) for each in events] == [
        ("ProxyRested", "http://p:1"),
        ("ProxyRested", "http://p:1"),
        ("ProxyRestored", "http://p:1"),
    ]
    assert [each.seconds for each in events if isinstance(each, ProxyRested)] == [10.0, 20.0]
    assert "secret" not in repr(events)
    # The first, and the one that tried it out.
    assert [outcome.request.url for outcome in outcomes if isinstance(outcome, Failed)] == [f"{HTTP}0", f"{HTTP}11"]
    assert (stats[0]["proxy/rests"], stats[0]["proxy/restored"]) == (2, 1)


def test_when_none_works_requests_wait_in_the_frontier_and_are_not_blamed() -> None:
    bad = {P, Q}
    log: list[tuple[str, str | None]] = []
    spy = Spy()

    async def fetch(request: Request) -> Response:
        if asyncio.get_running_loop().time() - started[0] > 50:
            bad.clear()
        response: Response = await through_one_proxy(bad, log)(request)
        return response

    started: list[float] = []

    async def timed(request: Request) -> Response:
        if not started:
            started.append(asyncio.get_running_loop().time())
        return await fetch(request)

    layer = proxy(rotation([P, Q], rest=rested, patience=300))
    outcomes = through(retry(times=9, on=is_failed), layer, to=[f"{HTTP}{n}" for n in range(20)], fetch=timed, spy=spy)
    assert [type(each) for each in outcomes] == [Response] * 20
    assert all(each.request.attempt <= 9 for each in outcomes)
    assert spy.stats["proxy/waits"] > 0
    failures = len(log) - 20
    assert failures < 30  # two proxies were tried out now and then, and not by everybody


def test_a_wait_is_made_of_the_request_as_it_was_leased() -> None:
    async def main() -> None:
        run = LocalRun(asyncio.get_running_loop(), seed=1)
        hooks = proxy(rotation([P], rest=rested)).make(run)
        assert hooks.down is not None
        assert hooks.up is not None
        first: Any = hooks.down(Request(HTTP))
        assert hooks.up(Failed(first, ProxyError("gone"))) is not None
        wire = Request(HTTP, attempt=2).replace(headers=Headers({"Cookie": "a=1"}))
        again = hooks.down(wire)
        assert isinstance(again, Again)
        assert (again.reason, again.hop, again.request) == ("no proxy works", False, wire)
        assert (again.next.proxy, again.next.attempt) == (None, 2)
        assert 10 <= again.next.not_before - run.now() <= 15

    run_virtual(main)


def test_out_of_patience() -> None:
    spy = Spy()
    layer = proxy(rotation([P, Q], rest=rested, patience=0))
    outcomes = through(layer, to=[f"{HTTP}{n}" for n in range(20)], fetch=through_one_proxy({P, Q}), spy=spy)
    texts = Counter(str(each.error) for each in outcomes if isinstance(each, Failed))
    assert sum(texts.values()) == 20
    assert texts["none of 2 proxies works, and none has for long"] == spy.stats["proxy/none_works"] > 0


def test_a_ban_is_the_proxys_failure() -> None:
    log: list[tuple[str, str | None]] = []

    async def fetch(request: Request) -> Response:
        log.append((request.url, request.proxy))
        blocked = request.proxy == P
        return Response(request.url, 403 if blocked else 200, body=b"Captcha" if blocked else b"page", request=request)

    spy = Spy()
    layer = proxy(rotation([P, Q], rest=rested, ban=banned(403, body="captcha")))
    (outcome,) = through(layer, to=[HTTP], fetch=fetch, spy=spy)
    assert isinstance(outcome, Failed)
    error = outcome.error
    assert isinstance(error, ProxyError)
    assert (error.proxy, error.status) == ("http://p:1", 403)
    assert isinstance(error.response, Response)
    assert error.response.body == b"Captcha"
    assert "secret" not in str(error)
    assert (spy.stats["proxy/bans"], spy.stats["proxy/rests"]) == (1, 1)
    (page,) = through(retry(on=is_failed), layer, to=[HTTP], fetch=fetch)
    assert isinstance(page, Response)
    assert page.body == b"page"
    assert [used for _, used in log[1:]] == [P, Q]


def test_a_ban_closes_a_body_that_nobody_will_read() -> None:
    body = Chunks(b"x" * 5000)

    async def fetch(request: Request) -> Response:
        return Response(request.url, 403, request=request, stream=body)

    (outcome,) = through(proxy(rotation([P, Q], ban=(403,))), to=[Request(HTTP, stream=True)], fetch=fetch)
    assert isinstance(outcome, Failed)
    assert body.closed


def test_a_ban_test_that_raises_is_that_requests_failure() -> None:
    def broken(response: Response) -> bool:
        raise KeyError("no such field")

    layer = proxy(rotation([P], ban=broken))
    outcomes = through(layer, to=[HTTP, HTTPS], fetch=FakeFetch({"/": "home"}))
    assert [type(each) for each in outcomes] == [Failed, Failed]
    assert "no such field" in str(outcomes[0].error)  # type: ignore[union-attr]


def test_what_was_not_tried_says_nothing_of_the_proxy() -> None:
    async def main() -> None:
        run = LocalRun(asyncio.get_running_loop(), seed=1)
        hooks = proxy(rotation([P, Q], order="least used", rest=rested)).make(run)
        down, up = hooks.down, hooks.up
        assert down is not None
        assert up is not None

        def next_proxy() -> str | None:
            request: Any = down(Request(HTTP))
            dropped = Dropped(request, "no")
            assert up(dropped) is dropped
            used: str | None = request.proxy
            return used

        own = Request(HTTP, proxy=P)
        assert down(own) is own  # under way through P, so that Q is used less
        assert [next_proxy() for _ in range(3)] == [Q, Q, Q]
        answered = Response(HTTP, 407, request=own.replace(answer=Dropped(own, "no")))
        assert up(answered) is answered  # it did not go down through here
        assert next_proxy() == Q
        assert up(Dropped(own, "no")) is not None
        assert next_proxy() == P
        assert "proxy/rests" not in run.stats

    run_virtual(main)


# built wrongly


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda: proxy("ftp://u:secret@h"), "proxy ftp://…@h: its scheme is one of"),
        (lambda: proxy({"http": "http://u:secret@h:0"}), "proxy http://…@h:0: its port is 1 to 65535"),
        (lambda: proxy("http://u:sec/ret@h"), "proxy http://…@h: write / . and # in its credentials as %2F"),
        (lambda: proxy({"http": "http://u:sec#ret@h"}), "proxy http://…@h: write / . and # in its credentials"),
        (lambda: proxy({"ftp": P}), "'ftp' is not one of http, https, all"),
        (lambda: proxy([]), "several URLs of proxies"),
        (lambda: proxy(P, no_proxy="<local>"), "no_proxy='<local>'"),
        (lambda: proxy(P, encoding="klingon"), "encoding='klingon'"),
        (
            lambda: proxy("http://%E2%82%AC:p@h", encoding="latin-1"),
            "proxy h: its credentials cannot be written in latin-1",
        ),
        (lambda: proxy(["http://%E2%82%AC:p@h"], encoding="latin-1"), "its credentials cannot be written in latin-1"),
    ],
)
def test_arguments_are_checked(make: Callable[[], Any], why: str) -> None:
    with pytest.raises(ValueError, match=why) as caught:
        make()
    assert "secret" not in str(caught.value)


def test_repr_shows_no_credentials() -> None:
    for layer in (proxy(PROXY), proxy([P, Q]), proxy({"http": P}), proxy(rotation([P]))):
        assert repr(layer) == "<layer proxy>"
        assert "secret" not in repr(download(layer))
