"""A store as one page of HTML: what was collected, where it came from. No script, and nothing loaded from elsewhere."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from pathlib import PurePosixPath
from time import gmtime, strftime
from typing import Any
from urllib.parse import quote, urlsplit

from streamcrawl.media.index import FOLDER, records
from streamcrawl.media.memory import Memory
from streamcrawl.media.pictures import EXTENSIONS, BadPictureError, Wanted, finish, look
from streamcrawl.storage.store import Stat, Store, StoreError

PICTURES = frozenset((".avif", ".bmp", ".gif", ".ico", ".jpe", ".jpeg", ".jpg", ".png", ".webp"))
"""Extensions of what browsers show."""
OPEN = frozenset({"http", "https", "ftp"})
"""Schemes of sources that the page links to."""
EMBEDDED = 64 * 1024
"""Bytes of a picture that is embedded as it is; of a larger one a thumbnail is made."""
SMALL = Wanted(format="keep", thumbs=((240, 240),), thumbs_format="jpeg")
DECODED = 32 * 1024 * 1024
"""Bytes of decoded pictures at once, and one larger picture."""
AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class Entry:
    """A file of the store, as the page shows it."""

    path: str
    size: int
    moment: float
    url: str = ""
    width: int = 0
    height: int = 0
    thumb: str = ""
    """The path of a picture that stands for it; "": none does."""


async def entries(store: Store) -> list[Entry]:
    """The files of the store without thumbnails and index, the newest first. Raises: StoreError."""
    files = await store.list()
    told = await records(store)
    thumbs = {path for record in told.values() for path in _thumbs_of(record)}
    shown = [
        _entry(path, stat, told.get(path, {}), files)
        for path, stat in files.items()
        if path not in thumbs and path.partition("/")[0] not in (FOLDER, "thumbs") and not path.endswith(".html")
    ]
    return sorted(shown, key=lambda entry: (-entry.moment, entry.path))


def _thumbs_of(record: Mapping[str, Any]) -> list[str]:
    values: Any = getattr(record.get("thumbs"), "values", None)
    return [] if values is None else [str(path) for path in values()]


def _entry(path: str, stat: Stat, record: Mapping[str, Any], files: Mapping[str, Stat]) -> Entry:
    known = [thumb for thumb in _thumbs_of(record) if thumb in files]
    # The largest of them, unless it is as large as a picture.
    fitting = sorted((files[thumb].size, thumb) for thumb in known if files[thumb].size <= 4 * EMBEDDED)
    thumb = fitting[-1][1] if fitting else path if PurePosixPath(path).suffix.lower() in PICTURES else ""
    moment = record.get("stored")
    return Entry(
        path,
        stat.size,
        float(moment) if isinstance(moment, (int, float)) else stat.modified,
        str(record.get("url", "")),
        _number(record.get("width")),
        _number(record.get("height")),
        thumb,
    )


def _number(value: Any) -> int:
    return value if isinstance(value, int) else 0


async def embedded(store: Store, shown: list[Entry]) -> dict[str, str]:
    """`data:` URLs of what the page shows, by path. What cannot be read is left out."""
    found: dict[str, str] = {}
    waiting = iter(shown)
    memory = Memory(DECODED)

    async def work() -> None:
        for entry in waiting:
            try:
                body = await store.read(entry.thumb)
                kind = EXTENSION_KINDS.get(PurePosixPath(entry.thumb).suffix.lower(), "jpeg")
                if len(body) > EMBEDDED:
                    opened = await asyncio.to_thread(look, body, SMALL)
                    async with memory.of(opened.cost):
                        picture = await asyncio.to_thread(finish, opened, SMALL)
                    body, kind = picture.thumbs[0].data, "jpeg"
            except (StoreError, BadPictureError):
                continue
            found[entry.path] = f"data:image/{kind};base64,{b64encode(body).decode()}"

    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(work())
    return found


EXTENSION_KINDS = {extension: kind for kind, extension in EXTENSIONS.items()} | {
    ".jpeg": "jpeg",
    ".jpe": "jpeg",
    ".ico": "x-icon",
}


def page(title: str, shown: list[Entry], total: int, links: Mapping[str, str], pictures: Mapping[str, str]) -> str:
    """The page.

    Args:
        title: Its heading.
        shown: In this order.
        total: How many there are in the store.
        links: By path: where the file is.
        pictures: By path of the entry: the picture that stands for it; those without one show their extension.
    """
    cards = "\n".join(_card(entry, links[entry.path], pictures.get(entry.path)) for entry in shown)
    return PAGE.format(title=escape(title), told=escape(_told(shown, total)), style=STYLE, cards=cards)


def _told(shown: list[Entry], total: int) -> str:
    hosts = {_named(entry.url)[1] for entry in shown if _is_open(entry.url)}
    words = [f"{total:,} file{'s' * (total != 1)}", in_bytes(sum(entry.size for entry in shown))]
    if len(shown) < total:
        words = [f"the newest {len(shown):,} of {total:,} files"]
    if hosts:
        words.append(f"from {len(hosts):,} site{'s' * (len(hosts) != 1)}")
    if shown:
        first, last = (_day(each) for each in (min(shown, key=_moment).moment, max(shown, key=_moment).moment))
        words.append(first if first == last else f"{first} to {last}")
    return " · ".join(words)


def _moment(entry: Entry) -> float:
    return entry.moment


def _card(entry: Entry, link: str, picture: str | None) -> str:
    suffix = PurePosixPath(entry.path).suffix[1:6].upper() or "FILE"
    inside = f'<span class="kind">{escape(suffix)}</span>'
    if picture is not None:
        inside = f'<img loading="lazy" decoding="async" alt="" src="{escape(picture)}">'
    facts = [f"{entry.width} × {entry.height}"] * bool(entry.width and entry.height)
    facts += [in_bytes(entry.size), f'<time datetime="{_date(entry.moment)}">{_day(entry.moment)}</time>']
    return CARD.format(link=escape(link), inside=inside, source=_source(entry), facts=" · ".join(facts))


def _source(entry: Entry) -> str:
    if not entry.url:
        return f'<span class="source" title="{escape(entry.path)}">{escape(entry.path)}</span>'
    url = escape(entry.url[:2000])
    name, where = _named(entry.url)
    text = f"<b>{escape(name[:200])}</b><i>{escape(where)}</i>"
    if not _is_open(entry.url):  # a link must not run anything
        return f'<span class="source" title="{url}">{text}</span>'
    return f'<a class="source" rel="noreferrer noopener" title="{url}" href="{url}">{text}</a>'


def _named(url: str) -> tuple[str, str]:
    """(the file's name, the site)"""
    try:
        parts = urlsplit(url)
    except ValueError:
        return url, ""
    where = parts.netloc.rpartition("@")[2]
    return PurePosixPath(parts.path).name or where or url, where


def _is_open(url: str) -> bool:
    return url.partition(":")[0].lower() in OPEN


def in_bytes(size: int) -> str:
    """Such as "3.4 MB"."""
    amount = float(size)
    for unit in ("bytes", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit == "bytes" or amount >= 10 else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"


def relative(path: str, up: str) -> str:
    """A link from the page to a file of the folder; `up`: from the page's folder to the store's."""
    return quote(f"{up}/{path}" if up not in ("", ".") else f"./{path}")


def _date(moment: float) -> str:
    return strftime("%Y-%m-%dT%H:%M:%SZ", gmtime(max(0.0, moment)))


def _day(moment: float) -> str:
    return _date(moment)[:10]


CARD = """\
<figure><a class="picture" href="{link}">{inside}</a>
<figcaption>{source}<small>{facts}</small></figcaption></figure>"""

STYLE = """\
:root { color-scheme: light dark; --back: #fff; --card: #f4f5f7; --line: #e1e4e8; --text: #1c2128; --soft: #667080; }
@media (prefers-color-scheme: dark) {
  :root { --back: #0f1216; --card: #191e25; --line: #2a313b; --text: #e6e9ee; --soft: #93a0b0; }
}
* { box-sizing: border-box; }
body { margin: 0; padding: 2.5rem clamp(1rem, 4vw, 4rem) 4rem; background: var(--back); color: var(--text);
  font: 15px/1.45 system-ui, sans-serif; }
header { margin-bottom: 2rem; }
h1 { margin: 0 0 .3rem; font-size: 1.7rem; letter-spacing: -.02em; overflow-wrap: anywhere; }
p, small, i { color: var(--soft); font-style: normal; }
p { margin: 0; }
main { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 13rem), 1fr)); gap: 1rem; }
figure { margin: 0; border: 1px solid var(--line); border-radius: 12px; overflow: hidden; background: var(--card);
  display: flex; flex-direction: column; content-visibility: auto; contain-intrinsic-size: 13rem 17rem; }
.picture { display: grid; place-items: center; position: relative; aspect-ratio: 4 / 3; background: var(--back);
  text-decoration: none; }
.picture img { position: absolute; inset: 0; width: 100%; height: 100%; object-fit: contain; }
.kind { font-size: 1.5rem; font-weight: 650; letter-spacing: .04em; color: var(--soft); }
figcaption { padding: .65rem .8rem .75rem; display: grid; gap: .25rem; min-width: 0;
  border-top: 1px solid var(--line); }
.source { color: inherit; text-decoration: none; display: grid; min-width: 0; }
.source > *, span.source { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.source b { font-weight: 600; } .source i { font-size: .87em; }
a.source:hover b { text-decoration: underline; }
a:focus-visible { outline: 2px solid #3b82f6; outline-offset: 2px; }
small { font-size: .82em; font-variant-numeric: tabular-nums; }"""

PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
  content="default-src 'none'; img-src * data: file:; style-src 'unsafe-inline'">
<meta name="referrer" content="no-referrer">
<title>{title}</title>
<style>
{style}
</style>
</head>
<body>
<header>
<h1>{title}</h1>
<p>{told}</p>
</header>
<main>
{cards}
</main>
</body>
</html>
"""
