"""Every variable reaches somebody who knows it, and is explained once."""

import re
import subprocess
from importlib import import_module
from pathlib import Path

import pytest
from dotenv import dotenv_values
from pydantic import AliasChoices
from pydantic_settings import BaseSettings

from tests.deploy.composed import (
    EXAMPLE,
    FILLED_IN,
    FOLDER,
    MAIN,
    OVERLAYS,
    document,
    here,
    interpolated,
    variables,
)
from tests.house.sources import ROOT

each_service_here = pytest.mark.parametrize("name", here())

LEFT_AT_ITS_DEFAULT = {
    "ROUNDHOUSE_INSTANCE": "every container gets a name of its own from its host name",
    "ROUNDHOUSE_TINY": "the image has no llama.cpp for the generated model",
}


def settings_of(folder: str) -> type[BaseSettings]:
    settings: type[BaseSettings] = import_module(f"services.{folder}.settings").Settings
    return settings


def variable_names(settings: type[BaseSettings]) -> set[str]:
    prefix = settings.model_config["env_prefix"]
    return {
        str(field.validation_alias.choices[0])
        if isinstance(field.validation_alias, AliasChoices)
        else f"{prefix}{name}".upper()
        for name, field in settings.model_fields.items()
    }


def named_secrets() -> set[str]:
    """Variables that the configuration names: keys of engines, secrets of endpoints."""
    text = (FOLDER / "configuration.yaml").read_text()
    return set(re.findall(r"(?:api_key_env|secret_env): (\w+)", text))


@each_service_here
def test_a_service_gets_what_its_settings_know_and_all_of_it(name: str) -> None:
    folder = name.replace("-", "_")
    known = variable_names(settings_of(folder))
    given = set(here()[name]["environment"])

    assert not given - known - named_secrets(), "its settings do not know them"
    assert not known - given - LEFT_AT_ITS_DEFAULT.keys(), "they are missing in its block"


@each_service_here
def test_the_settings_accept_what_compose_gives(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = name.replace("-", "_")
    for variable, value in interpolated(here()[name]["environment"], FILLED_IN).items():
        monkeypatch.setenv(variable, str(value))

    settings_of(folder)()


def example_entries() -> dict[str, tuple[str, str, bool]]:
    """By name: its value, the sentence above it, and whether it has to be filled in."""
    entries, comment = {}, []
    for line in EXAMPLE.read_text().splitlines():
        if found := re.fullmatch(r"(#)?([A-Z][A-Z0-9_]*)=(.*)", line):
            entries[found[2]] = (found[3], " ".join(comment), not found[1])
            comment = []
        elif line.startswith("# "):
            comment.append(line.removeprefix("# "))
        else:
            comment = []
    return entries


def test_the_example_explains_every_variable_of_the_compose_files() -> None:
    taken = {found["name"]: found for path in (MAIN, *OVERLAYS) for found in variables(path)}
    entries = example_entries()

    assert entries.keys() == taken.keys()
    for name, (value, sentence, to_be_filled_in) in entries.items():
        assert sentence.endswith("."), name
        assert to_be_filled_in == (taken[name]["how"] == "?"), name
        assert value == ("" if to_be_filled_in else taken[name]["rest"]), name


def test_a_variable_has_one_default() -> None:
    defaults: dict[str, set[tuple[str, str]]] = {}
    for path in (MAIN, *OVERLAYS):
        for found in variables(path):
            defaults.setdefault(found["name"], set()).add((found["how"], found["rest"]))

    assert not {name: each for name, each in defaults.items() if len(each) > 1}


def test_nothing_starts_without_passwords() -> None:
    with pytest.raises(KeyError, match=r"compose/\.env\.example"):
        interpolated(document(), {})


def test_what_the_guide_types_fills_in_all_that_is_needed(tmp_path: Path) -> None:
    guide = (ROOT / "docs/how-to/run-with-compose.md").read_text()
    [typed, *_] = re.findall(r"(?ms)^```sh\n(.*?)^```$", guide)
    (tmp_path / "compose").mkdir()
    (tmp_path / "compose" / EXAMPLE.name).write_text(EXAMPLE.read_text())
    before_docker = typed.partition("docker compose")[0]

    subprocess.run(["sh", "-eu", "-c", before_docker], cwd=tmp_path, check=True)

    written = dotenv_values(tmp_path / "compose" / ".env")
    assert written.keys() == FILLED_IN.keys()
    assert all(re.fullmatch("[0-9a-f]{48}", value or "") for value in written.values())
    assert (tmp_path / "compose" / ".env").stat().st_mode & 0o077 == 0


def test_no_secret_has_a_default() -> None:
    secrets = [found for found in variables() if re.search("PASSWORD|SECRET|_KEY$", found["name"])]

    assert len(secrets) > 2
    assert not [found["name"] for found in secrets if found["how"] == "-" and found["rest"]]
