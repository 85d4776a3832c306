"""Contracts: what a docstring says of a callback is tried, and each line told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from streamcrawl import Crawl, Headers, Request, Response, fetch
from streamcrawl import operators as ops
from streamcrawl.errors import ConnectError, FlowError
from streamcrawl.mistakes import shown_path
from streamcrawl.spiders import Spider
from streamcrawl.testing import FakeFetch, page, run_virtual
from streamcrawl.testing.cassette import recording, replaying
from streamcrawl.testing.contracts import CONTRACTS, URL, Contract, ContractFailed, by_name, examples
from streamcrawl.testing.contracts_check import Checked, callbacks_with_contracts, check_contracts

HOME = "https://shop.example/"
SITE: dict[str, Any] = {
    "/": page("<h1>Home</h1>", links=["/1", "/2"]),
    "/gone": page(status=404),
    "/broken": ConnectError("cannot connect"),
    "/robots.txt": page("User-agent: *\nDisallow: /private", headers={"Content-Type": "text/plain"}),
}


def check(*targets: Any, site: Any = None, **options: Any) -> list[Checked]:
    fake: Any = site if callable(site) or hasattr(site, "open") else FakeFetch(SITE if site is None else site)
    crawl: Any = targets[0] if isinstance(targets[0], type | Crawl) else None  # pyright: ignore[reportUnknownVariableType]
    functions = targets if crawl is None else targets[1:]
    return run_virtual(check_contracts(crawl, *functions, fetch=fake, **options))


def callback(docstring: str, result: Any = None) -> Callable[..., Any]:
    """A callback with this docstring, that gives this, or calls it with its arguments."""

    def parse(response: Response, **kwargs: Any) -> Any:
        return result(response, **kwargs) if callable(result) else result

    parse.__doc__ = docstring
    return parse


def verdicts(checked: list[Checked]) -> list[str]:
    return [each.verdict for each in checked]


def reason(*lines: str, result: Any = None, site: Any = None, **options: Any) -> str:
    """Why the last line of a docstring that begins with the home page does not hold; "" if it does."""
    docstring = "\n".join((f"@url {HOME}", *lines))
    last = check(callback(docstring, result), site=site, **options)[-1]
    assert (last.verdict == "failed") == bool(last.reason), last
    return last.reason


ITEMS: list[Any] = [{"a": 1}, {"a": 2, "b": 3}]
LINKS = [Request(f"{HOME}1"), Request(f"{HOME}2")]


# -- reading docstrings -----------------------------------------------------------------------------------------------


def read(docstring: str | None) -> list[tuple[str, list[str]]]:
    return [(each.url, [line.text for line in each.lines]) for each in examples("parse", docstring, by_name())]


@pytest.mark.parametrize(
    ("docstring", "found"),
    [
        (None, []),
        ("", []),
        ("No contracts. Write to me@example.com", []),
        ("@returns items 1\n@scrapes a", []),
        (f"@url {HOME}", [(HOME, [f"@url {HOME}"])]),
        (
            f"Words.\n\n    More words.\n\n    @url  {HOME}  \n    @returns items 1 16\n\n    @scrapes a b\n    ",
            [(HOME, [f"@url {HOME}", "@returns items 1 16", "@scrapes a b"])],
        ),
        (f"@returns items\n@url {HOME}", [(HOME, [f"@url {HOME}", "@returns items"])]),
        (
            f"@scrapes a\n@url {HOME}\n@returns items 0 0\n@url {HOME}2\n@returns items 5",
            [
                (HOME, [f"@url {HOME}", "@scrapes a", "@returns items 0 0"]),
                (f"{HOME}2", [f"@url {HOME}2", "@scrapes a", "@returns items 5"]),
            ],
        ),
        (f"@url {HOME}\n@param response: the page\n@author somebody\n@raise ValueError", [(HOME, [f"@url {HOME}"])]),
        (f'@url {HOME}\n@cb_kwargs {{"a": "b  c"}}', [(HOME, [f"@url {HOME}", '@cb_kwargs {"a": "b  c"}'])]),
    ],
)
def test_what_is_read_in_a_docstring(docstring: str | None, found: list[Any]) -> None:
    assert read(docstring) == found


def test_a_slip_of_the_pen_is_told_and_the_others_are_checked() -> None:
    checked = check(callback(f"@url {HOME}\n@retuns items 2\n@scrapes a", ITEMS))
    assert verdicts(checked) == ["ok", "failed", "ok"]
    assert checked[1].reason == "there is no contract @retuns; did you mean @returns?"


# -- the project's own contracts --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "result", "why"),
    [
        ("@returns items", ITEMS, ""),
        ("@returns item", [], "it gave 0 items, and not 1 or more"),
        ("@returns items 2", ITEMS, ""),
        ("@returns items 3", ITEMS, "it gave 2 items, and not 3 or more"),
        ("@returns items 2 2", ITEMS, ""),
        ("@returns items 0 1", ITEMS, "it gave 2 items, and not 0 to 1"),
        ("@returns items 1 1", ITEMS, "it gave 2 items, and not 1"),
        ("@returns requests 0 0", ITEMS, ""),
        ("@returns requests 2 2", [*ITEMS, *LINKS], ""),
        ("@returns request 0 0", LINKS[:1], "it gave 1 request, and not 0"),
        ("@returns pages 1", ITEMS, "it takes items or requests, then how many at least and at most"),
        ("@returns", ITEMS, "it takes items or requests"),
        ("@returns items one", ITEMS, "it takes items or requests"),
        ("@returns items 1 2 3", ITEMS, "it takes items or requests"),
        ("@returns items 3 2", ITEMS, "at least 3 and at most 2: that cannot be"),
        ("@scrapes a", ITEMS, ""),
        ("@scrapes a, b", ITEMS, "item 1 has no b: {'a': 1}"),
        ("@scrapes b c", ITEMS[1:], "item 1 has no c: {'a': 2, 'b': 3}"),
        ("@scrapes a", LINKS, ""),
        ("@scrapes", ITEMS, "it takes names of fields"),
    ],
)
def test_returns_and_scrapes(line: str, result: Any, why: str) -> None:
    found = reason(line, result=result)
    assert found.startswith(why)
    assert bool(found) == bool(why)


@dataclass
class Product:
    name: str
    price: float = 0.0


def test_items_of_any_class_have_fields() -> None:
    assert reason("@scrapes name price", result=Product("a")) == ""
    assert reason("@scrapes name colour", result=Product("a")) == "item 1 has no colour: Product(name='a', price=0.0)"


async def echo(request: Request) -> Response:
    sent = f"{request.method} {request.body.decode()} {request.headers.get('accept-language')}"
    cookie = request.headers.get("cookie", "")
    return Response(request.url, 200, Headers({"Content-Type": "text/plain"}), f"{sent} {cookie}".encode())


@pytest.mark.parametrize(
    ("lines", "came"),
    [
        (["@method post", "@body a=1&b=two  words"], "POST a=1&b=two  words None "),
        (["@header Accept-Language de, en;q=0.5"], "GET  de, en;q=0.5 "),
        (["@header Accept-Language: fr"], "GET  fr "),
        (["@cookie session abc=1", "@cookie b=2"], "GET  None session=abc=1; b=2"),
    ],
)
def test_the_request_is_as_the_contracts_say(lines: list[str], came: str) -> None:
    seen: list[str] = []

    def parse(page: Response) -> None:
        seen.append(page.text)

    docstring = "\n".join((f"@url {HOME}", *lines))
    layers = ops.default_layers(robots_txt=None, default_headers=None)
    crawl = Crawl(HOME).pipe(ops.download(*layers), ops.scrape(callback(docstring, parse)))
    assert set(verdicts(check(crawl, site=echo))) == {"ok"}
    assert seen == [came]


def test_cb_kwargs_and_meta() -> None:
    def parse(response: Response, number: int, word: str = "") -> dict[str, Any]:
        return {"number": number, "word": word, "meta": response.meta}

    given: list[Any] = []
    parse.__doc__ = f'@url {HOME}\n@cb_kwargs {{"number": 3, "word": "a  b"}}\n@meta {{"page": 2}}\n@see'
    see = Contract("see", after=lambda outputs, argument: given.extend(outputs))
    assert set(verdicts(check(parse, contracts=[see]))) == {"ok"}
    assert given == [{"number": 3, "word": "a  b", "meta": {"page": 2}}]


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("@url", "it takes one URL"),
        ("@url https://a/ https://b/", "it takes one URL"),
        ("@url shop.example", "invalid URL 'shop.example': it is relative; a URL starts with a scheme"),
        ("@cb_kwargs {a: 1}", 'it takes a JSON object, such as {"page": 2}: '),
        ("@cb_kwargs", 'it takes a JSON object, such as {"page": 2}: '),
        ("@meta [1]", 'it takes a JSON object, such as {"page": 2}'),
        ("@method GET it", "it takes an HTTP method, such as POST"),
        ("@header Accept", "it takes a name and a value"),
        ("@cookie", "it takes a name and a value"),
    ],
)
def test_a_contract_that_makes_no_sense_fails_and_nothing_is_fetched(line: str, why: str) -> None:
    def no_fetch(request: Request) -> Any:
        raise AssertionError("it was fetched")

    url = () if line.startswith("@url") else (f"@url {HOME}",)
    checked = check(callback("\n".join((*url, line, "@returns items"))), site=no_fetch)
    (wrong,) = (each for each in checked if each.verdict == "failed")
    assert wrong.line == line
    assert wrong.reason.startswith(why)
    assert verdicts(checked).count("not run") == len(checked) - 1


# -- callbacks of every kind ------------------------------------------------------------------------------------------


def gives_one(response: Response) -> Any:
    return {"a": 1}


def gives_list(response: Response) -> Any:
    return [{"a": 1}, None, Request(f"{HOME}1")]


def generates(response: Response) -> Iterator[Any]:
    yield {"a": 1}
    yield None
    yield Request(f"{HOME}1")


async def awaited(response: Response) -> Any:
    return [{"a": 1}]


async def awaited_generator(response: Response) -> Any:
    return generates(response)


async def generates_later(response: Response) -> AsyncIterator[Any]:
    other = await fetch(f"{HOME}more")
    yield {"a": other.status}


@pytest.mark.parametrize(
    "parse",
    [gives_one, gives_list, generates, awaited, awaited_generator, generates_later],
    ids=lambda each: each.__name__,
)
def test_callbacks_of_every_kind(parse: Callable[..., Any]) -> None:
    site = {**SITE, "/more": "more"}
    docstring = f"@url {HOME}\n@returns items 1 1\n@scrapes a"
    assert verdicts(check(callback(docstring, parse), site=site)) == ["ok", "ok", "ok"]


def test_a_callback_that_gives_nothing_gives_nothing() -> None:
    assert verdicts(check(callback(f"@url {HOME}\n@returns items 0 0\n@returns requests 0 0"))) == ["ok"] * 3


def gives_number(response: Response) -> int:
    return 3


def gives_text(response: Response) -> list[str]:
    return ["text"]


def takes_nothing() -> None:
    """It cannot be called."""


def raises(response: Response) -> Iterator[Any]:
    yield {"a": 1}
    raise KeyError("price")


def raises_a_value_error(response: Response) -> None:
    raise ValueError("no price")


async def is_cancelled(response: Response) -> None:
    raise asyncio.CancelledError


def never_ends(response: Response) -> Iterator[Any]:
    while True:
        yield {"a": 1}


@pytest.mark.parametrize(
    ("parse", "why"),
    [
        (raises_a_value_error, "the callback raised ValueError: no price ("),
        (is_cancelled, "what it awaited was cancelled"),
        (never_ends, "the callback gave more than 100000 outputs"),
        (raises, "the callback raised KeyError: 'price' ({file}:"),
        (gives_number, "the callback gave 3, which is neither an item nor a Request"),
        (gives_text, "the callback gave 'text', which is neither an item nor a Request"),
        (takes_nothing, "the callback raised TypeError: "),
    ],
)
def test_a_callback_that_fails(parse: Any, why: str) -> None:
    first, second = check(callback(f"@url {HOME}\n@returns items 0", parse))
    assert first.verdict == "failed"
    assert first.reason.startswith(why.format(file=shown_path(__file__)))
    assert second.verdict == "not run"


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("gone", "HTTP status 404 from https://shop.example/gone"),
        ("broken", "cannot connect"),
        ("private/x", "dropped: robots.txt"),
    ],
)
def test_a_page_that_does_not_come(path: str, why: str) -> None:
    first, second = check(callback(f"@url {HOME}{path}\n@returns items 0"))
    assert (first.verdict, first.reason, second.verdict) == ("failed", why, "not run")


def test_pages_are_tried_several_times_and_links_are_not_followed() -> None:
    def parse(page: Response) -> list[Request]:
        return page.follow_all(css="a")

    fake = FakeFetch(SITE)
    one = callback(f"@url {HOME}\n@returns requests 2\n@url {HOME}\n@returns requests 9", parse)
    assert verdicts(check(one, site=fake)) == ["ok", "ok", "ok", "failed"]
    assert fake.hits == {HOME: 2, f"{HOME}robots.txt": 1}


# -- spiders, crawls --------------------------------------------------------------------------------------------------


class Shop(Spider):
    name = "shop"

    def __init__(self, currency: str = "EUR", **arguments: Any) -> None:
        super().__init__(start_urls=["https://never.example/"], **arguments)
        self.currency = currency

    def parse(self, response: Any, /, *args: Any, **kwargs: Any) -> Any:
        """The links.

        @url https://shop.example/
        @returns requests 2 2
        """
        yield from response.follow_all(css="a", callback=self.product)

    async def product(self, response: Response) -> AsyncIterator[Any]:
        """@url https://shop.example/1
        @scrapes name currency
        """
        yield {"name": response.css("h1::text").get(), "currency": self.currency}

    def without(self, response: Response) -> None:
        """No contracts."""


class Sale(Shop):
    name = "sale"

    def parse(self, response: Any, /, *args: Any, **kwargs: Any) -> Any:
        return None


PRODUCTS = {**SITE, "/1": "<h1>One</h1>"}


def test_the_methods_of_a_spider() -> None:
    checked = check(Shop, site=PRODUCTS)
    assert [(each.callback, each.line) for each in checked] == [
        ("Shop.parse", "@url https://shop.example/"),
        ("Shop.parse", "@returns requests 2 2"),
        ("Shop.product", "@url https://shop.example/1"),
        ("Shop.product", "@scrapes name currency"),
    ]
    assert set(verdicts(checked)) == {"ok"}


def test_a_spider_has_its_arguments_and_its_bases_methods() -> None:
    seen: list[Any] = []
    see = Contract("scrapes", after=lambda outputs, argument: seen.extend(outputs))
    checked = check(Sale, site=PRODUCTS, contracts=[see], currency="USD")
    assert {each.callback for each in checked} == {"Sale.product"}
    assert seen == [{"name": "One", "currency": "USD"}]


def test_one_callback_only() -> None:
    assert {each.callback for each in check(Shop, site=PRODUCTS, only="Shop.product".__eq__)} == {"Shop.product"}
    assert check(Shop, site=PRODUCTS, only="nothing".__eq__) == []


def test_a_spider_that_cannot_be_made() -> None:
    with pytest.raises(FlowError, match="Shop"):
        check(Shop, nonsense=3, parse=4)


def test_a_crawls_own_layers_hold_and_its_sinks_are_left_alone(tmp_path: Path) -> None:
    def parse(response: Response) -> dict[str, str]:
        """@url https://shop.example/
        @returns items 1
        """
        return {"a": "b"}

    layers = ops.default_layers(user_agent=ops.user_agent("tester"))
    crawl = Crawl("https://never.example/", job=tmp_path / "job", limit_pages=1).pipe(
        ops.download(*layers), ops.scrape(parse), ops.feed(tmp_path / "items.jsonl")
    )
    fake = FakeFetch(SITE)
    assert verdicts(check(crawl, site=fake)) == ["ok", "ok"]
    assert {request.headers["user-agent"] for _, request in fake.log} == {"tester"}
    assert list(tmp_path.iterdir()) == []


def test_methods_of_an_object_whose_method_is_the_callback() -> None:
    class Parser:
        def parse(self, response: Response) -> Any:
            """@url https://shop.example/"""

        def other(self, response: Response) -> Any:
            """@url https://shop.example/1"""

    crawl = Crawl(HOME).pipe(ops.download(), ops.scrape(Parser().parse))
    assert [each.callback for each in check(crawl, site=PRODUCTS)] == ["Parser.parse", "Parser.other"]


def test_which_callbacks_have_contracts() -> None:
    crawl = Crawl(HOME).pipe(ops.download(), ops.scrape(callback(f"@url {HOME}")))
    other = callback(f"@url {HOME}")
    other.__name__ = "other"
    assert [each.name for each in callbacks_with_contracts(crawl, [other, gives_one])] == ["parse", "other"]
    assert [each.name for each in callbacks_with_contracts(None, [other])] == ["other"]
    assert callbacks_with_contracts(Crawl(HOME)) == []


def test_a_cassette_stands_where_the_network_would(tmp_path: Path) -> None:
    path = tmp_path / "shop.cassette"
    assert set(verdicts(check(Shop, site=recording(path, fetch=FakeFetch(PRODUCTS))))) == {"ok"}
    again = run_virtual(check_contracts(Shop, fetch=replaying(path)))
    assert set(verdicts(again)) == {"ok"}
    (first, *_) = run_virtual(check_contracts(None, callback(f"@url {HOME}new"), fetch=replaying(path)))
    assert "GET https://shop.example/new is not in the cassette" in first.reason


# -- contracts of ones own --------------------------------------------------------------------------------------------


def has_title(response: Response, argument: str) -> None:
    assert response.css("h1::text").get() == argument, f"the title is not {argument!r}"


async def cheap(outputs: list[Any], argument: str) -> None:
    for item in outputs:
        if item["price"] > float(argument):
            raise ContractFailed(f"{item} is not cheap")


OWN = [
    Contract("title", before=has_title),
    Contract("cheap", after=cheap),
    Contract("page", adjust=lambda request, argument: request.replace(url=f"{request.url}?page={int(argument)}")),
    Contract("odd", adjust=lambda request, argument: None),
    Contract("bare", after=lambda outputs, argument: (_ for _ in ()).throw(AssertionError)),
    Contract("bug", before=lambda response, argument: response.meta["x"]),
]


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("@title Home", ""),
        ("@title Away", "the title is not 'Away'"),
        ("@cheap 3", ""),
        ("@cheap 1.5", "{'price': 2} is not cheap"),
        ("@page 3", ""),
        ("@page three", "invalid literal for int() with base 10: 'three'"),
        ("@odd", "TypeError: it gave None, and not a Request"),
        ("@bare", "it does not hold"),
        ("@bug", "KeyError: 'x'"),
    ],
)
def test_contracts_of_ones_own(line: str, why: str) -> None:
    assert reason(line, result={"price": 2}, contracts=OWN) == why


def test_a_contract_of_ones_own_takes_the_place_of_one_of_that_name() -> None:
    made = Contract("returns", after=lambda outputs, argument: None)
    assert reason("@returns anything", contracts=[made]) == ""


def test_contracts_are_checked_when_built() -> None:
    with pytest.raises(ValueError, match="a contract is called 'a b': one word"):
        Contract("a b", before=has_title)
    with pytest.raises(ValueError, match="the contract 'a' means nothing"):
        Contract("a")
    with pytest.raises(TypeError, match="3 is no Contract"):
        by_name([3])  # type: ignore[list-item]
    assert {each.name for each in CONTRACTS} == {
        *("url", "returns", "scrapes", "cb_kwargs", "meta", "method", "body", "header", "cookie")
    }
    assert by_name()["url"] is URL
