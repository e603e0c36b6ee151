"""Lines that a client may send, and what the standards make of the arguments of MAIL and RCPT, by hand."""

from __future__ import annotations

import base64
from typing import NamedTuple


class Sender(NamedTuple):
    """What an accepted MAIL says."""

    path: str
    body: str = "7BIT"
    smtputf8: bool = False
    ret: str | None = None
    envid: str | None = None
    size: int = 0


class Rcpt(NamedTuple):
    """What an accepted RCPT says."""

    address: str
    notify: str | None = None
    orcpt: str | None = None


BIG = 10**12

# An accepted argument has its meaning, another one the reply that it gets.  "size": it hangs on the limit.
MAIL: dict[str, Sender | str] = {
    "FROM:<a@a.test>": Sender("a@a.test"),
    "FROM:<>": Sender(""),
    "from: <A.b+c@A.test>": Sender("A.b+c@A.test"),
    "FROM:<@r.test,@s.test:a@a.test>": Sender("a@a.test"),
    'FROM:<"a>b c"@a.test>': Sender('"a>b c"@a.test'),
    "FROM:<a@[192.0.2.1]> BODY=8BITMIME": Sender("a@[192.0.2.1]", "8BITMIME"),
    "FROM:<a@a.test> size=10 body=7bit": Sender("a@a.test", size=10),
    "FROM:<a@a.test> SIZE=100": Sender("a@a.test", size=100),
    f"FROM:<a@a.test> SIZE={BIG}": Sender("a@a.test", size=BIG),
    "FROM:<ä@a.test> SMTPUTF8": Sender("ä@a.test", smtputf8=True),
    "FROM:<a@a.test> RET=hdrs ENVID=a+2Bb": Sender("a@a.test", ret="HDRS", envid="a+2Bb"),
    "FROM:<a@a.test> AUTH=<>": Sender("a@a.test"),
    "FROM:<a@a.test> AUTH=e+3Dmc2@a.test": Sender("a@a.test"),
    "": "501 5.5.4",
    "FROM": "501 5.5.4",
    "TO:<a@a.test>": "501 5.5.4",
    "<a@a.test>": "501 5.5.4",
    "FROM:a@a.test": "501 5.1.7",
    "FROM:<a@a.test": "501 5.1.7",
    "FROM:<a@@a.test>": "501 5.1.7",
    "FROM:<a.@a.test>": "501 5.1.7",
    "FROM:<a@a..test>": "501 5.1.7",
    "FROM:<a@[192.0.2.256]>": "501 5.1.7",
    "FROM:<postmaster>": "501 5.1.7",
    "FROM:<" + "l" * 65 + "@a.test>": "501 5.1.7",
    "FROM:<ä@a.test>": "553 5.6.7",
    "FROM:<a@a.test>SIZE=1": "501 5.5.4",
    "FROM:<a@a.test> SIZE=1x": "501 5.5.4",
    "FROM:<a@a.test> SIZE": "501 5.5.4",
    "FROM:<a@a.test> BODY=BINARYMIME": "501 5.5.4",
    "FROM:<a@a.test> SMTPUTF8=1": "501 5.5.4",
    "FROM:<a@a.test> RET=ALL": "501 5.5.4",
    "FROM:<a@a.test> RET=FULL RET=FULL": "501 5.5.4",
    "FROM:<a@a.test> ENVID=a+0Ab": "501 5.5.4",
    "FROM:<a@a.test> ENVID=" + "e" * 101: "501 5.5.4",
    "FROM:<a@a.test> AUTH=+0D": "501 5.5.4",
    "FROM:<a@a.test> =x": "501 5.5.4",
    "FROM:<a@a.test> NOTIFY=NEVER": "555 5.5.4",
    "FROM:<a@a.test> X-FOO": "555 5.5.4",
}
RCPT: dict[str, Rcpt | str] = {
    "TO:<b@b.test>": Rcpt("b@b.test"),
    "TO:<c@c.test>": Rcpt("c@c.test"),
    "to:<PostMaster>": Rcpt("PostMaster@mx.test"),
    'TO:<"b@x"@b.test>': Rcpt('"b@x"@b.test'),
    "TO:<@r.test:b@b.test>": Rcpt("b@b.test"),
    "TO:<b@b.test> NOTIFY=DELAY,success ORCPT=rfc822;b+2Bx@b.test": Rcpt(
        "b@b.test", "SUCCESS,DELAY", "rfc822;b+2Bx@b.test"
    ),
    "TO:<b@b.test> NOTIFY=never": Rcpt("b@b.test", "NEVER"),
    "": "501 5.5.4",
    "FROM:<b@b.test>": "501 5.5.4",
    "TO:<>": "501 5.1.3",
    "TO:b@b.test": "501 5.1.3",
    "TO:<b@b.test,c@c.test>": "501 5.1.3",
    "TO:<b>": "501 5.1.3",
    "TO:<b@" + "d" * 64 + ".test>": "501 5.1.3",
    "TO:<b@b.test> NOTIFY=NEVER,DELAY": "501 5.5.4",
    "TO:<b@b.test> NOTIFY=": "501 5.5.4",
    "TO:<b@b.test> ORCPT=b@b.test": "501 5.5.4",
    "TO:<b@b.test> ORCPT=rfc822;a+0Ab": "501 5.5.4",
    "TO:<b@b.test> SIZE=1": "555 5.5.4",
    "TO:<b@b.test> BODY=7BIT": "555 5.5.4",
}


def _base64(octets: bytes) -> bytes:
    return base64.b64encode(octets)


RIGHT = b"AUTH PLAIN " + _base64(b"\0alice\0secret")
WRONG = b"AUTH PLAIN " + _base64(b"\0alice\0wrong")
RESPONSES = [
    b"*", b"=", b"", b"!", b"YQ", _base64(b"alice"), _base64(b"alice"), _base64(b"secret"), _base64(b"secret"),
    _base64(b"bob"), _base64(b"\0alice\0secret"), _base64(b"\0alice\0secret"), _base64(b"alice\0alice\0secret"),
    _base64(b"boss\0alice\0secret"), _base64(b"\0alice\0wrong"), _base64(b"a\0b"), _base64(b"\0\xff\0x"),
    _base64(b"\0a\0b\0c"), _base64(b"\xff"),
]  # fmt: skip
AUTHS = [
    RIGHT, RIGHT, RIGHT.lower().replace(RIGHT[11:].lower(), RIGHT[11:]), WRONG, b"AUTH PLAIN", b"AUTH LOGIN",
    b"AUTH LOGIN", b"AUTH", b"AUTH CRAM-MD5", b"AUTH XOAUTH2 abc",
    *(b"AUTH PLAIN " + response for response in RESPONSES), *(b"AUTH LOGIN " + response for response in RESPONSES),
]  # fmt: skip
HELLOS = [b"EHLO client.test", b"ehlo [192.0.2.7]", b"HELO client.test", b"EHLO", b"HELO ", b"EHLO " + b"x" * 256]
ANYTIME = [
    b"NOOP", b"NOOP x", b"noop", b"RSET", b"RSET x", b"HELP", b"HELP MAIL", b"VRFY b@b.test", b"VRFY", b"EXPN list",
    b"TURN", b"ETRN x", b"STARTTLS x", b"DATA x",
]  # fmt: skip
BAD = [
    b"", b" ", b"FOO", b"BDAT 3 LAST", b"MAILFROM:<a@a.test>", b"\xff\xfe", b"NOOP\0", b"NO\rOP", b"x" * 2100,
    "ﬆarttls".encode(), "maıl FROM:<a@a.test>".encode(), b"XCLIENT ADDR=1.2.3.4", b"GET / HTTP/1.1",
]  # fmt: skip
CONTENTS = [
    b"Subject: x\r\n\r\nhello\r\n",
    b"",
    b"\r\nno header\r\n",
    b"just text\r\nand more\r\n",
    b"A: b\r\n\r\n..\r\n..x\r\n.y\r\n",
    b"A: b\r\n\r\nMAIL FROM:<a@a.test>\r\nRCPT TO:<b@b.test>\r\nDATA\r\n",
    b"A: b\r\n\r\nRSET\r\nQUIT\r\n",
    b"A: b\r\n\r\na\nb\r\n",
    b"A: b\r\n\r\na\rb\r\n",
    b"A: b\r\n\r\na\0b\r\n",
    b"A: b\r\n\r\nx\n.\nMAIL FROM:<a@a.test>\r\n",
    b"A: b\r\n\r\nx\r\n.\nMAIL FROM:<a@a.test>\r\n",
    b"A: b\r\n\r\nx\n.\r\nMAIL FROM:<a@a.test>\r\n",
    b"A: b\r\n\r\nx\r.\rDATA\r\n",
    b"A: b\r\n\r\n" + b"y" * 400 + b"\r\n",
    b"A: b\r\n\r\n" + b"y" * 400 + b"\nz\r\n",
    b"A: b\r\nLong: " + b"z" * 3100 + b"\r\n\r\nx\r\n",
    b"Received: x\r\n" * 3 + b"\r\nx\r\n",
    b"X-SMTPeter-Tags: a b\r\n\r\nx\r\n",
]
