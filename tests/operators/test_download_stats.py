"""Tests of ops.download_stats."""

from __future__ import annotations

from through import Spy, through

from streamcrawl.core import Dropped, Request
from streamcrawl.errors import ConnectError
from streamcrawl.headers import Headers
from streamcrawl.operators.download_stats import download_stats
from streamcrawl.response import Response
from streamcrawl.testing.fake_fetch import Chunks, FakeFetch


def counted(fetch: FakeFetch, *requests: Request | str) -> dict[str, object]:
    spy = Spy()
    through(download_stats(), to=requests, fetch=fetch, spy=spy)
    prefix = "downloader/"
    assert all(key.startswith(prefix) for key in spy.stats)
    return {key.removeprefix(prefix): value for key, value in spy.stats.items()}


def test_requests_and_responses() -> None:
    site = FakeFetch(
        {
            "/a": Response("x:", body=b"12345", wire_size=3),
            "/b": Response("x:", 404, body=b"1234567"),
        }
    )
    posted = Request("http://a.example/b", method="POST", body=b"12", headers=Headers({"X": "1"}))
    stats = counted(site, "http://a.example/a", posted)
    # GET http://a.example/a and POST http://a.example/b: 14 bytes beside method and URL, "X: 1\r\n", the body.
    assert stats == {
        "request_count": 2,
        "request_method_count/GET": 1,
        "request_method_count/POST": 1,
        "request_bytes": (3 + 18 + 14) + (4 + 18 + 14 + 6 + 2),
        "response_count": 2,
        "response_status_count/200": 1,
        "response_status_count/404": 1,
        "response_bytes": 3 + 7,
    }


def test_failures_by_their_names() -> None:
    stats = counted(FakeFetch({"/": [ConnectError("no"), ValueError("bug")]}), "http://a.example/", "http://a.example/")
    assert stats["exception_count"] == 2
    assert stats["exception_type_count/ConnectError"] == 1
    assert stats["exception_type_count/OperatorError"] == 1
    assert "response_count" not in stats


def test_a_request_that_is_answered_already_does_not_count() -> None:
    request = Request("http://a.example/", answer=Response("http://a.example/", body=b"kept"))
    refused = Request("http://a.example/", answer=Dropped(Request("http://a.example/"), "no"))
    assert counted(FakeFetch({}), request, refused) == {}


def test_a_streamed_body_is_not_touched() -> None:
    body = Chunks(b"12345")
    stats = counted(FakeFetch({"/": Response("x:", stream=body)}), Request("http://a.example/", stream=True))
    assert stats["response_count"] == 1
    assert stats.get("response_bytes", 0) == 0
    assert not body.closed
