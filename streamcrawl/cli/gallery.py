"""`streamcrawl gallery`: what a store holds, as one page to look at."""

from __future__ import annotations

import argparse
import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING

from streamcrawl.cli.exits import WrongUsage
from streamcrawl.mistakes import plural

if TYPE_CHECKING:
    from streamcrawl.storage.store import Place

HELP = "write a page of the pictures and files in a store"
DESCRIPTION = """\
Write one static HTML page of what `ops.images` and `ops.files` have stored: thumbnails, where each came from, its size
and date, the newest first. The page loads nothing from elsewhere."""
EXAMPLES = """\
  streamcrawl gallery pictures                         writes pictures/gallery.html
  streamcrawl gallery pictures -O shop.html --embed    one file that can be sent by mail
  streamcrawl gallery s3://bucket/pictures --storage endpoint_url=http://127.0.0.1:9000
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What `streamcrawl gallery` takes."""
    parser.add_argument("store", metavar="STORE", help="a folder, or a URI such as s3://bucket/prefix")
    parser.add_argument(
        "-O", "--output", metavar="FILE", help="where the page goes (default: gallery.html in the folder, or else here)"
    )
    parser.add_argument("--title", metavar="TEXT", help="its heading (default: the store)")
    parser.add_argument("--limit", metavar="N", type=int, default=1000, help="show the newest N only (default: 1000)")
    parser.add_argument(
        "--embed", action="store_true", help="put the thumbnails into the page; always so for what is no folder"
    )
    parser.add_argument(
        "--storage", metavar="NAME=VALUE", action="append", default=[], help="an option of the store; may be repeated"
    )


def execute(arguments: argparse.Namespace) -> int:
    """Write the page."""
    from streamcrawl.storage.paths import local_path
    from streamcrawl.storage.store import Place

    if arguments.limit < 1:
        raise WrongUsage(f"--limit {arguments.limit}: 1 or more")
    options: dict[str, str] = {}
    for each in arguments.storage:
        name, equals, value = each.partition("=")
        if not name or not equals:
            raise WrongUsage(f"--storage {each}: NAME=VALUE")
        options[name] = value
    try:
        folder = local_path(arguments.store)
        place = Place(arguments.store, options)
    except ValueError as error:
        raise WrongUsage(str(error)) from error
    if folder is not None and not folder.is_dir():
        raise WrongUsage(f"{arguments.store}: no such folder")
    output = Path(arguments.output or (folder / "gallery.html" if folder is not None else "gallery.html"))
    up = None if folder is None else Path(os.path.relpath(folder.absolute(), output.absolute().parent)).as_posix()
    title = arguments.title or (folder.absolute().name if folder is not None else place.name)
    text, shown, total = asyncio.run(_made(place, title, up, limit=arguments.limit, embed=arguments.embed))
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise WrongUsage(f"{output}: {error.strerror or error}") from error
    print(f"{output}: {shown} of {total} files" if shown < total else f"{output}: {total} {plural(total, 'file')}")
    return 0


async def _made(place: Place, title: str, up: str | None, *, limit: int, embed: bool) -> tuple[str, int, int]:
    """(the page, how many files it shows, how many there are). `up`: from the page to the folder, if it is one."""
    from streamcrawl.media.gallery import embedded, entries, page, relative

    store = place.look()
    try:
        found = await entries(store)
        shown = found[:limit]
        pictured = [entry for entry in shown if entry.thumb]
        if up is None or embed:
            pictures = await embedded(store, pictured)
        else:
            pictures = {entry.path: relative(entry.thumb, up) for entry in pictured}
        links = {entry.path: store.url(entry.path) if up is None else relative(entry.path, up) for entry in shown}
    finally:
        await store.close()
    return page(title, shown, len(found), links, pictures), len(shown), len(found)
