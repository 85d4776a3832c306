"""Where a feed that was cut off goes on."""

from __future__ import annotations

import csv
import json
from io import BytesIO, StringIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamcrawl.feeds import tails
from streamcrawl.feeds.tails import Tail, csv_columns, csv_tail, jsonl_tail


@pytest.mark.parametrize(
    ("content", "tail"),
    [
        (b"", Tail(0)),
        (b'{"a":1}\n', Tail(8)),
        (b'{"a":1}\n{"a":', Tail(8)),
        (b'{"a":', Tail(0)),
        (b'{"a":1}\n{"a":2}', Tail(15, b"\n")),
        (b'{"a":1}', Tail(7, b"\n")),
        (b'{"a":1}\n{"a":"\xc3', Tail(8)),
    ],
)
def test_json_lines(content: bytes, tail: Tail) -> None:
    assert jsonl_tail(BytesIO(content)) == tail


@pytest.mark.parametrize(
    ("content", "tail"),
    [
        (b"", Tail(0)),
        (b"a,b\r\n1,2\r\n", Tail(10)),
        (b"a,b\r\n1,2\r\n3", Tail(10)),
        (b"a,b\r\n1,2\r", Tail(9, b"\n")),
        (b"a,b", Tail(0)),
        (b"a,b\r\n1,2\r\n3,4", Tail(13, b"\r\n")),
        (b"a,b\n1,2", Tail(7, b"\n")),
        (b'a,b\r\n1,"x\r\ny"\r\n', Tail(15)),
        (b'a,b\r\n1,"x\r\ny', Tail(5)),
        (b'a,b\r\n1,"x\r\n', Tail(5)),
        (b'a,b\r\n1,"x ""quoted""\n', Tail(5)),
    ],
)
@pytest.mark.parametrize("chunk", [1, 4, 1 << 20])
def test_csv(content: bytes, tail: Tail, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tails, "CHUNK", chunk)
    assert csv_tail(BytesIO(content)) == tail


def test_the_columns_of_a_csv() -> None:
    assert csv_columns(BytesIO(b'\xef\xbb\xbfa,"b\r\nc"\r\n1,2\r\n')) == ("a", "b\r\nc")
    assert csv_columns(BytesIO(b"")) == ()


@given(st.lists(st.dictionaries(st.sampled_from("abc"), st.text()), max_size=4), st.data())
def test_json_lines_cut_anywhere_keep_every_whole_record(items: list[dict[str, str]], data: st.DataObject) -> None:
    content = b"".join(json.dumps(item, ensure_ascii=False).encode() + b"\n" for item in items)
    cut = data.draw(st.integers(0, len(content)))
    end, add = jsonl_tail(BytesIO(content[:cut]))
    kept = [json.loads(line) for line in (content[:end] + add).decode().split("\n") if line]
    assert kept == items[: len(kept)]
    assert len(kept) >= content[:cut].count(b"\n")


@given(st.lists(st.tuples(st.text("ab\n\r,\"'"), st.text("ab\n\r,\"'")), max_size=4), st.data())
def test_csv_cut_anywhere_keeps_every_whole_row(cells: list[tuple[str, str]], data: st.DataObject) -> None:
    out = StringIO(newline="")
    csv.writer(out).writerows([("x", "y"), *cells])
    content = out.getvalue().encode()
    cut = data.draw(st.integers(0, len(content)))
    end, add = csv_tail(BytesIO(content[:cut]))
    kept = list(csv.reader(StringIO((content[:end] + add).decode(), newline="")))
    whole = list(csv.reader(StringIO(content.decode(), newline="")))
    # The last row may be one that is whole but for the end of its last cell: all its columns are there.
    assert kept[:-1] == whole[: max(0, len(kept) - 1)]
    assert all(len(row) == 2 for row in kept[1:])
