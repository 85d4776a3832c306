"""https: verified by default."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any

import pytest

from streamcrawl.core import Request
from streamcrawl.errors import ProtocolError, TLSError

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@pytest.mark.parametrize("http2", [False, True])
def test_a_certificate_of_nobody_is_refused(serve: Any, wire: Any, server_tls: ssl.SSLContext, http2: bool) -> None:
    async def main() -> None:
        async with serve(OK, tls=server_tls) as site, wire(http2=http2) as fetch:
            with pytest.raises(TLSError, match=rf"^{site.url('/x')}: TLS with 127.0.0.1 failed: .*issuer"):
                await fetch(Request(site.url("/x")))
            assert site.seen == []

    asyncio.run(main())


def test_a_trusted_certificate(serve: Any, wire: Any, server_tls: ssl.SSLContext, trusting: ssl.SSLContext) -> None:
    async def main() -> None:
        async with serve(OK, tls=server_tls) as site, wire(verify=trusting) as fetch:
            for _ in range(3):
                assert (await fetch(Request(site.url()))).body == b"ok"
            assert site.connections == 1

    asyncio.run(main())


@pytest.mark.parametrize("http2", [False, True])
def test_a_certificate_for_another_name(
    serve: Any, wire: Any, server_tls: ssl.SSLContext, trusting: ssl.SSLContext, http2: bool
) -> None:
    async def main() -> None:
        async with serve(OK, tls=server_tls) as site, wire(verify=trusting, http2=http2) as fetch:
            with pytest.raises(TLSError, match=r"TLS with localhost failed: .*localhost"):
                await fetch(Request(f"https://localhost:{site.port}/"))

    asyncio.run(main())


def test_verification_can_be_turned_off(serve: Any, wire: Any, server_tls: ssl.SSLContext) -> None:
    async def main() -> None:
        async with serve(OK, tls=server_tls) as site, wire(verify=False) as fetch:
            assert (await fetch(Request(site.url()))).body == b"ok"

    asyncio.run(main())


@pytest.mark.parametrize("http2", [False, True])
def test_a_server_that_speaks_no_tls(serve: Any, wire: Any, http2: bool) -> None:
    async def main() -> None:
        async with (
            serve(b"HTTP/1.1 400 Bad Request\r\n\r\n", closing=True) as site,
            wire(http2=http2, timeout=20) as fetch,
        ):
            # It waits for a line end that a handshake may never bring, so it answers at once here.
            site.serve = answer_at_once
            with pytest.raises(TLSError, match=r"TLS with 127.0.0.1 failed: \S+"):
                await fetch(Request(site.url().replace("http:", "https:")))

    async def answer_at_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await reader.read(1)
        writer.close()

    asyncio.run(main())


def test_plain_http_to_a_tls_server(serve: Any, wire: Any, server_tls: ssl.SSLContext) -> None:
    async def main() -> None:
        async with serve(OK, tls=server_tls) as site, wire(timeout=20) as fetch:
            with pytest.raises(ProtocolError):
                await fetch(Request(site.url().replace("https:", "http:")))

    asyncio.run(main())
