"""What a request's body says: read strictly, whatever it is written in, and its names made those of a model."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from functools import cache, lru_cache
from types import UnionType
from typing import Any, NamedTuple, NoReturn, TypeVar, Union, get_args, get_origin

from pydantic import AliasChoices, BaseModel, ValidationError

from smtpeter.web.rest.forms import read_multipart, read_urlencoded
from smtpeter.web.rest.values import ApiError, Request
from smtpeter.web.tokens import QUOTED, TOKEN

SMALL = 64 * 1024
"""Octets of a body that only tells a few things."""

DEPTH = 32
"""Levels of objects and lists, one in the other."""

DIGITS = 30
"""Characters of a number."""

JSON = "application/json"
URLENCODED = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data"

_BOM = b"\xef\xbb\xbf"
_TYPE = re.compile(rf"[ \t]*+({TOKEN}/{TOKEN})[ \t]*+(;.*+)?")
# Boundaries without quotes have what is in no token, too.
_PARAMETER = re.compile(rf"[ \t]*+;[ \t]*+(?:({TOKEN})=({QUOTED}|(?:{TOKEN}|[:/=?()])++))?+")
_QUOTED_PAIR = re.compile(r"\\(.)")
_SENTENCES = {
    "missing": "this is missing",
    "string_type": "write a text",
    "bool_type": "write true or false",
    "bool_parsing": "write true or false",
    "int_type": "write a whole number",
    "int_parsing": "write a whole number",
    "list_type": "write a list",
    "dict_type": "write an object",
    "model_type": "write an object",
}
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")

M = TypeVar("M", bound=BaseModel)


class ContentType(NamedTuple):
    """A media type in lower case, and its parameters by lower-case names."""

    name: str
    parameters: Mapping[str, str]


def read_body(request: Request, model: type[M]) -> M:
    """The body of a request that may only be a small one, as an instance of ``model``.

    :raises ApiError: 400, naming the field and what was expected; 413; 415.
    """
    if request.file is not None or len(request.body) > SMALL:
        raise ApiError(413, f"The body of this request may have {SMALL} octets")
    known, rest = fold(read_tree(request.field(b"content-type"), request.body), model)
    if rest and model.model_config.get("extra") == "forbid":
        raise ApiError(400, f"{shown(next(iter(rest)))}: there is no such field in this request")
    return validated(model, known)


def read_tree(content_type: bytes, octets: bytes) -> dict[str, Any]:
    """What a body says, by the names that its sender chose: texts, numbers, booleans, None, lists, objects; and
    :class:`smtpeter.web.rest.forms.File` where a form has files.

    :raises ApiError: 400 where it is malformed, 415 where it is of another type.
    """
    name, parameters = read_type(content_type, octets)
    if parameters.get("charset", "utf-8").lower() not in ("utf-8", "utf8", "us-ascii"):
        raise ApiError(415, "Content-Type: the charset must be UTF-8")
    if name == JSON:
        return read_json(octets)
    if name == URLENCODED:
        if octets.lstrip()[:1] == b"{":
            raise ApiError(400, "This looks like JSON, and Content-Type says that it is a form: write application/json")
        return read_urlencoded(octets)
    return read_multipart(octets, parameters.get("boundary", ""))


@lru_cache(maxsize=100)
def _written_type(value: bytes) -> ContentType | None:
    match = _TYPE.fullmatch(value.decode("latin-1"))
    if match is None:
        return None
    rest, position = match[2] or "", 0
    parameters: dict[str, str] = {}
    while position < len(rest):
        parameter = _PARAMETER.match(rest, position)
        if parameter is None:
            return None
        position = parameter.end()
        if parameter[1]:
            value_text = parameter[2]
            if value_text.startswith('"'):
                value_text = _QUOTED_PAIR.sub(r"\1", value_text[1:-1])
            parameters.setdefault(parameter[1].lower(), value_text)
    return ContentType(match[1].lower(), parameters)


def read_type(value: bytes, octets: bytes = b"") -> ContentType:
    """What a body is written in.

    :raises ApiError: 415, for what is not read here.
    """
    if not value:
        if octets.removeprefix(_BOM).lstrip()[:1] == b"{":
            return ContentType(JSON, {})
        raise ApiError(415, "Content-Type is missing: write application/json")
    # Those of forms with files are new each time, by their boundaries.
    is_common = len(value) <= 64 and b"multipart" not in value.lower()
    found = _written_type(value) if is_common else _written_type.__wrapped__(value)
    if found is None or found.name not in (JSON, URLENCODED, MULTIPART):
        raise ApiError(415, f"Content-Type: {JSON}, {URLENCODED} and {MULTIPART} are read here")
    return found


def digest_of(content_type: bytes, octets: bytes) -> bytes:
    """What tells requests apart: SHA-256 of the media type and of the body, without the boundary of a form, which is
    another one each time.

    :raises ApiError: 415.
    """
    name, parameters = read_type(content_type, octets)
    if name == MULTIPART:
        octets = octets.replace(parameters.get("boundary", "").encode("latin-1") or b"--", b"")
    return hashlib.sha256(b"%s\0%s" % (name.encode("ascii"), octets)).digest()


# --- JSON -----------------------------------------------------------------------------------------------------------


def read_json(octets: bytes) -> dict[str, Any]:
    """An object of JSON (RFC 8259), with nothing in it that two readers could understand in two ways.

    :raises ApiError: 400.
    """
    try:
        text = octets.removeprefix(_BOM).decode("utf-8")
    except UnicodeDecodeError as error:
        raise ApiError(400, f"This JSON is not UTF-8, from octet {error.start} on") from None
    try:
        value = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise ApiError(400, f"This is no JSON: {error.msg} in line {error.lineno}, column {error.colno}") from None
    except RecursionError:
        raise _too_deep("") from None
    if not isinstance(value, dict):
        raise ApiError(400, 'This JSON is no object: write {"field": value, ...}')
    if text.count("[") + text.count("{") > DEPTH:
        _check_depth(value)
    if _SURROGATE.search(octets):
        for name, each in value.items():
            _check_characters(name, each)
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise ApiError(400, f"{shown(name)}: given twice in one object")
            seen.add(name)
    return found


def _integer(text: str) -> int:
    if len(text.removeprefix("-")) > DIGITS:
        raise ApiError(400, f"This JSON has a number of more than {DIGITS} digits")
    return int(text)


def _number(text: str) -> float:
    value = float(text)
    if len(text.removeprefix("-")) > DIGITS or not math.isfinite(value):
        raise ApiError(400, f"This JSON has a number that is too large, or has more than {DIGITS} digits")
    return value


def _constant(text: str) -> NoReturn:
    raise ApiError(400, f"This is no JSON: {text} is no number there")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_object, parse_int=_integer, parse_float=_number, parse_constant=_constant
)


def _check_depth(tree: dict[str, Any]) -> None:
    for name, value in tree.items():
        level = [value]
        for _ in range(DEPTH - 1):
            several = (
                each.values() if isinstance(each, dict) else each for each in level if isinstance(each, (dict, list))
            )
            level = [inner for each in several for inner in each if isinstance(inner, (dict, list))]
            if not level:
                break
        else:
            raise _too_deep(name)


def _check_characters(name: str, value: Any) -> None:
    left = [name, value]
    while left:
        each = left.pop()
        if isinstance(each, str):
            try:
                each.encode("utf-8")
            except UnicodeEncodeError:
                raise ApiError(400, f"{shown(name)}: half of a surrogate pair is no character") from None
        elif isinstance(each, dict):
            left += each
            left += each.values()
        elif isinstance(each, list):
            left += each


def _too_deep(name: str) -> ApiError:
    return ApiError(400, f"{shown(name)}: nested deeper than {DEPTH} levels" if name else
                    f"This JSON is nested deeper than {DEPTH} levels")  # fmt: skip


def shown(name: str) -> str:
    """A name that a client chose, as an error may repeat it."""
    if not name or not name.isprintable():
        return "a field"
    return name if len(name) <= 60 else f"{name[:60]}..."


# --- names ----------------------------------------------------------------------------------------------------------


class _Place(NamedTuple):
    """Where the value of a name belongs: the name that the model knows, and the model of what is in it."""

    key: str
    model: type[BaseModel] | None


@cache
def _places(model: type[BaseModel]) -> Mapping[str, _Place]:
    """By every name that fields of a model have, in lower case."""
    places: dict[str, _Place] = {}
    for name, field in model.model_fields.items():
        alias = field.validation_alias or field.alias or name
        names = [str(each) for each in alias.choices] if isinstance(alias, AliasChoices) else [str(alias)]
        place = _Place(names[0], _model_in(field.annotation))
        places.update((each.lower(), place) for each in names)
    return places


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The model of an annotation such as ``Model | None`` or ``list[Model]``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) in (list, tuple, Union, UnionType):
        return next((found for found in map(_model_in, get_args(annotation)) if found is not None), None)
    return None


def fold(
    tree: Mapping[str, Any], model: type[BaseModel], where: str = "", *, empty_is_absent: bool = False
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a model knows of a body, by the names by which it is validated, and the rest by those that were given.

    Names are compared without case, at each level that a model describes.  A null is as if nothing were there, and so
    is an object in which nothing is; forms, and programs in PHP, write an empty text or list for it.  With
    ``empty_is_absent`` so are those where anything else was meant to be.

    :raises ApiError: 400 where a field was given by two of its names.
    """
    places = _places(model)
    known: dict[str, Any] = {}
    rest: dict[str, Any] = {}
    for name, value in tree.items():
        place = places.get(name.lower() if name.isascii() else name)
        if place is None:
            rest[name] = value
            continue
        if value is None or (empty_is_absent and value in ("", [])):
            continue
        key, inner = place
        if key in known:
            raise ApiError(400, f"{where}{key}: given twice, under two of its names")
        if inner is not None:
            if isinstance(value, dict):
                value = fold(value, inner, f"{where}{key}.")[0]
            elif isinstance(value, list):
                value = [
                    fold(each, inner, f"{where}{key}.{number}.")[0] if isinstance(each, dict) else each
                    for number, each in enumerate(value)
                ]
            if value in ({}, [], ""):
                continue
        known[key] = value
    return known, rest


def validated(model: type[M], values: Mapping[str, Any]) -> M:
    """An instance of a model.

    :raises ApiError: 400, naming the field and what was expected.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise ApiError(400, explain(error)) from None


def explain(error: ValidationError) -> str:
    """The first thing that is wrong, in one sentence; nothing that was given is repeated in it."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    field = ".".join(shown(str(part)) for part in first["loc"])
    message = _SENTENCES.get(first["type"]) or first["msg"].removeprefix("Value error, ")
    return f"{field}: {message}" if field else message
