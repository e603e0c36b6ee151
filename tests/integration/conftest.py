"""What several of these tests need alike."""

from __future__ import annotations

import pytest

from tests.integration.gateway import Gateway, free_ports
from tests.integration.receiver import Receiver


@pytest.fixture(scope="module")
def gateway(tmp_path_factory):
    """A server with a login that captures its mail, for all tests of one file."""
    gateway = Gateway(tmp_path_factory.mktemp("gateway"), 'mode = "capture"')
    gateway.login = gateway.add_login()
    gateway.start()
    yield gateway
    gateway.end()


@pytest.fixture
def receiver():
    """A next hop that takes everything and remembers it."""
    receiver = Receiver(*free_ports(1)).start()
    yield receiver
    receiver.stop()
