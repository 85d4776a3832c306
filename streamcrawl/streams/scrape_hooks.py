"""What a scrape layer does, as functions: on inputs, on single outputs, on a page's outputs as a whole, on errors."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable
from typing import Any, NamedTuple, TypeAlias

from streamcrawl.core import ScrapeInput
from streamcrawl.errors import CallbackError

Input: TypeAlias = Callable[[ScrapeInput], ScrapeInput]
"""What goes into the callback. A Failed or Dropped instead of a Response, or what it raises, refuses the page: layers
nearer to the callback are not asked any more, and the errback gets it."""

Output: TypeAlias = Callable[[Any, ScrapeInput], Any]
"""(an item or Request that the callback yielded, the input it was yielded for) -> it, changed or not; None: swallowed.

Raise `Drop(reason)` to drop it and have it counted.
"""

Outputs: TypeAlias = Callable[[AsyncIterator[Any], ScrapeInput], AsyncIterator[Any]]
"""An async generator: (all outputs of the callback for one input, that input) -> what goes on instead of them."""

Recovered: TypeAlias = Iterable[Any] | AsyncIterable[Any] | None

OnException: TypeAlias = Callable[[Exception, ScrapeInput], "Recovered | Awaitable[Recovered]"]
"""(what the callback or a layer nearer to it raised, the input) -> outputs instead; None: the next layer is asked."""


class ScrapeHooks(NamedTuple):
    """What a ScrapeLayer does with what goes into the callback, and with what comes out.

    `request` and `item` see one output at a time and cost a function call. `output` and `exception` see a page's
    outputs as they come, in a task of the page's own. Of one layer, `request` and `item` see what its `output` gave.
    """

    input: Input | None = None
    request: Output | None = None
    item: Output | None = None
    output: Outputs | None = None
    exception: OnException | None = None


class InvalidOutput(CallbackError):
    """A callback or a layer gave something of the wrong type. No layer is asked to mend it."""
