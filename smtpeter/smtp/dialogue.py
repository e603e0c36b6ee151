"""What was said on a connection, with times, for those who look into an attempt.

A line is ``14 < 250 2.1.0 Ok``: milliseconds, who speaks (``>`` we, ``<`` the receiver, ``-``: a remark of ours) and
what was said, cut to LINE_LIMIT octets.  Time is counted from when the transaction began; for the first of a connection
and what came before it, from when the connection did.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from smtpeter.model.reply import Reply

LINE_LIMIT = 500  # octets of one command or reply
OPENING_LIMIT = 3000  # octets; with the lines of one transaction there are never more than 8 KB
_SHORT = LINE_LIMIT // 4  # characters that fit, whatever they are

# What of a receiver's offers makes a difference to us.
_KEYWORDS = frozenset(("8BITMIME", "AUTH", "DSN", "LIMITS", "PIPELINING", "SIZE", "SMTPUTF8", "STARTTLS"))


class Dialogue:
    """The opening of a connection, and the transaction that is under way.

    Nothing is put into words before it is asked for, and what all recipients share only once.  ``seconds`` is a clock
    that never goes back; ``secrets`` are never shown.
    """

    def __init__(self, seconds: Callable[[], float], secrets: Sequence[str] = ()) -> None:
        self._seconds = seconds
        self._secrets = secrets
        self._opened = self._began = self._now = seconds()
        self._opening = ""  # once a transaction has begun
        self._greeting = ""
        self._lines: list[str] = []  # of the opening; in a transaction, what follows the answers to its group
        self._group: Sequence[bytes] = ()
        self._first = 0
        self._at_once = False
        self._sent: list[float] = []
        self._owed = 0  # answers to the group
        self._answers: list[tuple[float, Reply]] = []

    # --- while it goes on ---

    def look(self) -> None:
        """Look at the clock: what is told next happens now."""
        self._now = self._seconds()

    def said(self, text: str) -> None:
        """We said this, which is not of a group."""
        self._lines.append(f"\n{self._time(self._now)} > {_cut(text)}")

    def remark(self, text: str) -> None:
        """Something happened that nobody said."""
        self._lines.append(f"\n{self._time(self._now)} - {_cut(mask(text, self._secrets))}")

    def heard(self, reply: Reply) -> None:
        """The receiver said this."""
        if self._owed:
            self._owed -= 1
            self._answers.append((self._now, reply))
            return
        if not self._greeting:
            self._greeting = _cut(mask(str(reply), self._secrets))
        self._lines.append(self._told(self._now, reply))

    def begin(self, group: Sequence[bytes], first: int, at_once: bool) -> None:
        """A transaction begins.  Its ``group`` are MAIL, RCPTs and DATA (and perhaps RSET), ``first`` is where the
        RCPTs begin; ``at_once``: all were said now, and not one by one (:meth:`asked`)."""
        self._now = self._seconds()
        if self._opening:
            self._began = self._now
            age = int(self._now - self._opened)
            self._opening = f"0 - connection used again, opened {age} s before: {self._greeting}"
        else:
            self._opening = self.of_opening()
        self._group, self._first, self._at_once = group, first, at_once
        self._sent = [self._now] * len(group) if at_once else []
        self._owed = len(group)
        self._answers = []
        self._lines = []

    def asked(self) -> None:
        """The next command of the group was said."""
        self._sent.append(self._now)

    # --- in words ---

    def of_opening(self) -> str:
        """What was said before any transaction; within one, what of that is told again."""
        if self._opening:
            return self._opening
        text, size = "", 0
        for line in self._lines:
            size += len(line.encode("utf-8", "replace"))
            if size > OPENING_LIMIT:
                return text[1:] + f"\n{self._time(self._now)} - more that is left out"
            text += line
        return text[1:]

    def of_recipients(self) -> list[str]:
        """What of the transaction concerns each RCPT's recipient, in their order."""
        if not self._group:
            return []
        group, first, began = self._group, self._first, self._began
        asked = [
            f"\n{int((at - began) * 1000)} > {line[:-2].decode() if len(line) <= _SHORT else _cut(line[:-2].decode())}"
            for at, line in zip(self._sent, group, strict=False)
        ]
        told = [self._told(at, reply) for at, reply in self._answers]
        for lines in (asked, told):
            if len(lines) < len(group):
                lines += [""] * (len(group) - len(lines))
        head, tail = self._opening, told[-1] + "".join(self._lines)
        if self._at_once:
            head += "".join(asked[:first])
            middle = asked[-1] + "".join(told[:first])
        else:
            head += "".join(map(str.__add__, asked[:first], told[:first]))
            middle, tail = "", asked[-1] + tail
        return [f"{head}{asked[at]}{middle}{told[at]}{tail}" for at in range(first, len(group) - 1)]

    def _time(self, at: float) -> int:
        return int((at - self._began) * 1000)

    def _told(self, at: float, reply: Reply) -> str:
        code, enhanced, text = reply
        if self._secrets:
            text = mask(text, self._secrets)
        time = int((at - self._began) * 1000)
        if len(text) <= _SHORT and "\n" not in text:
            return f"\n{time} < {code} {enhanced} {text}" if enhanced else f"\n{time} < {code} {text}"
        return self._told_in_lines(f"\n{time} < {code}", enhanced, text)

    def _told_in_lines(self, lead: str, enhanced: str, text: str) -> str:
        """As many whole lines as may be; of EHLO's, those that make a difference."""
        first, *lines = text.split("\n")
        if not self._opening and lead.endswith(" 250"):
            lines = [line for line in lines if line.strip().upper().replace("=", " ").split(" ")[0] in _KEYWORDS]
        told: list[str] = []
        room = LINE_LIMIT
        for line in (first, *lines):
            line = f"{enhanced} {line}" if enhanced else line
            room -= len(line.encode("utf-8", "replace")) + len(lead)
            if room < 0 and told:
                told.append("...")
                break
            told.append(_cut(line))
        return "".join(f"{lead}-{line}" for line in told[:-1]) + f"{lead} {told[-1]}"


def mask(text: str, secrets: Sequence[str]) -> str:
    """The text without the secrets in it."""
    for secret in secrets:
        text = text.replace(secret, "***")
    return text


def _cut(text: str) -> str:
    if len(text) <= _SHORT:
        return text
    octets = text.encode("utf-8", "replace")
    if len(octets) <= LINE_LIMIT:
        return text
    return octets[: LINE_LIMIT - 3].decode("utf-8", "ignore") + "..."
