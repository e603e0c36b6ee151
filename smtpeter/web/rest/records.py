"""Events as clients know them: the log files, the fields of each in their order, and how these are written.

The table is fixed: programs that nobody here wrote read it.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from operator import attrgetter
from typing import Any, NamedTuple

from smtpeter.model.event import EventKind, format_time
from smtpeter.model.listing import Record


class Log(NamedTuple):
    """One kind of log file: the first part of its name, the events that are in it, and their fields."""

    prefix: str
    kind: EventKind
    fields: tuple[str, ...]


def _log(prefix: str, kind: EventKind, fields: str) -> Log:
    return Log(prefix, kind, tuple(fields.split()))


_PLACE = "city countryname countrycode regioncode"

LOGS = (
    _log("attempts", EventKind.ATTEMPT, "id time envelope recipient properties tags templateid"),
    _log("deliveries", EventKind.DELIVERY, "id time envelope recipient from to attempt tags templateid"),
    _log("failures", EventKind.FAILURE,
         "id time envelope recipient attempt from to type code status description state tags templateid"),
    _log("bounces", EventKind.BOUNCE, "id time envelope recipient mime tags templateid"),
    _log("responses", EventKind.RESPONSE, "id time envelope recipient mime tags templateid"),
    _log("clicks", EventKind.CLICK, f"id time headers ip url destination tags recipient {_PLACE} templateid"),
    _log("opens", EventKind.OPEN, f"id time headers ip protocol tags recipient {_PLACE} templateid"),
    _log("abuses", EventKind.ABUSE, "id time envelope recipient tags templateid"),
    _log("dmarc", EventKind.DMARC,
         "time organizationName email reportId begin end domain sendingDomain messages failedSpf failedDkim"),
)  # fmt: skip
"""In the order in which they are listed.  What we do not know (places, for now) is empty."""

BY_PREFIX: Mapping[str, Log] = {log.prefix: log for log in LOGS}

_FIELDS: Mapping[EventKind, tuple[str, ...]] = {log.kind: log.fields for log in LOGS}
_OTHERS = ("id", "time", "recipient", "description")
_NOT_TOLD = frozenset({"event", "data", "dialogue"})  # the frame's own names; and what is for operators, line by line

_JSON = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, check_circular=False)
_time = lru_cache(4096)(format_time)

# XML 1.0 section 2.2: characters that no document has, in whatever form; and those that have to be escaped.  A bare CR
# would be read as a newline (section 2.11).
_FORBIDDEN = "\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff"
_IS_SPECIAL = re.compile(f"[&<>\r{_FORBIDDEN}]").search
_LEAVE_OUT = re.compile(f"[{_FORBIDDEN}]")


def in_order(records: Sequence[Record]) -> Sequence[Record]:
    """Oldest first.  They are written down nearly so: clicks are gathered for a second before."""
    return sorted(records, key=attrgetter("time"))


def fields(record: Record) -> dict[str, Any]:
    """The fields of a record by their names, in order.

    Of events that have no log file these are a few that all of them have, then whatever explains what happened.
    """
    known = _known(record)
    names = _FIELDS.get(record.kind)
    if names is not None:
        return {name: known.get(name, "") for name in names}
    found = {name: known.get(name, "") for name in _OTHERS}
    return {**found, **_beside(record, found), "tags": known["tags"], "templateid": 0}


def json_object(record: Record) -> str:
    """A record of a log file, as an object of JSON; the template's number has two names in it."""
    return _JSON.encode(_both_names(fields(record)))


def json_event(record: Record, *, everything: bool = False) -> str:
    """An event as an object of JSON: its fields, and once more below ``data``.

    ``everything``: what the table of fields does not have too, such as why a click was taken for a machine's; but never
    the dialogue with a receiver.
    """
    found = _both_names(fields(record))
    if everything:
        found.update(_beside(record, found))
    text = _JSON.encode(found)
    return f'{{"event":"{record.kind.value}",{text[1:-1]},"data":{text}}}'


Rows = Iterable[Sequence[Any]]


def csv_lines(rows: Rows) -> bytes:
    """Lines of CSV as RFC 4180 has it."""
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\r\n").writerows(rows)
    return text.getvalue().encode("utf-8", "replace")


def xml_records(names: Sequence[str], rows: Rows) -> bytes:
    """``<record>`` elements with an element for each field."""
    template = f"<record>{''.join([f'<{name}>%s</{name}>' for name in names])}</record>\n"
    return "".join([template % tuple(map(_xml, row)) for row in rows]).encode("utf-8")


def rows(log: Log, records: Sequence[Record]) -> Iterator[Sequence[Any]]:
    """The values of records of one log, in the order of its fields, the oldest first."""
    names = log.fields
    for record in in_order(records):
        get = _known(record).get
        yield [get(name, "") for name in names]


def _known(record: Record) -> dict[str, Any]:
    """All that is known of an event, by the names of fields."""
    _, kind, time, id, envelope, recipient, tags, options, data = record
    known = {
        **data,
        "id": id,
        "time": _time(time // 1),
        "envelope": envelope,
        "recipient": recipient,
        "tags": ";".join(tags) if tags else "",
        "templateid": 0,
    }
    if kind is EventKind.ATTEMPT:
        known["properties"] = ";".join([name for name, value in options if value == "true"])
    elif kind is EventKind.CLICK:
        known.setdefault("url", known.get("destination", ""))
    return known


def _beside(record: Record, found: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in record.data.items() if name not in found and name not in _NOT_TOLD}


def _both_names(found: dict[str, Any]) -> dict[str, Any]:
    if "templateid" in found:
        found["templateId"] = found["templateid"]
    return found


def _xml(value: Any) -> str:
    text = "" if value is None else str(value)
    if _IS_SPECIAL(text) is None:
        return text
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("\r", "&#13;")
    return _LEAVE_OUT.sub("", text)
