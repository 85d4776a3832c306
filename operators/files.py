"""Files of items, into a store."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from streamcrawl.core import Run
from streamcrawl.media.media import OpenMedia
from streamcrawl.media.open_files import FilesKind
from streamcrawl.media.options import Common, Failures, FilePath, GetMediaRequests, ItemCompleted, MediaDownloaded
from streamcrawl.storage.store import StoreMaker, place_of
from streamcrawl.streams.sink import SinkOperator

GIB = 1024**3


@dataclass(frozen=True, slots=True)
class Files(SinkOperator):
    """The description of a sink for files. `files()` makes it."""

    concurrency: ClassVar[int] = 16
    repeats: ClassVar[bool] = True

    options: Common

    @property
    def name(self) -> str:
        """What messages and graphs call it."""
        return f"files({getattr(self.options.store, 'name', self.options.store)})"

    def open(self, run: Run, token: Any = None) -> OpenMedia:
        """Open it for one run. Raises: SinkError naming the store and the reason."""
        store = self.options.store.open()
        return OpenMedia(self.options, FilesKind(self.options, store), store, run)


def files(
    store: str | os.PathLike[str] | StoreMaker,
    *,
    urls_field: str = "file_urls",
    result_field: str = "files",
    expires: float | None = 90,
    failures: Failures = "report",
    digest: str = "md5",
    redirects: bool = True,
    referer: str = "strict-origin-when-cross-origin",
    skip: Collection[str] = (),
    max_size: int | None = GIB,
    index: bool = True,
    storage: Mapping[str, Any] | None = None,
    acl: str | None = None,
    headers: Mapping[str, str] | None = None,
    file_path: FilePath | None = None,
    get_media_requests: GetMediaRequests | None = None,
    media_downloaded: MediaDownloaded | None = None,
    item_completed: ItemCompleted | None = None,
) -> Files:
    """Fetch the files that an item names into a store, and say in the item what became of them.

    Args:
        store: A folder, as path or `file:` URI; "s3://bucket/prefix", "gs://bucket/prefix", "ftp://server/folder", what
            else fsspec reaches; or a store of your own.
        urls_field: The item's field with the files' absolute URLs: several, or one as text.
        result_field: The item's field that gets the reports; it may be the same. A mapping gets it, an object must
            have it.
        expires: Days after which a file that is there already is fetched anew; 0: always; None: never.
        failures: Whether the reports of files that failed stand in the result field, or are left out ("omit").
        digest: Of the checksum: a name of hashlib's.
        redirects: Whether redirects are followed; if not, they are failures.
        referer: The policy by which the page is named to the files' servers; "no-referrer": never.
        skip: Layers that the files' requests pass by, such as "scope" or "robots_txt".
        max_size: Bytes of a file; a larger one is a failure. None: as `fetch` has it.
        index: Whether the store notes which URL each file came from, in its folder `index`, for `streamcrawl gallery`.
        storage: What the store's file system takes, such as {"endpoint_url": …, "key": …}; for FTP username, password.
        acl: For every file on S3 or GCS, such as "public-read"; None: as the bucket has it, which means private.
        headers: Header fields for every file on S3 and GCS; None: Cache-Control: max-age=172800.
        file_path: (request, response, item) -> path in the store; None: full/<SHA-1 of the URL><its extension>. It is
            asked with None for the response before the file is fetched.
        get_media_requests: item -> Requests or URLs, instead of those of its field.
        media_downloaded: (response, item) -> what to store instead; what it raises is why the file failed. Also
            async.
        item_completed: (reports, item) -> the item that goes on. May be async, may raise Drop.

    A file is stored while it comes, and never held whole. Its report is a dict of url, path, checksum and status:
    "downloaded", "cached" (out of the HTTP cache), "uptodate" (it was there); redirects, if there were any; or of url,
    status "failed" and error. Reports come in the order of the URLs.

    Emits: A copy of each item with the result field, when all its files are stored or have failed. One in, one out.
    Raises: ValueError for bad arguments, when built. SinkError if the store cannot be written to, before the first
        request, or if it is lost.
    """
    return Files(
        Common(
            place_of(store, storage, acl, headers),
            urls_field,
            result_field,
            expires,
            failures,
            digest,
            redirects,
            referer,
            tuple(skip),
            max_size,
            index,
            file_path,
            get_media_requests,
            media_downloaded,
            item_completed,
        )
    )
