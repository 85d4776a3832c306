"""meta_refresh: which pages lead on, where to, and when."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any

import pytest
from through import through

from streamcrawl import Crawl
from streamcrawl import operators as ops
from streamcrawl.core import Again, Dropped, Failed, Lease, Outcome, Request
from streamcrawl.crawl.summary import Summary
from streamcrawl.errors import ConnectError
from streamcrawl.headers import Headers
from streamcrawl.hops import TooManyRedirects
from streamcrawl.operators.meta_refresh import meta_refresh
from streamcrawl.operators.redirect import redirect
from streamcrawl.response import Response
from streamcrawl.spiders import Spider
from streamcrawl.streams.layer import NamedLayer
from streamcrawl.streams.local import LocalRun
from streamcrawl.testing.fake_fetch import Chunks, FakeFetch, page
from streamcrawl.testing.virtual_time import run_virtual

URL = "https://a.example/folder/page?q=1"
NOW = 1_000_000.0
HTML = Headers({"Content-Type": "text/html; charset=utf-8"})


def html(content: str, tag: str = '<meta http-equiv="refresh" content="{}">') -> str:
    return f"<html><head><title>x</title>{tag.format(content)}</head><body>hello</body></html>"


def leading(content: str = "0;url=/b", url: str = URL, **request: Any) -> Response:
    return Response(url, 200, HTML, html(content).encode(), Request(url).replace(**request))


def up(outcome: Outcome, layer: NamedLayer | None = None) -> Any:
    loop = asyncio.new_event_loop()
    try:
        run = LocalRun(loop)
        run.now = lambda: NOW
        hook = (layer or meta_refresh()).make(run).up
        assert hook is not None
        result = hook(outcome)
    finally:
        loop.close()
    assert not isinstance(result, Awaitable)
    return result


def hop(response: Response, layer: NamedLayer | None = None) -> Request:
    again = up(response, layer)
    assert isinstance(again, Again), again
    assert (again.request, again.hop, again.reason) == (response.request, True, "meta refresh")
    return again.next


@pytest.mark.parametrize(
    ("content", "target"),
    [
        ("0;url=/b", "https://a.example/b"),
        ("0; URL='b?x=1&amp;y=2'", "https://a.example/folder/b?x=1&y=2"),
        ("3.7;https://B.example:443", "https://b.example/"),
        ("0;url=//b.example/ä", "https://b.example/%C3%A4"),
        ("0;url=/b#part", "https://a.example/b#part"),
    ],
)
def test_where_a_page_leads(content: str, target: str) -> None:
    assert hop(leading(content)).url == target


def test_the_base_of_the_page_counts() -> None:
    body = html("0;url=x", '<base href="https://b.example/deep/"><meta http-equiv=refresh content="{}">')
    assert hop(leading().replace(body=body.encode())).url == "https://b.example/deep/x"


def test_it_becomes_a_get_and_keeps_what_a_redirect_keeps() -> None:
    leased = Request(
        URL,
        method="POST",
        body=b"secret=1",
        headers=Headers({"Content-Type": "text/plain", "X-Mine": "1", "Authorization": "Basic x"}),
        cookies={"a": "1"},
        meta={"mine": 1},
        priority=3,
        via=("https://a.example/0",),
        via_reasons=("301",),
    )
    wire = leased.replace(
        lease=Lease(1, leased, "https://a.example", lambda lease: None),
        headers=Headers({"Cookie": "secret=1", "Proxy-Authorization": "secret"}),
    )
    following = hop(leading("0;url=https://b.example/").replace(request=wire))
    assert (following.method, following.body, following.cookies) == ("GET", b"", {})
    assert following.headers.pairs() == (("X-Mine", "1"),)
    assert (following.meta, following.priority) == ({"mine": 1}, 5)
    assert following.via == ("https://a.example/0", URL)
    assert following.via_reasons == ("301", "meta refresh")


@pytest.mark.parametrize(
    ("content", "waited"), [("0;url=/b", 0), ("3;url=/b", 3), ("10;url=/b", 10), ("99;url=/b", 10)]
)
def test_short_delays_are_waited_for(content: str, waited: int) -> None:
    assert hop(leading(content)).not_before == (NOW + waited if waited else 0)
    assert hop(leading(content), meta_refresh(max_wait=0)).not_before == 0


def test_a_page_that_stays_is_not_left() -> None:
    page_ = leading("100;url=/b")
    assert up(page_) is page_
    assert isinstance(up(page_, meta_refresh(max_delay=101)), Again)
    assert up(leading("0;url=/b"), meta_refresh(max_delay=0)).status == 200


@pytest.mark.parametrize(
    "tag",
    [
        '<meta http-equiv="refresh" content="{}">',
        "<META HTTP-EQUIV=REFRESH CONTENT='{}'/>",
        '<meta content="{}" http-equiv="Refresh">',
        '<meta http-equiv="ReFrEsH" content="{}">',
        '<meta http-equiv="rEfReSh" content="{}">',
        '<meta\nname="x" http-equiv = "refresh"\ncontent = "{}" >',
        '<meta http-equiv="refresh" content="soon"><meta http-equiv="refresh" content="{}">',
    ],
)
def test_however_it_is_written(tag: str) -> None:
    assert hop(leading().replace(body=html("0;url=/b", tag).encode())).url == "https://a.example/b"


@pytest.mark.parametrize(
    "tag",
    [
        '<!-- <meta http-equiv="refresh" content="{}"> -->',
        '<script>document.write(\'<meta http-equiv="refresh" content="{}">\')</script>',
        '<noscript><meta http-equiv="refresh" content="{}"></noscript>',
        '<meta name="refresh" content="{}">',
        '<meta http-equiv="refresh">{}',
        '<meta http-equiv="refresh" content="5"><meta http-equiv="refresh" content="{}">',
        "<p>" + "x" * 4096 + '<meta http-equiv="refresh" content="{}">',
    ],
)
def test_what_is_no_refresh_of_the_page(tag: str) -> None:
    response = leading().replace(body=html("0;url=/b", tag).encode())
    assert up(response) is response


def test_elements_that_are_ignored_can_be_chosen() -> None:
    body = html("0;url=/b", '<noscript><meta http-equiv="refresh" content="{}"></noscript>')
    assert isinstance(up(leading().replace(body=body.encode()), meta_refresh(ignore_tags=())), Again)
    body = html("0;url=/b", '<div><meta http-equiv="refresh" content="{}"></div>')
    assert up(leading().replace(body=body.encode()), meta_refresh(ignore_tags=["DIV"])).status == 200


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-le", "utf-16-be", "shift-jis", "koi8-r"])
def test_pages_in_other_encodings(encoding: str) -> None:
    text = html(
        "0;url=/b",
        "<title>"
        + ("яяя" if encoding == "koi8-r" else "日本語") * 200
        + "</title>"
        + '<meta http-equiv="refresh" content="{}">',
    )
    response = leading().replace(
        headers=Headers({"Content-Type": f"text/html; charset={encoding}"}), body=text.encode(encoding)
    )
    assert hop(response).url == "https://a.example/b"


@pytest.mark.parametrize("status", [200, 201, 206, 301, 307, 403, 404, 429, 500, 503, 520])
def test_the_status_does_not_matter(status: int) -> None:
    assert hop(leading().replace(status=status)).url == "https://a.example/b"
    bare = Response(URL, status, Headers({"Refresh": "0;url=/c"}), request=Request(URL))
    assert hop(bare).url == "https://a.example/c"
    assert isinstance(up(bare, meta_refresh(statuses=[status])), Again)
    assert up(bare, meta_refresh(statuses=[299])) is bare


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_left_for_what_its_page_says(status: int) -> None:
    response = leading().replace(status=status, headers=HTML.add("Location", "app://a.example/b"))
    assert up(response) is response


@pytest.mark.parametrize("status", [204, 205, 304])
def test_a_response_that_shows_no_page_is_not_left(status: int) -> None:
    response = Response(URL, status, Headers({"Refresh": "0;url=/b"}), request=Request(URL))
    assert up(response) is response


@pytest.mark.parametrize("wanted", ["any", (503,)])
def test_a_page_whose_status_was_asked_for_is_not_left(wanted: Any) -> None:
    response = leading(statuses=wanted).replace(status=503)
    assert up(response) is response
    assert isinstance(up(leading(statuses=wanted)), Again), "they say nothing of 200-299"
    assert isinstance(up(leading(statuses=[404]).replace(status=503)), Again)


def test_a_status_that_the_spider_asked_for_is_not_left() -> None:
    class Mine(Spider):
        name = "mine"
        start_urls = ["http://a.example/1", "http://a.example/2"]  # noqa: RUF012 - as people write it
        handle_httpstatus_list = (403,)

        def parse(self, response: Response) -> Any:
            yield {"status": response.status, "url": response.url}

    site = FakeFetch(
        {
            "/1": page(html("0;url=/a"), status=403),
            "/2": page(html("0;url=/b"), status=503),
            "/a": "not to be seen",
            "/b": "here",
        }
    )

    async def main() -> Any:
        return await Crawl.of(Mine).replace(download=ops.download(meta_refresh(), fetch=site)).collect()

    found = {(item["status"], item["url"]) for item in run_virtual(main)}
    assert found == {(403, "http://a.example/1"), (200, "http://a.example/b")}


def test_a_page_that_says_one_moment_is_passed_without_a_repeat() -> None:
    def front(request: Request) -> Response:
        done = "passed=1" in (request.headers.get("Cookie") or "")
        return page("welcome") if done else page(html("4;url=/check"), status=503)

    check = page(status=302, headers={"Location": "/", "Set-Cookie": "passed=1"})
    site = FakeFetch({"/": front, "/check": check})

    async def main() -> Summary:
        layers = ops.default_layers(robots_txt=None)
        return (
            await Crawl("http://a.example/").pipe(ops.download(*layers, fetch=site), ops.scrape(bodies.append)).start()
        )

    bodies: list[Response] = []
    summary = run_virtual(main)
    assert [each.body for each in bodies] == [b"welcome"]
    assert bodies[0].request.via_reasons == ("meta refresh", "302")
    assert "retry/count" not in summary.stats


def test_the_header_field_counts_as_well_and_first() -> None:
    plain = Response(URL, 200, Headers({"Refresh": "2; url=/c", "Content-Type": "image/png"}), b"png", Request(URL))
    assert hop(plain).url == "https://a.example/c"
    both = leading().replace(headers=HTML.add("refresh", "2; url=/c"))
    assert hop(both).url == "https://a.example/c"
    odd = leading().replace(headers=HTML.add("refresh", "soon"))
    assert hop(odd).url == "https://a.example/b"


@pytest.mark.parametrize(
    "outcome",
    [
        leading(method="HEAD"),
        leading(max_redirects=0),
        leading().replace(headers=Headers({"Content-Type": "text/plain"})),
        leading().replace(headers=Headers({"Content-Type": "application/json"})),
        leading().replace(body=b"", stream=Chunks(b"refresh")),
        leading("0;url=javascript:alert(1)"),
        leading("0;url=file:///etc/passwd"),
        leading("0;url=data:text/html,x"),
        leading("0;url=s3://bucket/key"),
        leading("0;url=ftp://a.example/"),
        leading("0;url=http://["),
        Failed(Request(URL), ConnectError("refused")),
        Dropped(Request(URL), "robots.txt"),
        Again(Request(URL), Request(URL), "503"),
    ],
)
def test_left_alone(outcome: Outcome) -> None:
    assert up(outcome) is outcome


@pytest.mark.parametrize(
    "content",
    ["0", "0;url=", f"0;url={URL}", "0;url=?q=1", "0;url=page?q=1#top", "0;url=HTTPS://A.example:443/folder/page?q=1"],
)
def test_a_page_that_refreshes_itself_is_taken_as_it_is(content: str) -> None:
    response = leading(content)
    assert up(response) is response


def test_two_pages_that_lead_to_each_other_come_to_an_end() -> None:
    site = FakeFetch({"/a": html("0;url=/b"), "/b": html("0;url=/a")})
    (outcome,) = through(meta_refresh(), to=["http://a.example/a"], fetch=site)
    assert isinstance(outcome, Response)
    assert [url.rpartition("/")[2] for url in (*outcome.request.via, outcome.url)] == ["a", "b", "a", "b"]


def test_the_way_over_a_page_that_sets_a_cookie_and_back_is_gone() -> None:
    def front(request: Request) -> Response:
        done = "seen=1" in request.headers.get("Cookie", "")  # type: ignore[operator]
        return page("welcome") if done else page(status=302, headers={"Location": "/check"})

    check = page(html("0;url=/"), headers={"Set-Cookie": "seen=1", "Content-Type": "text/html"})
    site = FakeFetch({"/": front, "/check": check})
    (outcome,) = through(meta_refresh(), redirect(), ops.cookies(), to=["http://a.example/"], fetch=site)
    assert isinstance(outcome, Response)
    assert outcome.body == b"welcome"
    assert outcome.request.via_reasons == ("302", "meta refresh")


def test_hops_are_counted_with_those_of_redirects() -> None:
    via = ("https://a.example/1", "https://a.example/2")
    assert hop(leading(via=via), meta_refresh(times=3)).via == (*via, URL)
    for layer, most in (meta_refresh(times=2), None), (meta_refresh(), 2):
        failed = up(leading(via=via, max_redirects=most), layer)
        assert isinstance(failed, Failed)
        assert isinstance(failed.error, TooManyRedirects)
        assert str(failed.error) == "https://a.example/1 redirects more than 2 times, last to https://a.example/b"


def test_a_streamed_page_with_the_header_field_is_closed() -> None:
    body = Chunks(b"x" * 5000)

    async def work() -> Outcome:
        hook = meta_refresh().make(LocalRun(asyncio.get_running_loop())).up
        assert hook is not None
        result = hook(Response(URL, 200, Headers({"Refresh": "0;url=/b"}), request=Request(URL), stream=body))
        assert isinstance(result, Awaitable)
        return await result

    assert isinstance(asyncio.run(work()), Again)
    assert body.closed


@pytest.mark.parametrize(
    "arguments", [{"times": -1}, {"max_delay": -1.0}, {"max_wait": -0.1}, {"max_wait": float("inf")}]
)
def test_arguments_are_checked_when_built(arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"meta_refresh\(.*0 or more"):
        meta_refresh(**arguments)


@pytest.mark.parametrize("statuses", ["all", [99], [200, 1000]])
def test_what_is_no_status_is_refused_when_built(statuses: Any) -> None:
    with pytest.raises(ValueError, match=r"meta_refresh\(statuses="):
        meta_refresh(statuses=statuses)


def test_in_a_crawl_a_hop_is_asked_about_scope_and_dedupe() -> None:
    site = FakeFetch(
        {
            "/": page(links=["/1", "/2", "/3"]),
            "/1": html("0;url=/target"),
            "/2": html("0;url=/target"),
            "/3": html("0;url=http://elsewhere.example/"),
            "/target": "here",
        }
    )

    def links(response: Response) -> list[Request]:
        return response.follow_all(css="a")

    async def main() -> Summary:
        layers = ops.default_layers(robots_txt=None)
        return (
            await Crawl("http://a.example/")
            .pipe(ops.download(meta_refresh(), *layers, fetch=site), ops.scrape(links))
            .start()
        )

    summary = run_virtual(main)
    assert site.hits["http://a.example/target"] == 1
    assert summary.counts.dropped == {"duplicate": 1, "off-site": 1}
