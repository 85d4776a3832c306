"""Sites on loopback: `serve` for any routes, and a demo shop. Standard library only.

with serve({"/": "<a href=/next>next</a>", "/next": Answer(status=503)}) as site:
    ...  # site.url, site.arrivals, site.count("/next")

with DemoSite() as shop:
    ...  # shop.url, shop.counts()
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator

from streamcrawl.testing import site_shop as shop
from streamcrawl.testing.site_server import Answer as Answer
from streamcrawl.testing.site_server import Arrival as Arrival
from streamcrawl.testing.site_server import Handler as Handler
from streamcrawl.testing.site_server import Reply as Reply
from streamcrawl.testing.site_server import Routes as Routes
from streamcrawl.testing.site_server import Site as Site
from streamcrawl.testing.site_server import serve as serve

COOKIE = "member"
_ENOUGH = 300
"""Bytes of text from which on gzip saves something."""
_PICTURE = re.compile(r"/pictures/(\d+)-(\d+)\.png")
_PNG = (("Content-Type", "image/png"), ("Cache-Control", "max-age=3600"))
_ACCEPTS_GZIP = re.compile(rb"\naccept-encoding:[^\r]*gzip", re.IGNORECASE)


class DemoSite(Site):
    """A small shop: 12 categories with paging, 300 products with pictures, and what makes crawling hard.

    Its home leads to products in paged lists; to old addresses that redirect (`/old/1`; `/old/12` twice); to `/login`,
    whose cookie opens `/members`; to `/stock`, which answers 503 with Retry-After: 1 the first time; to `/news`, which
    takes 1.5 seconds; to `/missing`, a 404. robots.txt disallows `/checkout/`, where the products lead to, and names
    the sitemap.

    Args:
        port: 0 takes a free one.
        slow: Seconds that `/news` takes.
        keep: How many arrivals are remembered, the last ones; None: all.
    """

    def __init__(self, *, port: int = 0, slow: float = 1.5, keep: int | None = None) -> None:
        super().__init__(self._reply, port=port, keep=keep)
        self._slow = slow
        self._stock_asked = 0
        self._pages: dict[str, tuple[Answer, Answer]] = {}
        """By target: what was answered, as it is and in gzip."""

    @property
    def products(self) -> Iterator[shop.Product]:
        """What a crawl of the shop has to find."""
        return map(shop.product, range(1, shop.PRODUCTS + 1))

    @property
    def paths(self) -> tuple[str, ...]:
        """Every page that links lead to and that answers 200 to a crawler with cookies, retries and robots.txt."""
        lists = (shop.listing_path(slug, nth) for slug in shop.CATEGORIES for nth in range(1, shop.pages_of(slug) + 1))
        others = ("/", "/about", "/login", "/members", "/members/offers", "/news", "/stock")
        return (*others, *lists, *(each.path for each in self.products))

    def _reply(self, arrival: Arrival) -> Answer:
        made = self._pages.get(arrival.target)
        if made is None:
            answer = self._special(arrival) or self._page(arrival.target)
            if not isinstance(answer, str):
                return answer
            kind = "application/xml" if answer.startswith("<?xml") else "text/html; charset=utf-8"
            if arrival.path == "/robots.txt":
                kind = "text/plain; charset=utf-8"
            made = self._pages[arrival.target] = _encoded(answer, kind)
        return made[_ACCEPTS_GZIP.search(arrival.head) is not None]

    def _page(self, target: str) -> str | Answer:
        """A page that is the same for everybody, and kept."""
        first, _, rest = target[1:].partition("/")
        if target == "/":
            return shop.home()
        if first == "product" and rest.isascii() and rest.isdigit() and 1 <= int(rest) <= shop.PRODUCTS:
            return shop.product_page(int(rest))
        if first == "category":
            return _listing(rest)
        if target == "/about":
            return shop.simple("About us", 'Since 1987. <a href="/checkout/">Your basket</a>.')
        if target == "/robots.txt":
            return shop.robots(self.url)
        if target == "/sitemap.xml":
            return shop.sitemap(self.url)
        return _missing()

    def _special(self, arrival: Arrival) -> Answer | None:
        """What depends on more than the address, or is no text."""
        path = arrival.path
        if found := _PICTURE.fullmatch(path):
            return _picture(int(found[1]), int(found[2]))
        if path.startswith("/old/"):
            return _moved(path[5:])
        if path == "/login":
            text = shop.simple("Welcome", 'Now to the <a href="/members">members’ area</a>.')
            return Answer(text, headers=(("Set-Cookie", f"{COOKIE}=1987; Path=/; HttpOnly; SameSite=Lax"),))
        if path in ("/members", "/members/offers"):
            return _members(path, arrival)
        if path == "/stock":
            self._stock_asked += 1
            if self._stock_asked == 1:
                return Answer(shop.simple("Stocktaking", "One moment."), 503, {"Retry-After": "1"})
            return Answer(shop.simple("Stock", "Everything is there."))
        if path == "/news":
            return Answer(shop.simple("News", "All good things take time."), delay=self._slow)
        if path.startswith("/checkout/"):
            return Answer(shop.simple("Checkout", "Nothing for crawlers."))
        return None


def _listing(rest: str) -> str | Answer:
    slug, _, query = rest.partition("?")
    number = query.removeprefix("page=") or "1"
    if slug not in shop.CATEGORIES or not number.isascii() or not number.isdigit():
        return _missing()
    nth = int(number)
    return shop.listing(slug, nth) if 1 <= nth <= shop.pages_of(slug) else _missing()


def _missing() -> Answer:
    return Answer(shop.simple("Not found", "This page is gone."), 404)


def _picture(number: int, nth: int) -> Answer:
    if not 1 <= number <= shop.PRODUCTS or not 1 <= nth <= len(shop.product(number).pictures):
        return _missing()
    return Answer(shop.picture(number, nth), headers=_PNG)


def _moved(name: str) -> Answer:
    """Old addresses; that of the last product on the list moved twice."""
    if name == f"{shop.MOVED}":
        return Answer(status=302, headers={"Location": f"/old/again-{name}"})
    number = name.removeprefix("again-")
    if not number.isascii() or not number.isdigit() or not 1 <= int(number) <= shop.PRODUCTS:
        return _missing()
    return Answer(status=301, headers={"Location": shop.product(int(number)).path})


def _members(path: str, arrival: Arrival) -> Answer:
    if COOKIE not in arrival.cookies:
        return Answer(status=302, headers={"Location": "/login"})
    if path == "/members":
        return Answer(shop.simple("Members", 'Good to see you. <a href="/members/offers">Offers for you</a>.'))
    return Answer(shop.simple("Offers", "Ten per cent off everything."))


def _encoded(text: str, kind: str) -> tuple[Answer, Answer]:
    body = text.encode()
    plain = Answer(body, headers={"Content-Type": kind, "Vary": "Accept-Encoding"})
    if len(body) < _ENOUGH:
        return plain, plain
    packed = gzip.compress(body, 6, mtime=0)
    return plain, Answer(packed, headers={**dict(plain.headers), "Content-Encoding": "gzip"})
