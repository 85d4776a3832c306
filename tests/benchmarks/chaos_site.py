"""A site on loopback for the chaos harness: every page the same at each request, but each asked for in its own way.

    python tests/benchmarks/chaos_site.py [PAGES [SEED [THOUSAND [THOUSANDS]]]]

Prints its URL, and serves until it is ended. Page n links to its children 4n+1 to 4n+4 and to some others. By the
seed a page is reached over one redirect or a chain of them, is slow, answers 503 to the first two requests of each
crawl (a crawl says in X-Crawl which one it is), has a thousand items, or is one that never comes: 404, or a
connection that is closed half-way.
"""

from __future__ import annotations

import sys
import threading
from collections import Counter
from hashlib import blake2b

from streamcrawl.testing.site_server import Answer, Arrival, Reply, Site

PAGES = 6000
CHILDREN = 4
THOUSANDS = 12
"""Pages of a thousand items."""


class ChaosSite(Site):
    """The site; `expected` says what a crawl of it must bring.

    Args:
        pages: How many there are.
        seed: Decides which page is what.
        thousand: Items of a page of a thousand items; a small site has them smaller.
        thousands: How many of these pages.
    """

    def __init__(self, pages: int = PAGES, seed: int = 1, thousand: int = 1000, thousands: int = THOUSANDS) -> None:
        super().__init__(self.answer, keep=1)
        self.pages = pages
        self.seed = seed
        self.thousand = thousand
        inner = [n for n in range(1, pages) if not self.is_leaf(n)]
        step = max(1, len(inner) // thousands)
        self.big = inner[::step][:thousands]
        self.slowly = frozenset(self.big[::2])
        """Of these, those that the flow has give their items slowly."""
        self.refusals: Counter[tuple[str, str]] = Counter()

    def is_leaf(self, n: int) -> bool:
        return CHILDREN * n + 1 >= self.pages

    def chance(self, n: int, what: str) -> float:
        """From 0 to 1, always the same."""
        digest = blake2b(f"{self.seed} {what} {n}".encode(), digest_size=4).digest()
        return int.from_bytes(digest) / 2**32

    def kind(self, n: int) -> str:
        """What page n is."""
        if n in self.big:
            return "big"
        chance = self.chance(n, "kind")
        if self.is_leaf(n) and chance < 0.03:
            return "gone" if chance < 0.02 else "cut"
        return "flaky" if 0.03 <= chance < 0.06 else "slow" if 0.06 <= chance < 0.08 else "plain"

    def hops(self, n: int) -> int:
        """Redirects on the way to page n, if one comes by its link."""
        chance = self.chance(n, "hops")
        return 3 if chance < 0.01 else 1 if chance < 0.06 else 0

    def link(self, n: int) -> str:
        if n in self.big:
            return f"/slow/{n}" if n in self.slowly else f"/big/{n}"
        hops = self.hops(n)
        return f"/to/{hops}/{n}" if hops else f"/page/{n}"

    def answer(self, arrival: Arrival) -> Reply:
        """What is answered."""
        parts = arrival.path.strip("/").split("/")
        if parts == ["robots.txt"]:
            return Answer("User-agent: *\nAllow: /\n", headers={"Content-Type": "text/plain"})
        if parts == [""]:
            return self.page(0)
        if parts[0] == "to":
            hops, n = int(parts[1]), parts[2]
            onward = f"/to/{hops - 1}/{n}" if hops > 1 else f"/page/{n}"
            return Answer(status=302, headers={"Location": onward})
        n = int(parts[1])
        kind = self.kind(n)
        if kind == "flaky":
            key = (arrival.headers.get("x-crawl", ""), arrival.path)
            self.refusals[key] += 1
            if self.refusals[key] <= 2:
                return 503
        if kind == "gone":
            return 404
        if kind == "cut":
            return Answer(raw=b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n<p>")
        return self.page(n, delay=0.3 + self.chance(n, "delay") if kind == "slow" else 0.0)

    def page(self, n: int, delay: float = 0.0) -> Answer:
        """The page itself."""
        children = range(CHILDREN * n + 1, min(CHILDREN * n + 1 + CHILDREN, self.pages))
        others = [int(self.chance(n, f"other {k}") * self.pages) for k in range(3)]
        paths = [self.link(each) for each in (*children, *others)]
        if others[0] not in self.big:
            paths.append(f"/page/{others[0]}")  # there may be two ways to a page: whichever comes first
        links = "".join(f'<a href="{path}">x</a> ' for path in paths)
        many = self.thousand if n in self.big else 1 + n % 3
        words = " ".join(f"w{int(self.chance(n, f'word {k}') * 10000)}" for k in range(40))
        return Answer(f'<html><title>Page {n}</title><p id="many">{many}</p>{links}<p>{words}</p></html>', delay=delay)


def main() -> None:
    with ChaosSite(*map(int, sys.argv[1:5])) as site:
        print(site.url, flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
