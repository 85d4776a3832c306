"""What went over the wire, counted."""

from __future__ import annotations

from typing import Any

from streamcrawl.core import Failed, Outcome, Request, Run
from streamcrawl.response import Response
from streamcrawl.streams.counting import count
from streamcrawl.streams.layer import Hooks, NamedLayer, layer
from streamcrawl.transport.counters import RECEIVED, SENT
from streamcrawl.transport.outgoing import size_of


def download_stats() -> NamedLayer:
    """Count requests, responses, failures and bytes into the run's stats, right above `fetch`.

    The keys are downloader/request_count, request_method_count/METHOD, request_bytes, response_count,
    response_status_count/STATUS, response_bytes, exception_count and exception_type_count/NAME. Bytes are those that
    went over the run's connections, header fields and all, where `fetch` measures them (`Wire` does: wire/bytes_sent
    and wire/bytes_received); of another `fetch` they are the messages' as this layer sees them.
    A request that is answered already does not count.

    Emits: what comes from below. One in, one out.
    """
    return layer("download_stats", _make)


class _Measured:
    """What the wire has counted, as far as it is in the counters of this layer."""

    def __init__(self, stats: dict[str, Any]) -> None:
        self._stats = stats
        self._sent, self._received = stats.get(SENT, 0), stats.get(RECEIVED, 0)

    def take(self) -> bool:
        """Add what has come since the last time. False if `fetch` measures nothing."""
        stats = self._stats
        if SENT not in stats:
            return False
        sent, received = stats[SENT], stats.get(RECEIVED, 0)
        count(stats, "downloader/request_bytes", sent - self._sent)
        count(stats, "downloader/response_bytes", received - self._received)
        self._sent, self._received = sent, received
        return True

    async def end(self) -> None:
        """Streamed bodies may have been read since the last outcome."""
        self.take()


def _make(run: Run) -> Hooks:
    stats, measured = run.stats, _Measured(run.stats)
    keys: dict[object, str] = {}

    def key_of(kind: str, value: object) -> str:
        key = keys[value] = f"downloader/{kind}/{value}"
        return key

    def down(request: Request) -> Request:
        method = request.method
        count(stats, "downloader/request_count")
        count(stats, keys.get(method) or key_of("request_method_count", method))
        return request

    def up(outcome: Outcome) -> Outcome:
        if outcome.request.answer is not None:
            return outcome
        if not (measured.take() and outcome.request.url.startswith(("http:", "https:"))):
            count(stats, "downloader/request_bytes", _size_of(outcome.request))
            if isinstance(outcome, Response):
                size = outcome.wire_size or (0 if outcome.stream else len(outcome.body))
                count(stats, "downloader/response_bytes", size)
        if isinstance(outcome, Response):
            count(stats, "downloader/response_count")
            count(stats, keys.get(outcome.status) or key_of("response_status_count", outcome.status))
        elif isinstance(outcome, Failed):
            kind = type(outcome.error).__name__
            count(stats, "downloader/exception_count")
            count(stats, keys.get(kind) or key_of("exception_type_count", kind))
        return outcome

    run.closing(measured.end)
    return Hooks(down, up)


def _size_of(request: Request) -> int:
    return size_of(request.method, len(request.url), request.headers.pairs()) + len(request.body)
