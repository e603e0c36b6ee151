"""The table of routes: what there is, who may use it, and which function answers.

The one truth about the API: requests find their functions in it, and ``/openapi.json`` is made from it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import unquote_to_bytes

from pydantic import BaseModel

from smtpeter.model.account import Scope
from smtpeter.web.rest.values import ApiError, Call, Response

Function = Callable[[Call], Awaitable[Response]]


class Answer(NamedTuple):
    """One kind of answer, for the description: what its body is, as a model or as a JSON schema; None: no body.

    ``others`` are further content types that it may have, with their schemas.
    """

    description: str
    schema: type[BaseModel] | Mapping[str, Any] | None = None
    content_type: str = "application/json"
    others: Mapping[str, Mapping[str, Any]] = {}


class Route(NamedTuple):
    """One method of one path.

    ``path`` is below ``/v1``, its parameters in braces: ``/events/email/{address}``.  A path of several names, for the
    same thing, has a route for each.  ``scope`` is what a token needs.  ``query`` and ``body`` are models; a
    function that reads the request itself has no ``body``, and ``body_schema`` describes it.  ``answers`` tells of each
    status that this route has beside the errors that all have.  ``parameters`` describes those of the path, and
    ``headers`` are header fields that it reads, as OpenAPI has parameters.
    """

    method: str
    path: str
    scope: Scope
    function: Function
    summary: str
    description: str = ""
    tag: str = ""
    query: type[BaseModel] | None = None
    body: type[BaseModel] | None = None
    body_schema: Mapping[str, Any] | None = None
    answers: Mapping[int, Answer] = {}
    parameters: Mapping[str, str] = {}
    headers: Sequence[Mapping[str, Any]] = ()


class RouteTable:
    """Finds the route of a request.

    A path is cut at its slashes before anything in it is decoded: ``%2F`` is part of a name, and so are ``+``, ``;``
    and ``@`` as they are.
    """

    def __init__(self, routes: Iterable[Route]) -> None:
        self.routes = tuple(routes)
        self._by_length: dict[int, list[tuple[Sequence[str], dict[str, Route]]]] = {}
        for route in self.routes:
            self._add(route)

    def _add(self, route: Route) -> None:
        pattern = route.path.split("/")[1:]
        same_length = self._by_length.setdefault(len(pattern), [])
        for known, methods in same_length:
            if _shape(known) == _shape(pattern):
                if known != pattern or route.method in methods:
                    raise ValueError(f"two routes for {route.method} {route.path}")
                methods[route.method] = route
                return
        same_length.append((pattern, {route.method: route}))
        # What is named comes before what could be anything.
        same_length.sort(key=lambda each: [part.startswith("{") for part in each[0]])

    def find(self, method: bytes, path: bytes) -> tuple[Route, Mapping[str, str]]:
        """The route, and the path's parameters; ``path`` is behind ``/v1``, as it was sent.

        :raises ApiError: 404 or 405.
        """
        try:
            parts = [unquote_to_bytes(part).decode("utf-8") for part in path.split(b"/")[1:]]
        except UnicodeDecodeError:
            raise ApiError(404, "There is nothing here: a path is UTF-8") from None
        for pattern, methods in self._by_length.get(len(parts), ()):
            found = _match(pattern, parts)
            if found is not None:
                name = method.decode("latin-1")
                route = methods.get("GET" if name == "HEAD" else name)
                if route is None:
                    allowed = ", ".join([*methods, *(["HEAD"] if "GET" in methods else [])])
                    raise ApiError(405, f"This path has {allowed} only", ((b"Allow", allowed.encode("ascii")),))
                return route, found
        raise ApiError(404, "There is nothing at this path: /docs lists all that there is")


def _shape(pattern: Sequence[str]) -> tuple[str, ...]:
    return tuple("{}" if part.startswith("{") else part for part in pattern)


def _match(pattern: Sequence[str], parts: Sequence[str]) -> dict[str, str] | None:
    found = {}
    for expected, part in zip(pattern, parts, strict=True):
        if expected.startswith("{"):
            if not part:
                return None
            found[expected[1:-1]] = part
        elif expected != part:
            return None
    return found
