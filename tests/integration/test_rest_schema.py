"""The REST API is what its description says, in a short form; ``tests.campaigns.rest_schema`` has the long one."""

from __future__ import annotations

import pytest

from tests.campaigns import rest_schema
from tests.campaigns.command import Found


def test_every_operation_does_what_the_description_says():
    figures = rest_schema.campaign(1, 0, 260)
    assert figures["requests"] > 200 and figures["200"] > 50 and figures["strangers"] > 100


def test_whatever_is_not_so_is_found(monkeypatch):
    whole = rest_schema.Api.description

    def description(api):
        document = whole(api)
        paths = document["paths"]
        recipient, text, account, tokens = (
            paths[f"/v1/{path}"]["get"]["responses"] for path in ("recipient/{id}", "text/{id}", "account", "tokens")
        )
        del recipient["404"]
        text["200"]["content"] = {"text/html": {}}
        account["200"]["content"]["application/json"]["schema"]["properties"]["admin"] = {"type": "string"}
        tokens["200"]["headers"] = {"X-Total": {"required": True, "schema": {"type": "integer"}}}
        some = ("/v1/recipient/{id}", "/v1/text/{id}", "/v1/account", "/v1/tokens")
        return {**document, "paths": {path: {"get": paths[path]["get"]} for path in some}}

    monkeypatch.setattr(rest_schema.Api, "description", description)
    monkeypatch.setattr(rest_schema.Api, "stranger", lambda api: api.session)
    with pytest.raises(Found) as caught:
        rest_schema.campaign(1, 0, 80)
    found = str(caught.value)
    assert "GET /v1/recipient/{id}: UndefinedStatusCode 404" in found
    assert "GET /v1/text/{id}: UndefinedContentType 200" in found
    assert "GET /v1/account: JsonSchemaError 200" in found
    assert "GET /v1/tokens: MissingHeaders 200" in found
    assert "a stranger is answered 200" in found
