"""Item loaders over our responses, into items of every kind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec
import pydantic
import pytest

from streamcrawl import Headers, Response
from streamcrawl.items import Field, Item, as_dict
from streamcrawl.loaders import Compose, Identity, ItemLoader, Join, MapCompose, SelectJmes, TakeFirst

HTML = b"""<h1> Odes </h1><p class=price>3 EUR</p><ul><li>a</li><li>b</li></ul>
<div class=by><a href=/ada>Ada</a><a href=/bo>Bo</a></div>"""
PAGE = Response("http://a.test/odes", headers=Headers({"content-type": "text/html"}), body=HTML)


class Product(Item):
    name = Field(input_processor=MapCompose(str.strip), output_processor=TakeFirst())
    price = Field(input_processor=MapCompose(str.strip), output_processor=TakeFirst())
    tags = Field(output_processor=Join("+"))
    authors = Field()


@dataclass
class Plain:
    name: Any = None
    price: Any = None


class Struct(msgspec.Struct):
    name: Any = None
    price: Any = None


class Model(pydantic.BaseModel):
    name: Any = None
    price: Any = None


class Loader(ItemLoader):
    default_output_processor = TakeFirst()
    name_in = MapCompose(str.strip, str.upper)


def test_the_processors_of_fields_and_a_nested_loader() -> None:
    loader = ItemLoader(Product(), response=PAGE)
    loader.add_css("name", "h1::text").add_xpath("price", "//p/text()", re=r"\d+").add_css("tags", "li::text")
    links = loader.nested_css("div.by")
    links.add_css("authors", "a::text")
    links.nested_xpath("./a[1]").add_xpath("authors", "@href", Compose(TakeFirst(), str.upper))
    assert loader.load_item() == Product(name="Odes", price="3", tags="a+b", authors=["Ada", "Bo", "/ADA"])


@pytest.mark.parametrize("item", [dict[str, Any](), Plain(), Struct(), Model()], ids=lambda item: type(item).__name__)
def test_items_of_every_kind(item: Any) -> None:
    loader = Loader(item, response=PAGE)
    loader.add_css("name", "h1::text")
    loader.add_value("price", [3])
    loaded = loader.load_item()
    assert type(loaded) is type(item)
    assert as_dict(loaded) == {"name": "ODES", "price": 3}


def test_without_an_item_it_makes_one() -> None:
    assert Loader(response=PAGE).add_css("tags", "li::text").load_item() == {"tags": "a"}

    class Products(Loader):
        default_item_class = Product

    assert isinstance(Products(response=PAGE).load_item(), Product)


def test_processors_see_the_response_and_json_is_selected_from() -> None:
    def absolute(url: str, loader_context: Any) -> str:
        return str(loader_context["response"].urljoin(url))

    loader = ItemLoader(response=PAGE, shop="a")
    loader.add_css("url", "a::attr(href)", MapCompose(absolute))
    assert loader.load_item() == {"url": ["http://a.test/ada", "http://a.test/bo"]}
    assert loader.nested_css("ul").context["shop"] == "a"
    page = Response(
        "http://a.test/j", headers=Headers({"content-type": "application/json"}), body=b'{"a": {"b": [1, 2]}}'
    )
    assert ItemLoader(response=page).add_jmes("b", "a.b[0]").load_item() == {"b": [1]}
    assert SelectJmes("a.b")({"a": {"b": 3}}) == 3
    assert Identity()([1]) == [1]


def test_a_selector_goes_before_the_response() -> None:
    loader = ItemLoader(selector=PAGE.css("div.by"), response=PAGE)
    assert loader.add_css("links", "a::text").load_item() == {"links": ["Ada", "Bo"]}
    with pytest.raises(RuntimeError, match="selector"):
        ItemLoader().add_css("name", "h1")
