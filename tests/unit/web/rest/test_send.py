"""Sending, sending again and cancelling, as clients see it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from twisted.internet.defer import Deferred, fail, succeed
from zope.interface import implementer

from smtpeter.errors import ContentCorrupt, IdempotencyConflict, Refusal
from smtpeter.features.catalog import Catalog
from smtpeter.interfaces import IMessageIntake, IQueueStore
from smtpeter.model.account import Scope
from smtpeter.model.delivery import RecipientState
from smtpeter.model.ids import recipient_id
from smtpeter.model.listing import MessageRow, Verb
from smtpeter.model.submission import Idempotency, Taken
from smtpeter.web.rest.elsewhere import FromElsewhere
from smtpeter.web.rest.outgoing import make_outgoing, make_rules
from smtpeter.web.rest.routes import RouteTable
from smtpeter.web.rest.send import Resend, routes
from smtpeter.web.rest.values import ApiError, Call, Request
from smtpeter.web.rest.weight import IN_HERE, STRUCTURE, VALUES
from tests.fakes.intake import ALICE, FakeSubmitter, FixedClock

ID = "01hf8z3k4m5n6p7q8r9s0tavbw"
OTHER = "01hf8z3k4m5n6p7q8r9s0tavbx"
JSON = b"application/json"
BODY = b'{"recipients": ["a@example.com", "b@example.com"], "from": "me@example.org", "text": "x", "trackclicks": true}'
RULES = make_rules(Catalog(), 1000)


@implementer(IMessageIntake)
class FakeIntake:
    """Takes everything at once; ``trouble`` is raised instead, ``waiting`` keeps who asks waiting."""

    def __init__(self):
        self.taken = []
        self.repeated = []
        self.keys = []
        self.trouble = self.waiting = None

    def take(self, message, submitter):
        self.taken.append((message, submitter))
        return self._answer([each.address for each in message.envelope.recipients])

    def again(self, submission, numbers, submitter, idempotency=None):
        self.keys.append(idempotency)
        self.repeated.append((submission, tuple(numbers), submitter))
        return self._answer([submission.envelope.recipients[number - 1].address for number in numbers])

    def _answer(self, addresses):
        if self.trouble is not None:
            return fail(self.trouble)
        count = len(addresses)
        ids = (recipient_id(OTHER, number, count) for number in range(1, count + 1))
        taken = Taken(OTHER, tuple(zip(ids, addresses, strict=True)))
        if self.waiting is not None:
            return self.waiting.addCallback(lambda _: taken)
        return succeed(taken)


@implementer(IQueueStore)
class FakeQueue:
    """One submission of alice's, with its recipients' states."""

    def __init__(self, *states):
        self.states = list(states) or [RecipientState.DUE]
        self.applied = []
        self.account = 7

    def submission(self, id):
        if id != ID:
            return fail(KeyError(id))
        tree = {"recipients": [f"r{each}@example.com" for each in range(len(self.states))], "mime": "a: b"}
        envelope = make_outgoing(tree, make_rules(Catalog(), 5000), "x" * 16).envelope
        return succeed(FakeSubmission(ID, self.account, envelope))

    def select(self, filter, limit, before=None):
        assert (filter.account, filter.submission) == ("alice@example.com", ID)
        numbers = [filter.number] if filter.number else range(1, len(self.states) + 1)
        behind = [number for number in numbers if before is None or number > before[1]]
        return succeed([self._row(number) for number in behind[:limit]])

    def _row(self, number):
        id = recipient_id(ID, number, len(self.states))
        state = self.states[number - 1]
        return MessageRow(
            id, ID, number, state, 0, "alice@example.com", "", f"r{number}@example.com", "", 0.0, None, ()
        )

    def apply(self, filter, verb, now, limit):
        assert verb is Verb.CANCEL and now == FixedClock.now
        self.applied.append(filter)
        changed = 0
        for number in [filter.number] if filter.number else range(1, len(self.states) + 1):
            if self.states[number - 1] in (RecipientState.DUE, RecipientState.HELD) and changed < limit:
                self.states[number - 1] = RecipientState.CANCELLED
                changed += 1
        return succeed(changed)


class FakeSubmission:
    def __init__(self, id, account, envelope):
        self.id, self.account, self.envelope = id, account, envelope


class FakeElsewhere:
    def __init__(self):
        self.asked = []
        self.removed = 0
        self.trouble = None

    async def compose(self, request, account):
        assert account == ALICE.number
        self.asked.append(request)
        if self.trouble is not None:
            raise self.trouble
        return FromElsewhere(make_outgoing(json.loads(BODY), RULES, "x" * 16), b"digest", self._remove)

    def _remove(self):
        self.removed += 1


class Site:
    """The routes, and whoever asks them."""

    def __init__(self, *states):
        self.intake = FakeIntake()
        self.queue = FakeQueue(*states)
        self.elsewhere = FakeElsewhere()
        self.submitter = FakeSubmitter()
        self.table = RouteTable(routes(intake=self.intake, queue=self.queue, clock=FixedClock(), catalog=Catalog(),
                                       rules=RULES, elsewhere=self.elsewhere))  # fmt: skip

    def begin(self, method, path, body=b"", *fields, content_type=JSON, file=None):
        route, parameters = self.table.find(method, path)
        assert route.scope is Scope.SEND
        request = Request(method, path, ((b"content-type", content_type), *fields), "192.0.2.1", True, "", body, file)
        given = Resend.model_validate_json(body) if route.body is Resend else None
        call = Call(request, self.submitter, parameters, None, given)
        return Deferred.fromCoroutine(route.function(call))

    def ask(self, *arguments, **more):
        found = []
        self.begin(*arguments, **more).addBoth(found.append)
        (result,) = found
        if hasattr(result, "raiseException"):
            result.raiseException()
        return result

    def send(self, body=BODY, *fields, **more):
        return self.ask(b"POST", b"/send", body, *fields, **more)

    def refusal(self, *arguments, **more):
        with pytest.raises(ApiError) as caught:
            self.ask(*arguments, **more)
        return caught.value.status, caught.value.text


@pytest.fixture
def site():
    return Site()


# --- send ---


def test_an_answer_has_an_entry_for_each_recipient_in_order(site):
    response = site.send()
    assert (response.status, response.content_type, response.fields) == (200, b"application/json", ())
    assert response.body == f'{{"{OTHER}-1":"a@example.com","{OTHER}-2":"b@example.com"}}'.encode()


def test_a_single_recipient_has_the_id_of_the_submission(site):
    response = site.send(b'{"recipient": "a@example.com", "mime": "Subject: x\\n\\ny"}')
    assert json.loads(response.body) == {OTHER: "a@example.com"}


def test_what_is_handed_over(site):
    site.send()
    ((message, submitter),) = site.intake.taken
    assert submitter is site.submitter
    assert [each.address for each in message.envelope.recipients] == ["a@example.com", "b@example.com"]
    assert b"".join(message.pieces).startswith(b"From: me@example.org\r\n")
    assert (message.client, message.idempotency, message.options) == ("192.0.2.1", None, {})


def test_each_message_has_boundaries_of_its_own(site):
    body = b'{"recipient": "a@example.com", "from": "me@example.org", "text": "x", "html": "y"}'
    site.send(body)
    site.send(body)
    first, second = (b"".join(message.pieces) for message, _ in site.intake.taken)
    assert first != second


def test_a_thousand_recipients_in_a_form(site):
    body = b"mime=a:b&" + b"&".join(b"recipients[]=r%d@example.com" % number for number in range(100))
    assert len(json.loads(site.send(body, content_type=b"application/x-www-form-urlencoded").body)) == 100


@pytest.mark.parametrize(
    ("content_type", "body", "status"),
    [
        (JSON, b"{", 400),
        (JSON, b"{}", 400),
        (b"text/plain", b"{}", 415),
        (JSON, b'{"recipients": "x", "mime": "y"}', 400),
    ],
)
def test_what_is_refused_is_not_handed_over(site, content_type, body, status):
    assert site.refusal(b"POST", b"/send", body, content_type=content_type)[0] == status
    assert not site.intake.taken


@pytest.mark.parametrize("trouble", [Refusal(550, "5.7.1", "not approved"), IdempotencyConflict(), ContentCorrupt()])
def test_what_the_intake_says_goes_on(site, trouble):
    site.intake.trouble = trouble
    with pytest.raises(type(trouble)):
        site.send()


# --- idempotency ---


def test_a_key_goes_with_a_digest_of_the_request(site):
    keys = []
    for body in (BODY, BODY, BODY.replace(b'"x"', b'"y"')):
        site.send(body, (b"idempotency-key", b"order 17"))
        keys.append(site.intake.taken[-1][0].idempotency)
    first, again, other = keys
    assert isinstance(first, Idempotency) and first.key == "order 17" and len(first.digest) == 32
    assert first == again != other


@pytest.mark.parametrize(
    "fields", [[b""], [b"x" * 256], [b"caf\xc3\xa9"], [b"a\tb"], [b"a", b"a"], [b"a", b"b"], [b"\x7f"]]
)
def test_a_key_is_printable_and_not_too_long(site, fields):
    status, text = site.refusal(b"POST", b"/send", BODY, *((b"idempotency-key", value) for value in fields))
    assert status == 400 and text.startswith("Idempotency-Key: ") and not site.intake.taken


def test_the_longest_key(site):
    site.send(BODY, (b"idempotency-key", b"x" * 255))
    assert site.intake.taken[0][0].idempotency.key == "x" * 255


# --- large requests ---


@pytest.mark.parametrize(
    ("body", "file"),
    [
        (b"", Path("upload")),
        (b'{"x": "%s"}' % (b"y" * IN_HERE), None),
        (b'{"x": [%s1]}' % (b"1," * STRUCTURE), None),
        (b"recipients[]=a@example.com&" * (VALUES + 1), None),
    ],
)
def test_what_may_take_long_is_composed_elsewhere(site, body, file):
    response = site.send(body, (b"idempotency-key", b"k"), file=file)
    assert response.status == 200 and len(site.elsewhere.asked) == 1
    assert site.intake.taken[0][0].idempotency == Idempotency("k", b"digest")
    assert site.elsewhere.removed == 1


def test_a_composed_file_is_removed_whatever_happens(site):
    site.intake.trouble = Refusal(452, "4.3.1", "full")
    with pytest.raises(Refusal):
        site.send(b"", file=Path("upload"))
    assert site.elsewhere.removed == 1


def test_a_refusal_from_elsewhere(site):
    site.elsewhere.trouble = ApiError(413, "too large")
    assert site.refusal(b"POST", b"/send", b"", file=Path("upload")) == (413, "too large")


# --- clients that go away ---


@pytest.mark.parametrize("file", [None, Path("upload")])
def test_a_client_that_goes_away_takes_nothing_back(site, file):
    site.intake.waiting = Deferred()
    cancelled = []
    site.intake.waiting.addErrback(cancelled.append)
    asked = site.begin(b"POST", b"/send", BODY, file=file)
    asked.addErrback(lambda failure: None)
    asked.cancel()
    assert not cancelled and site.elsewhere.removed == 0
    site.intake.waiting.callback(None)
    assert not cancelled and site.elsewhere.removed == (file is not None)


# --- resend ---


def test_resend_one_and_all():
    site = Site(*[RecipientState.DELIVERED] * 3)
    assert json.loads(site.ask(b"POST", b"/resend", b'{"message": "%s"}' % ID.encode()).body) == {
        f"{OTHER}-1": "r0@example.com", f"{OTHER}-2": "r1@example.com", f"{OTHER}-3": "r2@example.com",
    }  # fmt: skip
    assert json.loads(site.ask(b"POST", b"/resend", b'{"message": "%s-2"}' % ID.encode()).body) == {
        OTHER: "r1@example.com"
    }
    assert [numbers for _, numbers, _ in site.intake.repeated] == [(1, 2, 3), (2,)]


@pytest.mark.parametrize("id", [OTHER, "x", "", f"{ID}-1", f"{ID}-0", f"{ID}-9", f"{ID}\n", "../" + ID])
def test_unknown_messages_are_404(site, id):
    answers = {site.refusal(b"POST", b"/resend", json.dumps({"message": id}).encode())}
    if id and "/" not in id and "\n" not in id:
        answers.add(site.refusal(b"DELETE", b"/message/" + id.encode()))
    site.queue.account = 8
    answers.add(site.refusal(b"POST", b"/resend", json.dumps({"message": ID}).encode()))
    answers.add(site.refusal(b"DELETE", b"/message/" + ID.encode()))
    assert len(answers) == 1 and answers.pop()[0] == 404
    assert not site.intake.repeated and not site.queue.applied


def test_resend_of_what_is_not_kept_any_more(site):
    site.intake.trouble = KeyError(ID)
    status, text = site.refusal(b"POST", b"/resend", b'{"message": "%s"}' % ID.encode())
    assert status == 404 and "not kept" in text


def test_a_key_for_resend_goes_with_a_digest_of_what_is_meant():
    site = Site(*[RecipientState.DELIVERED] * 2)
    for id in (ID, ID, f"{ID}-1", f"{ID}-2"):
        site.ask(b"POST", b"/resend", b'{"message": "%s"}' % id.encode(), (b"idempotency-key", b"k"))
    everyone, again, first, second = site.intake.keys
    assert isinstance(everyone, Idempotency) and everyone.key == "k" and len(everyone.digest) == 32
    assert everyone == again and len({everyone, first, second}) == 3
    site.ask(b"POST", b"/resend", b'{"message": "%s"}' % ID.encode())
    assert site.intake.keys[-1] is None


def test_a_key_for_resend_is_read_as_for_send(site):
    fields = [(b"idempotency-key", b"a")] * 2
    status, text = site.refusal(b"POST", b"/resend", b'{"message": "%s"}' % ID.encode(), *fields)
    assert status == 400 and text.startswith("Idempotency-Key") and not site.intake.repeated


# --- cancel ---


def test_cancel_what_has_not_left():
    site = Site(RecipientState.DUE, RecipientState.DELIVERED, RecipientState.HELD, RecipientState.LEASED)
    response = site.ask(b"DELETE", b"/message/" + ID.encode())
    assert response.status == 200
    assert json.loads(response.body) == {
        "cancelled": [f"{ID}-1", f"{ID}-3"],
        "others": {f"{ID}-2": "delivered", f"{ID}-4": "leased"},
    }


def test_cancel_one_recipient():
    site = Site(RecipientState.DUE, RecipientState.DUE)
    response = site.ask(b"DELETE", b"/message/" + ID.encode() + b"-2")
    assert json.loads(response.body) == {"cancelled": [f"{ID}-2"], "others": {}}
    assert site.queue.states == [RecipientState.DUE, RecipientState.CANCELLED]


def test_cancel_again_is_answered_as_before(site):
    first = site.ask(b"DELETE", b"/message/" + ID.encode())
    assert site.ask(b"DELETE", b"/message/" + ID.encode()) == first
    assert json.loads(first.body) == {"cancelled": [ID], "others": {}}


def test_nothing_to_cancel_is_409_with_the_state():
    site = Site(RecipientState.DELIVERED, RecipientState.FAILED)
    response = site.ask(b"DELETE", b"/message/" + ID.encode())
    found = json.loads(response.body)
    assert response.status == 409 and "delivered, failed" in found["error"]
    assert found["others"] == {f"{ID}-1": "delivered", f"{ID}-2": "failed"}


def test_cancel_more_than_one_call_of_the_store_does():
    site = Site(*[RecipientState.DUE] * 2500)
    found = json.loads(site.ask(b"DELETE", b"/message/" + ID.encode()).body)
    assert found["cancelled"] == [f"{ID}-{number}" for number in range(1, 2501)]
    assert len(site.queue.applied) == 3
