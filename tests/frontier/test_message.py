"""How a job stores requests: what comes back, what is refused, and what is told of a message that is damaged."""

from __future__ import annotations

import math
import sys
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from enum import Enum, Flag, IntEnum
from functools import partial
from http import HTTPMethod
from http import HTTPStatus as Status
from pathlib import Path
from struct import pack
from types import MappingProxyType, ModuleType
from typing import Any
from uuid import UUID
from zlib import crc32
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from streamcrawl import Request, Response
from streamcrawl.core import Dropped, Lease
from streamcrawl.errors import FlowError, JobError, NotStorable
from streamcrawl.frontier.fields import FIELDS
from streamcrawl.frontier.functions import Functions
from streamcrawl.frontier.message import Messages, untried, url_of
from streamcrawl.frontier.values import DEEPEST
from streamcrawl.headers import Headers

URL = "http://x.test/a"
HERE = __name__


class Color(Enum):
    RED = "red"
    PAIR = (1, 2)


class Level(IntEnum):
    LOW = 0
    HIGH = 7


class Right(Flag):
    READ = 1
    WRITE = 2


def parse(page: object) -> None: ...


def failed(failure: object) -> None: ...


def wrapping(function: Callable[..., Any]) -> Callable[..., Any]:
    def wrapped(*args: Any) -> Any:
        return function(*args)

    return wrapped


class Shop:
    """A spider: some of its methods are what a job must find again."""

    def parse(self, page: object) -> None: ...

    def detail(self, page: object) -> None: ...

    def __hidden(self, page: object) -> None: ...

    def hidden(self) -> Callable[..., Any]:
        return self.__hidden

    @wrapping
    def decorated(self, page: object) -> None: ...

    @classmethod
    def made(cls, page: object) -> None: ...

    @staticmethod
    def fixed(page: object) -> None: ...

    class Inner:
        @staticmethod
        def deep(page: object) -> None: ...


@dataclass
class Unhashed:
    """A callable object whose class has `__eq__`, and so no hash."""

    name: str = ""

    def __call__(self, page: object) -> None: ...

    def detail(self, page: object) -> None: ...


shop = Shop()
plain = Messages(None, None)


def again(request: Request, messages: Messages = plain) -> Request:
    return messages.decode(messages.encode(request))


def sealed(content: bytes) -> bytes:
    """Any content with a checksum that fits."""
    return content + pack("<I", crc32(content))


def message(places: list[int], values: list[Any], version: int = 2) -> bytes:
    return sealed(
        pack("<BI" if version == 1 else "<BQ", version, sum(1 << place for place in places))
        + msgspec.msgpack.encode(values)
    )


def alike(one: object, other: object) -> bool:
    """Equal, of the same type, all the way down; NaN is like NaN."""
    if type(one) is not type(other):
        return False
    if isinstance(one, float | Decimal):
        assert isinstance(other, float | Decimal)
        return str(one) == str(other)
    if isinstance(one, Headers):
        assert isinstance(other, Headers)
        return one.pairs() == other.pairs()
    mine: Any = one
    theirs: Any = other
    if isinstance(one, list | tuple):
        return len(mine) == len(theirs) and all(map(alike, mine, theirs))
    if isinstance(one, dict):
        return alike(list(mine.items()), list(theirs.items()))
    if isinstance(one, set | frozenset):
        return len(mine) == len(theirs) and all(any(alike(each, twin) for twin in theirs) for each in mine)
    if isinstance(one, datetime | time):
        assert isinstance(other, datetime | time)
        return repr(one) == repr(other)
    return one == other


# ---- round trips

ZONES: list[tzinfo | None] = [None, UTC, timezone(timedelta(hours=-3, microseconds=7)), ZoneInfo("UTC")]

equal_to_themselves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.text(st.characters(categories=None)),  # with lone surrogates
    st.binary(),
    st.dates(),
    st.datetimes(timezones=st.sampled_from(ZONES)),
    st.times(timezones=st.sampled_from(ZONES)),
    st.timedeltas(),
    st.decimals(allow_nan=False),
    st.uuids(),
    st.sampled_from([Color.RED, Color.PAIR, Level.LOW, Level.HIGH, Right.READ | Right.WRITE, Right(0), Status.GONE]),
    st.builds(range, st.integers(), st.integers(), st.integers(1)),
)
scalars = equal_to_themselves | st.just(math.nan) | st.just(Decimal("-sNaN12"))
keys = st.recursive(
    equal_to_themselves,
    lambda inner: st.lists(inner, max_size=3).map(tuple) | st.frozensets(inner, max_size=3),
    max_leaves=5,
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(keys, inner, max_size=4),
        st.sets(keys, max_size=4),
    ),
    max_leaves=12,
)
text = st.text()
names = st.text("abc-", min_size=1, max_size=5)
statuses = st.lists(st.integers(100, 999), max_size=4)
FUNCTIONS = [None, parse, failed, Shop.fixed, Shop.made, Shop.Inner.deep]

fields_of_requests: dict[str, st.SearchStrategy[Any]] = {
    "method": st.sampled_from(["GET", "POST", "PURGE"]),
    "headers": st.lists(st.tuples(names, text), max_size=4).map(Headers),
    "body": st.binary(),
    "cookies": st.dictionaries(text, text, max_size=3),
    "callback": st.sampled_from(FUNCTIONS),
    "errback": st.sampled_from(FUNCTIONS),
    "cb_kwargs": st.dictionaries(names, values, max_size=3),
    "meta": st.dictionaries(keys, values, max_size=4),
    "priority": st.integers(-(2**63), 2**63),
    "slot": st.none() | text,
    "not_before": st.floats().map(lambda due: due + 0.0),  # -0.0 is the default
    "dont_filter": st.booleans(),
    "keep_fragments": st.booleans(),
    "fingerprint_headers": st.lists(text, max_size=3).map(tuple),
    "timeout": st.none() | st.floats(),
    "max_size": st.none() | st.integers(0, 2**63),
    "stream": st.booleans(),
    "statuses": st.just("any") | statuses | statuses.map(tuple) | statuses.map(set) | statuses.map(frozenset),
    "depth": st.integers(0, 2**40),
    "attempt": st.integers(0, 2**40),
    "via": st.lists(text, max_size=3).map(tuple),
    "referrer": st.none() | text,
    "site": text,
    "start": st.booleans(),
    "cookiejar": st.none() | text,
    "cache": st.sampled_from(["default", "no-store", "reload", "only-if-cached"]),
    "proxy": st.none() | text,
    "reach": st.none() | st.lists(text, max_size=3).map(tuple),
    "max_retries": st.none() | st.integers(0, 2**40),
    "max_redirects": st.none() | st.integers(0, 2**40),
    "skip": st.lists(text, max_size=3).map(tuple),
    "via_reasons": st.lists(text, max_size=3).map(tuple),
    "referrer_policy": st.none() | text,
}


def requested(fields: dict[str, Any]) -> Request:
    return Request(**fields)


requests = st.fixed_dictionaries({"url": text}, optional=fields_of_requests).map(requested)


def test_every_field_is_stored_or_named_here() -> None:
    assert {field.name for field in FIELDS} | {"answer", "lease"} == set(Request.__struct_fields__)
    assert set(fields_of_requests) | {"url"} == {field.name for field in FIELDS}


@settings(deadline=None)
@given(requests)
def test_what_is_stored_comes_back(request: Request) -> None:
    data = plain.encode(request)
    back = plain.decode(data)
    for name in Request.__struct_fields__:
        assert alike(getattr(request, name), getattr(back, name)), name
    assert plain.encode(back) == data
    assert url_of(data) == request.url


@settings(deadline=None)
@given(requests, requests)
def test_the_same_request_is_stored_alike_whoever_stores_it(request: Request, other: Request) -> None:
    """What was stored before leaves no trace."""
    messages = Messages(None, None)
    messages.encode(other)
    assert messages.encode(request) == Messages(None, None).encode(request)


BECOMES: list[tuple[str, Any, Any]] = [
    ("cookies", MappingProxyType({"a": "b"}), {"a": "b"}),
    ("cookies", OrderedDict(a="b"), {"a": "b"}),
    ("cb_kwargs", MappingProxyType({"a": (1,)}), {"a": (1,)}),
    ("method", HTTPMethod.POST, "POST"),
    ("priority", Level.HIGH, 7),
    ("priority", 1.5, 1.5),
    ("timeout", 5, 5),
    ("fingerprint_headers", ["accept"], ("accept",)),
    ("body", bytearray(b"x"), b"x"),
    ("statuses", range(400, 500), range(400, 500)),
    ("statuses", (Status.NOT_FOUND, 410), (Status.NOT_FOUND, 410)),
    ("statuses", {404: "gone"}.keys(), (404,)),
    ("dont_filter", 1, True),
]


@pytest.mark.parametrize(
    ("field", "given", "stored"),
    BECOMES,
)
def test_what_a_field_becomes(field: str, given: Any, stored: Any) -> None:
    assert alike(getattr(again(Request(URL, **{field: given})), field), stored)


def test_a_time_in_a_repeated_hour() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    for fold in (0, 1):
        for when in (datetime(2024, 10, 27, 2, 30, tzinfo=berlin, fold=fold), time(2, 30, tzinfo=berlin, fold=fold)):
            back = again(Request(URL, meta={"when": when})).meta["when"]
            assert (repr(back), back.utcoffset()) == (repr(when), when.utcoffset())


def test_a_lease_is_never_stored() -> None:
    request = Request(URL, depth=2)
    leased = request.replace(lease=Lease(1, request, "http://x.test", lambda lease: None))
    assert plain.encode(leased) == plain.encode(request)
    assert plain.decode(plain.encode(leased)).lease is None


def test_what_is_empty_costs_nothing() -> None:
    empty = Request(URL, meta={}, cb_kwargs={}, cookies={}, headers=Headers(), body=b"", via=(), method="G" + "ET")
    assert plain.encode(empty) == plain.encode(Request(URL))
    assert len(plain.encode(empty)) == len(URL) + 9 + 2 + 4


def test_a_deep_value_is_stored_to_a_bound() -> None:
    def nested(levels: int) -> object:
        value: object = None
        for level in range(levels):
            value = [value] if level % 2 else (value,)
        return value

    deepest = nested(DEEPEST)
    assert again(Request(URL, meta={"a": deepest})).meta["a"] == deepest
    with pytest.raises(NotStorable, match=rf"\[0\] is nested more than {DEEPEST} deep, or holds itself"):
        plain.encode(Request(URL, meta={"a": nested(DEEPEST + 1)}))


EVERY_KIND: dict[Any, Any] = {
    "plain": [None, True, -1, 1.5, "\u00e9", b"b", {"k": 2**64 - 1}],
    ("tuple",): ({3, 1, 2}, frozenset({"f"})),
    "int": -(2**70),
    "text": "\ud83d",
    "zoned": datetime(2024, 10, 27, 2, 30, 5, 6, tzinfo=ZoneInfo("UTC"), fold=1),
    "offset": datetime(2024, 1, 2, tzinfo=timezone(timedelta(hours=2))),
    "date": date(2024, 2, 29),
    "time": time(1, 2, 3),
    "timedelta": timedelta(days=-1, seconds=2, microseconds=3),
    "decimal": Decimal("1.50"),
    "uuid": UUID(int=5),
    "enum": Status.GONE,
    "range": range(1, 2**65, 3),
}
EVERY_FIELD = Request(
    URL,
    site="http://x.test",
    depth=3,
    referrer="http://x.test/",
    callback=shop.detail,
    meta=EVERY_KIND,
    cb_kwargs={"n": 1},
    errback=math.floor,
    start=True,
    attempt=2,
    via=("http://x.test/old",),
    not_before=1.5,
    priority=-2,
    dont_filter=True,
    method="POST",
    headers=Headers([("A", "b"), ("a", "c")]),
    body=b"q=1",
    cookies={"k": "v"},
    slot="slow",
    keep_fragments=True,
    fingerprint_headers=("accept",),
    timeout=30.0,
    max_size=1000,
    stream=True,
    statuses=(404, 410),
    cookiejar="second",
    cache="no-store",
    proxy="http://proxy.test:8080",
    reach=("10.0.0.0/8",),
    max_retries=5,
    max_redirects=3,
    skip=("robots_txt",),
    via_reasons=("301",),
    referrer_policy="same-origin",
)
GOLDEN_1 = bytes.fromhex(
    "01ffffff01dc0019af687474703a2f2f782e746573742f61ad687474703a2f2f782e7465737403ae687474703a2f2f782e746573742fa8"
    "632e64657461696cc8013f0e929da5706c61696ec7070191a57475706c65a3696e74a474657874a57a6f6e6564a66f6666736574a46461"
    "7465a474696d65a974696d6564656c7461a7646563696d616ca475756964a4656e756da572616e67659d97c0c3ffcb3ff8000000000000"
    "a2c3a9c4016281a16bcfffffffffffffffffc70d0192d60293010203c7030391a166c70904c00000000000000000c70305eda0bdc72106"
    "93ba323032342d31302d32375430323a33303a30352e30303030303601a3555443c71f0693b3323032342d30312d30325430303a30303a"
    "303000cf00000001ad274800c70a07323032342d30322d3239c70c0893a830313a30323a303300c0d60993ff0203d60a312e3530d80b00"
    "000000000000000000000000000005c7140c92af687474703a48545450537461747573cd019ac70f0d9301c70904020000000000000000"
    "0381a16e01aa6d6174683a666c6f6f72c30291b1687474703a2f2f782e746573742f6f6c64cb3ff8000000000000fec3a4504f53549292"
    "a141a16292a161a163c403713d3181a16ba176a4736c6f77c391a6616363657074cb403e000000000000cd03e8c3c7070192cd0194cd01"
    "9a8538c6f3"
)
GOLDEN = bytes.fromhex(
    "02ffffffff03000000dc0022af687474703a2f2f782e746573742f61ad687474703a2f2f782e7465737403ae687474703a2f2f782e7465"
    "73742fa8632e64657461696cc8013f0e929da5706c61696ec7070191a57475706c65a3696e74a474657874a57a6f6e6564a66f66667365"
    "74a464617465a474696d65a974696d6564656c7461a7646563696d616ca475756964a4656e756da572616e67659d97c0c3ffcb3ff80000"
    "00000000a2c3a9c4016281a16bcfffffffffffffffffc70d0192d60293010203c7030391a166c70904c00000000000000000c70305eda0"
    "bdc7210693ba323032342d31302d32375430323a33303a30352e30303030303601a3555443c71f0693b3323032342d30312d3032543030"
    "3a30303a303000cf00000001ad274800c70a07323032342d30322d3239c70c0893a830313a30323a303300c0d60993ff0203d60a312e35"
    "30d80b00000000000000000000000000000005c7140c92af687474703a48545450537461747573cd019ac70f0d9301c709040200000000"
    "000000000381a16e01aa6d6174683a666c6f6f72c30291b1687474703a2f2f782e746573742f6f6c64cb3ff8000000000000fec3a4504f"
    "53549292a141a16292a161a163c403713d3181a16ba176a4736c6f77c391a6616363657074cb403e000000000000cd03e8c3c7070192cd"
    "0194cd019aa67365636f6e64a86e6f2d73746f7265b6687474703a2f2f70726f78792e746573743a3830383091aa31302e302e302e302f"
    "38050391aa726f626f74735f74787491a3333031ab73616d652d6f726967696ecd1531a3"
)
GOLDEN_LINK = b"\x02\x97\x00\x00\x00\x00\x00\x00\x00\x95\xafhttp://x.test/a\xadhttp://x.test\x01\xa1c\xa1e\xd14D\xf0"


def test_the_format_does_not_change_unnoticed() -> None:
    """Jobs on disk are read by later versions: whoever changes these bytes raises FORMAT, and reads both."""
    messages = Messages(shop.parse, failed)
    assert messages.encode(EVERY_FIELD).hex() == GOLDEN.hex()
    back = messages.decode(GOLDEN)
    for field in FIELDS:
        assert alike(getattr(back, field.name), getattr(EVERY_FIELD, field.name)), field.name
        assert getattr(back, field.name) != getattr(Request("about:blank"), field.name), "this test has every field"
    link = Request(URL, callback=shop.parse, errback=failed, site="http://x.test", depth=1)
    assert messages.encode(link) == GOLDEN_LINK


def test_the_first_format_is_read() -> None:
    back = Messages(shop.parse, failed).decode(GOLDEN_1)
    for field in FIELDS[:25]:
        assert alike(getattr(back, field.name), getattr(EVERY_FIELD, field.name)), field.name
    for field in FIELDS[25:]:
        assert getattr(back, field.name) == getattr(Request("about:blank"), field.name), field.name
    assert url_of(GOLDEN_1) == EVERY_FIELD.url
    messages = Messages(shop.parse, failed)
    assert untried(GOLDEN_1) == messages.encode(messages.decode(untried(GOLDEN_1)))


# ---- functions


unhashed = Unhashed("a")
own_lambda: Callable[[object], Any] = lambda page: None  # noqa: E731 - a lambda is what is tried
called_by_partial = partial(parse)
shadowed = parse


def local() -> Callable[..., Any]:
    def inside(page: object) -> None: ...

    return inside


LOCAL = local()


NAMED: list[tuple[Any, Any, Any, str]] = [
    (own_lambda, None, own_lambda, "c"),
    (None, LOCAL, LOCAL, "e"),
    (LOCAL, LOCAL, LOCAL, "c"),
    (called_by_partial, None, called_by_partial, "c"),
    (unhashed, None, unhashed, "c"),
    (None, unhashed, unhashed, "e"),
    (unhashed, None, unhashed.detail, "c.detail"),
    (parse, None, parse, "c"),
    (shop.parse, None, shop.parse, "c"),
    (shop.parse, None, shop.detail, "c.detail"),
    (LOCAL, shop.parse, shop.detail, "e.detail"),
    (shop.parse, shop.decorated, shop.detail, "c.detail"),
    (shop.parse, None, shop.decorated, "c.decorated"),
    (shop.parse, None, shop.hidden(), "c._Shop__hidden"),
    (shop.parse, None, shop.made, "c.made"),
    (None, None, shop.made, f"{HERE}:Shop.made"),
    (Shop.made, None, Shop.made, "c"),
    (shop.parse, None, shop.fixed, f"{HERE}:Shop.fixed"),
    (None, None, parse, f"{HERE}:parse"),
    (None, None, Shop.detail, f"{HERE}:Shop.detail"),
    (None, None, Shop.Inner.deep, f"{HERE}:Shop.Inner.deep"),
    (None, None, shadowed, f"{HERE}:parse"),
    (None, None, Shop, f"{HERE}:Shop"),
    (None, None, math.floor, "math:floor"),
]


@pytest.mark.parametrize(
    ("callback", "errback", "given", "name"),
    NAMED,
)
@pytest.mark.parametrize("field", ["callback", "errback"])
def test_functions_are_stored_by_name(callback: Any, errback: Any, given: Any, name: str, field: str) -> None:
    messages = Messages(callback, errback)
    for _ in range(2):  # the second time from memory
        data = messages.encode(Request(URL, **{field: given}))
        assert name.encode() in data
        assert Functions(callback, errback).name_of(given) == name
        found = getattr(Messages(callback, errback).decode(data), field)
        assert found is given or found == given
        assert getattr(messages.decode(data), field) == given


def test_a_method_is_found_on_the_object_of_this_process() -> None:
    """The spider of a resumed job is another object than the one that stored."""
    data = Messages(shop.parse, None).encode(Request(URL, callback=shop.detail, errback=shop.parse))
    other = Shop()
    back = Messages(other.parse, None).decode(data)
    assert back.callback == other.detail
    assert back.errback == other.parse
    assert back.callback != shop.detail


def test_a_static_method_of_a_local_class() -> None:
    class Local:
        def parse(self, page: object) -> None: ...

        @staticmethod
        def fixed(page: object) -> None: ...

    spider = Local()
    messages = Messages(spider.parse, None)
    assert Functions(spider.parse, None).name_of(spider.fixed) == "c.fixed"
    assert again(Request(URL, callback=spider.fixed), messages).callback is spider.fixed


def test_a_module_called_main(monkeypatch: pytest.MonkeyPatch) -> None:
    main = flow("__main__", "def parse(page): ...\ndef other(page): ...", monkeypatch)
    assert again(Request(URL, callback=main.other)).callback is main.other
    stale = main.parse
    exec("def parse(page): ...", main.__dict__)
    with pytest.raises(NotStorable, match="that is not what __main__:parse leads to"):
        plain.encode(Request(URL, callback=stale))


def flow(name: str, code: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    module = ModuleType(name)
    monkeypatch.setitem(sys.modules, name, module)
    exec(compile(code, f"/somewhere/{name}.py", "exec"), module.__dict__)
    return module


class Renamed:
    """Callable; says that it is what it is not."""

    __qualname__ = "parse"

    def __call__(self, page: object) -> None: ...


NAMELESS: list[tuple[Callable[[Any], Any], str]] = [
    (lambda module: module.anonymous, "the lambda at flow.py:1"),
    (lambda module: module.outer(), "the local function inner at flow.py:3"),
    (lambda module: module.stale, "a function at flow.py:6 that is not what flow:parse leads to"),
    (lambda module: module.other.parse, "the method Shop.parse of another object"),
    (lambda module: partial(module.parse), "a functools.partial"),
    (lambda module: unhashed, "an Unhashed"),
    (lambda module: Renamed(), "a Renamed"),
    (lambda module: "parse", "a str"),
]


@pytest.mark.parametrize(
    ("make", "told"),
    NAMELESS,
)
@pytest.mark.parametrize("field", ["callback", "errback"])
def test_a_function_that_has_no_name_is_refused(
    make: Callable[[Any], Any], told: str, field: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = """anonymous = lambda page: None
def outer():
    def inner(page): ...
    return inner

def parse(page): ...
stale = parse
def parse(page): ...
class Shop:
    def parse(self, page): ...
shop, other = Shop(), Shop()"""
    module = flow("flow", code, monkeypatch)
    messages = Messages(module.shop.parse, module.parse)
    with pytest.raises(NotStorable) as caught:
        messages.encode(Request(URL, **{field: make(module)}))
    assert str(caught.value) == (
        f"a job cannot keep <GET {URL}>: its {field} is {told}; "
        "give a function at module level, or a method of the object whose method scrape() calls"
    )


GONE: list[tuple[str, tuple[Any, Any], str]] = [
    ("flow:parse_old", (None, None), "for flow:parse_old, which the flow no longer has"),
    ("flow:Shop.old", (None, None), "for flow:Shop.old, which the flow no longer has"),
    ("flow:number", (None, None), "for flow:number, which is no function any more"),
    ("c", (None, None), "for the callback of scrape(), which the flow no longer has"),
    ("e", (parse, None), "for the errback of scrape(), which the flow no longer has"),
    ("c.old", (shop.parse, None), "for old() of a Shop, which the flow no longer has"),
    ("c.old", (parse, None), "for old() of the object whose method scrape() calls, which the flow"),
    ("e.old", (shop.parse, None), "for old() of the object whose method scrape() calls, which the flow"),
    ("no_such_module:parse", (None, None), "for no_such_module:parse, and no_such_module cannot be"),
    (":parse", (None, None), "for :parse, and  cannot be imported (ValueError: "),
]


@pytest.mark.parametrize(
    ("name", "flow_now", "told"),
    GONE,
)
def test_a_name_that_is_gone(name: str, flow_now: tuple[Any, Any], told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    flow("flow", "number = 3\nclass Shop: ...", monkeypatch)
    data = message([0, 4], [URL, name])
    with pytest.raises(FlowError) as caught:
        Messages(*flow_now).decode(data)
    assert str(caught.value).startswith(f"{URL}: this job holds requests {told}")
    assert url_of(data) == URL


def test_a_module_is_imported_when_its_function_is_asked_for() -> None:
    before = sys.modules.pop("this_is_not", None)
    assert before is None
    name = "colorsys"
    kept = sys.modules.pop(name, None)
    try:
        back = plain.decode(message([0, 4], [URL, f"{name}:rgb_to_hls"]))
        assert back.callback is sys.modules[name].rgb_to_hls
    finally:
        if kept is not None:
            sys.modules[name] = kept


# ---- what is refused


class Further(Request, frozen=True, eq=False, kw_only=True):
    more: int = 0


class Words(str):
    __slots__ = ()


class OddZone(tzinfo):
    def utcoffset(self, when: object) -> None: ...

    def dst(self, when: object) -> None: ...

    def tzname(self, when: object) -> None: ...


class Casual:
    class Mood(Enum):
        GOOD = 1

    Mood.__qualname__ = "Casual.Temper"


cyclic: list[Any] = []
cyclic.append(cyclic)


REFUSED: list[tuple[Mapping[str, Any], str]] = [
    ({"meta": {"page": Response(URL)}}, "its meta['page'] is a Response; keep plain data: "),
    ({"meta": {"a": [1, {"b": (2, Response(URL))}]}}, "its meta['a'][1]['b'][1] is a Response; "),
    ({"meta": {"a": [{(1, object()): 1}]}}, "its meta['a'][0] key[1] is an object; "),
    ({"meta": {"tags": {1, frozenset({object()})}}}, "its meta['tags'] element element is an object; "),
    ({"meta": {5: parse}}, "its meta[5] is a function; "),
    ({"cb_kwargs": {"a": lambda: 1}}, "its cb_kwargs['a'] is a function; "),
    ({"cookies": {"a": object()}}, "its cookies['a'] is an object; "),
    ({"meta": {"a": defaultdict(int)}}, "its meta['a'] is a defaultdict; "),
    ({"meta": {"a": Unhashed()}}, "its meta['a'] is an Unhashed; "),
    ({"meta": {"a": Words("b")}}, "its meta['a'] is a Words; "),
    ({"meta": {"a": Request(URL)}}, "its meta['a'] is a Request; "),
    ({"meta": {"a": bytearray()}}, "its meta['a'] is a bytearray; "),
    ({"meta": {"a": datetime(2024, 1, 1, tzinfo=OddZone())}}, "its meta['a'] has an OddZone as its time zone; "),
    ({"meta": {"a": Casual.Mood.GOOD}}, "its meta['a'] is a Mood, an enum that cannot be found by its name; "),
    ({"meta": {"x" * 90: object()}}, f"its meta['{'x' * 56}...] is an object; "),
    ({"meta": {"a": cyclic}}, "its meta['a'][0][0][0]"),
    ({"meta": defaultdict(int, a=1)}, "its meta is a defaultdict, and no plain dict; "),
    ({"meta": None}, "its meta is None, and no dict; "),
    ({"cb_kwargs": [1]}, "its cb_kwargs is a list, and no dict; "),
    ({"cookies": "a=b"}, "its cookies is a str, and no dict; "),
    ({"headers": {"A": "b"}}, "its headers is a dict, and no Headers; write Headers({...})"),
    ({"slot": b"GET"}, "its slot is a bytes, and no text; "),
    ({"body": "text"}, "its body is a str, and no bytes; "),
    ({"priority": "3"}, "its priority is a str, and no number; "),
    ({"stream": "yes"}, "its stream is a str, and no number; "),
    ({"via": "http://x"}, "its via is a str, and no tuple; "),
    ({"via": (1,)}, "its via is an int, and no text; "),
    ({"statuses": 404}, 'its statuses is an int, and neither statuses nor "any"; give a tuple of numbers'),
    ({"statuses": "404"}, 'its statuses is a str, and neither statuses nor "any"; '),
    ({"priority": 2**64}, "its priority cannot be written (can't serialize ints"),
    ({"referrer": "\ud800"}, "its referrer cannot be written ('utf-8' codec"),
    ({"headers": Headers({"a": "\ud800"})}, "its headers cannot be written ('utf-8' codec"),
    ({"answer": Dropped(Request(URL), "known")}, "it is answered already; yield it without its answer"),
]


@pytest.mark.parametrize(
    ("fields", "told"),
    REFUSED,
)
def test_what_cannot_be_kept_is_told_with_its_place(fields: Mapping[str, Any], told: str) -> None:
    with pytest.raises(NotStorable) as caught:
        plain.encode(Request(URL, **fields))
    assert str(caught.value).startswith(f"a job cannot keep <GET {URL}>: {told}")
    assert "\n" not in str(caught.value)
    assert again(Request(URL)).url == URL, "it goes on with others"


def test_a_subclass_is_refused() -> None:
    with pytest.raises(NotStorable, match="it is a Further, a subclass; give what it adds in meta"):
        plain.encode(Further(URL, more=1))


def test_an_open_file_is_refused() -> None:
    with Path(__file__).open() as file, pytest.raises(NotStorable, match=r"its meta\['file'\] is a TextIOWrapper"):
        plain.encode(Request(URL, meta={"file": file}))


def test_credentials_and_long_urls_stay_out_of_errors() -> None:
    with pytest.raises(NotStorable) as caught:
        plain.encode(Request("http://me:secret@x.test/" + "a" * 500, meta={"a": object()}))
    assert "secret" not in str(caught.value)
    assert len(str(caught.value)) < 450


# ---- damage


WHOLE = plain.encode(Request(URL, depth=3, meta={"a": (1, "b")}, headers=Headers({"A": "b"}), via=("http://y.test/",)))


@settings(deadline=None)
@given(st.binary(max_size=200))
@example(b"")
@example(b"\x00" * 4)
@example(b"\xff" * 9)
def test_garbage_is_told_as_damage(data: bytes) -> None:
    for read in (plain.decode, url_of, untried):
        with pytest.raises(JobError, match="damaged"):
            read(data)


@settings(deadline=None)
@given(st.data())
def test_a_changed_message_is_told_as_damage(data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(WHOLE) - 1))
    changed = data.draw(
        st.sampled_from([WHOLE[:at], WHOLE[at + 1 :], WHOLE[:at] + bytes([WHOLE[at] ^ 1]) + WHOLE[at + 1 :], WHOLE * 2])
        | st.binary(max_size=4).map(lambda more: WHOLE[:at] + more + WHOLE[at:])
    )
    if changed == WHOLE:
        return
    with pytest.raises(JobError, match="damaged"):
        plain.decode(changed)


@settings(deadline=None)
@given(st.integers(0, len(WHOLE) - 5), st.binary(min_size=1, max_size=6), st.booleans())
def test_even_with_a_checksum_that_fits_nothing_else_is_raised(at: int, more: bytes, instead: bool) -> None:
    content = WHOLE[:-4]
    changed = sealed(content[:at] + more + content[at + (len(more) if instead else 0) :])
    for read in (plain.decode, url_of, untried):
        told = None
        try:
            read(changed)
        except (JobError, FlowError) as error:
            told = str(error)
        assert told is None or "a stored request" in told or "this job holds" in told


def test_a_name_in_garbage_imports_nothing() -> None:
    before = set(sys.modules)
    with pytest.raises(JobError, match="checksum"):
        plain.decode(message([0, 4], [URL, "antigravity:fly"])[:-1] + b"\x00")
    assert set(sys.modules) == before


MISUNDERSTOOD: list[tuple[bytes, str]] = [
    (message([0], [URL], version=3), "is of format 3, and this version of streamcrawl reads 2"),
    (message([0, 40, 63], [URL, 1, 2]), "has fields that this version of streamcrawl does not know: 40, 63"),
    (message([2], [3]), "is damaged: no URL"),
    (message([0, 2], [URL]), "is damaged: "),
    (message([0], [URL, 3]), "is damaged: "),
    (message([0], [3]), "is damaged: Expected `str`, got `int`"),
    (message([0, 4], [URL, "nothing"]), "is damaged: 'nothing' names no function"),
    (message([0, 5], [URL, [1]]), "is damaged: a list where there is none"),
    (message([0, 5], [URL, {"a": msgspec.msgpack.Ext(77, b"")}]), "is damaged: a value of kind 77, which"),
    (message([0, 5], [URL, {"a": msgspec.msgpack.Ext(10, b"no")}]), "is damaged: "),
    (message([0, 5], [URL, {"a": msgspec.msgpack.Ext(11, b"short")}]), "is damaged: "),
    (sealed(pack("<BI", 1, 0b100001) + b"\x92\xa1u" + b"\x91" * 5000), "is damaged: "),
    (sealed(pack("<BI", 1, 0b100001) + b"\x92\xa1u\xdd\xff\xff\xff\xff"), "is damaged: "),
]


@pytest.mark.parametrize(
    ("data", "told"),
    MISUNDERSTOOD,
)
def test_a_message_that_is_whole_and_not_understood(data: bytes, told: str) -> None:
    with pytest.raises(JobError) as caught:
        plain.decode(data)
    assert told in str(caught.value)


def test_values_that_the_flow_no_longer_has(monkeypatch: pytest.MonkeyPatch) -> None:
    module = flow("flow", "from enum import Enum\nclass Kind(Enum):\n    A = 1\n    B = 2", monkeypatch)
    data = plain.encode(Request(URL, meta={"kind": module.Kind.B}))
    assert plain.decode(data).meta["kind"] is module.Kind.B
    flow("flow", "from enum import Enum\nclass Kind(Enum):\n    A = 1", monkeypatch)
    with pytest.raises(FlowError, match=r"x\.test/a: this job holds requests with flow:Kind\(2\), which the flow no"):
        plain.decode(data)
    flow("flow", "Kind = 3", monkeypatch)
    with pytest.raises(FlowError, match="values of flow:Kind, which is no enum any more"):
        plain.decode(data)
    flow("flow", "", monkeypatch)
    with pytest.raises(FlowError, match="for flow:Kind, which the flow no longer has"):
        plain.decode(data)


def test_a_time_zone_that_is_not_known_here() -> None:
    clock = msgspec.msgpack.Ext(6, msgspec.msgpack.encode(["2024-01-02T00:00:00", 0, "Mars/Olympus"]))
    with pytest.raises(FlowError, match="this job holds times of the zone Mars/Olympus, which is not known here"):
        plain.decode(message([0, 5], [URL, {"a": clock}]))


# ---- without the flow


@settings(deadline=None)
@given(requests)
def test_untried_changes_two_fields_only(request: Request) -> None:
    assert untried(plain.encode(request)) == plain.encode(request.replace(attempt=0, not_before=0.0))


def test_a_message_is_read_for_lists_without_its_flow() -> None:
    data = message([0, 4, 9], [URL, "gone:gone", 3])
    assert url_of(data) == URL
    assert untried(data) == message([0, 4], [URL, "gone:gone"])


def test_uuid_and_decimal_are_not_made_text() -> None:
    back = again(Request(URL, meta={"id": UUID(int=5), "price": Decimal("1.50"), "day": date(2024, 2, 29)})).meta
    assert {name: type(value) for name, value in back.items()} == {"id": UUID, "price": Decimal, "day": date}
