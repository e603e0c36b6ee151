"""A file that goes with a message: its type, its name, and whether the HTML shows it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import unquote

from smtpeter.mime.fields import check_text, fold, name_parameter, parameter
from smtpeter.mime.file_types import UNKNOWN, guess_type
from smtpeter.mime.parts import File, NewPart, base64_body, with_crlf
from smtpeter.mime.transfer import has_long_line

FILE_NAME_LIMIT = 255
"""Characters of an attachment's name."""

_TYPE_LIMIT = 200
_TOKEN = "[A-Za-z0-9!#$%&'*+.^_`{|}~-]+"
_TYPE = re.compile(rf"({_TOKEN})/({_TOKEN}) *+")
_PARAMETER = re.compile(rf'; *+({_TOKEN})=({_TOKEN}|"[ !#-\[\]-~]*+") *+')
_CONTENT_ID = re.compile(r"[A-Za-z0-9!#$%*+/=?^_{|}~.@-]{1,200}")
_REFERENCE = re.compile(rf"cid:({_CONTENT_ID.pattern})", re.I)
_SPLIT = ("message/partial", "message/external-body")  # a reader fetches the rest of them, who knows where
_OWN_PARAMETERS = ("name", "name*", "boundary")


class Attachment(NamedTuple):
    """A file.  Without a type it is guessed by the name.

    It is shown within the HTML where that refers to it (``cid:...``) by ``content_id`` or by its name.
    """

    data: bytes
    name: str = ""
    type: str = ""
    content_id: str = ""


def attach(attachments: Sequence[Attachment], html: str) -> tuple[list[NewPart], list[NewPart]]:
    """Those that the HTML shows, and the others.

    :raises ValueError: naming the field that cannot be used, and why.
    """
    references = _references(html) if attachments else frozenset()
    shown: dict[str, NewPart] = {}
    others: list[NewPart] = []
    for given in attachments:
        content_id = given.content_id
        if content_id.startswith("<") and content_id.endswith(">"):
            content_id = content_id[1:-1]
        if given.content_id and _CONTENT_ID.fullmatch(content_id) is None:
            raise ValueError("attachments.cid: this may have 200 letters, digits and marks, as in logo@example.com")
        for reference in (content_id, given.name):
            if reference in references and reference not in shown and _CONTENT_ID.fullmatch(reference):
                shown[reference] = _part(given, "inline", reference)
                break
        else:
            others.append(_part(given, "attachment", content_id))
    return list(shown.values()), others


def _references(html: str) -> frozenset[str]:
    """The Content-IDs that are shown, without the escapes of URLs.  One that spells a control character is none."""
    found = {reference for reference in _REFERENCE.findall(html) if "%0" not in reference and "%1" not in reference}
    return frozenset(unquote("\n".join(found)).split("\n"))


def _part(given: Attachment, disposition: str, content_id: str) -> NewPart:
    type, parameters = _read_type(given)
    body: Sequence[bytes | File] | None = None
    encoding = "base64"
    if type.startswith("message/"):
        # It must not be encoded (RFC 2046 section 5.2.1); where it could not go as it is, it is only a file.
        octets = with_crlf(given.data)
        if has_long_line(octets) or b"\0" in octets:
            type, parameters = UNKNOWN, []
        else:
            body, encoding = [octets], "7bit" if octets.isascii() else "8bit"
    types, dispositions = [type, *parameters], [disposition]
    if given.name:
        check_text(given.name, "attachments.name")
        if len(given.name) > FILE_NAME_LIMIT:
            raise ValueError(f"attachments.name: this may have {FILE_NAME_LIMIT} characters")
        first, *rest = name_parameter(given.name)
        types.append(first)
        dispositions += parameter("filename", given.name)
        dispositions[0] += ";"
    else:
        rest = []
    header = fold("Content-Type", [*[f"{chunk};" for chunk in types[:-1]], types[-1], *rest])
    header += f"Content-Transfer-Encoding: {encoding}\r\n{fold('Content-Disposition', dispositions)}"
    if content_id:
        header += f"Content-ID: <{content_id}>\r\n"
    return NewPart(header, base64_body(given.data) if body is None else body, encoding == "8bit")


def _read_type(given: Attachment) -> tuple[str, list[str]]:
    """Type in lower case, and the parameters that go with it."""
    text = given.type.strip(" ") or guess_type(given.name)
    match = _TYPE.match(text)
    if match is None or len(text) > _TYPE_LIMIT:
        raise ValueError("attachments.type: this has to be like image/png")
    type = f"{match[1]}/{match[2]}".lower()
    if type.startswith("multipart/") or type in _SPLIT:
        raise ValueError("attachments.type: multipart types, message/partial and message/external-body are not taken")
    parameters: dict[str, str] = {}
    position = match.end()
    while position < len(text):
        found = _PARAMETER.match(text, position)
        if found is None:
            raise ValueError("attachments.type: what stands behind the type has to be like ; charset=utf-8")
        if found[1].lower() not in _OWN_PARAMETERS:
            parameters.setdefault(found[1].lower(), found[2])
        position = found.end()
    if type.startswith("text/") and "charset" not in parameters and _is_utf8(given.data):
        parameters["charset"] = "utf-8"
    return type, [f"{name}={value}" for name, value in parameters.items()]


def _is_utf8(data: bytes) -> bool:
    """Whether text has to say that it is UTF-8, since it would be taken for ASCII."""
    if data.isascii():
        return False
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
