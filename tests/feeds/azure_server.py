"""As much of Azure's Blob service as feeds need, on loopback: block blobs in containers, in memory.

Source: https://learn.microsoft.com/rest/api/storageservices/blob-service-rest-api
"""

from __future__ import annotations

import threading
from contextlib import suppress
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import SHUT_RDWR, socket
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.etree import ElementTree
from xml.sax.saxutils import escape

ACCOUNT = "devstoreaccount1"


@dataclass
class Blobs:
    """What there is in one container."""

    container: str
    whole: dict[str, bytes] = field(default_factory=dict[str, bytes])
    blocks: dict[tuple[str, str], bytes] = field(default_factory=dict[tuple[str, str], bytes])
    """Those that belong to no blob yet, by its name and their id."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    blobs: Blobs
    connections: set[socket]

    def setup(self) -> None:
        super().setup()
        self.connections.add(self.connection)

    def finish(self) -> None:
        self.connections.discard(self.connection)
        super().finish()

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing is told."""

    def _read(self) -> tuple[str, str, dict[str, list[str]], bytes]:
        """(container, blob, query, body)."""
        parts = urlsplit(self.path)
        _, _, container, *blob = unquote(parts.path).split("/", 3)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        return container, "".join(blob), parse_qs(parts.query), body

    def _answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        sent = {"Content-Length": str(len(body)), "Last-Modified": formatdate(usegmt=True), "ETag": '"1"'}
        sent |= {"x-ms-blob-type": "BlockBlob", "x-ms-version": self.headers.get("x-ms-version", "")}
        sent |= {"x-ms-creation-time": formatdate(usegmt=True)}
        for name, value in {**sent, **{name.replace("_", "-"): value for name, value in headers.items()}}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _no(self, code: str) -> None:
        self._answer(404, f"<Error><Code>{code}</Code></Error>".encode(), x_ms_error_code=code)

    def do_PUT(self) -> None:
        container, name, query, body = self._read()
        if container != self.blobs.container:
            self._no("ContainerNotFound")
            return
        comp = query.get("comp", [""])[0]
        if comp == "block":
            self.blobs.blocks[name, query["blockid"][0]] = body
        elif comp == "blocklist":
            ids = [str(each.text) for each in ElementTree.fromstring(body)]
            self.blobs.whole[name] = b"".join(self.blobs.blocks[name, each] for each in ids)
            self.blobs.blocks = {key: value for key, value in self.blobs.blocks.items() if key[0] != name}
        else:
            self.blobs.whole[name] = body
        self._answer(201, x_ms_request_server_encrypted="true")

    def do_GET(self) -> None:
        container, name, query, _ = self._read()
        if container and container != self.blobs.container:
            self._no("ContainerNotFound")
        elif not name:
            self._answer(200, self._listed(query) if query.get("comp") == ["list"] else b"", Content_Type="text/xml")
        elif name not in self.blobs.whole:
            self._no("BlobNotFound")
        else:
            self._answer(200, self.blobs.whole[name])

    do_HEAD = do_GET  # noqa: N815 - the name is the library's

    def do_DELETE(self) -> None:
        _, name, _, _ = self._read()
        if self.blobs.whole.pop(name, None) is None:
            self._no("BlobNotFound")
        else:
            self._answer(202, x_ms_delete_type_permanent="true")

    def _listed(self, query: dict[str, list[str]]) -> bytes:
        prefix, delimiter = query.get("prefix", [""])[0], query.get("delimiter", [""])[0]
        found: dict[str, str] = {}
        for name, data in sorted(self.blobs.whole.items()):
            if not name.startswith(prefix):
                continue
            rest = name[len(prefix) :]
            if delimiter and delimiter in rest:
                folder = prefix + rest.partition(delimiter)[0] + delimiter
                found[folder] = f"<BlobPrefix><Name>{escape(folder)}</Name></BlobPrefix>"
                continue
            known = (
                f"<Content-Length>{len(data)}</Content-Length><Last-Modified>{formatdate(usegmt=True)}</Last-Modified>"
            )
            known += "<Etag>1</Etag><BlobType>BlockBlob</BlobType>"
            found[name] = f"<Blob><Name>{escape(name)}</Name><Properties>{known}</Properties></Blob>"
        blobs = f"<Blobs>{''.join(found.values())}</Blobs><NextMarker/>"
        return f'<?xml version="1.0" encoding="utf-8"?><EnumerationResults>{blobs}</EnumerationResults>'.encode()


class AzureServer:
    base = "abfs://pages"

    def __init__(self) -> None:
        self._blobs = Blobs("pages")
        self._connections: set[socket] = set()
        handler = type("Bound", (Handler,), {"blobs": self._blobs, "connections": self._connections})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()
        place = f"http://127.0.0.1:{self._server.server_address[1]}/{ACCOUNT}"
        known = f"AccountName={ACCOUNT};AccountKey=a2V5;BlobEndpoint={place}"
        self.storage: dict[str, Any] = {
            "connection_string": f"DefaultEndpointsProtocol=http;{known};",
            "retry_total": 0,
        }

    def files(self) -> dict[str, bytes]:
        return dict(self._blobs.whole)

    def put(self, path: str, data: bytes) -> None:
        self._blobs.whole[path] = data

    def stop(self) -> None:
        if self._thread.is_alive():
            self._server.shutdown()
            for connection in tuple(self._connections):
                with suppress(OSError):
                    connection.shutdown(SHUT_RDWR)
            self._thread.join()
            self._server.server_close()
