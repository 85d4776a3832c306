"""Item pipelines: which steps they have, and the objects of their classes in one run."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from typing import Any, TypeAlias, cast

from streamcrawl.core import Extent, Run
from streamcrawl.errors import FlowError
from streamcrawl.stats import Stats
from streamcrawl.streams.kinds import is_awaitable
from streamcrawl.streams.naming import name_of

Step: TypeAlias = Any
"""A function, an object or a class with `process_item`, a `functools.partial` of such a class."""


class PipelineCrawler:
    """What `from_crawler` is given where the crawl is not that of a Spider.

    It has the names that a spider's `Crawler` has: `settings` (none), `stats`, `events`, `spider`, `run`.
    """

    def __init__(self, run: Run) -> None:
        self.settings: Mapping[str, Any] = {}
        self.stats = Stats()
        self.stats.adopt(run.stats, run)
        self.events = run.events
        self.spider = run.spider
        self.run = run

    def __repr__(self) -> str:
        return f"<PipelineCrawler in {self.run.id}>"


# ---- what is given


def steps_of(given: tuple[Any, ...]) -> tuple[Step, ...]:
    """The steps in their order. Raises: TypeError, ValueError for what cannot be one."""
    return tuple(_checked(each) for each in _in_order(given))


def _in_order(given: tuple[Any, ...]) -> Iterator[Step]:
    for each in given:
        if not isinstance(each, Mapping):
            yield _loaded(each)
            continue
        numbered: Mapping[Any, Any] = each  # pyright: ignore[reportUnknownVariableType] # of whatever they are
        for step, number in numbered.items():
            if number is not None and (isinstance(number, bool) or not isinstance(number, (int, float))):
                raise ValueError(f"pipeline(): {step!r} has the number {number!r}: a number, or None to leave it out")
        wanted = [step for step, number in numbered.items() if number is not None]
        yield from map(_loaded, sorted(wanted, key=numbered.__getitem__))


def _loaded(step: Any) -> Step:
    if not isinstance(step, str):
        return step
    module, _, name = step.rpartition(".")
    try:
        return getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"pipeline(): {step!r} cannot be imported: {error}") from error


def _checked(step: Step) -> Step:
    cls = _class_of(step)
    given = step if cls is None else cls
    if not callable(getattr(given, "process_item", None)) and (cls is not None or not callable(step)):
        raise TypeError(f"pipeline(): {step!r} is neither a function nor has it a method process_item")
    if cls is not None:
        maker, first = _maker(cls)
        positional, named = _arguments(step)
        try:
            inspect.signature(maker).bind(*([None] if first else []), *positional, **named)
        except TypeError as error:
            name = f"{cls.__name__}.{first}()" if first else f"{cls.__name__}()"
            raise TypeError(f"pipeline(): {name}: {error}; functools.partial({cls.__name__}, …) gives some") from None
        except ValueError:  # a signature that cannot be known
            return step
    return step


def _class_of(step: Step) -> type[Any] | None:
    """The class of which each run makes an object; None: the step is what is called."""
    inner = cast("Any", step.func) if isinstance(step, partial) else step
    return cast("type[Any]", inner) if inspect.isclass(inner) else None


def _arguments(step: Step) -> tuple[tuple[Any, ...], dict[str, Any]]:
    return (step.args, step.keywords) if isinstance(step, partial) else ((), {})


def _maker(cls: type[Any]) -> tuple[Callable[..., Any], str]:
    """What makes an object of the class, and the name of the method that is told of the run; "": none is."""
    for name in ("from_run", "from_crawler"):
        if callable(maker := getattr(cls, name, None)):
            return maker, name
    return cls, ""


def step_name(step: Step) -> str:
    """What messages and graphs call it."""
    cls = _class_of(step)
    if cls is not None:
        return cls.__name__
    return type(step).__name__ if hasattr(step, "process_item") else name_of(step).partition(" at ")[0]


# ---- in one run


def _object_of(step: Step, run: Run) -> Any:
    cls = _class_of(step)
    if cls is None:
        return step
    maker, first = _maker(cls)
    positional, named = _arguments(step)
    if first == "from_run":
        return maker(run, *positional, **named)
    if first == "from_crawler":
        crawler = getattr(run.spider, "crawler", None) or PipelineCrawler(run)
        return maker(crawler, *positional, **named)
    return maker(*positional, **named)


def _called(function: Callable[..., Any], run: Run, arguments: int) -> Callable[..., Any]:
    """A function of so many arguments; it is given the spider too, if it has a parameter for it."""
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):  # one that is written in C
        return function
    spider = run.spider
    if "spider" in parameters and parameters["spider"].kind is not inspect.Parameter.POSITIONAL_ONLY:
        return partial(function, spider=spider)
    needed = [each for each in parameters.values() if each.kind in _POSITIONAL and each.default is each.empty]
    if len(needed) == arguments + 1 and inspect.ismethod(function):  # under another name, such as `_spider`
        return lambda *given: function(*given, spider)
    return function


_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


class OpenPipeline:
    """A pipeline in one run: the objects of its classes, opened before the first item and closed after the last.

    Args:
        name: What messages call it.
        steps: As `steps_of` gives them.

    Raises: FlowError if one of them cannot be made, or be opened at once; later, it is the run's error.
    """

    def __init__(self, name: str, steps: tuple[Step, ...], run: Run) -> None:
        self._name = name
        self._run = run
        self.error: FlowError | None = None
        """Why it cannot be opened."""
        self._opening: asyncio.Task[None] | None = None
        self._opened: list[Any] = []
        run.closing(self._close)
        self._objects = [self._made(each) for each in steps]
        self._functions = [_called(getattr(each, "process_item", each), run, 1) for each in self._objects]
        waiting = self._open(0)  # what opens at once is open before the first request
        if waiting is not None:
            self._opening = run.spawn(self._open_later(*waiting), items=True)

    def _made(self, step: Step) -> Any:
        try:
            return _object_of(step, self._run)
        except Exception as error:
            raise self._failure("made", step_name(step), error) from error

    def _failure(self, what: str, step: str, error: Exception) -> FlowError:
        return FlowError(f"{self._name} cannot be {what}: {step}: {type(error).__name__}: {error}")

    def _open(self, first: int) -> tuple[int, Awaitable[Any]] | None:
        """Open one after the other; gives the first that has to be awaited, and what is awaited."""
        for nth in range(first, len(self._objects)):
            each = self._objects[nth]
            function = getattr(each, "open_spider", None)
            if function is not None:
                with self._opening_of(each):
                    opening = _called(function, self._run, 0)()
                if is_awaitable(opening):
                    return nth, opening
            self._opened.append(each)
        return None

    async def _open_later(self, nth: int, opening: Awaitable[Any]) -> None:
        waiting: tuple[int, Awaitable[Any]] | None = nth, opening
        while waiting is not None:
            nth, opening = waiting
            with self._opening_of(self._objects[nth]):
                await opening
            self._opened.append(self._objects[nth])
            waiting = self._open(nth + 1)
        self._opening = None

    @contextmanager
    def _opening_of(self, each: Any) -> Generator[None]:
        try:
            yield
        except Exception as error:
            self.error = self._failure("opened", step_name(each), error)
            raise self.error from error

    async def _close(self) -> None:
        """Close what was opened, the last first. Raises: FlowError, after all were closed."""
        wrong: list[str] = []
        for each in reversed(self._opened):
            function = getattr(each, "close_spider", None)
            if function is None:
                continue
            try:
                closing = _called(function, self._run, 0)()
                if is_awaitable(closing):
                    await closing
            except Exception as error:
                wrong.append(f"{step_name(each)}: {type(error).__name__}: {error}")
        if wrong:
            raise FlowError(f"{self._name} cannot be closed: {'; '.join(wrong)}")

    # -- items -----------------------------------------------------------------------------------------------------

    def work(self, item: Any, extent: Extent) -> Any:
        """The item as the last step leaves it, or an awaitable of it."""
        if self._opening is not None:
            return self._later(0, item, asyncio.shield(self._opening))
        return self._from(0, item)

    def _from(self, first: int, item: Any) -> Any:
        for n in range(first, len(self._functions)):
            result: Any = self._functions[n](item)
            if is_awaitable(result):
                return self._later(n + 1, item, result)
            if result is not None:
                item = result
        return item

    async def _later(self, first: int, item: Any, awaited: Awaitable[Any]) -> Any:
        result = await awaited
        rest = self._from(first, item if result is None else result)
        return await rest if is_awaitable(rest) else rest

    def __repr__(self) -> str:
        state = "opening" if self._opening is not None else f"{len(self._opened)} of {len(self._objects)} open"
        return f"<OpenPipeline {self._name}: {state}>"
