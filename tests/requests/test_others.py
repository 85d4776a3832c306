"""JSON, XML-RPC, and requests as dicts."""

from __future__ import annotations

import json
import xmlrpc.client
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamcrawl import Headers, Request, Response
from streamcrawl.core import Failed
from streamcrawl.errors import FlowError, NotStorable
from streamcrawl.items import Field, Item
from streamcrawl.requests import json_request, request_from_dict, request_to_dict, xmlrpc_request

U = "http://a.test/"


class Query(pydantic.BaseModel):
    q: str


@dataclass
class Page:
    number: int
    day: date


class Declared(Item):
    name = Field()


def test_json() -> None:
    request = json_request(U, {"b": [1, None, "ü"], "a": {"y": 1.5, "x": True}})
    assert request.method == "POST"
    assert request.body.decode() == '{"a":{"x":true,"y":1.5},"b":[1,null,"ü"]}'
    assert request.headers.pairs() == (("Content-Type", "application/json"), ("Accept", "application/json, */*;q=0.1"))
    assert json_request(U, {"a": 1, "b": 2}).body == json_request(U, {"b": 2, "a": 1}).body
    objects = [Page(1, date(2024, 5, 6)), Query(q="x"), Declared(name="n"), Decimal("1.50"), {3, 1, 2}]
    assert json.loads(json_request(U, objects).body) == [
        {"number": 1, "day": "2024-05-06"}, {"q": "x"}, {"name": "n"}, "1.50", [1, 2, 3],
    ]  # fmt: skip


def test_json_of_keys_that_are_no_text() -> None:
    request = json_request(U, {"b": {10: 1, 9: date(2024, 5, 6)}, "a": Query(q="x")})
    assert request.body == b'{"a":{"q":"x"},"b":{"10":1,"9":"2024-05-06"}}'


def test_json_with_what_you_say() -> None:
    headers = Headers({"accept": "text/plain"})
    request = json_request(U, None, method="PUT", headers=headers, priority=2, dumps=lambda data: f"<{data}>")
    assert (request.method, request.body, request.priority) == ("PUT", b"<None>", 2)
    assert request.headers.pairs() == (("accept", "text/plain"), ("Content-Type", "application/json"))
    with pytest.raises(TypeError, match="has no form in JSON"):
        json_request(U, {"a": object()})


def test_xmlrpc() -> None:
    params = [1, "<&> ü", True, 2.5, [b"x", {"k": None}]]
    request = xmlrpc_request(U, "shop.find", params, allow_none=True, cb_kwargs={"n": 1})
    assert xmlrpc.client.loads(request.body) == (
        (1, "<&> ü", True, 2.5, [xmlrpc.client.Binary(b"x"), {"k": None}]),
        "shop.find",
    )
    assert (request.method, request.dont_filter, request.cb_kwargs) == ("POST", True, {"n": 1})
    assert request.headers["content-type"] == "text/xml"
    latin = xmlrpc_request(U, "m", ["ü☃"], encoding="iso-8859-1", dont_filter=False)
    assert b"\xfc&#9731;" in latin.body
    assert xmlrpc.client.loads(latin.body)[0] == ("ü☃",)
    assert not latin.dont_filter
    with pytest.raises(ValueError, match="method='a</methodName>'"):
        xmlrpc_request(U, "a</methodName>")
    with pytest.raises(TypeError):
        xmlrpc_request(U, "m", [None])
    with pytest.raises(OverflowError):
        xmlrpc_request(U, "m", [1 << 40])


class Shop:
    def parse_book(self, page: Response) -> None: ...

    def missed(self, failed: Failed) -> None: ...


CALLBACKS: dict[str, Any] = {"lambda": lambda page: None}  # pyright: ignore[reportUnknownLambdaType] - it is the point


def parse_shelf(page: Response) -> None: ...


def test_a_request_as_a_dict() -> None:
    shop = Shop()
    request = Request(
        U, method="POST", headers=Headers([("A", "1"), ("a", "2")]), body="ü".encode(), callback=shop.parse_book,
        errback=shop.missed, cb_kwargs={"n": 1}, meta={"m": [1]}, cookies={"c": "1"}, priority=2, stream=True,
        fingerprint_headers=("A",), statuses=(404,), skip=("robots_txt",), cookiejar="j", depth=3, via=("http://b.test/",),
        via_reasons=("301",), reach=(), max_retries=0, site="http://a.test",
    )  # fmt: skip
    data = request_to_dict(request, spider=shop)
    assert data["callback"] == "parse_book"
    assert data["errback"] == "missed"
    assert data["body"] == "ü"
    assert data["headers"] == [["A", "1"], ["a", "2"]]
    again = request_from_dict(json.loads(json.dumps(data)), spider=shop)
    for name in set(Request.__struct_fields__) - {"lease", "answer"}:
        assert getattr(again, name) == getattr(request, name), name


def test_only_what_differs_is_there() -> None:
    assert request_to_dict(Request(U)) == {"url": U}
    assert request_to_dict(Request(U, callback=parse_shelf)) == {"url": U, "callback": f"{__name__}:parse_shelf"}
    assert request_from_dict({"url": U, "callback": f"{__name__}:parse_shelf"}).callback is parse_shelf
    assert request_from_dict({"url": U, "callback": parse_shelf, "headers": {"A": "b"}, "body": b"x"}).body == b"x"


@given(st.binary(max_size=30))
@settings(deadline=None)
def test_any_body_goes_there_and_back_through_json(body: bytes) -> None:
    data = json.loads(json.dumps(request_to_dict(Request(U, body=body))))
    assert request_from_dict(data).body == body


@pytest.mark.parametrize(
    ("request_", "text"),
    [
        (Request(U, callback=CALLBACKS["lambda"]), "its callback is the lambda at test_others.py"),
        (Request(U, errback=Shop().missed), "its errback is the method Shop.missed of another object"),
        (Request(U, answer=Response(U)), "is answered already"),
    ],
)
def test_what_has_no_place_in_a_dict(request_: Request, text: str) -> None:
    with pytest.raises(NotStorable, match=text):
        request_to_dict(request_, spider=Shop())


@pytest.mark.parametrize(
    ("data", "error", "text"),
    [
        ({}, ValueError, "a request has a url"),
        ({"url": U, "colour": 1, "lease": 2}, ValueError, "no field of a request: colour, lease"),
        ({"url": U, "callback": "gone"}, FlowError, "no function gone: Shop has none"),
        ({"url": U, "callback": f"{__name__}:gone"}, FlowError, "no function .*:gone"),
        ({"url": U, "callback": "no.such.module:x"}, FlowError, "no function no.such.module:x"),
        ({"url": U, "callback": "__doc__"}, FlowError, "no function __doc__"),
    ],
)
def test_what_is_no_request(data: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        request_from_dict(data, spider=Shop())
