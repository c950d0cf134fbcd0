"""A machine that systemd starts, in namespaces of its own: what an administrator's page says to do
is done on it, word for word, and its power may be cut.

Rule: it is given units by name and has no others; /etc, /var, /opt, /run and /tmp are its own, and
nothing of the machine that runs the test is written to but the network namespace it is put into.

    with Machine(folder, network_namespace, units=["nftables.service"]) as machine:
        machine.sh("systemctl enable --now nftables")
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from mitmthrottle.lab.netns import inside

ROOT = Path(__file__).parents[2]
_UNITS = Path("/usr/lib/systemd/system")
_ALWAYS = (
    "basic.target",
    "multi-user.target",
    "network-online.target",
    "network-pre.target",
    "network.target",
    "shutdown.target",
    "sysinit.target",
    "umount.target",
)
_ETC = ("alternatives", "group", "hosts", "ld.so.cache", "ld.so.conf", "ld.so.conf.d",
        "localtime", "nsswitch.conf", "passwd", "protocols", "services", "ssl")  # fmt: skip
_WITHIN_S = 60.0

# A cgroup of its own first, so that nothing of its is left in the machine's.
_BOOT = """
mount --make-rprivate /
mount -t cgroup2 none {cgroup}
mkdir {cgroup}/{name}
echo $$ > {cgroup}/{name}/cgroup.procs
exec unshare --cgroup --pid --fork --kill-child --ipc --uts --mount --mount-proc sh -e -c '
    mount --bind {folder}/units {units}
    for own in etc var opt; do mount --bind {folder}/$own /$own; done
    mount --bind {prefix} /opt/python
    mount --bind {packages} /opt/packages
    mount --bind {clone} /opt/clone
    for hidden in /usr/lib/sysctl.d /usr/lib/systemd/system-generators; do
        mount -t tmpfs none $hidden
    done
    mount -t cgroup2 none /sys/fs/cgroup
    mount -t tmpfs -o mode=755 none /run
    mount -t tmpfs -o mode=1777 none /tmp
    exec env -i container=test PATH=/usr/sbin:/usr/bin:/sbin:/bin \\
        /usr/lib/systemd/systemd --system --unit=multi-user.target \\
        --log-target=console --show-status=no
'
"""

# As a venv's own program is: the interpreter of the tests, and the packages it has, but the clone's
# code. They may be in somebody's home, which services do not see.
_PROGRAM = """\
#!/bin/sh
export PYTHONPATH=/opt/clone/addons:/opt/packages PYTHONHOME=/opt/python
export LD_LIBRARY_PATH=/opt/python/lib
exec /opt/python/{python} -c 'from mitmthrottle.cli import main; main()' "$@"
"""


class NoMachine(RuntimeError):
    """It does not start; the message says what it said."""


class Machine:
    """Started by `with`, or by `power_on`."""

    def __init__(self, folder: Path, namespace: str, units: Sequence[str]) -> None:
        self.folder = folder
        self._namespace = namespace
        self._name = f"mitmthrottle-test-{os.getpid()}"
        self._process: subprocess.Popen[bytes] | None = None
        self._pid = 0
        for name in ("units", "etc", "var/tmp", "var/lib", "opt/mitmthrottle/bin", "cgroup"):
            (folder / name).mkdir(parents=True)
        for name in ("python", "packages", "clone"):
            (folder / "opt" / name).mkdir()
        for name in (*_ALWAYS, *units):
            shutil.copy(_UNITS / name, folder / "units")
            for wanted in _UNITS.glob(f"*.wants/{name}"):
                wants = folder / "units" / wanted.parent.name
                wants.mkdir(exist_ok=True)
                (wants / name).symlink_to(f"../{name}")
        for name in _ETC:
            source, copy = Path("/etc", name), folder / "etc" / name
            if source.is_dir():
                shutil.copytree(
                    source, copy, symlinks=True, ignore=shutil.ignore_patterns("private")
                )
            elif source.exists():
                shutil.copy(source, copy)
        (folder / "etc/machine-id").write_text("0123456789abcdef0123456789abcdef\n")
        program = folder / "opt/mitmthrottle/bin/mitmthrottle"
        python = Path(sys.executable).resolve().relative_to(Path(sys.base_prefix).resolve())
        program.write_text(_PROGRAM.format(python=python))
        program.chmod(0o755)

    def __enter__(self) -> Machine:
        self.power_on()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.power_off()

    def power_on(self) -> None:
        """Start it, and wait until everything that is enabled has been started."""
        boot = _BOOT.format(
            cgroup=self.folder / "cgroup",
            name=self._name,
            folder=self.folder,
            units=_UNITS,
            prefix=sys.base_prefix,
            packages=sysconfig.get_path("purelib"),
            clone=ROOT,
        )
        with inside(self._namespace), self._console.open("ab") as console:
            self._process = subprocess.Popen(
                ["unshare", "--mount", "sh", "-e", "-c", boot],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
            )
        self._pid = self._init()
        self.wait_for("systemctl is-active --quiet multi-user.target")

    def power_off(self) -> None:
        """At once, as when somebody pulls the plug."""
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGKILL)  # the first process of a namespace takes the others
        process.kill()
        process.wait(_WITHIN_S)
        self._remove_cgroup()

    def sh(self, script: str) -> str:
        """What a shell on it prints that does this; AssertionError if a command fails."""
        done = self.run("sh", "-e", "-u", "-c", script)
        assert done.returncode == 0, f"{script}\n{done.stdout}{done.stderr}\n{self.console()}"
        return done.stdout

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a program on it, in the clone's folder."""
        there = ["nsenter", f"--target={self._pid}", "--mount", "--pid", "--net", "--uts", "--ipc",
                 "--cgroup", "--wdns=/opt/clone"]  # fmt: skip
        return subprocess.run(
            [*there, *command], capture_output=True, text=True, check=False, timeout=_WITHIN_S
        )

    def wait_for(self, script: str, within_s: float = _WITHIN_S) -> float:
        """Seconds until a shell on it succeeds with this."""
        began = time.monotonic()
        while self.run("sh", "-c", script).returncode:
            taken = time.monotonic() - began
            assert taken < within_s, f"{script}: not within {within_s} s\n{self.console()}"
            time.sleep(0.02)
        return time.monotonic() - began

    def console(self) -> str:
        """The end of what systemd has said."""
        return self._console.read_text(errors="replace")[-6000:]

    @property
    def _console(self) -> Path:
        return self.folder / "console"

    def _init(self) -> int:
        """The process that is systemd, as seen from here: the only child of the only child."""
        assert self._process is not None
        deadline = time.monotonic() + _WITHIN_S
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                break
            pid = self._process.pid
            # unshare has become the shell's, and then forks.
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
            if children and Path(f"/proc/{children[0]}/comm").read_text().strip() == "systemd":
                return int(children[0])
            time.sleep(0.02)
        raise NoMachine(f"systemd does not start in namespaces: {self.console()}")

    def _remove_cgroup(self) -> None:
        """Its cgroup, with those that systemd has made within; they are empty by now."""
        script = f"""
        mount --make-rprivate /; mount -t cgroup2 none {self.folder}/cgroup
        for n in $(seq 50); do
            find {self.folder}/cgroup/{self._name} -depth -type d -exec rmdir {{}} + 2>/dev/null
            [ -e {self.folder}/cgroup/{self._name} ] || exit 0
            sleep 0.1
        done
        exit 1
        """
        subprocess.run(["unshare", "--mount", "sh", "-c", script], check=True)
