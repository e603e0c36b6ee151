"""The fields of ``POST /v1/send``: their names, what each may be, and what people are told of them."""

from __future__ import annotations

import binascii
from collections.abc import Iterable
from typing import Annotated, Any

from pydantic import AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field, PlainValidator, WithJsonSchema

from smtpeter.interfaces import IFeatureCatalog
from smtpeter.model.feature import OptionKind
from smtpeter.web.rest.forms import File

ATTACHMENTS = 400
"""Of one message."""

_WHITE = b" \t\r\n"


def _texts(value: Any) -> list[str]:
    """A text, or a list of texts, without empty ones."""
    given = value if isinstance(value, list) else [value]
    if not all(isinstance(each, str) for each in given):
        raise ValueError("write a text, or a list of texts")
    return [each for each in given if each]


def _recipients(value: Any) -> list[str]:
    return list(value) if isinstance(value, dict) else _texts(value)


def _whole(value: Any) -> str | bytes:
    """A message as text, or its octets out of a file."""
    if isinstance(value, File):
        return value.octets
    if isinstance(value, str):
        return value
    raise ValueError("write a text")


def _content(value: Any) -> Any:
    """A text; in a form a file can stand for it."""
    if not isinstance(value, File):
        return value
    try:
        return value.octets.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError("this file is not UTF-8") from None


def _attachment_octets(value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    if not isinstance(value, str):
        raise ValueError("write a text in base64")
    try:
        try:
            return binascii.a2b_base64(value, strict_mode=True)
        except binascii.Error:
            return binascii.a2b_base64(value.encode("ascii").translate(None, _WHITE), strict_mode=True)
    except ValueError:
        raise ValueError("this is not base64") from None


def _attachments(value: Any) -> list[Any]:
    """The items: files are items themselves, or stand in the place of an item's data."""
    items: list[Any] = []
    if isinstance(value, list) and len(value) > ATTACHMENTS:
        raise ValueError(f"a message has at most {ATTACHMENTS}")
    for item in value if isinstance(value, list) else [value]:
        if isinstance(item, File):
            item = {"data": item}
        if isinstance(item, dict) and isinstance(item.get("data"), File):
            file = item["data"]
            item = {"name": file.name, "type": file.type} | item | {"data": file.octets}
        items.append(item)
    return items


def _extra(value: Any) -> dict[str, str]:
    if value in ([], ""):
        return {}
    if not isinstance(value, dict) or not all(isinstance(each, (str, int, float)) for each in value.values()):
        raise ValueError("write an object of names and texts")
    return {name: str(each) for name, each in value.items()}


def _switch(value: Any) -> Any:
    """What a form has for a box that is not ticked is no."""
    return False if value == "" else value


def _one_or_more(description: str, *examples: Any) -> Any:
    schema = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}
    return WithJsonSchema(schema | {"description": description, "examples": list(examples)})


Content = Annotated[str, BeforeValidator(_content)]
Texts = Annotated[list[str], BeforeValidator(_texts)]
_LENIENT = ConfigDict(coerce_numbers_to_str=True, extra="ignore", hide_input_in_errors=True)


class Attachment(BaseModel):
    """A file that goes with the message."""

    model_config = _LENIENT
    data: Annotated[
        bytes | None,
        PlainValidator(_attachment_octets),
        WithJsonSchema({"type": "string", "contentEncoding": "base64", "description": "What is in it, in base64."}),
    ] = None
    url: str | None = Field(
        None, description="Attachments by URL are not available here.", json_schema_extra={"deprecated": True}
    )
    name: str = Field("", description="The name of the file.", examples=["invoice.pdf"])
    type: str = Field("", description="Its media type; guessed by its name where it is absent.",
                      examples=["application/pdf"])  # fmt: skip
    cid: str = Field("", description="Its Content-ID, so that the HTML can show it: `<img src=\"cid:logo\">`.",
                     examples=["logo"])  # fmt: skip


class Unsubscribe(BaseModel):
    """How readers leave a list (RFC 2369, RFC 8058)."""

    model_config = _LENIENT
    email: str = Field("", description="An address to which they write.", examples=["leave@example.com"])
    url: str = Field("", description="A page that they visit.", examples=["https://example.com/leave/123"])
    oneclick: Annotated[bool, BeforeValidator(_switch)] = Field(
        False, description="Whether a POST to the URL is enough (RFC 8058)."
    )


class Dsn(BaseModel):
    """What the sender wants to hear of the delivery (RFC 3461)."""

    model_config = _LENIENT
    notify: Annotated[
        Texts,
        _one_or_more("`NEVER`, or a list of `FAILURE`, `SUCCESS` and `DELAY`.", "FAILURE,DELAY"),
    ] = Field(default_factory=list)
    ret: str = Field("", description="How much of the message to return: `FULL` or `HDRS`.", examples=["HDRS"])
    envid: str = Field("", description="A name for the envelope, at most 100 characters.", examples=["order-17"])
    orcpt: str = Field("", description="The recipient as it first was: `type;address`, or an address.",
                       examples=["rfc822;jane@example.com"])  # fmt: skip


class SendRequest(BaseModel):
    """A message, to whom it goes, and what is done with it.

    Names of fields are compared without case.  Fields that are not known are ignored.
    """

    model_config = _LENIENT | ConfigDict(title="SendRequest")

    recipients: Annotated[
        list[str],
        BeforeValidator(_recipients),
        WithJsonSchema(
            {
                "description": "Where the message goes, and nothing else decides that: bare addresses, as a list (each "
                "item one or several with commas between), a text, or an object of addresses and personal data. "
                "Also `recipient`.",
                "anyOf": [
                    {"type": "string"},
                    {"type": "array", "items": {"type": "string"}},
                    {"type": "object", "additionalProperties": True},
                ],
                "examples": [["jane@example.com", "joe@example.org"], "jane@example.com"],
            }
        ),
    ] = Field(validation_alias=AliasChoices("recipients", "recipient"))
    envelope: str = Field("", description="The bare address that is told of failures; empty or absent: nobody is.",
                          examples=["bounces@example.com"])  # fmt: skip
    mime: Annotated[
        str | bytes,
        PlainValidator(_whole),
        WithJsonSchema(
            {
                "type": "string",
                "description": "The whole message; then none of the fields of which one is composed. Also `body`.",
                "examples": ["From: jane@example.com\r\nSubject: Hello\r\n\r\nHello!\r\n"],
            }
        ),
    ] = Field("", validation_alias=AliasChoices("mime", "body"))
    from_: Annotated[
        Texts,
        _one_or_more("One address, with a name or without.", "Jane <jane@example.com>"),
    ] = Field(default_factory=list, validation_alias="from")
    to: Annotated[Texts, _one_or_more("Shown as recipients.", "Joe <joe@example.org>")] = Field(default_factory=list)
    cc: Annotated[Texts, _one_or_more("Shown as further recipients.")] = Field(default_factory=list)
    bcc: Annotated[Texts, _one_or_more("Never shown; `recipients` has to have them.")] = Field(default_factory=list)
    replyto: Annotated[Texts, _one_or_more("Where answers go. Also `replyTo`.")] = Field(default_factory=list)
    subject: str = Field("", description="The subject.", examples=["Your order"])
    text: Content = Field("", description="The message as plain text.", examples=["Hello Joe!"])
    html: Content = Field("", description="The message as HTML.", examples=["<p>Hello Joe!</p>"])
    unsubscribe: Unsubscribe | None = Field(None, description="How readers leave a list.")
    extra: Annotated[
        dict[str, str],
        BeforeValidator(_extra),
        WithJsonSchema(
            {
                "type": "object",
                "additionalProperties": {"type": "string"},
                "description": "Further fields of the header; only `X-` ones. Also `headers`.",
                "examples": [{"X-Order": "17"}],
            }
        ),
    ] = Field(default_factory=dict, validation_alias=AliasChoices("extra", "headers"))
    attachments: Annotated[list[Attachment], BeforeValidator(_attachments)] = Field(
        default_factory=list, description="Files."
    )
    dsn: Dsn | None = Field(None, description="What the sender wants to hear of the delivery.")
    template: Any = Field(None, description="Templates are not available here.", json_schema_extra={"deprecated": True})
    data: Any = Field(None, description="Templates are not available here.", json_schema_extra={"deprecated": True})
    patch: Any = Field(None, description="Templates are not available here.", json_schema_extra={"deprecated": True})


def body_schema(catalog: IFeatureCatalog) -> dict[str, Any]:
    """The JSON schema of a request, with all options that there are."""
    schema = SendRequest.model_json_schema(mode="validation", by_alias=True)
    properties: dict[str, Any] = schema["properties"]
    properties |= {
        "tags": {
            "description": "Words that are kept with the message and its events, without white space and semicolons: "
            "a list, or a text with commas or semicolons between.",
            "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}],
            "examples": [["order", "shop-7"]],
        },
        "maxdelivertime": _time("Not delivered after this time, in UTC."),
        "send_at": _time("Not delivered before this time, in UTC. Also `sendat`."),
        "images": {"type": "string", "enum": ["default"], "description": "What becomes of embedded images."},
    }
    properties |= {option.name: _option_schema(option.kind, option.help, option.aliases) for option in catalog.options}
    return schema


def _time(description: str) -> dict[str, Any]:
    return {"type": "string", "description": description, "examples": ["2030-12-31 23:59:59"]}


def _option_schema(kind: OptionKind, help: str, aliases: Iterable[str]) -> dict[str, Any]:
    also = ", ".join(f"`{alias}`" for alias in aliases)
    return {
        "type": "boolean" if kind is OptionKind.SWITCH else "string",
        "description": f"{help}. Also {also}." if also else help,
    }
