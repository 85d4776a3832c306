"""What a user tests an own operator, layer, sink or flow with (docs/testing.md)."""

from streamcrawl.testing.contract import check_layer
from streamcrawl.testing.contract_operator import check_operator
from streamcrawl.testing.contract_sink import check_sink
from streamcrawl.testing.fake_fetch import Answer, Chunks, FakeFetch, links_to, page
from streamcrawl.testing.laws import ContractBroken, Report
from streamcrawl.testing.marbles import assert_marbles, marbles
from streamcrawl.testing.virtual_time import START, Deadlock, VirtualLoop, run_virtual, virtual
from streamcrawl.testing.web import Expected, Web

__all__ = [
    "START",
    "Answer",
    "Chunks",
    "ContractBroken",
    "Deadlock",
    "Expected",
    "FakeFetch",
    "Report",
    "VirtualLoop",
    "Web",
    "assert_marbles",
    "check_layer",
    "check_operator",
    "check_sink",
    "links_to",
    "marbles",
    "page",
    "run_virtual",
    "virtual",
]
