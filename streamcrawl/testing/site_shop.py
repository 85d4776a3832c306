"""The pages of the demo shop: the same in every run, made when they are asked for."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from functools import cache, lru_cache
from html import escape
from random import Random

PRODUCTS = 300
PER_PAGE = 10
MOVED = 12
"""Old addresses that redirect to products."""

CATEGORIES = {
    "tea": ("Tea", ("Sencha", "Oolong", "Assam", "Rooibos", "Früchtetee")),
    "coffee": ("Coffee", ("Espresso", "Café crème", "Filter Roast", "Decaf", "Cold Brew")),
    "bread": ("Bread", ("Rye Loaf", "Baguette", "Focaccia", "Knäckebröd", "Sourdough")),
    "cheese": ("Cheese", ("Comté", "Gruyère", "Manchego", "Feta", "Blue Stilton")),
    "fruit": ("Fruit", ("Quince", "Pear", "Açaí", "Apricot", "Plum")),
    "books": ("Books", ("Atlas", "Cookbook", "Novel", "Almanac", "Field Guide")),
    "lamps": ("Lamps", ("Desk Lamp", "Lantern", "Floor Lamp", "Night Light", "Spotlight")),
    "tools": ("Tools", ("Hammer", "Saw", "Plane", "Chisel", "Spirit Level")),
    "toys": ("Toys", ("Spinning Top", "Kite", "Puzzle", "Marbles", "Wooden Train")),
    "garden": ("Garden", ("Trowel", "Watering Can", "Seed Tray", "Rake", "Birdhouse")),
    "music": ("Music", ("Ukulele", "Kalimba", "Melodica", "Tambourine", "Ocarina")),
    "paper": ("Paper & Ink", ("Notebook", "Fountain Pen", "Blotter", "Envelope Set", "Ink Bottle")),
}
_MAKERS = ("Nordwind", "Ōkami", "Petit Jour", "Ironbridge", "Lumen", "Casa Verde", "Ålesund", "Kestrel")
_WORDS = (
    "made by hand in small numbers",
    "light enough for every day",
    "a gift that is kept",
    "tested by three generations",
    "packed without plastic",
    "from a family workshop",
    "repairable, with spare parts",
    "best enjoyed outdoors",
)


@dataclass(frozen=True, slots=True)
class Product:
    """One thing that the shop sells; `number` counts from 1."""

    number: int
    name: str
    category: str
    price: str
    rating: int
    description: str
    pictures: tuple[str, ...]

    @property
    def path(self) -> str:
        return f"/product/{self.number}"


@cache
def product(number: int) -> Product:
    """The product with this number, 1 to `PRODUCTS`."""
    chance = Random(number)  # noqa: S311 - a catalogue, no secret
    slugs = tuple(CATEGORIES)
    category = slugs[(number - 1) % len(slugs)]
    name = f"{chance.choice(_MAKERS)} {chance.choice(CATEGORIES[category][1])} No. {number}"
    words = chance.sample(_WORDS, 3)
    count = 1 + number % 2
    return Product(
        number,
        name,
        category,
        f"{chance.randint(2, 180)}.{chance.choice(('00', '50', '95'))}",
        chance.randint(1, 5),
        f"{name}: {words[0]}, {words[1]}, {words[2]}.",
        tuple(f"/pictures/{number}-{nth}.png" for nth in range(1, count + 1)),
    )


def products_in(category: str) -> tuple[Product, ...]:
    """The products of a category, in the order of its pages."""
    return tuple(found for found in map(product, range(1, PRODUCTS + 1)) if found.category == category)


def pages_of(category: str) -> int:
    """How many pages the category's list has."""
    return -(-len(products_in(category)) // PER_PAGE)


def listing_path(category: str, nth: int = 1) -> str:
    """The address of the nth page of a category."""
    return f"/category/{category}" + (f"?page={nth}" if nth > 1 else "")


def home() -> str:
    """The page that leads to all others."""
    categories = "".join(
        f'<li><a href="{listing_path(slug)}">{escape(title)}</a></li>' for slug, (title, _) in CATEGORIES.items()
    )
    moved = "".join(f'<li><a href="/old/{number}">Offer {number}</a></li>' for number in range(1, MOVED + 1))
    return _page(
        "The Corner Shop",
        f'<ul class="categories">{categories}</ul><h2>Offers of last year</h2><ul class="offers">{moved}</ul>'
        '<p>More: <a href="/about">about us</a>, <a href="/login">members</a>, <a href="/news">news</a>, '
        '<a href="/stock">stock</a>, <a href="/missing">a page that is gone</a>.</p>',
    )


def listing(category: str, nth: int) -> str:
    """One page of a category's list, with a link to the next."""
    shown = products_in(category)[(nth - 1) * PER_PAGE : nth * PER_PAGE]
    rows = "".join(
        f'<li class="product"><a href="{each.path}">{escape(each.name)}</a> <b class="price">€ {each.price}</b></li>'
        for each in shown
    )
    before = f'<li class="previous"><a href="{listing_path(category, nth - 1)}">previous</a></li>' if nth > 1 else ""
    last = nth >= pages_of(category)
    after = "" if last else f'<li class="next"><a href="{listing_path(category, nth + 1)}">next</a></li>'
    title = f"{CATEGORIES[category][0]}, page {nth}"
    return _page(title, f'<ol class="products">{rows}</ol><ul class="pager">{before}{after}</ul>')


def product_page(number: int) -> str:
    """A product with all that is known of it."""
    shown = product(number)
    pictures = "".join(f'<img src="{path}" alt="{escape(shown.name)}">' for path in shown.pictures)
    similar = "".join(
        f'<li><a href="{each.path}">{escape(each.name)}</a></li>' for each in _similar(shown.number, shown.category)
    )
    return _page(
        shown.name,
        f'<article class="product" data-number="{shown.number}">'
        f'<p class="price">€ {shown.price}</p><p class="rating" data-rating="{shown.rating}">{"★" * shown.rating}</p>'
        f'<p class="category"><a href="{listing_path(shown.category)}">{escape(CATEGORIES[shown.category][0])}</a></p>'
        f'<div class="description">{escape(shown.description)}</div><div class="pictures">{pictures}</div>'
        f'<p><a class="buy" href="/checkout/add?product={shown.number}">Buy</a></p></article>'
        f'<ul class="similar">{similar}</ul>',
    )


def _similar(number: int, category: str) -> list[Product]:
    others = products_in(category)
    at = (number - 1) // len(CATEGORIES)
    return [others[(at + step) % len(others)] for step in (1, 2, 3)]


def simple(title: str, text: str) -> str:
    """A page of one paragraph; `text` is HTML."""
    return _page(title, f"<p>{text}</p>")


def _page(title: str, body: str) -> str:
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title></head>'
        f'<body><p class="home"><a href="/">The Corner Shop</a></p><h1>{escape(title)}</h1>{body}</body></html>\n'
    )


def robots(url: str) -> str:
    """robots.txt of the shop at `url`. Source: RFC 9309."""
    return f"User-agent: *\nDisallow: /checkout/\n\nSitemap: {url}/sitemap.xml\n"


def sitemap(url: str) -> str:
    """Home, lists and products. Source: https://www.sitemaps.org/protocol.html"""
    paths = ["/", *(listing_path(slug) for slug in CATEGORIES), *(product(n).path for n in range(1, PRODUCTS + 1))]
    entries = "".join(f"<url><loc>{escape(url + path)}</loc></url>\n" for path in paths)
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">\n{entries}</urlset>\n'
    )


@lru_cache(maxsize=512)
def picture(number: int, nth: int) -> bytes:
    """A PNG of 160 x 120 pixels: a colour that fades from left to right; every third product's is half transparent.

    Each row is filtered with "up": it is written as the difference to the row above.

    Source: PNG (Third Edition) §5 (datastream), §9.2 (filters), §11.2 (chunks).
    """
    width, height = 160, 120
    red, green, blue = (number * 67 % 256, number * 131 % 256, nth * 90 % 256)
    transparent = number % 3 == 0
    pixels = bytearray()
    for x in range(width):
        light = x * 255 // (width - 1)
        pixels += bytes((red * light // 255, green * light // 255, blue))
        if transparent:
            pixels.append(light)
    first = b"\x00" + bytes(pixels)
    rows = first + (b"\x02" + bytes(len(pixels))) * (height - 1)
    size = width.to_bytes(4) + height.to_bytes(4)
    header = size + bytes((8, 6 if transparent else 2, 0, 0, 0))
    return (
        b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(rows, 6)) + _chunk(b"IEND", b"")
    )


def _chunk(kind: bytes, data: bytes) -> bytes:
    return len(data).to_bytes(4) + kind + data + zlib.crc32(kind + data).to_bytes(4)
