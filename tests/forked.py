"""`python -m streamcrawl`, or a script, in processes forked off one that has imported it: each is there in no time.

It is a process as any other: its own arguments, folder, environment and streams, and at its end all that Python does
when it ends. What it shares with the others is the seed of hashes, and what was imported before it.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import random
import runpy
import signal
import socket
import struct
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, TypeAlias

Done: TypeAlias = "subprocess.CompletedProcess[str]"

READ_AT_START = ("PYTHON", "LD_", "MALLOC_")
"""How the names of variables begin that count when Python starts only."""

WARM = (
    "aiohttp",
    "httpx",
    "parsel",
    "rich.live",
    "rich.progress",
    "streamcrawl.cli.main",
    "streamcrawl.cli.watching",
    "streamcrawl.frontier.overview",
    "streamcrawl.transport",
    "streamcrawl.transport.http",
    "streamcrawl.transport.wire",
)
"""What nearly every command imports."""


class Forked:
    """Where such processes come from. One at a time.

    Args:
        environment: Of the process that they are forked off.
        options: Python's, such as "-W", "error".
    """

    def __init__(self, environment: Mapping[str, str], *options: str) -> None:
        self._environment = dict(environment)
        here, there = socket.socketpair()
        self._socket = here
        with there:
            command = (sys.executable, *options, __file__, str(there.fileno()))
            self._process = subprocess.Popen(command, env=self._environment, pass_fds=(there.fileno(),))

    def serves(self, environment: Mapping[str, str]) -> bool:
        """Whether a process with this environment can be forked off."""
        return _at_start(environment) == _at_start(self._environment)

    def run(
        self,
        arguments: Sequence[str],
        cwd: Path,
        environment: Mapping[str, str],
        *,
        script: Path | None = None,
        typed: str = "",
        timeout: float = 60.0,
    ) -> Done:
        """As `subprocess.run((sys.executable, "-m", "streamcrawl", *arguments), …)`, or with a script instead."""
        with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            given.write(typed.encode())
            given.seek(0)
            order = json.dumps([str(script or ""), arguments, str(cwd), dict(environment)]).encode()
            streams = [given.fileno(), out.fileno(), err.fileno()]
            socket.send_fds(self._socket, [struct.pack("!I", len(order)) + order], streams)
            (pid,) = self._numbers("!i")
            self._socket.settimeout(timeout)
            try:
                (code,) = self._numbers("!i")
            except TimeoutError:
                os.kill(pid, signal.SIGKILL)
                self._socket.settimeout(None)
                self._numbers("!i")
                raise subprocess.TimeoutExpired(arguments, timeout, _read(out), _read(err)) from None
            finally:
                self._socket.settimeout(None)
            return subprocess.CompletedProcess(arguments, code, _read(out), _read(err))

    def _numbers(self, form: str) -> tuple[int, ...]:
        got = self._socket.recv(struct.calcsize(form), socket.MSG_WAITALL)
        if not got:
            raise AssertionError("the process to be forked off has died")
        return struct.unpack(form, got)

    def close(self) -> None:
        self._socket.close()
        self._process.wait(10)


def _at_start(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name.startswith(READ_AT_START)}


def _read(stream: IO[bytes]) -> str:
    stream.seek(0)
    return stream.read().decode().replace("\r\n", "\n")


# -- in the process that they are forked off --------------------------------------------------------------------------


def _serve(channel: socket.socket) -> str | None:
    """Fork as often as is asked for. In one of the forks: the script to be run, "" if it is none; None at the end."""
    while True:
        head, streams, _, _ = socket.recv_fds(channel, 4, 3)
        if not head:
            return None
        (size,) = struct.unpack("!I", head)
        order = channel.recv(size, socket.MSG_WAITALL)
        pid = os.fork()
        if not pid:
            channel.close()
            return _become(streams, *json.loads(order))
        for each in streams:
            os.close(each)
        channel.sendall(struct.pack("!i", pid))
        _, status = os.waitpid(pid, 0)
        with suppress(BrokenPipeError):
            channel.sendall(struct.pack("!i", os.waitstatus_to_exitcode(status)))


def _become(streams: list[int], script: str, arguments: list[str], cwd: str, environment: dict[str, str]) -> str:
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    random.seed()
    tempfile.tempdir = None
    sys.path[0] = str(Path(script).parent) if script else cwd  # as with -m
    sys.argv = [script or "streamcrawl", *arguments]
    return script


def _main() -> int:
    channel = socket.socket(fileno=int(sys.argv[1]))
    for name in WARM:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()
    script = _serve(channel)
    if script is None:
        return 0
    if script:
        runpy.run_path(script, run_name="__main__")
        return 0
    from streamcrawl.cli.main import main

    return main()


if __name__ == "__main__":
    sys.exit(_main())
