"""The operators: one file each, named as its function. This list reads as the feature list."""

from streamcrawl.arguments import check_arguments
from streamcrawl.operators.ajax_crawl import ajax_crawl
from streamcrawl.operators.at_most_once import at_most_once
from streamcrawl.operators.batch import batch
from streamcrawl.operators.changed import changed
from streamcrawl.operators.conditional import conditional
from streamcrawl.operators.cookies import cookies
from streamcrawl.operators.copied_fields import copied_fields
from streamcrawl.operators.decompress import decompress
from streamcrawl.operators.default_headers import default_headers
from streamcrawl.operators.default_layers import default_layers
from streamcrawl.operators.depth import depth
from streamcrawl.operators.down import down
from streamcrawl.operators.download import download
from streamcrawl.operators.download_stats import download_stats
from streamcrawl.operators.feed import feed
from streamcrawl.operators.files import files
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
from streamcrawl.operators.pipeline import pipeline
from streamcrawl.operators.proxy import proxy
from streamcrawl.operators.redirect import redirect
from streamcrawl.operators.referer import referer
from streamcrawl.operators.retry import retry
from streamcrawl.operators.robots_txt import robots_txt
from streamcrawl.operators.scope import scope
from streamcrawl.operators.scope_links import scope_links
from streamcrawl.operators.scrape import scrape
from streamcrawl.operators.size_limit import size_limit
from streamcrawl.operators.sqlite import sqlite
from streamcrawl.operators.start_mark import start_mark
from streamcrawl.operators.strict import strict
from streamcrawl.operators.throttle import throttle
from streamcrawl.operators.timeout import timeout
from streamcrawl.operators.up import up
from streamcrawl.operators.url_length import url_length
from streamcrawl.operators.user_agent import user_agent
from streamcrawl.operators.validate import validate
from streamcrawl.operators.zip_by import zip_by

__all__ = [
    "ajax_crawl",
    "at_most_once",
    "batch",
    "changed",
    "conditional",
    "cookies",
    "copied_fields",
    "decompress",
    "default_headers",
    "default_layers",
    "depth",
    "down",
    "download",
    "download_stats",
    "feed",
    "files",
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
    "pipeline",
    "proxy",
    "redirect",
    "referer",
    "retry",
    "robots_txt",
    "scope",
    "scope_links",
    "scrape",
    "size_limit",
    "sqlite",
    "start_mark",
    "strict",
    "throttle",
    "timeout",
    "up",
    "url_length",
    "user_agent",
    "validate",
    "zip_by",
]

check_arguments(__name__, __all__)


def __getattr__(name: str) -> object:
    from reactivex import operators as rx

    what = f"module {__name__!r} has no attribute {name!r}"
    if not name.startswith("_") and hasattr(rx, name):
        raise AttributeError(
            f"{what}: it is reactivex's, from reactivex import operators as rx, and write rx.{name}(…)"
        )
    raise AttributeError(what)
