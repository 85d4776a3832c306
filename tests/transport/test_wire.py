"""The Wire itself: its arguments, its schemes, and what it does not import."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import Any

import pytest

from streamcrawl.core import Request
from streamcrawl.errors import FlowError, UnsupportedScheme
from streamcrawl.transport import SCHEMES, Wire
from streamcrawl.transport import wire as wire_module


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"timeout": 0}, ValueError, r"timeout=0: seconds above 0"),
        ({"timeout": -1.5}, ValueError, r"timeout=-1.5"),
        ({"timeout": float("nan")}, ValueError, r"timeout=nan"),
        ({"max_size": 0}, ValueError, r"max_size=0: bytes, 1 or more"),
        ({"user_agent": "a\r\nb"}, ValueError, r"user_agent='a\\r\\nb': printable ASCII"),
        ({"user_agent": "\xe4"}, ValueError, r"user_agent='\xe4'"),
        ({"verify": "ca.pem"}, TypeError, r"verify='ca.pem': True, False or an ssl.SSLContext"),
        ({"transport": 3}, TypeError, r"transport=3: a function"),
        ({"transport": dict, "http2": True}, ValueError, r"http2=True has no effect on a transport of your own"),
    ],
)
def test_arguments_are_checked_when_built(options: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        Wire(**options)


def test_http2_without_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        assert name == "h2"

    monkeypatch.setattr(wire_module, "find_spec", absent)
    with pytest.raises(FlowError, match=r"pip install 'streamcrawl\[http2\]'"):
        Wire(http2=True)
    assert not Wire().http2


def test_an_unknown_scheme_is_named_with_the_known_ones(wire: Any) -> None:
    async def main() -> None:
        async with wire() as fetch:
            with pytest.raises(UnsupportedScheme) as caught:
                await fetch(Request("gopher://user:secret@h/x"))
            told = "gopher://h/x: no transport for the scheme 'gopher'; there are: data, file, http, https"
            assert str(caught.value) == told

    asyncio.run(main())


def test_a_scheme_can_be_added(wire: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Any] = []

    class Echo:
        def __init__(self, wire: Any, run: Any) -> None:
            opened.append(self)
            self.closed = False

        async def __call__(self, request: Request) -> str:
            return request.url

        async def aclose(self) -> None:
            self.closed = True

    monkeypatch.setitem(SCHEMES, "echo", Echo)  # pyright: ignore[reportArgumentType] - a test's short cut
    monkeypatch.setitem(SCHEMES, "echos", Echo)  # pyright: ignore[reportArgumentType] - as above

    async def main() -> None:
        async with wire() as fetch:
            assert repr(fetch) == "<OpenWire unused>"
            assert await fetch(Request("echo:1")) == "echo:1"
            assert await fetch(Request("echos:2")) == "echos:2"
            assert len(opened) == 1
            assert repr(fetch) == "<OpenWire echo, echos>"
        assert opened[0].closed

    asyncio.run(main())


def test_nothing_heavy_is_imported_before_it_is_used() -> None:
    script = (
        "import sys, asyncio, streamcrawl.transport as t\n"
        "from streamcrawl.core import Request\n"
        "from streamcrawl.streams.local import LocalRun\n"
        "async def main():\n"
        "    wire = t.Wire().open(LocalRun(asyncio.get_running_loop()))\n"
        "    await wire(Request('data:,x'))\n"
        "    await wire.aclose()\n"
        "asyncio.run(main())\n"
        "heavy = {'httpx', 'aiohttp', 'httpcore', 'fsspec', 'brotli', 'backports.zstd', 'h2', 'yarl'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
