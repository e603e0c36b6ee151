"""``smtpeter queue sites``: receivers that get their mail slowly or not at all now, and how to end that."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches

import click

from smtpeter.cli.installation import Installation, pass_installation
from smtpeter.cli.printing import counted, json_option, print_done, print_json, print_table
from smtpeter.cli.running import is_served
from smtpeter.cli.steps import steps
from smtpeter.errors import NotPossible
from smtpeter.model.event import format_time
from smtpeter.model.route import SiteState
from smtpeter.store.opening import Store, result_of


@click.command()
@click.option("--resume", metavar="SITE", help="Treat this site as if nothing had been.")
@click.option("--resume-all", is_flag=True, help="The same with all of them.")
@json_option
@pass_installation
def sites(installation: Installation, resume: str | None, resume_all: bool, as_json: bool) -> None:
    """Show the sites that are slowed or paused: since when, until when, and why.

    A site is all domains that share the same mail exchangers; its limits are for each of our source addresses.
    """
    if resume is not None and resume_all:
        raise click.UsageError("--resume and --resume-all exclude each other")
    if resume == "":
        raise click.UsageError("--resume needs the name of a site, as smtpeter queue sites tells it")
    with installation.open() as store:
        states = remarkable(store, installation.clock.time())
        if resume is not None or resume_all:
            _resume(store, states, resume or "", as_json)
            return
    if as_json:
        print_json([_describe(state) for state in states])
        return
    _print_states(states)
    if not is_served(installation.settings):
        click.echo("no server seems to be running: this is how it was when the last one ended", err=True)


def remarkable(store: Store, now: float) -> Sequence[SiteState]:
    """What is out of the ordinary now, as the server wrote it down within the last second."""
    return [each for each in result_of(store.sites.states()) if each.until > now and not each.resumed]


def _print_states(states: Sequence[SiteState]) -> None:
    if not states:
        click.echo("no site is slowed or paused")
        return
    print_table(
        ("SITE", "SOURCE", "CONDITION", "SINCE", "UNTIL", "REASON"),
        [
            (
                state.site,
                state.source or "any",
                state.condition,
                format_time(state.since),
                format_time(state.until),
                state.reason,
            )
            for state in states
        ],
    )
    click.echo("\n`smtpeter queue sites --resume SITE` ends it at once.")


def _resume(store: Store, states: Sequence[SiteState], site: str, as_json: bool) -> None:
    """End it for a site, or with an empty name for all."""
    names = {state.site for state in states}
    if site and site not in names:
        raise NotPossible(_explain_unknown(site, names))
    if names:
        result_of(store.sites.resume(site))
        lanes = result_of(store.sites.parked(site))
        for part in steps(len(lanes)):
            result_of(store.sites.unpark(lanes[part]))
    count = 1 if site else len(names)
    print_done(as_json, f"{counted(count, 'site')} resumed" if count else "nothing to do", {"count": count})


def _explain_unknown(site: str, names: set[str]) -> str:
    text = f"nothing is slowed or paused at {site}"
    near = get_close_matches(site, names, n=1) or [name for name in sorted(names) if site in name][:1]
    if near:
        return f"{text}; did you mean {near[0]}?"
    if names:
        return f"{text}; smtpeter queue sites lists what is (a site has the name of its hosts, not of its domains)"
    return f"{text}, nor anywhere else"


def _describe(state: SiteState) -> dict[str, str]:
    return {
        "site": state.site,
        "source": state.source,
        "condition": str(state.condition),
        "reason": state.reason,
        "since": format_time(state.since),
        "until": format_time(state.until),
    }
