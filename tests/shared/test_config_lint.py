"""What `lint` finds in configurations that are well formed and yet cannot be meant."""

import pytest

from shared.config import Config, lint, locate, parse_config

CODER = "coder: {engine: ollama, context_tokens: 8192}"


def found(text: str) -> list[tuple[str, str]]:
    findings = lint(parse_config(text, "f"))
    return [(finding.level, finding.message) for finding in findings]


def test_the_defaults_are_beyond_reproach() -> None:
    assert lint(Config()) == []


@pytest.mark.parametrize(
    ("text", "level", "message"),
    [
        pytest.param(
            "tasks: {t: {chain: ['heuristic:ticket']}}",
            "error",
            "heuristic:ticket is not configured; did you mean 'heuristic:tickets'?",
            id="unknown heuristic",
        ),
        pytest.param(
            f"models: {{{CODER}}}\ntasks: {{t: {{chain: [codr]}}}}",
            "warning",
            "no model 'codr' is configured, so a node's engine has to offer it; "
            "did you mean 'coder'?",
            id="unknown model",
        ),
        pytest.param(
            f"models: {{{CODER}}}\ntasks: {{t: {{chain: [coder], operation: embedding}}}}",
            "error",
            "coder cannot do embedding, which t asks for; add it to its operations",
            id="operation",
        ),
        pytest.param(
            f"models: {{{CODER}, mini: {{engine: ollama, context_tokens: 2048}}}}\n"
            "tasks: {t: {chain: [coder, mini]}}",
            "warning",
            "mini holds 2048 tokens and coder, which it stands in for, 8192; "
            "raise its context_tokens",
            id="fallback with less context",
        ),
        pytest.param(
            "tasks: {t: {chain: []}}",
            "error",
            "t has no candidates; name one, such as 'any'",
            id="empty chain",
        ),
        pytest.param(
            "nodes: {a: {memory_mib: 4000}}\n"
            "models: {big: {engine: ollama, need_mib: 5000, pinned: true}}\n"
            "tasks: {}",
            "error",
            "big needs 5000 MiB and no node has more than 4000 MiB; "
            "unpin it, or raise a node's memory_mib",
            id="pin larger than the card",
        ),
        pytest.param(
            "nodes: {a: {memory_mib: 4000}}\n"
            "models: {x: {engine: ollama, need_mib: 3000, pinned: true},"
            " y: {engine: ollama, need_mib: 3000, pinned: true}}",
            "error",
            "the pinned models need 6000 MiB together and all nodes have 4000 MiB; unpin some",
            id="pins larger than all cards",
        ),
        pytest.param(
            "default_task: chatt",
            "error",
            "there is no task 'chatt'; did you mean 'chat'?",
            id="default task",
        ),
        pytest.param(
            "timing: {heartbeat_s: 6}",
            "error",
            "a node beats every 6 s and is lost after 6 s of silence; "
            "make node_lost_s two or three beats long",
            id="heartbeat",
        ),
        pytest.param(
            "timing: {router_renew_s: 1.5}",
            "error",
            "1.5 s leaves no second try before router_lease_s (2 s) is over; make it at most 1",
            id="renewal",
        ),
        pytest.param(
            "nodes: {a: {engines: [{kind: ollama, url: 'http://localhost:1'},"
            " {kind: openai, url: 'http://127.0.0.1:1/'}]}}",
            "error",
            "http://127.0.0.1:1 is already nodes.a.engines[0]; "
            "its slots and memory would count twice, so remove one of them",
            id="engine named twice",
        ),
        pytest.param(
            "nodes: {a: {engines: [{kind: ollama, url: 'http://box:1'}]},"
            " b: {engines: [{kind: ollama, url: 'http://box:1'}]}}",
            "error",
            "http://box:1 is already nodes.a.engines[0]; "
            "its slots and memory would count twice, so remove one of them",
            id="remote engine named by two nodes",
        ),
        pytest.param(
            "heuristics: {h: {default: other, rules: []}}",
            "error",
            "h has no rules and would always answer 'other'; add one",
            id="no rules",
        ),
        pytest.param(
            "heuristics: {h: {default: other, rules: [{label: x, any_of: []}]}}",
            "error",
            "the rule for 'x' has no words and never matches; add some",
            id="rule without words",
        ),
    ],
)
def test_a_mistake_in_meaning_is_found(text: str, level: str, message: str) -> None:
    assert found(text) == [(level, message)]


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(
            "nodes: {a: {engines: [{kind: ollama, url: 'http://127.0.0.1:1'}]},"
            " b: {engines: [{kind: ollama, url: 'http://127.0.0.1:1'}]}}",
            id="each node has a loopback of its own",
        ),
        pytest.param(
            "nodes: {a: {memory_mib: 4000}, b: {}}\n"
            "models: {big: {engine: ollama, need_mib: 5000, pinned: true}}",
            id="a node whose memory is only measured may hold any pin",
        ),
    ],
)
def test_what_may_be_meant_is_let_pass(text: str) -> None:
    assert found(text) == []


def test_a_finding_can_be_located_in_the_text() -> None:
    text = "version: 1\ntasks:\n  t: {chain: [any, 'heuristic:none']}\n"
    (finding,) = lint(parse_config(text, "f"))

    assert locate(text, finding.where) == (3, 20)


def test_a_finding_about_a_default_is_located_at_the_nearest_section() -> None:
    assert locate("timing: {heartbeat_s: 9}", ("timing", "node_lost_s")) == (1, 9)
    assert locate("", ("default_task",)) == (1, 1)
