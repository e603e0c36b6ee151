"""``smtpeter message`` for mail that features have changed."""

from __future__ import annotations

import hashlib

import pytest

from smtpeter.cli.installation import result_of
from smtpeter.mime.convert import convert
from smtpeter.model.delivery import RecipientState, SettledJob, Settlement
from smtpeter.model.event import Event, EventKind
from smtpeter.model.feature import PlacedSlot, Prepared, Slot
from smtpeter.model.submission import Content
from tests.unit.cli.conftest import START

FEATURE = '''
"""Puts the recipient's number, or what the key says, where its slots are."""
from zope.interface import implementer
from smtpeter.api import IFeaturePlugin, IPersonalizingFeature, Option

@implementer(IPersonalizingFeature)
class Numbers:
    def wants(self, options):
        return False

    def values(self, keys, addressee):
        assert "broken" not in keys
        account = "" if addressee.account is None else addressee.account
        return [f"{key}{addressee.number}{addressee.address[0]}{account}" for key in keys]

@implementer(IFeaturePlugin)
class Plugin:
    name, options, after, before = "numbers", (), (), ()

    def configure(self, section, services):
        return Numbers()

plugin = Plugin()
'''
CAME = "Subject: x\r\n\r\nA café.\r\n".encode()


@pytest.fixture
def features(gateway):
    """The same gateway, where a feature is installed."""
    directory = gateway.config.parent / "features"
    directory.mkdir(mode=0o700)
    (directory / "numbers.py").write_text(FEATURE)
    (directory / "numbers.py").chmod(0o600)
    gateway.configure(f'[features]\npaths = ["{directory}"]\n')
    return gateway


def prepare(gateway, *recipients, key="n", length=3, account=None):
    id = gateway.enqueue(*recipients, data=CAME, prepare=True, account=account)
    octets = "Subject: x\r\n\r\nA café for ".encode()
    slots = (PlacedSlot(len(octets), Slot("numbers", key, length)),)
    octets += b"#" * length + b".\r\n"
    content = Content(len(octets), hashlib.sha256(octets).digest(), octets, prepared=True)
    with gateway.open() as store:
        (unprepared,) = result_of(store.queue.claim_incoming(10, START + 1, START + 60))
        assert result_of(store.queue.store_prepared([Prepared(id, unprepared.attempt, content, slots, {})])) == 1
    return id


def deliver(gateway, data, later=5e9):
    """Settle all that is due, now that it is prepared, as delivered with an event that tells this."""
    with gateway.open() as store:
        lanes, _ = result_of(store.queue.due_lanes(later, 10))
        (job,) = result_of(store.queue.claim_due([(lane, 10) for lane in lanes], later, later + 100))
        event = Event(EventKind.DELIVERY, later, data)
        settlements = tuple(Settlement(each.number, RecipientState.DELIVERED, 1, 0, event) for each in job.recipients)
        assert result_of(store.queue.settle([SettledJob(job.submission, job.lease, settlements)])) == len(settlements)


def test_raw_gives_each_recipient_his_own_copy(features):
    id = prepare(features, "x@example.net", "y@example.org")
    assert features.run("message", "raw", f"{id}-1").stdout_bytes == "Subject: x\r\n\r\nA café for n1x.\r\n".encode()
    assert features.run("message", "raw", f"{id}-2").stdout_bytes == "Subject: x\r\n\r\nA café for n2y.\r\n".encode()
    # What all of them have in common.
    assert features.run("message", "raw", id).stdout_bytes == "Subject: x\r\n\r\nA café for ###.\r\n".encode()


def test_raw_by_the_id_of_a_submission_with_one_recipient(features):
    account = features.add_account().number
    id = prepare(features, "x@example.net", length=3 + len(str(account)), account=account)
    assert features.run("message", "raw", id).stdout_bytes == f"Subject: x\r\n\r\nA café for n1x{account}.\r\n".encode()


def test_raw_gives_the_form_that_went(features):
    id = prepare(features, "x@example.net")
    deliver(features, {"state": "end", "converted": "7bit"})
    filled = "Subject: x\r\n\r\nA café for n1x.\r\n".encode()
    assert features.run("message", "raw", id).stdout_bytes == convert(filled, eight_bit=False)


def test_before_it_is_prepared_raw_gives_what_came_in(features):
    id = features.enqueue("x@example.net", data=CAME, prepare=True)
    assert features.run("message", "raw", id).stdout_bytes == CAME


def test_what_went_as_it_came_needs_no_feature(gateway):
    id = gateway.enqueue("x@example.net", data=CAME, prepare=True)
    with gateway.open() as store:
        (unprepared,) = result_of(store.queue.claim_incoming(10, START + 1, START + 60))
        assert result_of(store.queue.store_prepared([Prepared(id, unprepared.attempt, None, (), {})])) == 1
    assert gateway.run("message", "raw", id).stdout_bytes == CAME


def test_a_feature_that_is_gone_or_fails_is_said_in_one_line(features):
    gone = prepare(features, "x@example.net", key="broken")
    assert "The feature numbers, which this message needs, failed" in features.refused("message", "raw", gone)
    features.configure()
    assert "The feature numbers, which this message needs, is not there" in features.refused("message", "raw", gone)


def test_show_tells_the_reverse_path_that_the_submitter_gave(features):
    id = prepare(features, "x@example.net")
    assert features.json("message", "show", id)["envelope"] == "ann@example.com"
