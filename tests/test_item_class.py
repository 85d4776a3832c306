"""Item and Field: declared fields, a dict's interface, and what knows them."""

from __future__ import annotations

import copy
import json
import pickle
import subprocess
import sys
from typing import Annotated, Any

import itemadapter.utils
import msgspec
import pytest

from streamcrawl import Crawl, Response
from streamcrawl import operators as ops
from streamcrawl.items import Field, Item, as_dict, field_names, is_item, with_field

ItemAdapter: Any = vars(itemadapter)["ItemAdapter"]  # its types are loose
metadata: Any = vars(itemadapter.utils)["get_field_meta_from_class"]


def by_name(page: Response) -> Any:
    return (Product(name=name) for name in page.css("b::text").getall())


class Product(Item):
    """Things."""

    name = Field()
    price = Field(unit="EUR")


class Book(Product):
    price = Field(unit="GBP")
    isbn = Field()
    shop = "a plain attribute"


class NoPrice(Book):
    price: Any = None


class Struct(msgspec.Struct):
    name: str = ""
    price: float = 0.0


class Priced(msgspec.Struct):
    name: str
    price: Annotated[float, msgspec.Meta(extra={"unit": "EUR"})] = 0.0


def test_fields_are_inherited_overridden_and_taken_away() -> None:
    assert Item.fields == {}
    assert Product.fields == {"name": {}, "price": {"unit": "EUR"}}
    assert list(Book.fields) == ["name", "price", "isbn"]
    assert Book.fields["price"] == {"unit": "GBP"}
    assert list(NoPrice.fields) == ["name", "isbn"]
    assert Book.shop == "a plain attribute"
    assert not hasattr(Product, "price")


def test_two_bases_the_first_one_wins() -> None:
    class Dated(Item):
        price = Field(unit="USD")
        date = Field()

    class Both(Product, Dated):
        pass

    assert Both.fields == {"price": {"unit": "EUR"}, "date": {}, "name": {}}


def test_a_dicts_interface() -> None:
    item = Book({"name": "Odes"}, price=3)
    item["isbn"] = "1"
    item.update(name="Odes II")
    assert item == {"name": "Odes II", "price": 3, "isbn": "1"} == dict(item)
    assert item.get("nothing", 7) == 7
    assert (item.pop("isbn"), len(item), "isbn" in item, list(item)) == ("1", 2, False, ["name", "price"])
    del item["price"]
    with pytest.raises(KeyError):
        item["price"]
    assert repr(item) == "Book({'name': 'Odes II'})"


def test_what_is_no_field_is_refused_clearly() -> None:
    item = Product()
    for put in (lambda: item.__setitem__("prize", 1), lambda: Product(prize=1), lambda: item.update(prize=1)):
        with pytest.raises(KeyError, match="Product has no field 'prize'; its fields: name, price"):
            put()
    name = "name"
    with pytest.raises(AttributeError, match=r"use item\['name'\]"):
        _ = getattr(item, name)
    with pytest.raises(AttributeError, match=r"use item\['name'\] = 1 to set a field"):
        setattr(item, name, 1)
    with pytest.raises(AttributeError, match="has no attribute 'other'"):
        _ = item.other
    assert len(item) == 0


@pytest.mark.parametrize("copied", [Product.copy, copy.copy, Product.deepcopy, copy.deepcopy])
def test_copies(copied: Any) -> None:
    item = Product(name=["a"])
    other = copied(item)
    assert type(other) is Product
    other["price"] = 1
    assert "price" not in item
    assert (other["name"] is item["name"]) == (copied in (Product.copy, copy.copy))
    assert pickle.loads(pickle.dumps(item)) == item


def test_what_knows_items_knows_these() -> None:
    item = Book(name="Odes")
    assert is_item(item)
    assert as_dict(item) == {"name": "Odes"}
    assert type(as_dict(item)) is dict
    assert field_names(Book) == ("name", "price", "isbn")
    changed = with_field(item, "isbn", "1")
    assert (type(changed), dict(changed), dict(item)) == (Book, {"name": "Odes", "isbn": "1"}, {"name": "Odes"})
    assert with_field(item, "prize", 1) is None


@pytest.mark.parametrize("item", [Book(name="Odes", price=1), Struct("Odes", 1)])
def test_itemadapter_reads_and_writes_them(item: Any) -> None:
    adapter: Any = ItemAdapter(item)
    assert ItemAdapter.is_item(item)
    assert adapter.asdict() == {"name": "Odes", "price": 1}
    adapter["name"] = "Maps"
    assert as_dict(item)["name"] == "Maps"
    assert list(adapter.field_names())[:2] == ["name", "price"]
    kind: type[Any] = item.__class__
    assert ItemAdapter.get_field_names_from_class(kind) == list(field_names(kind))
    with pytest.raises(KeyError, match="no field 'prize'"):
        adapter["prize"] = 1
    with pytest.raises(KeyError):
        ItemAdapter.get_field_meta_from_class(type(item), "prize")


def test_metadata_of_fields_through_itemadapter() -> None:
    assert dict(ItemAdapter(Book()).get_field_meta("price")) == {"unit": "GBP"}
    assert dict(metadata(Priced, "price")) == {"unit": "EUR"}
    assert dict(metadata(Priced, "name")) == {}
    with pytest.raises(KeyError):
        metadata(Priced, "prize")


def test_they_go_through_a_crawl_into_a_feed(tmp_path: Any) -> None:
    crawl = Crawl("data:text/html,<b>Odes</b><b>Maps</b>").pipe(
        ops.download(),
        ops.scrape(by_name),
        ops.feed(tmp_path / "products.jsonl"),
    )
    assert crawl.run().items == 2
    lines = (tmp_path / "products.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [{"name": "Odes"}, {"name": "Maps"}]


def test_without_them_itemadapter_is_not_loaded() -> None:
    script = "import sys, streamcrawl.items, streamcrawl; print('itemadapter' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "False", done.stderr
