"""The layer that notices links made by copying the request of their page."""

from __future__ import annotations

from collections.abc import Collection

from streamcrawl.core import Request, Run, ScrapeInput
from streamcrawl.events import Notice
from streamcrawl.streams.scrape_layer import NamedScrapeLayer, ScrapeHooks, scrape_layer

FIELDS = ("via", "attempt", "referrer")
"""What says how one request fared, and is untrue of another."""


def copied_fields(*, ignore: Collection[str] = ()) -> NamedScrapeLayer:
    """Warn of a link that carries what happened to its page's request: its redirects, its repeats, its referrer.

    Such a link comes of `page.request.replace(url=…)`: it counts the page's redirects and repeats as its own, and has
    fewer of them left. `page.follow(url)` makes a link that is of the page and nothing else. The same URL again is no
    other page, and may carry them.

    Args:
        ignore: Fields that are copied on purpose: "via", "attempt", "referrer".

    Emits: the same Requests. A Notice of level "warning" tells of the first such link of a run, and of no other.
    Raises: ValueError for a field that is none of these, when built.
    """
    unknown = sorted(set(ignore) - set(FIELDS))
    if unknown:
        raise ValueError(f"copied_fields(ignore=…): {', '.join(unknown)} is none of {', '.join(FIELDS)}")
    watched = tuple(name for name in FIELDS if name not in ignore)

    def make(run: Run) -> ScrapeHooks:
        told = False

        def request(link: Request, page: ScrapeInput) -> Request:
            nonlocal told
            if told or not (link.via or link.attempt or link.referrer):
                return link
            copied = _copied(link, page.request, watched)
            if copied:
                told = True
                run.events.emit(Notice(text=_warning(link, page.request, copied), level="warning"))
            return link

        return ScrapeHooks(request=request)

    return scrape_layer("copied_fields", make)


def _copied(link: Request, parent: Request, watched: tuple[str, ...]) -> list[str]:
    if link.url == parent.url:
        return []
    return [name for name in watched if getattr(link, name) and getattr(link, name) == getattr(parent, name)]


def _warning(link: Request, parent: Request, copied: list[str]) -> str:
    return (
        f"{link.url} carries {', '.join(copied)} of the request for {parent.url}, as page.request.replace(url=…) "
        "gives; make links with page.follow(…). No more is said of such links"
    )
