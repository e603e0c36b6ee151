"""What a sick disk, bad clients and hard times do to the REST API of a real server."""

from __future__ import annotations

import json
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.client import HTTPConnection

import pytest

from smtpeter.web.rest.carrier import longest_body
from smtpeter.web.uploads import IN_MEMORY
from tests.integration.gateway import Gateway, wait_for
from tests.integration.rest import ELSEWHERE, Caller, content_files, uploads
from tests.integration.strace import injected
from tests.integration.test_disk_faults import Volume, lock
from tests.integration.tools import tool

SIZES = (10, ELSEWHERE, IN_MEMORY + 1)
SMALL_SIZE = 2_000_000


def letter(size=10, **more):
    return {"recipient": "joe@example.net", "from": "me@example.com", "text": "x" * size} | more


def assert_temporary(answer):
    assert answer.status == 503, answer
    assert int(answer.fields["Retry-After"]) > 0 and answer.value["error"]


def ids(caller):
    return {row["id"] for row in caller.ask("GET", "/v1/messages?limit=1000").value["messages"]}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory):
    """A server that takes messages of two megabytes."""
    gateway = Gateway(
        tmp_path_factory.mktemp("gateway"),
        'mode = "capture"',
        f'[limits]\nmessage_size = {SMALL_SIZE}\n[web]\ntrusted_proxies = ["127.0.0.2"]',
    )
    gateway.start()
    yield gateway
    gateway.end()


@pytest.fixture(scope="module")
def caller(gateway):
    return Caller(gateway)


# --- storage ---


@pytest.mark.parametrize("fault", ["pwrite64:error=ENOSPC", "pwrite64:error=EIO", "fsync:error=EIO"])
def test_a_sick_disk_is_for_another_time_and_nothing_is_half_done(caller, fault):
    gateway = caller.gateway
    assert [caller.send(letter(size)).status for size in SIZES] == [200] * 3
    before, files = ids(caller), len(content_files(gateway))
    with injected(gateway.process.pid, fault):
        for size in SIZES if fault.startswith("pwrite64") else SIZES[1:]:
            assert_temporary(caller.send(letter(size), Idempotency_Key=f"{fault} {size}"))
    for size in SIZES:
        answer = wait_for(lambda size=size: success(caller.send(letter(size), Idempotency_Key=f"{fault} {size}")))
        before |= answer.value.keys()
    assert ids(caller) == before
    assert not uploads(gateway)
    wait_for(lambda: len(content_files(gateway)) == files + 2)


def success(answer):
    return answer if answer.status == 200 else None


def test_a_locked_database_is_waited_for_and_then_refused(caller):
    before = ids(caller)
    process = lock(caller.gateway, 1)
    before |= caller.send(letter()).value.keys()
    process.communicate(timeout=20)
    process = lock(caller.gateway, 30)
    try:
        with ThreadPoolExecutor(3) as pool:
            for answer in pool.map(lambda size: caller.send(letter(size)), SIZES):
                assert_temporary(answer)
    finally:
        process.kill()
        process.communicate()
    answer = wait_for(lambda: success(caller.send(letter())))
    assert ids(caller) == before | answer.value.keys()
    assert not uploads(caller.gateway)


def test_a_full_volume_refuses_and_goes_on_by_itself(tmp_path):
    volume = Volume(tmp_path / "gateway" / "data", "48m")
    gateway = Gateway(tmp_path / "gateway", 'mode = "capture"', '[limits]\nfree_space = "1"')
    try:
        gateway.start()
        caller = Caller(gateway)
        kept = {id for size in SIZES for id in caller.send(letter(size)).value}
        volume.fill(leave=100_000)
        # There is no room for what is uploaded, nor for what is handed to another process.
        for size in (IN_MEMORY * 4, ELSEWHERE):
            assert_temporary(caller.send(letter(size)))
            assert not uploads(gateway)
        volume.fill()
        wait_for(lambda: gateway.health() == 503)
        assert_temporary(caller.send(letter()))
        volume.make_room()
        for size in SIZES:
            kept |= wait_for(lambda size=size: success(caller.send(letter(size)))).value.keys()
        gateway.kill()
        gateway.start()
        assert ids(caller) == kept
        assert not uploads(gateway)
    finally:
        gateway.end()
        volume.unmount()


# --- what is too large, too slow, or goes away ---


@pytest.mark.parametrize("chunked", [False, True])
def test_what_is_too_large_is_told_while_it_still_comes(caller, chunked):
    """A client that writes all of it before it reads gets to read the answer."""
    body = b'{"text": "' + b"x" * (longest_body(SMALL_SIZE) + 3_000_000)
    answer = caller.send(body, chunked=chunked)
    assert answer.status == 413 and str(longest_body(SMALL_SIZE)) in answer.value["error"]
    assert answer.fields["Connection"] == "close"
    assert not uploads(caller.gateway)


@pytest.mark.parametrize("options", [[], ["-H", "Transfer-Encoding: chunked"], ["-H", "Expect:"]])
def test_curl_reads_that_it_sent_too_much(caller, tmp_path, options):
    file = tmp_path / "body"
    file.write_bytes(b"x" * (longest_body(SMALL_SIZE) + 3_000_000))
    gateway = caller.gateway
    command = [
        tool("curl"), "-s", "--http1.1", "--cacert", gateway.directory / "data/tls/ca.pem", "-w", "\n%{http_code}",
        "-H", "Content-Type: application/json", "--data-binary", f"@{file}", *options,
        f"https://localhost:{gateway.https}/v1/send?access_token={caller.token}",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, timeout=60, text=True)
    body, _, status = done.stdout.rpartition("\n")
    assert status == "413", done
    assert "too large" in json.loads(body)["error"]
    assert not uploads(gateway)


def head_of(caller, body, *fields):
    lines = [
        f"POST /v1/send?access_token={caller.token} HTTP/1.1",
        "Host: localhost",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        *fields,
    ]
    return "\r\n".join([*lines, "", ""]).encode()


def test_who_goes_away_in_the_middle_leaves_nothing(caller):
    before = ids(caller)
    body = json.dumps(letter(IN_MEMORY + 100_000)).encode()
    for abort in (False, True):
        with closing(caller.open()) as connection:
            connection.sendall(head_of(caller, body) + body[:-1])
            wait_for(lambda: uploads(caller.gateway))
            if abort:
                connection.setsockopt(1, 13, b"\1\0\0\0\0\0\0\0")  # SO_LINGER: RST
            else:
                connection.shutdown(2)
        wait_for(lambda: not uploads(caller.gateway))
    assert ids(caller) == before


def test_who_does_not_wait_for_the_answer_may_ask_again_under_his_key(caller):
    body = json.dumps(letter(IN_MEMORY, subject="gone")).encode()
    with closing(caller.open()) as connection:
        connection.sendall(head_of(caller, body, "Idempotency-Key: gone") + body)
    answer = wait_for(lambda: success(caller.send(body, Idempotency_Key="gone")))
    listed = caller.ask("GET", "/v1/messages?limit=1000").value["messages"]
    found = [row["id"] for row in listed if row["subject"] == "gone"]
    assert found == list(answer.value)
    assert not uploads(caller.gateway)


# --- the server ends ---


def test_what_a_killed_server_left_is_removed_when_it_starts(caller):
    gateway = caller.gateway
    before = ids(caller)
    body = json.dumps(letter(IN_MEMORY + 100_000)).encode()
    with closing(caller.open()) as connection:
        connection.sendall(head_of(caller, body) + body[:-1])
        wait_for(lambda: uploads(gateway))
        gateway.kill()
    assert uploads(gateway)
    (gateway.directory / "data" / "uploads" / "1.upload.composed").write_bytes(b"x")
    gateway.start()
    assert not uploads(gateway)
    assert ids(caller) == before


@pytest.mark.parametrize("size", SIZES)
def test_a_request_under_way_is_answered_before_the_server_ends(caller, size):
    gateway = caller.gateway
    before = ids(caller)
    caller.send(letter(size))
    process = lock(gateway, 1)
    try:
        with ThreadPoolExecutor(1) as pool:
            asked = pool.submit(caller.send, letter(size))
            time.sleep(0.5)
            gateway.stop()
            answer = asked.result()
    finally:
        process.communicate(timeout=20)
        gateway.start()
    assert answer.status in (200, 503), answer
    found = ids(caller) - before
    assert len(found) == (2 if answer.status == 200 else 1)
    assert answer.status == 503 or answer.value.keys() <= found
    assert not uploads(gateway)


# --- who may ---


def status_of(caller, method="GET", path="/v1/messages", body=None, **more):
    return caller.ask(method, path, body, **more).status


def test_a_revoked_token_ends_within_a_second_on_open_connections_too(caller):
    other = Caller(caller.gateway)
    with closing(other.connect()) as lean, closing(other.connect()) as full:
        assert status_of(other, "POST", "/v1/send", letter(), connection=lean) == 200
        assert status_of(other, connection=full) == 200
        caller.gateway.run("token", "revoke", other.token)
        wait_for(lambda: status_of(other, connection=full) == 401, 3)
        answer = other.send(letter(), connection=lean)
        assert answer.status == 401 and "revoked" in answer.value["error"]
        assert answer.fields["WWW-Authenticate"].startswith("Bearer")
    assert status_of(caller) == 200


def test_a_suspended_account_may_nothing_and_may_again_when_it_is_approved(caller):
    other = Caller(caller.gateway, "suspended@example.com")
    assert other.send(letter()).status == 200
    caller.gateway.run("account", "suspend", "suspended@example.com")
    wait_for(lambda: status_of(other) in (401, 403), 3)
    assert other.send(letter()).status in (401, 403)
    caller.gateway.run("account", "approve", "suspended@example.com")
    wait_for(lambda: status_of(other) == 200, 30)


def test_a_pending_account_reads_and_is_told_whom_to_ask(caller):
    gateway = caller.gateway
    gateway.run("account", "add", "pending@example.com", "--pending")
    other = Caller(gateway, "pending@example.com")
    assert status_of(other) == 200
    for size in SIZES:
        answer = other.send(letter(size))
        assert answer.status == 403 and "not approved" in answer.value["error"] and "ask" in answer.value["error"]
    assert ids(other) == set() and not uploads(gateway)
    gateway.run("account", "approve", "pending@example.com")
    wait_for(lambda: other.send(letter()).status == 200, 3)


@pytest.mark.parametrize("chunked", [False, True])  # both readers
def test_in_clear_only_through_a_trusted_proxy(caller, chunked):
    def status(source, **fields):
        connection = HTTPConnection("localhost", caller.gateway.http, timeout=30, source_address=(source, 0))
        with closing(connection):
            answer = caller.send(letter(), connection=connection, chunked=chunked, **fields)
            if answer.status != 200:
                assert "HTTPS" in answer.value["error"]
            return answer.status

    assert status("127.0.0.2", X_Forwarded_Proto="https", X_Forwarded_For="192.0.2.1") == 200
    assert status("127.0.0.2", X_Forwarded_Proto="http", X_Forwarded_For="192.0.2.1") == 400
    assert status("127.0.0.2") == 400
    assert status("127.0.0.1", X_Forwarded_Proto="https", X_Forwarded_For="192.0.2.1") == 400


def test_ids_of_others_are_not_there(caller):
    other = Caller(caller.gateway, "somebody@example.com")
    (id,) = caller.send(letter()).value
    asked = [
        ("GET", f"/v1/messages/{id}", None),
        ("GET", f"/v1/raw/{id}", None),
        ("POST", "/v1/resend", {"message": id}),
        ("DELETE", f"/v1/message/{id}", None),
    ]
    for method, path, body in asked:
        unknown = json.loads(json.dumps([path, body]).replace(id, id[:-4] + "0000"))
        theirs, nobodys = other.ask(method, path, body), other.ask(method, unknown[0], unknown[1])
        assert theirs.status == nobodys.status == 404
        assert theirs.body == nobodys.body
    assert ids(other) == set()
