"""What logins tell by their time, and what a flood of guesses costs others: ``python -m tests.campaigns.timing``.

A real server is started in a temporary directory.  Clients come from many addresses of 127.0.0.0/8, so that what is
measured is the answer and not the delay that guesses from one address earn.  The exit code is 1 where known and unknown
names differ by 1 % or more of the median with p below 0.01.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import multiprocessing
import os
import random
import smtplib
import socket
import ssl
import statistics
import sys
import tempfile
import time
from base64 import b64encode
from pathlib import Path

from smtpeter.auth.keys import load_or_create
from smtpeter.auth.secrets import hash_password, make_login
from smtpeter.clock import WallClock
from smtpeter.model.account import AccountState, CredentialKind
from smtpeter.store.opening import open_for_command, result_of
from tests.integration.gateway import Gateway

PER_NAME = 4  # guesses at each name: below what earns a delay
MESSAGE = b"Subject: measured\r\n\r\nhello\r\n"


def addresses(first):
    """Client addresses, each of which is used for few guesses only."""
    return (f"127.{first + n // 65536}.{n // 256 % 256}.{n % 256}" for n in itertools.count(1))


def guess(username):
    return b"AUTH PLAIN " + b64encode(f"\0{username}\0wrong password".encode()) + b"\r\n"


def trusting():
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def make_people(gateway, logins, accounts):
    """Many logins and accounts, made as the command makes them, but in one go."""
    data = gateway.directory / "data"
    keys = load_or_create(data / "keys.toml", create=False)
    store = open_for_command(f"sqlite://{data / 'smtpeter.db'}", data, WallClock())
    try:
        names = []
        for _ in range(logins):
            made = make_login(keys)
            names.append(made.public)
            result_of(
                store.accounts.add_credential(
                    CredentialKind.LOGIN, "owner@example.com", made.public, made.secret_hash, made.key_id, "", ()
                )
            )
        people = [f"person{number}@example.com" for number in range(accounts)]
        password_hash = hash_password("right")
        for email in people:
            result_of(store.accounts.add_account(email, "", False, AccountState.APPROVED, password_hash))
    finally:
        store.close()
    return names, people


def measure(port, names, address_of):
    """Seconds from each guess to its answer."""
    context = trusting()
    seconds = {name: [] for name in names}
    order = [name for name in names for _ in range(PER_NAME)]
    random.shuffle(order)
    for start in range(0, len(order), 2):
        with contextlib.ExitStack() as stack:
            plain = stack.enter_context(
                socket.create_connection(("127.0.0.1", port), 60, source_address=(next(address_of), 0))
            )
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection = stack.enter_context(context.wrap_socket(plain))
            stream = connection.makefile("rb")
            stream.readline()
            connection.sendall(b"EHLO c\r\n")
            while stream.readline()[3:4] == b"-":
                pass
            for name in order[start : start + 2]:
                began = time.perf_counter()
                connection.sendall(guess(name))
                reply = stream.readline()
                seconds[name].append(time.perf_counter() - began)
                assert reply.startswith(b"535 5.7.8 "), reply
    return seconds


def compare(what, port, known, unknown, address_of):
    """Whether known and unknown names cannot be told apart."""
    seconds = measure(port, [*known, *unknown], address_of)
    ours, others = ([value for name in names for value in seconds[name]] for names in (known, unknown))
    median, other = statistics.median(ours), statistics.median(others)
    difference = abs(median - other) / other
    spread = (statistics.variance(ours) / len(ours) + statistics.variance(others) / len(others)) ** 0.5
    t = (statistics.fmean(ours) - statistics.fmean(others)) / spread
    p = 2 * (1 - statistics.NormalDist().cdf(abs(t)))
    print(
        f"{what}: {len(ours)} + {len(others)} guesses, "
        f"median {median * 1e3:.3f} ms known, {other * 1e3:.3f} ms unknown, "
        f"difference {difference:.3%}, p = {p:.3f}",
        flush=True,
    )
    return difference < 0.01 or p > 0.01


async def flood(port, name_of, rate, counts):
    """Guesses without end, ``rate`` a second or as many as the server lets through."""
    context, address_of = trusting(), addresses(100)
    pool = [next(address_of) for _ in range(200)]

    async def attack(address):
        while True:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, ConnectionError):
                reader, writer = await asyncio.open_connection(
                    "127.0.0.1", port, ssl=context, local_addr=(address, 0), ssl_shutdown_timeout=1
                )
                try:
                    await reader.readline()
                    writer.write(b"EHLO c\r\n")
                    while (await reader.readline())[3:4] == b"-":
                        pass
                    while True:
                        writer.write(guess(name_of()))
                        reply = await reader.readline()
                        counts[{b"535": 0, b"454": 1}.get(reply[:3], 2)] += 1
                        if not reply or reply.startswith(b"421"):
                            break
                        await asyncio.sleep(len(pool) * 2 / rate)
                finally:
                    writer.close()
            await asyncio.sleep(0.1)

    await asyncio.gather(*(attack(address) for address in pool * 2))


def run_flood(port, names, rate, counts):
    os.nice(19)  # the attacker's own work is not to be measured
    asyncio.run(flood(port, lambda: random.choice(names), rate, counts))


def send_for(gateway, seconds):
    """How long each message of a valid sender takes, sent one after the other, and how long its logins do."""
    messages, logins = [], []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        began = time.perf_counter()
        client = smtplib.SMTP_SSL("localhost", gateway.smtps, timeout=60, context=trusting())
        client.ehlo()
        client.login(*gateway.login)
        logins.append(time.perf_counter() - began)
        for _ in range(50):
            began = time.perf_counter()
            client.sendmail("a@example.com", ["b@example.net"], MESSAGE)
            messages.append(time.perf_counter() - began)
        client.quit()
    return messages, logins


def show(what, messages, logins):
    ordered = sorted(messages)
    print(
        f"{what}: {len(messages)} messages, median {statistics.median(ordered) * 1e3:.2f} ms, "
        f"p99 {ordered[len(ordered) * 99 // 100] * 1e3:.2f} ms; login median {statistics.median(logins) * 1e3:.1f} ms, "
        f"longest {max(logins) * 1e3:.1f} ms",
        flush=True,
    )


def watch_flood(gateway, what, names, rate, seconds):
    counts = multiprocessing.Array("q", 3)
    attacker = multiprocessing.Process(target=run_flood, args=(gateway.smtps, names, rate, counts))
    attacker.start()
    time.sleep(2)
    before = list(counts)
    messages, logins = send_for(gateway, seconds)
    answered = [(after - earlier) / seconds for after, earlier in zip(counts, before, strict=True)]
    attacker.kill()
    attacker.join()
    show(what, messages, logins)
    print(f"    a second: {answered[0]:.0f} guesses answered 535, {answered[1]:.0f} 454, {answered[2]:.0f} other")


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--samples", type=int, default=10_000, help="guesses at generated logins, of each kind")
    parser.add_argument("--people", type=int, default=400, help="guesses at people's passwords, of each kind")
    parser.add_argument("--rate", type=int, default=1000, help="guesses a second of the flood")
    parser.add_argument("--seconds", type=int, default=10, help="how long each flood lasts")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        gateway = Gateway(Path(directory), 'mode = "capture"')
        gateway.login = gateway.add_login()
        names, people = make_people(gateway, options.samples // PER_NAME, options.people // PER_NAME)
        address_of = addresses(1)
        try:
            gateway.start()
            nobody = [f"nobody{number:06d}" for number in range(len(names))]
            same = compare("generated logins", gateway.smtps, names, nobody, address_of)
            strangers = [f"stranger{number}@example.com" for number in range(len(people))]
            same &= compare("people", gateway.smtps, people, strangers, address_of)
            show("without a flood", *send_for(gateway, options.seconds))
            watch_flood(gateway, "with guesses at logins", names + nobody, options.rate, options.seconds)
            watch_flood(gateway, "with guesses at people", people + strangers, options.rate, options.seconds)
        finally:
            gateway.end()
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
