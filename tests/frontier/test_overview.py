"""What stands in a job: counted beside a run that writes, and after one that was killed."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
from jobs_made import made_job, message

from streamcrawl.core import Request
from streamcrawl.errors import JobError
from streamcrawl.frontier.job import STORE, JobLock
from streamcrawl.frontier.message import Messages
from streamcrawl.frontier.overview import FailedRequest, HostCounts, Overview, failures, overview, retry_failed
from streamcrawl.frontier.store import DONE, DROPPED, FAILED, LATER, MOVED, RETRIED, WAITING

A, B, C = "http://a.test", "http://b.test", "http://c.test"


def mixed(directory: Path) -> Path:
    """A job with some requests of every kind."""
    return made_job(
        directory,
        [
            *((id, 1, WAITING, {}) for id in (1, 2, 3, 4)),
            *((id, 2, WAITING, {}) for id in (5, 6, 7)),
            (8, 2, LATER, {"due": 1_900_000_060.0}),
            (9, 2, LATER, {"due": 1_900_000_030.0}),
            *((id, 3, DONE, {}) for id in range(10, 20)),
            (20, 1, FAILED, {"url": f"{A}/broken", "reason": "HttpError: HTTP status 500"}),
            (21, 3, FAILED, {"url": f"{C}/x?y=ü", "reason": "FetchTimeout: no answer"}),
            *((id, 1, DROPPED, {"reason": "robots.txt"}) for id in (22, 23)),
            (24, 3, DROPPED, {"reason": "swallowed by filter(…)"}),
            (25, 1, RETRIED, {}),
            (26, 1, MOVED, {}),
            (27, 1, MOVED, {}),
        ],
        (A, B, C),
        leased=[2, 5, 6, 12, 99],  # 12 is settled, 99 was deleted: the list is older than they are
        begun=3,
        sessions=2,
        told=1_900_000_000.5,
    )


def test_everything_is_counted(tmp_path: Path) -> None:
    job = mixed(tmp_path / "job")
    assert overview(job) == Overview(
        directory=str(job),
        finished=False,
        used_by=None,
        waiting=4,
        in_flight=3,
        later=2,
        next_due=1_900_000_030.0,
        done=10,
        failed=2,
        dropped={"robots.txt": 2, "swallowed by filter(…)": 1},
        retried=1,
        moved=2,
        hosts=(
            HostCounts(A, waiting=3, in_flight=1, later=0, done=0, failed=1, dropped=2),
            HostCounts(B, waiting=1, in_flight=2, later=2, done=0, failed=0, dropped=0),
            HostCounts(C, waiting=0, in_flight=0, later=0, done=10, failed=1, dropped=1),
        ),
        host_count=3,
        start_taken=3,
        sessions=2,
        last_commit=1_900_000_000.5,
    )


@pytest.mark.parametrize(("most", "names"), [(0, []), (1, [A]), (2, [A, B]), (3, [A, B, C]), (9, [A, B, C])])
def test_the_busiest_hosts(most: int, names: list[str], tmp_path: Path) -> None:
    whole = {host.name: host for host in overview(mixed(tmp_path / "job")).hosts}
    found = overview(tmp_path / "job", most).hosts
    assert [host.name for host in found] == names
    assert [host for host in found if whole[host.name] != host] == []


def test_a_job_that_has_just_begun(tmp_path: Path) -> None:
    found = overview(made_job(tmp_path / "job", ()))
    assert (found.waiting, found.done, found.failed, found.dropped, found.hosts) == (0, 0, 0, {}, ())
    assert (found.finished, found.next_due, found.last_commit, found.sessions) == (False, None, None, 0)
    assert list(failures(tmp_path / "job")) == []


def test_finished_and_in_use(tmp_path: Path) -> None:
    job = made_job(tmp_path / "job", [(1, 1, DONE, {})], (A,), finished=True)
    assert overview(job).finished
    with JobLock(job):
        assert overview(job).used_by == "another run of this process"
    assert overview(job).used_by is None


def test_the_failed_ones(tmp_path: Path) -> None:
    assert list(failures(mixed(tmp_path / "job"))) == [
        FailedRequest(20, f"{A}/broken", "HttpError: HTTP status 500"),
        FailedRequest(21, f"{C}/x?y=ü", "FetchTimeout: no answer"),
    ]


def test_beside_a_run_that_writes(tmp_path: Path) -> None:
    """What is committed is seen, what is not is not; neither waits for the other."""
    job = made_job(tmp_path / "job", [(1, 1, WAITING, {})], (A,))
    with closing(sqlite3.connect(job / STORE, isolation_level=None, timeout=0)) as run:
        run.execute("BEGIN IMMEDIATE")
        run.execute(f"UPDATE requests SET state = {DONE}")
        assert (overview(job).waiting, overview(job).done) == (1, 0)
        run.execute("COMMIT")
        assert (overview(job).waiting, overview(job).done) == (0, 1)


WRITER = f"""
import os, signal, sqlite3, sys
sql = sqlite3.connect(sys.argv[1], isolation_level=None)
sql.execute("UPDATE requests SET state = {FAILED}, reason = 'told'")
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_run_committed_is_read(tmp_path: Path) -> None:
    """It stands in SQLite's log, which nobody has moved into the file."""
    job = made_job(tmp_path / "job", [(1, 1, WAITING, {"url": f"{A}/1"})], (A,))
    subprocess.run([sys.executable, "-c", WRITER, str(job / STORE)], check=False, timeout=60)
    assert (job / f"{STORE}-wal").stat().st_size > 0
    assert (overview(job).waiting, overview(job).failed) == (0, 1)
    assert list(failures(job)) == [FailedRequest(1, f"{A}/1", "told")]


def test_a_name_that_is_special_in_a_uri(tmp_path: Path) -> None:
    assert overview(mixed(tmp_path / "job #1?mode=rwc 100%41")).waiting == 4


def all_failures(job: Path) -> list[FailedRequest]:
    return list(failures(job))


def test_what_is_no_job_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "empty").mkdir()
    for name, why in (
        ("file", "not a directory"),
        ("nothing", "no such directory"),
        ("empty", f"it has no {STORE}"),
    ):
        for look in (overview, retry_failed, all_failures):
            with pytest.raises(JobError) as refused:
                look(tmp_path / name)
            assert str(refused.value) == f"{tmp_path / name}: no job is there ({why})"
    assert list((tmp_path / "empty").iterdir()) == []


def test_a_file_that_is_none_of_ours(tmp_path: Path) -> None:
    for name, data in (("text", b"this is no database, however long it is" * 100), ("empty", b"")):
        directory = tmp_path / name
        directory.mkdir()
        (directory / STORE).write_bytes(data)
        for look in (overview, retry_failed):
            with pytest.raises(JobError, match=rf"^job {directory}: {STORE} cannot be read: "):
                look(directory)


def test_another_format(tmp_path: Path) -> None:
    job = made_job(tmp_path / "job", (), version=99)
    for look in (overview, retry_failed):
        with pytest.raises(JobError, match="it is of format 99, and this version of streamcrawl reads 1"):
            look(job)


def rows_of(job: Path) -> dict[int, tuple[int, str | None, bytes]]:
    with closing(sqlite3.connect(job / STORE)) as sql:
        rows = sql.execute("SELECT id, state, reason, message FROM requests ORDER BY id").fetchall()
    return {id: (state, reason, data) for id, state, reason, data in rows}


def test_failed_requests_wait_again(tmp_path: Path) -> None:
    tried = Request(f"{A}/x", attempt=3, not_before=1_900_000_000.0, depth=2, via=(f"{A}/old",), priority=4)
    messages = Messages(None, None)
    job = made_job(
        tmp_path / "job",
        [
            (1, 1, DONE, {}),
            (2, 1, FAILED, {"message": messages.encode(tried), "reason": "FetchTimeout: no answer"}),
            *((id, 1, FAILED, {}) for id in range(3, 2503)),
        ],
        (A,),
        finished=True,
    )
    with closing(sqlite3.connect(job / STORE)) as sql:
        sql.execute("INSERT INTO progress VALUES (2, x'00')")
        sql.commit()
    before = rows_of(job)
    assert retry_failed(job) == 2501
    after = rows_of(job)
    assert after.keys() == before.keys()
    assert after[1] == before[1]
    assert {(state, reason) for id, (state, reason, _) in after.items() if id > 1} == {(WAITING, None)}
    again = messages.decode(after[2][2])
    assert (again.attempt, again.not_before) == (0, 0.0)
    assert (again.url, again.depth, again.via, again.priority) == (tried.url, 2, tried.via, 4)
    assert after[3][2] == before[3][2]
    found = overview(job)
    assert (found.finished, found.failed, found.waiting) == (False, 0, 2501)
    with closing(sqlite3.connect(job / STORE)) as sql:
        assert sql.execute("SELECT id FROM progress").fetchall() == [(2,)]
    assert retry_failed(job) == 0


def test_a_callback_that_this_process_does_not_know_is_kept(tmp_path: Path) -> None:
    """The flow is not loaded here; its names are not looked up."""
    shop = Shop()
    stored = Messages(shop.parse, None).encode(
        Request(f"{A}/x", attempt=1, callback=shop.detail, meta={"a": [1, b"b", None]})
    )
    job = made_job(tmp_path / "job", [(1, 1, FAILED, {"message": stored})], (A,))
    assert retry_failed(job) == 1
    again = Messages(shop.parse, None).decode(rows_of(job)[1][2])
    assert again.attempt == 0
    assert again.callback == shop.detail
    assert again.meta == {"a": [1, b"b", None]}


class Shop:
    def parse(self, page: object) -> None: ...

    def detail(self, page: object) -> None: ...


def test_nothing_failed_leaves_a_finished_job_finished(tmp_path: Path) -> None:
    job = made_job(tmp_path / "job", [(1, 1, DONE, {})], (A,), finished=True)
    assert retry_failed(job) == 0
    assert overview(job).finished


def test_retry_is_refused_while_somebody_has_the_job(tmp_path: Path) -> None:
    job = mixed(tmp_path / "job")
    before = rows_of(job)
    with JobLock(job), pytest.raises(JobError, match="in use by another run of this process"):
        retry_failed(job)
    assert rows_of(job) == before


def test_a_message_that_cannot_be_read(tmp_path: Path) -> None:
    job = made_job(tmp_path / "job", [(1, 1, FAILED, {"message": b"\xc1"}), (2, 1, FAILED, {})], (A,))
    before = rows_of(job)
    for look in (all_failures, retry_failed):
        with pytest.raises(JobError, match=rf"^job {job}: request 1: .*damaged"):
            look(job)
    assert rows_of(job) == before, "all or nothing"


def test_as_json_and_back(tmp_path: Path) -> None:
    found = overview(mixed(tmp_path / "job"))
    assert msgspec.json.decode(msgspec.json.encode(found), type=Overview) == found


def test_messages_of_these_tests_are_those_of_jobs() -> None:
    assert Messages(None, None).decode(message(f"{A}/x")).url == f"{A}/x"
