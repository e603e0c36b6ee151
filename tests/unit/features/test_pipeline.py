"""A message through features: what they do together, and what one that fails does to the others (nothing)."""

from __future__ import annotations

import pytest
from zope.interface.verify import verifyObject

from smtpeter.features.pipeline import Context, Limits, Result, describe, give_up, prepare
from smtpeter.interfaces import IPrepareContext
from smtpeter.mime.editing import EditableMessage
from smtpeter.model.feature import FailurePolicy, Slot
from tests.fakes.workers import make_task

MESSAGE = b"From: me@example.com\r\nSubject: hello\r\nContent-Type: text/plain\r\n\r\nHello.\r\n"
SIGNED = b'Content-Type: multipart/signed; boundary="x"\r\n\r\n--x\r\n\r\nHello.\r\n--x--\r\n'

SEND, DEFER, FAIL = FailurePolicy.SEND, FailurePolicy.DEFER, FailurePolicy.FAIL


class Feature:
    """Says in the header that it was there, then does what it was made for."""

    def __init__(self, name, act=lambda message, context: None, on_failure=SEND):
        self.on_failure = on_failure
        self.runs = 0
        self._name = name
        self._act = act

    def wants(self, options):
        return True

    def prepare(self, message, context):
        self.runs += 1
        message.add_field("X-Was-Here", self._name)
        self._act(message, context)


class OutOfTime(BaseException):
    """What a watch raises."""


class Watch:
    """Lets everything be done, except by those whose time is over."""

    def __init__(self, *over):
        self.over = over
        self.seen = []

    def __call__(self, name, work):
        self.seen.append(name)
        if name in self.over:
            raise OutOfTime("no time left")
        return work()


def run(*features, content=MESSAGE, watch=None, limits=Limits(), **task):  # noqa: B008
    named = tuple((feature._name, feature) for feature in features)
    return prepare(make_task(**task), content, named, {"a", "b"}, watch or Watch(), limits)


def fail(message, context):
    raise ValueError("it is Tuesday")


def put(*slots):
    def act(message, context):
        message.plain[0].splice([(0, 0, slots)])

    return act


def test_features_run_in_order_and_tell_what_they_did():
    def note(message, context):
        context.note("two links")

    result = run(Feature("a", note), Feature("b"))
    assert result == Result(
        b"X-Was-Here: b\r\nX-Was-Here: a\r\n" + MESSAGE, (), {"features": "a;b", "description": "a: two links"}
    )


def test_without_features_a_message_goes_as_it_came():
    assert run() == Result(data={"features": "", "description": ""})


def test_a_feature_that_changes_nothing_leaves_the_message_as_it_came():
    feature = Feature("a")
    feature.prepare = lambda message, context: None
    assert run(feature) == Result(data={"features": "a", "description": ""})


def test_a_signed_message_is_shown_to_no_feature():
    feature = Feature("a", on_failure=FAIL)
    result = run(feature, content=SIGNED)
    assert result.data == {"features": "", "description": "not touched: signed", "not_tracked": "signed"}
    assert result.octets is None and result.policy is None and not feature.runs


def test_a_message_that_is_too_complex_goes_as_it_came():
    result = run(Feature("a"), content=MESSAGE, limits=Limits(parts=0))
    assert result.data["not_tracked"] == "too complex" and result.octets is None


def test_a_large_leaf_is_left_alone_and_told():
    def look(message, context):
        assert message.plain == ()

    result = run(Feature("a", look), content=MESSAGE + b"x" * 100, limits=Limits(leaf=50))
    assert result.data["features"] == "a" and result.data["description"]


@pytest.mark.parametrize(
    "error", [ValueError("no"), SystemExit(1), KeyboardInterrupt(), MemoryError(), GeneratorExit()]
)
def test_whatever_a_feature_raises_its_edits_are_undone_and_the_others_stay(error):
    def act(message, context):
        message.plain[0].set_text("spoilt")
        context.note("never told")
        raise error

    result = run(Feature("a"), Feature("b", act), Feature("c"))
    assert result.octets == b"X-Was-Here: c\r\nX-Was-Here: a\r\n" + MESSAGE
    assert result.data["features"] == "a;c"
    assert result.data["failed"] == "b"
    assert result.data["description"] == f"b failed: {describe(error)}; sent without it"
    assert len(result.errors) == 1 and "in act" in result.errors[0] and "\n" not in result.errors[0]
    assert result.exhausted is isinstance(error, MemoryError)


@pytest.mark.parametrize("policy", [DEFER, FAIL])
def test_a_feature_that_must_not_be_missed_decides_for_the_message(policy):
    later = Feature("c")
    result = run(Feature("a"), Feature("b", fail, policy), later)
    assert (result.policy, result.reason) == (policy, "b failed: ValueError: it is Tuesday")
    assert result.octets is None and not later.runs


def test_a_feature_whose_time_is_over_is_undone_like_any_other():
    watch = Watch("b")
    result = run(Feature("a"), Feature("b"), Feature("c"), watch=watch)
    assert result.data["features"] == "a;c" and result.data["failed"] == "b"
    assert "no time left" in result.data["description"]
    assert watch.seen == ["", "a", "b", "c", ""]


@pytest.mark.parametrize(("policy", "told"), [(SEND, None), (DEFER, DEFER), (FAIL, FAIL)])
def test_a_feature_that_is_left_out_is_not_run_and_its_policy_holds(policy, told):
    feature = Feature("b", on_failure=policy)
    result = run(Feature("a"), feature, without={"b": "its worker died by signal 11"})
    assert result.policy is told and not feature.runs
    text = result.reason or result.data["description"]
    assert text.startswith("b failed: its worker died by signal 11")


def test_where_the_message_itself_takes_too_long_it_goes_as_it_came():
    result = run(Feature("a"), Feature("b"), watch=Watch(""))
    assert result.octets is None and result.policy is None
    assert result.data["failed"] == "a;b" and result.data["features"] == ""
    assert result.data["description"].endswith("no time left; sent as it came")


def test_where_nobody_knows_whose_fault_it_is_the_strictest_policy_holds():
    features = [("a", Feature("a", on_failure=SEND)), ("b", Feature("b", on_failure=DEFER))]
    assert give_up(features, "why").policy is DEFER
    assert give_up([*features, ("c", Feature("c", on_failure=FAIL))], "why").policy is FAIL
    assert give_up(features[:1], "why") == Result(
        data={"features": "", "description": "why; sent as it came", "failed": "a"}
    )


def test_slots_are_placed():
    result = run(Feature("a", put(Slot("a", "key", 24))))
    ((offset, slot),) = result.slots
    assert slot == Slot("a", "key", 24)
    assert len(result.octets[offset : offset + 24]) == 24


BAD = [
    ([Slot("nobody", "key", 24)], "slots that nobody fills: 'nobody'"),
    ([Slot("a", "x" * 5000, 24)], "too long"),
    ([Slot("a", "key", 24)] * 4, "more than 3 slots"),
]


@pytest.mark.parametrize(("slots", "reason"), BAD)
def test_a_feature_that_leaves_slots_which_cannot_be_filled_is_found_and_undone(slots, reason):
    result = run(Feature("a"), Feature("b", put(*slots)), Feature("c"), limits=Limits(slots=3))
    assert result.data["features"] == "a;c" and result.data["failed"] == "b"
    assert reason in result.data["description"]
    assert result.slots == () and result.octets == b"X-Was-Here: c\r\nX-Was-Here: a\r\n" + MESSAGE


@pytest.mark.parametrize("length", [0, -1, 5000])
def test_a_slot_of_no_possible_length_is_refused_by_the_message_or_by_us(length):
    result = run(Feature("a", put(Slot("a", "key", length))))
    assert result.data["failed"] == "a" and result.slots == ()


@pytest.mark.parametrize("policy", [DEFER, FAIL])
def test_slots_that_cannot_be_filled_are_a_failure_as_any(policy):
    result = run(Feature("a"), Feature("b", put(Slot("nobody", "key", 24)), policy))
    assert result.policy is policy and result.reason.startswith("b failed: there are slots that nobody fills")


def test_where_a_message_cannot_be_put_together_whoever_is_at_fault_is_left_out(monkeypatch):
    whole = EditableMessage.render

    def render(self):
        if "b" in self.fields("X-Was-Here"):
            raise RuntimeError("a bug")
        return whole(self)

    monkeypatch.setattr(EditableMessage, "render", render)
    result = run(Feature("a"), Feature("b"), Feature("c"))
    assert result.data["features"] == "a;c" and result.data["failed"] == "b"


def test_where_no_message_can_be_put_together_it_goes_as_it_came(monkeypatch):
    def render(self):
        raise RuntimeError("a bug")

    monkeypatch.setattr(EditableMessage, "render", render)
    result = run(Feature("a"))
    assert result.octets is None and result.data["features"] == ""


def test_memory_of_a_feature_that_failed_is_free_again():
    import weakref

    class Big:
        pass

    kept = []

    def act(message, context):
        big = Big()
        kept.append(weakref.ref(big))
        raise MemoryError

    def look(message, context):
        kept.append(kept[0]())

    run(Feature("a", act), Feature("b", look))
    assert kept[1] is None


def test_notes_are_few_and_short_and_fit_for_an_event():
    def act(message, context):
        for _ in range(1000):
            context.note("a\r\nb" + "x" * 1000)

    description = run(Feature("a", act)).data["description"]
    assert description.isprintable() and len(description) < 5000


def test_an_error_that_cannot_even_be_told_is_told():
    class Sly(Exception):
        def __str__(self):
            raise ValueError

    def act(message, context):
        raise Sly

    assert "a failed: Sly; sent" in run(Feature("a", act)).data["description"]


def test_a_feature_is_told_of_the_message():
    seen = []

    def act(message, context):
        verifyObject(IPrepareContext, context)
        seen.append((context.submission, context.account, context.reverse_path, context.recipients, context.options))

    run(Feature("a", act), submission="s9", account=3, reverse_path="x@y", recipients=5, options={"a": "true"})
    assert seen == [("s9", 3, "x@y", 5, {"a": "true"})]


def test_a_context_is_what_features_expect():
    verifyObject(IPrepareContext, Context(make_task()))
