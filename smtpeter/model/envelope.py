"""What stands around a message: RFC 5321 section 2.3.1, with the parameters of RFC 3461, 6152 and 6531."""

from __future__ import annotations

from typing import NamedTuple

NULL_PATH = ""


class Recipient(NamedTuple):
    """One forward-path and what its sender wants to hear of it.

    ``address`` is the mailbox as it goes on the wire, without angle brackets.  ``domain`` is the key of the queue:
    lower case, A-labels.  ``notify`` is ``"NEVER"`` or a comma list of SUCCESS, FAILURE and DELAY, in that order, or
    None; ``orcpt`` is ``type;xtext`` as it was given, or None.
    """

    address: str
    domain: str
    notify: str | None = None
    orcpt: str | None = None


class Envelope(NamedTuple):
    """A reverse-path (empty: the null path) and its recipients.

    ``body`` is ``"7BIT"`` or ``"8BITMIME"``; ``ret`` is ``"FULL"``, ``"HDRS"`` or None; ``envid`` is xtext as given.
    """

    reverse_path: str
    recipients: tuple[Recipient, ...]
    body: str = "7BIT"
    smtputf8: bool = False
    ret: str | None = None
    envid: str | None = None
