"""What a client says before it could have read our greeting (RFC 5321 section 4.3.1)."""

from __future__ import annotations

from socket import MSG_DONTWAIT, MSG_PEEK
from typing import Any


def heard_early(transport: Any) -> bytes:
    """The beginning of what has come in on a new TCP connection; it stays where it is.

    Without this look nothing would be known of it: a transport reads only after its protocol has greeted.
    """
    try:
        return bytes(transport.getHandle().recv(16, MSG_PEEK | MSG_DONTWAIT))
    except (AttributeError, OSError):
        return b""
