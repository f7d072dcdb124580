"""What every answer has in common, the catalogue of models, and the description of it all."""

import re
from typing import Any

import httpx
import jsonschema
import pytest
from fastapi import FastAPI
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.gateway.exchange import Submission
from tests.fakes.exchange import MODEL, FakeExchange, answering

CHAT = "/v1/chat/completions"
QUESTION: dict[str, Any] = {"messages": [{"role": "user", "content": "Hello"}]}


async def test_models_are_listed_once_each_behind_auto(
    http: httpx.AsyncClient, exchange: FakeExchange
) -> None:
    exchange.models.append(MODEL)  # a second node offers it too

    listed = (await http.get("/v1/models")).json()

    assert listed["object"] == "list"
    assert [model["id"] for model in listed["data"]] == [
        "auto",
        "heuristic:tickets",
        "qwen-7b",
        "tiny",
    ]
    assert [model["noise"] for model in listed["data"]] == [False, False, False, True]


async def test_a_model_is_shown_by_its_name_even_with_a_slash_in_it(
    http: httpx.AsyncClient, exchange: FakeExchange
) -> None:
    exchange.models = [MODEL.model_copy(update={"name": "org/model:7b"})]

    model = (await http.get("/v1/models/org/model:7b")).json()

    assert model["id"] == "org/model:7b"
    assert model["owned_by"] == "llama_cpp"
    assert model["context_tokens"] == 8192


async def test_an_unknown_model_is_not_found(http: httpx.AsyncClient) -> None:
    answer = await http.get("/v1/models/nobody")

    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "model_not_found"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nowhere", 404),
        ("GET", CHAT, 405),
        ("PUT", "/v1/requests", 405),
        ("POST", "/v1/models", 405),
        ("POST", "/v1/chat/completions/", 404),
        ("OPTIONS", CHAT, 405),
    ],
)
async def test_what_is_not_there_is_an_openai_error(
    http: httpx.AsyncClient, method: str, path: str, status: int
) -> None:
    answer = await http.request(method, path)

    assert answer.status_code == status
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
    assert answer.headers.get_list("server") == ["roundhouse"]
    assert not [name for name in answer.headers if name.startswith("access-control-")]


@pytest.mark.parametrize(
    ("headers", "content", "status", "code"),
    [
        ({"content-type": "text/plain"}, b"{}", 415, "unsupported_media_type"),
        ({}, b"{}", 415, "unsupported_media_type"),
        (
            {"content-type": "application/x-www-form-urlencoded"},
            b"{}",
            415,
            "unsupported_media_type",
        ),
        (
            {"content-type": "application/json", "content-encoding": "gzip"},
            b"{}",
            415,
            "unsupported_content_encoding",
        ),
        ({"content-type": "application/json"}, b"{", 400, "invalid_json"),
        ({"content-type": "application/json"}, b" " * 1_000_001, 413, "body_too_large"),
    ],
    ids=["text", "unnamed", "form", "compressed", "malformed", "too large"],
)
@pytest.mark.parametrize("path", [CHAT, "/v1/requests"])
async def test_a_body_that_cannot_be_read_is_refused(
    http: httpx.AsyncClient,
    path: str,
    headers: dict[str, str],
    content: bytes,
    status: int,
    code: str,
) -> None:
    answer = await http.post(path, content=content, headers=headers)

    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


async def test_a_body_of_unknown_length_is_measured_while_it_comes(http: httpx.AsyncClient) -> None:
    async def body() -> Any:
        for _ in range(20):
            yield b" " * 100_000

    answer = await http.post(CHAT, content=body(), headers={"content-type": "application/json"})

    assert answer.status_code == 413


@pytest.mark.parametrize("path", [CHAT, "/v1/models", "/docs", "/openapi.json", "/nowhere"])
async def test_a_page_that_rebinds_its_name_to_this_machine_gets_nothing(
    http: httpx.AsyncClient, exchange: FakeExchange, path: str
) -> None:
    answer = await http.get(path, headers={"host": "evil.example:8080"})

    assert answer.status_code == 403
    assert answer.json()["error"]["code"] == "host_not_allowed"
    assert "ROUNDHOUSE_ALLOWED_HOSTS" in answer.json()["error"]["message"]
    assert answer.headers["server"] == "roundhouse"


async def test_a_mistake_of_ours_is_an_openai_error_without_details(
    http: httpx.AsyncClient, exchange: FakeExchange
) -> None:
    def on_submit(_: Submission) -> None:
        raise RuntimeError("secret detail")

    exchange.on_submit = on_submit

    answer = await http.post(CHAT, json=QUESTION)

    assert answer.status_code == 500
    assert answer.json()["error"]["code"] == "internal_error"
    assert "secret" not in answer.text
    assert answer.headers.get_list("server") == ["roundhouse"]
    assert exchange.open_streams == 0


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(
    path=st.sampled_from(
        [CHAT, "/v1/completions", "/v1/embeddings", "/v1/requests", "/v1/models/x"]
    ),
    method=st.sampled_from(["GET", "POST", "DELETE"]),
    content=st.binary(max_size=30) | st.sampled_from([b'{"input": "x", "prompt": "y"}', b"{}"]),
    headers=st.dictionaries(
        st.sampled_from(["x-roundhouse-priority", "x-roundhouse-deadline-s", "idempotency-key"]),
        st.text("abcLOW0123456789.-", max_size=8),
    ),
)
async def test_no_request_makes_the_gateway_fail(
    app: FastAPI,
    exchange: FakeExchange,
    path: str,
    method: str,
    content: bytes,
    headers: dict[str, str],
) -> None:
    exchange.on_submit = answering(exchange, "x")
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
        headers = {"content-type": "application/json", **headers}
        answer = await http.request(method, path, content=content, headers=headers)

    assert answer.status_code < 500
    assert answer.status_code < 400 or "error" in answer.json()


async def test_the_document_describes_every_body(http: httpx.AsyncClient) -> None:
    document = (await http.get("/openapi.json")).json()

    operations = {
        f"{method.upper()} {path}": operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }
    assert set(operations) == {
        "POST /v1/chat/completions",
        "POST /v1/completions",
        "POST /v1/embeddings",
        "GET /v1/models",
        "GET /v1/models/{model}",
        "POST /v1/requests",
        "GET /v1/requests/{request_id}",
        "DELETE /v1/requests/{request_id}",
    }
    for name, operation in operations.items():
        assert ("requestBody" in operation) == name.startswith("POST"), name
        assert operation["responses"]["default"]["content"]["application/json"]
        assert "422" not in operation["responses"], name
    named = set(
        re.findall(r'#/components/schemas/([^"]+)"', (await http.get("/openapi.json")).text)
    )
    assert named <= set(document["components"]["schemas"])


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (CHAT, QUESTION),
        ("/v1/completions", {"prompt": "x"}),
        ("/v1/embeddings", {"input": ["x", "y"], "encoding_format": "base64"}),
        ("/v1/requests", {"input": QUESTION}),
        ("/v1/models", None),
        ("/v1/embeddings", {"input": []}),
    ],
)
async def test_answers_are_as_the_document_describes_them(
    http: httpx.AsyncClient, exchange: FakeExchange, path: str, body: Any
) -> None:
    exchange.on_submit = answering(exchange, "Hi")
    document = (await http.get("/openapi.json")).json()

    answer = await http.request("POST" if body else "GET", path, json=body)

    responses = document["paths"][path]["post" if body else "get"]["responses"]
    described = responses.get(str(answer.status_code), responses["default"])
    schema = described["content"]["application/json"]["schema"]
    jsonschema.validate(answer.json(), {**schema, "components": document["components"]})


async def test_the_page_of_the_document_needs_nothing_from_elsewhere(
    http: httpx.AsyncClient,
) -> None:
    page = await http.get("/docs")

    assert page.status_code == 200
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert not re.search(r"https?://|src=|@import", page.text)
