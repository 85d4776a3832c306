"""`streamcrawl check`: the contracts of callbacks."""

from __future__ import annotations

import argparse
import inspect
import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

from streamcrawl.cli.cassettes import add_replay, with_cassette
from streamcrawl.cli.exits import FAILED, FINISHED, WrongUsage
from streamcrawl.cli.flows import FlowFile, add_spider_arguments, all_in, crawl_in, file_from, is_crawl

if TYPE_CHECKING:
    from streamcrawl.crawl.crawl import Crawl
    from streamcrawl.testing.contracts import Contract
    from streamcrawl.testing.contracts_check import Checked, Tested

HELP = "check the contracts of callbacks"
DESCRIPTION = """\
Try the callbacks of a file on the pages that their contracts name (@url, @returns, @scrapes, … in their docstrings),
through the layers of its crawl, and say of each contract whether it holds. Exit code 1 if one does not."""
EXAMPLES = """\
  streamcrawl check quotes.py                            every contract in the file
  streamcrawl check quotes.py QuotesSpider.parse author  those of some callbacks, spiders or crawls
  streamcrawl check quotes.py --list                     which there are; nothing is fetched
  streamcrawl check quotes.py --replay quotes.cassette   with recorded pages, no network
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What `streamcrawl check` takes."""
    parser.add_argument("flow", metavar="PATH.py[:name]", help="a Python file with callbacks that have contracts")
    parser.add_argument("names", metavar="NAME", nargs="*", help="check these callbacks or spiders only")
    parser.add_argument("--list", "-l", action="store_true", help="list the contracts, and check nothing")
    add_spider_arguments(parser)
    parser.add_argument("--record", metavar="FILE", help="write the exchanges to FILE, a cassette for --replay")
    add_replay(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Check, and print a line for each contract."""
    with file_from(arguments.flow) as file:
        suites = suites_in(file, dict(arguments.arguments))
        if not any(suite.tested for suite in suites):
            raise WrongUsage(f"{file.path}: no contracts in it: no callback has an @url in its docstring")
        wanted = wanted_by(arguments.names, suites, file)
        suites = [suite for suite in suites if any(map(wanted, suite.tested))]
        if arguments.list:
            for suite in suites:
                show(suite, wanted)
            return FINISHED
        started = time.monotonic()
        results: list[Checked] = []
        for suite in suites:
            results += check(suite, wanted, arguments)
            if arguments.record is not None:
                arguments.replay = arguments.record  # what the next one needs is added
    for result in results:
        print(line_of(result))
    print(sum_of(results, time.monotonic() - started))
    return FINISHED if all(result.verdict == "ok" for result in results) else FAILED


class Suite(NamedTuple):
    """A crawl of the file, or None if it has none, and the callbacks with contracts that are tried in it, by name."""

    name: str
    crawl: Crawl[Any] | None
    functions: tuple[Callable[..., Any], ...]
    contracts: list[Contract]
    tested: dict[str, Tested]


def suites_in(file: FlowFile, arguments: dict[str, str]) -> list[Suite]:
    """The crawls and spiders of a file; its other functions are tried in the first of them. Raises: WrongUsage."""
    from streamcrawl.testing.contracts import Contract
    from streamcrawl.testing.contracts_check import callbacks_with_contracts

    module = vars(file.module)
    contracts = [value for value in module.values() if isinstance(value, Contract)]
    seen: set[str] = set()

    def suite(name: str, crawl: Crawl[Any] | None, functions: Iterable[Callable[..., Any]] = ()) -> Suite:
        found = {each.name: each for each in callbacks_with_contracts(crawl, functions, contracts)}
        new = {name: each for name, each in found.items() if name not in seen}
        seen.update(new)
        return Suite(name, crawl, tuple(functions), contracts, new)

    crawls = {
        name: crawl_in(FlowFile(file.path, name, file.module), {} if is_crawl(value) else arguments)
        for name, value in all_in(file).items()
    }
    suites = [suite(name, crawl) for name, crawl in crawls.items()]
    if file.name is not None:
        return suites
    own = [each for each in module.values() if inspect.isfunction(each) and each.__module__ == file.module.__name__]
    return [*suites, suite("", suites[0].crawl if suites else None, own)]


def wanted_by(names: list[str], suites: list[Suite], file: FlowFile) -> Callable[[str], bool]:
    """Whether a callback is among those that are asked for. Raises: WrongUsage for a name of none."""
    if not names:
        return lambda callback: True
    chosen: set[str] = set()
    there = [(suite.name, callback) for suite in suites for callback in suite.tested]
    for name in names:
        found = {callback for suite, callback in there if name in (suite, callback, *callback.split("."))}
        if not found:
            known = ", ".join(callback for _, callback in there)
            raise WrongUsage(f"{file.path}: no contracts of {name!r}; there are those of {known}")
        chosen |= found
    return chosen.__contains__


def show(suite: Suite, wanted: Callable[[str], bool]) -> None:
    """Print the contracts."""
    for tested in suite.tested.values():
        for example in tested.examples if wanted(tested.name) else ():
            print(example.callback)
            for line in example.lines:
                print(f"  {line.text}" + ("" if line.contract is not None else f"  ({line.argument})"))


def check(suite: Suite, wanted: Callable[[str], bool], arguments: argparse.Namespace) -> list[Checked]:
    """Try its callbacks. Raises: WrongUsage."""
    import asyncio

    from streamcrawl.crawl.crawl import Crawl
    from streamcrawl.errors import FlowError
    from streamcrawl.operators.download import download
    from streamcrawl.testing.contracts_check import check_contracts

    crawl = with_cassette(suite.crawl or Crawl(()).pipe(download()), arguments)

    def only(name: str) -> bool:
        return name in suite.tested and wanted(name)

    try:
        return asyncio.run(check_contracts(crawl, *suite.functions, contracts=suite.contracts, only=only))
    except FlowError as error:
        raise WrongUsage(str(error)) from error


def line_of(result: Checked) -> str:
    """One line."""
    mark = {"ok": "ok", "failed": "FAIL", "not run": "-"}[result.verdict]
    reason = f": {result.reason}" if result.reason else " (not run)" if result.verdict == "not run" else ""
    return f"{mark:<5} {result.callback}  {result.line}{reason}"


def sum_of(results: list[Checked], seconds: float) -> str:
    """The last line."""
    counts = Counter(result.verdict for result in results)
    parts = [f"{counts['failed']} failed"] if counts["failed"] else []
    parts += [f"{counts['ok']} ok"]
    parts += [f"{counts['not run']} not run"] if counts["not run"] else []
    many = len(results)
    return f"{many} contract{'' if many == 1 else 's'}: {', '.join(parts)}, in {seconds:.1f} s"
