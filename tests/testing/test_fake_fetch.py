from __future__ import annotations

import asyncio
from collections import Counter, deque
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamcrawl.core import Request
from streamcrawl.errors import ConnectError, InvalidURL, TruncatedBody
from streamcrawl.response import Response
from streamcrawl.testing import Answer, Chunks, FakeFetch, Web, links_to, page, run_virtual, virtual
from streamcrawl.testing.web import Node
from streamcrawl.urls import host_of, without_fragment

HOST = "http://a.example"


def get(site: dict[str, Answer], url: str = f"{HOST}/", **options: object) -> Response:
    return run_virtual(FakeFetch(site)(Request(url, **options)))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]  # any field of Request


def test_a_string_is_an_html_page_of_its_url_and_request() -> None:
    request = Request(f"{HOST}/one")
    response = run_virtual(FakeFetch({"/one": "<h1>One</h1>"})(request))
    assert (response.status, response.url, response.request) == (200, f"{HOST}/one", request)
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert response.css("h1::text").get() == "One"


def test_what_is_not_there_is_a_404() -> None:
    assert get({"/one": "x"}, f"{HOST}/two").status == 404


def test_whole_urls_come_before_paths_and_other_hosts_have_the_path() -> None:
    site: dict[str, Answer] = {"http://a.example/x": "mine", "/x": "everybody's"}
    assert get(site, "http://a.example/x").text == "mine"
    assert get(site, "http://b.example/x").text == "everybody's"


def test_arguments_are_looked_up_canonically_and_then_left_out() -> None:
    site: dict[str, Answer] = {f"{HOST}/x?b=2&a=1": "both", "/x": "bare"}
    assert get(site, f"{HOST}/x?a=1&b=2#part").text == "both"
    assert get(site, f"{HOST}/x?c=3").text == "bare"


def test_errors_are_raised_functions_called_and_awaited() -> None:
    async def later(request: Request) -> Response:
        await asyncio.sleep(3)
        return page(f"later: {request.method}")

    with pytest.raises(ConnectError, match="refused"):
        get({"/": ConnectError("refused")})
    assert get({"/": lambda request: page(request.method)}).text == "GET"
    assert get({"/": later}).text == "later: GET"
    with pytest.raises(TypeError, match=r"no answer to http://a\.example/"):
        get({"/": lambda request: 42})


@virtual
async def test_a_list_is_answered_in_turn_for_each_url() -> None:
    fetch = FakeFetch({"/": [ConnectError("once"), page(status=503), "ok"], "/other": ["first", "second"]})
    request = Request(f"{HOST}/")
    with pytest.raises(ConnectError):
        await fetch(request)
    assert [(await fetch(request)).status for _ in range(3)] == [503, 200, 200]
    assert (await fetch(Request(f"{HOST}/other"))).text == "first"
    assert fetch.hits == Counter({f"{HOST}/": 4, f"{HOST}/other": 1})


@virtual
async def test_streams_come_in_chunks_and_heads_have_no_body() -> None:
    fetch = FakeFetch({"/": b"x" * 3000})
    response = await fetch(Request(f"{HOST}/", stream=True))
    assert response.stream is not None
    assert [len(chunk) async for chunk in response.stream] == [1024, 1024, 952]
    assert (await fetch(Request(f"{HOST}/", method="HEAD"))).body == b""


@virtual
async def test_chunks_break_off_and_close() -> None:
    broken = Chunks(b"abc", size=2, error=TruncatedBody("broke off"))
    got: list[bytes] = []
    chunks = aiter(broken)
    got.append(await anext(chunks))
    got.append(await anext(chunks))
    with pytest.raises(TruncatedBody):
        await anext(chunks)
    assert got == [b"ab", b"c"]
    closed = Chunks(b"abc")
    await closed.aclose()
    assert [chunk async for chunk in closed] == []
    with pytest.raises(ValueError, match="size is 0"):
        Chunks(b"", size=0)


@virtual
async def test_it_logs_times_and_how_many_were_under_way() -> None:
    fetch = FakeFetch({}, latency=lambda request: 1.0 if "slow" in request.url else 0.25)
    urls = ["http://a.example/slow", "http://a.example/1", "http://b.example/1"]
    await asyncio.gather(*(fetch(Request(url)) for url in urls))
    await fetch(Request("http://a.example/2"))
    assert fetch.urls == [*urls, "http://a.example/2"]
    assert fetch.times == [0.0, 0.0, 0.0, 1.0]
    assert (fetch.most, dict(fetch.most_by_host)) == (3, {"http://a.example": 2, "http://b.example": 1})
    assert repr(fetch) == "<FakeFetch 0 pages, 4 requests, 0 under way>"


def test_it_answers_at_once_without_latency() -> None:
    async def work() -> bool:
        task = asyncio.ensure_future(FakeFetch({"/": "x"})(Request(f"{HOST}/")))
        await asyncio.sleep(0)
        return task.done()

    assert run_virtual(work)


def test_arguments_are_checked() -> None:
    with pytest.raises(ValueError, match="latency is -1"):
        FakeFetch({}, latency=-1)
    with pytest.raises(InvalidURL, match="page"):
        FakeFetch({"page": ""})


def test_what_is_no_answer_is_told_when_it_is_made() -> None:
    wrong: Any = 5
    with pytest.raises(TypeError, match=r"FakeFetch\(\{'/': 5\}\): text, bytes, a Response, … answer, and no int"):
        FakeFetch({"/": wrong})
    with pytest.raises(InvalidURL, match=r"FakeFetch\(\{'a': …\}\): a path begins with /"):
        FakeFetch({"a": ""})


def test_page_and_links() -> None:
    made = page("<p>x</p>", links=["/a?b&c", "/d"], status=201, headers={"content-type": "application/xhtml+xml"})
    assert made.css("a::attr(href)").getall() == ["/a?b&c", "/d"]
    assert (made.status, made.headers["Content-Type"]) == (201, "application/xhtml+xml")
    assert links_to() == ""


webs = st.builds(
    Web,
    pages=st.integers(1, 60),
    fanout=st.integers(1, 6),
    hosts=st.integers(1, 4),
    seed=st.integers(0, 10_000),
)


async def crawl(web: Web, retries: int) -> tuple[set[str], Counter[str]]:
    """A plain loop, to hold `expected` against: it does as a crawl does, and takes the answers as they are."""
    fetch = web.fetch(latency=0.1)
    found: set[str] = set()
    seen, waiting = {web.start}, deque([web.start])
    while waiting:
        url = waiting.popleft()
        if "/private/" in url:
            continue
        response = None
        for _ in range(retries + 1):
            try:
                response = await fetch(Request(url))
            except ConnectError:
                continue
            if response.status != 503:
                break
        if response is None or response.status >= 400:
            continue
        if response.status == 200:
            found.add(url)
        links = response.css("a::attr(href)").getall() + response.headers.getall("location")
        for link in map(without_fragment, map(response.urljoin, links)):
            if link not in seen and host_of(link) == host_of(web.start):
                seen.add(link)
                waiting.append(link)
    return found, fetch.hits


@given(webs, st.integers(0, 3))
def test_what_is_expected_of_a_web_is_what_a_plain_loop_finds(web: Web, retries: int) -> None:
    found, hits = run_virtual(crawl(web, retries))
    expected = web.expected(retries=retries)
    assert found == expected.pages
    assert hits == expected.hits


@given(webs)
def test_the_same_arguments_make_the_same_web(web: Web) -> None:
    again = Web(web.pages, web.fanout, web.hosts, web.seed)
    assert again.nodes() == web.nodes()
    assert list(again.site()) == list(web.site())


@given(webs)
def test_redirects_never_go_in_a_circle(web: Web) -> None:
    nodes = web.nodes()
    for node in nodes.values():
        walked: list[Node] = []
        while node.kind == "redirect":
            assert node not in walked
            walked.append(node)
            node = nodes[node.target]


def test_a_web_has_all_kinds_and_hosts() -> None:
    web = Web(pages=500, hosts=4)
    expected = web.expected(scope="any")
    assert {host_of(url) for url in expected.pages} == {f"http://host{n}.example" for n in range(4)}
    assert min(map(len, (expected.failed, expected.redirects, expected.refused))) > 5
    assert not expected.off_site
    assert web.expected().off_site
    assert web.expected(scope="any", robots=False).pages > expected.pages


@pytest.mark.parametrize("options", [{"pages": 0}, {"hosts": 0}, {"fanout": 0}])
def test_counts_of_a_web_are_checked(options: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="it must be 1 or more"):
        Web(**options)


def test_shares_of_a_web_are_checked() -> None:
    with pytest.raises(ValueError, match="come to 1 at most"):
        Web(redirects=0.9, missing=0.2)
