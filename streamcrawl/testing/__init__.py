"""What a user tests an own operator, layer, sink or flow with (docs/testing.md)."""

from streamcrawl.testing.cassette import recording, replaying, with_fetch
from streamcrawl.testing.cassette_file import CassetteError
from streamcrawl.testing.cassette_replay import NotRecorded
from streamcrawl.testing.contract import check_layer
from streamcrawl.testing.contract_operator import check_operator
from streamcrawl.testing.contract_scrape import check_scrape_layer
from streamcrawl.testing.contract_sink import check_sink
from streamcrawl.testing.contracts import Contract, ContractFailed
from streamcrawl.testing.contracts_check import Checked, check_contracts
from streamcrawl.testing.fake_fetch import Answer, Chunks, FakeFetch, links_to, page
from streamcrawl.testing.laws import ContractBroken, Report
from streamcrawl.testing.marbles import assert_marbles, marbles
from streamcrawl.testing.virtual_time import START, Deadlock, VirtualLoop, run_virtual, virtual
from streamcrawl.testing.web import Expected, Web

__all__ = [
    "START",
    "Answer",
    "CassetteError",
    "Checked",
    "Chunks",
    "Contract",
    "ContractBroken",
    "ContractFailed",
    "Deadlock",
    "Expected",
    "FakeFetch",
    "NotRecorded",
    "Report",
    "VirtualLoop",
    "Web",
    "assert_marbles",
    "check_contracts",
    "check_layer",
    "check_operator",
    "check_scrape_layer",
    "check_sink",
    "links_to",
    "marbles",
    "page",
    "recording",
    "replaying",
    "run_virtual",
    "virtual",
    "with_fetch",
]
