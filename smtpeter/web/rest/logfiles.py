"""``/v1/logfiles/...``: what happened, as files of a day.

There are no files: what they would hold is read from the journal.  A name is looked up and never becomes a path.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, date, datetime
from functools import partial
from typing import NamedTuple

from smtpeter.interfaces import IClock, IEventJournal
from smtpeter.model.account import Account, Scope
from smtpeter.model.listing import Record, RecordFilter
from smtpeter.web.rest.records import BY_PREFIX, LOGS, Log, csv_lines, in_order, json_object, rows, xml_records
from smtpeter.web.rest.routes import Answer, Route
from smtpeter.web.rest.streams import first_of, rendered, written
from smtpeter.web.rest.values import JSON, ApiError, Call, Response, json_response

CSV = b"text/csv; charset=utf-8"
XML = b"application/xml; charset=utf-8"

_DAY = 86400
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_NAME = re.compile(rf"([a-z]+)\.({_DATE.pattern})\.log")
_NO_SUCH_FILE = "There is no such log file: /v1/logfiles lists the dates, and /v1/logfiles/YYYY-MM-DD the files of one"
_EMPTY = "This log file is not there: it would be empty"

_NAMES = {"type": "array", "items": {"type": "string"}}
_ORDER = ", ".join(f"{log.prefix}: {' '.join(log.fields)}" for log in LOGS)
_ABOUT_CSV = (
    "Lines end with CRLF, and values with commas, quotes or line ends are quoted, as RFC 4180 has it. Values are data "
    "as they are: those that begin with = + - or @ would be formulas for a spreadsheet. "
)


def routes(journal: IEventJournal, clock: IClock) -> list[Route]:
    """The routes of log files."""
    files = _LogFiles(journal, clock)
    name = {"name": "PREFIX.YYYY-MM-DD.log, the prefix one of " + ", ".join(BY_PREFIX)}
    return [
        Route(
            "GET", "/logfiles", Scope.READ, files.dates, "Dates that may have log files",
            "Days are those of UTC. The oldest is the first.",
            "Log files", answers={200: Answer("Dates, YYYY-MM-DD", _NAMES)},
        ),
        Route(
            "GET", "/logfiles/{name}", Scope.READ, files.names_or_csv, "A log file, or the log files of a day",
            "With the name of a file it is answered as CSV, without the names of the fields; with a date, by a list in "
            f"JSON of the names of the files of that day. {_ABOUT_CSV}The fields in their order: {_ORDER}.",
            "Log files",
            answers={200: Answer("The records, the oldest first, or the names", {"type": "string"}, "text/csv",
                                 {"application/json": _NAMES})},
            parameters={"name": name["name"] + "; or a date, YYYY-MM-DD"},
        ),
        Route(
            "GET", "/logfiles/{name}/header", Scope.READ, files.csv_with_names, "A log file, with a line of names",
            _ABOUT_CSV, "Log files",
            answers={200: Answer("The fields' names, then the records", {"type": "string"}, "text/csv")},
            parameters=name,
        ),
        Route(
            "GET", "/logfiles/{name}/json", Scope.READ, files.json, "A log file in JSON", "", "Log files",
            answers={200: Answer("The records, the oldest first", {"type": "array", "items": {"type": "object"}})},
            parameters=name,
        ),
        Route(
            "GET", "/logfiles/{name}/xml", Scope.READ, files.xml, "A log file in XML",
            "<records><record><id>...</id>...</record>...</records>. Characters that XML does not have are left out.",
            "Log files", answers={200: Answer("The records, the oldest first", {"type": "string"}, "application/xml")},
            parameters=name,
        ),
    ]  # fmt: skip


class _Form(NamedTuple):
    """A form in which a log file is had: ``write`` makes octets of some of its records, oldest first; ``start`` is what
    comes before them, for a log."""

    content_type: bytes
    write: Callable[[Log, Sequence[Record]], bytes]
    start: Callable[[Log], bytes] = lambda log: b""
    separator: bytes = b""
    end: bytes = b""


def _write_csv(log: Log, records: Sequence[Record]) -> bytes:
    return csv_lines(rows(log, records))


def _write_json(log: Log, records: Sequence[Record]) -> bytes:
    return written(in_order(records), json_object)


def _write_xml(log: Log, records: Sequence[Record]) -> bytes:
    return xml_records(log.fields, rows(log, records))


_CSV = _Form(CSV, _write_csv)
_CSV_WITH_NAMES = _Form(CSV, _write_csv, lambda log: csv_lines([log.fields]))
_JSON = _Form(JSON, _write_json, lambda log: b"[", b",", b"]")
_XML = _Form(XML, _write_xml, lambda log: b'<?xml version="1.0" encoding="UTF-8"?>\n<records>\n', b"", b"</records>\n")


class _LogFiles:
    def __init__(self, journal: IEventJournal, clock: IClock) -> None:
        self._journal = journal
        self._clock = clock

    async def dates(self, call: Call) -> Response:
        return json_response([date.fromordinal(day).isoformat() for day in await self._days(call.submitter.account)])

    async def names_or_csv(self, call: Call) -> Response:
        text = call.path["name"]
        if not _DATE.fullmatch(text):
            return await self._file(call, _CSV)
        account = call.submitter.account
        since = await self._day(account, text)
        kinds = await self._journal.kinds(account.number, since, since + _DAY)
        return json_response([f"{log.prefix}.{text}.log" for log in LOGS if log.kind in kinds])

    async def csv_with_names(self, call: Call) -> Response:
        return await self._file(call, _CSV_WITH_NAMES)

    async def json(self, call: Call) -> Response:
        return await self._file(call, _JSON)

    async def xml(self, call: Call) -> Response:
        return await self._file(call, _XML)

    async def _file(self, call: Call, form: _Form) -> Response:
        """The log file that was asked for.

        :raises ApiError: 404, also where there is no record: such a file is not listed either.
        """
        match = _NAME.fullmatch(call.path["name"])
        log = BY_PREFIX.get(match[1]) if match else None
        if match is None or log is None:
            raise ApiError(404, _NO_SUCH_FILE)
        account = call.submitter.account
        since = await self._day(account, match[2])
        filter = RecordFilter(account.number, frozenset({log.kind}), since, since + _DAY)
        pieces = rendered(self._journal, filter, partial(form.write, log))
        first = await first_of(pieces)
        if first is None:
            raise ApiError(404, _EMPTY)
        return Response(200, form.content_type, _whole(form, form.start(log) + first, pieces))

    async def _day(self, account: Account, text: str) -> float:
        """When a day began that there may be files of.

        :raises ApiError: 404.
        """
        try:
            day = date.fromisoformat(text)
        except ValueError:
            raise ApiError(404, _NO_SUCH_FILE) from None
        if day.toordinal() not in await self._days(account):
            raise ApiError(404, _NO_SUCH_FILE)
        return datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()

    async def _days(self, account: Account) -> range:
        """The days of which events of an account may be kept, as ordinals."""
        first = await self._journal.first_time()
        if first is None:
            return range(0)
        return range(_ordinal(max(first, account.created)), _ordinal(self._clock.time()) + 1)


def _ordinal(time: float) -> int:
    return datetime.fromtimestamp(time, UTC).toordinal()


async def _whole(form: _Form, first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for piece in rest:
        yield form.separator + piece
    if form.end:
        yield form.end
