"""Mistakes in the user's own code: where they were made, and what was meant."""

from __future__ import annotations

import os
import re
import sysconfig
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from types import FrameType, FunctionType, TracebackType
from typing import Any

from streamcrawl import response
from streamcrawl.core import Request, RequestOptions
from streamcrawl.errors import StreamcrawlError

_HERE = Path(__file__).parent
_OURS = tuple({f"{folder}{os.sep}" for folder in (_HERE, _HERE.resolve(), (_HERE / "operators").resolve())})
_PYTHON = tuple({f"{sysconfig.get_path(name)}{os.sep}" for name in ("stdlib", "platstdlib")})
_INSTALLED = tuple(f"{os.sep}{name}{os.sep}" for name in ("site-packages", "dist-packages"))
_TYPED = ("<stdin>", "<console>", "<code>", "<ipython")
"""How the names of files begin that somebody has typed at a prompt."""

_BEHIND = ("__wrapped__", "func", "__func__")
"""What a decorated function, a partial and a method name the function with that they call."""

_CREDENTIALS = re.compile(r"(\w://)[^\s/?#@'\"<>]*@")
_RESPONSE = response.__file__
_UNEXPECTED = re.compile(r"^Unexpected keyword argument '(\w+)'$")


def said(error: BaseException) -> str:
    """The error in one line: its type, its text, what was meant if that is plain, and the user's file and line."""
    text = _meant(error) or (" ".join(error.msg.split()) if isinstance(error, SyntaxError) else _text(error))
    what = f"{type(error).__name__}: {text}" if text else type(error).__name__
    where = place_of(error)
    return f"{what} ({where})" if where else what


def _text(error: BaseException) -> str:
    """What it says, on one line; "" if it cannot say it, which is not the mistake that is told."""
    try:
        return " ".join(str(error).split())
    except Exception:
        return ""


def place_of(error: BaseException, causes: int = 20) -> str:
    """Such as "shop.py:12, in parse": the deepest line of the user's own code that led to the error.

    Own is what is neither Python's nor installed. If there is none, it is the line of installed code that was called
    first: a project may be installed as well. "" if there is none of that either. `causes`: how far back it is looked.
    """
    if isinstance(error, SyntaxError) and error.filename is not None and error.lineno is not None:
        return f"{shown_path(error.filename)}:{error.lineno}"
    own = installed = deepest = ""
    trace: TracebackType | None = error.__traceback__
    while trace is not None:
        deepest = whose = _whose(trace.tb_frame.f_code.co_filename)
        if whose == "own":
            own = _place(trace)
        elif whose == "installed" and not installed:
            installed = _place(trace)
        trace = trace.tb_next
    before = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if causes and deepest != "own" and before is not None and _below(before, causes):
        return place_of(before, causes - 1)  # a library called code of the user's, and wrapped what that raised
    return own or installed


def paused_at(outputs: Any) -> str:
    """Where in the user's own code a generator stands that has just given something; "" if it is no generator."""
    found = ""
    while outputs is not None:
        frame: FrameType | None = getattr(outputs, "gi_frame", None) or getattr(outputs, "ag_frame", None)
        if frame is not None and _whose(frame.f_code.co_filename) == "own":
            found = f"{shown_path(frame.f_code.co_filename)}:{frame.f_lineno}, in {frame.f_code.co_name}"
        outputs = getattr(outputs, "gi_yieldfrom", None)
    return found


def own_function(function: object) -> FunctionType | None:
    """The function in a file of the user's that is behind a callable: a method's, a partial's, a decorated one.

    None if there is none, and for a lambda.
    """
    for _ in range(20):
        if isinstance(function, FunctionType) and _whose(function.__code__.co_filename) == "own":
            inner = getattr(function, "__wrapped__", None)
            if inner is None:
                return None if function.__name__ == "<lambda>" else function
            function = inner
        else:
            function = _behind(function)
    return None


def _behind(function: object) -> object:
    try:
        return next((found for name in _BEHIND if (found := getattr(function, name, None)) is not None), None)
    except Exception:  # whatever a class makes of being asked
        return None


def written_at(function: object) -> str:
    """Such as "shop.py:12": where a function of the user's own begins; "" if it is none."""
    found = own_function(function)
    return f"{shown_path(found.__code__.co_filename)}:{found.__code__.co_firstlineno}" if found is not None else ""


def _below(error: BaseException, causes: int) -> bool:
    """Whether own code led to the error, or to what led to it, from where it was caught."""
    trace = error.__traceback__
    while trace is not None:
        if _whose(trace.tb_frame.f_code.co_filename) == "own":
            return True
        trace = trace.tb_next
    before = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return causes > 0 and before is not None and _below(before, causes - 1)


def _place(trace: TracebackType) -> str:
    code = trace.tb_frame.f_code
    name = "" if code.co_name == "<module>" else f", in {code.co_name}"
    return f"{shown_path(code.co_filename)}:{trace.tb_lineno}{name}"


@lru_cache(maxsize=4096)
def _whose(filename: str) -> str:
    if not filename.endswith(".py"):  # made by exec, or compiled by Cython, unless somebody has typed it
        return "own" if filename.startswith(_TYPED) else "python"
    if filename.startswith(_OURS):
        return "ours"
    if any(folder in filename for folder in _INSTALLED):
        return "installed"
    return "python" if filename.startswith(_PYTHON) else "own"


def shown_path(filename: str) -> str:
    """The path as people know it: from the present folder on, if it lies there."""
    try:
        return _path_from(str(Path.cwd()), filename)
    except (OSError, ValueError):
        return filename


@lru_cache(maxsize=256)
def _path_from(folder: str, filename: str) -> str:
    """Raises: OSError, ValueError."""
    # A callback may be wrong about each link of each page: resolving asks the disk for each folder on the way.
    return str(Path(filename).resolve().relative_to(Path(folder).resolve()))


def discreet(text: str) -> str:
    """The text with stars in place of the credentials in its URLs."""
    return _CREDENTIALS.sub(r"\1***@", text) if "@" in text else text


def one_line(error: BaseException) -> str:
    """The error in one line: the project's own speak for themselves, others with their type."""
    text = discreet(_text(error))
    if isinstance(error, StreamcrawlError):
        return text or type(error).__name__
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def shortened(value: object, most: int = 200) -> str:
    """Its repr on one line, of so many characters at most, without the credentials in its URLs."""
    try:
        text = discreet(" ".join(repr(value).split()))
    except Exception:  # its own mistake, which is not the one that is told
        text = f"<{type(value).__name__}>"
    return text if len(text) <= most else f"{text[: most - 3]}..."


def plural(count: int, noun: str) -> str:
    """The noun for so many: "page", "pages"."""
    return noun if count == 1 else f"{noun}s"


def nearest(name: str, known: Iterable[str], alike: float = 0.7) -> str:
    """The known name that is most like this one; "" if none is. `alike`: 1 is the same, 0 has nothing in common."""
    from difflib import get_close_matches

    found = get_close_matches(name, list(known), 1, alike)
    return found[0] if found else ""


ELSEWHERE = {
    "data": "streamcrawl.requests.formdata_request(…), or json_request(…)",
    "delay": "Crawl(delay=…), or ops.throttle(…)",
    "download_timeout": "timeout=…",
    "flags": "meta",
    "formdata": "streamcrawl.requests.formdata_request(…)",
    "handle_httpstatus_list": "statuses=…",
    "json": "streamcrawl.requests.json_request(…)",
    "params": 'streamcrawl.requests.formdata_request(…, method="GET")',
}
"""What other libraries take by these names, and what it is called here."""


READ = {
    "cookiejar": "response.request.cookiejar",
    "depth": "response.request.depth",
    "download_latency": "response.latency",
    "download_slot": "response.request.slot",
    "download_timeout": "response.request.timeout",
    "is_start_request": "response.request.start",
    "proxy": "response.request.proxy",
    "redirect_reasons": "response.request.via_reasons",
    "redirect_times": "response.request.via",
    "redirect_urls": "response.request.via",
    "retry_times": "response.request.attempt",
}
"""What Scrapy puts into `meta`, and what has it here."""


MODULES = {
    "crawler": "streamcrawl: Crawl.of(MySpider).run()",
    "downloadermiddlewares": "streamcrawl.operators: retry, redirect, cookies, …; get_retry_request is in streamcrawl",
    "dupefilters": "streamcrawl: Request(url, dont_filter=True)",
    "exceptions": "streamcrawl: Drop takes the place of DropItem and IgnoreRequest",
    "exporters": "streamcrawl.feeds.format: FeedFormat",
    "extensions": "run.events, which an extension is a subscriber of",
    "http": "streamcrawl: Request, Response; and streamcrawl.requests: form_request, json_request",
    "item": "streamcrawl: Item, Field",
    "loader.processors": "streamcrawl.loaders: Join, MapCompose, TakeFirst, …",
    "pipelines": "streamcrawl.operators: files, images, pipeline",
    "pipelines.files": "streamcrawl.operators: files",
    "pipelines.images": "streamcrawl.operators: images",
    "selector": "streamcrawl: Selector",
    "settings": "streamcrawl.spiders.settings",
    "signals": "streamcrawl.events",
    "spidermiddlewares": "streamcrawl.operators: depth, http_error, referer, …; HttpError is in streamcrawl.errors",
    "utils": "streamcrawl.spiders.settings; what a project's settings say stands in the flow",
}
"""Modules of Scrapy, and where their names are here."""

NAMES = {
    "CloseSpider": "self.crawler.run.end(reason)",
    "CrawlerProcess": "streamcrawl.Crawl: Crawl.of(MySpider).run()",
    "CrawlerRunner": "streamcrawl.Crawl: await Crawl.of(MySpider).start()",
    "DropItem": "streamcrawl.Drop",
    "FormRequest": "streamcrawl.requests.form_request(page, …) or formdata_request(url, …)",
    "HtmlResponse": "streamcrawl.Response",
    "IgnoreRequest": "streamcrawl.Drop",
    "JsonRequest": "streamcrawl.requests.json_request(…)",
    "TextResponse": "streamcrawl.Response",
    "XmlRpcRequest": "streamcrawl.requests.xmlrpc_request(…)",
    "XmlResponse": "streamcrawl.Response",
    "signals": "streamcrawl.events",
}
"""Names of Scrapy, and what there is here."""


def _not_there(error: ImportError) -> str:
    """For an import of what has another name here; "" for any other import."""
    module = error.name or ""
    if module == "scrapy" or module.startswith("scrapy."):
        return f"No module named {module!r}; the page 'from-scrapy' of the docs says what takes its place"
    if isinstance(error, ModuleNotFoundError):
        known = MODULES.get(module.removeprefix("streamcrawl."), "") if module.startswith("streamcrawl.") else ""
        return f"there is no module {module}; look in {known}" if known else ""
    found = re.match(r"cannot import name '(\w+)'", str(error))
    if found is None or module.partition(".")[0] != "streamcrawl":
        return ""
    known = NAMES.get(found[1], "")
    return f"{module} has no {found[1]}; there is {known}" if known else ""


def no_field(name: str) -> str:
    """What is said of a field that a Request does not have."""
    if name in ELSEWHERE:
        return f"Request has no field {name!r}: there is {ELSEWHERE[name]}"
    near = nearest(name, Request.__struct_fields__)
    return f"Request has no field {name!r}; " + (
        f"did you mean {near!r}?" if near else f"its fields are url, {', '.join(RequestOptions.__annotations__)}"
    )


FAILURE = {
    "check": "isinstance(failure.error, …)",
    "getErrorMessage": "str(failure.error)",
    "getTraceback": "traceback.format_exception(failure.error)",
    "trap": "isinstance(failure.error, …)",
    "type": "type(failure.error)",
    "value": "failure.error",
}
"""What a Failure of Twisted has, and what a Failed has for it."""

RETRIES = {
    "logger": "a Notice tells of the end: give_up_level=…",
    "max_retry_times": "there is times=…",
    "priority_adjust": "there is priority=…",
    "spider": "leave it out: it knows the run",
    "stats_base_key": "there is stats_key=…",
}
"""What Scrapy's function of that name takes, and what it is called here."""

_RETRIES = re.compile(rf"^get_retry_request\(\) got an unexpected keyword argument '({'|'.join(RETRIES)})'")

_LONG = frozenset({"body", "cookies", "headers", "proxy"})
"""Fields whose values are not shown: too long, or secret."""


def no_change(name: str, value: object) -> str:
    """What is said where a field of a Request is set."""
    if name not in Request.__struct_fields__:
        return no_field(name)
    shown = "…" if name in _LONG else shortened(value, 60)
    return f"a Request does not change: request.replace({name}={shown}) gives one that differs"


def _meant(error: BaseException) -> str:
    """What is said instead of the error's own text.

    For an unknown argument that a Request was made with: msgspec does not say of what it is none. And for a key of
    Scrapy's in `meta`.
    """
    if isinstance(error, ImportError):
        return _not_there(error)
    trace = _deepest(error)
    if isinstance(error, KeyError) and trace is not None and ".meta[" in _source(trace):
        key = error.args[0] if error.args else None
        return f"{key!r}: meta is yours alone; write {READ[key]}" if key in READ else ""
    if isinstance(error, TypeError) and (renamed := _RETRIES.search(_text(error))):
        return f"get_retry_request() takes no {renamed[1]!r}; {RETRIES[renamed[1]]}"
    found = _UNEXPECTED.search(_text(error)) if isinstance(error, TypeError) else None
    if found is None or trace is None:
        return ""
    follows = trace.tb_frame.f_code.co_filename == _RESPONSE
    return no_field(found[1]) if follows or "Request(" in _source(trace) else ""


def _deepest(error: BaseException) -> TracebackType | None:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace


def _source(trace: TracebackType) -> str:
    """The source of the expression that was at work."""
    import linecache

    code = trace.tb_frame.f_code
    places = list(code.co_positions())
    first, last, _, _ = places[trace.tb_lasti // 2] if trace.tb_lasti // 2 < len(places) else (None,) * 4
    if first is None or last is None:
        return ""
    return "".join(linecache.getline(code.co_filename, line) for line in range(first, last + 1))
