"""What n8n's node types accept, reduced to names: which parameters a type has in a version.

    n8n export:nodes --output nodes.json
    python -m tests.n8n.catalogue nodes.json 2.7.5

writes `nodes.json` beside this file anew, for the types and versions that our workflows use.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.house.sources import ROOT

Json = dict[str, Any]

WORKFLOWS = ROOT / "n8n-workflows"
REDUCED = Path(__file__).with_name("nodes.json")

_COMPARED = {
    "eq": lambda version, bound: version == bound,
    "not": lambda version, bound: version != bound,
    "gt": lambda version, bound: version > bound,
    "gte": lambda version, bound: version >= bound,
    "lt": lambda version, bound: version < bound,
    "lte": lambda version, bound: version <= bound,
}


def workflows() -> list[Path]:
    return sorted(WORKFLOWS.glob("*.json"))


def reduced() -> Json:
    """`{"n8n": version, "nodes": {type: {version: {"label": ..., "parameters": {...}}}}}`.

    A parameter's value lists what may stand in it: names of its options, or `null` for anything.
    """
    catalogue: Json = json.loads(REDUCED.read_text())
    return catalogue


def reduce(exported: list[Json], n8n: str, used: set[tuple[str, float]]) -> Json:
    nodes: Json = {}
    for name, version in sorted(used):
        described = next(
            (each for each in exported if each["name"] == name and version in _versions(each)), None
        )
        if described is not None:
            nodes.setdefault(name, {})[f"{version:g}"] = {
                "label": described["defaults"]["name"],
                "parameters": dict(sorted(_parameters(described, version))),
            }
    return {"n8n": n8n, "nodes": nodes}


def used_types() -> set[tuple[str, float]]:
    return {
        (node["type"], node["typeVersion"])
        for path in workflows()
        for node in json.loads(path.read_text())["nodes"]
    }


def _versions(node: Json) -> list[float]:
    version = node.get("version", 1)
    return version if isinstance(version, list) else [version]


def _parameters(node: Json, version: float) -> Iterator[tuple[str, list[str] | None]]:
    """Of one name there may be several, shown in different situations: all they allow counts."""
    allowed: dict[str, set[str] | None] = {}
    for one in node["properties"]:
        if one["type"] != "notice" and _is_shown(one.get("displayOptions", {}), version):
            values = _values(one)
            known = allowed.get(one["name"], set())
            allowed[one["name"]] = None if values is None or known is None else known | values
    for name, values in allowed.items():
        yield name, None if values is None else sorted(values)


def _values(parameter: Json) -> set[str] | None:
    match parameter["type"]:
        case "options" | "multiOptions":
            return {str(each["value"]) for each in parameter.get("options", [])} or None
        case "collection" | "fixedCollection":
            return {each["name"] for each in parameter.get("options", [])}
        case _:
            return None


def _is_shown(display: Json, version: float) -> bool:
    show = display.get("show", {}).get("@version", [version])
    hide = display.get("hide", {}).get("@version", [])
    return any(_fits(each, version) for each in show) and not any(
        _fits(each, version) for each in hide
    )


def _fits(condition: Any, version: float) -> bool:
    if not isinstance(condition, dict):
        return bool(condition == version)
    ((how, bound),) = condition["_cnd"].items()
    return bool(_COMPARED[how](version, bound))


if __name__ == "__main__":
    catalogue = reduce(json.loads(Path(sys.argv[1]).read_text()), sys.argv[2], used_types())
    REDUCED.write_text(json.dumps(catalogue, indent=1, sort_keys=True) + "\n")
