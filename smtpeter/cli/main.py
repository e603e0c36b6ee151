"""The ``smtpeter`` command: its global options, and how refusals become one line and an exit code."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import IO, Any

import click

from smtpeter import __version__
from smtpeter.cli.account import account
from smtpeter.cli.check import check
from smtpeter.cli.credential import login, token
from smtpeter.cli.dns import dns
from smtpeter.cli.domain import domain
from smtpeter.cli.features import features
from smtpeter.cli.installation import Installation
from smtpeter.cli.message import message
from smtpeter.cli.printing import visible
from smtpeter.cli.queue import queue
from smtpeter.cli.send_test import send_test
from smtpeter.cli.tracking import tracking
from smtpeter.demo import default_directory
from smtpeter.errors import SmtpeterError, StorageUnavailable


class Refused(click.ClickException):
    """A request that is refused: one line on standard error, exit code 1."""

    exit_code = 1

    def show(self, file: IO[Any] | None = None) -> None:
        line = "; ".join(self.message.splitlines()) or "refused"
        click.echo(f"smtpeter: {visible(line)}", file=file, err=file is None)


class Program(click.Group):
    """Turns our errors, and the system's, into refusals.  What else comes through is a bug, with its traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except StorageUnavailable as error:
            raise Refused(f"the store cannot do this now: {error}") from error
        except SmtpeterError as error:
            raise Refused(str(error)) from error
        except BrokenPipeError:
            raise  # whoever read our output has seen enough: click ends quietly
        except OSError as error:
            where = f": {error.filename}" if error.filename else ""
            raise Refused(f"{error.strerror or error}{where}") from error


@click.group(cls=Program, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--config", "-c", type=click.Path(path_type=Path), metavar="FILE", help="The configuration file.")
@click.option("--demo", is_flag=True, help="Work on the demonstration.")
@click.option(
    "--demo-dir", type=click.Path(path_type=Path), metavar="DIR", help="Where the demonstration keeps its state."
)
@click.version_option(__version__, prog_name="smtpeter", message="%(prog)s %(version)s")
@click.pass_context
def smtpeter(ctx: click.Context, config: Path | None, demo: bool, demo_dir: Path | None) -> None:
    """Look after an smtpeter mail gateway, while it runs or before it does.

    Without an option its configuration is /etc/smtpeter/smtpeter.toml.
    """
    if config is not None and (demo or demo_dir is not None):
        raise click.UsageError("--demo and --config exclude each other")
    if demo and demo_dir is None:
        demo_dir = default_directory(os.environ)
    ctx.obj = Installation(config, demo_dir)


for _command in (account, login, token, domain, dns, queue, message, tracking, features, send_test, check):
    smtpeter.add_command(_command)


def main() -> None:
    """The entry point of the installed command."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")  # a terminal without UTF-8 must not end a listing
    smtpeter(prog_name="smtpeter")
