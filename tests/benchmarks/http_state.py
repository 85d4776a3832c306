"""How many of the http-state suite's 222 cases the standard library's cookie jar passes, which Scrapy uses.

    python tests/benchmarks/http_state.py

`tests/test_http_state.py` does the same for the layer `cookies`.
"""

from __future__ import annotations

import json
from email.message import Message
from http.client import HTTPResponse
from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any, cast
from urllib.parse import urljoin
from urllib.request import Request

SUITE = Path(__file__).parents[1] / "http_state" / "cases.json"


class Answer:
    """What the jar wants of a response: its header fields."""

    def __init__(self, fields: Message) -> None:
        self._fields = fields

    def info(self) -> Message:
        return self._fields


def sent(case: dict[str, Any]) -> str:
    """The Cookie field of the request that follows, by way of Latin-1 as on the wire."""
    name = case["test"].lower().replace("_", "-")
    page = f"http://home.example.org:8888/cookie-parser?{name}"
    fields, jar = Message(), CookieJar()
    for line in case["received"]:
        fields.add_header("Set-Cookie", line.encode().decode("latin-1"))
    jar.extract_cookies(cast("HTTPResponse", Answer(fields)), Request(page))
    request = Request(urljoin(page, case.get("to", f"/cookie-parser-result?{name}")))
    jar.add_cookie_header(request)
    return (request.get_header("Cookie") or "").encode("latin-1").decode()


def main() -> None:
    cases: list[dict[str, Any]] = json.loads(SUITE.read_text("utf-8"))
    passed = sum(sent(case) == "; ".join(f"{name}={value}" for name, value in case["sent"]) for case in cases)
    print(f"http.cookiejar: {passed} of {len(cases)}")


if __name__ == "__main__":
    main()
