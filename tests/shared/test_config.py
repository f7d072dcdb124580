"""roundhouse.yaml: what it says by default, how it is read, and how mistakes are reported."""

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.config import Config, ConfigError, NodeConfig, load_config, parse_config
from shared.events.base import Operation, Priority

EXAMPLE = Path(__file__).parents[2] / "roundhouse.example.yaml"


def problems(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse_config(text, "roundhouse.yaml")
    return str(caught.value).splitlines()


def uncommented(text: str) -> str:
    """The example with its sample sections in force; prose comments start with a space."""
    return re.sub(r"^#(?=\w|  )", "", text, flags=re.MULTILINE)


def test_the_example_says_the_built_in_defaults() -> None:
    assert load_config(EXAMPLE) == load_config(None) == Config()


def test_the_samples_in_the_example_are_valid() -> None:
    config = parse_config(uncommented(EXAMPLE.read_text()), "example")

    assert config.models["coder"].source == "qwen2.5-coder:14b"
    assert [engine.kind for engine in config.nodes["local"].engines] == ["ollama", "openai"]


@pytest.mark.parametrize("text", ["", "# nothing\n", "models:\nnodes:\n"])
def test_an_empty_file_or_section_means_the_defaults(text: str) -> None:
    assert parse_config(text, "roundhouse.yaml") == Config()


def test_a_configuration_survives_its_journey_as_json() -> None:
    config = parse_config(uncommented(EXAMPLE.read_text()), "example")

    assert Config.model_validate_json(config.model_dump_json()) == config


def test_a_task_of_ones_own_is_added_to_the_built_in_ones() -> None:
    config = parse_config("tasks: {translate: {chain: [coder]}, chat: {chain: [coder]}}", "f")

    assert config.tasks["translate"].priority is Priority.NORMAL
    assert config.tasks["chat"].chain == ("coder",)
    assert config.tasks["embed"].operation is Operation.EMBEDDING


def test_a_priority_keeps_the_bounds_that_are_not_named() -> None:
    config = parse_config("priorities: {HIGH: {backlog: 7}}", "f")

    assert config.priorities[Priority.HIGH].backlog == 7
    assert config.priorities[Priority.HIGH].deadline_s == 300
    assert config.priorities[Priority.LOW] == Config().priorities[Priority.LOW]


def test_a_node_that_is_not_named_has_the_defaults() -> None:
    config = parse_config("nodes: {box: {discover: false}}", "f")

    assert not config.node("box").discover
    assert config.node("other") == NodeConfig()


def test_keys_that_yaml_would_read_as_something_else_stay_text() -> None:
    config = parse_config("nodes: {no: {}, 7: {}}", "f")

    assert set(config.nodes) == {"no", "7"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(
            "tasks:\n  chat: {chian: [any]}\n",
            [
                "roundhouse.yaml:2:9: tasks.chat has no 'chain'; add it",
                "roundhouse.yaml:2:10: tasks.chat: unknown key 'chian'; did you mean 'chain'?",
            ],
            id="misspelt key",
        ),
        pytest.param(
            "nodes:\n  local:\n    colour: red\n",
            [
                "roundhouse.yaml:3:5: nodes.local: unknown key 'colour'; "
                "choose one of discover, engines, memory_mib"
            ],
            id="unknown key like no other",
        ),
        pytest.param(
            "nodes: {a: {engines: [{kind: olama, url: 'http://h'}]}}",
            [
                "roundhouse.yaml:1:30: nodes.a.engines[0].kind has no such choice; "
                "did you mean 'ollama'?"
            ],
            id="misspelt choice",
        ),
        pytest.param(
            "priorities: {URGENT: {deadline_s: 1, wait_bound_s: 1, backlog: 1}}",
            [
                "roundhouse.yaml:1:14: priorities.URGENT has no such choice; "
                "choose one of CRITICAL, HIGH, LOW, NORMAL"
            ],
            id="unknown priority",
        ),
        pytest.param(
            "models:\n  any: {engine: ollama}\n",
            ["roundhouse.yaml:2:3: models.any is a reserved name; call that model something else"],
            id="reserved name",
        ),
        pytest.param(
            "producers: [crm, two words]",
            [
                "roundhouse.yaml:1:18: producers[1] is not a name; use up to 128 letters, digits "
                "and . _ : / @ + -, starting with a letter or a digit"
            ],
            id="producer that is no name",
        ),
        pytest.param(
            "producers: [local]",
            [
                "roundhouse.yaml:1:13: producers[0] is who writes the shared stream; "
                "call that producer something else"
            ],
            id="producer named like the shared stream's",
        ),
        pytest.param(
            "producers: crm",
            ["roundhouse.yaml:1:12: producers must be a list; write it as [a, b]"],
            id="one producer, not in a list",
        ),
        pytest.param(
            "models: {a: {engine: llama_cpp}}",
            ["roundhouse.yaml:1:13: models.a needs path: the GGUF file that llama_cpp loads"],
            id="no weights",
        ),
        pytest.param(
            "attempts: {limit: 0, total_s: '5', connect_s: .inf}",
            [
                "roundhouse.yaml:1:19: attempts.limit must be at least 1; choose a larger number",
                "roundhouse.yaml:1:31: attempts.total_s must be a number; write it without quotes",
                "roundhouse.yaml:1:47: attempts.connect_s must be a finite number; choose one",
            ],
            id="numbers",
        ),
        pytest.param(
            "timing: [1]",
            ["roundhouse.yaml:1:9: timing must be a mapping; write it as key: value"],
            id="wrong kind of section",
        ),
        pytest.param(
            "default_task: no",
            ["roundhouse.yaml:1:15: default_task must be text; put it in quotes"],
            id="a word that YAML takes for false",
        ),
        pytest.param(
            "version: 1\nversion: 1\n",
            ["roundhouse.yaml:2:1: the key 'version' is given twice; remove one of them"],
            id="key given twice",
        ),
        pytest.param(
            "models: &m {a: *m}",
            [
                "roundhouse.yaml:1:9: this alias holds itself; write the value out",
                "roundhouse.yaml:1:9: models.a must be a mapping; write it as key: value",
            ],
            id="endless alias",
        ),
        pytest.param(
            "tasks:\n  chat: [\n",
            [
                "roundhouse.yaml:3:1: the file is not YAML here: expected the node content, "
                "but found '<stream end>'; correct it there"
            ],
            id="no YAML",
        ),
        pytest.param(
            "a: \x00",
            ["roundhouse.yaml:1:4: the file holds a character that YAML forbids; correct it there"],
            id="forbidden character",
        ),
        pytest.param(
            "[" * 5000,
            ["roundhouse.yaml:1:1: the file is nested too deeply to be read; correct it there"],
            id="nested too deeply",
        ),
    ],
)
def test_a_mistake_is_reported_with_its_place_and_a_remedy(text: str, expected: list[str]) -> None:
    assert problems(text) == expected


def test_all_mistakes_are_reported_at_once_in_the_order_of_the_file() -> None:
    lines = problems(
        "attempts: {limit: many}\nnodes: {a: {discover: 1}}\ntiming: {x: 1}\nversion: 2\n"
    )

    assert [line.split(":")[1] for line in lines] == ["1", "2", "3", "4"]


@pytest.mark.parametrize(
    "engine",
    [
        "{kind: openai, url: 'http://user:sk-secret@host/'}",
        "{kind: openai, url: 'http://host/?key=sk-secret'}",
        "{kind: openai, url: 'http://host', api_key_env: sk-secret}",
        "{kind: openai, url: 'http://host', api_key: sk-secret}",
    ],
)
def test_a_secret_in_the_file_is_refused_and_not_repeated(engine: str) -> None:
    (line,) = problems(f"nodes: {{a: {{engines: [{engine}]}}}}")

    assert "sk-secret" not in line
    assert "api_key_env" in line


@pytest.mark.parametrize("url", ["127.0.0.1:11434", "ftp://host", "http://", "http://h:99999"])
def test_an_engine_needs_a_whole_address(url: str) -> None:
    (line,) = problems(f"nodes: {{a: {{engines: [{{kind: ollama, url: '{url}'}}]}}}}")

    assert "write it like http://127.0.0.1:11434" in line


def test_a_missing_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.yaml:1:1: cannot be read \(No such file"):
        load_config(tmp_path / "none.yaml")


def test_a_file_that_is_no_text_says_so(tmp_path: Path) -> None:
    path = tmp_path / "roundhouse.yaml"
    path.write_bytes(b"version: \xff\xfe")

    with pytest.raises(ConfigError, match="is not UTF-8 text"):
        load_config(path)


WORDS = ["models", "tasks", "chat", "nodes", "null", "1", "&a", "*a", "!!int", "<<", "---"]
MARKS = [":", "-", "{", "}", "[", "]", "'", '"', "|", "#", "?", " ", "\n", "\t", "\u2028", "\x07"]
FRAGMENTS = st.sampled_from([*WORDS, *MARKS, "  ", "- ", ": "])


@settings(deadline=None)
@given(st.lists(FRAGMENTS, max_size=25).map("".join))
def test_any_text_is_read_or_refused_with_a_place(text: str) -> None:
    refusal = "f:1:1: nothing is wrong; go on"
    try:
        parse_config(text, "f")
    except ConfigError as error:
        refusal = str(error)

    assert all(re.match(r"f:\d+:\d+: .+; .+", line) for line in refusal.split("\n"))
