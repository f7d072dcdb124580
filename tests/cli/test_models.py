"""`models`: what nodes hold, and how a person changes it."""

from tests.fakes.command import Command
from tests.waiting import until


def states(command: Command) -> dict[str, str]:
    return {
        held["name"]: held["state"]
        for node in command.run("models", "--json").document
        for held in node["resident"]
    }


def test_every_model_is_shown_with_its_node_and_state(command: Command) -> None:
    shown = command.run("models")

    rows = [line.split() for line in shown.out.splitlines()]
    assert rows[0][:4] == ["model", "node", "engine", "state"]
    assert ["echo", "local", "scripted", "ready"] in [row[:4] for row in rows]
    assert ["light", "local", "scripted", "unloaded"] in [row[:4] for row in rows]
    assert ["heuristic:tickets", "local", "heuristic", "ready"] in [row[:4] for row in rows]


def test_json_has_what_a_node_offers_and_what_it_holds(command: Command) -> None:
    (node,) = command.run("models", "--json").document

    assert node.keys() == {"node", "models", "resident", "left_out"}
    assert node["node"] == "local"
    assert {"name", "engine", "context_tokens", "slots", "need_mib"} < node["models"][0].keys()
    assert {"name", "state", "slots", "in_flight", "idle_s"} < node["resident"][0].keys()


def test_a_model_is_loaded_and_unloaded_with_a_word_on_each_step(command: Command) -> None:
    loaded = command.run("models", "load", "light")
    again = command.run("models", "load", "light", "--json")
    unloaded = command.run("models", "unload", "light", "--json")
    gone = command.run("models", "unload", "light")

    assert loaded.out.startswith("light is ready on local after ")
    assert "local: loading (asked)" in loaded.err
    assert (again.document["state"], again.document["changed"]) == ("ready", False)
    assert (unloaded.document["state"], unloaded.document["changed"]) == ("unloaded", True)
    assert gone.out == "light was not loaded.\n"
    assert {each.code for each in (loaded, again, unloaded, gone)} == {0}
    assert unloaded.document.keys() == {
        *("model", "state", "changed", "nodes", "load_ms", "measured_mib")
    }


def test_a_model_that_cannot_be_loaded_says_why(command: Command) -> None:
    loaded = command.run("models", "load", "unloadable")
    command.run("models", "unload", "unloadable")

    assert (loaded.code, loaded.out) == (1, "")
    assert "unloadable was not loaded. local: load failed: does not fit." in loaded.err


def test_a_model_without_room_says_what_it_needs_and_what_is_there(command: Command) -> None:
    loaded = command.run("models", "load", "giant", "--timeout-s", "1")
    command.run("models", "unload", "giant")

    assert loaded.code == 1
    assert "giant is not loaded after 1 s" in loaded.err
    assert "needs 100000 MiB on local, which holds " in loaded.err
    assert "echo (100 MiB)" in loaded.err


async def test_a_serving_model_is_unloaded_when_it_has_finished(command: Command) -> None:
    asking = command.start("ask", "one two three four five six seven", "--model", "slow")
    await until(lambda: "one" in asking.out)

    unloaded = command.run("models", "unload", "slow")

    assert asking.finish().out == "one two three four five six seven\n"
    assert unloaded.code == 0
    assert "draining" in unloaded.err
    assert states(command).get("slow") is None
    assert command.run("models", "load", "slow").code == 0


async def test_a_model_that_is_being_loaded_is_unloaded_after_that(command: Command) -> None:
    loading = command.start("models", "load", "heavy")
    await until(lambda: states(command).get("heavy") == "loading")

    unloaded = command.run("models", "unload", "heavy")

    assert loading.finish().code == 0
    assert unloaded.out == "heavy is unloaded.\n"
    assert states(command).get("heavy") is None


def test_a_model_or_node_that_is_not_there_is_answered_with_those_that_are(
    command: Command,
) -> None:
    no_model = command.run("models", "load", "nope")
    no_node = command.run("models", "load", "light", "--node", "nowhere")

    assert "No living node offers nope." in no_model.err
    assert "There are: crash, echo," in no_model.err
    assert "No node nowhere is alive.\n  There are: local" in no_node.err


def test_what_an_engine_always_holds_cannot_be_unloaded(command: Command) -> None:
    unloaded = command.run("models", "unload", "heuristic:tickets")

    assert unloaded.code == 1
    assert "its engine always holds it" in unloaded.err


def test_without_a_living_node_there_is_nothing_to_show(lonely: Command) -> None:
    assert "No node is alive." in lonely.run("models").out
    assert lonely.run("models", "--json").document == []
    assert "No node is alive." in lonely.run("models", "load", "m").err


def test_a_model_that_is_missing_where_it_is_configured_is_shown_with_the_reason(
    command: Command,
) -> None:
    rows = command.run("models").out.splitlines()

    assert [line.split(maxsplit=4) for line in rows if line.startswith("mislaid")] == [
        ["mislaid", "local", "left", "out", "/models/mislaid.gguf cannot be read: no such file"]
    ]
    assert "mislaid" in command.run("models", "--json").document[0]["left_out"]
