"""``smtpeter check``: what is wrong, before a start finds out."""

from __future__ import annotations

import click

from smtpeter.cli.inspection import Findings, inspect
from smtpeter.cli.installation import Installation, pass_installation
from smtpeter.cli.printing import counted, json_option, print_json, visible
from smtpeter.errors import ConfigError, NotPossible


@click.command()
@json_option
@pass_installation
def check(installation: Installation, as_json: bool) -> None:
    """Validate the configuration and this machine; one line for each thing that is wrong."""
    try:
        findings = inspect(installation.look_at_settings(), installation.clock)
    except ConfigError as error:
        findings = Findings(str(error).splitlines(), [])
    problems, warnings = findings
    file = installation.config_file
    if file is not None and file.exists() and file.stat().st_mode & 0o007:
        warnings.append(f"{file} may hold passwords and can be reached by all users: chmod 640 {file}")
    if as_json:
        print_json({"ok": not problems, "problems": problems, "warnings": warnings})
    else:
        for line in problems:
            click.echo(f"error: {visible(line)}")
        for line in warnings:
            click.echo(f"warning: {visible(line)}")
        if not problems:
            click.echo("no errors")
    if problems:
        raise NotPossible(f"check found {counted(len(problems), 'error')}")
