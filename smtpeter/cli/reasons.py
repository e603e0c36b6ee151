"""Why a recipient stands where it stands, in one sentence: pure, from what the store knows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from smtpeter.model.delivery import RecipientState
from smtpeter.model.event import EventKind, JournalEntry, format_time
from smtpeter.model.listing import MOST_AHEAD, Standing
from smtpeter.model.route import SiteCondition, SiteState
from smtpeter.model.submission import Submission

_LONGEST_REPLY = 300


class Around(NamedTuple):
    """What is the same for all recipients.  ``sites`` are those that are slowed or paused; ``paused``: an operator
    stopped all delivery; ``served``: there is a server."""

    now: float
    sites: Sequence[SiteState]
    paused: bool
    served: bool


class Reason(NamedTuple):
    """A sentence, and the time (seconds since the epoch) before which nothing changes by itself, where one is known."""

    why: str
    until: float | None = None


def explain(
    id: str, domain: str, standing: Standing, submission: Submission, events: Sequence[JournalEntry], around: Around
) -> Reason:
    """The reason, for the recipient with this id; ``events`` are its own, oldest first."""
    match standing.state:
        case RecipientState.HELD:
            return Reason(_held(id, _last(events, EventKind.HELD)))
        case RecipientState.DUE | RecipientState.LEASED if not around.served:
            return _unserved(standing, around)
        case RecipientState.LEASED:
            return Reason(f"it is being attempted now, or about to be{_by(standing.until)}", standing.until)
        case RecipientState.DUE:
            reason = _due(domain, standing, submission, around)
            deferral = _last(events, EventKind.DEFERRAL)
            said = f"; at {format_time(deferral.time)}: {_said(deferral)}" if deferral is not None else ""
            return reason._replace(why=reason.why + said)
    return Reason(_final(standing.state, events))


# --- what is over ---------------------------------------------------------------------------------------------------


def _final(state: RecipientState, events: Sequence[JournalEntry]) -> str:
    if state is RecipientState.CANCELLED:
        event = _last(events, EventKind.CANCELLED)
        return f"it was cancelled{_at(event)}"
    event = _last(events, EventKind.DELIVERY if state is RecipientState.DELIVERED else EventKind.FAILURE)
    said = f": {_said(event)}" if event is not None else ""
    match state:
        case RecipientState.DELIVERED if event is not None and event.data.get("captured"):
            return f"it was kept{_at(event)} and not sent, since delivery.mode was capture"
        case RecipientState.DELIVERED:
            return f"it was delivered{_at(event)}{said}"
        case RecipientState.EXPIRED:
            return f"its time for delivery was over{_at(event)}{said}"
    return f"it failed{_at(event)}{said}"


def _held(id: str, event: JournalEntry | None) -> str:
    if event is not None and event.data:
        why = f"it is held{_since(event)}: {_said(event)}"
    else:
        why = f"it is held{_since(event)}, as an operator wanted"
    return f"{why}; `smtpeter queue release {id}` lets it go on"


# --- what is to come ------------------------------------------------------------------------------------------------


def _unserved(standing: Standing, around: Around) -> Reason:
    if standing.state is RecipientState.LEASED:
        return Reason(
            "no server seems to be running; the next one sees to what was being attempted when the last ended"
        )
    later = standing.due > around.now
    when = f", and it is not to be attempted before {format_time(standing.due)}" if later else ""
    return Reason(f"no server seems to be running, so that nothing is delivered{when}", standing.due if later else None)


def _due(domain: str, standing: Standing, submission: Submission, around: Around) -> Reason:
    later = standing.due > around.now
    due = format_time(standing.due)
    if around.paused:
        also = f" (and it is not to be attempted before {due})" if later else ""
        return Reason(f"all delivery is paused: `smtpeter queue resume` starts it again{also}")
    if standing.unprepared:
        return _unprepared(standing)
    parking = standing.parking
    if parking is not None and parking.site and parking.until > standing.due:
        lead = f"it is to be attempted again at {due}, but then waits for" if later else "it waits for"
        reason = _parked(parking.site, around)
        over = submission.expires
        if reason.until is not None and over < reason.until:
            reason = reason._replace(why=f"{reason.why}; before that, at {format_time(over)}, its time is over")
        return reason._replace(why=f"{lead} {reason.why}")
    if not later:
        looked = f"; the way to {domain} has just been looked for in the DNS" if parking is not None else ""
        return Reason(f"it waits for its turn{_behind(domain, standing)}{looked}")
    if not standing.attempts and abs(standing.due - submission.due) < 1.0:
        return Reason(f"its sender wants it to be delivered not before {due}", standing.due)
    return Reason(f"it waits for its next attempt, not before {due}", standing.due)


def _unprepared(standing: Standing) -> Reason:
    if standing.until is None:
        return Reason("it waits for its features to prepare it")
    if standing.postponed:
        return Reason(f"its features try again to prepare it at {format_time(standing.until)}", standing.until)
    return Reason(f"its features are preparing it now{_by(standing.until)}", standing.until)


def _parked(site: str, around: Around) -> Reason:
    """What follows "it waits for"."""
    spells = [state for state in around.sites if state.site == site]
    if not spells:
        return Reason(f"its site {site}, which takes no more at the moment")
    pauses = [state.until for state in spells if state.condition is SiteCondition.PAUSED]
    told = "; ".join(map(_spell, spells))
    hint = f"`smtpeter queue sites --resume {site}` ends that"
    return Reason(f"its site {site}, {told} ({hint})", min(pauses) if pauses else None)


def _spell(state: SiteState) -> str:
    source = f" from {state.source}" if state.source else ""
    return f"{state.condition}{source} until {format_time(state.until)}: {_line(state.reason)}"


def _behind(domain: str, standing: Standing) -> str:
    if not standing.ahead:
        return ""
    more = " or more" if standing.ahead >= MOST_AHEAD else ""
    return f" behind {standing.ahead}{more} of the same account to {domain}"


# --- words ----------------------------------------------------------------------------------------------------------


def _last(events: Sequence[JournalEntry], kind: EventKind) -> JournalEntry | None:
    return next((event for event in reversed(events) if event.kind is kind), None)


def _said(event: JournalEntry) -> str:
    """What a receiver answered, or what else happened."""
    data = event.data
    description = _line(str(data.get("description", "")))
    if not data.get("code") or not data.get("to"):
        return description or "nothing more is known"
    return " ".join(filter(None, (f"{data['to']} said {data['code']}", str(data.get("status") or ""), description)))


def _line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST_REPLY else f"{line[: _LONGEST_REPLY - 3]}..."


def _at(event: JournalEntry | None) -> str:
    return "" if event is None else f" at {format_time(event.time)}"


def _since(event: JournalEntry | None) -> str:
    return "" if event is None else f" since {format_time(event.time)}"


def _by(until: float | None) -> str:
    return "" if until is None else f" (its lease ends at {format_time(until)}, if it is not prolonged)"
