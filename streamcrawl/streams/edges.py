"""The three edges of a pipe where plain operators may stand, and what is done there with what they swallow."""

from __future__ import annotations

from typing import Any

from reactivex import abc

from streamcrawl.core import OUTCOMES, Dropped, Failed, Request, Run
from streamcrawl.errors import Drop, LawBroken, OperatorError
from streamcrawl.events import ItemDropped, ItemFailed, OutsideExtent
from streamcrawl.response import BodyStream, Response
from streamcrawl.streams.counting import count


def _outcome(request: Request, error: OperatorError) -> Failed | Dropped:
    if isinstance(error.error, Drop):
        return Dropped(request, error.error.reason)
    return Failed(request, error)


async def closed(stream: BodyStream) -> None:
    """Close a streamed body that nobody is going to read."""
    await stream.aclose()


class OneToOne:
    """The edges of requests and of outcomes: each input has one output."""

    one_to_one = True

    def __init__(self, run: Run) -> None:
        self._run = run

    def passes(self, element: Any) -> bool:
        """Whether the operator is not shown the element: an answered request, an outcome that is no Response."""
        if isinstance(element, Request):
            return element.answer is not None
        return isinstance(element, (Failed, Dropped))

    def request(self, element: Any) -> Request:
        """Whose place the element is in: operators may have made something else of a request or a response."""
        if isinstance(element, Request):
            return element
        if isinstance(element, OUTCOMES):
            return element.request
        extent = self._run.extent
        if extent is None or not extent.leases:
            raise LawBroken(f"no request is in hand for {element!r}")
        lease = extent.leases[0]
        return lease.request if lease.answered else lease.request.replace(lease=lease)

    def outcome(self, element: Any, outcome: Failed | Dropped, lower: abc.ObserverBase[Any]) -> None:
        """Send `outcome` on in the element's place."""
        request = self.request(element)
        if isinstance(element, Response) and element.stream is not None:
            self._run.spawn(closed(element.stream))
        if request.lease is not None and not request.lease.answered and not isinstance(element, OUTCOMES):
            # It travels down untouched, and comes up as what it is.
            lower.on_next(request.replace(answer=outcome))
        else:
            lower.on_next(outcome)

    def output(self, element: Any, output: Any) -> Any:
        if isinstance(output, Request):
            request = self.request(element)
            if output.lease is None:
                return output.replace(lease=request.lease)  # made from scratch, it stands for the one that came in
            if output.lease is not request.lease:
                raise LawBroken(
                    f"emitted {output!r} in the place of {element!r}: on this edge each input has its own output"
                )
        elif isinstance(output, OUTCOMES):
            request = self.request(element)
            if output.request is not request and (
                output.request.lease is None or output.request.lease is not request.lease
            ):
                raise LawBroken(
                    f"emitted {output!r} in the place of {element!r}: on this edge each input has its own output"
                )
        return output

    def swallowed(self, element: Any, reason: str, lower: abc.ObserverBase[Any]) -> None:
        self.outcome(element, Dropped(self.request(element), reason), lower)

    def failed(self, element: Any, error: OperatorError, lower: abc.ObserverBase[Any]) -> None:
        outcome = _outcome(self.request(element), error)
        if isinstance(outcome, Failed):
            count(self._run.stats, "operator_errors")
        self.outcome(element, outcome, lower)

    def outside(self, operator: str, at_most_once: bool) -> None:
        """Never called: the guard stops the run itself."""

    def ended(self, operator: str) -> None:
        self._run.end(f"{operator} completed")


class Requests(OneToOne):
    """What goes down inside a layer: the operator of `down` gives Requests."""

    def output(self, element: Any, output: Any) -> Any:
        if not isinstance(output, Request):
            raise LawBroken(f"emitted {output!r}, a {type(output).__name__}, where requests go down")
        return super().output(element, output)


class Outcomes(OneToOne):
    """What comes up inside a layer: the operator of `up` sees every outcome."""

    def passes(self, element: Any) -> bool:
        return False

    def output(self, element: Any, output: Any) -> Any:
        if not isinstance(output, OUTCOMES):
            raise LawBroken(f"emitted {output!r}, a {type(output).__name__}, where outcomes come up")
        return super().output(element, output)


class Items:
    """The edge of items: an operator may swallow, multiply and hold them."""

    one_to_one = False

    def __init__(self, run: Run) -> None:
        self._run = run
        self._told: set[str] = set()

    def passes(self, element: Any) -> bool:
        return False

    def output(self, element: Any, output: Any) -> Any:
        return output

    def swallowed(self, element: Any, reason: str, lower: abc.ObserverBase[Any]) -> None:
        """An operator on items may keep them to itself."""

    def failed(self, element: Any, error: OperatorError, lower: abc.ObserverBase[Any]) -> None:
        item_failed(self._run, element, error)

    def outside(self, operator: str, at_most_once: bool) -> None:
        if at_most_once:
            return
        self._run.outside(operator)
        if operator in self._told:
            return
        self._told.add(operator)
        if self._run.events.wants(OutsideExtent):
            self._run.events.emit(OutsideExtent(operator=operator))

    def ended(self, operator: str) -> None:
        self._run.enough = True  # whatever callbacks yield now would go nowhere
        self._run.end(f"{operator} completed")


def item_failed(run: Run, item: Any, error: Exception) -> None:
    """Count and tell an item that an operator or a sink raised for."""
    cause = error.error if isinstance(error, OperatorError) else error
    stats = run.stats
    if isinstance(cause, Drop):
        count(stats, "items_dropped")
        key = f"items_dropped/{cause.reason}"
        count(stats, key)
        if run.events.wants(ItemDropped):
            run.events.emit(ItemDropped(item=item, reason=cause.reason))
        return
    count(stats, "items_failed")
    if run.events.wants(ItemFailed):
        run.events.emit(ItemFailed(item=item, error=error))
