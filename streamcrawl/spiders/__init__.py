"""Spiders as classes: subclass one, and run it with `Crawl.of(MySpider, …)`."""

from streamcrawl.spiders.crawl_spider import CrawlSpider, Rule
from streamcrawl.spiders.crawler import Crawler
from streamcrawl.spiders.csv_feed import CSVFeedSpider
from streamcrawl.spiders.feed_spider import FeedSpider
from streamcrawl.spiders.sitemap_spider import SitemapSpider
from streamcrawl.spiders.sitemaps import Sitemap
from streamcrawl.spiders.spider import Spider, is_spider_class
from streamcrawl.spiders.xml_feed import XMLFeedSpider
from streamcrawl.stats import Stats

__all__ = [
    "CSVFeedSpider",
    "CrawlSpider",
    "Crawler",
    "FeedSpider",
    "Rule",
    "Sitemap",
    "SitemapSpider",
    "Spider",
    "Stats",
    "XMLFeedSpider",
    "is_spider_class",
]
