"""`data:` URLs."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamcrawl.core import Request
from streamcrawl.errors import BodyTooLarge, DecodeError, FetchError
from streamcrawl.transport.data import parse_data_url

PLAIN = "text/plain;charset=US-ASCII"


@pytest.mark.parametrize(
    ("url", "kind", "body"),
    [
        ("data:,A%20brief%20note", PLAIN, b"A brief note"),
        ("data:text/html;charset=utf-8,<p>%C3%A4</p>", "text/html;charset=utf-8", b"<p>\xc3\xa4</p>"),
        ("data:image/gif;base64,R0lGODdh", "image/gif", b"GIF87a"),
        ("data:;base64,aGk=", PLAIN, b"hi"),
        ("data:;BASE64,aGk", PLAIN, b"hi"),
        ("data:;base64,%20a G%0Ak%3D", PLAIN, b"hi"),
        ("data:;charset=utf-8,x", "text/plain;charset=utf-8", b"x"),
        ("data:nonsense,x", PLAIN, b"x"),
        ("data:text/plain;base64;x=1,aGk=", "text/plain;base64;x=1", b"aGk="),
        ("data:,a,b#part", PLAIN, b"a,b"),
        ("data:,", PLAIN, b""),
    ],
)
def test_examples(url: str, kind: str, body: bytes) -> None:
    assert parse_data_url(url) == (kind, body)


def test_broken_ones_are_named() -> None:
    with pytest.raises(FetchError, match=r"^'data:text/plain': a data: URL has a comma"):
        parse_data_url("data:text/plain")
    with pytest.raises(DecodeError, match="the base64 of the data: URL is broken"):
        parse_data_url("data:;base64,a!b")


@given(st.text())
def test_nothing_else_is_raised(rest: str) -> None:
    try:
        kind, body = parse_data_url("data:" + rest)
    except FetchError as error:
        assert "data:" in str(error)  # noqa: PT017 - it may pass or raise, and both are fine
    else:
        assert "/" in kind
        assert isinstance(body, bytes)


def test_fetched(wire: Any) -> None:
    async def main() -> None:
        async with wire(max_size=5) as fetch:
            request = Request("data:text/html,12345")
            response = await fetch(request)
            assert (response.status, response.body, response.headers["content-type"]) == (200, b"12345", "text/html")
            assert (response.url, response.request) == (request.url, request)
            streamed = await fetch(Request(request.url, stream=True))
            assert [piece async for piece in streamed.stream] == [b"12345"]
            assert (await fetch(Request(request.url, method="HEAD"))).body == b""
            with pytest.raises(BodyTooLarge, match=r"^data:,123456\.\.\.: the body is 6 bytes long, the limit is 5$"):
                await fetch(Request("data:,123456"))

    asyncio.run(main())
