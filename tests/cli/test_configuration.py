"""`check` says what is wrong where, `apply` puts a configuration in force."""

from pathlib import Path
from typing import Any

import pytest
import redis
import yaml

from cli.commands.up import with_stores
from shared.config import Config
from tests.fakes.command import Command
from tests.fakes.plane import CONFIG
from tests.servers import Store
from tests.waiting import until

WRONG = "tasks:\n  chat: {chain: []}\n"
BROKEN = "tasks:\n  chat:\n    chian: [any]\n"


def write(folder: Path, text: str) -> str:
    file = folder / "mine.yaml"
    file.write_text(text)
    return str(file)


def stored(store: Store) -> Any:
    with redis.Redis.from_url(store.url) as client:
        return client.hgetall("rh:config")


def test_a_sound_configuration_is_ok(nowhere: Command, tmp_path: Path) -> None:
    file = write(tmp_path, "default_task: assess\n")

    checked = nowhere.run("check", file)

    assert (checked.code, checked.out) == (0, f"{file}: ok\n")
    assert nowhere.run("check", file, "--json").document == {
        "file": file,
        "ok": True,
        "findings": [],
    }


@pytest.mark.parametrize(
    ("text", "place", "said"),
    [
        (WRONG, "2:10", "chat has no candidates"),
        (BROKEN, "3:5", "tasks.chat: unknown key 'chian'; did you mean 'chain'?"),
        ("tasks: [\n", "2:1", ""),
        ("models: 7\n", "1:9", "models must be a mapping"),
    ],
    ids=["makes-no-sense", "unknown-key", "no-yaml", "wrong-type"],
)
def test_an_error_is_shown_with_its_line_and_column(
    nowhere: Command, tmp_path: Path, text: str, place: str, said: str
) -> None:
    file = write(tmp_path, text)

    checked = nowhere.run("check", file)
    document = nowhere.run("check", file, "--json")

    assert (checked.code, document.code) == (1, 1)
    assert f"{file}:{place}: error: {said}" in checked.out
    findings = document.document["findings"]
    assert place in [f"{each['line']}:{each['column']}" for each in findings]
    assert {each["level"] for each in findings} == {"error"}
    assert document.document["ok"] is False


def test_a_warning_is_shown_and_is_no_error(nowhere: Command, tmp_path: Path) -> None:
    checked = nowhere.run("check", write(tmp_path, "tasks:\n  chat: {chain: [unheard-of]}\n"))

    assert checked.code == 0
    assert "2:18: warning: " in checked.out


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "cannot be read"), (b"\xff", "is not UTF-8 text")],
    ids=["missing", "latin-1"],
)
def test_a_file_that_cannot_be_read_is_an_error(
    nowhere: Command, tmp_path: Path, content: bytes | None, said: str
) -> None:
    file = tmp_path / "mine.yaml"
    if content is not None:
        file.write_bytes(content)

    checked = nowhere.run("check", str(file))

    assert checked.code == 1
    assert f"{file}:1:1: error: {said}" in checked.out


def test_what_is_applied_gets_a_version_and_is_stored(
    own_store: Store, lonely: Command, tmp_path: Path
) -> None:
    file = write(tmp_path, "default_task: assess\n")

    first = lonely.run("apply", file)
    again = lonely.run("apply", file, "--json")

    assert first.out == "In force as version 1.\n"
    assert again.document == {"version": 1, "changed": False}
    assert Config.model_validate_json(stored(own_store)[b"body"]).default_task == "assess"


@pytest.mark.parametrize("text", [WRONG, BROKEN], ids=["makes-no-sense", "unknown-key"])
def test_what_has_errors_is_not_applied(
    own_store: Store, lonely: Command, tmp_path: Path, text: str
) -> None:
    applied = lonely.run("apply", write(tmp_path, text))

    assert (applied.code, applied.out) == (1, "")
    assert "mine.yaml:" in applied.err
    assert "Nothing was changed." in applied.err
    assert stored(own_store) == {}


async def test_running_services_take_over_what_is_applied(command: Command, tmp_path: Path) -> None:
    mine = CONFIG.model_dump(mode="json")
    mine["tasks"]["fresh"] = {"chain": ["echo"]}
    assert command.run("ask", "hello", "--task", "fresh").code == 1

    assert command.run("apply", write(tmp_path, yaml.safe_dump(mine))).code == 0

    await until(lambda: command.run("ask", "hello", "--task", "fresh").out == "hello\n")


def test_a_model_s_file_that_is_not_on_this_machine_is_warned_of(
    nowhere: Command, tmp_path: Path
) -> None:
    here = tmp_path / "here.gguf"
    here.touch()
    models = {"here": here, "gone": tmp_path / "gone.gguf", "odd": "~nobody-of-that-name/m.gguf"}
    text = "models:\n" + "".join(
        f"  {name}: {{engine: llama_cpp, path: '{path}'}}\n" for name, path in models.items()
    )

    checked = nowhere.run("check", write(tmp_path, text))

    assert checked.code == 0
    assert ":3:29: warning: " in checked.out
    assert "gone.gguf is no file on this machine" in checked.out
    assert "~nobody-of-that-name/m.gguf is no file" in checked.out
    assert "here.gguf is" not in checked.out


def test_an_empty_variable_names_no_store() -> None:
    config = {"stores": {"redis": "redis://configured:6379/0"}}

    assert with_stores({"REDIS_URL": ""}, config)["REDIS_URL"] == "redis://configured:6379/0"
    assert with_stores({"REDIS_URL": "redis://mine"}, config)["REDIS_URL"] == "redis://mine"
    assert with_stores({"SHELL": "sh"}, {}) == {"SHELL": "sh"}
