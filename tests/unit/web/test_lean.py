import pytest

from smtpeter.web.lean import HARD, LONGEST, LONGEST_BODY, MOST_FIELDS, LeanRequest, read_request, write_answer
from smtpeter.web.tracking import STRICT, Answer

SIMPLE = b"GET /t/demo/x?y=z HTTP/1.1\r\nHost: click.example.com\r\nUser-Agent: Mozilla/5.0 (X11)\r\n\r\n"
DATE = b"Tue, 14 Nov 2023 22:13:20 GMT"


def read(octets, start=0):
    return read_request(octets, start)


def test_a_simple_request():
    assert read(SIMPLE) == LeanRequest(
        b"GET",
        b"/t/demo/x?y=z",
        ((b"host", b"click.example.com"), (b"user-agent", b"Mozilla/5.0 (X11)")),
        False,
        len(SIMPLE),
    )


@pytest.mark.parametrize(
    ("field", "value"),
    [
        (b"X: y", b"y"),
        (b"X:y", b"y"),
        (b"X: \t y \t ", b"y"),
        (b"X:", b""),
        (b"X: \t ", b""),
        (b"X: y: z", b"y: z"),
        (b"X: \xc3\xa9", b"\xc3\xa9"),
        (b"!#$%&'*+-.^_`|~: y", b"y"),
    ],
)
def test_fields(field, value):
    request = read(b"HEAD /t/x HTTP/1.1\r\nHost:\r\n" + field + b"\r\n\r\n")
    assert isinstance(request, LeanRequest) and request.method == b"HEAD"
    assert request.fields[1][1] == value


@pytest.mark.parametrize("word", [b"keep-alive", b"Keep-Alive", b"close", b"CLOSE"])
def test_whether_the_connection_goes_on(word):
    request = read(SIMPLE.replace(b"Host:", b"Connection: " + word + b"\r\nHost:"))
    assert request.close is (word.lower() == b"close")


def test_one_after_the_other():
    octets = SIMPLE + SIMPLE.replace(b"GET", b"HEAD") + SIMPLE
    first = read(octets)
    second = read(octets, first.end)
    third = read(octets, second.end)
    assert [each.method for each in (first, second, third)] == [b"GET", b"HEAD", b"GET"]
    assert third.end == len(octets)
    assert read(octets, third.end) is None


def test_it_comes_in_pieces():
    for end in range(len(SIMPLE)):
        assert read(SIMPLE[:end]) is None
        assert read(SIMPLE + SIMPLE[:end], len(SIMPLE)) is None


def head(*lines, first=b"GET /t/demo/x HTTP/1.1"):
    return b"\r\n".join([first, *lines]) + b"\r\n\r\n"


HOST = b"Host: x"

NOT_SIMPLE = {
    # requests for something else
    "another path": head(HOST, first=b"GET /healthz HTTP/1.1"),
    "no slash": head(HOST, first=b"GET /t HTTP/1.1"),
    "absolute form": head(HOST, first=b"GET http://x/t/demo/x HTTP/1.1"),
    "percent-encoded name": head(HOST, first=b"GET /%74/demo/x HTTP/1.1"),
    "post": head(HOST, b"Content-Length: 0", first=b"POST /t/demo/x HTTP/1.1"),
    "options": head(HOST, first=b"OPTIONS /t/demo/x HTTP/1.1"),
    "connect": head(HOST, first=b"CONNECT x:80 HTTP/1.1"),
    "small letters": head(HOST, first=b"get /t/demo/x HTTP/1.1"),
    "another version": head(HOST, first=b"GET /t/demo/x HTTP/1.0"),
    "a version that is not there": head(HOST, first=b"GET /t/demo/x HTTP/1.2"),
    "version in small letters": head(HOST, first=b"GET /t/demo/x http/1.1"),
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/0.9": b"GET /t/demo/x\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01",
    # request lines
    "two spaces": head(HOST, first=b"GET  /t/demo/x HTTP/1.1"),
    "a space at the end": head(HOST, first=b"GET /t/demo/x HTTP/1.1 "),
    "a tab": head(HOST, first=b"GET\t/t/demo/x HTTP/1.1"),
    "a space in the path": head(HOST, first=b"GET /t/demo/x y HTTP/1.1"),
    "a control in the path": head(HOST, first=b"GET /t/demo/\x01 HTTP/1.1"),
    "not ASCII in the path": head(HOST, first=b"GET /t/demo/\xc3\xa9 HTTP/1.1"),
    "an empty line before it": b"\r\n" + head(HOST),
    # hosts
    "no host": head(b"X: y"),
    "no fields": b"GET /t/demo/x HTTP/1.1\r\n\r\n",
    "two hosts": head(HOST, HOST),
    "two hosts in other letters": head(HOST, b"hOST: y"),
    # bodies: CL.TE, TE.CL, TE.TE and their disguises
    "content-length": head(HOST, b"Content-Length: 5"),
    "content-length 0": head(HOST, b"Content-Length: 0"),
    "content-length twice": head(HOST, b"Content-Length: 0", b"Content-Length: 44"),
    "content-length in other letters": head(HOST, b"cOnTeNt-LeNgTh: 5"),
    "content-length with a sign": head(HOST, b"Content-Length: +5"),
    "content_length": head(HOST, b"Content_Length: 5"),
    "transfer-encoding": head(HOST, b"Transfer-Encoding: chunked"),
    "both": head(HOST, b"Content-Length: 6", b"Transfer-Encoding: chunked"),
    "identity": head(HOST, b"Transfer-Encoding: identity"),
    "a vertical tab": head(HOST, b"Transfer-Encoding:\x0bchunked"),
    "quoted": head(HOST, b'Transfer-Encoding: "chunked"'),
    "transfer_encoding": head(HOST, b"Transfer_Encoding: chunked"),
    "a space before the colon": head(HOST, b"Transfer-Encoding : chunked"),
    "a tab before the colon": head(HOST, b"Transfer-Encoding\t: chunked"),
    "a space before the name": head(HOST, b" Transfer-Encoding: chunked"),
    "folded": head(HOST, b"Transfer-Encoding:", b" chunked"),
    "folded with a tab": head(HOST, b"X: y", b"\tTransfer-Encoding: chunked"),
    "the first line folded": head(b" Transfer-Encoding: chunked", HOST),
    "a name with a control": head(HOST, b"Transfer-Encoding\x00: chunked"),
    "a name that is not ASCII": head(HOST, b"Transfer-Encod\xedng: chunked"),
    # line ends
    "bare LF": head(HOST, b"X: y\nTransfer-Encoding: chunked"),
    "bare CR": head(HOST, b"X: y\rTransfer-Encoding: chunked"),
    "LF CR": head(HOST, b"X: y\n\rTransfer-Encoding: chunked"),
    "CR CR LF": head(HOST, b"X: y\r\r\nTransfer-Encoding: chunked"),
    "bare LF in the first line": head(HOST, first=b"GET /t/demo/x HTTP/1.1\nX: y"),
    "bare LF only, then CRLF": b"GET /t/demo/x HTTP/1.1\nHost: x\n\n\r\n\r\n",
    "NUL": head(HOST, b"X: y\x00z"),
    "DEL": head(HOST, b"X: y\x7fz"),
    "no colon": head(HOST, b"X"),
    "no name": head(HOST, b": y"),
    # what changes the connection
    "expect": head(HOST, b"Expect: 100-continue"),
    "upgrade": head(HOST, b"Connection: Upgrade", b"Upgrade: h2c"),
    "upgrade alone": head(HOST, b"Upgrade: websocket"),
    "connection names a field": head(HOST, b"Connection: close, host"),
    "connection twice": head(HOST, b"Connection: close", b"Connection: keep-alive"),
    "connection empty": head(HOST, b"Connection:"),
    "te": head(HOST, b"TE: trailers"),
    "trailer": head(HOST, b"Trailer: X"),
    "http2-settings": head(HOST, b"HTTP2-Settings: AAMAAABk"),
    # sizes
    "too many fields": head(HOST, *[b"X: y"] * MOST_FIELDS),
    "too long": head(HOST, b"X: " + b"y" * LONGEST),
    "too long, and more to come": b"GET /t/demo/x HTTP/1.1\r\nX: " + b"y" * LONGEST,
    "a path without end": b"GET /t/" + b"y" * LONGEST,
}


@pytest.mark.parametrize("name", NOT_SIMPLE)
def test_attack_what_is_not_simple_is_not_for_here(name):
    assert read(NOT_SIMPLE[name]) is HARD
    assert read(SIMPLE + NOT_SIMPLE[name], len(SIMPLE)) is HARD


@pytest.mark.parametrize("name", NOT_SIMPLE)
def test_attack_nor_when_it_comes_in_pieces(name):
    octets = NOT_SIMPLE[name]
    read_so_far = [read(octets[:end]) for end in range(0, len(octets), max(1, len(octets) // 500))]
    assert not any(isinstance(each, LeanRequest) for each in read_so_far)


def test_a_request_of_just_the_right_length():
    frame = head(HOST, b"X: ")
    assert isinstance(read(head(HOST, b"X: " + b"y" * (LONGEST - len(frame)))), LeanRequest)
    assert read(head(HOST, b"X: " + b"y" * (LONGEST - len(frame) + 1))) is HARD


def answered(answer, method=b"GET", close=False):
    lines, _, body = write_answer(answer, DATE, method, close).partition(b"\r\n\r\n")
    return lines.split(b"\r\n"), body


def test_an_answer():
    lines, body = answered(Answer(302, (*STRICT, (b"Location", b"https://example.com/")), b"Moved\n"))
    assert lines == [
        b"HTTP/1.1 302 Found",
        *[b"%s: %s" % field for field in STRICT],
        b"Location: https://example.com/",
        b"Content-Length: 6",
        b"Date: " + DATE,
    ]
    assert body == b"Moved\n"


def test_every_answer_has_its_own_status_and_length():
    answers = [Answer(status, STRICT, body) for status in (200, 404) for body in (b"", b"a", b"bc")]
    for answer in answers * 2:
        lines, body = answered(answer)
        assert lines[0].startswith(b"HTTP/1.1 %d " % answer.status) and body == answer.body
        assert b"Content-Length: %d" % len(answer.body) in lines


def test_an_answer_to_head_has_no_body_but_its_length():
    lines, body = answered(Answer(200, STRICT, b"hello"), b"HEAD")
    assert b"Content-Length: 5" in lines and body == b""


@pytest.mark.parametrize("status", [204, 304])
def test_an_answer_that_cannot_have_a_body(status):
    lines, body = answered(Answer(status, STRICT, b"hello"))
    assert not any(line.startswith(b"Content-Length") for line in lines) and body == b""


def test_the_last_answer():
    assert answered(Answer(200, STRICT, b""), close=True)[0][-1] == b"Connection: close"


# --- mail that is handed over ---

POST = b"POST /v1/send?access_token=x HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n"


def test_a_request_with_a_body():
    request = read(POST + b"abcdGET")
    assert request == LeanRequest(
        b"POST", b"/v1/send?access_token=x", ((b"host", b"x"), (b"content-length", b"4")), False, len(POST) + 4, b"abcd"
    )


def test_a_body_comes_in_pieces():
    octets = POST + b"abcd"
    for end in range(len(octets)):
        assert read(octets[:end]) is None


def test_a_body_of_the_largest_size():
    octets = POST.replace(b"4", b"%d" % LONGEST_BODY) + bytes(LONGEST_BODY)
    assert read(octets).end == len(octets)
    assert read(POST.replace(b"4", b"%d" % (LONGEST_BODY + 1))) is HARD


@pytest.mark.parametrize(
    "octets",
    [
        POST.replace(b"Content-Length: 4\r\n", b""),
        POST.replace(b": 4", b": 4, 4"),
        POST.replace(b": 4", b": +4"),
        POST.replace(b": 4", b": 0x4"),
        POST.replace(b": 4", b":"),
        POST.replace(b": 4\r\n", b": 4\r\nContent-Length: 4\r\n"),
        POST.replace(b": 4\r\n", b": 4\r\nTransfer-Encoding: chunked\r\n"),
        POST.replace(b": 4\r\n", b": 4\r\nExpect: 100-continue\r\n"),
        POST.replace(b": 4\r\n", b": 4\r\nContent_Length: 5\r\n"),
        POST.replace(b"/send", b"/resend"),
        POST.replace(b"/send", b"/send/"),
        POST.replace(b"/send", b"/sendx"),
        POST.replace(b"POST", b"PUT"),
        POST.replace(b"1.1", b"1.0"),
        POST.replace(b"POST", b"GET").replace(b"/v1/send", b"/t/x"),
    ],
)
def test_attack_smuggling_by_the_length_of_a_body(octets):
    assert read(octets) is HARD
