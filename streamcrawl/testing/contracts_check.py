"""Contracts checked: each callback on its page, through the layers of its crawl."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple, cast

from streamcrawl.core import Dropped, Failed, Fetch, Request
from streamcrawl.crawl.crawl import Crawl
from streamcrawl.crawl.of import OfSpider
from streamcrawl.crawl.run import Run
from streamcrawl.errors import StreamcrawlError
from streamcrawl.items import is_item
from streamcrawl.mistakes import place_of
from streamcrawl.operators.download import download
from streamcrawl.operators.scrape import scrape
from streamcrawl.response import Response
from streamcrawl.spiders.spider import Spider
from streamcrawl.streams.fetching import FetchMaker
from streamcrawl.streams.kinds import is_async_iterable, is_awaitable, is_several
from streamcrawl.streams.layer import stray
from streamcrawl.testing.cassette import with_fetch
from streamcrawl.testing.contracts import Contract, ContractFailed, Example, Line, by_name, examples
from streamcrawl.urls import normalize

MOST = 100_000
"""Outputs of one callback that are gathered for its contracts: one that never ends is told, not waited for."""


class Checked(NamedTuple):
    """What came of one contract.

    Args:
        callback: Such as "QuotesSpider.parse".
        line: The contract as it stands in the docstring.
        verdict: "ok"; "failed", with the reason; "not run", because another one of the same page has failed before.
        reason: One line.
    """

    callback: str
    line: str
    verdict: Literal["ok", "failed", "not run"]
    reason: str = ""

    def __str__(self) -> str:
        return f"{self.callback} {self.line}: {self.verdict}{f': {self.reason}' if self.reason else ''}"


@dataclass(frozen=True, slots=True)
class Tested:
    """A callback with contracts: a function, or the name of a method of the spider that the run makes."""

    name: str
    call: Callable[..., Any] | str
    examples: tuple[Example, ...]


def callbacks_with_contracts(
    crawl: Crawl[Any] | type[Spider] | None,
    functions: Iterable[Callable[..., Any]] = (),
    contracts: Iterable[Contract] = (),
) -> list[Tested]:
    """The callbacks with contracts: methods of a spider, or of the object that the crawl's callback belongs to; the
    crawl's callback itself; and `functions`.

    Raises: TypeError for what is no Contract.
    """
    known = by_name(contracts)
    found: dict[str, Tested] = {}

    def add(name: str, call: Callable[..., Any] | str, docstring: str | None) -> None:
        made = tuple(examples(name, docstring, known))
        if made and name not in found:
            found[name] = Tested(name, call, made)

    callback: Any = crawl.pipes.scrape.callback if isinstance(crawl, Crawl) and crawl.pipes.scrape else None
    owner: Any = getattr(callback, "__self__", None)
    kind: type[Any] | None = crawl if isinstance(crawl, type) else None if owner is None else owner.__class__
    if isinstance(callback, OfSpider):
        kind = callback.spider
    if kind is not None:
        for name, method in _methods(kind):
            add(f"{kind.__name__}.{name}", name if owner is None else getattr(owner, name), method.__doc__)
    for each in functions if kind is not None or callback is None else (callback, *functions):
        add(str(getattr(each, "__name__", type(each).__name__)), each, each.__doc__)
    return list(found.values())


def _methods(kind: type[Any]) -> Iterator[tuple[str, Any]]:
    """The methods of a class, those of its bases first, in the order in which they are written."""
    seen: set[str] = set()
    for base in reversed(kind.__mro__):
        for name in vars(base):
            method: Any = getattr(kind, name, None)
            if name not in seen and (inspect.isfunction(method) or inspect.ismethod(method)):
                seen.add(name)
                yield name, method


async def check_contracts(
    target: Crawl[Any] | type[Spider] | None = None,
    *functions: Callable[..., Any],
    contracts: Iterable[Contract] = (),
    fetch: Fetch | FetchMaker | None = None,
    only: Callable[[str], bool] = lambda name: True,
    **arguments: Any,
) -> list[Checked]:
    """Try callbacks on the pages that their contracts name, and tell of each contract whether it holds.

    Args:
        target: A spider's class or a crawl, whose layers and options hold; None: the default layers.
        functions: Further callbacks.
        contracts: Kinds of contracts besides the project's own.
        fetch: What brings the pages, such as `replaying("shop.cassette")`; None: what the crawl has, the network.
        only: Whether to try the callback of this name.
        arguments: For the spider.

    Raises: FlowError for a spider that cannot be made; what stopped the run.
    """
    crawl = Crawl.of(target, **arguments) if isinstance(target, type) else target
    tested = [each for each in callbacks_with_contracts(crawl, functions, contracts) if only(each.name)]
    trials = [_Trial(each.call, example) for each in tested for example in each.examples]
    if not trials:
        return []
    runs: list[Run] = []
    made = bare(crawl, lambda: (request for trial in trials for request in trial.requests(runs[0])))
    if fetch is not None:
        made = with_fetch(made, fetch)
    runs.append(made.start())
    summary = await runs[0]
    if summary.error is not None:
        raise summary.error
    return [checked for trial in trials for checked in trial.checked(summary.reason)]


def bare(crawl: Crawl[Any] | None, start: Callable[[], Iterable[Request]], *, with_items: bool = False) -> Crawl[Any]:
    """The crawl with another start, taken once its run is there, with neither a job nor limits.

    Args:
        crawl: None: one of the default layers.
        start: Gives the requests.
        with_items: What stands behind `scrape` stays.
    """
    lazy = _Lazy(start)
    if crawl is None or crawl.pipes.download is None:
        return Crawl(lazy).pipe(download(), scrape(_nothing))
    items = 0 if with_items and crawl.pipes.scrape is not None else len(crawl.pipes.items)
    kept = crawl.operators[: len(crawl.operators) - items]
    made: Crawl[Any] = Crawl(lazy).pipe(*kept, *(() if crawl.pipes.scrape is not None else (scrape(_nothing),)))
    made.options = replace(crawl.options, job=None, recrawl=None, limit_pages=None, limit_items=None)
    return made


@dataclass(frozen=True, slots=True)
class _Lazy:
    start: Callable[[], Iterable[Request]]

    def __iter__(self) -> Iterator[Request]:
        return iter(self.start())


def _nothing(response: Response) -> None:
    """The callback of a crawl that has none."""


def spider_of(run: Run) -> Any:
    """The object whose methods are the run's callbacks: its spider; None if they are plain functions."""
    scraping = run.crawl.pipes.scrape
    return None if scraping is None else getattr(scraping.callback, "__self__", None)


async def outputs_of(result: Any) -> AsyncGenerator[Any]:
    """What a callback gives, one by one; None left out. Raises: what it raises."""
    while is_awaitable(result):
        result = await result
    if isinstance(result, Request) or is_item(result):
        yield result
    elif is_async_iterable(result):
        async for each in result:
            if each is not None:
                yield each
    elif is_several(result):
        for each in result:
            if each is not None:
                yield each
    elif result is not None:
        yield result


@dataclass(slots=True)
class _Trial:
    """One example in the making."""

    call: Callable[..., Any] | str
    example: Example
    failed: dict[Line, str] = field(default_factory=dict[Line, str])
    done: set[Line] = field(default_factory=set[Line])
    sent: bool = False

    def requests(self, run: Run) -> Iterator[Request]:
        """The request for its page; none if it cannot be made."""
        request = Request(self.example.url or "about:blank", dont_filter=True)
        broken = False
        for line in self.example.lines:
            if line.contract is None:
                self.failed[line] = line.argument
            elif line.contract.adjust is not None:
                try:
                    request = self._adjusted(line, request)
                except Exception as error:
                    self.failed[line], broken = _why(error), True
        if broken:
            return
        call = getattr(spider_of(run), self.call) if isinstance(self.call, str) else self.call

        async def callback(response: Response, **kwargs: Any) -> None:
            await self._tried(response, call, kwargs)

        def errback(outcome: Failed | Dropped, **kwargs: Any) -> None:
            self.failed[self.example.lines[0]] = (
                _why(outcome.error) if isinstance(outcome, Failed) else f"dropped: {outcome.reason}"
            )

        self.sent = True
        yield request.replace(callback=callback, errback=errback)

    def _adjusted(self, line: Line, request: Request) -> Request:
        adjust = cast(Contract, line.contract).adjust
        assert adjust is not None
        made = adjust(request, line.argument)
        if not isinstance(made, Request):
            raise TypeError(f"it gave {made!r}, and not a Request")
        normalize(made.url)
        return made

    async def _tried(self, response: Response, call: Callable[..., Any], kwargs: Mapping[str, Any]) -> None:
        await self._held("before", response)
        first = self.example.lines[0]
        try:
            outputs = await _gathered(call(response, **kwargs))
        except asyncio.CancelledError as cancelled:
            self.failed[first] = str(stray(cancelled))
            return
        except ContractFailed as failed:
            self.failed[first] = str(failed)
            return
        except Exception as error:
            self.failed[first] = f"the callback raised {_raised(error)}{_where(error)}"
            return
        strange = [each for each in outputs if not isinstance(each, Request) and not is_item(each)]
        if strange:
            self.failed[first] = f"the callback gave {strange[0]!r}, which is neither an item nor a Request"
            return
        await self._held("after", outputs)
        self.done.update(self.example.lines)

    async def _held(self, when: Literal["before", "after"], subject: Any) -> None:
        for line in self.example.lines:
            hook = getattr(line.contract, when, None)
            if hook is None or line in self.failed:
                continue
            try:
                result = hook(subject, line.argument)
                if is_awaitable(result):
                    await result
            except Exception as error:
                self.failed[line] = _why(error)

    def checked(self, reason: str) -> Iterator[Checked]:
        """What came of each line. `reason`: why the run has ended."""
        name = self.example.callback
        for n, line in enumerate(self.example.lines):
            if line in self.failed:
                yield Checked(name, line.text, "failed", " ".join(self.failed[line].split()))
            elif line in self.done:
                yield Checked(name, line.text, "ok")
            elif n == 0 and self.sent:
                yield Checked(name, line.text, "failed", f"there was no answer: {reason}")
            else:
                yield Checked(name, line.text, "not run")


async def _gathered(result: Any) -> list[Any]:
    outputs: list[Any] = []
    given = outputs_of(result)
    async for each in given:
        outputs.append(each)
        if len(outputs) > MOST:
            await given.aclose()
            raise ContractFailed(f"the callback gave more than {MOST} outputs, and was left at that")
    return outputs


def _raised(error: Exception) -> str:
    return _why(error) if isinstance(error, StreamcrawlError) else f"{type(error).__name__}: {error}"


def _why(error: Exception) -> str:
    if isinstance(error, (ContractFailed, StreamcrawlError)) or (type(error) in (AssertionError, ValueError)):
        # What stands in further lines is how a test runner explains a plain assert.
        return str(error).partition("\n")[0] or "it does not hold"
    return f"{type(error).__name__}: {error}"


def _where(error: Exception) -> str:
    where = place_of(error)
    return f" ({where})" if where else ""
