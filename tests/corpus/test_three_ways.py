"""The manual by rules, by a sitemap, and by a plain flow: the same pages, with the same titles."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from typing import Any

import pytest

from corpus.manual import expected_pages, manual_root, manual_site
from streamcrawl import Crawl, Response, Summary
from streamcrawl import operators as ops
from streamcrawl.links import LinkExtractor
from streamcrawl.spiders import CrawlSpider, Rule, SitemapSpider
from streamcrawl.testing.site_server import Answer, Site

pytestmark = [pytest.mark.corpus, pytest.mark.timeout(300)]

FAST: dict[str, Any] = {"concurrency": 32, "per_host": 32}


def item(page: Response) -> dict[str, Any]:
    return {"name": page.url.rpartition("/")[2], "title": page.css("title::text").get()}


def parse(page: Response) -> Iterator[Any]:
    yield item(page)
    yield from page.follow_all(css="a")


class ByRules(CrawlSpider):
    name = "manual by rules"
    rules = (
        Rule(LinkExtractor(allow=r"/sql-[^/]*\.html$"), callback="command", follow=True),
        Rule(LinkExtractor(allow=r"\.html$"), callback="page", follow=True),
    )

    def parse_start_url(self, page: Response, /, **kwargs: Any) -> Any:
        return {"by": "start", **item(page)}

    def command(self, page: Response) -> Any:
        return {"by": "command", **item(page)}

    def page(self, page: Response) -> Any:
        return {"by": "page", **item(page)}


class BySitemap(SitemapSpider):
    name = "manual by sitemap"

    def parse(self, page: Response) -> Any:
        return item(page)


def crawled(crawl: Crawl[Any]) -> tuple[Summary, list[dict[str, Any]]]:
    items: list[dict[str, Any]] = []
    summary = crawl.pipe(ops.on_item(items.append)).run()
    assert summary.balanced
    assert summary.failed == 0
    return summary, items


def sitemap_of(start: str, names: list[str]) -> dict[str, Answer]:
    """A robots.txt that leads over an index to three sitemaps: one plain, one gzip, one a list of addresses."""
    base = start.rpartition("/")[0]

    def urlset(some: list[str]) -> str:
        inner = "".join(f"<url><loc>{base}/{name}</loc><lastmod>2024-02-08</lastmod></url>" for name in some)
        return f'<?xml version="1.0"?><urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">{inner}</urlset>'

    index = "".join(f"<sitemap><loc>{name}</loc></sitemap>" for name in ("a.xml", "b.xml.gz", "c.txt"))
    third = len(names) // 3
    return {
        "/robots.txt": Answer(
            "User-agent: *\nDisallow:\nSitemap: /index.xml\n", headers={"Content-Type": "text/plain"}
        ),
        "/index.xml": Answer(f"<sitemapindex>{index}</sitemapindex>", headers={"Content-Type": "application/xml"}),
        "/a.xml": Answer(urlset(names[:third]), headers={"Content-Type": "application/xml"}),
        "/b.xml.gz": Answer(
            gzip.compress(urlset(names[third : 2 * third]).encode()), headers={"Content-Type": "application/gzip"}
        ),
        "/c.txt": Answer(
            "\n".join(f"{base}/{name}" for name in names[2 * third :]), headers={"Content-Type": "text/plain"}
        ),
    }


def test_three_ways_give_the_same_pages() -> None:
    expected = {name: page.title for name, page in expected_pages(manual_root()).items()}
    files = sorted(path.name for path in manual_root().glob("*.html"))
    with manual_site() as start, Site(sitemap_of(start, files)) as sitemaps:
        plain, by_flow = crawled(Crawl(start, **FAST).pipe(ops.download(), ops.scrape(parse)))
        ruled, by_rules = crawled(Crawl.of(ByRules, start_urls=[start]).replace(**FAST))
        robots = f"{sitemaps.url}/robots.txt"
        mapped, by_sitemap = crawled(
            Crawl.of(BySitemap, sitemap_urls=[robots], allowed_domains=["127.0.0.1"]).replace(**FAST)
        )
    for items in (by_flow, by_rules, by_sitemap):
        assert len(items) == len(expected)  # each once
        assert {each["name"]: each["title"] for each in items} == expected
    assert (plain.pages, ruled.pages, mapped.pages) == (len(files), len(files), len(files) + 5)
    by = {each["name"]: each["by"] for each in by_rules}
    assert by.pop("index.html") == "start"
    assert by == {name: "command" if name.startswith("sql-") else "page" for name in by}
