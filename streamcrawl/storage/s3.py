"""S3 as a store: canned ACLs, header fields, multipart uploads that are aborted when they fail."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from io import SEEK_CUR, SEEK_END, SEEK_SET, RawIOBase
from typing import Any
from urllib.parse import quote

from streamcrawl.storage.remote import Remote
from streamcrawl.storage.store import Meta, Place, Stat
from streamcrawl.storage.threaded import Block

HEADERS = {
    "cache-control": "CacheControl",
    "content-disposition": "ContentDisposition",
    "content-encoding": "ContentEncoding",
    "content-language": "ContentLanguage",
    "content-type": "ContentType",
    "expires": "Expires",
    "x-amz-server-side-encryption": "ServerSideEncryption",
    "x-amz-server-side-encryption-aws-kms-key-id": "SSEKMSKeyId",
    "x-amz-storage-class": "StorageClass",
    "x-amz-tagging": "Tagging",
    "x-amz-website-redirect-location": "WebsiteRedirectLocation",
}
"""Header fields of PutObject and CreateMultipartUpload, by the names that botocore gives them."""

ACLS = (
    "authenticated-read",
    "aws-exec-read",
    "bucket-owner-full-control",
    "bucket-owner-read",
    "private",
    "public-read",
    "public-read-write",
)
"""Canned ACLs of objects."""

KEY = 1024
"""Bytes of a key, at most. GCS has the same limit."""

CHECKSUM = "checksum-"
"""Before the name of the digest, in what is kept with an object."""


class S3(Remote):
    """Objects of a bucket, below a prefix."""

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self._bucket, _, self._prefix = self._root.partition("/")
        if not self._bucket:
            raise ValueError(f"{place.uri!r} names no bucket")
        self._endpoint = str(place.storage.get("endpoint_url") or "").rstrip("/")
        self._options = options_of(place.headers)
        if place.acl is not None:
            self._options["ACL"] = _acl(place.acl)

    def check(self) -> None:
        """See that the bucket is there and the credentials are known."""
        try:
            self._call("list_objects_v2", MaxKeys=1)
        except PermissionError as error:
            if "denied" not in str(error).lower():  # who may write need not be allowed to list
                raise

    def put(self, path: str, data: Block, meta: Meta) -> None:
        self._call("put_object", Key=self._key(path), Body=View(data), **self._told(meta))

    def begin(self, path: str, meta: Meta) -> _Multipart:
        return _Multipart(self, self._key(path), self._told(meta))

    def stat(self, path: str, digest: str) -> Stat | None:
        try:
            found = self._call("head_object", Key=self._key(path))
        except FileNotFoundError:
            return None
        fields: dict[str, str] = found.get("Metadata", {})
        return Stat(
            found["LastModified"].timestamp(),
            found["ContentLength"],
            fields.get(CHECKSUM + digest) or (_md5(found) if digest == "md5" else None),
            fields,
        )

    def delete(self, path: str) -> bool:
        if self.stat(path, "") is None:
            return False
        self._call("delete_object", Key=self._key(path))
        return True

    def url(self, path: str) -> str:
        key = quote(self._key(path))
        if self._endpoint:
            return f"{self._endpoint}/{self._bucket}/{key}"
        return f"https://{self._bucket}.s3.amazonaws.com/{key}"

    def _key(self, path: str) -> str:
        return key_of(self._prefix, path)

    def _told(self, meta: Meta) -> dict[str, Any]:
        told = dict(self._options)
        if meta.content_type:
            told.setdefault("ContentType", meta.content_type)
        if meta.fields:
            told["Metadata"] = {**told.get("Metadata", {}), **meta.fields}
        return told

    def _call(self, method: str, **options: Any) -> dict[str, Any]:
        found: dict[str, Any] = self._fs.call_s3(method, Bucket=self._bucket, **options)
        return found


class _Multipart:
    """An object that is uploaded in parts: there is nothing to see of it until all are there."""

    def __init__(self, store: S3, key: str, options: dict[str, Any]) -> None:
        self._store = store
        self._key = key
        self._id: str = store._call("create_multipart_upload", Key=key, **options)["UploadId"]  # pyright: ignore[reportPrivateUsage] - of the same module
        self._parts: list[dict[str, Any]] = []

    def write(self, part: Block) -> None:
        number = len(self._parts) + 1
        done = self._call("upload_part", PartNumber=number, Body=View(part))
        self._parts.append({"PartNumber": number, "ETag": done["ETag"]})

    def commit(self) -> None:
        self._call("complete_multipart_upload", MultipartUpload={"Parts": self._parts})

    def abort(self) -> None:
        with suppress(FileNotFoundError):
            self._call("abort_multipart_upload")

    def _call(self, method: str, **options: Any) -> dict[str, Any]:
        return self._store._call(method, Key=self._key, UploadId=self._id, **options)  # pyright: ignore[reportPrivateUsage] - of the same module


class View(RawIOBase):
    """Bytes as a file, without a copy of them."""

    def __init__(self, data: Block) -> None:
        super().__init__()
        self._data = memoryview(data)
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        piece = self._data[self._at : self._at + len(buffer)]
        buffer[: len(piece)] = piece
        self._at += len(piece)
        return len(piece)

    def read(self, size: int = -1, /) -> bytes:
        """As that of RawIOBase, which copies twice."""
        end = len(self._data) if size < 0 else self._at + size
        piece = bytes(self._data[self._at : end])
        self._at += len(piece)
        return piece

    def seek(self, offset: int, whence: int = SEEK_SET, /) -> int:
        self._at = {SEEK_SET: 0, SEEK_CUR: self._at, SEEK_END: len(self._data)}[whence] + offset
        return self._at

    def tell(self) -> int:
        return self._at


def key_of(prefix: str, path: str) -> str:
    """The object's key. Raises: ValueError for one that is longer than stores take."""
    key = f"{prefix}/{path}" if prefix and path else prefix or path
    if len(key.encode()) > KEY:
        raise ValueError(f"a key of {len(key.encode())} bytes; {KEY} at most")
    return key


def _acl(acl: str) -> str:
    if acl not in ACLS:
        raise ValueError(f"acl={acl!r}: S3 has {', '.join(ACLS)}")
    return acl


def options_of(headers: Mapping[str, str]) -> dict[str, Any]:
    """Header fields as botocore takes them. Raises: ValueError for one that S3 does not keep."""
    options: dict[str, Any] = {}
    for name, value in headers.items():
        lower = name.lower()
        if lower.startswith("x-amz-meta-"):
            options.setdefault("Metadata", {})[lower.removeprefix("x-amz-meta-")] = value
        elif lower in HEADERS:
            options[HEADERS[lower]] = value
        else:
            raise ValueError(f"headers: S3 keeps no {name!r}; it does {', '.join(sorted(HEADERS))} and x-amz-meta-…")
    return options


def _md5(found: dict[str, Any]) -> str | None:
    """What the ETag is of an object that came in one piece, and is not encrypted with a key of its own."""
    etag = str(found.get("ETag", "")).strip('"')
    plain = len(etag) == 32 and found.get("ServerSideEncryption") in (None, "AES256")
    return etag if plain else None
