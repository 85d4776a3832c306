"""Items checked against a model; those that it does not allow go to the dead letters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from inspect import iscoroutinefunction
from typing import Any, ClassVar, Literal, TypeAlias, cast, get_args

from reactivex import Observable, abc
from reactivex.disposable import CompositeDisposable
from reactivex.subject import Subject

from streamcrawl.core import RUN, Run
from streamcrawl.errors import Drop, OperatorError
from streamcrawl.streams.declared import Operator, carries_leases
from streamcrawl.streams.edges import Items, item_failed
from streamcrawl.streams.guard import guard
from streamcrawl.streams.local import by_itself, running
from streamcrawl.streams.naming import name_of
from streamcrawl.validating import Check, ItemRejected, Rejected, check_for, rejected

Output: TypeAlias = Literal["model", "item"]
DeadLetters: TypeAlias = "Operator | Sequence[Operator] | abc.ObserverBase[Rejected] | Callable[[Rejected], Any]"


@dataclass(frozen=True, slots=True)
class Validate:
    """What `validate` returns: an operator that keeps the laws by itself."""

    carries_leases: ClassVar[bool] = True
    takes_items: ClassVar[bool] = True
    model: str
    check: Check
    output: Output
    pipe: tuple[Operator, ...]
    """Where dead letters go if it is operators."""
    listener: Callable[[Rejected], Any] | None
    """Where they go if it is a function."""

    @property
    def name(self) -> str:
        return f"validate({self.model})"

    @property
    def target(self) -> Any:
        """What the sink of the dead letters writes to."""
        return next((found for each in self.pipe if (found := getattr(each, "target", None)) is not None), None)

    def __call__(self, source: Observable[Any]) -> Observable[Any]:
        def subscribe(lower: abc.ObserverBase[Any], scheduler: abc.SchedulerBase | None = None) -> abc.DisposableBase:
            if RUN.get(None) is None:
                return by_itself(self, source, lower)
            run = running()
            letters: Subject[Rejected] = Subject()
            both = CompositeDisposable()
            if self.pipe:
                outlet = through(self.pipe, letters, run)
                both.add(outlet.subscribe(lambda _: None, run.fail, lower.on_completed, scheduler=scheduler))

            def on_next(item: Any) -> None:
                try:
                    made = self.check(item)
                except Exception as error:
                    self._reject(run, item, error, letters)
                else:
                    lower.on_next(item if self.output == "item" else made)

            # With dead letters under way, the end is theirs.
            on_completed = letters.on_completed if self.pipe else lower.on_completed
            both.add(source.subscribe(on_next, lower.on_error, on_completed, scheduler=scheduler))
            return both

        return Observable(subscribe)

    def _reject(self, run: Run, item: Any, error: Exception, letters: Subject[Rejected]) -> None:
        extent = run.extent
        url = extent.leases[0].request.url if extent is not None and extent.leases else ""
        letter = rejected(item, error, self.model, url)
        where = f": {letter.field}" if letter.field else ""
        item_failed(run, item, Drop(f"invalid {self.model}{where}"))
        if run.events.wants(ItemRejected):
            run.events.emit(ItemRejected(rejected=letter))
        try:
            letters.on_next(letter)
            if self.listener is not None:
                self.listener(letter)
        except Exception as raised:
            wrapped = OperatorError(f"{self.name}, dead_letters", raised)
            wrapped.__cause__ = raised
            item_failed(run, item, wrapped)


def validate(
    model: Any, *, strict: bool = False, output: Output = "model", dead_letters: DeadLetters | None = None
) -> Validate:
    """Items that are what `model` says go on; others are counted, told, and given to `dead_letters` with the reason.

    Args:
        model: A class of pydantic, msgspec, attrs or dataclasses, or a TypedDict.
        strict: No conversions: "5" is no number. Else text becomes the number, date, … that the model wants.
        output: What goes on: "model", an object of the model; or "item", the item as it came.
        dead_letters: Takes the rejects: a sink or another operator, or a list of them, such as `ops.feed("bad.jsonl")`;
            an observer, such as a Subject; or a function.

    Emits: one item for each valid one, at once.
    Raises: TypeError if `model` is none, or `dead_letters` cannot take anything; ValueError, when built.
    """
    check = check_for(model, strict=strict)
    if output not in get_args(Output):
        raise ValueError(f"validate(output={output!r}): one of {', '.join(get_args(Output))}")
    pipe: tuple[Operator, ...] = ()
    listener: Callable[[Rejected], Any] | None = None
    if isinstance(dead_letters, (list, tuple)):
        pipe = tuple(cast("Sequence[Operator]", dead_letters))
    elif carries_leases(dead_letters):
        pipe = (cast(Operator, dead_letters),)
    elif dead_letters is not None:
        listener = cast("Callable[[Rejected], Any]", getattr(dead_letters, "on_next", dead_letters))
    if not all(callable(each) for each in pipe) or not (listener is None or callable(listener)):
        raise TypeError(
            f"validate(dead_letters={dead_letters!r}): an operator, a list of them, an observer or a function"
        )
    if iscoroutinefunction(listener):
        raise TypeError(f"validate(dead_letters={dead_letters!r}): nobody awaits it; give [ops.map_async(…)]")
    return Validate(model.__name__, check, output, pipe, listener)


def through(operators: tuple[Operator, ...], source: Observable[Any], run: Run) -> Observable[Any]:
    """`source` through operators beside the pipe, plain ones watched like those in it."""
    for operator in operators:
        if carries_leases(operator):
            source = operator(source)
        else:
            source = guard(operator, f"{name_of(operator)}, for dead letters", Items(run), run)(source)
    return source
