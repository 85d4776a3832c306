"""Parquet and Arrow: columns with a type in which every value has a place."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

import pyarrow  # type: ignore[import-untyped] # pyright: ignore
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from feeds.reading import items_in
from streamcrawl.errors import ItemRefused
from streamcrawl.feeds import columnar
from streamcrawl.operators.feed import feed
from streamcrawl.streams.local import LocalRun

PA: Any = cast("Any", pyarrow)
both = pytest.mark.parametrize("kind", ["parquet", "arrow"])
VALUE: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary() | st.dates(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@dataclass
class Maker:
    city: str


def written(path: Path, *items: Any, **options: Any) -> list[dict[str, Any]]:
    async def work() -> None:
        opened = feed(path, **options).open(LocalRun(asyncio.get_running_loop()))
        for item in items:
            opened.accept(item, (0, 0, 0))
        await opened.flush()
        assert not path.exists(), "it is there when it is whole"
        await opened.close()

    asyncio.run(work())
    return items_in(path)


@both
def test_types_are_kept(tmp_path: Path, kind: str) -> None:
    item = {
        "text": "é",
        "whole": 3,
        "real": 1.5,
        "yes": True,
        "bytes": b"\xff",
        "day": date(2024, 5, 6),
        "at": datetime(2024, 5, 6, 7, 8, tzinfo=UTC),
        "naive": datetime(2024, 5, 6, 7, 8),
        "time": time(7, 8),
        "price": Decimal("1.10"),
        "took": timedelta(seconds=1.5),
        "tags": ["a", "b"],
        "maker": {"city": "Ürümqi", "rooms": [1, 2]},
    }
    assert written(tmp_path / f"a.{kind}", item) == [item]
    assert written(tmp_path / f"b.{kind}", {"maker": Maker("Rome")}) == [{"maker": {"city": "Rome"}}]


@both
def test_a_column_has_the_type_of_all_its_values(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columnar, "ROWS", 2)
    items: list[dict[str, Any]] = [
        {"n": 1, "mixed": 1, "late": None, "empty": None, "hollow": {}, "big": 2**70},
        {"n": 2.5, "mixed": "one", "more": [1]},
        {"n": None, "mixed": {"é": 1}, "late": date(2024, 5, 6)},
        {"mixed": True, "hollow": {"a": 1}},
    ]
    found = written(tmp_path / f"a.{kind}", *items)
    assert [row["n"] for row in found] == [1.0, 2.5, None, None]
    assert [row["mixed"] for row in found] == ["1", "one", '{"é": 1}', "true"]
    assert [row["late"] for row in found] == [None, None, date(2024, 5, 6), None]
    assert [row["hollow"] for row in found] == ["{}", None, None, '{"a": 1}']
    assert [row["more"] for row in found] == [None, [1], None, None]
    assert found[0]["big"] == str(2**70)
    assert list(found[0]) == ["n", "mixed", "late", "empty", "hollow", "big", "more"]


@both
def test_fields_and_an_empty_feed(tmp_path: Path, kind: str) -> None:
    assert written(tmp_path / f"a.{kind}", {"a": 1, "b": 2, "c": 3}, fields={"c": "third", "a": "a"}) == [
        {"third": 3, "a": 1}
    ]
    assert written(tmp_path / f"b.{kind}") == []


@both
def test_a_schema_is_kept_and_what_does_not_fit_is_refused(tmp_path: Path, kind: str) -> None:
    schema = PA.schema([("n", PA.int16()), ("text", PA.string())])
    path = tmp_path / f"a.{kind}"

    async def work() -> None:
        opened = feed(path, format_options={"schema": schema}).open(LocalRun(asyncio.get_running_loop()))
        opened.accept({"n": 1, "other": "left out"}, (0, 0, 0))
        with pytest.raises(ItemRefused, match="the item does not fit the schema"):
            opened.accept({"n": 70_000}, (0, 0, 0))
        with pytest.raises(ItemRefused, match="field 'text' cannot be written"):
            opened.accept({"text": object()}, (0, 0, 0))
        await opened.close()

    asyncio.run(work())
    assert items_in(path) == [{"n": 1, "text": None}]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.dictionaries(st.sampled_from("abc"), VALUE, min_size=1), min_size=1, max_size=5))
def test_whatever_it_is_it_is_written(tmp_path: Path, items: list[dict[str, Any]]) -> None:
    for kind in ("parquet", "arrow"):
        path = tmp_path / f"a.{kind}"
        path.unlink(missing_ok=True)
        found = written(path, *items)
        assert len(found) == len(items)
        for row, item in zip(found, items, strict=True):
            assert {name for name in item if item[name] is None} <= {name for name in row if row[name] is None}


def test_what_is_wrong_is_told_when_built(tmp_path: Path) -> None:
    for options, said in (
        ({"compress": "gzip"}, "parquet is compressed within"),
        ({"mode": "append"}, "parquet cannot be appended to"),
        ({"format_options": {"colour": "red"}}, "Parquet has no 'colour'; it takes column_encoding, compression"),
        ({"format_options": {"schema": "a: int"}}, "a pyarrow.Schema"),
        ({"indent": 2}, "Parquet is not indented"),
    ):
        with pytest.raises(ValueError, match=said):
            feed(tmp_path / "a.parquet", **cast("Any", options))
    with pytest.raises(ValueError, match="parquet needs a file"):
        feed("-", format="parquet")


def test_compression_is_that_which_was_asked_for(tmp_path: Path) -> None:
    from pyarrow import parquet  # pyright: ignore

    for options, codec in (({}, "ZSTD"), ({"compression": "gzip", "compression_level": 9}, "GZIP")):
        path = tmp_path / "a.parquet"
        path.unlink(missing_ok=True)
        written(path, {"a": "x" * 1000}, format_options=options)
        assert cast("Any", parquet).ParquetFile(path).metadata.row_group(0).column(0).compression == codec
