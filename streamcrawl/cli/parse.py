"""`streamcrawl parse`: what a callback makes of a page."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from typing import TYPE_CHECKING, Any, cast

from streamcrawl.cli.cassettes import Missed, add_cassettes, with_cassette
from streamcrawl.cli.exits import FAILED, FINISHED, INTERRUPTED, WrongUsage, discreet, one_line
from streamcrawl.cli.flows import FlowFile, add_spider_arguments, crawl_in, file_from
from streamcrawl.cli.run import positive

if TYPE_CHECKING:
    from streamcrawl.core import Request
    from streamcrawl.crawl.crawl import Crawl
    from streamcrawl.crawl.run import Run
    from streamcrawl.response import Response

HELP = "show what a callback makes of a page"
DESCRIPTION = """\
Fetch a page through the layers of a flow, give it to a callback, and print the items and the links that come of it;
with --depth N those of the pages that the links lead to as well."""
EXAMPLES = """\
  streamcrawl parse https://example.com/ --spider shop.py
  streamcrawl parse https://example.com/p/1 --spider shop.py:Shop --callback product --nolinks
  streamcrawl parse https://example.com/ --spider shop.py --depth 2 --pipelines
  streamcrawl parse https://example.com/p/1 --spider shop.py --rules --meta '{"page": 2}'
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What `streamcrawl parse` takes."""
    parser.add_argument("url", metavar="URL", help="of the page")
    parser.add_argument("--spider", required=True, metavar="FILE[:name]", help="a Python file with a spider or a crawl")
    add_spider_arguments(parser)
    who = parser.add_mutually_exclusive_group()
    who.add_argument(
        "--callback", "-c", metavar="NAME", help="a method of the spider, or a function in the file; parse if left out"
    )
    who.add_argument("--rules", "-r", action="store_true", help="the callback that the spider's rules say for the URL")
    parser.add_argument("--depth", "-d", type=positive, default=1, metavar="N", help="levels of pages; 1 if left out")
    parser.add_argument("--meta", "-m", type=_object, default={}, metavar="JSON", help="the request's meta")
    parser.add_argument(
        "--cbkwargs", type=_object, default={}, metavar="JSON", help="keyword arguments of the callback"
    )
    parser.add_argument(
        "--pipelines", action="store_true", help="send the items on to what follows in the flow: sinks too"
    )
    parser.add_argument("--noitems", action="store_true", help="print no items")
    parser.add_argument("--nolinks", action="store_true", help="print no links")
    add_cassettes(parser)


def _object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no JSON: {error}") from error
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError(f'{text!r} is no JSON object, such as {{"page": 2}}')
    return cast("dict[str, Any]", value)


class Level:
    """What came of the pages so many links away."""

    def __init__(self) -> None:
        self.pages = 0
        self.items: list[Any] = []
        self.links: list[Request] = []


def execute(arguments: argparse.Namespace) -> int:
    """Fetch, parse, print."""
    from streamcrawl.cli.lines import logging_lines

    with logging_lines("warning"), file_from(arguments.spider) as file:
        crawl = with_cassette(crawl_in(file, dict(arguments.arguments)), arguments)
        parsing = Parsing(arguments, callback_of(crawl, file, arguments))
        code = parsing.run(crawl)
    for depth, level in enumerate(parsing.levels, 1):
        show(depth, level, items=not arguments.noitems, links=not arguments.nolinks)
    return code


def callback_of(crawl: Crawl[Any], file: FlowFile, arguments: argparse.Namespace) -> Callable[[Run], Any]:
    """Finds the callback, and what else its request has, when the run is there. Raises: WrongUsage."""
    from streamcrawl.crawl.of import OfSpider
    from streamcrawl.testing.contracts_check import spider_of

    scraping, name = crawl.pipes.scrape, arguments.callback
    described = None if scraping is None else scraping.callback
    owner: Any = getattr(described, "__self__", None)
    kind: Any = described.spider if isinstance(described, OfSpider) else owner.__class__
    if arguments.rules:
        if not getattr(kind, "rules", None):
            raise WrongUsage(f"--rules: {arguments.spider} has no spider with rules")
        return lambda run: by_rule(spider_of(run), arguments.url)
    if name is None:
        if scraping is None:
            raise WrongUsage(f"{arguments.spider}: the crawl has no ops.scrape() in its pipe: say --callback NAME")
        return lambda run: (run.crawl.pipes.scrape and run.crawl.pipes.scrape.callback, {})
    if callable(getattr(kind, name, None)):
        return lambda run: (getattr(spider_of(run), name), {})
    function = getattr(file.module, name, None)
    if not callable(function):
        raise WrongUsage(f"--callback {name}: {arguments.spider} has no method and no function of that name")
    return lambda run: (function, {})


def by_rule(spider: Any, url: str) -> tuple[Callable[..., Any], dict[str, Any]]:
    """The callback of the first rule that the URL matches, and the meta that it reads. Raises: WrongUsage."""
    for n, rule in enumerate(rules_of(spider)):
        matches = getattr(rule.link_extractor, "matches", None)
        if rule.link_extractor is None or (matches is not None and matches(url)):
            return spider._callback, {"rule": n, "link_text": ""}
    raise WrongUsage(f"--rules: no rule of {type(spider).__name__} matches {url}")


def rules_of(spider: Any) -> tuple[Any, ...]:
    """The spider's rules; a single one may stand there by itself."""
    given: Any = getattr(spider, "rules", ())
    return (given,) if hasattr(given, "link_extractor") else tuple(given)


class Parsing:
    """The pages of a few levels, and what comes of them."""

    def __init__(self, arguments: argparse.Namespace, find: Callable[[Run], Any]) -> None:
        self._arguments = arguments
        self._find = find
        self._runs: list[Run] = []
        self._errors: list[str] = []
        self.levels = [Level() for _ in range(arguments.depth)]

    def run(self, crawl: Crawl[Any]) -> int:
        """Parse; the exit code. Raises: WrongUsage, FlowError."""
        from streamcrawl.errors import FlowError, InvalidURL
        from streamcrawl.testing.contracts_check import bare

        missed = Missed()

        def on_start(run: Run) -> None:
            self._runs.append(run)
            self._listen(run)
            missed.listen(run)

        try:
            summary = bare(crawl, self._start, with_items=self._arguments.pipelines).run(on_start)
        except (FlowError, InvalidURL) as error:
            cause = error.__cause__
            raise WrongUsage(one_line(cause if isinstance(cause, (WrongUsage, InvalidURL)) else error)) from error
        for text in self._errors:
            print(f"error: {discreet(text)}", file=sys.stderr)
        if summary.reason == "interrupted":
            return INTERRUPTED
        return missed.told(FAILED if self._errors or not self.levels[0].pages else FINISHED)

    def _listen(self, run: Run) -> None:
        from streamcrawl.events import CallbackFailed, ItemFailed, RequestDropped, RequestFailed

        tell = self._errors.append
        run.events.on(RequestFailed, lambda event: tell(_about(event.failed.request, one_line(event.failed.error))))
        run.events.on(CallbackFailed, lambda event: tell(one_line(event.error)))
        run.events.on(ItemFailed, lambda event: tell(f"item failed: {one_line(event.error)}"))

        def dropped(event: RequestDropped) -> None:
            if event.dropped.request.start:
                tell(_about(event.dropped.request, f"dropped: {event.dropped.reason}"))

        run.events.on(RequestDropped, dropped)

    def _start(self) -> Iterator[Request]:
        from streamcrawl.core import Request
        from streamcrawl.urls import normalize

        callback, meta = self._find(self._runs[0])
        yield Request(
            normalize(self._arguments.url),
            callback=self._watched(callback, 0),
            cb_kwargs=self._arguments.cbkwargs,
            meta={**meta, **self._arguments.meta},
        )

    def _watched(self, callback: Callable[..., Any], depth: int) -> Callable[..., Any]:
        """The callback, and what it gives is noted; links go on to the next level, if there is one."""
        from streamcrawl.core import Request
        from streamcrawl.testing.contracts_check import outputs_of

        level, last = self.levels[depth], depth + 1 == len(self.levels)
        scraping = self._runs[0].crawl.pipes.scrape
        assert scraping is not None
        default = scraping.callback

        async def watched(response: Response, **kwargs: Any) -> AsyncIterator[Any]:
            level.pages += 1
            async for output in outputs_of(callback(response, **kwargs)):
                if isinstance(output, Request):
                    level.links.append(output)
                    if not last:
                        yield output.replace(callback=self._watched(output.callback or default, depth + 1))
                else:
                    level.items.append(output)
                    if self._arguments.pipelines:
                        yield output

        return watched


def _about(request: Request, text: str) -> str:
    return text if request.url in text else f"{request.url}: {text}"


def show(depth: int, level: Level, *, items: bool, links: bool) -> None:
    """Print what came of one level."""
    counts = (many(level.pages, "page"), many(len(level.items), "item"), many(len(level.links), "link"))
    print(f"--- depth {depth}: {', '.join(counts)}")
    if items:
        for item in level.items:
            print(written(item))
    if links:
        for link in level.links:
            method = "" if link.method == "GET" else f"{link.method} "
            name = name_of(link)
            print(f"{method}{link.url}{f'  -> {name}' if name else ''}")


def name_of(link: Request) -> str:
    """Of the callback that takes its page; of a link that a rule has found, the rule's."""
    name: str = getattr(link.callback, "__name__", "")
    n = link.meta.get("rule")
    if name != "_callback" or not isinstance(n, int):
        return name
    rule = rules_of(getattr(link.callback, "__self__", None))[n]
    callback: str = rule.callback if isinstance(rule.callback, str) else getattr(rule.callback, "__name__", "")
    return f"{callback} (rule {n})" if callback else f"rule {n}, for its links"


def many(count: int, what: str) -> str:
    """Such as "2 items"."""
    return f"{count} {what}{'' if count == 1 else 's'}"


def written(item: Any) -> str:
    """An item as one line of JSON; what JSON cannot say as Python writes it."""
    import msgspec

    from streamcrawl.items import as_dict, is_item

    if not is_item(item):
        return f"{item!r}  (neither an item nor a Request)"
    try:
        return msgspec.json.format(msgspec.json.encode(as_dict(item), enc_hook=_plain), indent=0).decode()
    except (TypeError, ValueError):
        return repr(item)


def _plain(value: Any) -> Any:
    from streamcrawl.items import as_dict, is_item

    return as_dict(value) if is_item(value) else repr(value)
