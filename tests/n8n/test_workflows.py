"""Every workflow file is sound, and the linter finds what is not."""

import json
import re
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from tests.house.sources import ROOT
from tests.n8n.catalogue import reduced, used_types, workflows
from tests.n8n.lint import problems

Json = dict[str, Any]
Change = Callable[[Json], object]

each_workflow = pytest.mark.parametrize("path", workflows(), ids=lambda path: path.stem)


def read(path: Path) -> Json:
    workflow: Json = json.loads(path.read_text())
    return workflow


def node(workflow: Json, kind: str) -> Json:
    return next(each for each in workflow["nodes"] if each["type"].endswith(f".{kind}"))


def rename(workflow: Json, kind: str, name: str) -> None:
    node(workflow, kind)["name"] = name


def edit(workflow: Json, before: str, after: str) -> None:
    """Change the code of the nodes that contain `before`."""
    for each in workflow["nodes"]:
        code = each["parameters"].get("jsCode", "")
        each["parameters"].update({"jsCode": code.replace(before, after)} if code else {})


@each_workflow
def test_a_workflow_is_sound(path: Path) -> None:
    found = problems(read(path), reduced())
    assert not found, "\n".join(found)


@each_workflow
def test_a_file_is_named_by_its_number_and_purpose(path: Path) -> None:
    assert re.fullmatch(r"\d\d-[a-z-]+", path.stem)


@each_workflow
def test_the_readme_describes_the_workflow(path: Path) -> None:
    assert path.name in (ROOT / "n8n-workflows" / "README.md").read_text()


def test_no_two_workflows_have_one_id() -> None:
    ids = [read(path)["id"] for path in workflows()]
    assert len(ids) == len(set(ids)) > 0


def test_the_catalogue_holds_what_the_workflows_use_and_no_more() -> None:
    held = {
        (name, float(version))
        for name, versions in reduced()["nodes"].items()
        for version in versions
    }
    assert held == used_types()


PLANTED: dict[str, tuple[Change, str]] = {
    "active": (lambda w: w.update(active=True), "active has to be false"),
    "pinned data": (lambda w: w.update(pinData={}), "pinData does not belong"),
    "no id": (lambda w: w.pop("id"), "id has to be stable"),
    "unknown type": (
        lambda w: node(w, "emailSend").update(type="n8n-nodes-base.pigeon"),
        "n8n-nodes-base.pigeon 2.1 is not known",
    ),
    "unknown version": (
        lambda w: node(w, "webhook").update(typeVersion=7),
        "n8n-nodes-base.webhook 7 is not known, but 2.1",
    ),
    "unknown parameter": (
        lambda w: node(w, "emailSend")["parameters"].update(recipient="x"),
        "Mail the report: has no parameter recipient",
    ),
    "unknown choice": (
        lambda w: node(w, "webhook")["parameters"].update(responseMode="never"),
        "responseMode cannot be never",
    ),
    "unknown option": (
        lambda w: node(w, "emailSend")["parameters"]["options"].update(stamp=1),
        "options cannot be stamp",
    ),
    "default name": (lambda w: rename(w, "emailSend", "Send Email1"), "is the default name"),
    "a name that says nothing": (lambda w: rename(w, "emailSend", "mail"), "is no phrase"),
    "an id that is no UUID": (lambda w: node(w, "code").update(id="1"), "its id is no UUID"),
    "one name twice": (lambda w: rename(w, "if", "Write the report"), "is there twice"),
    "a credential without id": (
        lambda w: node(w, "emailSend")["credentials"]["smtp"].pop("id"),
        "the credential for smtp has no stable id",
    ),
    "a connection to nowhere": (
        lambda w: w["connections"]["Mail the report"]["main"][0][0].update(node="Gone"),
        "leads to Gone, which is not there",
    ),
    "a node that nothing leads to": (
        lambda w: w["connections"].pop("Write the report"),
        "Mail the report: nothing leads to it",
    ),
    "another node that is not there": (
        lambda w: edit(w, "$('Verify the signature')", "$('Check it')"),
        "speaks of Check it, which is not there",
    ),
    "no check of the signature": (
        lambda w: edit(w, "timingSafeEqual(each, wanted)", "each.equals(wanted)"),
        "anybody may call it",
    ),
    "a signature over the parsed body": (
        lambda w: node(w, "webhook")["parameters"]["options"].clear(),
        "set the option rawBody",
    ),
    "an answer before the work": (
        lambda w: node(w, "webhook")["parameters"].update(responseMode="onReceived"),
        "nobody hears of a failure",
    ),
    "a secret": (
        lambda w: edit(w, "$env.N8N_WEBHOOK_SECRET ?? ''", "'whsec_Zm9vYmFyYmF6'"),
        "looks like a secret",
    ),
    "an address": (
        lambda w: node(w, "emailSend")["parameters"].update(toEmail="ann@example.org"),
        "ann@example.org belongs into the environment",
    ),
    "a field that the event does not have": (
        lambda w: edit(w, "body.data.usage.prompt_tokens", "body.data.usage.tokens_in"),
        "inference.completed has no data.usage.tokens_in",
    ),
    "a field that the notifier does not add": (
        lambda w: edit(w, "body.data.request.priority", "body.data.request.urgency"),
        "inference.completed has no data.request.urgency",
    ),
    "an event that is not in the catalogue": (
        lambda w: node(w, "stickyNote")["parameters"].update(content="Consumes `mail.read`."),
        "mail.read is not in the catalogue",
    ),
    "no event at all": (
        lambda w: node(w, "stickyNote")["parameters"].update(content="A workflow."),
        "no note says which event it consumes",
    ),
}


@pytest.mark.parametrize(("change", "found"), PLANTED.values(), ids=PLANTED.keys())
def test_the_linter_finds(change: Change, found: str) -> None:
    workflow = deepcopy(read(workflows()[0]))
    change(workflow)

    assert [each for each in problems(workflow, reduced()) if found in each]
