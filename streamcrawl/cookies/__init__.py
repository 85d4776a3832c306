"""Cookies: one, a jar, jars by name, and the files that they come from and go to (RFC 6265bis)."""

from streamcrawl.cookies.cookie import Cookie, Refused
from streamcrawl.cookies.events import CookiesReceived, CookiesSent
from streamcrawl.cookies.files import CookieFileError, read_cookies, write_cookies
from streamcrawl.cookies.jar import CookieJar
from streamcrawl.cookies.own import OwnCookies
from streamcrawl.cookies.set_cookie import parse_date, parse_set_cookie, split_set_cookie

__all__ = [
    "Cookie",
    "CookieFileError",
    "CookieJar",
    "CookiesReceived",
    "CookiesSent",
    "OwnCookies",
    "Refused",
    "parse_date",
    "parse_set_cookie",
    "read_cookies",
    "split_set_cookie",
    "write_cookies",
]
