import socket

import pytest

from smtpeter.systemd import tell_systemd


@pytest.fixture(params=["path", "abstract"])
def listening(request, tmp_path):
    """A socket as systemd has it, and the name that it gives."""
    name = str(tmp_path / "notify") if request.param == "path" else f"@smtpeter-test-{id(tmp_path)}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(name.replace("@", "\0"))
        listening.settimeout(5)
        yield listening, name


def test_the_state_is_one_datagram(listening):
    out, name = listening
    tell_systemd("READY=1", {"NOTIFY_SOCKET": name})
    assert out.recv(100) == b"READY=1"


@pytest.mark.parametrize("environment", [{}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "vsock:2:1234"}])
def test_nobody_asked(environment, monkeypatch):
    monkeypatch.setattr(socket, "socket", None)
    tell_systemd("READY=1", environment)


def test_whoever_asked_has_gone(tmp_path):
    tell_systemd("READY=1", {"NOTIFY_SOCKET": str(tmp_path / "gone")})
