"""The layers around one callback, in one subscription: their hooks on inputs and on single outputs."""

from __future__ import annotations

from collections.abc import Iterable
from inspect import iscoroutinefunction, isgeneratorfunction
from typing import Any, NamedTuple, TypeAlias

from streamcrawl.core import Dropped, Failed, Request, Run, ScrapeInput, Start
from streamcrawl.errors import Drop, HttpError
from streamcrawl.mistakes import paused_at, shortened
from streamcrawl.response import BodyStream, Response
from streamcrawl.streams.edges import closed, item_failed
from streamcrawl.streams.layer import failure
from streamcrawl.streams.scrape_hooks import InvalidOutput, Output, ScrapeHooks
from streamcrawl.urls import masked

INPUTS = (Response, Failed, Dropped, Start)

Steps: TypeAlias = tuple[tuple[str, Output], ...]
"""(name of the layer, its hook), the innermost first."""


class Hooked(NamedTuple):
    """A layer as it is in one subscription."""

    name: str
    hooks: ScrapeHooks


class Given(NamedTuple):
    """What the layers made of an input."""

    input: ScrapeInput
    """As the callback or the errback gets it."""
    shown: ScrapeInput
    """As the layers were shown it last: the Response, if one of them refused it."""
    refusal: Exception | None = None
    """Why it was refused."""


class Layers:
    """The hooks of layers that stand around one another, the innermost first."""

    def __init__(self, run: Run, hooked: Iterable[Hooked]) -> None:
        self.run = run
        self.hooked = tuple(hooked)
        for each in self.hooked:
            _check(each)
        takers = [n for n, (_, hooks) in enumerate(self.hooked, 1) if hooks.output or hooks.exception]
        self.whole = takers[-1] if takers else 0
        """So many layers, from the innermost, stand within one that takes outputs as a whole, or are one."""
        self._inputs = [(name, hooks.input) for name, hooks in reversed(self.hooked) if hooks.input is not None]
        self.requests = _steps(self.hooked, "request")
        self.items = _steps(self.hooked, "item")
        self.outer_requests = _steps(self.hooked[self.whole :], "request")
        self.outer_items = _steps(self.hooked[self.whole :], "item")

    def given(self, input: ScrapeInput) -> Given:
        """Show an input to the layers, the outermost first.

        Raises: InvalidOutput if one of them gives what is no input.
        """
        shown = input
        for name, hook in self._inputs:
            skip = shown.request.skip
            if skip and name in skip:
                continue
            refusal: Exception | None
            try:
                after = hook(shown)
            except Exception as error:
                after, refusal = failure(name, shown.request, error), error
            else:
                if after is shown:
                    continue
                if not isinstance(after, INPUTS):  # pyright: ignore[reportUnnecessaryIsInstance] - users err
                    raise InvalidOutput(f"layer {name} gave {after!r} for {shown!r}: no Response, Failed or Dropped")
                refusal = _refusal(after)
            if isinstance(shown, Response):
                if shown.stream is not None and _stream_of(after) is not shown.stream:
                    self.run.spawn(closed(shown.stream))
                if refusal is not None:
                    return Given(after, shown, refusal)
            shown = after
        return Given(shown, shown)

    def passed(self, steps: Steps, output: Any, page: ScrapeInput) -> Any:
        """What an output is after these steps; None: one of them swallowed or refused it."""
        for name, hook in steps:
            try:
                after = hook(output, page)
            except Exception as error:
                refused(self.run, name, output, error)
                return None
            if after is None:
                return None
            output = after
        return output


def unskipped(steps: Steps, link: Request) -> Steps:
    """The steps of layers that the link does not name in `skip`."""
    return tuple(step for step in steps if step[0] not in link.skip)


def _steps(hooked: Iterable[Hooked], kind: str) -> Steps:
    steps = ((name, getattr(hooks, kind)) for name, hooks in hooked)
    return tuple((name, hook) for name, hook in steps if hook is not None)


def _check(each: Hooked) -> None:
    output = each.hooks.output
    if isgeneratorfunction(output) or iscoroutinefunction(output):
        raise TypeError(f"the output hook of {each.name}, {output!r}, is no async generator: async def with yield")


def _stream_of(after: ScrapeInput) -> BodyStream | None:
    response = response_of(after)
    return None if response is None else response.stream


def _refusal(after: ScrapeInput) -> Exception | None:
    if isinstance(after, Failed):
        return after.error
    return Drop(after.reason) if isinstance(after, Dropped) else None


def refused(run: Run, layer: str, output: Any, error: Exception) -> None:
    """Count and tell what a layer refused, or failed on."""
    if isinstance(output, Request):
        run.refused(failure(layer, output, error))
    else:
        item_failed(run, output, error)


def response_of(input: ScrapeInput) -> Response | None:
    """The response that comes with an input, if one does: an errback may want that of a status error."""
    if isinstance(input, Failed) and isinstance(input.error, HttpError):
        response = input.error.response
        return response if isinstance(response, Response) else None
    return input if isinstance(input, Response) else None


def function_for(input: ScrapeInput) -> str:
    """What is called for it."""
    return "the errback" if isinstance(input, Failed | Dropped) else "the callback"


def no_item(value: object, input: ScrapeInput, who: str, how: str, source: object = None) -> InvalidOutput:
    """The error that tells of an output which is neither item nor Request, or of a Request without a URL.

    `source`: the generator that has given it, if one has.
    """
    url: Any = value.url if isinstance(value, Request) else ""
    why = (
        f"a URL is text, and not {type(url).__name__}"
        if isinstance(value, Request)
        else "an item is a dict, or a dataclass, attrs, pydantic or msgspec object"
    )
    if type(value) in (list, tuple):
        why = "to give each of what is in it, write `yield from`"
    what = f"Request({url!r})" if isinstance(value, Request) else f"{shortened(value)} ({type(value).__name__})"
    where = paused_at(source)
    text = f"{who} for {masked(input.request.url)} {how} {what}: {why}"
    return InvalidOutput(f"{text} ({where})" if where else text)
