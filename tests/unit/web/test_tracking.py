import pytest
from twisted.logger import globalLogPublisher
from zope.interface import implementer

from smtpeter.interfaces import IResourceFeature
from smtpeter.locations import parse_network
from smtpeter.model.feature import NOT_FOUND, WebResponse
from smtpeter.web.tracking import STRICT, Tracking

NOW = 1_700_000_000.0


class Clock:
    now = NOW

    def time(self):
        return self.now


@implementer(IResourceFeature)
class Feature:
    """Answers what it is told to, and keeps the requests."""

    def __init__(self, response=None):
        self.response = response or WebResponse(200, ((b"Content-Type", b"text/plain"),), b"hello")
        self.requests = []

    def wants(self, options):
        return False

    def serve(self, request):
        self.requests.append(request)
        if isinstance(self.response, Exception):
            raise self.response
        return self.response


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def feature():
    return Feature()


@pytest.fixture
def tracking(clock, feature):
    tracking = Tracking(clock, (parse_network("10.0.0.0/8"),))
    tracking.open({"demo": feature})
    return tracking


def ask(tracking, target=b"/t/demo/x", method=b"GET", fields=(), peer="192.0.2.7", secure=False, body=b""):
    return tracking.answer(method, target, fields, peer, secure, body)


def test_a_feature_is_asked(tracking, feature):
    fields = ((b"host", b"x"), (b"x-forwarded-for", b"127.0.0.1"))
    answer = ask(tracking, b"/t/demo/a/b%20c?d=e?f", fields=fields, secure=True)
    assert answer == (200, (*STRICT, (b"Content-Type", b"text/plain")), b"hello")
    assert feature.requests == [("GET", "a/b%20c", "d=e?f", fields, "192.0.2.7", NOW, True, b"")]


def test_the_client_behind_a_trusted_proxy(tracking, feature):
    fields = ((b"x-forwarded-for", b"127.0.0.1, 192.0.2.8"), (b"x-forwarded-proto", b"https"))
    ask(tracking, fields=fields, peer="10.0.0.1")
    assert feature.requests[0].address == "192.0.2.8" and feature.requests[0].secure


def test_an_empty_tail_is_the_features_own(tracking, feature):
    assert ask(tracking, b"/t/demo/").status == 200
    assert feature.requests[0].tail == ""


@pytest.mark.parametrize(
    "target",
    [b"/t/", b"/t/demo", b"/t/demo?/x", b"/t/other/x", b"/t//x", b"/t/Demo/x", b"/t/dem%6f/x", b"/t/../t/demo/x",
     b"/t/demo/\xc3\xa9", b"/x/demo/x", b"http://x/t/demo/x", b"*"],
)  # fmt: skip
def test_everything_else_is_not_found(tracking, feature, target):
    answer = ask(tracking, target)
    assert answer == (404, STRICT + NOT_FOUND.headers, NOT_FOUND.body)
    assert not feature.requests


def test_what_a_feature_does_not_find_looks_the_same(tracking, feature):
    feature.response = NOT_FOUND
    assert ask(tracking) == ask(tracking, b"/t/other/x")


@pytest.mark.parametrize("method", [b"PUT", b"DELETE", b"OPTIONS", b"TRACE", b"PATCH", b"get", b"CONNECT", b"FROB"])
def test_other_methods_are_not_allowed(tracking, feature, method):
    answer = ask(tracking, method=method)
    assert answer.status == 405 and (b"Allow", b"GET, HEAD, POST") in answer.fields
    assert answer == ask(tracking, b"/t/nothing", method=method)
    assert not feature.requests


def test_post_has_a_body_and_others_have_none(tracking, feature):
    ask(tracking, method=b"POST", body=b"a=b")
    ask(tracking, method=b"GET", body=b"a=b")
    assert [(request.method, request.body) for request in feature.requests] == [("POST", b"a=b"), ("GET", b"")]


def test_a_body_that_is_too_large(tracking, feature):
    assert ask(tracking, method=b"POST", body=None).status == 413
    assert not feature.requests


def test_until_it_is_open(clock):
    answer = ask(Tracking(clock))
    assert answer.status == 503 and (b"Retry-After", b"5") in answer.fields


@pytest.mark.parametrize(
    "response",
    [
        WebResponse(302, ((b"Location", b"http://x/\r\nSet-Cookie: a=b"),)),
        WebResponse(302, ((b"Location", b"http://x/\n"),)),
        WebResponse(302, ((b"Location", b"http://x/\r"),)),
        WebResponse(302, ((b"Location", b"http://x/\x00"),)),
        WebResponse(200, ((b"X-A: b\r\nX-B", b"c"),)),
        WebResponse(200, ((b"X A", b"c"),)),
        WebResponse(200, ((b"", b"c"),)),
        WebResponse(200, ((b"Content-Length", b"0"),)),
        WebResponse(200, ((b"transfer-encoding", b"chunked"),)),
        WebResponse(200, ((b"Connection", b"upgrade"),)),
        WebResponse(200, ((b"cache-control", b"public"),)),
        WebResponse(200, ((b"X-A", "text"),)),
        WebResponse(101),
        WebResponse(0),
        WebResponse(299),
        WebResponse(200, (), "text"),
        None,
        RuntimeError("a secret"),
    ],
)
def test_attack_a_feature_with_a_bug_cannot_split_answers(tracking, feature, response):
    feature.response = response
    answer = ask(tracking)
    assert (answer.status, answer.body) == (500, b"Something is broken here\n")
    assert answer.fields[: len(STRICT)] == STRICT


def test_attack_headers_that_were_good_once_let_no_bad_ones_through(tracking, feature):
    good, bad = (b"Location", b"http://x/"), (b"Location", b"http://x/\r\n")
    for response, status in [(good, 302), (bad, 500), (good, 302), (bad, 500), ((*good, b""), 500)]:
        feature.response = WebResponse(302, (response,))
        assert ask(tracking).status == status
    feature.response = WebResponse(302, ((b"Location", b"http://y/"),))
    assert ask(tracking).fields == (*STRICT, (b"Location", b"http://y/"))


def test_a_bug_is_logged_and_does_not_fill_the_log(tracking, feature, clock):
    events = []
    globalLogPublisher.addObserver(events.append)
    try:
        feature.response = RuntimeError("a bug")
        for _ in range(100):
            ask(tracking)
        assert len(events) == 1 and "a bug" in events[0]["log_failure"].getErrorMessage()
        clock.now += 10
        ask(tracking)
        assert len(events) == 2
    finally:
        globalLogPublisher.removeObserver(events.append)
