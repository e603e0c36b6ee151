"""A peer: aiosmtpd that makes each message durable as a file of its own before it says 250.

python bench/aiosmtpd_server.py PORT DIRECTORY CERTIFICATE PRIVATE_KEY USER PASSWORD
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import ssl
import sys
import warnings
from pathlib import Path

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session


class Keeper:
    """Writes, syncs and renames a file for each message, and syncs its directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._numbers = itertools.count()

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        number = next(self._numbers)
        temporary, path = self._directory / f"{number}.tmp", self._directory / f"{number}"
        with temporary.open("wb") as file:
            file.write(envelope.original_content or b"")
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(path)
        descriptor = os.open(self._directory, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)
        return f"250 2.0.0 Ok, queued as {number}"


async def serve(port: int, directory: Path, certificate: str, key: str, user: str, password: str) -> None:
    """Serve for ever."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    keeper = Keeper(directory)

    def check(server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: LoginPassword) -> AuthResult:
        return AuthResult(success=data.login == user.encode() and data.password == password.encode())

    def make() -> SMTP:
        return SMTP(
            keeper, hostname="localhost", authenticator=check, auth_required=True, auth_require_tls=False,
            loop=asyncio.get_running_loop(),
        )  # fmt: skip

    server = await asyncio.get_running_loop().create_server(make, "127.0.0.1", port, ssl=context)
    await server.serve_forever()


if __name__ == "__main__":
    logging.disable()
    warnings.simplefilter("ignore")
    asyncio.run(serve(int(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:7]))
