"""Programs of Debian packages that exclude each other: each has a root directory of its own.

``.ci/run`` unpacks a package with all that it needs below ``SMTPETER_RECEIVERS``.  An instance is a copy of that (of
links, where the file system can), in which everything is where the program looks for it, and a process with that root.
"""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import tempfile
from pathlib import Path

from tests.integration.tools import missing

FIRST_USER = 61001
"""Numbers that nobody on the machine has."""


def unpacked(name: str) -> Path:
    """Where a package is, or the test is skipped."""
    directory = Path(os.environ.get("SMTPETER_RECEIVERS", "/nonexistent")) / name
    if not directory.is_dir():
        missing(f"SMTPETER_RECEIVERS has no {name}: .ci/run unpacks it")
    if os.geteuid() != 0:
        missing(f"only root can run {name}")
    return directory


class Root:
    """An instance's own root directory, with these users, and a process in it."""

    def __init__(self, name: str, users: tuple[str, ...]) -> None:
        source = unpacked(name)
        self.path = Path(tempfile.mkdtemp(prefix=f"smtpeter-{name}-"))
        self._process: subprocess.Popen[bytes] | None = None
        _copy(source, self.path)
        self.path.chmod(0o755)
        self._users = {user: FIRST_USER + number for number, user in enumerate((*users, "mailbox"))}
        lines = [f"{user}:x:{number}:{number}::/:/bin/sh\n" for user, number in self._users.items()]
        self.write("etc/passwd", "root:x:0:0::/:/bin/sh\n" + "".join(lines))
        self.write("etc/group", "root:x:0:\n" + "".join(f"{user}:x:{n}:\n" for user, n in self._users.items()))
        self.write("etc/hosts", "127.0.0.1 localhost\n")
        self.make("tmp", mode=0o1777)
        self.make("dev")
        if not (self.path / "dev/null").exists():
            os.mknod(self.path / "dev/null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
            (self.path / "dev/null").chmod(0o666)
        for part in ("tmp", "new", "cur"):
            self.make(f"var/mail/{part}", "mailbox", 0o777)

    def make(self, path: str, owner: str = "", mode: int = 0o755) -> Path:
        """A directory."""
        made = self.path / path
        made.mkdir(parents=True, exist_ok=True)
        if owner:
            os.chown(made, self._users[owner], self._users[owner])
        made.chmod(mode)
        return made

    def write(self, path: str, content: str | bytes, owner: str = "", mode: int = 0o644) -> None:
        """A file.  One that is there is not written to, but replaced: it may be everybody's."""
        file = self.path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.unlink(missing_ok=True)
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        file.chmod(mode)
        if owner:
            os.chown(file, self._users[owner], self._users[owner])

    def start(self, *command: str) -> None:
        """Begin the process, which stays in the foreground; what it says goes to ``output``."""
        with self.output.open("ab") as output:
            self._process = subprocess.Popen(
                ["chroot", self.path, *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "TZ": "UTC"},
            )

    @property
    def output(self) -> Path:
        return self.path / "output"

    def remove(self) -> None:
        """End the process and all that it began, and remove the directory."""
        if self._process is not None:
            try:
                os.killpg(self._process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            self._process.wait(10)
            for process in self._inside():
                os.kill(process, signal.SIGKILL)
        shutil.rmtree(self.path, ignore_errors=True)

    def _inside(self) -> list[int]:
        """Processes that have this root; some have left their group."""
        found = []
        for process in Path("/proc").iterdir():
            try:
                if process.name.isdigit() and (process / "root").readlink() == self.path:
                    found.append(int(process.name))
            except OSError:
                continue
        return found


def _copy(source: Path, target: Path) -> None:
    linked = subprocess.run(["cp", "-al", f"{source}/.", target], capture_output=True)
    if linked.returncode:
        subprocess.run(["cp", "-a", f"{source}/.", target], check=True)
