import errno
import os
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable, Generator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,  # pyright: ignore[reportUnknownVariableType] - hypothesis has no type for its settings
)

import streamcrawl.frontier.seen as module
from streamcrawl.frontier.seen import BUCKET, GATHERED, KEY, PAGE, DamagedFile, Seen, delete

ZERO = bytes(16)
HEADER = struct.Struct("<8sQQQ")

# Few beginnings: full buckets, and the table's end. Few endings and many zeroes: slots that look like others.
KEYS = st.tuples(
    st.sampled_from([bytes(4), b"\0\0\0\1", b"\x80\0\0\0", b"\xff\xff\xff\xff"]),
    st.binary(min_size=2, max_size=2),
    st.sampled_from([bytes(10), bytes(9) + b"\1", bytes(6) + b"\xff\xff\xff\xff"]),
).map(b"".join)


def keys_of(seed: int, number: int) -> list[bytes]:
    chance = Random(seed)
    return [chance.randbytes(KEY) for _ in range(number)]


def small(directory: Path) -> Seen:
    return Seen(directory / "seen", memory=0, first=32, growth=4)


def filled(directory: Path, keys: list[bytes]) -> Seen:
    seen = small(directory)
    for key in keys:
        seen.add(key)
    seen.write()
    return seen


@contextmanager
def opened(seen: Seen) -> Generator[Seen]:
    try:
        yield seen
    finally:
        seen.close(sync=False)


class SeenMachine(RuleBasedStateMachine):
    """The set against a plain one, through kills and reopenings."""

    def __init__(self) -> None:
        super().__init__()
        self.root = tempfile.TemporaryDirectory()
        self.numbers = count()
        self.directory = self.new_directory()
        self.seen = small(self.directory)
        self.written: set[bytes] = set()
        self.fresh: set[bytes] = set()
        self.asked: set[bytes] = set()

    def new_directory(self) -> Path:
        directory = Path(self.root.name) / str(next(self.numbers))
        directory.mkdir()
        return directory

    def teardown(self) -> None:
        self.seen.close(sync=False)
        self.root.cleanup()

    @rule(keys=st.lists(KEYS, max_size=60))
    def add(self, keys: list[bytes]) -> None:
        for key in keys:
            known = key in self.seen
            assert known == (key in self.written or key in self.fresh)
            if not known:
                self.seen.add(key)
                self.fresh.add(key)

    @rule()
    def write(self) -> None:
        self.seen.write()
        self.written |= self.fresh
        self.fresh.clear()

    @rule(keys=st.lists(KEYS, max_size=60))
    def ask(self, keys: list[bytes]) -> None:
        for key in keys:
            assert (key in self.seen) == (key in self.written or key in self.fresh)

    @rule()
    def kill(self) -> None:
        """What a process that is killed leaves: the files as they are at that moment."""
        was, self.directory = self.directory, self.new_directory()
        for file in was.iterdir():
            shutil.copy(file, self.directory)
        self.seen.close(sync=False)
        self.seen = small(self.directory)
        self.fresh.clear()

    @rule(sync=st.booleans())
    def reopen(self, sync: bool) -> None:
        self.seen.close(sync)
        self.seen = small(self.directory)
        self.fresh.clear()

    @precondition(lambda self: not self.fresh)
    @rule(keys=st.lists(KEYS, max_size=60))
    def replay(self, keys: list[bytes]) -> None:
        self.seen.replay(keys)
        self.written.update(keys)

    @rule()
    def forget(self) -> None:
        self.seen.forget()
        self.written.clear()
        self.fresh.clear()
        assert not list(self.directory.iterdir())

    @invariant()
    def as_many(self) -> None:
        assert len(self.seen) == len(self.written) + len(self.fresh)

    @invariant()
    def none_lost(self) -> None:
        assert all(key in self.seen for key in self.written)


def test_it_is_a_plain_set_through_kills_and_reopenings() -> None:
    run_state_machine_as_test(SeenMachine, settings=settings(max_examples=60, stateful_step_count=25, deadline=None))


@given(keys=st.lists(KEYS, max_size=120), others=st.lists(KEYS, max_size=40), memory=st.integers(0, 40))
@settings(deadline=None, max_examples=50)
def test_without_a_path_it_is_the_same_set(keys: list[bytes], others: list[bytes], memory: int) -> None:
    model: set[bytes] = set()
    with opened(Seen(None, memory=memory, first=32)) as seen:
        for number, key in enumerate(keys):
            assert (key in seen) == (key in model)
            if key not in model:
                seen.add(key)
                model.add(key)
            if number % 7 == 0:
                seen.write()
        assert len(seen) == len(model)
        assert [key in seen for key in others] == [key in model for key in others]


def test_without_a_path_old_keys_stay_in_memory_and_new_ones_go_to_files_by_themselves() -> None:
    old, new = keys_of(1, 1000), keys_of(2, 3 * GATHERED)
    with opened(Seen(None, memory=1000)) as seen:
        for key in old:
            seen.add(key)
        assert repr(seen) == "<Seen 1000 keys, 0 fresh, 0 files>"
        for key in new:
            seen.add(key)
        assert repr(seen) == f"<Seen {1000 + 3 * GATHERED} keys, 0 fresh, 1 files>"
        assert all(key in seen for key in old + new)
        assert not any(key in seen for key in keys_of(3, 2000))
        seen.forget()
        assert repr(seen) == "<Seen 0 keys, 0 fresh, 0 files>"
        assert not any(key in seen for key in old + new)


def test_a_level_is_filled_to_three_quarters_and_the_next_is_four_times_as_large(tmp_path: Path) -> None:
    keys = keys_of(1, 1000)
    with opened(small(tmp_path)) as seen:
        for at in range(0, 1000, 50):
            for key in keys[at : at + 50]:
                seen.add(key)
            seen.write()
        assert len(seen) == 1000
    slots = [(file.stat().st_size - PAGE) // KEY for file in sorted(tmp_path.iterdir())]
    assert slots == [32, 128, 512, 2048]
    counts = [HEADER.unpack(file.read_bytes()[: HEADER.size])[2] for file in sorted(tmp_path.iterdir())]
    assert counts == [24, 96, 384, 1000 - 24 - 96 - 384]


def test_after_a_kill_only_the_newest_level_must_be_counted(tmp_path: Path) -> None:
    with opened(filled(tmp_path, keys_of(1, 300))):
        headers = [HEADER.unpack(file.read_bytes()[: HEADER.size]) for file in sorted(tmp_path.iterdir())]
    assert [(keys, settled) for _, _, keys, settled in headers[:-1]] == [(24, 1), (96, 1)]
    assert headers[-1][3] == 0


def test_the_system_is_told_not_to_read_ahead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[int, int]] = []

    def advised(fd: int, offset: int, length: int, advice: int) -> None:
        assert (offset, length) == (0, 0)
        told.append((os.fstat(fd).st_ino, advice))

    monkeypatch.setattr(os, "posix_fadvise", advised, raising=False)
    monkeypatch.setattr(os, "POSIX_FADV_RANDOM", 1, raising=False)
    filled(tmp_path, keys_of(1, 100)).close(sync=False)
    made = [(file.stat().st_ino, 1) for file in sorted(tmp_path.iterdir())]
    assert len(made) == 2
    assert told == made
    small(tmp_path).close(sync=False)
    assert told == made * 2


def test_one_write_larger_than_several_levels_is_spread_over_each(tmp_path: Path) -> None:
    keys = keys_of(1, 20_000)
    with opened(Seen(tmp_path / "seen", memory=0, first=4096, growth=2)) as seen:
        seen.replay(keys)
        assert len(seen) == 20_000
    first = (tmp_path / "seen.0").read_bytes()[PAGE:]
    half = len(first) // 2
    used = [sum(any(part[at : at + KEY]) for at in range(0, half, KEY)) for part in (first[:half], first[half:])]
    assert sum(used) == 3072
    assert min(used) > 1300


def test_an_absent_key_costs_one_read_for_each_level_and_a_new_one_a_read_and_a_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, write = module.read_at, module.write_at
    calls: list[str] = []

    def counted_read(fd: int, size: int, offset: int) -> bytes:
        calls.append(f"read {size}")
        return read(fd, size, offset)

    def counted_write(fd: int, data: bytes, offset: int) -> int:
        calls.append("write")
        return write(fd, data, offset)

    with opened(Seen(tmp_path / "seen", memory=0, first=1024)) as seen:
        for key in keys_of(1, 768 + 100):
            seen.add(key)
        seen.write()
        monkeypatch.setattr(module, "read_at", counted_read)
        monkeypatch.setattr(module, "write_at", counted_write)
        sparse = b"\x12" * KEY
        seen.add(sparse)
        seen.write()
        assert calls == [f"read {BUCKET}", "write"]
        calls.clear()
        absent = [key for key in keys_of(2, 200) if key not in seen]
        assert len(absent) == 200
        full = len(calls) / 200 - 2
        assert 0 <= full < 0.5  # some buckets of the closed level are full, and are followed up
        assert set(calls) == {f"read {BUCKET}"}


def test_the_key_of_zeroes_is_a_key_like_others(tmp_path: Path) -> None:
    with opened(small(tmp_path)) as seen:
        assert ZERO not in seen
        for key in keys_of(1, 20):
            seen.add(key)
        seen.write()
        assert ZERO not in seen
        seen.add(ZERO)
        assert ZERO in seen
        seen.write()
        assert ZERO in seen
        assert len(seen) == 21
        seen.replay([ZERO])
        assert len(seen) == 21
    with opened(small(tmp_path)) as seen:
        assert ZERO in seen


def test_a_key_that_lies_across_two_slots_is_not_in_it(tmp_path: Path) -> None:
    with opened(small(tmp_path)) as seen:
        slots = [b"\1" * 8 + b"\2" * 8, b"\3" * 8 + bytes(8), bytes(8) + b"\4" * 8, b"\5" + bytes(15)]
        for key in slots:
            seen.add(key)
            seen.write()
        row = (tmp_path / "seen.0").read_bytes()[PAGE : PAGE + BUCKET]
        assert row == b"".join(slots).ljust(BUCKET, b"\0")
        across = {row[at : at + KEY] for at in range(5 * KEY) if at % KEY}
        assert not any(key in seen for key in across)
        for key in sorted(across - {ZERO}):
            seen.add(key)
            seen.write()
        assert all(key in seen for key in across - {ZERO})
        assert all(key in seen for key in slots)
        assert ZERO not in seen


@pytest.mark.parametrize("beginning", [bytes(4), b"\xff\xff\xff\xff"])
def test_many_keys_of_one_bucket_run_on_into_the_next_and_round_the_end(tmp_path: Path, beginning: bytes) -> None:
    keys = [beginning + key[4:] for key in keys_of(1, 300)]
    with opened(Seen(tmp_path / "seen", memory=0, first=512)) as seen:
        for at in range(0, 200, 10):
            for key in keys[at : at + 10]:
                seen.add(key)
            seen.write()
        assert len(seen) == 200
        assert len(list(tmp_path.iterdir())) == 1
        assert all(key in seen for key in keys[:200])
        assert not any(key in seen for key in keys[200:])


def test_a_key_that_is_written_already_is_not_written_to_the_same_level_again(tmp_path: Path) -> None:
    keys = [bytes(4) + key[4:] for key in keys_of(1, 100)]
    with opened(Seen(tmp_path / "seen", memory=0, first=512)) as seen:
        for _ in range(3):
            for key in keys:
                seen.add(key)
            seen.write()
        assert len(seen) == 100


def test_a_process_that_is_killed_loses_fresh_keys_and_no_others(tmp_path: Path) -> None:
    program = f"""
import os, signal
from pathlib import Path
from random import Random
from streamcrawl.frontier.seen import Seen
chance = Random(1)
seen = Seen(Path({str(tmp_path)!r}) / "seen", memory=0, first=256)
for _ in range(40):
    for _ in range(50):
        seen.add(chance.randbytes(16))
    seen.write()
for _ in range(50):
    seen.add(chance.randbytes(16))
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", program], check=False)
    assert done.returncode == -signal.SIGKILL
    keys = keys_of(1, 2050)
    with opened(Seen(tmp_path / "seen", memory=0)) as seen:
        assert len(seen) == 2000
        assert all(key in seen for key in keys[:2000])
        assert not any(key in seen for key in keys[2000:])
        seen.replay(keys[1900:])
        assert len(seen) == 2050
        assert all(key in seen for key in keys)


@pytest.mark.parametrize("first", [32, 1024])
@pytest.mark.parametrize("room", [0, 32, 64, 320, 2000, 3200, 2024])
def test_a_full_disk_is_told_and_nothing_is_lost_when_there_is_room_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int, first: int
) -> None:
    keys, write = [*keys_of(1, 499), ZERO], module.write_at
    torn = room % KEY > 0

    def almost_full(fd: int, data: bytes, offset: int) -> int:
        nonlocal room
        if not room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        taken = data[:room]
        room -= len(taken)
        return write(fd, taken, offset)

    with opened(Seen(tmp_path / "seen", memory=0, first=first)) as seen:
        monkeypatch.setattr(module, "write_at", almost_full)
        for key in keys:
            seen.add(key)
        with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
            seen.write()
        assert all(key in seen for key in keys)
        assert len(seen) == 500 + torn  # half a key takes a slot
        with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
            seen.write()
        monkeypatch.setattr(module, "write_at", write)
        seen.write()
        assert all(key in seen for key in keys)
        assert not any(key in seen for key in keys_of(2, 500))
        assert len(seen) == 500 + torn
    with opened(small(tmp_path)) as seen:
        assert all(key in seen for key in keys)


def test_it_works_where_there_is_no_pread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "read_at", module.seek_and_read)
    monkeypatch.setattr(module, "write_at", module.seek_and_write)
    monkeypatch.delattr(os, "posix_fadvise", raising=False)
    keys = keys_of(1, 300)
    filled(tmp_path, keys).close(sync=True)
    monkeypatch.undo()
    with opened(small(tmp_path)) as seen:
        assert len(seen) == 300
        assert all(key in seen for key in keys)


@pytest.mark.parametrize("sync", [True, False])
def test_close_sees_every_file_and_the_directory_onto_the_disk_if_so_wished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sync: bool
) -> None:
    synced: set[int] = set()
    seen = filled(tmp_path, keys_of(1, 300))

    def fsync(fd: int) -> None:
        synced.add(os.fstat(fd).st_ino)

    monkeypatch.setattr(os, "fsync", fsync)
    seen.close(sync)
    files = {path.stat().st_ino for path in (tmp_path, *tmp_path.iterdir())}
    assert len(files) == 4
    assert synced == (files if sync else set())


def cut(directory: Path) -> None:
    os.truncate(directory / "seen.1", PAGE + 100)


def lengthen(directory: Path) -> None:
    with (directory / "seen.1").open("ab") as file:
        file.write(b"more")


def overwrite(directory: Path) -> None:
    with (directory / "seen.1").open("r+b") as file:
        file.write(b"SQLite")


def misstate(directory: Path) -> None:
    with (directory / "seen.1").open("r+b") as file:
        file.write(HEADER.pack(b"scseen\x01\n", 100, 5, 1))


def behead(directory: Path) -> None:
    os.truncate(directory / "seen.1", 10)


def empty(directory: Path) -> None:
    os.truncate(directory / "seen.1", 0)


def remove(directory: Path) -> None:
    (directory / "seen.1").unlink()


@pytest.mark.parametrize("damage", [cut, lengthen, overwrite, misstate, behead, empty, remove])
def test_a_damaged_file_is_named_and_all_can_be_made_anew(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    keys = keys_of(1, 300)
    filled(tmp_path, keys).close(sync=False)
    damage(tmp_path)
    with pytest.raises(DamagedFile, match=r"seen\.1: ") as caught:
        small(tmp_path)
    assert isinstance(caught.value, ValueError)
    assert caught.value.name == str(tmp_path / "seen.1")
    others = [tmp_path / "seen", tmp_path / "seen.0.old", tmp_path / "seen.txt", tmp_path / "unseen.0"]
    for other in others:
        other.touch()
    delete(tmp_path / "seen")
    assert set(tmp_path.iterdir()) == set(others)
    with opened(small(tmp_path)) as seen:
        assert len(seen) == 0
        seen.replay(keys)
        assert len(seen) == 300


def test_a_file_that_is_cut_while_it_is_in_use_is_told(tmp_path: Path) -> None:
    with opened(filled(tmp_path, keys_of(1, 20))) as seen:
        os.truncate(tmp_path / "seen.0", PAGE + 100)
        with pytest.raises(DamagedFile, match=r"seen\.0: it ends in bucket 0 of 1"):
            assert keys_of(2, 1)[0] in seen
        seen.forget()
        assert len(seen) == 0
        seen.replay(keys_of(1, 20))
        assert len(seen) == 20


def test_a_number_of_keys_that_is_not_right_is_told_when_no_slot_is_free(tmp_path: Path) -> None:
    filled(tmp_path, keys_of(1, 24)).close(sync=False)
    with (tmp_path / "seen.0").open("r+b") as file:
        file.write(HEADER.pack(b"scseen\x01\n", 32, 0, 1))
    with opened(small(tmp_path)) as seen:
        for key in keys_of(2, 9):
            seen.add(key)
        with pytest.raises(DamagedFile, match=r"seen\.0: no slot of 32 is free"):
            seen.write()


@pytest.mark.parametrize("size", [0, PAGE + 128 * KEY])
def test_a_level_whose_beginning_was_cut_short_by_a_kill_is_begun_again(tmp_path: Path, size: int) -> None:
    keys = keys_of(1, 60)
    filled(tmp_path, keys[:24]).close(sync=False)
    (tmp_path / "seen.1").write_bytes(bytes(size))
    with opened(small(tmp_path)) as seen:
        assert len(seen) == 24
        seen.replay(keys)
        assert len(seen) == 60
    with opened(small(tmp_path)) as seen:
        assert len(seen) == 60
        assert all(key in seen for key in keys)


def test_sizes_are_those_of_the_files_whatever_is_asked_for_later(tmp_path: Path) -> None:
    keys = keys_of(1, 100)
    filled(tmp_path, keys).close(sync=False)
    with opened(Seen(tmp_path / "seen", memory=0)) as seen:
        assert all(key in seen for key in keys)
        seen.replay(keys_of(2, 100))
        assert len(seen) == 200


def test_the_directory_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Seen(tmp_path / "none" / "seen", memory=0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"memory": -1}, "memory is -1; it must be 0 keys or more"),
        ({"memory": 0, "first": 16}, "first is 16; it must be a power of two, 32 or more"),
        ({"memory": 0, "first": 48}, "first is 48; it must be a power of two, 32 or more"),
        ({"memory": 0, "growth": 3}, "growth is 3; it must be a power of two"),
        ({"memory": 0, "growth": 0}, "growth is 0; it must be a power of two"),
    ],
)
def test_arguments_are_checked(arguments: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Seen(None, **arguments)


def test_a_key_of_another_length_is_refused_before_it_gets_into_a_file(tmp_path: Path) -> None:
    with opened(small(tmp_path)) as seen:
        seen.add(b"too short")
        with pytest.raises(ValueError, match="a key has 9 bytes; it must have 16"):
            seen.write()
        assert not list(tmp_path.iterdir())
