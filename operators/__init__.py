"""The operators: one file each, named as its function. This list reads as the feature list."""

from streamcrawl.operators.ajax_crawl import ajax_crawl
from streamcrawl.operators.at_most_once import at_most_once
from streamcrawl.operators.batch import batch
from streamcrawl.operators.changed import changed
from streamcrawl.operators.conditional import conditional
from streamcrawl.operators.cookies import cookies
from streamcrawl.operators.decompress import decompress
from streamcrawl.operators.default_headers import default_headers
from streamcrawl.operators.default_layers import default_layers
from streamcrawl.operators.depth import depth
from streamcrawl.operators.down import down
from streamcrawl.operators.download import download
from streamcrawl.operators.download_stats import download_stats
from streamcrawl.operators.feed import feed
from streamcrawl.operators.guard import guard
from streamcrawl.operators.http_auth import http_auth
from streamcrawl.operators.http_cache import http_cache
from streamcrawl.operators.http_error import http_error
from streamcrawl.operators.images import images
from streamcrawl.operators.map_async import map_async
from streamcrawl.operators.meta_refresh import meta_refresh
from streamcrawl.operators.offload import offload
from streamcrawl.operators.on_item import on_item
from streamcrawl.operators.on_request import on_request
from streamcrawl.operators.on_response import on_response
from streamcrawl.operators.proxy import proxy
from streamcrawl.operators.redirect import redirect
from streamcrawl.operators.referer import referer
from streamcrawl.operators.retry import retry
from streamcrawl.operators.robots_txt import robots_txt
from streamcrawl.operators.scope import scope
from streamcrawl.operators.scrape import scrape
from streamcrawl.operators.size_limit import size_limit
from streamcrawl.operators.sqlite import sqlite
from streamcrawl.operators.strict import strict
from streamcrawl.operators.throttle import throttle
from streamcrawl.operators.timeout import timeout
from streamcrawl.operators.up import up
from streamcrawl.operators.user_agent import user_agent

__all__ = [
    "ajax_crawl",
    "at_most_once",
    "batch",
    "changed",
    "conditional",
    "cookies",
    "decompress",
    "default_headers",
    "default_layers",
    "depth",
    "down",
    "download",
    "download_stats",
    "feed",
    "guard",
    "http_auth",
    "http_cache",
    "http_error",
    "images",
    "map_async",
    "meta_refresh",
    "offload",
    "on_item",
    "on_request",
    "on_response",
    "proxy",
    "redirect",
    "referer",
    "retry",
    "robots_txt",
    "scope",
    "scrape",
    "size_limit",
    "sqlite",
    "strict",
    "throttle",
    "timeout",
    "up",
    "user_agent",
]
