"""How fast mail is accepted, beside Postfix in the same run.

    python bench/run.py [--rounds 5] [--only NAME]

The server has one core, the client the other; the servers take turns, and medians and ratios are what counts.  It needs
a C compiler with OpenSSL's headers, root, and the Debian packages that ``postfix.py`` names; without Postfix only
smtpeter is measured.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any, NamedTuple, Protocol

sys.path.insert(0, str(Path(__file__).parent))
import postfix

from smtpeter.auth.certificate import ensure_certificate

HERE = Path(__file__).parent
SERVER_CORE, CLIENT_CORE = "0", "1"
SMTPETER_PORT, HTTP_PORT, POSTFIX_PORT = 14651, 14680, 14652


class Work(NamedTuple):
    """A kind of load: messages of so many octets, so many on a connection."""

    name: str
    octets: int
    messages: int
    per_connection: int
    resume: int = 0


WORKS = (
    Work("2 KB, reused, pipelined", 2048, 6000, 100),
    Work("2 KB, one a connection, full handshake", 2048, 1500, 1),
    Work("2 KB, one a connection, resumed", 2048, 1500, 1, 1),
    Work("50 KB, reused", 50_000, 2000, 100),
    Work("1 MB, reused", 1_000_000, 150, 25),
)


class Server(Protocol):
    """Something to be measured."""

    name: str
    port: int
    user: str
    password: str

    def cpu_seconds(self) -> float:
        """CPU time of its processes so far."""

    def stop(self) -> None:
        """End it."""


class Smtpeter:
    """The server in capture mode with its queue paused: accepting only, like Postfix's hold queue."""

    name = "smtpeter"
    port = SMTPETER_PORT

    def __init__(self, directory: Path) -> None:
        scripts = Path(sys.executable).parent
        config = directory / "smtpeter.toml"
        local = "interface=127.0.0.1"
        config.write_text(
            f'hostname = "localhost"\ndata_dir = "{directory / "data"}"\n[listen]\nsmtp = []\nmx = []\nhttps = []\n'
            f'smtps = ["tcp:{self.port}:{local}"]\nhttp = ["tcp:{HTTP_PORT}:{local}"]\n[delivery]\nmode = "capture"\n'
        )

        def command(*arguments: str) -> Any:
            result = subprocess.run(
                [scripts / "smtpeter", "--config", config, *arguments, "--json"], check=True, capture_output=True
            )
            return json.loads(result.stdout)

        command("account", "add", "bench@example.com")
        login = command("login", "add", "--account", "bench@example.com")
        self.user, self.password = login["username"], login["password"]
        command("queue", "pause")
        self._log = (directory / "log").open("wb")
        self._process = subprocess.Popen(
            ["taskset", "-c", SERVER_CORE, scripts / "twistd", "-n", "--pidfile=", "smtpeter", "--config", config],
            stdout=self._log,
            stderr=self._log,
        )
        for _ in range(100):
            time.sleep(0.1)
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{HTTP_PORT}/healthz").close()
                return
            except OSError:
                continue
        raise SystemExit(f"smtpeter did not start, see {self._log.name}")

    def cpu_seconds(self) -> float:
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait()


class Postfix(postfix.Postfix):
    """Postfix, into its hold queue."""

    name = "Postfix"
    user, password = postfix.USER, postfix.PASSWORD

    def __init__(self, directory: Path) -> None:
        files = ensure_certificate(directory / "tls", "localhost", time.time())
        super().__init__(directory / "postfix", POSTFIX_PORT, files.certificate, files.private_key)
        self.start(SERVER_CORE)


def build_client(directory: Path) -> Path:
    """Compile the load client."""
    client = directory / "load"
    libraries = ["-lssl", "-lcrypto", "-lpthread"]
    subprocess.run(["cc", "-O2", "-o", client, HERE / "load.c", *libraries], check=True)
    return client


def measure(client: Path, server: Server, work: Work) -> dict[str, float]:
    """One round: messages a second, CPU seconds for 1,000, and latencies in milliseconds."""
    before = server.cpu_seconds()
    result = subprocess.run(
        ["taskset", "-c", CLIENT_CORE, client, str(server.port), server.user, server.password.replace(" ", ""), "20",
         str(work.messages), str(work.per_connection), str(work.octets), str(work.resume)],
        check=True, capture_output=True,
    )  # fmt: skip
    answer = json.loads(result.stdout)
    return {
        "rate": answer["messages"] / answer["seconds"],
        "cpu": (server.cpu_seconds() - before) / answer["messages"] * 1000,
        "p50": answer["p50_ms"],
        "p99": answer["p99_ms"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="", help="run only the works whose name has this in it")
    arguments = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="smtpeter-bench-"))
    directory.chmod(0o755)
    client = build_client(directory)
    kinds: list[type[Any]] = [Smtpeter] if shutil.which("postfix") is None else [Smtpeter, Postfix]
    servers: list[Server] = []
    try:
        for kind in kinds:
            (directory / kind.name).mkdir(mode=0o755)
            servers.append(kind(directory / kind.name))
        print(f"{'':<40}{'':<10}{'msg/s':>8}{'CPU s/1000':>12}{'p50 ms':>9}{'p99 ms':>9}")
        for work in WORKS:
            if arguments.only in work.name:
                compare(client, servers, work, arguments.rounds)
    finally:
        for server in servers:
            server.stop()
        shutil.rmtree(directory)


def compare(client: Path, servers: list[Server], work: Work, rounds: int) -> None:
    """Let the servers take turns, and print their medians."""
    results: dict[str, list[dict[str, float]]] = {server.name: [] for server in servers}
    for server in servers:
        measure(client, server, work._replace(messages=max(20, work.messages // 10)))
    for _ in range(rounds):
        for server in servers:
            results[server.name].append(measure(client, server, work))
    medians = {
        name: {key: statistics.median(each[key] for each in each_round) for key in each_round[0]}
        for name, each_round in results.items()
    }
    for name, figures in medians.items():
        print(
            f"{work.name:<40}{name:<10}{figures['rate']:>8.0f}{figures['cpu']:>12.3f}"
            f"{figures['p50']:>9.2f}{figures['p99']:>9.2f}",
            flush=True,
        )
    if len(medians) == 2:
        print(f"{'':<40}{'ratio':<10}{medians['smtpeter']['rate'] / medians['Postfix']['rate']:>8.2f}", flush=True)


if __name__ == "__main__":
    main()
