"""The demonstration, started as a new user starts it."""

from __future__ import annotations

import os
import re
import signal
import subprocess

from tests.integration.gateway import SCRIPTS, wait_for


class Demo:
    """One demonstration, with its state below ``directory``."""

    def __init__(self, directory):
        self.environment = {**os.environ, "XDG_STATE_HOME": str(directory / "state")}
        self.output = directory / "output"
        self.start()

    def start(self):
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [SCRIPTS / "twistd", "-n", "--pidfile=", "smtpeter", "--demo"],
                cwd="/", env=self.environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            )  # fmt: skip
        self.text = wait_for(lambda: "Ctrl-C" in (text := self.output.read_text()) and text, timeout=30)

    def printed(self, beginning):
        """A command as it was printed, over as many lines as it has."""
        return re.search(rf"^  ({beginning}(?:.*\\\n)*.*)$", self.text, re.MULTILINE)[1]

    def told(self, what):
        """A line of those that tell what there is."""
        return re.search(rf"^  {what}  +(.+)$", self.text, re.MULTILINE)[1]

    def shell(self, command):
        return subprocess.run(
            ["sh", "-c", command], env=self.environment, cwd="/", capture_output=True, text=True, timeout=60
        )

    def smtpeter(self, *arguments):
        result = subprocess.run(
            [SCRIPTS / "smtpeter", "--demo", *arguments], env=self.environment, cwd="/", capture_output=True, timeout=60
        )
        assert result.returncode == 0, result
        return result.stdout

    def stop(self):
        self.process.send_signal(signal.SIGINT)
        self.process.wait(30)
