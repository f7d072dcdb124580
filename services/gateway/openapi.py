"""The OpenAPI document: what FastAPI cannot see of the endpoints in plain ASGI is added here."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from services.gateway.bodies import ChatBody, CompletionBody, EmbeddingBody
from services.gateway.hints import HEADERS
from services.gateway.schemas import (
    ChatChunk,
    ChatCompletion,
    Completion,
    Embeddings,
    ErrorBody,
    RequestStatus,
)
from shared.events.inference import InferenceRequested

_SCHEMAS = "#/components/schemas/"

_REQUESTS: tuple[type[BaseModel], ...] = (
    ChatBody,
    CompletionBody,
    EmbeddingBody,
    InferenceRequested,
)
_ANSWERS: tuple[type[BaseModel], ...] = (
    ChatCompletion,
    ChatChunk,
    Completion,
    Embeddings,
    ErrorBody,
    RequestStatus,
)

_HINTS = {
    "task": "A task of roundhouse.yaml, which decides on the models that may answer",
    "priority": "CRITICAL, HIGH, NORMAL or LOW",
    "deadline_s": "Seconds after which the answer is of no use any more",
    "dataclass": "How sensitive the content is",
}

Json = dict[str, Any]


def with_inference(document: Json) -> Json:
    """Add the endpoints that ask a model, and errors to all, to FastAPI's document."""
    _, schemas = models_json_schema(
        [
            *((model, "validation") for model in _REQUESTS),
            *((model, "serialization") for model in _ANSWERS),
        ],
        ref_template=_SCHEMAS + "{model}",
    )
    document.setdefault("components", {}).setdefault("schemas", {}).update(schemas["$defs"])
    for operations in document["paths"].values():
        for operation in operations.values():
            operation["responses"].pop("422", None)
            operation["responses"]["default"] = _ERROR
    document["paths"] = {**_inference_paths(), **document["paths"]}
    document["paths"].setdefault("/v1/requests", {})["post"] = _submit()
    return document


def _ref(model: type[BaseModel]) -> Json:
    return {"$ref": _SCHEMAS + model.__name__}


def _json(model: type[BaseModel]) -> Json:
    return {"application/json": {"schema": _ref(model)}}


_ERROR: Json = {"description": "A refusal or a failure", "content": _json(ErrorBody)}


def _header(name: str, text: str) -> Json:
    schema = {"type": "string"}
    return {"name": name, "in": "header", "required": False, "description": text, "schema": schema}


def _post(summary: str, body: type[BaseModel], example: Json, success: Mapping[str, Json]) -> Json:
    key = "The same key with the same content is the same request: it gets the first answer"
    return {
        "summary": summary,
        "parameters": [
            *(_header(HEADERS[field], text) for field, text in _HINTS.items()),
            _header("Idempotency-Key", key),
            _header("traceparent", "W3C trace context"),
        ],
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": _ref(body), "example": example}},
        },
        "responses": {**success, "default": _ERROR},
    }


def _submit() -> Json:
    return _post(
        "Hand in a request and get its id at once",
        InferenceRequested,
        {"input": {"messages": [{"role": "user", "content": "Hello"}]}, "priority": "LOW"},
        {"202": {"description": "Taken", "content": _json(RequestStatus)}},
    )


def _inference_paths() -> Json:
    question = [{"role": "user", "content": "Hello"}]
    return {
        "/v1/chat/completions": {
            "post": _post(
                "Ask for the next message of a chat",
                ChatBody,
                {"model": "auto", "messages": question},
                _answers(ChatCompletion, ChatChunk),
            )
        },
        "/v1/completions": {
            "post": _post(
                "Ask for the continuation of a text",
                CompletionBody,
                {"model": "auto", "prompt": "Once upon a time"},
                _answers(Completion, Completion),
            )
        },
        "/v1/embeddings": {
            "post": _post(
                "Ask for the vectors of texts",
                EmbeddingBody,
                {"model": "task/embed", "input": ["one text", "another"]},
                {"200": {"description": "The vectors", "content": _json(Embeddings)}},
            )
        },
    }


def _answers(whole: type[BaseModel], chunk: type[BaseModel]) -> Mapping[str, Json]:
    stream = {"text/event-stream": {"schema": _ref(chunk)}}
    text = "The answer; with `stream: true` as events"
    return {"200": {"description": text, "content": {**_json(whole), **stream}}}
