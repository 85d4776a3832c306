"""A spider's settings: which of them are options of its crawl, and what stands for those that Scrapy has besides."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any

from streamcrawl.errors import FlowError
from streamcrawl.mistakes import nearest


class Settings(MutableMapping[str, Any]):
    """Settings by name, under the methods that Scrapy's have. Once the spider is made of them they are read only."""

    def __init__(self, values: Mapping[str, Any] | None = None, *, frozen: bool = False) -> None:
        self._values = dict(values or {})
        self.frozen = frozen

    def getbool(self, name: str, default: bool = False) -> bool:
        """True or False, also of text. Raises: ValueError for what is neither."""
        value = self._values.get(name)
        return default if value is None else as_bool(value)

    def getint(self, name: str, default: int = 0) -> int:
        return int(self._values.get(name, default))

    def getfloat(self, name: str, default: float = 0.0) -> float:
        return float(self._values.get(name, default))

    def getlist(self, name: str, default: Iterable[Any] | None = None) -> list[Any]:
        """A list; text is taken apart at its commas."""
        value = self._values.get(name) or default or ()
        return value.split(",") if isinstance(value, str) else list(value)

    def getdict(self, name: str, default: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """A dict; text is JSON."""
        value = self._values.get(name) or default or {}
        return dict(json.loads(value) if isinstance(value, str) else value)

    def set(self, name: str, value: Any, priority: object = "project") -> None:
        """Put a setting there; what was said before gives way, whatever the priorities."""
        self[name] = value

    def copy(self) -> Settings:
        """Settings of the same values that may be changed."""
        return Settings(self._values)

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def __setitem__(self, name: str, value: Any) -> None:
        if self.frozen:
            raise TypeError(f"the setting {name} cannot be changed any more: update_settings() is the place")
        self._values[name] = value

    def __delitem__(self, name: str) -> None:
        if self.frozen:
            raise TypeError(f"the setting {name} cannot be changed any more: update_settings() is the place")
        del self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"<Settings {self._values!r}>"


@dataclass(frozen=True, slots=True)
class Option:
    """A setting that is an option of the crawl.

    Args:
        name: Of the option.
        read: Makes the option's value of the setting's, text too. Raises: ValueError, TypeError.
        what: What the setting is to be, for people.
        off: The value that says "none".
    """

    name: str
    read: Callable[[Any], Any]
    what: str
    off: Any = None


def _whole(least: int) -> Callable[[Any], int]:
    def read(value: Any) -> int:
        number = int(value)
        if number < least or isinstance(value, bool) or (isinstance(value, float) and not value.is_integer()):
            raise ValueError(value)
        return number

    return read


def _seconds(value: Any) -> float:
    if isinstance(value, bool) or not 0 <= float(value) < float("inf"):
        raise ValueError(value)
    return float(value)


def _folder(value: Any) -> str:
    return os.fsdecode(value)


def as_bool(value: Any) -> bool:
    """True or False, 1 or 0, or one of these as text, as settings have it. Raises: ValueError."""
    text = str(value).strip().lower()
    if text in ("1", "true", "yes", "on"):
        return True
    if text in ("0", "false", "no", "off", "none", ""):
        return False
    raise ValueError(value)


OPTIONS: dict[str, Option] = {
    "CLOSESPIDER_ITEMCOUNT": Option("limit_items", _whole(0), "a whole number, 0 or more", off=0),
    "CLOSESPIDER_PAGECOUNT": Option("limit_pages", _whole(0), "a whole number, 0 or more", off=0),
    "CONCURRENT_REQUESTS": Option("concurrency", _whole(1), "a whole number, 1 or more"),
    "CONCURRENT_REQUESTS_PER_DOMAIN": Option("per_host", _whole(1), "a whole number, 1 or more"),
    "DOWNLOAD_DELAY": Option("delay", _seconds, "a number of seconds, 0 or more"),
    "JOBDIR": Option("job", _folder, "the path of a directory", off=""),
}
"""Settings of a spider that are an option of its crawl."""

SWITCHES = {"CRAWLSPIDER_FOLLOW_LINKS": True, "RANDOMIZE_DOWNLOAD_DELAY": True}
"""Those that are True or False, and what they are if nobody says it."""

ELSEWHERE = {
    "ADDONS": "a function that takes a Crawl and gives one",
    "AJAXCRAWL_ENABLED": "ops.default_layers(ajax_crawl=ops.ajax_crawl())",
    "AUTOTHROTTLE_ENABLED": "ops.default_layers(throttle=ops.throttle(auto=AutoThrottle()))",
    "AUTOTHROTTLE_MAX_DELAY": "AutoThrottle(ceiling=…)",
    "AUTOTHROTTLE_START_DELAY": "AutoThrottle(start=…)",
    "AUTOTHROTTLE_TARGET_CONCURRENCY": "AutoThrottle(target=…)",
    "CLOSESPIDER_ERRORCOUNT": "crawler.events.on(CallbackFailed, …) in from_crawler, and crawler.run.end(reason)",
    "CLOSESPIDER_TIMEOUT": 'asyncio.get_running_loop().call_later(seconds, self.crawler.run.end, "timeout") in start()',
    "COMPRESSION_ENABLED": "Wire(decompress=False)",
    "CONCURRENT_ITEMS": "Crawl(memory=…), or ops.map_async(limit=…)",
    "COOKIES_DEBUG": "ops.default_layers(cookies=ops.cookies(debug=True))",
    "COOKIES_ENABLED": "ops.default_layers(cookies=None)",
    "DEFAULT_REQUEST_HEADERS": "ops.default_layers(default_headers=ops.default_headers(…))",
    "DEPTH_LIMIT": "ops.depth(limit=…)",
    "DEPTH_PRIORITY": "ops.depth(priority=…)",
    "DEPTH_STATS_VERBOSE": "ops.depth(verbose=True)",
    "DOWNLOADER_MIDDLEWARES": "ops.download(*ops.default_layers(), ops.on_request(function))",
    "DOWNLOAD_MAXSIZE": "Wire(max_size=…)",
    "DOWNLOAD_SLOTS": "Crawl(slots=…)",
    "DOWNLOAD_TIMEOUT": "Wire(timeout=…)",
    "DUPEFILTER_CLASS": "Request(dont_filter=True)",
    "EXTENSIONS": "run.events.on(…)",
    "FEEDS": "ops.feed(…), or run -O FILE",
    "FILES_STORE": "ops.files(…)",
    "HTTPAUTH_USER": "ops.default_layers(http_auth=ops.http_auth(…))",
    "HTTPCACHE_ENABLED": "ops.default_layers(http_cache=ops.http_cache(…))",
    "HTTPERROR_ALLOWED_CODES": "ops.http_error(allow=…)",
    "HTTPERROR_ALLOW_ALL": 'ops.http_error(allow="any")',
    "HTTPPROXY_ENABLED": "ops.default_layers(proxy=None)",
    "IMAGES_STORE": "ops.images(…)",
    "IMAGES_THUMBS": "ops.images(thumbs=…)",
    "ITEM_PIPELINES": "ops.pipeline(…)",
    "LOG_LEVEL": "run --log-level",
    "MEMUSAGE_LIMIT_MB": "Crawl(memory=…)",
    "METAREFRESH_ENABLED": "ops.default_layers(meta_refresh=None)",
    "REDIRECT_ENABLED": "ops.default_layers(redirect=None)",
    "REDIRECT_MAX_TIMES": "ops.default_layers(redirect=ops.redirect(times=…))",
    "REFERER_ENABLED": "ops.scrape(…, defaults=False)",
    "REFERRER_POLICY": "ops.referer(…)",
    "RETRY_ENABLED": "ops.default_layers(retry=None)",
    "RETRY_HTTP_CODES": "ops.default_layers(retry=ops.retry(statuses=…))",
    "RETRY_TIMES": "ops.default_layers(retry=ops.retry(times=…))",
    "ROBOTSTXT_OBEY": "ops.default_layers(robots_txt=None)",
    "SPIDER_MIDDLEWARES": "ops.scrape(parse, layer, …)",
    "URLLENGTH_LIMIT": "ops.url_length(limit=…)",
    "USER_AGENT": "Wire(user_agent=…)",
}
"""Settings that Scrapy reads, and what does the same here."""

LISTED = frozenset(
    """
    AJAXCRAWL_MAXSIZE AUTOTHROTTLE_DEBUG DNSCACHE_ENABLED DNSCACHE_SIZE DNS_RESOLVER DNS_TIMEOUT DOWNLOADER
    DOWNLOADER_CLIENTCONTEXTFACTORY DOWNLOADER_CLIENT_TLS_CIPHERS DOWNLOADER_CLIENT_TLS_METHOD
    DOWNLOADER_CLIENT_TLS_VERBOSE_LOGGING DOWNLOADER_MIDDLEWARES_BASE DOWNLOADER_STATS DOWNLOAD_BIND_ADDRESS
    DOWNLOAD_DELAY_JITTER DOWNLOAD_FAIL_ON_DATALOSS DOWNLOAD_HANDLERS DOWNLOAD_HANDLERS_BASE
    DOWNLOAD_TLS_MAX_VERSION DOWNLOAD_TLS_MIN_VERSION DOWNLOAD_VERIFY_CERTIFICATES DOWNLOAD_WARNSIZE
    DUPEFILTER_DEBUG FTP_PASSIVE_MODE FTP_PASSWORD FTP_USER HTTP2_MAX_FRAME_SIZE HTTPAUTH_DOMAIN HTTPAUTH_PASS
    HTTPCACHE_ALWAYS_STORE HTTPCACHE_DBM_MODULE HTTPCACHE_DIR HTTPCACHE_EXPIRATION_SECS HTTPCACHE_GZIP
    HTTPCACHE_IGNORE_HTTP_CODES HTTPCACHE_IGNORE_MISSING HTTPCACHE_IGNORE_RESPONSE_CACHE_CONTROLS
    HTTPCACHE_IGNORE_SCHEMES HTTPCACHE_POLICY HTTPCACHE_STORAGE HTTPPROXY_AUTH_ENCODING HTTPX_HTTP2_ENABLED
    METAREFRESH_IGNORE_TAGS METAREFRESH_MAXDELAY META_COPY_WARN_SKIP_KEYS REACTOR_THREADPOOL_MAXSIZE
    REDIRECT_PRIORITY_ADJUST REFERRER_POLICIES REQUEST_FINGERPRINTER_CLASS RETRY_EXCEPTIONS
    RETRY_GIVE_UP_LOG_LEVEL RETRY_PRIORITY_ADJUST ROBOTSTXT_PARSER ROBOTSTXT_USER_AGENT SCHEDULER
    SCHEDULER_DEBUG SCHEDULER_DISK_QUEUE SCHEDULER_MEMORY_QUEUE SCHEDULER_PRIORITY_QUEUE
    SCHEDULER_START_DISK_QUEUE SCHEDULER_START_MEMORY_QUEUE SCRAPER_SLOT_MAX_ACTIVE_SIZE SPIDER_MIDDLEWARES_BASE
    TWISTED_DNS_RESOLVER
    """.split()  # noqa: SIM905 - a list of quoted names is three times as long
)
"""More settings of Scrapy; docs/scrapy-settings.md says of each what takes its place."""

_OFF = ("AJAXCRAWL_ENABLED", "AUTOTHROTTLE_ENABLED", "HTTPCACHE_ENABLED")
_ON = ("COMPRESSION_ENABLED", "COOKIES_ENABLED", "HTTPPROXY_ENABLED", "METAREFRESH_ENABLED")
_ON_TOO = ("REDIRECT_ENABLED", "REFERER_ENABLED", "RETRY_ENABLED", "ROBOTSTXT_OBEY")
AS_HERE = dict.fromkeys(_OFF, False) | dict.fromkeys((*_ON, *_ON_TOO), True)
"""Switches of ELSEWHERE, and how they stand here if nothing is said."""

ATTRIBUTES = {
    "download_delay": "Crawl(delay=…), or the setting DOWNLOAD_DELAY",
    "download_timeout": "Wire(timeout=…)",
    "http_user": "ops.default_layers(http_auth=ops.http_auth(…))",
    "max_concurrent_requests": "Crawl(per_host=…)",
    "user_agent": "Wire(user_agent=…)",
}
"""Attributes of a spider that Scrapy reads, or has read, and what does the same here."""

_NEUTRAL = ("FEED_EXPORT_ENCODING", "REQUEST_FINGERPRINTER_IMPLEMENTATION", "TELNETCONSOLE_ENABLED", "TWISTED_REACTOR")
"""Of projects that `scrapy startproject` made: there is nothing to be said of them."""


def options_of(settings: Mapping[str, Any], spider: str) -> dict[str, Any]:
    """The crawl's options that a spider's settings are; numbers may be text, as on Scrapy's command line.

    Raises: FlowError that names the setting, its value and the spider.
    """
    made: dict[str, Any] = {}
    for name, option in OPTIONS.items():
        value = settings.get(name)
        if value is None:
            continue
        try:
            read = option.read(value)
        except (TypeError, ValueError):
            raise FlowError(f"{spider}: the setting {name} is {value!r}; it must be {option.what}") from None
        if read != option.off:
            made[option.name] = read
    if not switch(settings, "RANDOMIZE_DOWNLOAD_DELAY", spider):
        made["jitter"] = 0.0
    switch(settings, "CRAWLSPIDER_FOLLOW_LINKS", spider)
    return made


def switch(settings: Mapping[str, Any], name: str, spider: str) -> bool:
    """A setting that is True or False. Raises: FlowError."""
    value = settings.get(name)
    try:
        return SWITCHES[name] if value is None else as_bool(value)
    except ValueError:
        raise FlowError(f"{spider}: the setting {name} is {value!r}; it must be True or False") from None


_PLACES = {
    ("ops.default_layers(",): "Crawl.of(…).replace(download=ops.download(*?))",
    ("Wire(",): "Crawl.of(…).replace(download=ops.download(fetch=?))",
    ("ops.depth(", "ops.http_error(", "ops.referer(", "ops.url_length("): "Crawl.of(…).replace(layers=(?,))",
    ("ops.files(", "ops.images(", "ops.pipeline("): "Crawl.of(…).pipe(?)",
}
"""Where calls stand that begin so."""


def _whole_of(call: str) -> str:
    """Where a call belongs in the flow of a spider."""
    for beginnings, whole in _PLACES.items():
        if call.startswith(beginnings) and call.endswith(")"):
            return whole.replace("?", call)
    return call


def unread(settings: Mapping[str, Any], attributes: Iterable[str], spider: str) -> Iterator[tuple[str, str]]:
    """What is to be told of settings and attributes that do nothing to the crawl: (level, text)."""
    own: list[str] = []
    for name in attributes:
        if name in ATTRIBUTES:
            yield "warning", f"{spider}: the attribute {name} does nothing here, write {_whole_of(ATTRIBUTES[name])}"
    for name in sorted(map(str, settings)):
        if name in OPTIONS or name in SWITCHES or name in _NEUTRAL:
            continue
        known = name in ELSEWHERE or name in LISTED
        near = "" if known else nearest(name, (*OPTIONS, *SWITCHES, *ELSEWHERE, *LISTED), 0.85)
        if name in AS_HERE and str(settings[name]).strip().lower() in (("0", "false"), ("1", "true"))[AS_HERE[name]]:
            continue
        if known:
            write = f"write {_whole_of(ELSEWHERE[name])}" if name in ELSEWHERE else "see docs/scrapy-settings.md"
            yield "warning", f"{spider}: the setting {name} does nothing here, {write}"
        elif near:
            yield "warning", f"{spider}: there is no setting {name}; did you mean {near}?"
        else:
            own.append(name)
    if own:
        yield "info", f"settings of {spider} that nothing but the spider reads: {', '.join(own)}"
