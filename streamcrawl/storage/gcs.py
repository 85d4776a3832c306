"""Google Cloud Storage as a store: predefined ACLs, header fields, resumable uploads."""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Mapping
from contextlib import suppress
from secrets import token_hex
from typing import Any, cast
from urllib.parse import quote

from streamcrawl.storage.gcs_calls import Calls, patience
from streamcrawl.storage.remote import Remote
from streamcrawl.storage.s3 import CHECKSUM, key_of
from streamcrawl.storage.store import Meta, Place, Stat
from streamcrawl.storage.threaded import Block

HEADERS = {
    "cache-control": "cacheControl",
    "content-disposition": "contentDisposition",
    "content-encoding": "contentEncoding",
    "content-language": "contentLanguage",
    "content-type": "contentType",
}
"""Header fields, as the JSON API names them."""

ACLS = (
    "authenticatedRead",
    "bucketOwnerFullControl",
    "bucketOwnerRead",
    "private",
    "projectPrivate",
    "publicRead",
)


class Gcs(Remote):
    """Objects of a bucket, below a prefix: the JSON API, through gcsfs, which knows credentials and errors."""

    def __init__(self, place: Place) -> None:
        self._acl = _acl(place.acl)
        self._told = fields_of(place.headers)
        super().__init__(place)
        self._bucket, _, self._prefix = self._root.partition("/")
        if not self._bucket:
            raise ValueError(f"{place.uri!r} names no bucket")

    def _reached(self, place: Place) -> tuple[Any, str]:
        # What fsspec has for gs: asks by gRPC what kind of bucket it is, and waits where nobody answers that.
        from gcsfs.core import GCSFileSystem  # type: ignore[import-untyped] # pyright: ignore

        storage = {"requests_timeout": patience(), **place.storage}
        retries = {name: storage.pop(name) for name in ("retries", "connect_retries") if name in storage}
        files: Any = cast("Any", GCSFileSystem)(**storage)
        self._call = Calls(files, **retries)
        return files, str(files._strip_protocol(place.uri))

    def check(self) -> None:
        """See that the bucket is there and the credentials are known."""
        try:
            self._refused()
            self._call("GET", "b/{}/o", self._bucket, maxResults=1, json_out=True)
        except FileNotFoundError as error:
            raise FileNotFoundError(f"there is no bucket {self._bucket!r}") from error
        except OSError as error:
            if "forbidden" not in str(error).lower():  # who may write need not be allowed to list
                raise

    def _refused(self) -> None:
        """Raises: PermissionError if the credentials are none: gcsfs would say them again and again."""
        try:
            self._call.once("GET", "b/{}", self._bucket)
        except Exception as error:
            if getattr(error, "code", None) == 401:
                raise PermissionError(str(error)) from error

    def put(self, path: str, data: Block, meta: Meta) -> None:
        told = self._resource(path, meta)
        kind = told.get("contentType", "application/octet-stream")
        mark = token_hex(16)
        head = f"--{mark}\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n{json.dumps(told)}\r\n"
        head += f"--{mark}\r\nContent-Type: {kind}\r\n\r\n"
        body = b"".join((head.encode(), data, f"\r\n--{mark}--".encode()))
        headers = {"Content-Type": f"multipart/related; boundary={mark}"}
        self._call("POST", self._uploads(), uploadType="multipart", headers=headers, data=_file(body), **self._acl)

    def begin(self, path: str, meta: Meta) -> _Resumable:
        told = self._resource(path, meta)
        headers, _ = self._call(
            "POST",
            f"{self._uploads()}?name={quote(told['name'], safe='')}",
            uploadType="resumable",
            json=told,
            headers={"X-Upload-Content-Type": told.get("contentType", "application/octet-stream")},
            **self._acl,
        )
        return _Resumable(self._call, str(headers["Location"]))

    def stat(self, path: str, digest: str) -> Stat | None:
        try:
            found = self._call("GET", "b/{}/o/{}", self._bucket, self._key(path), json_out=True)
        except FileNotFoundError:
            return None
        fields: dict[str, str] = found.get("metadata", {})
        checksum = fields.get(CHECKSUM + digest)
        if checksum is None and digest == "md5" and "md5Hash" in found:
            checksum = b64decode(found["md5Hash"]).hex()
        return Stat(self._moment(found), int(found["size"]), checksum, fields)

    # gcsfs's own reading and deleting first asks by gRPC what kind of bucket it is; the JSON API serves all kinds.

    def read(self, path: str) -> bytes:
        _, body = self._call("GET", self._fs.url(self._at(path)))
        return bytes(body)

    def delete(self, path: str) -> bool:
        try:
            self._call("DELETE", "b/{}/o/{}", self._bucket, self._key(path))
        except FileNotFoundError:
            return False
        return True

    def list(self, folder: str) -> dict[str, Stat]:
        prefix = f"{self._key(folder)}/" if folder or self._prefix else ""
        start = len(self._prefix) + 1 if self._prefix else 0
        found: dict[str, Stat] = {}
        page: dict[str, Any] = {}
        while True:
            page = self._call("GET", "b/{}/o", self._bucket, prefix=prefix, json_out=True, **_next(page))
            for each in page.get("items", []):
                found[each["name"][start:]] = Stat(self._moment(each), int(each["size"]))
            if "nextPageToken" not in page:
                return found

    def _moment(self, resource: dict[str, Any]) -> float:
        return float(self._fs._parse_timestamp(resource["updated"]).timestamp())

    def url(self, path: str) -> str:
        return f"{self._fs._location}/{self._bucket}/{quote(self._key(path))}"

    def _key(self, path: str) -> str:
        return key_of(self._prefix, path)

    def _uploads(self) -> str:
        return f"{self._fs._location}/upload/storage/v1/b/{quote(self._bucket)}/o"

    def _resource(self, path: str, meta: Meta) -> dict[str, Any]:
        told: dict[str, Any] = {"name": self._key(path), **self._told}
        if meta.content_type:
            told.setdefault("contentType", meta.content_type)
        if meta.fields:
            told["metadata"] = {**told.get("metadata", {}), **meta.fields}
        return told


class _Resumable:
    """An object that is uploaded in pieces: there is nothing to see of it until all are there.

    Source: Cloud Storage JSON API, "Resumable uploads": every piece but the last is a multiple of 256 KiB.
    """

    def __init__(self, call: Calls, location: str) -> None:
        self._call = call
        self._location = location
        self._sent = 0
        self._last: bytes | None = None
        """The piece that came last: the very last one says how long the object is."""

    def write(self, part: Block) -> None:
        if self._last is not None:
            self._send(self._last, "*")
        self._last = bytes(part)

    def commit(self) -> None:
        last = self._last or b""
        self._send(last, str(self._sent + len(last)))

    def abort(self) -> None:
        # Once: the answer to it is 499, which is no success, and what is not ended is forgotten after a week anyway.
        with suppress(Exception):
            self._call.once("DELETE", self._location)

    def _send(self, block: bytes, total: str) -> None:
        data = memoryview(block)
        while True:
            end = self._sent + len(data)
            headers = {"Content-Range": f"bytes {self._sent}-{end - 1}/{total}", "Content-Length": str(len(data))}
            told, _ = self._call("PUT", self._location, headers=headers, data=_file(data))
            kept = str(told.get("Range", "")).rpartition("-")[2]
            if not kept.isdecimal() or int(kept) + 1 >= end:
                self._sent = end
                return
            data = data[int(kept) + 1 - self._sent :]
            self._sent = int(kept) + 1


def fields_of(headers: Mapping[str, str]) -> dict[str, Any]:
    """Header fields as the JSON API takes them. Raises: ValueError for one that GCS does not keep."""
    told: dict[str, Any] = {}
    for name, value in headers.items():
        lower = name.lower()
        if lower.startswith("x-goog-meta-"):
            told.setdefault("metadata", {})[lower.removeprefix("x-goog-meta-")] = value
        elif lower in HEADERS:
            told[HEADERS[lower]] = value
        else:
            raise ValueError(f"headers: GCS keeps no {name!r}; it does {', '.join(sorted(HEADERS))} and x-goog-meta-…")
    return told


def _file(data: bytes | memoryview) -> Any:
    """As aiohttp wants what is long: a file, which stays open for another try."""
    from gcsfs.core import UnclosableBytesIO  # pyright: ignore

    return UnclosableBytesIO(data)


def _next(page: dict[str, Any]) -> dict[str, str]:
    return {"pageToken": page["nextPageToken"]} if "nextPageToken" in page else {}


def _acl(acl: str | None) -> dict[str, Any]:
    """Names are taken as S3 writes them, too: "public-read" is "publicRead"."""
    if acl is None:
        return {}
    first, *more = acl.split("-")
    name = first + "".join(word.capitalize() for word in more)
    if name not in ACLS:
        raise ValueError(f"acl={acl!r}: GCS has {', '.join(ACLS)}")
    return {"predefinedAcl": name}
