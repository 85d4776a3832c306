"""The laws that the contract checkers prove, and the error that tells of one that was broken."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

ONE_OUTCOME = "law 1: one request in, one outcome out"
COMPLETION = "law 1: the stream completes after the last outcome, and only then"
ANSWERED = "law 1: an answered request travels down untouched, and its answer comes up"
VALUES = "law 2: a failure is a value"
ONE_TO_ONE = "law 3: on an edge of requests or outcomes one comes out for one that goes in, at once"
LOOP = "law 4: a layer never loops, it emits Again"
ORIGIN = "law 4: what follows a request is made from its origin"
SAFE = "law 5: an item is safe when a flush after its accept has returned"
STATE = "law 8: state lives in one subscription"
LEFT = "law 8: nothing outlives its subscription"
CHANCE = "law 9: time and chance come from the run"


class ContractBroken(AssertionError):
    """A law was broken. The text names `law`, `subject` (the layer, operator or sink) and `element`, if it was one."""

    def __init__(self, law: str, subject: str, what: str, *, element: object = None, scenario: str = "") -> None:
        where = f" [{scenario}]" if scenario else ""
        about = f": {element!r}" if element is not None else ""
        super().__init__(f"{law}. {subject} {what}{about}{where}")
        self.law = law
        self.subject = subject
        self.element = element


@dataclass(slots=True)
class Report:
    """What a checker saw while no law was broken."""

    subject: str
    scenarios: int = 0
    offered: int = 0
    """Elements that went in."""
    nested: int = 0
    """Fetches that the layer made itself."""
    came: Counter[str] = field(default_factory=Counter[str])
    """What came out, by kind: "Response", "Failed", …"""
