"""The description of the API, made from the table of routes: OpenAPI 3.1, and a page for people.

What the page shows is the description and nothing else; it needs no script and nothing from elsewhere.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from html import escape
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, models_json_schema

from smtpeter.web.rest.routes import Answer, Route, RouteTable

_PARAMETER = re.compile(r"\{([a-z_]+)\}")
_REFERENCE = "#/components/schemas/{model}"
_ERROR = {
    "type": "object",
    "properties": {"error": {"type": "string", "description": "What was wrong, and what to do."}},
    "required": ["error"],
}
_ERRORS = {
    400: "Something about the request is wrong: the text names the field and says what was expected.",
    401: "There is no access token, or it is not valid.",
    403: "The token, or its account, may not do this.",
    404: "There is no such thing, or it is not yours.",
    405: "This path has other methods.",
    409: "It contradicts what is there.",
    413: "The request is too large.",
    415: "The body is of a kind that is not read here.",
    429: "The token sends more requests than it may: `Retry-After` tells how many seconds to wait.",
    503: "It cannot be done now: `Retry-After` tells how many seconds to wait. Nothing was done.",
}
_ERROR_CONTENT = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
_WAIT = {
    "headers": {"Retry-After": {"description": "Seconds to wait", "required": True, "schema": {"type": "integer"}}}
}
_ERROR_HEADERS = {429: _WAIT, 503: _WAIT}
_INTRODUCTION = """\
Hand over mail and learn what became of it. Every request has an access token, as `Authorization: Bearer TOKEN` or as
`?access_token=TOKEN`. Errors are `{"error": "..."}` with a sentence that says what was wrong."""


def describe(table: RouteTable, server: str, version: str) -> dict[str, Any]:
    """The OpenAPI document.  ``server`` is where the API is, a URL without ``/v1``."""
    schemas, references = _schemas(table.routes)
    for route in table.routes:
        for name, schema in (route.body_schema or {}).get("$defs", {}).items():
            schemas[name] = _component(schema)
    # Those of queries are no objects that anybody sees: their fields are told as parameters.
    queries = {_name_of(references[route.query]) for route in table.routes if route.query is not None}
    paths: dict[str, dict[str, Any]] = {}
    for route in table.routes:
        operations = paths.setdefault(f"/v1{route.path}", {})
        operations[route.method.lower()] = _operation(route, schemas, references)
    return {
        "openapi": "3.1.0",
        "info": {"title": "smtpeter", "version": version, "description": _INTRODUCTION},
        "servers": [{"url": server}],
        "security": [{"bearer": []}, {"query": []}],
        "tags": [{"name": tag} for tag in dict.fromkeys(route.tag for route in table.routes if route.tag)],
        "paths": paths,
        "components": {
            "schemas": {name: schema for name, schema in schemas.items() if name not in queries} | {"Error": _ERROR},
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "query": {"type": "apiKey", "in": "query", "name": "access_token"},
            },
        },
    }


def _schemas(routes: Iterable[Route]) -> tuple[dict[str, Any], dict[type[BaseModel], dict[str, Any]]]:
    """All models by name, and how each is referred to."""
    models: dict[tuple[type[BaseModel], Any], None] = {}
    for route in routes:
        for model in (route.query, route.body):
            if model is not None:
                models[model, "validation"] = None
        for answer in route.answers.values():
            if isinstance(answer.schema, type):
                models[answer.schema, "serialization"] = None
    found, definitions = models_json_schema(list(models), ref_template=_REFERENCE, schema_generator=GenerateJsonSchema)
    return _component(definitions.get("$defs", {})), {
        model: schema for (model, _), schema in found.items() if issubclass(model, BaseModel)
    }


def _component(value: Any) -> Any:
    """A schema whose definitions are among the components.  A default of null is left out: it is no text or number."""
    if isinstance(value, Mapping):
        return {
            name: each.replace("#/$defs/", _REFERENCE.format(model="")) if name == "$ref" else _component(each)
            for name, each in value.items()
            if name != "$defs" and (name, each) != ("default", None)
        }
    return [_component(each) for each in value] if isinstance(value, list) else value


def _operation(
    route: Route, schemas: Mapping[str, Any], references: Mapping[type[BaseModel], dict[str, Any]]
) -> dict[str, Any]:
    operation: dict[str, Any] = {"summary": route.summary, "operationId": _operation_id(route)}
    if route.tag:
        operation["tags"] = [route.tag]
    operation["description"] = f"{route.description}\n\nThe token has to be for `{route.scope}`.".lstrip()
    parameters = [*_path_parameters(route), *_query_parameters(route, schemas, references), *route.headers]
    if parameters:
        operation["parameters"] = parameters
    body = _component(route.body_schema) if route.body is None else references[route.body]
    if body is not None:
        operation["requestBody"] = {
            "required": True,
            "content": {
                kind: {"schema": body}
                for kind in ("application/json", "application/x-www-form-urlencoded", "multipart/form-data")
            },
        }
    answers = {str(status): _answer(answer, references) for status, answer in route.answers.items()}
    for status, text in _ERRORS.items():
        answers.setdefault(
            str(status), {"description": text, "content": _ERROR_CONTENT, **_ERROR_HEADERS.get(status, {})}
        )
    operation["responses"] = answers
    return operation


def _operation_id(route: Route) -> str:
    words = re.findall(r"[a-z0-9]+", route.path.lower())
    return "_".join([route.method.lower(), *words])


def _path_parameters(route: Route) -> Iterator[dict[str, Any]]:
    for name in _PARAMETER.findall(route.path):
        text = route.parameters.get(name, "")
        yield {
            "name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1},
            **({"description": text} if text else {}),
        }  # fmt: skip


def _query_parameters(
    route: Route, schemas: Mapping[str, Any], references: Mapping[type[BaseModel], dict[str, Any]]
) -> Iterator[dict[str, Any]]:
    if route.query is None:
        return
    schema = schemas[_name_of(references[route.query])]
    required = schema.get("required", ())
    for name, each in schema.get("properties", {}).items():
        text = each.get("description", "")
        yield {
            "name": name, "in": "query", "required": name in required,
            "schema": _of_query(each),
            **({"description": text} if text else {}),
        }  # fmt: skip


def _of_query(schema: Mapping[str, Any]) -> dict[str, Any]:
    """What a parameter of a query may be: a text that stands for it, or it is not there; null is neither."""
    found = {key: value for key, value in schema.items() if key not in ("description", "title")}
    if found.get("default") == []:
        del found["default"]
    several = [each for each in found.get("anyOf", ()) if each != {"type": "null"}]
    if len(several) == 1:
        del found["anyOf"]
        found = {**several[0], **found}
    return found


def _answer(answer: Answer, references: Mapping[type[BaseModel], dict[str, Any]]) -> dict[str, Any]:
    described: dict[str, Any] = {"description": answer.description}
    if answer.schema is not None:
        schema = references[answer.schema] if isinstance(answer.schema, type) else dict(answer.schema)
        found = {answer.content_type: schema, **answer.others}
        described["content"] = {kind: {"schema": each} for kind, each in found.items()}
    return described


def encode(document: Mapping[str, Any]) -> bytes:
    """The document's octets."""
    return json.dumps(document, ensure_ascii=False, indent=1).encode("utf-8")


# --- the page ---------------------------------------------------------------------------------------------------------

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #1b1f24; }
code, pre { font: 14px/1.45 ui-monospace, monospace; background: #f3f4f6; border-radius: 4px; }
code { padding: 1px 4px; } pre { padding: 8px 12px; overflow-x: auto; }
summary { cursor: pointer; padding: 4px 0; } details { border-bottom: 1px solid #d9dde3; padding: 4px 0; }
table { border-collapse: collapse; width: 100%; }
td, th { text-align: left; vertical-align: top; padding: 3px 9px 3px 0; }
b.method { display: inline-block; min-width: 4.5rem; } h2 { margin-top: 2.5rem; text-transform: capitalize; }
@media (prefers-color-scheme: dark) { body { background: #15181c; color: #e3e6ea; } code, pre { background: #23272d; } }
"""


def page(document: Mapping[str, Any]) -> bytes:
    """The description for people: one page of HTML."""
    schemas = document["components"]["schemas"]
    sections: dict[str, list[str]] = {}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            tag = operation.get("tags", ["other"])[0]
            sections.setdefault(tag, []).append(_operation_html(method, path, operation, schemas))
    body = "".join(f"<h2>{escape(tag)}</h2>{''.join(each)}" for tag, each in sections.items())
    return (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>smtpeter: REST API</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head><body>'
        f"<h1>REST API</h1>{_prose(document['info']['description'])}"
        f'<p>For programs: <a href="/openapi.json">openapi.json</a>. The server is at '
        f"<code>{escape(document['servers'][0]['url'])}</code>.</p>{body}</body></html>"
    ).encode("utf-8", "xmlcharrefreplace")


def _operation_html(method: str, path: str, operation: Mapping[str, Any], schemas: Mapping[str, Any]) -> str:
    parts = [
        f'<details id="{escape(operation["operationId"])}"><summary><b class="method">{method.upper()}</b> '
        f"<code>{escape(path)}</code> {escape(operation['summary'])}</summary>",
        _prose(operation.get("description", "")),
    ]
    if operation.get("parameters"):
        rows = [
            (f"{each['name']} ({each['in']})", _kind(each["schema"], schemas), each.get("description", ""))
            for each in operation["parameters"]
        ]
        parts.append(f"<h4>Parameters</h4>{_table(rows)}")
    if "requestBody" in operation:
        schema = next(iter(operation["requestBody"]["content"].values()))["schema"]
        parts.append(f"<h4>Body</h4><p>JSON or a form.</p>{_fields(schema, schemas)}")
    answers = [
        (f"{status} {HTTPStatus(int(status)).phrase}", ", ".join(answer.get("content", {})), answer["description"])
        for status, answer in sorted(operation["responses"].items())
    ]
    parts.append(f"<h4>Answers</h4>{_table(answers)}</details>")
    return "".join(parts)


def _fields(schema: Mapping[str, Any], schemas: Mapping[str, Any]) -> str:
    schema = _resolved(schema, schemas)
    required = schema.get("required", ())
    return _table(
        [
            (f"{name}{'*' if name in required else ''}", _kind(each, schemas), each.get("description", ""))
            for name, each in schema.get("properties", {}).items()
        ]
    )


def _kind(schema: Mapping[str, Any], schemas: Mapping[str, Any], depth: int = 3) -> str:
    """What a value is, in a few words."""
    schema = _resolved(schema, schemas)
    for several in ("anyOf", "oneOf"):
        if several in schema:
            kinds = [_kind(each, schemas, depth) for each in schema[several] if each.get("type") != "null"]
            return " or ".join(dict.fromkeys(kinds))
    if "enum" in schema:
        return ", ".join(str(each) for each in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {_kind(schema.get('items', {}), schemas, depth)}"
    if schema.get("type") == "object" and schema.get("properties") and depth:
        inner = ", ".join(f"{name}: {_kind(each, schemas, depth - 1)}" for name, each in schema["properties"].items())
        return f"{{{inner}}}"
    return str(schema.get("type", "any value"))


def _resolved(schema: Mapping[str, Any], schemas: Mapping[str, Any]) -> Mapping[str, Any]:
    while "$ref" in schema:
        schema = schemas[_name_of(schema)]
    return schema


def _name_of(reference: Mapping[str, Any]) -> str:
    return str(reference["$ref"].rpartition("/")[2])


def _table(rows: Iterable[tuple[str, str, str]]) -> str:
    cells = "".join(
        f"<tr><td><code>{escape(name)}</code></td><td>{escape(kind)}</td><td>{_inline(text)}</td></tr>"
        for name, kind, text in rows
    )
    return f"<table>{cells}</table>"


def _prose(text: str) -> str:
    return "".join(f"<p>{_inline(part)}</p>" for part in text.split("\n\n") if part.strip())


def _inline(text: str) -> str:
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))
