"""The events of a run as log lines: what went wrong, each in one line, and not too many of a kind."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from typing import Any, TypeAlias

from streamcrawl.core import Failed, Request
from streamcrawl.crawl.run import Run
from streamcrawl.errors import CallbackError, OperatorError
from streamcrawl.events import (
    CallbackFailed,
    Event,
    ItemDropped,
    ItemFailed,
    Notice,
    OperatorFailed,
    OutsideExtent,
    RequestDropped,
    RequestFailed,
    Responded,
    SentAgain,
    Stalled,
)
from streamcrawl.media.events import MediaFailed
from streamcrawl.mistakes import one_line, place_of
from streamcrawl.transport.body import shown
from streamcrawl.urls import masked

LOG = logging.getLogger("streamcrawl")

MANY = 20
"""Lines of one kind, after which they are only counted."""

Words: TypeAlias = Callable[[Any], str]


def _about(request: Request, error: BaseException) -> str:
    text = one_line(error)
    urls = (masked(request.url), shown(str(request.url)))
    named = any(text.startswith(f"{url}:") or f" {url} " in f"{text} " for url in urls)
    return text if named else f"{urls[0]}: {text}"


def _with_place(text: str, error: BaseException) -> str:
    """The text, with the user's file and line if it does not say one."""
    where = place_of(error.error if isinstance(error, OperatorError) else error)
    return text if not where or isinstance(error, CallbackError) else f"{text} ({where})"


def _failed(failed: Failed) -> str:
    text = _about(failed.request, failed.error)
    return _with_place(text, failed.error) if isinstance(failed.error, OperatorError) else text


def _brief(item: object) -> str:
    text = " ".join(repr(item).split())
    return text if len(text) <= 100 else f"{text[:97]}..."


TOLD: dict[type[Event], tuple[int, Words]] = {
    RequestFailed: (logging.WARNING, lambda event: f"failed: {_failed(event.failed)}"),
    CallbackFailed: (logging.ERROR, lambda event: _with_place(_about(event.request, event.error), event.error)),
    ItemFailed: (
        logging.ERROR,
        lambda event: f"{_with_place(f'item failed: {one_line(event.error)}', event.error)}: {_brief(event.item)}",
    ),
    OperatorFailed: (
        logging.ERROR,
        lambda event: _with_place(f"operator {event.operator} failed: {one_line(event.error)}", event.error),
    ),
    Stalled: (
        logging.WARNING,
        lambda event: f"nothing has moved for {event.seconds:.0f} s: {'; '.join(event.holders)}",
    ),
    OutsideExtent: (
        logging.WARNING,
        lambda event: (
            f"{event.operator} emits with no item in hand: what it emits could be lost in a crash; "
            "if that does not matter, say ops.at_most_once(...)"
        ),
    ),
    MediaFailed: (logging.WARNING, lambda event: f"file failed: {masked(event.request.url)}: {event.error}"),
    ItemDropped: (logging.DEBUG, lambda event: f"item dropped: {event.reason}: {_brief(event.item)}"),
    RequestDropped: (logging.DEBUG, lambda event: f"dropped: {event.dropped.request.url}: {event.dropped.reason}"),
    Responded: (logging.DEBUG, lambda event: f"{event.response.status} {event.response.url}"),
    SentAgain: (
        logging.DEBUG,
        lambda event: f"again: {event.again.request.url} -> {event.again.next.url}: {event.again.reason}",
    ),
}
"""What is told, how loud, and in which words. Notices say themselves how loud they are."""


def tell(run: Run) -> None:
    """Log the run's events, from now on; of each kind the first 20, or at level "debug" all."""
    everything = LOG.isEnabledFor(logging.DEBUG)
    told: Counter[object] = Counter()

    def say(kind: object, level: int, text: str, error: BaseException | None = None) -> None:
        told[kind] += 1
        if everything or told[kind] <= MANY:
            LOG.log(level, "%s", " ".join(text.split()), exc_info=_trace(error) if everything else None)
        elif told[kind] == MANY + 1:
            LOG.log(level, "more such lines are left out, and only counted; --log-level debug shows all")

    def listen(kind: type[Event], level: int, words: Words) -> None:
        def on_event(event: Event) -> None:
            error: object = getattr(event, "error", None)
            say(kind, level, words(event), error if isinstance(error, BaseException) else None)

        run.events.on(kind, on_event)

    for kind, (level, words) in TOLD.items():
        if LOG.isEnabledFor(level):  # an event that nobody wants is never made
            listen(kind, level, words)
    # The first word of a notice says what it is about: "interrupted:" is not lost among others.
    run.events.on(Notice, lambda event: say(event.text.partition(" ")[0], _level(event), event.text))


def _level(notice: Notice) -> int:
    return logging.getLevelNamesMapping().get(notice.level.upper(), logging.INFO)


def _trace(error: BaseException | None) -> tuple[type[BaseException], BaseException, Any] | None:
    shown = error.__cause__ or error if error is not None else None
    return None if shown is None else (type(shown), shown, shown.__traceback__)
