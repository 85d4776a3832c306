"""What a hop must not do, seen from the servers: a test for each thing that has gone wrong in crawlers before."""

from __future__ import annotations

import asyncio
import ssl
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest
import reactivex as rx
from reactivex import operators as rxo

from streamcrawl import operators as ops
from streamcrawl.core import Layer, Outcome, Request
from streamcrawl.headers import Headers
from streamcrawl.response import Response
from streamcrawl.transport import Wire

PRIVATE = Headers({"Authorization": "Bearer secret", "Cookie": "own=secret", "X-Mine": "1"})


def moved(location: str, status: int = 302, *fields: str) -> bytes:
    lines = [f"HTTP/1.1 {status} Moved", f"Location: {location}", "Content-Length: 0", *fields, "", ""]
    return "\r\n".join(lines).encode("latin-1")


def shown(body: bytes = b"shown", *fields: str) -> bytes:
    lines = ["HTTP/1.1 200 OK", "Content-Type: text/html", f"Content-Length: {len(body)}", *fields, "", ""]
    return "\r\n".join(lines).encode("latin-1") + body


async def sent(request: Request, *layers: Layer, wire: Wire | None = None) -> Outcome:
    """What becomes of a request; it may reach this machine."""
    request = request.replace(reach=("any",))
    stage = ops.download(*layers, fetch=wire or Wire())
    outcomes: list[Outcome] = await rx.of(request).pipe(stage, rxo.to_list())
    (outcome,) = outcomes
    return outcome


def elsewhere(site: Any, path: str = "/") -> str:
    """The same server by another name, which makes it another host."""
    return f"{site.scheme}://localhost:{site.port}{path}"


async def from_one_to_another(serve: Any, request: dict[str, Any], *layers: Layer, status: int = 302) -> Any:
    """The request that the second of two hosts gets."""
    async with serve(shown()) as second, serve(moved(elsewhere(second), status, "Set-Cookie: theirs=secret")) as first:
        await sent(Request(first.url("/start")).replace(**request), *layers)
        assert len(first.seen) == 1
        (arrived,) = second.seen
        return arrived


def test_cookies_do_not_go_to_another_host_by_redirect(serve: Any) -> None:
    async def main() -> None:
        request = {"headers": PRIVATE, "cookies": {"given": "secret"}}
        arrived = await from_one_to_another(serve, request, ops.redirect(), ops.cookies())
        assert arrived.all("Cookie") == []
        assert arrived.all("X-Mine") == ["1"]

    asyncio.run(main())


def test_authorization_does_not_go_to_another_host_by_redirect(serve: Any) -> None:
    async def main() -> None:
        arrived = await from_one_to_another(serve, {"headers": PRIVATE}, ops.redirect())
        assert arrived.all("Authorization") == []

    asyncio.run(main())


def test_authorization_does_not_go_to_another_port_by_redirect(serve: Any) -> None:
    async def main() -> None:
        async with serve(shown()) as second, serve(moved(second.url())) as first:
            await sent(Request(first.url(), headers=PRIVATE), ops.redirect())
            (arrived,) = second.seen
            assert arrived.all("Authorization") == []
            assert arrived.all("Cookie") == ["own=secret"]  # cookies do not know ports: RFC 6265 §8.5

    asyncio.run(main())


def test_nothing_private_goes_from_https_to_http_by_redirect(
    serve: Any, server_tls: ssl.SSLContext, trusting: ssl.SSLContext
) -> None:
    async def main() -> None:
        async with serve(shown()) as plain, serve(moved(plain.url()), tls=server_tls) as secure:
            headers = PRIVATE.add("Referer", secure.url("/private?token=1"))
            request = Request(secure.url(), headers=headers, cookies={"given": "secret"})
            await sent(request, ops.redirect(), ops.cookies(), wire=Wire(verify=trusting))
            (arrived,) = plain.seen
            assert arrived.all("Authorization") == arrived.all("Cookie") == []
            # This machine counts as trustworthy, or there would be none at all (Secure Contexts §3.1).
            assert arrived.all("Referer") == [secure.url("/")]

    asyncio.run(main())


def test_authorization_does_not_go_from_http_to_https_by_redirect(
    serve: Any, server_tls: ssl.SSLContext, trusting: ssl.SSLContext
) -> None:
    async def main() -> None:
        async with serve(shown(), tls=server_tls) as secure, serve(moved(secure.url())) as plain:
            await sent(Request(plain.url(), headers=PRIVATE), ops.redirect(), wire=Wire(verify=trusting))
            (arrived,) = secure.seen
            assert arrived.all("Authorization") == []

    asyncio.run(main())


def test_credentials_in_a_url_do_not_go_to_another_host_by_redirect(serve: Any) -> None:
    async def main() -> None:
        async with serve(shown()) as second, serve(moved(f"//localhost:{second.port}/")) as first:
            await sent(Request(first.url().replace("://", "://me:secret@")), ops.redirect())
            assert first.seen[0].all("Authorization") == ["Basic " + b64encode(b"me:secret").decode()]
            assert second.seen[0].all("Authorization") == []

    asyncio.run(main())


def test_what_http_auth_adds_does_not_go_to_another_domain_by_redirect_or_refresh(serve: Any) -> None:
    async def main() -> None:
        layers = ops.http_auth("me", "secret", domain="127.0.0.1"), ops.meta_refresh(), ops.redirect()
        arrived = await from_one_to_another(serve, {}, *layers)
        assert arrived.all("Authorization") == []
        async with serve(shown()) as second:
            page = f'<meta http-equiv="refresh" content="0;url={elsewhere(second)}">'.encode()
            async with serve(shown(page)) as first:
                await sent(Request(first.url()), *layers)
                assert first.seen[0].all("Authorization") == ["Basic " + b64encode(b"me:secret").decode()]
                assert second.seen[0].all("Authorization") == []

    asyncio.run(main())


@pytest.mark.parametrize("status", [301, 302, 303])
def test_a_posted_body_does_not_go_to_another_host_by_redirect(serve: Any, status: int) -> None:
    async def main() -> None:
        headers = Headers({"Content-Type": "application/x-www-form-urlencoded", "Content-Language": "en"})
        request = {"method": "POST", "body": b"password=secret", "headers": headers}
        arrived = await from_one_to_another(serve, request, ops.redirect(), status=status)
        assert arrived.line == "GET / HTTP/1.1"
        assert arrived.body == b""
        assert {name.lower() for name, _ in arrived.fields} == {"host", "user-agent", "accept-encoding"}

    asyncio.run(main())


@pytest.mark.parametrize("status", [307, 308])
def test_a_posted_body_does_not_go_from_https_to_http_by_redirect(
    serve: Any, server_tls: ssl.SSLContext, trusting: ssl.SSLContext, status: int
) -> None:
    async def main() -> None:
        async with serve(shown()) as plain, serve(moved(plain.url(), status), tls=server_tls) as secure:
            request = Request(secure.url(), method="POST", body=b"password=secret")
            outcome = await sent(request, ops.redirect(), wire=Wire(verify=trusting))
            assert isinstance(outcome, Response)
            assert outcome.status == status
            assert plain.seen == []

    asyncio.run(main())


@pytest.mark.parametrize("way", ["redirect", "meta element", "header field"])
@pytest.mark.parametrize("kind", ["file", "data", "s3", "javascript", "ftp"])
def test_a_page_of_the_web_leads_to_nothing_local(serve: Any, tmp_path: Path, way: str, kind: str) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("secret")
    target = {
        "file": secret.as_uri(),
        "data": "data:text/plain,secret",
        "s3": "s3://bucket/secret",
        "javascript": "javascript:'secret'",
        "ftp": "ftp://127.0.0.1:1/secret",
    }[kind]
    answers = {
        "redirect": moved(target),
        "meta element": shown(f'<meta http-equiv="refresh" content="0;url={target}">'.encode()),
        "header field": shown(b"", f"Refresh: 0;url={target}"),
    }

    async def main() -> None:
        async with serve(answers[way]) as site:
            outcome = await sent(Request(site.url()), ops.meta_refresh(), ops.redirect())
            assert isinstance(outcome, Response)
            assert outcome.url == site.url()
            assert outcome.request.via == ()
            assert outcome.body != b"secret"

    asyncio.run(main())


def test_a_referrer_policy_of_a_server_is_a_word_and_nothing_that_is_imported(serve: Any) -> None:
    async def main() -> None:
        for policy, told in ("os.system", "/"), ("unsafe-url, builtins.exec", "/page?q=1"), ("no-referrer", None):
            async with (
                serve(shown()) as second,
                serve(moved(elsewhere(second), 302, f"Referrer-Policy: {policy}")) as first,
            ):
                await sent(Request(first.url(), referrer=first.url("/page?q=1")), ops.redirect())
                assert second.seen[0].all("Referer") == ([] if told is None else [first.url(told)])

    asyncio.run(main())


def test_a_circle_of_redirects_ends(serve: Any) -> None:
    async def main() -> None:
        async with serve(moved("/again")) as site:
            outcome = await sent(Request(site.url()), ops.redirect(times=5))
            assert repr(outcome).endswith("redirects more than 5 times, last to " + site.url("/again") + ">")
            assert len(site.seen) == 6

    asyncio.run(main())
