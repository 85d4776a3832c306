"""Forms: what a browser would send, told by a server that takes it, and by the rules of the HTML Standard."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiohttp import web

from streamcrawl import Crawl, Headers, Request, Response
from streamcrawl import operators as ops
from streamcrawl.requests import form_request, formdata_request

PAGE = "http://shop.test/dir/page?from=1"
HTML = """<body>
<form id="login" name="in" action="/go?x=1#f" method="post">
  <input name="user" value="ada"><input type="hidden" name="token" value="é€"><input type="password" name="pw">
  <input type="checkbox" name="keep" checked><input type="checkbox" name="no" value="1">
  <input type="radio" name="size" value="s"><input type="radio" name="size" value="m" checked>
  <select name="colour"><option value="r">red<option value="b" selected>blue</select>
  <select name="many" multiple><option selected>1<option>2<option selected>3</select>
  <select name="empty"></select>
  <textarea name="text">a
b</textarea>
  <input name="off" disabled value="z"><fieldset disabled><input name="inside" value="1"></fieldset>
  <datalist><input name="listed" value="1"></datalist><input value="nameless">
  <input type="reset" name="clear" value="C">
  <input name="foreign" form="other" value="o">
  <input type="submit" name="go" value="Go"><input type="submit" name="dead" disabled>
  <button name="alt" value="2" formaction="/other" formmethod="get">x</button>
  <input type="image" name="map" src="m.png">
</form>
<input name="outside" form="login" value="9">
<form id="other"><input name="q"></form>
<form id="up" method="post" enctype="multipart/form-data">
  <input name="t" value="1"><input type="file" name="pic"></form>
</body>"""
FIELDS = "user=ada&token=%C3%A9%E2%82%AC&pw=&keep=on&size=m&colour=b&many=1&many=3&text=a%0D%0Ab&outside=9"


def page(html: str = HTML, media: str = "text/html; charset=utf-8", url: str = PAGE) -> Response:
    charset = media.rpartition("=")[2]
    return Response(url, headers=Headers({"Content-Type": media}), body=html.encode(charset, "xmlcharrefreplace"))


def test_the_fields_of_a_form_as_they_stand() -> None:
    request = form_request(page())
    assert (request.method, request.url) == ("POST", "http://shop.test/go?x=1#f")
    assert request.body.decode() == f"{FIELDS}&go=Go"
    assert request.headers.pairs() == (("Content-Type", "application/x-www-form-urlencoded"),)


def test_fields_filled_in_added_and_taken_out() -> None:
    data = {"user": "Bob & Co", "token": None, "many": [7, 8], "text": None, "extra": 1.5, "keep": None, "pw": "ä~*"}
    request = form_request(page(), id="login", data=data, click=False)
    assert request.body.decode() == ("size=m&colour=b&outside=9&user=Bob+%26+Co&many=7&many=8&extra=1.5&pw=%C3%A4%7E*")
    pairs = form_request(page(), id="other", data=[("q", "1"), ("q", "2")])
    assert pairs.url == "http://shop.test/dir/page?foreign=o&q=1&q=2"


@pytest.mark.parametrize(
    ("fields", "sent"),
    [
        ("<textarea name=t>\n\na\n</textarea><textarea name=u></textarea>", "t=%0D%0Aa%0D%0A&u="),
        ("<select name=s size=3><option>x<option>y</select>", ""),
        ("<select name=s size=3><option>x<option selected>y</select>", "s=y"),
        ("<select name=s size=1><option>x<option>y</select>", "s=x"),
        ("<template><input name=t></template><input name=a value=1>", "a=1"),
        ("<fieldset disabled><legend><input name=l value=1></legend><input name=b value=2></fieldset>", "l=1"),
        ("<fieldset disabled><legend>x</legend><legend><input name=l></legend></fieldset>", ""),
        ("<fieldset disabled><fieldset><legend><input name=l></legend></fieldset></fieldset>", ""),
        ("<fieldset><legend>x</legend><legend><input name=l></legend></fieldset>", "l="),
        ('<input type=hidden name="_charset_" value=x><input name=_CHARSET_ value=y>', "_charset_=UTF-8&_CHARSET_=y"),
    ],
)
def test_what_browsers_send_of_odd_fields(fields: str, sent: str) -> None:
    elsewhere = "<fieldset disabled><input name=e form=f></fieldset>"
    assert form_request(page(f"{elsewhere}<form id=f>{fields}</form>")).url == f"http://shop.test/dir/page?{sent}"
    assert form_request(page(f"<form>{fields}</form>")).url == f"http://shop.test/dir/page?{sent}"


@pytest.mark.parametrize(
    ("charset", "named"),
    [("iso-8859-1", "windows-1252"), ("windows-1251", "windows-1251"), ("iso-8859-2", "ISO-8859-2"), ("x", "UTF-8")],
)
def test_a_form_tells_its_encoding(charset: str, named: str) -> None:
    form = f"<form accept-charset={charset}><input type=hidden name=_charset_></form>"
    assert form_request(page(form)).url == f"http://shop.test/dir/page?_charset_={named}"


@pytest.mark.parametrize(
    "way",
    [
        {"css": "#login"},
        {"css": "input[name=pw]"},
        {"xpath": "//form[1]"},
        {"name": "in"},
        {"id": "login"},
        {"number": 0},
    ],
)
def test_ways_to_say_which_form(way: dict[str, Any]) -> None:
    assert form_request(page(), **way).url == "http://shop.test/go?x=1#f"
    assert form_request(page(), number=-1).method == "POST"


@pytest.mark.parametrize(
    ("click", "url", "end"),
    [
        (None, "/go", "&go=Go"),
        (True, "/go", "&go=Go"),
        (False, "/go", "outside=9"),
        ("button[name=alt]", "/other", "&alt=2"),
        ("input[type=image]", "/go", "&map.x=0&map.y=0"),
    ],
)
def test_what_is_clicked(click: Any, url: str, end: str) -> None:
    request = form_request(page(), click=click)
    assert request.url.startswith(f"http://shop.test{url}")
    assert (request.body.decode() or request.url).endswith(end)
    assert request.method == ("GET" if url == "/other" else "POST")


def test_a_button_given_as_a_selector_of_the_page() -> None:
    source = page()
    request = form_request(source, click=source.css("button"))
    assert request.url == f"http://shop.test/other?{FIELDS}&alt=2"
    assert form_request(source, click=source.css("button")[0]).url == request.url
    assert source.css("form#login input[disabled]")  # the page itself stays as it is
    for wrong in ("input[name=dead]", "#other input"):
        with pytest.raises(ValueError, match="is no button of the form that can be clicked"):
            form_request(source, id="login", click=source.css(wrong))


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"id": "nope"}, "no form with id='nope'; the page has 3"),
        ({"number": 3}, "no form with number=3"),
        ({"css": "p"}, "no form with css='p'"),
        ({"css": "form", "id": "login"}, "it got css, id"),
        ({"click": "button.none"}, "no button that 'button.none' selects"),
        ({"id": "other", "click": True}, "no button to click"),
        ({"method": "PUT"}, "PUT"),
        ({"enctype": "text/html"}, "enctype='text/html'"),
    ],
)
def test_what_cannot_be_sent(arguments: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        form_request(page(), **arguments)
    with pytest.raises(ValueError, match="cannot be sent"):
        form_request(page('<form method="dialog"></form>'))
    with pytest.raises(TypeError, match="click=7"):
        form_request(page(), click=7)
    with pytest.raises(TypeError, match="'user' is b'x'"):
        form_request(page(), data={"user": b"x"})


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("<base href='/b/'><form action='go'>", "http://shop.test/b/go?"),
        ("<base href='/b/'><form action=''>", "http://shop.test/dir/page?"),  # the document's URL, not the base's
        ("<base href='/b/'><form>", "http://shop.test/dir/page?"),
        ("<form action=' //other.test/x '>", "http://other.test/x?"),
        ("<form action='?y=1#z'>", "http://shop.test/dir/page?#z"),
    ],
)
def test_where_it_goes(form: str, expected: str) -> None:
    assert form_request(page(form)).url == expected


def test_the_encoding_of_the_page_or_of_the_form() -> None:
    form = '<form method="post"><input name="ä" value="é€☃">'
    assert form_request(page(form, "text/html; charset=iso-8859-1")).body == b"%E4=%E9%80%26%239731%3B"
    assert form_request(page(form, "text/html; charset=utf-16")).body == b"%C3%A4=%C3%A9%E2%82%AC%E2%98%83"
    own = form.replace("<form", '<form accept-charset="nonsense koi8-r"')
    assert form_request(page(own)).body == b"%26%23228%3B=%26%23233%3B%26%238364%3B%26%239731%3B"


def test_text_plain_and_fields_of_your_own() -> None:
    request = form_request(page(), id="login", data={"text": "x\ny"}, click=False, enctype="text/plain")
    assert request.headers["content-type"] == "text/plain"
    assert request.body.decode().endswith("outside=9\r\ntext=x\r\ny\r\n")
    own = form_request(page(), headers=Headers({"content-type": "mine", "X": "y"}), priority=3, cb_kwargs={"n": 1})
    assert own.headers.pairs() == (("content-type", "mine"), ("X", "y"))
    assert (own.priority, own.cb_kwargs) == (3, {"n": 1})


def test_it_stays_with_its_site_and_its_cookiejar() -> None:
    source = page()
    source.request = Request(PAGE, site="http://shop.test", cookiejar="ada")
    request = form_request(source)
    assert (request.site, request.cookiejar) == ("http://shop.test", "ada")


def test_the_same_form_is_the_same_request() -> None:
    files = {"pic": ("a.png", b"--\r\n", "image/png")}
    assert form_request(page(), id="up", files=files).body == form_request(page(), id="up", files=files).body
    other = formdata_request("http://a.test/", {"a": "1"}, files={"f": ("x", b"1", "text/plain")})
    again = formdata_request("http://a.test/", {"a": "2"}, files={"f": ("x", b"1", "text/plain")})
    assert other.headers["content-type"] != again.headers["content-type"]


@pytest.mark.parametrize("data", ["user=a&pw=x", b"user=a"])
def test_data_that_is_text_is_told(data: Any) -> None:
    with pytest.raises(TypeError, match=r"^data=b?'user=a.*: a dict of values by name, or a list of \(name, value\)$"):
        formdata_request("http://a.test/", data)


def test_formdata_request() -> None:
    assert formdata_request("http://a.test/", {"a": "1 2", "b": [3, "ü"], "c": None}).body == b"a=1+2&b=3&b=%C3%BC"
    assert formdata_request("http://a.test/p?x=1#y", {"a": 1}, method="GET").url == "http://a.test/p?a=1#y"
    assert formdata_request("http://a.test/", {"ü": "ü"}, encoding="latin-1").body == b"%FC=%FC"
    with pytest.raises(ValueError, match="method='PUT'"):
        formdata_request("http://a.test/", {}, method="PUT")


def test_a_server_gets_what_was_meant() -> None:
    """Multipart with a file, read by aiohttp's own parser."""
    got: list[dict[str, Any]] = []

    async def take(request: web.Request) -> web.Response:
        fields: dict[str, Any] = {}
        for name, value in (await request.post()).items():
            held = isinstance(value, web.FileField)
            fields[name] = (value.filename, value.file.read(), value.content_type) if held else value  # type: ignore[union-attr]
        got.append(fields)
        return web.Response(text="<p>thanks</p>", content_type="text/html")

    async def show(request: web.Request) -> web.Response:
        return web.Response(
            text=HTML.replace('method="post"', 'method="post" action="/take"'), content_type="text/html"
        )

    async def main() -> list[Any]:
        app = web.Application()
        app.router.add_get("/", show)
        app.router.add_post("/take", take)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        address = "http://{}:{}/".format(*runner.addresses[0][:2])

        def parse(source: Response) -> Any:
            picture = ('a"b.png', b"\x89PNG\r\n--", "image/png")
            yield form_request(source, id="up", data={"t": "ä\n1"}, files={"pic": picture}, callback=thanks)
            yield form_request(source, id="up", data={"n": "no file"}, callback=thanks)

        def thanks(answer: Response) -> Any:
            return {"thanks": answer.css("p::text").get()}

        try:
            return await Crawl(address).pipe(ops.download(), ops.scrape(parse)).collect()
        finally:
            await runner.cleanup()

    assert asyncio.run(main()) == [{"thanks": "thanks"}] * 2
    assert sorted(got, key=len) == [
        {"t": "ä\r\n1", "pic": ("a%22b.png", b"\x89PNG\r\n--", "image/png")},
        {"t": "1", "n": "no file", "pic": b""},
    ]
