"""What is wrong with a workflow file, as far as can be told without n8n. Each rule yields
sentences that name the node."""

import json
import re
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID

from shared.events import EVENTS

Json = dict[str, Any]

TOP_LEVEL = {"id", "name", "active", "nodes", "connections", "settings", "tags"}
SETTLED_BY_ITS_SENDER = "lastNode"
"""A webhook that answers only at the end: who sent it sees a failure, and sends it again."""

REQUEST_KEYS = {"id", "task", "priority", "principal", "tenant", "dataclass", "model"}
"""What the notifier adds to an event as `data.request`, see docs/how-to/receive-webhooks.md."""

NOTIFIER_KEYS = {"event", "request", "letter"}

SECRET = re.compile(
    r"(?i)bearer\s+[a-z0-9._-]{12,}|whsec_[a-z0-9+/=]{8,}|\bsk-[a-z0-9]{16,}|xox[bap]-"
    r"|(?:api[_-]?key|password|secret)[\"']?\s*[:=]\s*[\"'][^\"'{}$]{8,}|-----BEGIN"
)
ADDRESS = re.compile(r"(?i)https?://(?!www\.standardwebhooks\.com)|[\w.-]+@[\w-]+\.\w{2,}")
CONSUMES = re.compile(r"Consumes `([a-z_.]+)`")
EVENT_FIELD = re.compile(r"\bbody\.data((?:\??\.[A-Za-z_]\w*)+)")
OTHER_NODE = re.compile(r"\$\('([^']+)'\)")


def problems(workflow: Json, catalogue: Json) -> list[str]:
    """`catalogue` as tests/n8n/catalogue.py makes it."""
    rules: list[Callable[[Json, Json], Iterator[str]]] = [
        _document,
        _identities,
        _types,
        _connections,
        _webhooks,
        _failures,
        _texts,
        _event_fields,
    ]
    return [problem for rule in rules for problem in rule(workflow, catalogue)]


def _document(workflow: Json, _: Json) -> Iterator[str]:
    for key in sorted(TOP_LEVEL - workflow.keys()):
        yield f"{key} is missing"
    for key in sorted(workflow.keys() - TOP_LEVEL):
        yield f"{key} does not belong into a file: it is of one installation, or of the editor"
    if workflow.get("active"):
        yield "active has to be false: who installs it publishes it"
    if not re.fullmatch(r"[A-Za-z0-9]{8,32}", workflow.get("id", "")):
        yield "id has to be stable: 8 to 32 letters and digits"


def _identities(workflow: Json, catalogue: Json) -> Iterator[str]:
    seen: set[str] = set()
    for node in workflow["nodes"]:
        name, label = node["name"], _description(node, catalogue).get("label", "")
        if label and re.fullmatch(rf"{re.escape(label)}\d*", name):
            yield f"{name}: is the default name; say what it does"
        elif " " not in name or not name[0].isupper():
            yield f"{name}: is no phrase that says what it does"
        if not _is_uuid(node["id"]):
            yield f"{name}: its id is no UUID"
        for identity in (name, node["id"]):
            if identity in seen:
                yield f"{name}: {identity} is there twice"
            seen.add(identity)
        for kind, credential in node.get("credentials", {}).items():
            if not re.fullmatch(r"[A-Za-z0-9]{8,32}", credential.get("id", "")):
                yield f"{name}: the credential for {kind} has no stable id"


def _types(workflow: Json, catalogue: Json) -> Iterator[str]:
    for node in workflow["nodes"]:
        name, description = node["name"], _description(node, catalogue)
        if not description:
            known = ", ".join(catalogue["nodes"].get(node["type"], {})) or "no version"
            yield f"{name}: {node['type']} {node['typeVersion']:g} is not known, but {known}"
            continue
        for parameter, value in node["parameters"].items():
            allowed = description["parameters"].get(parameter, ())
            if allowed == ():
                yield f"{name}: has no parameter {parameter}"
            elif allowed is not None:
                for given in value if isinstance(value, dict | list) else [value]:
                    if given not in allowed and not str(given).startswith("="):
                        yield f"{name}: {parameter} cannot be {given}"


def _connections(workflow: Json, _: Json) -> Iterator[str]:
    names = {node["name"] for node in workflow["nodes"]}
    for source in workflow["connections"]:
        for name in {source, *_targets(workflow, source)} - names:
            yield f"{source}: leads to {name}, which is not there"
    for node in workflow["nodes"]:
        for name in sorted(set(OTHER_NODE.findall(_text(node))) - names):
            yield f"{node['name']}: speaks of {name}, which is not there"
    for name in sorted(names - _reached(workflow)):
        yield f"{name}: nothing leads to it"


def _reached(workflow: Json) -> set[str]:
    """What runs, and the notes, which need not."""
    reached = {node["name"] for node in workflow["nodes"] if _is(node, "stickyNote")}
    ahead = [node["name"] for node in workflow["nodes"] if _starts(node)]
    while ahead:
        name = ahead.pop()
        if name not in reached:
            reached.add(name)
            ahead += _targets(workflow, name)
    return reached


def _webhooks(workflow: Json, _: Json) -> Iterator[str]:
    """Anybody may call a webhook: it asks for a credential, or its successors check a signature."""
    nodes = {node["name"]: node for node in workflow["nodes"]}
    for name, node in nodes.items():
        if not _is(node, "webhook"):
            continue
        asks = node["parameters"].get("authentication", "none") != "none"
        after = [nodes[each] for each in _targets(workflow, name) if each in nodes]
        if not asks and not (after and all(map(_checks_a_signature, after))):
            yield f"{name}: anybody may call it; let the next node check the signature"
        if not asks and not node["parameters"].get("options", {}).get("rawBody"):
            yield f"{name}: a signature is over the raw body; set the option rawBody"


def _failures(workflow: Json, _: Json) -> Iterator[str]:
    modes = [
        node["parameters"].get("responseMode") if _is(node, "webhook") else None
        for node in workflow["nodes"]
        if _starts(node)
    ]
    if not modes:
        yield "nothing starts it"
    told = set(modes) == {SETTLED_BY_ITS_SENDER}
    if not told and not workflow.get("settings", {}).get("errorWorkflow"):
        yield "nobody hears of a failure: answer after the last node, or name an errorWorkflow"


def _texts(workflow: Json, _: Json) -> Iterator[str]:
    for node in workflow["nodes"]:
        text = _text(node)
        if found := SECRET.search(text):
            yield f"{node['name']}: {found.group()[:12]}... looks like a secret"
        if found := ADDRESS.search(text):
            yield f"{node['name']}: {found.group()} belongs into the environment or a credential"


def _event_fields(workflow: Json, _: Json) -> Iterator[str]:
    """What is read of an event is in the contract of the event that the note names."""
    consumed = CONSUMES.findall(json.dumps(workflow, ensure_ascii=False))
    types = {event: EVENTS.get(f"{event}.v1") for event in consumed}
    if not consumed:
        yield "no note says which event it consumes: Consumes `inference.completed`"
    for event, contract in types.items():
        if contract is None:
            yield f"{event} is not in the catalogue of events"
            continue
        schema = contract.model_json_schema()
        for node in workflow["nodes"]:
            for path in sorted(set(EVENT_FIELD.findall(_text(node)))):
                fields = path.replace("?", "").strip(".").split(".")
                if not _has(schema, schema, fields):
                    yield f"{node['name']}: {event} has no data.{'.'.join(fields)}"


def _has(schema: Json, root: Json, fields: list[str]) -> bool:
    first, *rest = fields
    if schema is root and first in NOTIFIER_KEYS:
        return first != "request" or not rest or (rest[0] in REQUEST_KEYS and not rest[1:])
    part = schema.get("properties", {}).get(first)
    if part is None:
        return bool(schema.get("additionalProperties"))
    if "$ref" in part:
        part = root["$defs"][part["$ref"].rpartition("/")[2]]
    return not rest or _has(part, root, rest)


def _targets(workflow: Json, source: str) -> list[str]:
    outputs = workflow["connections"].get(source, {}).values()
    return [to["node"] for branches in outputs for branch in branches for to in branch or ()]


def _checks_a_signature(node: Json) -> bool:
    code = node["parameters"].get("jsCode", "")
    return "createHmac(" in code and "timingSafeEqual(" in code and "webhook-timestamp" in code


def _starts(node: Json) -> bool:
    return _is(node, "webhook") or node["type"].endswith("Trigger")


def _is(node: Json, kind: str) -> bool:
    return bool(node["type"] == f"n8n-nodes-base.{kind}")


def _description(node: Json, catalogue: Json) -> Json:
    versions: Json = catalogue["nodes"].get(node["type"], {})
    description: Json = versions.get(f"{node['typeVersion']:g}", {})
    return description


def _text(node: Json) -> str:
    """All that is written in a node, as it is meant and not as JSON escapes it."""
    return "\n".join(_strings(node["parameters"]))


def _strings(value: Any) -> Iterator[str]:
    match value:
        case str():
            yield value
        case dict():
            for name, part in value.items():
                yield from ((f'{name}: "{part}"',) if isinstance(part, str) else ())
                yield from _strings(part)
        case list():
            for part in value:
                yield from _strings(part)


def _is_uuid(text: str) -> bool:
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False
