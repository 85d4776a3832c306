"""http_auth: whom credentials are sent to, and how they are written."""

from __future__ import annotations

from base64 import b64decode
from typing import Any

import pytest
from through import Spy, through

from streamcrawl.core import Request
from streamcrawl.events import Notice
from streamcrawl.headers import Headers
from streamcrawl.operators.http_auth import basic, http_auth
from streamcrawl.operators.redirect import redirect
from streamcrawl.streams.layer import NamedLayer
from streamcrawl.testing.fake_fetch import FakeFetch, page


def sent(layer: NamedLayer, *to: str | Request) -> list[str | None]:
    """What each request carries, decoded."""
    spy = Spy()
    through(layer, to=to, fetch=FakeFetch({"/": "home"}), spy=spy)
    values = [request.headers.get("Authorization") for request in spy.sent]
    return [None if value is None else decoded(value) for value in values]


def decoded(value: str) -> str:
    scheme, _, code = value.partition(" ")
    return b64decode(code).decode() if scheme == "Basic" else value


@pytest.mark.parametrize(
    ("url", "goes"),
    [
        ("https://shop.example/", True),
        ("https://www.shop.example/x", True),
        ("https://a.b.shop.example:8443/", True),
        ("https://SHOP.example./", True),
        ("https://notshop.example/", False),
        ("https://shop.example.evil.example/", False),
        ("https://evil.example/?shop.example", False),
        ("https://evil.example/@shop.example", False),
        ("https://evil.example#@shop.example/", False),
        ("http://shop.example/", False),
    ],
)
def test_whom_they_are_sent_to(url: str, goes: bool) -> None:
    assert sent(http_auth("me", "secret", domain="shop.example"), url) == ["me:secret" if goes else None]


@pytest.mark.parametrize(
    ("url", "goes"),
    [
        ("http://127.0.0.1:8000/", True),
        ("http://localhost/", True),
        ("http://[::1]:8000/", True),
        ("http://127.0.0.1.evil.example/", False),
        ("http://shop.example/", False),
    ],
)
def test_over_http_to_this_machine_only(url: str, goes: bool) -> None:
    assert sent(http_auth("me", "secret", domain="any"), url) == ["me:secret" if goes else None]
    assert sent(http_auth("me", "secret", domain="any", insecure=True), url) == ["me:secret"]


def test_other_schemes_get_nothing() -> None:
    assert (
        sent(http_auth("me", "secret", domain="any", insecure=True), "data:,x", "file:///x", "ftp://a.example/")
        == [None] * 3
    )


def test_what_is_withheld_is_told_once_a_host() -> None:
    spy = Spy()
    urls = ["http://shop.example/1", "http://shop.example/2", "http://www.shop.example/", "http://other.example/"]
    # The spy is above: it subscribes before the layer sees a request.
    through(spy.layer, http_auth("me", "secret", domain="shop.example"), to=urls)
    told = [event for event in spy.events if isinstance(event, Notice)]
    assert [event.text for event in told] == [
        f"http_auth: nothing is sent to http://{host}, which is not https; insecure=True sends it"
        for host in ("shop.example", "www.shop.example")
    ]
    assert {event.level for event in told} == {"warning"}
    assert spy.stats == {"http_auth/withheld": 3}


def test_what_logs_in_by_itself_is_not_counted_as_withheld() -> None:
    spy = Spy()
    own = Request("http://shop.example/own", headers=Headers({"Authorization": "Bearer x"}))
    urls: list[str | Request] = ["http://you:other@shop.example/", own, "http://shop.example/"]
    through(spy.layer, http_auth("me", "secret", domain="shop.example"), to=urls)
    assert spy.stats == {"http_auth/withheld": 1}


def test_a_request_that_logs_in_by_itself_keeps_that() -> None:
    own = Request("https://shop.example/", headers=Headers({"authorization": "Bearer x"}))
    layer = http_auth("me", "secret", domain="shop.example")
    assert sent(layer, own) == ["Bearer x"]
    assert sent(layer, "https://you:other@shop.example/", "https://you@shop.example/?a") == [None, None]
    assert sent(layer, "https://shop.example/@here", "https://shop.example?a@b") == ["me:secret"] * 2


def test_several_accounts_by_domain_the_longest_name_wins() -> None:
    accounts = {"example": ("e", "1"), "shop.example": ("s", "2"), "api.shop.example": ("a", "3")}
    layer = http_auth(accounts=accounts)
    urls = ["https://x.api.shop.example/", "https://www.shop.example/", "https://other.example/", "https://b.test/"]
    assert sent(layer, *urls) == ["a:3", "s:2", "e:1", None]
    mixed = http_auth("me", "secret", domain="any", accounts={"shop.example": ("s", "2")})
    assert sent(mixed, "https://shop.example/", "https://b.test/") == ["s:2", "me:secret"]
    assert sent(http_auth("me", "x", domain=["a.test", "b.test"]), "https://a.test/", "https://b.test/") == ["me:x"] * 2


def test_international_names_are_one() -> None:
    assert sent(http_auth("me", "x", domain="café.example"), "https://www.xn--caf-dma.example/") == ["me:x"]


def test_hops_to_another_domain_take_nothing_along() -> None:
    site = FakeFetch(
        {
            "https://shop.example/": page(status=302, headers={"Location": "https://evil.example/"}),
            "https://evil.example/": page(status=307, headers={"Location": "https://www.shop.example/in"}),
            "/in": "in",
        }
    )
    spy = Spy()
    layers = http_auth("me", "secret", domain="shop.example"), redirect()
    (outcome,) = through(*layers, to=["https://shop.example/"], fetch=site, spy=spy)
    assert [request.headers.get("Authorization") for request in spy.sent] == [
        basic("me", "secret"),
        None,
        basic("me", "secret"),
    ]
    assert outcome.request.headers == Headers()


def test_how_they_are_written() -> None:
    assert basic("Aladdin", "open sesame") == "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="  # RFC 7617 §2
    assert basic("test", "123\u00a3") == "Basic dGVzdDoxMjPCow=="  # RFC 7617 §2.1
    assert basic("test", "123\u00a3", "latin-1") == "Basic dGVzdDoxMjOj"
    assert basic("e\u0301", ":") == basic("\u00e9", ":")  # the same letter, however it was typed
    assert basic("", "") == "Basic Og=="


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({}, "nothing to send"),
        ({"user": "me"}, "say whom they are for"),
        ({"user": "me", "domain": ()}, "say whom they are for"),
        ({"user": "me", "domain": ""}, "not a domain name: ''"),
        ({"user": "me", "domain": "https://a.example"}, "not a domain name"),
        ({"user": "me", "domain": "*.example"}, "not a domain name"),
        ({"domain": "a.example"}, "nothing to send"),
        ({"domain": "a.example", "accounts": {"b.example": ("u", "p")}}, "no user for it"),
        ({"user": "m:e", "domain": "any"}, "colon"),
        ({"user": "me", "password": "a\nb", "domain": "any"}, "control characters"),
        ({"user": "me", "password": "a€", "domain": "any", "charset": "latin-1"}, "cannot be written in latin-1"),
        ({"user": "me", "domain": "any", "charset": "utf-16"}, "utf-8"),
    ],
)
def test_arguments_are_checked_when_built(arguments: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem) as caught:
        http_auth(**arguments)
    assert "a€" not in str(caught.value)


def test_nothing_tells_the_password() -> None:
    assert "secret" not in repr(http_auth("me", "secret", domain="any"))
