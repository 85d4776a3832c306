"""Wrong arguments of operators: one clear error when they are built, with the value and what is meant."""

from __future__ import annotations

import asyncio
import inspect
import pickle
import re
from collections.abc import Callable, Iterable
from dataclasses import fields, replace
from decimal import Decimal
from functools import partial
from math import nan
from pathlib import Path
from typing import Any, cast

import pytest

import streamcrawl
from streamcrawl import Failed, Request, Wire
from streamcrawl import operators as ops
from streamcrawl.arguments import kind_of, meant, telling, unknown_in
from streamcrawl.backoff import backoff, worth_a_repeat
from streamcrawl.breaker import CircuitBreaker, RetryBudget
from streamcrawl.caching import MemoryStore, Replay, Rfc9111, dbm_store, fs_store, sqlite_store
from streamcrawl.cookies import CookieJar
from streamcrawl.core import ItemId
from streamcrawl.events import Notice
from streamcrawl.feeds.compression import Codec
from streamcrawl.feeds.format import FeedFormat
from streamcrawl.frontier.rates import rate_of
from streamcrawl.proxies import banned, rotation
from streamcrawl.streams.layer import layer
from streamcrawl.streams.local import LocalRun
from streamcrawl.streams.scrape_layer import scrape_layer
from streamcrawl.streams.starting import start_through
from streamcrawl.testing import recording, replaying
from streamcrawl.throttling import AutoThrottle, Pushback, Rate

OPS: Any = ops
TOP: Any = streamcrawl
"""As it is without a type checker."""


def same(elements: Any) -> Any:
    return elements


def has_title(item: Any) -> bool:
    return "title" in item


NEEDED: dict[str, tuple[Any, ...]] = {
    "at_most_once": (same,),
    "batch": (5,),
    "down": (same,),
    "feed": ("items.jsonl",),
    "files": ("store",),
    "http_auth": ("user",),
    "images": ("store",),
    "map_async": (str,),
    "offload": (str,),
    "on_item": (str,),
    "on_request": (str,),
    "on_response": (str,),
    "scrape": (str,),
    "sqlite": ("items.sqlite",),
    "strict": (same,),
    "timeout": (5,),
    "up": (same,),
    "user_agent": ("me",),
    "validate": (dict[str, int],),
    "zip_by": ("id", "a", "b"),
}
"""What is given by position where something has to be."""
UNCLEAR = re.compile(
    r"not supported between|has no attribute|object is not|unpack|must be str|expected str|invalid literal"
)


@pytest.mark.parametrize(
    ("name", "given", "ending"),
    [
        ("retry", {"time": 5}, "retry() got an unexpected keyword argument 'time'; did you mean 'times'?"),
        ("feed", {"overwrit": True}, "'overwrit'; did you mean mode='overwrite'?"),
        ("feed", {"field": ["a"]}, "'field'; did you mean 'fields'?"),
        ("redirect", {"xyz": 1}, "'xyz'; it takes times, priority, max_wait"),
        ("download_stats", {"xyz": 1}, "'xyz'; it takes no arguments"),
    ],
)
def test_a_misspelt_name(name: str, given: dict[str, Any], ending: str) -> None:
    with pytest.raises(TypeError) as told:
        getattr(OPS, name)(*NEEDED.get(name, ()), **given)
    assert str(told.value).endswith(ending)
    assert told.value.__cause__ is None


@pytest.mark.parametrize("name", sorted(set(ops.__all__) - {"default_layers"}))
def test_every_operator_says_what_was_meant(name: str) -> None:
    operator = getattr(ops, name)
    names = [
        each.name
        for each in inspect.signature(operator).parameters.values()
        if each.kind in (each.KEYWORD_ONLY, each.POSITIONAL_OR_KEYWORD) and len(each.name) > 3
    ]
    for each in names:
        with pytest.raises(TypeError, match=f"'{each}x'; did you mean '"):
            operator(*NEEDED.get(name, ()), **{f"{each}x": 1})


def test_a_layer_that_is_none_of_the_default_ones() -> None:
    with pytest.raises(ValueError, match="no default layer is called 'retri'"):
        OPS.default_layers(retri=None)


@pytest.mark.parametrize(
    ("call", "kind", "text"),
    [
        (
            lambda: OPS.retry(times="5"),
            TypeError,
            "retry(times='5'): a whole number is needed (Repeats after the first",
        ),
        (lambda: OPS.retry(times=True), TypeError, "retry(times=True): a whole number is needed"),
        (lambda: OPS.retry(times=2.5), TypeError, "retry(times=2.5): a whole number"),
        (lambda: OPS.retry(times=-1), ValueError, "retry(times=-1): 0 or more"),
        (lambda: OPS.retry(errors=[OSError]), TypeError, "a tuple of classes is needed"),
        (lambda: OPS.retry(statuses=["500"]), TypeError, "retry(statuses=['500']): a list of whole numbers is needed"),
        (lambda: OPS.retry(breaker=5), TypeError, "retry(breaker=5): a CircuitBreaker or None is needed"),
        (lambda: OPS.retry(wait=5), TypeError, "retry(wait=5): a function is needed"),
        (
            lambda: OPS.images("store", thumbs=(50, 50)),
            TypeError,
            "a dict of text to (a whole number, a whole number) or None is needed (Thumbnails by name: the (width, ",
        ),
        (lambda: OPS.images("store", convert_image="x"), TypeError, "a function or None"),
        (lambda: OPS.images(5), TypeError, "images(store=5): text, a path or a StoreMaker is needed"),
        (lambda: OPS.files("store", item_completed="done"), TypeError, "item_completed='done'): a function or None"),
        (lambda: OPS.feed(5), TypeError, "feed(uri=5): text or a path is needed"),
        (lambda: OPS.feed("x.jsonl", storage="s3"), TypeError, "feed(storage=<str>): a dict, a Storage or None"),
        (lambda: OPS.feed("x.jsonl", durable="no"), TypeError, "feed(durable='no'): True or False is needed"),
        (lambda: OPS.feed("x.jsonl", mode="replace"), ValueError, "mode='replace': one of overwrite, append"),
        (lambda: OPS.feed(), TypeError, "missing 1 required positional argument: 'uri'"),
        (lambda: OPS.cookies(same_site="no"), TypeError, "cookies(same_site='no'): True or False"),
        (lambda: OPS.cookies(write_every="5"), TypeError, "cookies(write_every='5'): a number is needed"),
        (lambda: OPS.download(fetch=5), TypeError, "download(fetch=5): "),
        (lambda: OPS.http_cache(store="dir"), TypeError, "http_cache(store='dir'): a CacheStore or None is needed"),
        (lambda: OPS.http_cache(policy=5), TypeError, "http_cache(policy=5): "),
        (lambda: OPS.referer(policies="origin"), TypeError, "referer(policies='origin'): a dict"),
        (lambda: OPS.referer(5), TypeError, "referer(policy=5): text or a function is needed"),
        (lambda: OPS.scope(5), TypeError, "scope(allowed=5): text, a Pattern or a function is needed"),
        (lambda: OPS.scope(deny=5), TypeError, "scope(deny=5): text, a Pattern, a function, or a list of "),
        (lambda: OPS.scope_links(deny=5), TypeError, "scope_links(deny=5): "),
        (lambda: OPS.meta_refresh(ignore_tags="nosc"), TypeError, "a list of text is needed, such as ['nosc']"),
        (lambda: OPS.timeout("5"), TypeError, "timeout(seconds='5'): a number is needed"),
        (lambda: OPS.timeout(float("nan")), ValueError, "timeout(nan): a finite number of seconds, more than 0"),
        (lambda: OPS.batch("5"), TypeError, "batch(count='5'): a whole number is needed"),
        (lambda: OPS.map_async(str, "5"), TypeError, "map_async(limit='5'): a whole number is needed"),
        (lambda: OPS.depth(limit=None), TypeError, "depth(limit=None): a whole number is needed"),
        (lambda: OPS.user_agent(5), TypeError, "user_agent(value=5): text is needed"),
        (lambda: OPS.default_headers([("A", "b")]), TypeError, "default_headers(headers=<list>): a dict"),
        (lambda: OPS.sqlite("x.db", durable=None), TypeError, "sqlite(durable=None): True or False"),
        (lambda: OPS.proxy(5), TypeError, "proxy(via=5): "),
        (lambda: OPS.throttle(rates=5), TypeError, "throttle(rates=5): an Observable, or a function of the run"),
    ],
)
def test_a_wrong_value(call: Callable[[], Any], kind: type[Exception], text: str) -> None:
    with pytest.raises(kind) as told:
        call()
    assert text in str(told.value)


WRONG = ("5", True, 5, None, float("nan"), b"x", object(), {5: 5}, [object()], -1)


@pytest.mark.parametrize("name", ops.__all__)
def test_no_wrong_value_ends_in_a_riddle(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    operator, needed = getattr(ops, name), NEEDED.get(name, ())
    told: list[str] = []
    for n, each in enumerate(inspect.signature(operator).parameters.values()):
        for value in WRONG:
            try:
                if each.kind is each.VAR_POSITIONAL or n < len(needed):
                    operator(*needed[:n], value, *needed[n + 1 :])
                else:
                    operator(*needed, **{each.name: value})
            except (TypeError, ValueError) as error:
                told.append(f"{name}({each.name}={value!r}): {error}")
    assert not [line for line in told if UNCLEAR.search(line)]
    assert told or not inspect.signature(operator).parameters


def test_no_secret_is_shown() -> None:
    calls: list[Callable[[], Any]] = [
        lambda: OPS.http_auth("me", b"hunter2", domain="a.test"),
        lambda: OPS.feed("x.jsonl", storage=["hunter2"]),
        lambda: OPS.proxy(["http://me:hunter2@a.test:1", 5]),
        lambda: OPS.timeout(f"http://me:hunter2{'x' * 100}@a.test:1"),  # cut before the "@"
    ]
    for call in calls:
        with pytest.raises((TypeError, ValueError)) as told:
            call()
        assert "hunter2" not in str(told.value)


def test_an_operator_is_still_itself() -> None:
    for name in ops.__all__:
        operator = getattr(ops, name)
        assert pickle.loads(pickle.dumps(operator)) is operator
        assert (operator.__name__, operator.__module__) == (name, f"streamcrawl.operators.{name}")
    assert list(inspect.signature(ops.redirect).parameters) == ["times", "priority", "max_wait"]
    assert (ops.retry.__doc__ or "").startswith("Send a failed request again")
    assert "def retry(" in inspect.getsource(ops.retry)


def test_numbers_of_other_libraries_are_numbers() -> None:
    class Whole:
        def __index__(self) -> int:
            return 3

    class Number:
        def __float__(self) -> float:
            return 0.5

    whole, number = kind_of(int), kind_of(float)
    assert whole is not None
    assert number is not None
    assert whole.fits(Whole())
    assert number.fits(Number())
    assert not whole.fits(int)
    assert not number.fits("0.5")
    assert not number.fits(float("nan"))


class Truth:
    """As numpy's: neither a bool nor an int."""

    def __bool__(self) -> bool:
        return True


Truth.__name__ = "bool_"


class Array:
    """As numpy's, of several numbers: it has the methods of a number, and no truth."""

    def __index__(self) -> int:
        raise TypeError("only integer scalar arrays can be converted to a scalar index")

    def __float__(self) -> float:
        raise TypeError("only length-1 arrays can be converted to Python scalars")

    def __eq__(self, other: object) -> Any:
        return self

    def __bool__(self) -> bool:
        raise ValueError("The truth value of an array is ambiguous")

    def __repr__(self) -> str:
        return "array([1, 2])"

    __hash__ = object.__hash__


def test_a_truth_of_another_library_is_one() -> None:
    assert ops.cookies(same_site=cast("Any", Truth())) is not None


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: OPS.depth(limit=Array()), "depth(limit=array([1, 2])): a whole number is needed"),
        (lambda: OPS.timeout(Array()), "timeout(seconds=array([1, 2])): a number is needed"),
        (lambda: OPS.depth(verbose=Array()), "depth(verbose=array([1, 2])): True or False is needed"),
        (lambda: OPS.timeout(Decimal("sNaN")), "timeout(seconds=Decimal('sNaN')): a number is needed"),
    ],
)
def test_an_array_is_told_like_any_wrong_value(call: Callable[[], Any], text: str) -> None:
    with pytest.raises((TypeError, ValueError)) as told:
        call()
    assert str(told.value).startswith(text)


def test_a_value_that_cannot_be_shown() -> None:
    class Broken:
        def __repr__(self) -> str:
            raise RuntimeError("not ready")

    with pytest.raises(TypeError, match=r"depth\(limit=<.*Broken.*>\): a whole number is needed"):
        OPS.depth(limit=Broken())
    with pytest.raises(TypeError, match=r"depth\(limit=<list.*>\): a whole number is needed"):
        OPS.depth(limit=[Broken()])


def test_what_may_be_this_or_none_or_be_left_out() -> None:
    with pytest.raises(TypeError, match="a dict of text to text or None, a Headers, or None is needed"):
        OPS.default_headers(5)


def test_what_cannot_be_told_is_let_through() -> None:
    assert kind_of(Any) is None
    assert kind_of(int | Any) is None
    several = kind_of(list[Any])
    assert several is not None
    assert several.fits([object()])
    assert not several.fits("abc")


def test_a_generator_is_not_used_up() -> None:
    def operator(names: Iterable[str]) -> list[str]:
        return list(names)

    assert telling(operator)(str(n) for n in range(3)) == ["0", "1", "2"]
    with pytest.raises(TypeError, match=r"operator\(names='abc'\): a list of text is needed, such as \['abc'\]"):
        telling(operator)("abc")


def test_names_that_a_function_does_not_take() -> None:
    def takes(url: str, /, depth: int = 1, *, mode: str = "") -> None: ...
    def takes_all(**arguments: str) -> None: ...

    assert unknown_in(takes, {"depth": 1, "url": 2, "more": 3}) == "url"
    assert unknown_in(takes, {"mode": 1}) == ""
    assert unknown_in(takes_all, {"mode": 1}) == ""
    assert meant(takes, "dept") == "did you mean 'depth'?"
    assert meant(takes, "x") == "it takes depth, mode"


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (
            lambda: TOP.Crawl("http://a.test", concurency=5),
            "Crawl() got an unexpected keyword argument 'concurency'; did you mean 'concurrency'?",
        ),
        (
            lambda: TOP.Crawl("http://a.test", limit_pages=2.5),
            "Crawl(limit_pages=2.5): a whole number or None is needed",
        ),
        (lambda: TOP.Crawl("http://a.test", scope=5), "Crawl(scope=5): text, a list of text or a function is needed"),
        (lambda: TOP.Crawl("http://a.test", concurrency="5"), "concurrency is '5'; it must be a number"),
        (
            lambda: TOP.LinkExtractor(alow="x"),
            "LinkExtractor() got an unexpected keyword argument 'alow'; did you mean",
        ),
        (lambda: TOP.LinkExtractor(allow=5), "LinkExtractor(allow=5): text, a Pattern, a list of "),
        (
            lambda: TOP.Rule(TOP.LinkExtractor(), calback="x"),
            "Rule() got an unexpected keyword argument 'calback'; did",
        ),
        (lambda: TOP.Rule(callback=5), "Rule(callback=5): a function, text or None is needed"),
    ],
)
def test_classes_tell_it_too(call: Callable[[], Any], text: str) -> None:
    with pytest.raises(TypeError) as told:
        call()
    assert str(told.value).startswith(text)


def untyped(cls: Any) -> Any:
    """As it is without a type checker."""
    return cls


@pytest.mark.parametrize(
    ("build", "given", "said"),
    [
        (CircuitBreaker, {"rest": 3}, "CircuitBreaker(rest=3): a function is needed (Seconds of rest n in a row"),
        (CircuitBreaker, {"on": 3}, "CircuitBreaker(on=3): a function is needed"),
        (CircuitBreaker, {"failures": nan}, "CircuitBreaker(failures=nan): a whole number is needed"),
        (RetryBudget, {"ratio": "1"}, "RetryBudget(ratio='1'): a number is needed"),
        (RetryBudget, {"reserv": 1}, "RetryBudget() got an unexpected keyword argument 'reserv'; did you mean 'res"),
        (Pushback, {"errors": ["x"]}, "Pushback(errors=…): 'x' is no class of exceptions"),
        (Pushback, {"errors": (int,)}, "Pushback(errors=…): <class 'int'> is no class of exceptions"),
        (Pushback, {"errors": OSError}, "Pushback(errors=<class 'OSError'>): a tuple of classes is needed"),
        (Pushback, {"errors": [OSError]}, "Pushback(errors=[<class 'OSError'>]): a tuple of classes is needed"),
        (Pushback, {"statuses": 429}, "Pushback(statuses=429): a list of whole numbers is needed"),
        (Pushback, {"statuses": ["429"]}, "Pushback(statuses=['429']): a list of whole numbers is needed"),
        (Pushback, {"recovery": nan}, "Pushback(recovery=nan): a whole number is needed"),
        (AutoThrottle, {"target": "x"}, "AutoThrottle(target='x'): a number is needed"),
        (Rate, {"concurrency": 1.5}, "Rate(concurrency=1.5): a whole number or None is needed"),
        (Rate, {"delay": "1"}, "Rate(delay='1'): a number or None is needed"),
        (Rate, {"dely": 1}, "Rate() got an unexpected keyword argument 'dely'; did you mean 'delay'?"),
        (partial(backoff, 1.0), {"ceiling": 5.0, "factor": nan}, "backoff(factor=nan): a number is needed"),
        (backoff, {"first": "1", "ceiling": 5.0}, "backoff(first='1'): a number is needed"),
        (worth_a_repeat, {"statuses": 500}, "worth_a_repeat(statuses=500): a list of whole numbers is needed"),
        (rotation, {"urls": ["http://a.test:1"], "rest": 5}, "rotation(rest=5): a function is needed"),
        (partial(banned, 403), {"body": 5}, "banned(body=5): text, bytes or None is needed"),
        (sqlite_store, {"path": 5}, "sqlite_store(path=5): text or a path is needed"),
        (sqlite_store, {"max_size": nan}, "sqlite_store(max_size=nan): a whole number or None is needed"),
        (fs_store, {"uri": "x", "options": 5}, "fs_store(options=5): a dict or None is needed"),
        (dbm_store, {"path": 5}, "dbm_store(path=5): text or a path is needed"),
        (MemoryStore, {"max_size": nan}, "MemoryStore(max_size=nan): a whole number is needed"),
        (Rfc9111, {"ignore_directives": [1]}, "Rfc9111(ignore_directives=[1]): a list of text is needed"),
        (Rfc9111, {"stale_if_error": None}, "Rfc9111(stale_if_error=None): a number is needed"),
        (CookieJar, {"total": "5"}, "CookieJar(total='5'): a whole number is needed"),
        (Wire, {"timeout": "5"}, "Wire(timeout='5'): a number is needed"),
        (Wire, {"http2": "no"}, "Wire(http2='no'): True or False is needed"),
        (FeedFormat, {"name": "x", "extensions": ".x", "make": len}, "FeedFormat(name='x', extensions='.x'): te"),
        (FeedFormat, {"name": "x", "extensions": (".x",), "make": 5}, "FeedFormat(make=5): a function is needed"),
        (
            partial(untyped(Codec), "x", (".x",), str, None),
            {"levels": 5},
            "Codec(levels=5): (a whole number, a whole number) is",
        ),
        (recording, {"path": 5}, "recording(path=5): text or a path is needed"),
        (replaying, {"path": "x", "latency": nan}, "replaying(latency=nan): a number or 'recorded' is needed"),
        (partial(layer, "mine"), {"make": 5}, "layer(make=5): a function is needed"),
        (partial(scrape_layer, "mine"), {"make": 5}, "scrape_layer(make=5): a function is needed"),
        (start_through, {"source": 5}, "start_through(source=5): text, a Request, a list, an AsyncIterable or an Obs"),
    ],
)
def test_what_is_given_to_operators_tells_it_too(build: Any, given: dict[str, Any], said: str) -> None:
    with pytest.raises((TypeError, ValueError)) as told:
        build(**given)
    assert str(told.value).startswith(said)
    assert told.value.__cause__ is None


def test_a_class_in_the_place_of_its_object() -> None:
    with pytest.raises(TypeError) as told:
        OPS.http_cache(policy=Replay)
    assert ": a CachePolicy or None is needed, and no class: write Replay(…)" in str(told.value)
    with pytest.raises(TypeError, match=r"a CacheStore or None is needed, and no class: write MemoryStore\(…\)"):
        OPS.http_cache(store=MemoryStore)
    with pytest.raises(TypeError, match=r"a Pushback or None is needed, and no class: write Pushback\(…\)"):
        OPS.throttle(pushback=Pushback)


class Opened:
    """A store whose class can do what an object of it can."""

    @classmethod
    def open(cls, run: Any) -> Any: ...


def test_a_class_that_does_what_an_object_does() -> None:
    assert untyped(ops.http_cache)(store=Opened) is not None


def test_what_is_looked_at_twice_is_no_generator() -> None:
    with pytest.raises(TypeError, match=r"retry\(statuses=<generator .*: a list of whole numbers is needed"):
        OPS.retry(statuses=(status for status in (500, 502)))
    assert ops.retry(statuses=range(500, 505)) is not None


@pytest.mark.parametrize(
    "made",
    [Rate(delay=1.0), Pushback(first=0.5), AutoThrottle(), RetryBudget(2.0), MemoryStore(5), Wire(timeout=5.0)],
    ids=lambda made: type(made).__name__,
)
def test_an_object_is_still_itself(made: Any) -> None:
    assert pickle.loads(pickle.dumps(made)) == made
    assert replace(made) == made
    assert eval(repr(made), {type(made).__name__: type(made), "frozenset": frozenset}) == made
    assert [*inspect.signature(untyped(type(made))).parameters] == [each.name for each in fields(made)]


def test_a_rate_of_numbers_that_are_known() -> None:
    assert rate_of(2, 1.5, None) == Rate(2, 1.5)
    with pytest.raises(ValueError, match=r"delay is -1\.0"):
        rate_of(None, -1.0, None)


def test_a_call_is_taken_apart_as_python_does() -> None:
    @telling
    def takes(a: int, b: str = "", *, c: float = 0.0) -> tuple[int, str, float]:
        return a, b, c

    call = untyped(takes)
    assert call(1, "x", c=2) == (1, "x", 2)
    assert call(b="y", a=3) == (3, "y", 0.0)
    for args, given, said in (
        ((1,), {"a": 2}, "multiple values for argument 'a'"),
        ((), {"c": "x"}, "missing 1 required positional argument: 'a'"),
        ((1, "x", 2.0), {}, "takes from 1 to 2 positional arguments but 3 were given"),
        ((1,), {"cc": 2}, "unexpected keyword argument 'cc'"),
        (("1",), {}, "takes(a='1'): a whole number is needed"),
    ):
        with pytest.raises(TypeError, match=re.escape(said)):
            call(*args, **given)


def test_a_class_is_still_itself() -> None:
    assert list(inspect.signature(streamcrawl.Rule).parameters)[:2] == ["link_extractor", "callback"]
    assert repr(streamcrawl.LinkExtractor(allow="x")) == "LinkExtractor(allow='x')"
    assert isinstance(streamcrawl.Rule, type)


def test_a_request_that_is_set() -> None:
    request: Any = Request("http://a.test/")
    for name, value, text in (
        ("priority", 4, "a Request does not change: request.replace(priority=4)"),
        ("priorty", 4, "Request has no field 'priorty'; did you mean 'priority'?"),
        ("cookies", {"a": "secret"}, "request.replace(cookies=…)"),
        ("url", "http://me:secret@a.test/", "request.replace(url='http://***@a.test/')"),
    ):
        with pytest.raises(AttributeError) as told:
            setattr(request, name, value)
        assert text in str(told.value)
        assert "secret" not in str(told.value)
    assert (request.priority, request.replace(priority=4).priority) == (0, 4)


def test_a_failure_of_twisted() -> None:
    failed: Any = Failed(Request("http://a.test/"), OSError("gone"))
    for name, there in (("value", "failure.error"), ("check", "isinstance(failure.error, …)")):
        with pytest.raises(AttributeError, match=f"no attribute '{name}'; there is {re.escape(there)}$"):
            getattr(failed, name)
    with pytest.raises(AttributeError, match=r"'Failed' object has no attribute 'foo'$"):
        _ = failed.foo
    assert getattr(failed, "value", None) is None
    assert str(pickle.loads(pickle.dumps(failed)).error) == "gone"


ID: ItemId = (0, 0, 0)


def told_by(feed: Any, *items: Any) -> list[str]:
    told: list[str] = []

    async def main() -> None:
        run = LocalRun(asyncio.get_running_loop())
        run.events.on(Notice, lambda notice: told.append(notice.text))
        opened = feed.open(run)
        for item in items:
            opened.accept(item, ID)
        await opened.close()

    asyncio.run(main())
    return told


@pytest.mark.parametrize("file", ["items.jsonl", "items.csv"])
def test_a_field_that_no_item_has(file: str, tmp_path: Path) -> None:
    path = tmp_path / file
    items = {"title": "a", "price": 1}, {"title": "b"}
    said = f"feed {path}: fields=…: no item of this run had a field"
    assert told_by(ops.feed(path, fields=["titel", "price"]), *items) == [f"{said} 'titel'; did you mean 'title'?"]
    assert told_by(ops.feed(path, fields={"qqq": "title"}), *items) == [f"{said} 'qqq'; items had price, title"]


def test_a_column_that_no_item_has(tmp_path: Path) -> None:
    path = tmp_path / "items.sqlite"
    items = {"title": "a", "price": 1}, {"price": 2}
    told = told_by(ops.feed(path, fields=["titel", "price"]), *items)
    assert told == [f"feed {path}: fields=…: no item of this run had a field 'titel'; did you mean 'title'?"]


def test_fields_that_items_have(tmp_path: Path) -> None:
    path = tmp_path / "items.jsonl"
    items = {"title": "a"}, {"price": 1}
    assert told_by(ops.feed(path, fields=["title", "price"]), *items) == []
    assert told_by(ops.feed(path, fields=["title", "price"]), list(items)) == []
    assert told_by(ops.feed(path, fields=["titel"])) == []
    assert told_by(ops.feed(path), *items) == []
    assert told_by(ops.feed(path, fields=["price"], item_filter=has_title), *items) == [
        f"feed {path}: fields=…: no item of this run had a field 'price'; items had title"
    ]
