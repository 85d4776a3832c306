"""The guard around a plain operator: what it swallows, raises or invents is noticed (DESIGN laws 2, 3, 7)."""

from __future__ import annotations

from typing import Any, Protocol
from zlib import crc32

from reactivex import Observable, abc
from reactivex.disposable import CompositeDisposable, Disposable, SerialDisposable
from reactivex.subject import Subject

from streamcrawl.core import Extent, Run
from streamcrawl.errors import FlowError, LawBroken, OperatorError, StreamcrawlError
from streamcrawl.events import OperatorFailed
from streamcrawl.mistakes import said, shortened
from streamcrawl.streams.counting import count
from streamcrawl.streams.declared import Operator, declared


class Edge(Protocol):
    """What a guard does with the elements of its edge of the pipe."""

    one_to_one: bool
    """Whether each input must have exactly one output."""

    def passes(self, element: Any) -> bool:
        """Whether the element goes by without being shown to the operator."""
        ...

    def swallowed(self, element: Any, reason: str, lower: abc.ObserverBase[Any]) -> None:
        """The operator gave no output for the element."""
        ...

    def failed(self, element: Any, error: OperatorError, lower: abc.ObserverBase[Any]) -> None:
        """The operator raised on the element."""
        ...

    def output(self, element: Any, output: Any) -> Any:
        """The output as it goes on in the place of `element`. Raises: LawBroken if it belongs to another element."""
        ...

    def outside(self, operator: str, at_most_once: bool) -> None:
        """The operator emitted with no element in hand."""
        ...

    def ended(self, operator: str) -> None:
        """The operator completed although its source had not."""
        ...


class _Source:
    """The operator's source: a subject without locks, made anew after a failure."""

    __slots__ = ("observable", "observers")

    def __init__(self) -> None:
        self.observers: list[abc.ObserverBase[Any]] = []
        self.observable: Observable[Any] = Observable(self._subscribe)

    def _subscribe(
        self, observer: abc.ObserverBase[Any], scheduler: abc.SchedulerBase | None = None
    ) -> abc.DisposableBase:
        self.observers.append(observer)
        return Disposable(lambda: self.observers.remove(observer) if observer in self.observers else None)


class _Guard:
    __slots__ = (
        "_edge",
        "_ended",
        "_error",
        "_input",
        "_inside",
        "_lower",
        "_name",
        "_operator",
        "_outputs",
        "_place",
        "_run",
        "_source",
        "_subscribing",
        "_upstream_done",
        "subscription",
    )

    def __init__(self, operator: Operator, name: str, edge: Edge, run: Run, lower: abc.ObserverBase[Any]) -> None:
        self._operator = declared(operator)
        self._name = name
        self._place = crc32(name.rpartition(", ")[2].encode())  # its number: lines move when a flow is edited
        self._edge = edge
        self._run = run
        self._lower = lower
        self._inside = False
        self._input: Any = None
        self._outputs = 0
        self._error: Exception | None = None
        self._ended = False
        self._upstream_done = False
        self.subscription = SerialDisposable()
        self._subscribe()

    def _subscribe(self) -> None:
        self._source = _Source()
        self._error = None
        self._subscribing = True
        observable = self._applied()
        self.subscription.disposable = observable.subscribe(
            self._on_output, self._on_failure, self._on_end, scheduler=self._run.scheduler
        )
        self._subscribing = False
        if self._error is not None:
            error, self._error = self._error, None
            self._ended = True
            self._run.fail(_wrapped(self._name, error))

    def _applied(self) -> Observable[Any]:
        """Raises: FlowError for a function that is no operator."""
        advice = "an operator takes a stream; for a function of one element write ops.on_item(…) or rx.map(…)"
        try:
            observable = self._operator(self._source.observable)
        except StreamcrawlError:
            raise
        except Exception as error:
            raise FlowError(f"operator {self._name} raised {said(error)}: {advice}") from error
        if not isinstance(observable, Observable):  # pyright: ignore[reportUnnecessaryIsInstance] - users err
            raise FlowError(f"operator {self._name} gave {shortened(observable)}, and no stream: {advice}")
        return observable

    def on_next(self, element: Any) -> None:
        if self._edge.passes(element):
            self._lower.on_next(element)
            return
        if self._ended:
            self._edge.swallowed(element, f"after {self._name} completed", self._lower)
            return
        before = self._inside, self._input, self._outputs
        self._inside, self._input, self._outputs = True, element, 0
        try:
            for observer in tuple(self._source.observers):
                observer.on_next(element)
        except Exception as error:
            self._error = error
        outputs, failure = self._outputs, self._error
        self._inside, self._input, self._outputs = before
        if failure is not None:
            self._failed(element, failure, outputs)
        elif outputs == 0:
            self._edge.swallowed(element, f"swallowed by {self._name}", self._lower)

    def _failed(self, element: Any, error: Exception, outputs: int) -> None:
        if self._operator.strict:
            self._ended = True
            self._run.fail(_wrapped(self._name, error))
        else:
            self._subscribe()
        if outputs and self._edge.one_to_one:
            self._tell(error)  # the element went on before the operator failed
        else:
            self._edge.failed(element, _wrapped(self._name, error), self._lower)

    def _on_output(self, element: Any) -> None:
        if not self._inside:
            if self._edge.one_to_one:
                self._run.fail(
                    LawBroken(
                        f"operator {self._name} emitted {element!r} with no input in hand; "
                        "use ops.map_async for asynchronous work on this edge"
                    )
                )
                return
            if self._run.extent is None:
                self._edge.outside(self._name, self._operator.at_most_once)
                self._run.extent = Extent(())
                try:
                    self._pass_on(element)
                finally:
                    self._run.extent = None
                return
        self._outputs += 1
        if self._outputs > 1 and self._edge.one_to_one:
            self._run.fail(
                LawBroken(
                    f"operator {self._name} emitted a second output, {element!r}, for {self._input!r}; "
                    "on this edge each input has one"
                )
            )
            return
        if self._edge.one_to_one:
            try:
                element = self._edge.output(self._input, element)
            except LawBroken as error:
                self._run.fail(LawBroken(f"operator {self._name} {error}"))
                return
        extent = self._run.extent
        if self._outputs == 1 or extent is None or extent.ordinal < 0:
            self._pass_on(element)
            return
        self._run.extent = extent.further(self._place, self._outputs - 1)
        self._pass_on(element)
        self._run.extent = extent

    def _pass_on(self, element: Any) -> None:
        try:
            self._lower.on_next(element)
        except Exception as error:  # what stands below does not raise; if it does, that is no failure of this operator
            self._run.fail(error)

    def _on_failure(self, error: Exception) -> None:
        self._error = error
        if self._subscribing:
            return
        if self._inside or self._upstream_done:
            if self._upstream_done:
                self._tell(error)
                self._lower.on_completed()
            return
        self._tell(error)
        if self._operator.strict:
            self._ended = True
            self._run.fail(_wrapped(self._name, error))
        else:
            self._subscribe()

    def _tell(self, error: Exception) -> None:
        count(self._run.stats, "operator_errors")
        if self._run.events.wants(OperatorFailed):
            self._run.events.emit(OperatorFailed(operator=self._name, error=error))

    def _on_end(self) -> None:
        if not self._upstream_done:
            self._ended = True
            self._edge.ended(self._name)
        if self._upstream_done or not self._edge.one_to_one:
            self._lower.on_completed()

    def on_completed(self) -> None:
        self._upstream_done = True
        if self._ended:
            self._lower.on_completed()
            return
        for observer in tuple(self._source.observers):
            observer.on_completed()


def beside(operator: Operator, edge: Edge) -> Operator:
    """An operator that needs no guard, with the elements that its edge does not show to operators going by it."""

    def shown(source: Observable[Any]) -> Observable[Any]:
        def subscribe(lower: abc.ObserverBase[Any], scheduler: abc.SchedulerBase | None = None) -> abc.DisposableBase:
            through: Subject[Any] = Subject()

            def on_next(element: Any) -> None:
                if edge.passes(element):
                    lower.on_next(element)
                else:
                    through.on_next(element)

            below = operator(through).subscribe(lower, scheduler=scheduler)
            upstream = source.subscribe(on_next, through.on_error, through.on_completed, scheduler=scheduler)
            return CompositeDisposable(upstream, below)

        return Observable(subscribe)

    return shown


def _wrapped(name: str, error: Exception) -> OperatorError:
    made = OperatorError(name, error)
    made.__cause__ = error
    return made


def guard(operator: Operator, name: str, edge: Edge, run: Run) -> Operator:
    """The operator, watched: one failing element does not end the stream, nothing vanishes or appears unnoticed."""

    def guarded(source: Observable[Any]) -> Observable[Any]:
        def subscribe(lower: abc.ObserverBase[Any], scheduler: abc.SchedulerBase | None = None) -> abc.DisposableBase:
            made = _Guard(operator, name, edge, run, lower)
            upstream = source.subscribe(made.on_next, lower.on_error, made.on_completed, scheduler=scheduler)
            return CompositeDisposable(upstream, made.subscription)

        return Observable(subscribe)

    return guarded
