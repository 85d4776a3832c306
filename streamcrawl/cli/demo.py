"""`streamcrawl demo`: a shop on this machine, crawled."""

from __future__ import annotations

import argparse
import shutil
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from streamcrawl.cli.lines import logging_lines
from streamcrawl.cli.run import add_loudness, positive

if TYPE_CHECKING:
    from streamcrawl.crawl.crawl import Crawl
    from streamcrawl.response import Response

HELP = "crawl a small shop that runs on this machine, to see it work"
DESCRIPTION = """\
Serve a small shop on this machine and crawl it: 300 products into streamcrawl-demo/items.jsonl, their
pictures and thumbnails into streamcrawl-demo/pictures. No network is needed. At the end: how to go on."""
EXAMPLES = """\
  streamcrawl demo                          crawl the shop
  streamcrawl demo --pages 20               only a part of it
  streamcrawl demo --serve --port 8000      only serve it, for flows of your own
"""

FOLDER = Path("streamcrawl-demo")

FLOW = '''\
"""Run me: streamcrawl run streamcrawl-demo/flow.py -O quotes.jsonl"""

from streamcrawl import Crawl, operators as ops


def parse(page):
    for quote in page.css("div.quote"):
        yield {"text": quote.css("span.text::text").get(), "author": quote.css("small::text").get()}
    yield from page.follow_all(css="li.next a")


crawl = Crawl("https://quotes.toscrape.com/").pipe(ops.download(), ops.scrape(parse))
'''


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What `streamcrawl demo` takes."""
    parser.add_argument("--pages", type=positive, metavar="N", help="end after N pages")
    parser.add_argument(
        "--port", type=port, default=0, metavar="N", help="serve the shop on this port; a free one if left out"
    )
    parser.add_argument("--serve", action="store_true", help="only serve the shop, until Ctrl-C")
    add_loudness(parser)


def port(text: str) -> int:
    """A port number; 0 is a free one."""
    if not text.isascii() or not text.isdigit() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port: a number from 0 to 65535")
    return int(text)


def execute(arguments: argparse.Namespace) -> int:
    """Crawl the shop, or only serve it."""
    from streamcrawl.errors import StreamcrawlError
    from streamcrawl.testing.site import DemoSite

    with ExitStack() as served:
        try:
            shop = served.enter_context(DemoSite(port=arguments.port, keep=1))
        except OSError as error:
            raise StreamcrawlError(f"port {arguments.port}: {error.strerror or error}") from error
        if arguments.serve:
            return _serve(shop.url)
        return _crawl(shop.url, arguments)


def _serve(url: str) -> int:
    try:  # who reads the line may interrupt at once
        print(f"the demo shop is at {url}/ until Ctrl-C", flush=True)
        threading.Event().wait()
    except KeyboardInterrupt:
        print()
    return 0


def _crawl(url: str, arguments: argparse.Namespace) -> int:
    from streamcrawl.cli.watching import level_of, watched

    if not arguments.quiet:
        print(f"A shop of 300 products is at {url}/; it is crawled into {FOLDER}/.")
        print("One of its pages is missing, on purpose.\n", flush=True)
    with logging_lines(level_of(arguments)) as lines:
        code = watched(flow(url, FOLDER, arguments.pages), lines, quiet=arguments.quiet)
    if code == 0:
        first_flow(FOLDER / "flow.py")
        if not arguments.quiet:
            print(how_to_go_on(FOLDER))
    return code


def flow(url: str, folder: Path, pages: int | None = None) -> Crawl[Any]:
    """The crawl of the shop: products into a feed, their pictures into a folder."""
    from streamcrawl import operators as ops
    from streamcrawl.crawl.crawl import Crawl

    return Crawl(f"{url}/", limit_pages=pages).pipe(
        ops.download(),
        ops.scrape(parse),
        ops.images(folder / "pictures", thumbs={"small": (64, 64)}),
        ops.feed(folder / "items.jsonl"),
    )


def parse(page: Response) -> Iterator[Any]:
    """A product, if the page is one; and every link of the page."""
    for product in page.css("article.product"):
        yield {
            "name": page.css("h1::text").get(),
            "price": float(product.css(".price::text").re_first(r"[\d.]+") or 0),
            "rating": int(product.css(".rating::attr(data-rating)").get() or 0),
            "category": product.css(".category a::text").get(),
            "url": page.url,
            "image_urls": [page.urljoin(source) for source in product.css("img::attr(src)").getall()],
        }
    yield from page.follow_all(css="a")


def first_flow(path: Path) -> None:
    """Write a flow to begin with; one that is there already may have been worked on, and stays."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(FLOW, encoding="utf-8")


def _program() -> str:
    """What to write for this program: where nobody has activated the environment, its name alone is not found."""
    called = sys.argv[0]
    if Path(called).stem != "streamcrawl":
        return f"{Path(sys.executable).name} -m streamcrawl"
    found = shutil.which("streamcrawl")
    # A launcher of Windows has no ".exe" in its name here.
    return "streamcrawl" if found and Path(found).with_suffix("") == Path(called).absolute().with_suffix("") else called


def how_to_go_on(folder: Path) -> str:
    """What the demo leaves behind, and the next steps."""
    program = _program()
    steps = {
        f"{program} run {folder}/flow.py -O quotes.jsonl": "run it; it crawls quotes.toscrape.com",
        f"{program} graph {folder}/flow.py": "see its pipe",
        f"{program} shell https://quotes.toscrape.com/": "try selectors on a page",
        f"{program} operators": "what may stand in a pipe",
        f"{program} run --help": "feeds, limits, scope, logs",
    }
    left = {
        f"{folder}/items.jsonl": "a product a line, as JSON",
        f"{folder}/pictures/": "its pictures, and thumbnails of them",
        f"{folder}/flow.py": "a first flow of your own",
    }
    width = max(map(len, steps))
    rows = [f"  {name:<{width}}  {text}" for name, text in (*left.items(), *steps.items())]
    return "\n".join(("", "What there is now", *rows[: len(left)], "", "How to go on", *rows[len(left) :]))
