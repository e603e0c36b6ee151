"""Telling systemd how we are: ``Type=notify``, see sd_notify(3)."""

from __future__ import annotations

import socket
from collections.abc import Mapping


def tell_systemd(state: str, environment: Mapping[str, str]) -> None:
    """Send ``state``, such as ``READY=1``, to whoever asked for it by ``NOTIFY_SOCKET``; nobody may have."""
    address = environment.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    if address.startswith("@"):  # an abstract name, as Linux has it
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as out:
            out.sendto(state.encode("ascii"), address)
    except OSError:
        pass  # whoever asked has gone, or will notice by its own timeout; no reason not to serve mail
