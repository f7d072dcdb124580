"""The AsyncAPI documents: well formed, and true to what the services declare."""

from typing import Any

import pytest

from cli.address import ROOT
from cli.contract_documents.asyncapi import asyncapi_document
from cli.contract_documents.catalogue import OTHER_SOURCES
from cli.contract_documents.services import ServiceContract, service_contracts
from cli.contract_documents.tree import generate
from shared.events import EVENTS
from shared.events.inference import InferenceDispatched, InferenceRequested, InferenceRouted

SERVICES = service_contracts(ROOT)
ROUTER = ServiceContract("router", (InferenceRequested,), (InferenceDispatched, InferenceRouted))
DECLARED = {service.name: service for service in [*SERVICES, ROUTER]}

Document = dict[str, Any]


def documents() -> list[Any]:
    return [
        pytest.param(asyncapi_document(service, "0.1.0"), id=name)
        for name, service in DECLARED.items()
    ]


def resolve(document: Document, reference: str) -> Document:
    node = document
    for step in reference.lstrip("#/").split("/"):
        node = node[step]
    return node


def references(node: object) -> list[str]:
    match node:
        case {"$ref": str(reference)}:
            return [reference]
        case dict():
            return [found for value in node.values() for found in references(value)]
        case list():
            return [found for value in node for found in references(value)]
        case _:
            return []


@pytest.mark.parametrize("document", documents())
def test_every_reference_leads_somewhere(document: Document) -> None:
    schemas = generate(ROOT).schemas
    found = references(document)

    for reference in found:
        file, _, pointer = reference.partition("#")
        assert resolve(schemas[file] if file else document, pointer) if pointer else schemas[file]
    assert found


@pytest.mark.parametrize("document", documents())
def test_each_operation_uses_a_channel_with_its_message(document: Document) -> None:
    for operation in document["operations"].values():
        channel = resolve(document, operation["channel"]["$ref"])
        message = resolve(document, resolve(document, operation["messages"][0]["$ref"])["$ref"])
        assert operation["action"] in {"send", "receive"}
        assert channel["address"].startswith(f"rh:{message['name']}")
        assert message["payload"]["$ref"] == f"{message['name']}.schema.json"


@pytest.mark.parametrize("document", documents())
def test_nothing_in_a_document_depends_on_where_it_was_generated(document: Document) -> None:
    server = document["servers"]["redis"]

    assert server["host"] == "{address}"
    assert server["variables"]["address"]["default"] == "127.0.0.1:6379"


def test_a_stream_per_node_is_a_channel_with_a_parameter() -> None:
    channels = asyncapi_document(ROUTER, "0.1.0")["channels"]

    assert channels["inference.dispatched.v1"]["address"] == "rh:inference.dispatched.v1:{node}"
    assert channels["inference.dispatched.v1"]["parameters"].keys() == {"node"}
    assert "parameters" not in channels["inference.routed.v1"]


def test_a_stream_beside_the_shared_one_is_a_channel_of_its_reader_alone() -> None:
    gateway = ServiceContract("gateway", (), (InferenceRequested,))
    channels = asyncapi_document(ROUTER, "0.1.0")["channels"]

    assert channels["inference.requested.v1"]["address"] == "rh:inference.requested.v1"
    own = channels["inference.requested.v1:producer"]
    assert own["address"] == "rh:inference.requested.v1:{producer}"
    assert own["parameters"].keys() == {"producer"}
    assert asyncapi_document(gateway, "0.1.0")["channels"].keys() == {"inference.requested.v1"}


def test_what_a_service_reads_is_received_and_what_it_publishes_is_sent() -> None:
    operations = asyncapi_document(ROUTER, "0.1.0")["operations"]

    assert {name: operation["action"] for name, operation in operations.items()} == {
        "receiveInferenceRequested": "receive",
        "receiveInferenceRequestedOfProducer": "receive",
        "sendInferenceDispatched": "send",
        "sendInferenceRouted": "send",
    }


@pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.name)
def test_a_service_declares_only_events_of_the_catalogue(service: ServiceContract) -> None:
    assert service.publishes
    for event in (*service.consumes, *service.publishes):
        assert EVENTS[event.type] is event


def test_every_event_has_a_publisher_or_comes_from_outside() -> None:
    published = {event.type for service in SERVICES for event in service.publishes}

    assert EVENTS.keys() - published - OTHER_SOURCES.keys() == set()


def test_every_command_is_read_by_some_service() -> None:
    consumed = {event.type for service in SERVICES for event in service.consumes}
    commands = {name for name in EVENTS if name.endswith("_requested.v1")}

    assert commands | {"inference.requested.v1", "inference.dispatched.v1"} <= consumed
