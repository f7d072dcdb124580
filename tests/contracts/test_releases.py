"""The contracts of a release, kept to be compared with."""

from pathlib import Path

from cli.address import ROOT
from cli.contract_documents.releases import RELEASED, broken_since, freeze, last_release
from cli.contract_documents.tree import as_text, generate

SCHEMAS = generate(ROOT).schemas
TEXTS = {name: as_text(schema) for name, schema in SCHEMAS.items()}


def test_before_the_first_release_there_is_nothing_to_break(tmp_path: Path) -> None:
    assert last_release(tmp_path) is None


def test_the_last_release_is_the_highest_version_not_the_last_by_name(tmp_path: Path) -> None:
    for version in ("0.9.0", "0.10.0", "0.10.1"):
        freeze(tmp_path, version, TEXTS)

    last = last_release(tmp_path)

    assert last is not None
    assert last.version == "0.10.1"
    assert last.schemas == SCHEMAS


def test_a_released_event_cannot_disappear(tmp_path: Path) -> None:
    freeze(tmp_path, "0.1.0", TEXTS)
    last = last_release(tmp_path)
    assert last is not None

    without = {name: schema for name, schema in SCHEMAS.items() if not name.startswith("node.lost")}

    assert broken_since(last, SCHEMAS) == []
    assert broken_since(last, without) == ["node.lost.v1.schema.json: removed"]


def test_what_this_tree_released_still_holds() -> None:
    last = last_release(ROOT)

    assert (last is None) == (not (ROOT / RELEASED).exists())
    assert last is None or broken_since(last, SCHEMAS) == []
