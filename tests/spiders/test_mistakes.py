"""Where mistakes in the user's own code were made, and what was meant."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from types import CodeType
from typing import Any

import pytest

from streamcrawl import Request, Response
from streamcrawl.mistakes import nearest, no_field, one_line, own_function, paused_at, place_of, said, shown_path

HERE = shown_path(__file__)


def raised(work: Callable[[], Any]) -> Exception:
    with pytest.raises(Exception) as told:  # noqa: PT011 - any
        work()
    return told.value


def line(function: Callable[..., Any]) -> str:
    """Where a function of one line stands."""
    code: CodeType = function.__code__
    return f"{HERE}:{code.co_firstlineno + 1}, in {code.co_name}"


def parses() -> Any:
    return json.loads("{")


def called_back() -> Any:
    return json.loads("{}", object_hook=lambda found: found["a"])


def compiled(filename: str, text: str = "def f(): return {}['a']\nf()") -> Any:
    return lambda: exec(compile(text, filename, "exec"), {})


def test_the_deepest_line_of_the_users_own_code() -> None:
    assert place_of(raised(parses)) == line(parses)
    assert place_of(raised(called_back)).endswith("in <lambda>")
    assert said(raised(parses)).startswith("JSONDecodeError: Expecting property name")


@pytest.mark.parametrize(
    ("filename", "place"),
    [
        ("/x/lib/python9/site-packages/shop/spiders.py", ""),
        ("src/lxml/xpath.pxi", ""),
        ("<string>", ""),
        (json.__file__, ""),
        ("<stdin>", "<stdin>:1, in f"),
        ("/shop/spiders.py", "/shop/spiders.py:1, in f"),
    ],
)
def test_whose_a_file_is(filename: str, place: str) -> None:
    caller = compiled(filename)  # it is own: what calls code that is none
    assert place_of(raised(caller)) == (place or f"{HERE}:{caller.__code__.co_firstlineno}, in <lambda>")


def test_a_project_that_is_installed_is_somebodys_too() -> None:
    error = raised(compiled("/x/lib/python9/site-packages/shop/spiders.py"))
    trace = error.__traceback__
    while trace is not None and "site-packages" not in trace.tb_frame.f_code.co_filename:
        trace = trace.tb_next
    assert place_of(error.with_traceback(trace)) == "/x/lib/python9/site-packages/shop/spiders.py:2"
    assert place_of(error.with_traceback(None)) == ""


def test_what_a_library_wraps_is_looked_into() -> None:
    wrapping = "def wrap(f):\n try: f()\n except Exception as e: raise RuntimeError('wrapped') from e\nwrap(f)"
    names: dict[str, Any] = {"f": parses}

    def work() -> None:
        exec(compile(wrapping, "/lib/site-packages/wrapper.py", "exec"), names)

    assert place_of(raised(work)) == line(parses)

    def own() -> None:
        try:
            parses()
        except ValueError as error:
            raise RuntimeError("mine") from error

    assert place_of(raised(own)).endswith("in own")


def test_a_path_is_shown_as_people_know_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "flow.py").touch()
    monkeypatch.chdir(tmp_path)
    assert shown_path(str(tmp_path / "flow.py")) == "flow.py"
    assert shown_path("/elsewhere/flow.py") == "/elsewhere/flow.py"


def test_a_syntax_error_has_its_own_place() -> None:
    assert said(raised(compiled("/shop.py", "x = (\n"))).endswith("(/shop.py:1)")
    assert said(SystemExit()) == "SystemExit"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("callbck", "Request has no field 'callbck'; did you mean 'callback'?"),
        ("formdata", "Request has no field 'formdata': there is streamcrawl.requests.formdata_request(…)"),
        ("xyz", "Request has no field 'xyz'; its fields are url, method, "),
    ],
)
def test_a_field_that_a_request_does_not_have(name: str, said: str) -> None:
    assert no_field(name).startswith(said)
    request: Any = Request("http://a.test/")
    field: dict[str, Any] = {name: 1}
    with pytest.raises(TypeError) as told:
        request.replace(**{name: 1})
    assert str(told.value) == no_field(name)
    page: Any = Response("http://a.test/")
    for make in (lambda: Request("http://a.test/", **field), lambda: page.follow("/", **field)):
        assert no_field(name) in _said(make)


def _said(work: Callable[[], Any]) -> str:
    return said(raised(work))


def test_another_unknown_argument_is_left_as_it_is() -> None:
    def takes() -> None: ...

    takes_any: Any = takes
    assert "got an unexpected keyword argument 'callbck' (" in _said(lambda: takes_any(callbck=1))


def test_a_callback_by_position() -> None:
    page = Response("http://a.test/", request=Request("http://a.test/", print, cb_kwargs={"n": 1}))
    assert (page.request.callback, page.cb_kwargs) == (print, {"n": 1})
    assert page.follow("/x", len).callback is len
    assert page.follow("/x").callback is None
    assert [each.callback for each in page.follow_all(["/x", "/y"], len)] == [len, len]
    assert page.request.replace(priority=1).callback is print
    with pytest.raises(TypeError, match="one callback is given by position"):
        page.follow("/x", len, print)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://me:secret@a.test/x", "<GET http://***@a.test/x>"),
        ("http://token@a.test:8/?a=b@c", "<GET http://***@a.test:8/?a=b@c>"),
        ("http://a.test/@me", "<GET http://a.test/@me>"),
        ("mailto:me@a.test", "<GET mailto:me@a.test>"),
        (5, "<GET 5>"),
    ],
)
def test_a_repr_keeps_credentials_to_itself(url: Any, shown: str) -> None:
    assert repr(Request(url)) == shown


def test_where_a_generator_stands() -> None:
    def inner() -> Any:
        yield 1

    def outer() -> Any:
        yield from inner()

    async def later() -> AsyncGenerator[int, None]:
        yield 1

    outputs, later_outputs = outer(), later()
    assert next(outputs) == 1
    assert paused_at(outputs) == line(inner)
    with pytest.raises(StopIteration):
        later_outputs.asend(None).send(None)
    assert paused_at(later_outputs) == line(later)
    assert list(outputs) == []
    assert [paused_at(each) for each in (outputs, [1], None)] == ["", "", ""]


def test_what_is_nearest() -> None:
    assert nearest("prioriti", ["url", "priority"]) == "priority"
    assert nearest("xyz", ["url", "priority"]) == ""
    assert sys.modules["streamcrawl.mistakes"].nearest is nearest


def test_errors_that_are_each_other_s_cause_have_a_place() -> None:
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__cause__ = second, first
    assert said(first) == "ValueError: first"


def test_an_error_that_cannot_be_shown_is_told_by_its_type() -> None:
    class BrokenError(Exception):
        def __str__(self) -> str:
            raise RuntimeError("not ready")

    assert said(BrokenError()) == one_line(BrokenError()) == "BrokenError"


def test_a_callable_that_raises_when_it_is_looked_at_has_no_function() -> None:
    class Lazy:
        def __getattr__(self, name: str) -> object:
            raise RuntimeError("not ready")

    assert own_function(Lazy()) is None
