"""Content of strangers that must not do anything where it is served."""

from __future__ import annotations

import pytest

from smtpeter.web.rest.downloads import fields_of, safe_type


@pytest.mark.parametrize(
    "type",
    [
        "image/png", "application/pdf", "text/csv", "text/plain", "text/calendar", "application/zip", "message/rfc822",
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    ],
)  # fmt: skip
def test_the_type_of_a_file_is_told(type: str) -> None:
    assert safe_type(type) == type.encode("ascii")


@pytest.mark.parametrize(
    "type",
    [
        "text/html", "application/xhtml+xml", "image/svg+xml", "text/xml", "application/xml", "application/rss+xml",
        "text/javascript", "application/javascript", "application/x-javascript", "text/ecmascript", "text/css",
        "text/xsl", "application/xslt+xml", "multipart/x-mixed-replace", "multipart/related", "application/wasm",
        "application/x-shockwave-flash", "application/x-mimearchive", "application/manifest+json",
        "application/vnd.mozilla.xul+xml", "application/mathml+xml", "text/cache-manifest",
    ],
)  # fmt: skip
def test_what_browsers_run_is_told_to_be_anything(type: str) -> None:
    assert safe_type(type) == b"application/octet-stream"


@pytest.mark.parametrize(
    "type", ["", "text", "a/b/c", "text/plain\r\nX: y", "text/pl ain", "a/b;c=d", "é/b", "a" * 200]
)
def test_a_type_that_is_none_is_not_told(type: str) -> None:
    assert safe_type(type) == b"application/octet-stream"


def test_header_injection_by_a_files_name() -> None:
    fields = dict(fields_of('a"\r\nSet-Cookie: b=c\r\n\r\n<script>\\\x00.html'))
    assert fields[b"Content-Disposition"] == (
        b'attachment; filename="a___Set-Cookie: b=c____<script>__.html"; '
        b"filename*=UTF-8''a%22%0D%0ASet-Cookie%3A%20b%3Dc%0D%0A%0D%0A%3Cscript%3E%5C%00.html"
    )


@pytest.mark.parametrize(
    ("name", "disposition"),
    [
        ("", b"attachment"),
        ("a b.pdf", b'attachment; filename="a b.pdf"'),
        ("é.pdf", b"attachment; filename=\"_.pdf\"; filename*=UTF-8''%C3%A9.pdf"),
        ("\ud800", b"attachment; filename=\"_\"; filename*=UTF-8''%3F"),
    ],
)
def test_the_name_to_save_it_under(name: str, disposition: bytes) -> None:
    assert dict(fields_of(name))[b"Content-Disposition"] == disposition


def test_nothing_runs_where_it_is_served() -> None:
    fields = dict(fields_of("a.html"))
    assert fields[b"Content-Security-Policy"] == b"sandbox; default-src 'none'"
    assert fields[b"Cross-Origin-Resource-Policy"] == b"same-origin"
