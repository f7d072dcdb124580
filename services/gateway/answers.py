"""Answers as bodies of OpenAI responses. Pure."""

import base64
import sys
from array import array
from collections.abc import Iterable, Mapping
from typing import Any

from services.gateway.calls import Call
from services.gateway.errors import ApiError

Headers = list[tuple[bytes, bytes]]


def answer_body(data: Mapping[str, Any], call: Call) -> dict[str, Any]:
    """The response that `data` of an `inference.completed` holds. Raises `ApiError`."""
    output = data["output"]
    if call.dimensions is not None or call.base64:
        output = {**output, "data": [_as_asked(each, call) for each in output["data"]]}
    return {**output, "roundhouse": account(data)}


def account(data: Mapping[str, Any]) -> dict[str, Any]:
    """How the answer came about: where, at which attempt, and where the time went."""
    return {
        "request_id": data["request_id"],
        "node": data["node"],
        "attempt": data["attempt"],
        "timings": data.get("timings", {}),
        "degraded": data.get("degraded", False),
        "noise": data.get("noise", False),
    }


def answer_headers(
    request_id: str, model: str, node: str, *, degraded: bool, noise: bool
) -> Headers:
    headers = [(b"x-roundhouse-request-id", request_id.encode())]
    if model:
        headers.append((b"x-roundhouse-model", model.encode()))
    if node:
        headers.append((b"x-roundhouse-node", node.encode()))
    if degraded:
        headers.append((b"x-roundhouse-degraded", b"true"))
    if noise:
        headers.append((b"x-roundhouse-noise", b"true"))
    return headers


def _as_asked(item: Mapping[str, Any], call: Call) -> dict[str, Any]:
    vector = item["embedding"]
    if call.dimensions not in (None, len(vector)):
        raise ApiError(
            400,
            f"dimensions: the model's embeddings have {len(vector)} dimensions and cannot be"
            f" had with {call.dimensions}.",
            code="dimensions_unsupported",
            param="dimensions",
        )
    return {**item, "embedding": _float32_base64(vector) if call.base64 else vector}


def _float32_base64(vector: Iterable[float]) -> str:
    """As OpenAI encodes vectors: 32-bit floats, little-endian, in base64."""
    numbers = array("f", vector)
    if sys.byteorder == "big":
        numbers.byteswap()
    return base64.b64encode(numbers.tobytes()).decode()
