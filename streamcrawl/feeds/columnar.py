"""Parquet and Arrow: items are kept as records, and become columns when all of them are known."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any, TypeAlias, cast

import msgspec

from streamcrawl.core import Item
from streamcrawl.errors import ItemRefused
from streamcrawl.feeds.format import FeedFormat, Notice, Settings, allow
from streamcrawl.feeds.values import blame, builtins, named, plain, values_of

ROWS = 32_768
"""Rows of a group at most."""
GROUP = 8 * 1024 * 1024
"""Bytes of records in a group at most: what is held while columns are made."""

_DATE, _TIME, _DATETIME, _DECIMAL, _DELTA = range(1, 6)


def _packed(value: Any) -> Any:
    """The value in types that MessagePack has, or that are packed into an extension of it. Raises: TypeError."""
    cls: type[Any] = value.__class__
    if value is None or cls in (str, int, float, bool, bytes):
        return str(value) if cls is int and not -(2**63) <= cast("int", value) < 2**63 else value
    if isinstance(value, Mapping):
        fields: Mapping[Any, Any] = value  # pyright: ignore[reportUnknownVariableType] # whatever it is of
        return {str(key): _packed(each) for key, each in fields.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_packed(each) for each in cast("Iterable[Any]", value)]
    if isinstance(value, (bytearray, memoryview)):
        return bytes(cast("bytearray", value))
    for kind, code, text in _KINDS:
        if isinstance(value, kind):
            return msgspec.msgpack.Ext(code, text(value).encode())
    try:
        return _packed(plain(value))
    except TypeError:
        return builtins(value)


_KINDS: tuple[tuple[type[Any], int, Callable[[Any], str]], ...] = (
    (dt.datetime, _DATETIME, dt.datetime.isoformat),
    (dt.date, _DATE, dt.date.isoformat),
    (dt.time, _TIME, dt.time.isoformat),
    (dt.timedelta, _DELTA, lambda value: repr(value.total_seconds())),
    (Decimal, _DECIMAL, str),
)


def _unpacked(code: int, data: memoryview) -> Any:
    text = bytes(data).decode()
    if code == _DATETIME:
        return dt.datetime.fromisoformat(text)
    if code == _DATE:
        return dt.date.fromisoformat(text)
    if code == _TIME:
        return dt.time.fromisoformat(text)
    return dt.timedelta(seconds=float(text)) if code == _DELTA else Decimal(text)


class Records:
    """Each item as its length in four bytes, and its fields in MessagePack.

    Args:
        schema: What the columns have to be, of pyarrow's; an item that does not fit is refused.
    """

    __slots__ = ("_encode", "_fields", "_schema")

    def __init__(self, fields: Mapping[str, str] | Iterable[str] | None = None, schema: Any = None) -> None:
        self._fields = named(fields)
        self._schema = schema
        self._encode = msgspec.msgpack.Encoder().encode

    @property
    def state(self) -> None:
        return None

    def record(self, item: Item) -> bytes:
        fields = values_of(item, self._fields)
        try:
            data = self._encode(_packed(fields))
        except Exception as error:  # of whatever is within
            raise blame(fields, lambda value: self._encode(_packed(value))) from error
        if self._schema is not None:
            try:
                _pyarrow().RecordBatch.from_pylist([record_of(data)], schema=self._schema)
            except Exception as error:  # pyarrow has errors of its own for each way not to fit
                raise ItemRefused(f"the item does not fit the schema: {error}") from error
        return len(data).to_bytes(4) + data

    def end(self) -> bytes:
        return b""


_decode: Callable[[bytes], dict[str, Any]] = msgspec.msgpack.Decoder(dict[str, Any], ext_hook=_unpacked).decode


def record_of(data: bytes) -> dict[str, Any]:
    return _decode(data)


def groups(path: Path) -> Iterator[list[dict[str, Any]]]:
    """The records of a file, some at a time."""
    with path.open("rb") as file:
        rows: list[dict[str, Any]] = []
        size = 0
        while head := file.read(4):
            data = file.read(int.from_bytes(head))
            rows.append(record_of(data))
            size += len(data)
            if len(rows) >= ROWS or size >= GROUP:
                yield rows
                rows, size = [], 0
        if rows:
            yield rows


def _pyarrow() -> Any:
    import pyarrow  # type: ignore[import-untyped] # pyright: ignore # it has no annotations

    return cast("Any", pyarrow)


# ---- from records to columns


Types: TypeAlias = dict[str, Any]
"""Of each column, in their order: pyarrow's type in which every value has a place."""


def _learn(types: Types, rows: list[dict[str, Any]]) -> None:
    """Make the types those of these records too; where there is none for all, text."""
    for name in dict.fromkeys(name for row in rows for name in row):
        found = _type_of([row.get(name) for row in rows])
        types[name] = _common(types[name], found) if name in types else found


def _schema(types: Types) -> Any:
    pa = _pyarrow()
    return pa.schema([(name, pa.string() if pa.types.is_null(each) else each) for name, each in types.items()])


def _type_of(values: list[Any]) -> Any:
    pa = _pyarrow()
    try:
        found = pa.array(values).type
    except (pa.ArrowException, OverflowError, TypeError, ValueError):
        return pa.string()
    return pa.string() if _hollow(found) else found


def _hollow(type_: Any) -> bool:
    """Whether there is a struct with no fields in it: Parquet has no place for one."""
    if _pyarrow().types.is_struct(type_) and not type_.num_fields:
        return True
    return any(_hollow(type_.field(n).type) for n in range(type_.num_fields))


def _common(one: Any, other: Any) -> Any:
    if one == other:
        return one
    pa = _pyarrow()
    try:
        schemas = [pa.schema([("column", each)]) for each in (one, other)]
        return pa.unify_schemas(schemas, promote_options="permissive").field(0).type
    except pa.ArrowException:
        return pa.string()


def _columns(rows: list[dict[str, Any]], schema: Any, *, given: bool) -> Any:
    pa = _pyarrow()
    if given:
        return pa.RecordBatch.from_pylist(rows, schema=schema)
    arrays = [_array([row.get(field.name) for row in rows], field.type) for field in schema]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _array(values: list[Any], type_: Any) -> Any:
    pa = _pyarrow()
    if not pa.types.is_string(type_):
        return pa.array(values, type_)
    if _TEXTS.issuperset(map(type, values)):
        with suppress(UnicodeEncodeError):
            return pa.array(values, type_)
    return pa.array([each if each is None else _as_text(each) for each in values], type_)


_TEXTS = frozenset({str, type(None)})


def _as_text(value: Any) -> str:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    built = builtins(value)
    return built if isinstance(built, str) else json.dumps(built, ensure_ascii=False, allow_nan=True)


def _convert(
    written: Path, wanted: Path, settings: Settings, begin: Callable[[Path, Any, dict[str, Any]], Any]
) -> None:
    options = dict(settings.options)
    schema = options.pop("schema", None)
    if schema is not None:
        _write(written, lambda: begin(wanted, schema, options), schema)
        return
    types = _none_yet(settings)
    for rows in islice(groups(written), 1):
        _learn(types, rows)
    schema = _schema(types)
    if not _write(written, lambda: begin(wanted, schema, options), schema, types):
        # What comes later does not fit what came first: so all is looked at before anything is written.
        types = _none_yet(settings)
        for rows in groups(written):
            _learn(types, rows)
        whole = _schema(types)
        _write(written, lambda: begin(wanted, whole, options), whole, _none_yet(settings), sure=True)


def _none_yet(settings: Settings) -> Types:
    return {} if settings.fields is None else dict.fromkeys(settings.fields.values(), _pyarrow().null())


def _write(
    written: Path, begin: Callable[[], Any], schema: Any, types: Types | None = None, *, sure: bool = False
) -> bool:
    """Write the columns of all records; False if those of `types` turn out not to be the schema's.

    Args:
        types: Learnt from the first records; None: the schema is the user's, and everything fits.
        sure: Learnt from all of them.
    """
    with begin() as writer:
        for rows in groups(written):
            if types is not None and not sure:
                _learn(types, rows)
                if _schema(types) != schema:
                    return False
            writer.write_batch(_columns(rows, schema, given=types is None))
    return True


def _parquet(written: Path, wanted: Path, settings: Settings) -> None:
    """Source: https://parquet.apache.org/docs/file-format/"""

    def begin(path: Path, schema: Any, options: dict[str, Any]) -> Any:
        from pyarrow import parquet  # pyright: ignore # it has no annotations

        return cast("Any", parquet).ParquetWriter(str(path), schema, **{"compression": "zstd", **options})

    _convert(written, wanted, settings, begin)


def _arrow(written: Path, wanted: Path, settings: Settings) -> None:
    """Source: https://arrow.apache.org/docs/format/Columnar.html#ipc-file-format"""

    def begin(path: Path, schema: Any, options: dict[str, Any]) -> Any:
        from pyarrow import ipc  # pyright: ignore # it has no annotations

        return cast("Any", ipc).new_file(str(path), schema, options=cast("Any", ipc).IpcWriteOptions(**options))

    _convert(written, wanted, settings, begin)


def _make(settings: Settings, state: Any, notice: Notice) -> Records:
    return Records(settings.fields, settings.options.get("schema"))


PARQUET_OPTIONS = (
    "column_encoding",
    "compression",
    "compression_level",
    "data_page_size",
    "data_page_version",
    "schema",
    "use_dictionary",
    "version",
    "write_statistics",
)
ARROW_OPTIONS = ("compression", "schema", "use_threads")


def _check(format: str, options: tuple[str, ...]) -> Callable[[Settings], None]:
    def check(settings: Settings) -> None:
        try:
            _pyarrow()
        except ImportError:
            raise ValueError(f"{format} needs: pip install streamcrawl[arrow]") from None
        allow(settings, format, *options)
        schema = settings.options.get("schema")
        if schema is not None and not isinstance(schema, _pyarrow().Schema):
            raise ValueError(f"schema={schema!r}: a pyarrow.Schema")

    return check


PARQUET = FeedFormat("parquet", (".parquet", ".pq"), _make, convert=_parquet, check=_check("Parquet", PARQUET_OPTIONS))
ARROW = FeedFormat("arrow", (".arrow", ".feather"), _make, convert=_arrow, check=_check("Arrow", ARROW_OPTIONS))
