"""The same request again and again under one key, by many at once and across kills: one message, one answer."""

from __future__ import annotations

import http.client
import json
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from smtpeter.web.uploads import IN_MEMORY
from tests.integration.gateway import wait_for
from tests.integration.rest import ELSEWHERE, Caller, content_files, uploads

AT_ONCE = 50
SIZES = {"small": 10, "another_process": ELSEWHERE, "a_file": IN_MEMORY + 1}


@pytest.fixture(scope="module")
def caller(gateway):
    return Caller(gateway)


def letter(domain, size, **more):
    recipients = [f"a@{domain}", f"b@{domain}"]
    return {"recipients": recipients, "from": "me@example.com", "subject": "x", "text": "y" * size} | more


def send_until_answered(caller, body, key, **how):
    """The answer that is none of those that say to come again."""
    while True:
        answer = caller.send(body, Idempotency_Key=key, **how)
        if answer.status != 503:
            return answer
        assert answer.fields["Retry-After"]
        time.sleep(0.2)


@pytest.mark.parametrize("kind", SIZES)
def test_many_at_once_make_one_message(caller, kind):
    domain = f"{kind.replace('_', '-')}.example"
    body, count = letter(domain, SIZES[kind]), AT_ONCE if kind == "small" else 20
    files = len(content_files(caller.gateway))
    barrier = threading.Barrier(count)

    def send(number):
        barrier.wait(60)
        return send_until_answered(caller, body, domain, chunked=number % 2 == 1)  # by both readers

    with ThreadPoolExecutor(count) as pool:
        answers = list(pool.map(send, range(count)))
    assert {answer.status for answer in answers} == {200}
    assert len({answer.body for answer in answers}) == 1
    assert {row["id"]: row["recipient"] for row in caller.rows(domain)} == answers[0].value
    other = caller.send(letter(domain, SIZES[kind], subject="y"), Idempotency_Key=domain)
    assert other.status == 409 and "Idempotency-Key" in other.value["error"]
    assert len(caller.rows(domain)) == 2
    assert not uploads(caller.gateway)
    wait_for(lambda: len(content_files(caller.gateway)) == files + (kind != "small"))  # of what came again is none


def test_what_was_refused_leaves_its_key_free(caller):
    refused = caller.send(letter("free.example", 1, trackclicks="perhaps"), Idempotency_Key="free")
    assert refused.status == 400
    assert caller.send(letter("free.example", 1), Idempotency_Key="free").status == 200
    assert len(caller.rows("free.example")) == 2


def test_a_key_is_its_accounts(caller):
    other = Caller(caller.gateway, "other@example.com")
    body = letter("accounts.example", 1)
    first, second = (each.send(body, Idempotency_Key="ours") for each in (caller, other))
    assert first.value.keys().isdisjoint(second.value)
    assert [len(each.rows("accounts.example")) for each in (caller, other)] == [2, 2]
    # Of one account all tokens are alike.
    assert Caller(caller.gateway).send(body, Idempotency_Key="ours").body == first.body


@pytest.mark.parametrize("kind", ["small", "a_file"])
def test_to_send_again_happens_once_under_a_key(caller, kind):
    domain = f"again-{kind.replace('_', '-')}.example"
    sent = caller.send(letter(domain, SIZES[kind])).value
    files = len(content_files(caller.gateway))
    first, second = sent
    submission = first.removesuffix("-1")
    barrier = threading.Barrier(20)

    def resend(_):
        barrier.wait(60)
        return caller.ask("POST", "/v1/resend", {"message": submission}, Idempotency_Key=domain)

    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(resend, range(20)))
    assert {answer.status for answer in answers} == {200} and len({answer.body for answer in answers}) == 1
    assert answers[0].value.keys().isdisjoint(sent)
    assert len(caller.rows(domain)) == 4
    for method, path, body in (
        ("POST", "/v1/resend", {"message": second}),
        ("POST", "/v1/send", letter(domain, SIZES[kind])),
    ):
        assert caller.ask(method, path, body, Idempotency_Key=domain).status == 409
    assert len(caller.rows(domain)) == 4
    wait_for(lambda: len(content_files(caller.gateway)) == files + (kind != "small"))


def test_kills_in_the_middle_make_nothing_twice_and_lose_nothing(caller):
    """Each key is one program that asks until it is answered, and asks again when it was."""
    gateway, domain = caller.gateway, "killed.example"
    keys = [f"key-{number}" for number in range(16)]
    answers = {key: [] for key in keys}
    stopping = threading.Event()

    def program(number):
        key = keys[number % len(keys)]
        size = SIZES["small"] if number % len(keys) < 12 else SIZES["another_process" if number % 2 else "a_file"]
        body = letter(domain, size, recipients=[f"{key}@{domain}"])
        while not stopping.is_set():
            try:
                answer = caller.send(body, Idempotency_Key=key)
            except (OSError, http.client.HTTPException):
                time.sleep(0.05)  # it is dead, or died over this
                continue
            assert answer.status in (200, 503), answer
            if answer.status == 200:
                answers[key].append(answer.body)
            time.sleep(0.05)

    with ThreadPoolExecutor(2 * len(keys)) as pool:
        programs = [pool.submit(program, number) for number in range(2 * len(keys))]
        try:
            # The first kill is when hardly any has been answered.
            for wait in (0.1, random.uniform(0.1, 1.0)):
                time.sleep(wait)
                gateway.kill()
                gateway.start()
            wait_for(lambda: all(len(each) >= 2 for each in answers.values()), 60)
        finally:
            stopping.set()
    for each in programs:
        each.result()
    assert all(len(set(each)) == 1 for each in answers.values()), "a request was answered in two ways"
    found = caller.rows(domain)
    assert sorted(row["recipient"].partition("@")[0] for row in found) == sorted(keys)
    assert {row["id"] for row in found} == {id for each in answers.values() for id in json.loads(each[0])}
    assert not uploads(gateway)
