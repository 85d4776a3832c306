"""docs/scrapy-settings.md: each of Scrapy's settings and meta keys has its row, and every argument named is there."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import streamcrawl
from streamcrawl import Request, Response, caching, operators, throttling
from streamcrawl.operators.default_layers import default_layers

PAGE = (Path(__file__).parent.parent / "docs" / "scrapy-settings.md").read_text("utf-8")

SETTINGS = """
AJAXCRAWL_ENABLED AJAXCRAWL_MAXSIZE COMPRESSION_ENABLED COOKIES_ENABLED COOKIES_DEBUG DEFAULT_REQUEST_HEADERS
DOWNLOADER_MIDDLEWARES DOWNLOADER_MIDDLEWARES_BASE DOWNLOADER_STATS DOWNLOAD_MAXSIZE DOWNLOAD_TIMEOUT DOWNLOAD_WARNSIZE
HTTPAUTH_USER HTTPAUTH_PASS HTTPAUTH_DOMAIN HTTPCACHE_ENABLED HTTPCACHE_POLICY HTTPCACHE_STORAGE HTTPCACHE_DIR
HTTPCACHE_DBM_MODULE HTTPCACHE_GZIP HTTPCACHE_EXPIRATION_SECS HTTPCACHE_IGNORE_HTTP_CODES HTTPCACHE_IGNORE_SCHEMES
HTTPCACHE_IGNORE_MISSING HTTPCACHE_ALWAYS_STORE HTTPCACHE_IGNORE_RESPONSE_CACHE_CONTROLS HTTPPROXY_ENABLED
HTTPPROXY_AUTH_ENCODING METAREFRESH_ENABLED METAREFRESH_IGNORE_TAGS METAREFRESH_MAXDELAY REDIRECT_ENABLED
REDIRECT_MAX_TIMES REDIRECT_PRIORITY_ADJUST RETRY_ENABLED RETRY_TIMES RETRY_HTTP_CODES RETRY_EXCEPTIONS
RETRY_PRIORITY_ADJUST RETRY_GIVE_UP_LOG_LEVEL ROBOTSTXT_OBEY ROBOTSTXT_PARSER ROBOTSTXT_USER_AGENT USER_AGENT
DEPTH_LIMIT DEPTH_PRIORITY DEPTH_STATS_VERBOSE HTTPERROR_ALLOWED_CODES HTTPERROR_ALLOW_ALL META_COPY_WARN_SKIP_KEYS
REFERER_ENABLED REFERRER_POLICY REFERRER_POLICIES SPIDER_MIDDLEWARES SPIDER_MIDDLEWARES_BASE URLLENGTH_LIMIT
AUTOTHROTTLE_ENABLED AUTOTHROTTLE_START_DELAY AUTOTHROTTLE_MAX_DELAY AUTOTHROTTLE_TARGET_CONCURRENCY AUTOTHROTTLE_DEBUG
CONCURRENT_ITEMS CONCURRENT_REQUESTS CONCURRENT_REQUESTS_PER_DOMAIN DNSCACHE_ENABLED DNSCACHE_SIZE DNS_RESOLVER
TWISTED_DNS_RESOLVER DNS_TIMEOUT DOWNLOADER DOWNLOADER_CLIENTCONTEXTFACTORY DOWNLOADER_CLIENT_TLS_CIPHERS
DOWNLOADER_CLIENT_TLS_METHOD DOWNLOADER_CLIENT_TLS_VERBOSE_LOGGING DOWNLOAD_TLS_MIN_VERSION DOWNLOAD_TLS_MAX_VERSION
DOWNLOAD_BIND_ADDRESS DOWNLOAD_DELAY DOWNLOAD_DELAY_JITTER RANDOMIZE_DOWNLOAD_DELAY DOWNLOAD_FAIL_ON_DATALOSS
DOWNLOAD_HANDLERS DOWNLOAD_HANDLERS_BASE DOWNLOAD_SLOTS DOWNLOAD_VERIFY_CERTIFICATES FTP_USER FTP_PASSWORD
FTP_PASSIVE_MODE HTTPX_HTTP2_ENABLED HTTP2_MAX_FRAME_SIZE REACTOR_THREADPOOL_MAXSIZE SCRAPER_SLOT_MAX_ACTIVE_SIZE
DUPEFILTER_CLASS REQUEST_FINGERPRINTER_CLASS DUPEFILTER_DEBUG JOBDIR SCHEDULER SCHEDULER_DISK_QUEUE
SCHEDULER_MEMORY_QUEUE SCHEDULER_PRIORITY_QUEUE SCHEDULER_START_DISK_QUEUE SCHEDULER_START_MEMORY_QUEUE SCHEDULER_DEBUG
"""
"""Of Scrapy 2.19 (and AjaxCrawl's, which it has removed): what middlewares, downloader and scheduler read."""

KEYS = """
ajax_crawlable allow_offsite autothrottle_dont_adjust_delay bindaddress cache_timestamp cached_response cookiejar depth
depth_reset dont_cache dont_merge_cookies dont_obey_robotstxt dont_redirect dont_retry download_fail_on_dataloss
download_latency download_maxsize download_slot download_timeout download_warnsize ftp_user ftp_password ftp_passive
ftp_local_filename give_up_log_level handle_httpstatus_all handle_httpstatus_list http_user http_pass http_auth_domain
is_start_request max_retry_times priority_adjust proxy redirect_times redirect_urls redirect_reasons redirect_ttl
referrer_policy retry_times rule link_text verbatim_url _auth_proxy _scheme_proxy _dont_cache
"""
"""Of `Request.meta` in Scrapy 2.19."""

KNOWN: dict[str, Callable[..., Any]] = {
    name: value
    for module in (throttling, caching, operators, streamcrawl)
    for name in dir(module)
    if callable(value := getattr(module, name))
}


def rows() -> dict[str, str]:
    """Each name in the first column of a table, and what stands beside it."""
    found: dict[str, str] = {}
    for line in PAGE.splitlines():
        cells = re.fullmatch(r"\| (`.*?) \| (.*) \|", line)
        if cells is not None:
            for name in re.findall(r"`([^`]+)`", cells[1]):
                assert name not in found, f"{name} has two rows"
                found[name] = cells[2]
    return found


def expressions() -> Iterator[ast.expr]:
    """What stands in code beside a name."""
    for text in rows().values():
        for code in re.findall(r"`([^`]+)`", text):
            try:
                yield ast.parse(code.replace("…", "..."), mode="eval").body
            except SyntaxError:  # such as a URL, or an operator and its arrow
                assert "(" not in code, code


def calls() -> list[ast.Call]:
    return [
        node
        for expression in expressions()
        for node in ast.walk(expression)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    ]


def test_every_setting_and_every_key_has_its_row_and_no_other_has_one() -> None:
    others = {"allowed_domains"}
    assert set(rows()) == {*SETTINGS.split(), *KEYS.split(), *others}


def test_no_row_is_empty() -> None:
    for name, text in rows().items():
        assert "`" in text or text.startswith(("none", "a body")), name


def test_every_argument_named_there_is_there() -> None:
    checked = 0
    for call in calls():
        name = ast.unparse(call.func)
        given = {each.arg: None for each in call.keywords if each.arg is not None}
        assert name in KNOWN, f"{ast.unparse(call)}: nothing is called so"
        if name == "default_layers":
            assert len(default_layers(**given)) >= 8  # a ValueError for a layer that there is not
        else:
            # A TypeError for an argument that there is not.
            inspect.signature(KNOWN[name]).bind_partial(*call.args, **given)
        checked += len(given)
    assert checked > 100


def test_every_field_named_there_is_there() -> None:
    holders = {"request": Request("http://a.example/"), "response": Response("http://a.example/")}
    named = [
        (node.value.id, node.attr)
        for expression in expressions()
        for node in ast.walk(expression)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in holders
    ]
    assert {name for name, _ in named} == set(holders)
    for name, field in named:
        assert hasattr(holders[name], field), f"{name}.{field}"


@pytest.mark.parametrize(
    ("call", "said"),
    [("retry(tries=3)", "tries"), ("Wire(bind='x')", "bind"), ("Request(url, dont_redirect=True)", "dont_redirect")],
)
def test_an_argument_that_is_not_there_would_be_noticed(call: str, said: str) -> None:
    parsed = ast.parse(call, mode="eval").body
    assert isinstance(parsed, ast.Call)
    given = {each.arg: None for each in parsed.keywords if each.arg is not None}
    with pytest.raises(TypeError, match=said):
        inspect.signature(KNOWN[ast.unparse(parsed.func)]).bind_partial(*parsed.args, **given)
