"""The endpoints beside inference itself: models, and requests that nobody waits for."""

from pydantic_core import to_json
from starlette.types import Receive, Scope, Send

from services.gateway.answers import account
from services.gateway.calls import parse_request
from services.gateway.desk import Desk
from services.gateway.errors import ApiError, from_reply, refusal
from services.gateway.exchange import Exchange, RequestState, is_outcome
from services.gateway.intake import ClientGone, read_json_body
from services.gateway.responses import send_error, send_json, send_refusal
from services.gateway.schemas import ErrorDetail, Model, ModelList, RequestStatus
from shared.config import AUTO
from shared.events.base import Operation
from shared.events.inference import FailureReason
from shared.events.models import LocalModel


class SubmitEndpoint:
    """`POST /v1/requests`: takes a request and answers with its id at once."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"])
        try:
            raw = await read_json_body(headers, receive, self._desk.limits)
        except ClientGone:
            return
        except ApiError as error:
            await send_refusal(send, receive, error, self._desk.limits.linger_s)
            return
        try:
            call = await self._desk.numbered(parse_request(headers, raw))
            await self._desk.submit(call)
        except ApiError as error:
            await send_error(send, error)
            return
        request_id = call.submission.id
        status = RequestStatus(id=request_id, state="submitted")
        location = (b"location", f"/v1/requests/{request_id}".encode())
        who = (b"x-roundhouse-request-id", request_id.encode())
        body = to_json(status.model_dump(exclude_unset=True) | {"object": status.object})
        await send_json(send, 202, body, [location, who])


class Handlers:
    """Everything that only reads the exchange, or cancels."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    async def list_models(self) -> ModelList:
        """The models of all live nodes, and `auto`."""
        found = {each.name: each for each in self._exchange.catalogue()}
        models = [_model(found[name]) for name in sorted(found)]
        return ModelList(data=[_AUTO, *models] if models else [])

    async def show_model(self, model: str) -> Model:
        """One model."""
        listed = await self.list_models()
        for each in listed.data:
            if each.id == model:
                return each
        raise refusal(FailureReason.UNKNOWN_MODEL, f"No live node offers the model {model!r}.")

    async def show_request(self, request_id: str) -> RequestStatus:
        """How far a request is, and its result for an hour after its end."""
        return _status(request_id, await self._known(request_id))

    async def cancel_request(self, request_id: str) -> RequestStatus:
        """Ask for a request to end. One that has ended already stays as it is."""
        known = await self._known(request_id)
        if not is_outcome(known.state):
            await self._exchange.cancel(request_id, "asked")
        return _status(request_id, known)

    async def _known(self, request_id: str) -> RequestState:
        known = await self._exchange.state(request_id)
        if known is None:
            raise ApiError(
                404,
                f"There is no request {request_id!r}; what has ended is kept for an hour.",
                code="request_not_found",
            )
        return known


_AUTO = Model(id=AUTO, owned_by="roundhouse", operations=list(Operation))


def _model(local: LocalModel) -> Model:
    return Model(
        id=local.name,
        owned_by=local.engine,
        operations=list(local.operations),
        context_tokens=local.context_tokens,
        degraded=local.degraded,
        noise=local.noise,
    )


def _status(request_id: str, known: RequestState) -> RequestStatus:
    ended = known.result if is_outcome(known.state) else None
    result = error = None
    if ended is not None and known.state == "completed":
        result = {**ended["output"], "roundhouse": account(ended)}
    elif ended is not None:
        error = ErrorDetail.model_validate(from_reply(known.state, ended).detail())
    return RequestStatus(
        id=request_id,
        state=known.state,
        timestamps_ms=known.timestamps_ms,
        model=known.model,
        node=known.node,
        attempt=known.attempt,
        result=result,
        error=error,
    )
