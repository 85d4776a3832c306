"""A generated web for tests of whole crawls, and what a crawl of it has to bring, computed directly."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from random import Random
from typing import Literal

from streamcrawl.errors import ConnectError
from streamcrawl.response import Response
from streamcrawl.testing.fake_fetch import Answer, FakeFetch, Latency, links_to, page
from streamcrawl.urls import host_of

Kind = Literal["page", "redirect", "missing", "broken", "flaky", "private"]


@dataclass(frozen=True, slots=True)
class Node:
    """One URL of a `Web`."""

    url: str
    kind: Kind
    links: tuple[str, ...] = ()
    target: str = ""
    """Where a redirect leads to."""
    failures: int = 0
    """How often a flaky page answers 503 before it answers 200."""


@dataclass(frozen=True, slots=True)
class Expected:
    """What a crawl of a `Web` comes to. URLs are without fragments."""

    pages: frozenset[str]
    """Answered 200: each reaches the callback once."""
    failed: frozenset[str]
    """Missing (404), broken (ConnectError), or flaky for longer than it is repeated."""
    redirects: frozenset[str]
    refused: frozenset[str]
    """By robots.txt."""
    off_site: frozenset[str]
    """Linked to, and out of the scope."""
    hits: Counter[str] = field(default_factory=Counter[str])
    """How often the wire sees each URL, robots.txt apart."""


@dataclass(frozen=True, slots=True)
class Web:
    """A web of pages, the same for the same arguments: links, redirects, failures, pages that robots.txt refuses.

    Args:
        pages: URLs in all; 1 or more.
        fanout: Links on a page, on average; most of them on its host.
        hosts: Hosts that they are spread over; 1 or more.
        seed: Of the chance that makes it.
        redirects: Share of URLs that lead elsewhere; never in a circle.
        missing: Share that is a 404.
        broken: Share that cannot be connected to.
        flaky: Share that answers 503 once or twice first.
        private: Share that robots.txt refuses.

    Raises: ValueError for a count below 1 or shares that come to more than 1, when built.
    """

    pages: int = 100
    fanout: int = 5
    hosts: int = 3
    seed: int = 0
    redirects: float = 0.1
    missing: float = 0.05
    broken: float = 0.03
    flaky: float = 0.05
    private: float = 0.05

    def __post_init__(self) -> None:
        for name in ("pages", "fanout", "hosts"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)!r}: it must be 1 or more")
        shares = (self.redirects, self.missing, self.broken, self.flaky, self.private)
        if min(shares) < 0 or sum(shares) > 1:
            raise ValueError(f"the shares {shares!r} must be 0 or more, and come to 1 at most")

    @property
    def start(self) -> str:
        """The URL of the first page, which is always a page."""
        return self._url(0, "page")

    def _url(self, number: int, kind: Kind) -> str:
        folder = "private/" if kind == "private" else ""
        return f"http://host{number % self.hosts}.example/{folder}{number}"

    def nodes(self) -> dict[str, Node]:
        """All URLs, the start first."""
        chance = Random(self.seed)  # noqa: S311 - a test's web, no secrets
        kinds = self._kinds(chance)
        urls = [self._url(number, kind) for number, kind in enumerate(kinds)]
        return {url: self._node(number, kinds[number], urls, chance) for number, url in enumerate(urls)}

    def _kinds(self, chance: Random) -> list[Kind]:
        weights: dict[Kind, float] = {
            "redirect": self.redirects,
            "missing": self.missing,
            "broken": self.broken,
            "flaky": self.flaky,
            "private": self.private,
        }
        weights["page"] = max(0.0, 1 - sum(weights.values()))
        kinds = chance.choices(list(weights), list(weights.values()), k=self.pages)
        kinds[0] = "page"
        if kinds[-1] == "redirect":  # redirects lead to later URLs, and there is none
            kinds[-1] = "page"
        return kinds

    def _node(self, number: int, kind: Kind, urls: list[str], chance: Random) -> Node:
        if kind == "redirect":
            return Node(urls[number], kind, target=urls[chance.randrange(number + 1, len(urls))])
        if kind in ("missing", "broken"):
            return Node(urls[number], kind)
        host = urls[number % self.hosts :: self.hosts]
        links = [
            chance.choice(urls if chance.random() < 0.3 else host) for _ in range(chance.randint(0, 2 * self.fanout))
        ]
        links += urls[number + self.hosts : number + self.hosts + 1]  # a thread through each host
        if not number:
            links += urls[1 : self.hosts]
        return Node(urls[number], kind, tuple(links), failures=chance.randint(1, 2) if kind == "flaky" else 0)

    def site(self) -> dict[str, Answer]:
        """What each URL answers, for a `FakeFetch`."""
        chance = Random(self.seed + 1)  # noqa: S311 - as above
        site: dict[str, Answer] = {url: self._answer(node, chance) for url, node in self.nodes().items()}
        rules = page("User-agent: *\nDisallow: /private/\n", headers={"Content-Type": "text/plain"})
        site["/robots.txt"] = rules
        return site

    def _answer(self, node: Node, chance: Random) -> Answer:
        if node.kind == "redirect":
            return page(status=chance.choice((301, 302, 303, 307, 308)), headers={"Location": node.target})
        if node.kind == "missing":
            return page("not found", status=404)
        if node.kind == "broken":
            return ConnectError(f"cannot connect to {node.url}")
        whole = page(f"<title>{node.url}</title>" + links_to(*(_spelled(url, node, chance) for url in node.links)))
        tries: list[Response] = [page("come back", status=503)] * node.failures
        return [*tries, whole]

    def fetch(self, *, latency: Latency = 0.0) -> FakeFetch:
        """A new fetch over this web."""
        return FakeFetch(self.site(), latency=latency)

    def expected(
        self, *, scope: Literal["host", "any"] = "host", retries: int = 2, robots: bool = True, start: str | None = None
    ) -> Expected:
        """What a crawl from `start` comes to, by a plain breadth-first search.

        Args:
            scope: "host": links and hops stay on the host of the start; "any": they go everywhere.
            retries: Repeats of a 503 or a broken connection after the first try.
            robots: Whether robots.txt is obeyed.
            start: The first URL; `Web.start` if left out.
        """
        nodes, first = self.nodes(), start or self.start
        seen, waiting = {first}, deque([first])
        ends: dict[str, set[str]] = {name: set() for name in ("pages", "failed", "redirects", "refused", "off_site")}
        hits: Counter[str] = Counter()
        while waiting:
            node = nodes[waiting.popleft()]
            end = _end(node, retries, robots)
            ends[end].add(node.url)
            if end != "refused":
                hits[node.url] += 1 + _repeats(node, retries)
            follow = node.links if end == "pages" else (node.target,) if end == "redirects" else ()
            for url in follow:
                if scope == "host" and host_of(url) != host_of(first):
                    ends["off_site"].add(url)
                elif url not in seen:
                    seen.add(url)
                    waiting.append(url)
        return Expected(**{name: frozenset(urls) for name, urls in ends.items()}, hits=hits)


def _end(node: Node, retries: int, robots: bool) -> str:
    if node.kind == "redirect":
        return "redirects"
    if node.kind == "private" and robots:
        return "refused"
    if node.kind in ("missing", "broken") or node.failures > retries:
        return "failed"
    return "pages"


def _repeats(node: Node, retries: int) -> int:
    return retries if node.kind == "broken" else min(node.failures, retries)


def _spelled(url: str, node: Node, chance: Random) -> str:
    """The link as a page may write it: absolute, relative, or with a fragment."""
    path = "/" + url.partition("://")[2].partition("/")[2]
    ways = [url, url + "#part"]
    if host_of(url) == host_of(node.url):
        ways.append(path)
    return chance.choice(ways)
