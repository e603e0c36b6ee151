"""Messages that a door has as a whole: taken as with SMTP."""

from __future__ import annotations

import hashlib

import pytest
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from zope.interface import implementer
from zope.interface.verify import verifyObject

from smtpeter.errors import IdempotencyConflict, Refusal, StorageFull, StorageUnavailable
from smtpeter.features.catalog import Catalog, Installed
from smtpeter.features.options import OptionTable
from smtpeter.intake.features import FeatureIntake
from smtpeter.intake.gate import BEHIND, FULL, Backlog
from smtpeter.intake.heading import HeaderRoom
from smtpeter.intake.message import MessagePolicy
from smtpeter.intake.whole import AGAIN, TURN, WholeIntake, WholeLimits
from smtpeter.interfaces import ICheckingFeature, IMessageIntake, IPreparingFeature
from smtpeter.model.envelope import Envelope, Recipient
from smtpeter.model.feature import FailurePolicy, Option
from smtpeter.model.ids import parse_id
from smtpeter.model.submission import Content, Idempotency, Submission, Taken, WholeMessage
from tests.fakes.intake import FakeContentStore, FakeIntake, FakeSubmitter, FixedClock

NOW = FixedClock.now
LATER = "2023-12-01 00:00:00"
OPTIONS = OptionTable((Option("track", "tracks", aliases=("tracking",)), Option("check", "checks")))
HELLO = b"Message-ID: <m@x>\r\nDate: today\r\nSubject: hi\r\n\r\nhello\r\n"


class FakeGate:
    refusal = None


class FakeKeys:
    """As much of a queue as tells what was taken under keys.  ``known`` is that, or the error, by key."""

    def __init__(self):
        self.known = {}
        self.asked = []

    def taken(self, account, idempotency, recipients, now):
        self.asked.append((account, idempotency, tuple(each.address for each in recipients), now))
        known = self.known.get(idempotency.key)
        return fail(known) if isinstance(known, Exception) else succeed(known)


@implementer(IPreparingFeature)
class Track:
    on_failure = FailurePolicy.SEND

    def wants(self, options):
        return options.get("track") == "true"

    def prepare(self, message, context):
        raise AssertionError("not here")


@implementer(ICheckingFeature)
class Check:
    def __init__(self):
        self.seen = []

    def wants(self, options):
        return options.get("check") == "true"

    def check(self, summary, options):
        self.seen.append(summary)
        raise Refusal(554, "5.7.1", "not this one")


class Door:
    """A door that has whole messages, and all that stands behind it."""

    def __init__(self, size=10_000_000, recipients=1000):
        self.gate = FakeGate()
        self.intake = FakeIntake()
        self.keys = FakeKeys()
        self.content = FakeContentStore()
        self.timers = Clock()
        self.submitter = FakeSubmitter()
        self.backlog = Backlog(60.0)
        self.check = Check()
        catalog = Catalog([Installed("f", None, each, None) for each in (Track(), self.check)], OPTIONS)
        self.whole = WholeIntake(
            intake=self.intake,
            queue=self.keys,
            content=self.content,
            gate=self.gate,
            clock=FixedClock(),
            timers=self.timers,
            policy=MessagePolicy("mx.test", 100_000, 3, 3600.0, FeatureIntake(catalog, self.backlog)),
            limits=WholeLimits(size, recipients),
            header_room=HeaderRoom(),
        )

    def hand_over(self, *pieces, to=("a@y.test",), envelope=None, client="192.0.2.1", idempotency=None, **options):
        envelope = envelope or envelope_to(*to)
        message = WholeMessage(envelope, pieces or (HELLO,), options, client, idempotency)
        return self.whole.take(message, self.submitter)

    def begin(self, *pieces, **how):
        return begun(self.hand_over(*pieces, **how))

    def take(self, *pieces, **how):
        results = self.begin(*pieces, **how)
        while not results:
            assert self.timers.getDelayedCalls()
            self.timers.advance(0)
        return result_of(results)

    def taken(self, *pieces, **how):
        """The submission."""
        self.take(*pieces, **how)
        return self.intake.submissions[-1]

    def refusal(self, *pieces, **how):
        with pytest.raises(Refusal) as raised:
            self.take(*pieces, **how)
        assert self.intake.submissions == []
        assert all(spool.aborted for spool in self.content.spools)
        return str(raised.value.reply)


def envelope_to(*recipients, **fields):
    return Envelope("s@x.test", tuple(Recipient(each, each.partition("@")[2]) for each in recipients), **fields)


def begun(deferred):
    results = []
    deferred.addBoth(results.append)
    return results


def cancel(deferred):
    results = begun(deferred)
    assert results == []
    deferred.cancel()
    with pytest.raises(CancelledError):
        result_of(results)


def result_of(results):
    [result] = results
    if hasattr(result, "raiseException"):
        result.raiseException()
    return result


@pytest.fixture
def door():
    return Door()


def test_it_is_what_it_says(door):
    assert verifyObject(IMessageIntake, door.whole)


# --- what is taken ---


def test_a_message_is_taken_and_completed_as_with_smtp(door):
    taken = door.take(b"Bcc: z@z\r\nX-SMTPeter-Junk: x\r\nSubject: hi\r\n\r\nhello\r\n")
    [submission] = door.intake.submissions
    id = submission.id
    assert taken == Taken(id, ((id, "a@y.test"),)) and parse_id(id) == (id, None)
    head, _, body = submission.content.data.partition(b"\r\n\r\n")
    assert body == b"hello\r\n"
    assert head.decode().split("\r\n") == [
        "Received: from [192.0.2.1] ([192.0.2.1])",
        "\tby mx.test with HTTP",
        f"\tid {id}",
        "\tfor <a@y.test>;",
        "\tTue, 14 Nov 2023 22:13:20 +0000",
        f"Message-ID: <{id}@mx.test>",
        "Date: Tue, 14 Nov 2023 22:13:20 +0000",
        "Subject: hi",
    ]
    assert (submission.channel, submission.account, submission.login) == ("rest", 7, "alice-login")
    assert (submission.time, submission.due, submission.expires) == (NOW, NOW, NOW + 3600)
    assert (submission.subject, submission.message_id) == ("hi", f"<{id}@mx.test>")


def test_a_thousand_recipients_are_one_submission(door):
    to = [f"r{number}@y.test" for number in range(1000)]
    taken = door.take(to=to)
    [submission] = door.intake.submissions
    assert [address for _, address in taken.recipients] == to
    assert [parse_id(id) for id, _ in taken.recipients] == [(submission.id, number) for number in range(1, 1001)]
    assert b"for <" not in submission.content.data


def test_every_cut_of_a_message_gives_the_same_octets(door):
    for cut in range(len(HELLO)):
        assert door.taken(HELLO[:cut], HELLO[cut:]).content.data.endswith(b"\r\n" + HELLO)


def test_a_last_line_without_an_end_is_given_one(door):
    assert door.taken(HELLO, b"bye").content.data.endswith(b"hello\r\nbye\r\n")
    assert door.taken(b"Subject: hi").content.data.endswith(b"\r\nSubject: hi\r\n")


@pytest.mark.parametrize(("text", "body"), [(b"caf\xc3\xa9\r\n", "8BITMIME"), (b"plain\r\n", "7BIT")])
@pytest.mark.parametrize("declared", ["7BIT", "8BITMIME"])
def test_the_envelope_says_truly_whether_it_is_8_bit(door, declared, text, body):
    envelope = envelope_to("a@y.test", body=declared, ret="HDRS", envid="e")
    assert door.taken(HELLO, text, envelope=envelope).envelope == envelope._replace(body=body)


def test_the_key_of_a_request_goes_with_it_and_its_answer_is_told(door):
    key = Idempotency("k", b"digest")
    door.intake.taken = Taken("0" * 26, (("0" * 26, "a@y.test"),), again=True)
    assert door.take(b"X-SMTPeter-Idempotency-Key: other\r\n\r\n", idempotency=key) == door.intake.taken
    assert door.intake.submissions[-1].idempotency == key


def test_a_message_may_have_a_key_itself(door):
    assert door.taken(b"X-SMTPeter-Idempotency-Key: k 1\r\n\r\n").idempotency == Idempotency("k 1", None)
    assert door.taken().idempotency is None


# --- options ---


def test_a_request_overrides_the_credential_and_the_message_both(door):
    door.submitter.options = (("track", "true"), ("check", "false"))
    assert door.taken().options == (("check", "false"), ("track", "true"))
    assert door.taken(tracking="no").options == (("check", "false"), ("track", "false"))
    submission = door.taken(b"X-SMTPeter-Track: on\r\n\r\n", tracking="no")
    assert submission.options == (("check", "false"), ("track", "true")) and submission.prepare


@pytest.mark.parametrize("message", [b"", b"\r\nhello\r\n", b"no header\r\n", HELLO])
def test_options_of_the_core_hold_whatever_the_message_looks_like(door, message):
    submission = door.taken(message, tags="a, b", send_at=LATER, maxDeliverTime="2023-12-01 00:00:01", track="yes")
    assert (submission.tags, submission.due, submission.expires) == (("a", "b"), 1_701_388_800.0, 1_701_388_801.0)
    assert submission.options == (("track", "true"),) and submission.prepare


@pytest.mark.parametrize(
    ("header", "options", "reply"),
    [
        (b"", {"Tracking": "maybe"}, "554 5.6.0 Tracking: write true or false"),
        (b"", {"images": "hosted"}, "554 5.6.0 images: only default is possible here"),
        (b"X-SMTPeter-Tracking: maybe\r\n", {}, "554 5.6.0 X-SMTPeter-tracking: write true or false"),
        (b"X-SMTPeter-Tags: a b\r\n", {}, "554 5.6.0 X-SMTPeter-Tags: separate tags by commas; a tag has no white"),
        ((b"X: " + b"x" * 50_000 + b"\r\n") * 2, {}, "554 5.6.0 The header is larger than 100000 octets"),
        (b"Received: x\r\n" * 4, {}, "554 5.4.6 Too many hops"),
        (b"", {"check": "yes"}, "554 5.7.1 not this one"),
    ],
)
def test_what_is_wrong_is_told_and_nothing_is_taken(door, header, options, reply):
    assert door.refusal(header + b"\r\nhello\r\n", **options).startswith(reply)


def test_nothing_more_is_asked_for_once_a_message_is_unfit(door):
    asked = []

    def pieces():
        yield b"X-SMTPeter-Track: maybe\r\n\r\n"
        for number in range(9):
            asked.append(number)
            yield b"x"

    message = WholeMessage(envelope_to("a@y.test"), pieces(), {}, "192.0.2.1")
    with pytest.raises(Refusal, match="X-SMTPeter-track: write true or false"):
        result_of(begun(door.whole.take(message, door.submitter)))
    assert len(asked) == 1


# --- whether it is taken at all ---


def test_the_gate_is_asked_before_anything_is_done(door):
    door.gate.refusal = FULL
    assert door.refusal() == str(FULL)
    assert door.content.spools == []


def test_a_submitter_who_may_not_send_is_refused(door):
    door.submitter.answer = Refusal(550, "5.7.1", "ask somebody")
    assert door.refusal() == "550 5.7.1 ask somebody"
    door.submitter.answer = fail(Refusal(550, "5.7.1", "ask somebody"))
    assert door.refusal() == "550 5.7.1 ask somebody"


def test_what_has_to_be_prepared_is_refused_while_that_is_behind(door):
    door.backlog.refusal = BEHIND
    assert door.refusal(track="yes") == str(BEHIND)
    door.take(track="no")


@pytest.mark.parametrize(("count", "reply"), [(0, "554 5.5.1"), (4, "554 5.5.3")])
def test_how_many_recipients_there_may_be(count, reply):
    door = Door(recipients=3)
    assert door.refusal(to=["a@y.test"] * count).startswith(reply)
    door.take(to=["a@y.test"] * 3)


def test_a_message_that_is_too_large_is_refused_as_soon_as_it_is():
    door = Door(size=len(HELLO))
    door.take(HELLO)
    assert door.content.spools.pop().size > len(HELLO)
    door.intake.submissions.clear()
    assert door.refusal(HELLO, b"x").startswith("552 5.3.4")


@pytest.mark.parametrize("end", [b"bare\nnewline\r\n", b"bare\rreturn\r\n", b"nul\0\r\n", b"cut\r", b"x" * 65537])
def test_octets_that_smtp_would_not_take_are_not_taken(door, end):
    assert door.refusal(HELLO, end).startswith("554 5.6.0")


def test_a_refusal_is_logged_with_its_reason(door):
    door.submitter.answer = Refusal(550, "5.7.1", "ask somebody", "suspended")
    with capturedLogs() as events:
        door.refusal()
    [event] = events
    assert (event["event"], event["peer"], event["reason"]) == ("refused", "192.0.2.1", "suspended")


def test_the_tags_of_a_token_are_on_its_mail(door):
    door.submitter.options = (("tags", "shop,news"),)
    assert door.taken().tags == ("shop", "news")
    assert door.taken(tags="other").tags == ("other",)


# --- what was taken before, under a key ---

KEY = Idempotency("k", b"digest")
BEFORE = Taken("0" * 26, (("0" * 26, "a@y.test"),), again=True)


def known(door):
    door.keys.known["k"] = BEFORE
    return door


@pytest.mark.parametrize(
    ("options", "refusal"),
    [
        ({"maxdelivertime": "2023-11-14 22:13:20"}, None),  # the present
        ({"check": "yes"}, None),
        ({"track": "yes"}, BEHIND),
    ],
)
def test_what_would_be_refused_by_now_is_answered_as_the_first_time(door, options, refusal):
    door.backlog.refusal = refusal
    assert door.refusal(idempotency=KEY, **options)
    assert known(door).take(idempotency=KEY, **options) == BEFORE
    assert door.keys.asked == 2 * [(7, KEY, ("a@y.test",), NOW)]
    assert len(door.content.spools) == 1 and door.intake.submissions == []


def test_what_was_taken_is_told_while_no_mail_is_accepted(door):
    door.gate.refusal = FULL
    assert known(door).take(idempotency=KEY) == BEFORE
    assert known(door).take(idempotency=KEY, to=()) == BEFORE


def test_nobody_is_told_what_was_taken_who_may_not_send_any_more(door):
    door.submitter.answer = fail(Refusal(550, "5.7.1", "ask somebody"))
    assert known(door).refusal(idempotency=KEY) == "550 5.7.1 ask somebody"
    assert door.keys.asked == []


@pytest.mark.parametrize("trouble", [IdempotencyConflict("other"), StorageUnavailable("down")])
def test_a_key_of_another_request_is_a_conflict_and_trouble_is_told(door, trouble):
    door.keys.known["k"] = trouble
    with pytest.raises(type(trouble)):
        door.take(idempotency=KEY, check="yes")
    assert door.content.spools == []


def test_only_who_has_a_key_for_the_whole_request_asks(door):
    door.take()
    door.take(idempotency=Idempotency("k", None))
    assert door.keys.asked == [] and len(door.intake.submissions) == 2


def test_what_is_not_known_is_taken_under_its_key(door):
    assert door.taken(idempotency=KEY).idempotency == KEY
    assert len(door.keys.asked) == 1


# --- storage ---


@pytest.mark.parametrize("error", [StorageUnavailable("down"), StorageFull("full"), IdempotencyConflict("other")])
def test_what_cannot_be_enqueued_leaves_nothing_behind(door, error):
    door.intake.trouble = error
    with pytest.raises(type(error)):
        door.take()
    assert door.content.spools[-1].aborted


def test_trouble_of_the_spool_is_told_and_leaves_nothing_behind(door):
    door.content.slow = True
    results = door.begin()
    door.content.waiting.errback(StorageFull("full"))
    with pytest.raises(StorageFull):
        result_of(results)
    assert door.content.spools[-1].aborted
    door.content.slow = False
    door.content.trouble = StorageFull("full")
    with pytest.raises(StorageFull):
        door.take()
    assert door.content.spools[-1].aborted and door.intake.submissions == []


def test_pieces_that_cannot_be_had_leave_nothing_behind(door):
    def pieces():
        yield HELLO
        raise OSError("the file is gone")

    results = begun(door.whole.take(WholeMessage(envelope_to("a@y.test"), pieces(), {}, "192.0.2.1"), door.submitter))
    with pytest.raises(OSError, match="gone"):
        result_of(results)
    assert door.content.spools[-1].aborted


def test_a_spool_that_asks_to_wait_is_waited_for(door):
    door.content.slow = True
    results = door.begin(HELLO, b"more\r\n", b"end\r\n")
    [spool] = door.content.spools
    for size in (len(HELLO), len(HELLO) + 6, len(HELLO) + 11):
        assert results == [] and spool.size - len(b"".join(spool._chunks[:1])) == size - len(HELLO)
        door.content.waiting.callback(None)
    assert result_of(results).again is False


def test_others_have_their_turn_while_a_large_message_is_written(door):
    body = b"x" * 998 + b"\r\n"
    results = door.begin(HELLO + body * 500)
    [spool] = door.content.spools
    turns = 0
    while not results:
        assert spool.size <= (turns + 1) * TURN + 1000
        [turn] = door.timers.calls  # advance() would give all that follow at once
        door.timers.calls.clear()
        turn.called = 1
        turn.func(*turn.args)
        turns += 1
    assert turns == 500_000 // TURN
    assert door.intake.submissions[-1].content.data.endswith(HELLO + body * 500)


def test_a_small_message_takes_no_turn(door):
    assert result_of(door.begin()).recipients and door.timers.getDelayedCalls() == []


# --- the client is gone ---


def test_a_client_that_is_gone_while_it_is_checked_leaves_nothing_behind(door):
    door.submitter.answer = Deferred()
    cancel(door.hand_over())
    assert door.content.spools == [] and door.intake.submissions == []


def test_a_client_that_is_gone_while_octets_are_written_leaves_nothing_behind(door):
    door.content.slow = True
    cancel(door.hand_over())
    assert door.content.spools[-1].aborted and door.intake.submissions == []


def test_a_client_that_is_gone_between_two_turns_leaves_nothing_behind(door):
    cancel(door.hand_over(HELLO + (b"x" * 998 + b"\r\n") * 100))
    assert door.content.spools[-1].aborted and door.timers.getDelayedCalls() == []


def test_a_client_that_is_gone_while_content_becomes_durable_leaves_nothing_behind(door):
    door.content.finished = Deferred()
    cancel(door.hand_over())
    assert door.content.spools[-1].aborted and door.intake.submissions == []


def test_a_client_that_is_gone_while_it_is_enqueued_leaves_the_rest_to_the_store(door):
    withdrawn = []
    door.intake.submit = lambda submission: Deferred(withdrawn.append)
    cancel(door.hand_over())
    assert len(withdrawn) == 1 and not door.content.spools[-1].aborted


# --- the same message again ---

OLD = "0" * 25 + "1"
OCTETS = b"Received: by us\r\n" + HELLO


def old(**fields):
    recipients = tuple(Recipient(f"{name}@y.test", "y.test", "NEVER", "rfc822;x") for name in "abc")
    envelope = Envelope("s@x.test", recipients, "8BITMIME", False, "HDRS", "envid")
    content = Content(len(OCTETS), hashlib.sha256(OCTETS).digest())
    return Submission(
        OLD, 7, "old-login", "smtp", envelope, content, NOW - 9000, NOW - 5000, NOW - 2000, "hi", "<m@x>", ("t",),
        idempotency=Idempotency("k", None),
    )._replace(**fields)  # fmt: skip


def take_again(door, submission, numbers):
    door.content.kept[OLD] = OCTETS
    taken = result_of(begun(door.whole.again(submission, numbers, door.submitter)))
    return taken, door.intake.submissions[-1]


def test_the_same_message_again_is_another_submission_of_what_was_kept(door):
    submission = old()
    taken, again = take_again(door, submission, {1, 3})
    a, _, c = submission.envelope.recipients
    assert again == submission._replace(
        id=again.id, login="alice-login", channel="rest", envelope=submission.envelope._replace(recipients=(a, c)),
        content=submission.content._replace(data=OCTETS), time=NOW, due=NOW, expires=NOW + 3000, idempotency=None,
    )  # fmt: skip
    assert again.id != OLD
    assert taken == Taken(again.id, ((f"{again.id}-1", "a@y.test"), (f"{again.id}-2", "c@y.test")))


def test_one_recipient_of_several_has_the_submissions_id(door):
    taken, again = take_again(door, old(), [2])
    assert taken.recipients == ((again.id, "b@y.test"),)


def test_the_second_one_has_a_key_of_its_own_or_none(door):
    door.content.kept[OLD] = OCTETS
    key = Idempotency("again", b"digest")
    door.intake.taken = Taken("0" * 26, (("0" * 26, "a@y.test"),), again=True)
    assert result_of(begun(door.whole.again(old(), [1], door.submitter, key))) == door.intake.taken
    assert door.intake.submissions[-1].idempotency == key


def test_what_was_taken_again_is_answered_so_though_its_content_is_gone(door):
    """Or a feature would not let it in by now."""
    submission = old(options=(("check", "true"),))
    for gone in (True, False):
        door.content.kept = {} if gone else {OLD: OCTETS}
        assert result_of(begun(known(door).whole.again(submission, [1, 3], door.submitter, KEY))) == BEFORE
    assert door.keys.asked == 2 * [(7, KEY, ("a@y.test", "c@y.test"), NOW)]
    assert door.content.spools == [] and door.intake.submissions == []


def test_features_prepare_it_anew_as_far_as_there_still_are_such(door):
    _, again = take_again(door, old(options=(("gone", "true"), ("track", "true"))), [1])
    assert again.options == (("track", "true"),) and again.prepare
    _, again = take_again(door, old(prepare=True), [1])
    assert again.options == () and not again.prepare


@pytest.mark.parametrize(
    ("options", "numbers", "reply"),
    [((("check", "true"),), [1], "554 5.7.1"), ((("track", "true"),), [1], "451 4.3.2"), ((), [4], "554 5.5.1")],
)
def test_it_is_refused_as_the_first_time(door, options, numbers, reply):
    door.backlog.refusal = BEHIND
    with pytest.raises(Refusal, match=reply):
        take_again(door, old(options=options), numbers)
    assert door.content.spools == []


def test_the_gate_and_the_submitter_are_asked_again(door):
    door.gate.refusal = FULL
    with pytest.raises(Refusal, match=r"4\.3\.1"):
        take_again(door, old(), [1])
    door.submitter.answer = Refusal(550, "5.7.1", "ask somebody")
    with pytest.raises(Refusal, match="ask somebody"):
        take_again(door, old(), [1])


def test_content_that_is_gone_is_told_as_it_is(door):
    with pytest.raises(KeyError):
        result_of(begun(door.whole.again(old(), [1], door.submitter)))
    assert door.content.spools == []


def test_a_client_that_is_gone_leaves_nothing_of_the_second_one_behind(door):
    door.content.kept[OLD] = OCTETS
    door.content.slow = True
    cancel(door.whole.again(old(), [1], door.submitter))
    assert door.content.spools[-1].aborted and door.intake.submissions == []


def test_trouble_leaves_nothing_of_the_second_one_behind(door):
    door.intake.trouble = StorageUnavailable("down")
    with pytest.raises(StorageUnavailable):
        take_again(door, old(), [1])
    assert door.content.spools[-1].aborted


def test_only_a_few_messages_are_in_memory_to_be_sent_again(door):
    reads = []

    def read(submission, content):
        reads.append(Deferred())
        return reads[-1]

    door.content.read = read
    answers = [begun(door.whole.again(old(), [1], door.submitter)) for _ in range(AGAIN + 1)]
    assert len(reads) == AGAIN
    reads[0].callback(OCTETS)
    assert len(reads) == AGAIN + 1 and len(answers) == AGAIN + 1
