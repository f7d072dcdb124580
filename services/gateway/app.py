"""Where the gateway is put together."""

from pathlib import Path
from uuid import uuid4

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, Response

from services.gateway.bus_exchange import BusExchange
from services.gateway.desk import Desk
from services.gateway.edge import Edge
from services.gateway.exchange import Exchange
from services.gateway.handlers import Handlers, SubmitEndpoint
from services.gateway.hosts import Hosts
from services.gateway.inference import InferenceEndpoint
from services.gateway.limits import Limits
from services.gateway.protocol import BoundedHttpProtocol
from services.gateway.settings import Settings
from shared.bus.bus import Bus
from shared.bus.requester import Requester
from shared.events.base import Operation
from shared.events.inference import InferenceCancelRequested, InferenceRequested
from shared.events.models import NodeHeartbeat
from shared.service import Service

CONSUMES = (NodeHeartbeat,)
PUBLISHES = (InferenceRequested, InferenceCancelRequested)

_INFERENCE = {
    "/v1/chat/completions": Operation.CHAT,
    "/v1/completions": Operation.COMPLETION,
    "/v1/embeddings": Operation.EMBEDDING,
}

_DOCS = (Path(__file__).parent / "docs.html").read_text()
_DOCS_POLICY = (
    "default-src 'none'; connect-src 'self'; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
    "; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def create_app(settings: Settings) -> Service:
    bus = Bus("gateway", settings, consumes=CONSUMES, publishes=PUBLISHES)
    name = f"gw-{uuid4().hex[:16]}"
    requester = Requester(bus.client, bus.writer, bus.keys, bus.name, name)
    exchange = BusExchange(requester, lambda: bus.config.timing)
    bus.follow({NodeHeartbeat: exchange.on_heartbeat})
    bus.follow_entries({requester.reply_key: requester.replies.on_entries}, lookback_s=0)
    bus.background(requester.sweep)
    return Service(
        "gateway",
        settings,
        bus,
        app=create_http(exchange, settings),
        http=BoundedHttpProtocol,
    )


def create_http(exchange: Exchange, settings: Settings, limits: Limits | None = None) -> FastAPI:
    """The gateway as an ASGI application, without the probes that every service has."""
    limits = limits or Limits()
    desk = Desk(exchange, limits)
    app = Edge(
        Hosts(settings.host, settings.allowed_hosts),
        limits.linger_s,
        title="Roundhouse",
        version="1",
        description="One OpenAI-compatible door to all models of all nodes.",
    )
    for path, operation in _INFERENCE.items():
        app.add_post(path, InferenceEndpoint(operation, desk))
    app.add_post("/v1/requests", SubmitEndpoint(desk))
    handlers, request = Handlers(exchange), "/v1/requests/{request_id}"
    app.add_api_route("/v1/models", handlers.list_models)
    app.add_api_route("/v1/models/{model:path}", handlers.show_model)
    app.add_api_route(request, handlers.show_request)
    app.add_api_route(request, handlers.cancel_request, methods=["DELETE"], status_code=202)
    app.add_route("/docs", _docs, include_in_schema=False)
    return app


async def _docs(_: Request) -> Response:
    return HTMLResponse(_DOCS, headers={"content-security-policy": _DOCS_POLICY})
