"""`mitmthrottle run POLICY --workers N`, as a user starts it, for the length of a block.

Rule: its folder is its own, and it is ended by its process id.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import mitmthrottle.lab as lab

RUN = "from mitmthrottle.cli import main; main()"
_RESOLVE = Path(lab.__file__).with_name("resolve.py")
_START_S = 60.0
_LISTENS = re.compile(r"\[supervisor\] worker (\d) of \d listens at 127\.0\.0\.1:(\d+)")


@dataclass(frozen=True, slots=True)
class Workers:
    """A running fleet of one machine."""

    process: subprocess.Popen[bytes]
    log_path: Path
    confdir: Path

    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    @property
    def port(self) -> int:
        found = {int(port) for _, port in _LISTENS.findall(self.log())}
        assert len(found) == 1, found
        return found.pop()

    def starts(self) -> int:
        """How often a worker has become ready."""
        return len(_LISTENS.findall(self.log()))

    def children(self) -> dict[str, int]:
        """The process ids of `worker 1`, `worker 2`, … and of `store`, as they are now."""
        pid = self.process.pid
        found = {}
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                command = Path(f"/proc/{child}/cmdline").read_text()
                number = re.search(r"main\(\)\0(\d)\0", command)
                name = f"worker {number[1]}" if number else "store"
                found[name] = int(child)
        return found


@contextlib.contextmanager
def running_workers(
    policy: Path,
    count: int = 2,
    *,
    options: Sequence[str] = (),
    resolve: Mapping[str, tuple[str, int]] | None = None,
    port: int = 0,
    page: str = "",
    wait: bool = True,
) -> Iterator[Workers]:
    """The workers, all of them ready; with `wait` off, as soon as they are asked for."""
    with tempfile.TemporaryDirectory(prefix="mitmthrottle-workers-") as name:
        folder = Path(name)
        arguments = [
            *("run", str(policy), "--workers", str(count)),
            *("--listen-host", "127.0.0.1", "--listen-port", str(port)),
            *("--set", f"confdir={folder / 'conf'}", "--set", f"throttle_listen={page}"),
        ]
        if resolve:
            arguments += ["-s", str(_RESOLVE)]
            for host, (address, to) in resolve.items():
                arguments += ["--set", f"lab_resolve={host}={address}:{to}"]
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-c", RUN, *arguments, *options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
            )
        workers = Workers(process, folder / "log", folder / "conf")
        try:
            deadline = time.monotonic() + _START_S
            while wait and workers.starts() < count:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"the workers did not start:\n{workers.log()}")
                time.sleep(0.05)
            yield workers
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
