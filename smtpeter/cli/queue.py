"""``smtpeter queue``: mail that is still on its way, and what an operator can do about it, many at a time."""

from __future__ import annotations

import sys

import click

from smtpeter.cli.arguments import filter_options, named
from smtpeter.cli.installation import Installation, pass_installation
from smtpeter.cli.printing import counted, json_option, print_done
from smtpeter.cli.rows import print_rows
from smtpeter.cli.sites import sites
from smtpeter.cli.steps import STEP, steps
from smtpeter.cli.why import why
from smtpeter.errors import NotPossible
from smtpeter.model.delivery import FINAL_STATES, RecipientState
from smtpeter.model.listing import Filter, Verb
from smtpeter.store.opening import Store, result_of

_ALL = 2**31 - 1
_WAITING = frozenset(RecipientState) - FINAL_STATES


@click.group()
def queue() -> None:
    """The queue: recipients that are not in a final state."""


queue.add_command(sites)
queue.add_command(why)


@queue.command("list")
@filter_options
@json_option
@pass_installation
def list_(installation: Installation, filter: Filter, limit: int | None, as_json: bool) -> None:
    """List what waits, newest first."""
    states = _WAITING if filter.states is None else filter.states & _WAITING
    with installation.open() as store:
        rows = result_of(store.queue.select(filter._replace(states=states), limit or _ALL)) if states else ()
    print_rows(rows, as_json)


@queue.command()
@json_option
@pass_installation
def pause(installation: Installation, as_json: bool) -> None:
    """Stop all delivery; mail is still accepted."""
    with installation.open() as store:
        result_of(store.queue.set_paused(True))
    print_done(as_json, "delivery is paused; mail is still accepted", {"paused": True})


@queue.command()
@json_option
@pass_installation
def resume(installation: Installation, as_json: bool) -> None:
    """Start delivery again."""
    with installation.open() as store:
        result_of(store.queue.set_paused(False))
    print_done(as_json, "delivery goes on", {"paused": False})


def _add_verb(verb: Verb, done: str, description: str) -> None:
    """Make the command for a verb that works on whatever a filter means."""

    @queue.command(str(verb), help=f"{description}\n\nID is a recipient's or a submission's; without it, all that fit.")
    @click.argument("id", required=False)
    @filter_options
    @click.option("--yes", is_flag=True, help="Do not ask.")
    @json_option
    @pass_installation
    def command(
        installation: Installation, id: str | None, filter: Filter, limit: int | None, yes: bool, as_json: bool
    ) -> None:
        if id is not None:
            filter = named(id, filter)
        with installation.open() as store:
            if id is not None and not result_of(store.queue.select(named(id), 1)):
                raise NotPossible(f"there is no message {id}")
            there = result_of(store.queue.count(filter, verb))
            count = min(there, limit or _ALL)
            if count:
                _confirm(verb, count, yes)
                count = _apply(installation, store, filter, verb, count)
                if verb is Verb.RETRY:  # with the first of them the whole of a lane waits for its site no more
                    count = max(count, there - result_of(store.queue.count(filter, verb)))
            leased = 0 if as_json or verb not in (Verb.HOLD, Verb.CANCEL) else _count_leased(store, filter)
        if leased:
            click.echo(f"being attempted just now, and left alone: {counted(leased, 'recipient')}", err=True)
        print_done(as_json, f"{counted(count, 'recipient')} {done}" if count else "nothing to do", {"count": count})


def _count_leased(store: Store, filter: Filter) -> int:
    """How many recipients a verb would have had to take out of the hands of a delivery, which none does."""
    leased = RecipientState.LEASED
    if filter.states is not None and leased not in filter.states:
        return 0
    return len(result_of(store.queue.select(filter._replace(states=frozenset((leased,))), STEP)))


def _confirm(verb: Verb, count: int, yes: bool) -> None:
    """Have a bulk change confirmed, by somebody at a terminal or by ``--yes``."""
    if yes:
        return
    if not _at_terminal():
        raise NotPossible(f"{verb} would change {counted(count, 'recipient')}: add --yes to do it")
    click.confirm(f"{verb} {counted(count, 'recipient')}?", abort=True, err=True)


def _at_terminal() -> bool:
    return sys.stdin.isatty()


def _apply(installation: Installation, store: Store, filter: Filter, verb: Verb, count: int) -> int:
    """Do it, in short transactions; never to more than were counted."""
    progress = count > STEP and sys.stderr.isatty()
    done = 0
    for part in steps(count):
        step = result_of(store.queue.apply(filter, verb, installation.clock.time(), part.stop - part.start))
        if step == 0:
            break
        done += step
        if progress:
            click.echo(f"\r{done} of {count}", err=True, nl=False)
    if progress:
        click.echo(err=True)
    return done


_add_verb(
    Verb.RETRY,
    "due now",
    "Attempt again at once what waits for another attempt, or for its site.  Where an account's mail to a domain waits "
    "for its site all of that goes, whatever --limit says.",
)
_add_verb(Verb.HOLD, "held", "Hold what is due, until it is released.")
_add_verb(Verb.RELEASE, "released", "Release what is held: it is due at once.")
_add_verb(Verb.CANCEL, "cancelled", "Cancel what is due or held, for ever.")
