"""The application behind the routes: who may address it, and how it says no."""

from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import Response
from starlette.exceptions import HTTPException
from starlette.middleware.errors import ServerErrorMiddleware
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.gateway.errors import ApiError, store_unavailable
from services.gateway.exchange import StoreUnavailable
from services.gateway.hosts import Hosts
from services.gateway.openapi import with_inference
from services.gateway.responses import send_refusal

SERVER = (b"server", b"roundhouse")


class Edge(FastAPI):
    """Serves only who addresses it by a name of its own, and names itself in every answer."""

    def __init__(self, hosts: Hosts, linger_s: float, **options: Any) -> None:
        super().__init__(docs_url=None, redoc_url=None, redirect_slashes=False, **options)
        self._hosts = hosts
        self._linger_s = linger_s
        self._direct: dict[str, ASGIApp] = {}
        for kind in (ApiError, StoreUnavailable, HTTPException, Exception):
            self.add_exception_handler(kind, _on_error)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await super().__call__(scope, receive, send)
            return

        async def send_named(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [SERVER, *message.get("headers", ())]
            await send(message)

        named = [value for name, value in scope["headers"] if name == b"host"]
        host = named[0].decode("latin-1") if len(named) == 1 else ""
        if not self._hosts.includes(host):
            await send_refusal(send_named, receive, _foreign(host), self._linger_s)
        elif scope["method"] == "POST" and (direct := self._direct.get(scope["path"])):
            await direct(scope, receive, send_named)
        else:
            await super().__call__(scope, receive, send_named)

    def add_post(self, path: str, endpoint: ASGIApp) -> None:
        """Serve POST past FastAPI's middleware and routing, which cost 30 us and more a request."""
        self._direct[path] = ServerErrorMiddleware(endpoint, handler=_on_error)
        self.router.routes.append(Route(path, endpoint, methods=["POST"]))

    def openapi(self) -> dict[str, Any]:
        if not self.openapi_schema:
            self.openapi_schema = with_inference(super().openapi())
        return self.openapi_schema


def _response(error: ApiError, headers: Any = None) -> Response:
    response = Response(error.body(), error.status, headers, media_type="application/json")
    response.raw_headers.extend(error.headers())
    return response


async def _on_error(request: Request, error: Exception) -> Response:
    match error:
        case ApiError():
            return _response(error)
        case StoreUnavailable():
            return _response(store_unavailable())
        case HTTPException():
            return _response(_http_error(request, error), error.headers)
        case _:  # logged with its traceback by the server
            message = "The gateway made a mistake; its log says which."
            return _response(ApiError(500, message, code="internal_error"))


def _http_error(request: Request, error: HTTPException) -> ApiError:
    about = f"{request.method} {request.url.path}"
    match error.status_code:
        case 404:
            return ApiError(404, f"There is no {about}; see GET /docs.", code="not_found")
        case 405:
            allowed = (error.headers or {}).get("Allow", "nothing")
            message = f"{about} is not possible; allowed: {allowed}."
            return ApiError(405, message, code="method_not_allowed")
        case status:
            return ApiError(status, f"{about}: {error.detail}.")


def _foreign(host: str) -> ApiError:
    return ApiError(
        403,
        f"This gateway does not answer to the name {host!r}. Where it should, start it with"
        " ROUNDHOUSE_ALLOWED_HOSTS set to that name.",
        code="host_not_allowed",
    )
