"""Requests that send a form: one that stands on a page, or one of your own."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from streamcrawl.core import Request
from streamcrawl.headers import NO_HEADERS, Headers
from streamcrawl.requests.encoded import (
    ENCTYPES,
    MULTIPART,
    NO_FILE,
    URLENCODED,
    Enctype,
    File,
    FormData,
    body,
    flat,
    form_encoding,
    label,
    query,
)
from streamcrawl.response import Response

if TYPE_CHECKING:
    from parsel import Selector

_REGEXP: dict[str, str] = {"re": "http://exslt.org/regular-expressions"}
_SUBMITS = (
    'descendant::input[re:test(@type, "^(submit|image)$", "i")]'
    '|descendant::button[not(@type) or re:test(@type, "^submit$", "i")]'
)
_FIELDS = "descendant::*[self::input or self::select or self::textarea or self::button]"
_UNSENT = f"{_FIELDS}[@disabled or ancestor::datalist or ancestor::template]"
_IN_FIELDSETS = f"{_FIELDS}[ancestor::fieldset[@disabled]]"
_UNCHOSEN = "descendant::select[@size > 1 and not(@multiple) and not(.//option[@selected])]"
"""A list of which several options are shown: none is chosen from the beginning."""
_CHARSET = 'descendant::input[re:test(@type, "^hidden$", "i") and re:test(@name, "^_charset_$", "i")]'


def form_request(
    page: Response,
    *,
    css: str | None = None,
    xpath: str | None = None,
    name: str | None = None,
    id: str | None = None,
    number: int | None = None,
    data: FormData | None = None,
    files: Mapping[str, File] | None = None,
    click: Any = None,
    method: str | None = None,
    enctype: Enctype | None = None,
    **options: Any,
) -> Request:
    """The Request that a browser sends when a form of the page is submitted, its fields filled in.

    Args:
        page: Where the form stands.
        css: Selects the form, or something within it. With neither this nor the next four: the first form.
        xpath: Likewise.
        name: Of the form.
        id: Of the form.
        number: Which form of the page, from 0.
        data: Values for its fields, and for others; None takes a field out.
        files: For its file fields, by name: (file name, content, media type).
        click: What is clicked: None: the first submit button, if there is one; False: none; True: there has to be one;
            CSS that selects a button of the form; or a parsel Selector of one.
        method: "GET" or "POST", in place of the form's.
        enctype: How the body is encoded, in place of the form's.
        options: As `Request` takes them. `headers` go before what the form would set.

    Raises: ValueError if there is no such form or button, or the form cannot be sent; InvalidURL.
    Source: HTML Standard, "form submission algorithm" and "constructing the entry list".
    """
    checked(enctype)
    form, button = _found(page, {"css": css, "xpath": xpath, "name": name, "id": id, "number": number}, click)
    kind = enctype or _enctype(form, button)
    action = _attribute("action", form, button).strip()
    url = page.urljoin(action) if action else page.url
    form.set("action", url)
    form.set("method", _attribute("method", form, button) or "get")
    encoding = form_encoding(*(form.get("accept-charset") or "").split(), page.encoding)
    for field in form.xpath(_CHARSET, namespaces=_REGEXP):
        field.set("value", label(encoding))
    pairs = [*flat(data), *_clicked(button)]
    try:
        made = import_module("form2request").form2request(form, pairs, click=False, method=method, enctype=URLENCODED)
    except NotImplementedError as error:
        raise ValueError(f"{page.url}: the form cannot be sent: {error}") from None
    sent = made.url.partition("#")[0].partition("?")[2] if made.method == "GET" else made.body.decode("ascii")
    found = parse_qsl(sent, keep_blank_values=True)
    for field in form.xpath('descendant::input[re:test(@type, "^file$", "i")]/@name', namespaces=_REGEXP):
        files = {str(field): NO_FILE, **(files or {})}
    named = [pair for pair in found if pair[0] not in (files or {})]
    made_url, changes = submission(url, named, files or {}, made.method, kind, encoding, options)
    return page.follow(made_url, **changes)


def formdata_request(
    url: str,
    data: FormData,
    *,
    files: Mapping[str, File] | None = None,
    method: str = "POST",
    enctype: Enctype | None = None,
    encoding: str = "utf-8",
    **options: Any,
) -> Request:
    """A Request that sends fields as a form does, without a form.

    Args:
        url: Absolute.
        data: Values by name; one that is None is left out.
        files: By name: (file name, content, media type). With files the body is multipart/form-data.
        method: "POST"; with "GET" the fields take the place of the URL's query.
        enctype: How the body is encoded; None: as browsers do.
        encoding: Of the characters.
        options: As `Request` takes them. `headers` go before what the form would set.

    Raises: ValueError, TypeError.
    """
    checked(enctype)
    if method not in ("GET", "POST"):
        raise ValueError(f"method={method!r}: GET or POST")
    named = [(name, value) for name, value in flat(data) if value is not None]
    kind = enctype or (MULTIPART if files else URLENCODED)
    made_url, changes = submission(url, named, files or {}, method, kind, form_encoding(encoding), options)
    return Request(made_url, **changes)


def submission(
    url: str,
    pairs: list[tuple[str, str]],
    files: Mapping[str, File],
    method: str,
    enctype: Enctype,
    encoding: str,
    options: dict[str, Any],
) -> tuple[str, dict[str, Any]]:
    """The URL of what is sent, and the other arguments of its Request."""
    changes = {**options, "method": method}
    if method == "GET":
        bare, mark, fragment = url.partition("#")
        named = [*pairs, *((name, file[0]) for name, file in files.items())]
        return f"{bare.partition('?')[0]}?{query(named, encoding)}{mark}{fragment}", changes
    media, changes["body"] = body(pairs, files, enctype, encoding)
    changes["headers"] = Headers(options.get("headers", NO_HEADERS)).defaults({"Content-Type": media})
    return url, changes


def checked(enctype: str | None) -> None:
    """Raises: ValueError."""
    if enctype is not None and enctype not in ENCTYPES:
        raise ValueError(f"enctype={enctype!r}: one of {', '.join(ENCTYPES)}")


def _found(page: Response, ways: dict[str, Any], click: Any) -> tuple[Any, Any]:
    """The form and what is clicked, in a tree of our own that has only what is sent."""
    from parsel import Selector

    given = {way: value for way, value in ways.items() if value is not None}
    if len(given) > 1:
        raise ValueError(f"form_request() takes one of: {', '.join(ways)}; it got {', '.join(given)}")
    selector = Selector(text=page.text, type="html", base_url=page.url)
    way, value = next(iter(given.items()), ("number", 0))
    form = _form(selector, way, value)
    if form is None:
        count = len(selector.root.xpath("//form"))
        raise ValueError(f"{page.url}: no form with {way}={value!r}; the page has {count}")
    chosen = _one(click)
    button = _same_place(chosen, form) if hasattr(chosen, "root") else None
    _gather(form)
    if button is None:
        button = _button(form, chosen, page.url)
    elif button.get("disabled") is not None or form not in button.iterancestors():
        raise ValueError(f"{page.url}: {click!r} is no button of the form that can be clicked")
    return form, button


def _one(click: Any) -> Any:
    return click[0] if hasattr(click, "append") and click else click  # css() and xpath() give lists


def _form(selector: Selector, way: str, value: Any) -> Any:
    if way in ("css", "xpath"):
        found = selector.css(value) if way == "css" else selector.xpath(value)
        inside = (each.root for each in found if hasattr(each.root, "iterancestors"))
        forms = [form for each in inside for form in (each, *each.iterancestors()) if form.tag == "form"]
        return forms[0] if forms else None
    forms = selector.root.xpath("//form")
    if way == "number":
        return forms[value] if -len(forms) <= value < len(forms) else None
    return next((form for form in forms if form.get(way) == value), None)


def _gather(form: Any) -> None:
    """Take out what a browser does not send, and in what belongs to the form from elsewhere on the page."""
    for element in form.xpath(_UNSENT) + form.xpath(_UNCHOSEN):
        element.drop_tree()
    for element in form.xpath(_IN_FIELDSETS):
        if _is_disabled(element):
            element.drop_tree()
    for area in form.iter("textarea"):
        area.text = re.sub(r"^(\r\n|\n|\r)", "", area.text or "")  # the parser of HTML passes over the first one
    own = form.get("id")
    for element in form.getroottree().xpath(
        "//*[self::input or self::select or self::textarea or self::button][@form]"
    ):
        if own and element.get("form") == own and element.get("disabled") is None:
            if form not in element.iterancestors() and not _is_disabled(element):
                form.append(element)
        elif form in element.iterancestors():
            element.drop_tree()
    for fieldset in form.getroottree().iter("fieldset"):
        fieldset.attrib.pop("disabled", None)  # what it disables is out already


def _is_disabled(element: Any) -> bool:
    """Whether a disabled fieldset stands around it, and it is not in the first legend of that."""
    inside = element
    for above in element.iterancestors():
        if above.tag == "fieldset" and above.get("disabled") is not None and inside is not above.find("legend"):
            return True
        inside = above
    return False


def _same_place(click: Any, form: Any) -> Any:
    """The element of our tree that stands where the selected one does in the page's."""
    root = click.root
    found: list[Any] = []
    if hasattr(root, "getroottree"):
        found = form.getroottree().xpath(root.getroottree().getpath(root))
    if not found:
        raise ValueError(f"click={click!r}: no button of the page")
    return found[0]


def _button(form: Any, click: Any, url: str) -> Any:
    if click is False:
        return None
    if isinstance(click, str):
        from parsel import Selector

        found = [each.root for each in Selector(root=form, type="html").css(click)]
        wanted = f"that {click!r} selects"
    elif click in (None, True):
        found = form.xpath(_SUBMITS, namespaces=_REGEXP)
        wanted = "to click"
    else:
        raise TypeError(f"click={click!r}: None, True, False, CSS, or a Selector")
    if not found and click is not None:
        raise ValueError(f"{url}: the form has no button {wanted}")
    return found[0] if found else None


def _attribute(name: str, form: Any, button: Any) -> str:
    own = None if button is None else button.get(f"form{name}")
    return str(own if own is not None else form.get(name) or "")


def _enctype(form: Any, button: Any) -> Enctype:
    written = _attribute("enctype", form, button).strip().lower()
    known: tuple[Enctype, ...] = tuple(each for each in ENCTYPES if each == written)
    return known[0] if known else URLENCODED


def _clicked(button: Any) -> list[tuple[str, str]]:
    if button is None:
        return []
    name = button.get("name")
    if button.tag == "input" and (button.get("type") or "").lower() == "image":
        return [(f"{name}.{axis}" if name else axis, "0") for axis in "xy"]
    return [(name, button.get("value") or "")] if name else []
