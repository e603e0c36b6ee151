"""The description: of every route, valid, and a page that is nothing but it."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator
from pydantic import BaseModel, Field

from smtpeter.features.catalog import Catalog
from smtpeter.model.account import Scope
from smtpeter.web.rest.openapi import describe, encode, page
from smtpeter.web.rest.outgoing import make_rules
from smtpeter.web.rest.routes import Answer, Route, RouteTable
from smtpeter.web.rest.table import make_table
from tests.fakes.people import OPTIONS

SERVER = "https://mail.example.com"


@pytest.fixture(scope="module")
def table():
    """The real one; what its functions would ask is not there."""
    catalog = Catalog(options=OPTIONS)
    return make_table(
        intake=None, queue=None, content=None, sent=None, journal=None, accounts=None, secrets=None, catalog=catalog,
        clock=None, rules=make_rules(catalog, 1000), elsewhere=None, in_thread=None,
    )  # fmt: skip


@pytest.fixture(scope="module")
def document(table):
    return describe(table, SERVER, "1.2.3")


def operations(document):
    return {
        (method.upper(), path): operation
        for path, each in document["paths"].items()
        for method, operation in each.items()
    }


def test_it_is_a_description(document):
    OpenAPIV31SpecValidator(document).validate()
    assert document["openapi"] == "3.1.0" and document["info"]["version"] == "1.2.3"
    assert document["servers"] == [{"url": SERVER}]


def test_it_can_be_written(document):
    assert json.loads(encode(document)) == document


def test_every_route_is_in_it(document, table):
    assert set(operations(document)) == {(route.method, f"/v1{route.path}") for route in table.routes}


def test_every_operation_tells_what_it_is_for(document, table):
    found = operations(document)
    for route in table.routes:
        operation = found[route.method, f"/v1{route.path}"]
        assert operation["summary"] and operation["tags"], route.path
        assert operation["description"].endswith(f"The token has to be for `{route.scope}`.")
    assert len({each["operationId"] for each in found.values()}) == len(found)


def test_every_parameter_of_a_path_is_there_and_explained(document):
    for (_, path), operation in operations(document).items():
        named = [each for each in operation.get("parameters", ()) if each["in"] == "path"]
        assert [each["name"] for each in named] == re.findall(r"{(\w+)}", path)
        assert all(each["required"] and each["description"] for each in named), path


def test_parameters_of_queries_are_explained_and_never_needed(document):
    for operation in operations(document).values():
        for each in operation.get("parameters", ()):
            assert each["description"], each
            assert each["in"] == "path" or not each["required"]


def test_no_parameter_of_a_query_is_null(document):
    for operation in operations(document).values():
        for each in operation.get("parameters", ()):
            assert "null" not in json.dumps(each["schema"]), each
            assert "anyOf" not in each["schema"], each


def test_every_operation_needs_a_token(document):
    assert document["security"] == [{"bearer": []}, {"query": []}]
    assert all("security" not in operation for operation in operations(document).values())


def test_errors_are_alike_everywhere(document):
    for key, operation in operations(document).items():
        answers = operation["responses"]
        assert {"200", "400", "401", "403", "404", "429", "503"} <= set(answers), key
        for status, answer in answers.items():
            if int(status) >= 400:
                (kind,) = answer["content"]
                assert kind == "application/json", key
            assert (status in ("429", "503")) == ("Retry-After" in answer.get("headers", {})), (key, status)
    error = document["components"]["schemas"]["Error"]
    assert error["required"] == ["error"]


def test_no_body_where_none_is_read(document):
    for (method, path), operation in operations(document).items():
        assert ("requestBody" in operation) <= (method in ("POST", "PATCH")), path
        for kind in operation.get("requestBody", {}).get("content", ()):
            assert kind in ("application/json", "application/x-www-form-urlencoded", "multipart/form-data")


def test_fields_that_are_refused_are_said_to_be(document):
    schemas = document["components"]["schemas"]
    for name in ("NewAccount", "AccountChange", "NewLogin", "NewToken", "CredentialChange", "TokenChange"):
        assert schemas[name]["additionalProperties"] is False
        assert all(field.get("description") for field in schemas[name]["properties"].values()), name


# --- the page ---


class Reader(HTMLParser):
    """Elements, and what they refer to; every one is closed."""

    def __init__(self, octets):
        super().__init__(convert_charrefs=True)
        self.open, self.tags, self.references, self.texts = [], [], [], []
        self.feed(octets.decode("utf-8"))
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        if tag != "meta":
            self.open.append(tag)
        for name, value in attributes:
            assert not name.startswith("on") and name in ("lang", "charset", "name", "content", "id", "class", "href")
            if name == "href":
                self.references.append(value)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


def test_the_page_shows_every_operation_and_needs_nothing_from_elsewhere(document):
    read = Reader(page(document))
    assert read.open == [] and read.references == ["/openapi.json"]
    assert not {"script", "img", "link", "iframe", "object", "form"} & set(read.tags)
    assert b"url(" not in page(document) and b"@import" not in page(document)
    text = "".join(read.texts)
    for method, path in operations(document):
        assert path in text and method in text
    assert SERVER in text


EVIL = "</code><script>alert('\"1&\"')</script>"


class EvilQuery(BaseModel):
    field: str = Field("", description=EVIL, alias=EVIL)


class EvilBody(EvilQuery):
    pass


def test_attack_whatever_it_shows_is_escaped():
    async def nothing(call):
        raise AssertionError

    route = Route(
        "POST", "/x/{id}", Scope.READ, nothing, EVIL, f"{EVIL}\n\n`{EVIL}`", EVIL, EvilQuery, EvilBody,
        answers={200: Answer(EVIL, {"type": "object"}, EVIL)}, parameters={"id": EVIL},
        headers=[{"name": EVIL, "in": "header", "schema": {"type": EVIL}, "description": EVIL}],
    )  # fmt: skip
    read = Reader(page(describe(RouteTable([route]), EVIL, EVIL)))
    assert read.open == [] and "script" not in read.tags
    assert "".join(read.texts).count("alert") > 8
