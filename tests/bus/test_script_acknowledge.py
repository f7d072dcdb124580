"""`acknowledge` and `fail`: a handled entry is settled with its results, or not at all."""

from typing import Any

import pytest
from pydantic_core import from_json
from redis.asyncio import Redis

from shared.bus.connection import ensure_group
from shared.bus.consumption import Consumption, Handler, Published, Results
from shared.bus.envelope import Entry, Message
from shared.bus.holding import ATTEMPTS, Holding
from shared.bus.ids import derived_id
from shared.bus.keys import Keys
from shared.bus.writer import ScriptError, Writer
from shared.events.models import ModelActionRequested, ModelLoadRequested, NodeLost, NodeReturned
from shared.events.operations import DeadLetter
from tests.bus.stored import Stored, read

GROUP, CONSUMER = "model-manager", "manager-1"
ACTION = ModelActionRequested(model="m1", action="load")
LOAD = ModelLoadRequested(model="m1", context_tokens=8, slots=1, reason="asked")
Handle = Handler[ModelActionRequested]


class Post:
    """A stream with one entry, delivered to a consumer of a group."""

    def __init__(self, client: Redis, keys: Keys, writer: Writer) -> None:
        self.client, self.keys = client, keys
        self.stream = keys.stream(ModelActionRequested)
        self._writer = writer
        self._consumptions: list[Consumption[ModelActionRequested]] = []

    async def deliver(self, fields: dict[Any, Any] | None = None) -> Entry:
        await ensure_group(self.client, self.stream, GROUP)
        await self.client.xadd(
            self.stream,
            fields or {"id": "e1", "traceparent": "00-1-2-01", "data": ACTION.model_dump_json()},
        )
        reply: Any = await self.client.xreadgroup(GROUP, CONSUMER, {self.stream: ">"})
        [(entry_id, raw)] = reply[0][1]
        return Entry(self.stream, entry_id.decode(), raw)

    async def handle(self, entry: Entry, handler: Handle) -> None:
        holding = Holding(self._writer, self.keys, self.stream, GROUP, CONSUMER)
        consumption = Consumption(self._writer, self.keys, holding, ModelActionRequested, handler)
        self._consumptions.append(consumption)
        await consumption.on_batch([entry])

    async def stored(self) -> Stored:
        stored, _ = await read(self.client, self.keys)
        return stored

    async def close(self) -> None:
        for consumption in self._consumptions:
            await consumption.close()


@pytest.fixture
async def post(client: Redis, keys: Keys, writer: Writer) -> Any:
    post = Post(client, keys, writer)
    yield post
    await post.close()


async def answers(message: Message[ModelActionRequested]) -> Results:
    return [
        Published(LOAD, node="n1", ordinal=message.id),
        NodeLost(node="n1", silent_ms=5),
    ]


async def nothing(message: Message[ModelActionRequested]) -> None:
    return None


def failing(error: Exception) -> Handle:
    async def handler(message: Message[ModelActionRequested]) -> None:
        raise error

    return handler


async def test_results_and_acknowledgement_are_one_step(post: Post) -> None:
    await post.handle(await post.deliver(), answers)

    stored = await post.stored()
    [load], [lost] = stored.events(ModelLoadRequested, "n1"), stored.events(NodeLost)
    assert stored.stream(ModelActionRequested).pending == {GROUP: []}
    assert load["id"] == derived_id(ModelLoadRequested.type, "m1", "e1")
    assert lost["id"] == derived_id(NodeLost.type, "n1")
    for event in (load, lost):
        assert event["source"] == GROUP
        assert event["correlationid"] == event["causationid"] == "e1"
        assert event["traceparent"] == "00-1-2-01"


async def test_a_handler_without_results_settles_its_entry(post: Post) -> None:
    await post.handle(await post.deliver(), nothing)

    assert (await post.stored()).stream(ModelActionRequested).pending == {GROUP: []}


async def test_settling_twice_is_settling_once(post: Post) -> None:
    entry = await post.deliver()
    await post.handle(entry, answers)
    before = await post.stored()

    await post.handle(entry, answers)

    assert await post.stored() == before


@pytest.mark.parametrize("handler", [answers, failing(RuntimeError("no")), failing(ValueError())])
async def test_whoever_lost_the_entry_to_another_consumer_changes_nothing(
    post: Post, handler: Handle
) -> None:
    entry = await post.deliver()
    await post.client.xclaim(post.stream, GROUP, "manager-2", 0, [entry.id])
    before = await post.stored()

    await post.handle(entry, handler)

    assert await post.stored() == before


async def test_results_for_a_key_of_another_type_are_not_published_in_part(post: Post) -> None:
    entry = await post.deliver()
    await post.client.set(post.keys.stream(NodeLost), "not a stream")
    before = await post.stored()

    with pytest.raises(ScriptError, match=r"node\.lost"):
        await post.handle(entry, answers)

    assert await post.stored() == before


async def test_a_failed_handling_is_counted_and_stays_with_its_consumer(post: Post) -> None:
    entry = await post.deliver()

    await post.handle(entry, failing(RuntimeError("no")))

    [row] = await post.client.xpending_range(post.stream, GROUP, "-", "+", 10)
    assert (row["times_delivered"], row["consumer"]) == (2, CONSUMER.encode())
    assert (await post.stored()).events(DeadLetter) == []


async def test_the_last_failure_makes_a_dead_letter_with_everything_in_it(post: Post) -> None:
    entry = await post.deliver()
    await post.client.xclaim(post.stream, GROUP, CONSUMER, 0, [entry.id], retrycount=ATTEMPTS)

    await post.handle(entry, failing(RuntimeError('no "engine" \\ here')))

    stored = await post.stored()
    [letter] = stored.events(DeadLetter)
    assert stored.stream(ModelActionRequested).pending == {GROUP: []}
    assert from_json(letter["data"]) == {
        **{"origin": "model.action_requested.v1", "entry": entry.id, "group": GROUP},
        **{"reason": 'RuntimeError: no "engine" \\ here', "deliveries": ATTEMPTS},
    }
    assert DeadLetter.model_validate_json(letter["data"]).subject == letter["subject"]
    assert letter["id"] == derived_id(DeadLetter.type, f"{post.stream}:{entry.id}", GROUP)
    assert {name: letter[name] for name in letter if name.startswith("x-")} == {
        f"x-{name.decode()}": value.decode() for name, value in entry.fields.items()
    }


async def test_burying_twice_is_burying_once(post: Post) -> None:
    entry = await post.deliver({"data": "no event"})
    await post.handle(entry, nothing)
    before = await post.stored()

    await post.handle(entry, nothing)

    assert len(before.events(DeadLetter)) == 1
    assert await post.stored() == before


@pytest.mark.parametrize(
    "fields",
    [{"data": "no event"}, {"data": "{}"}, {"other": "x"}, {"data": b"\xff\xfe\x00"}],
    ids=["no JSON", "empty", "no data", "no text"],
)
async def test_what_is_no_event_is_buried_at_once(post: Post, fields: dict[str, Any]) -> None:
    await post.handle(await post.deliver(fields), nothing)

    stored = await post.stored()
    [letter] = stored.events(DeadLetter)
    assert stored.stream(ModelActionRequested).pending == {GROUP: []}
    assert from_json(letter["data"])["reason"].startswith("invalid: ")


async def test_a_valid_entry_whose_handler_finds_a_value_wrong_is_tried_again(
    post: Post,
) -> None:
    await post.handle(await post.deliver(), failing(ValueError("not yet")))

    assert (await post.stored()).events(DeadLetter) == []


async def test_an_entry_too_wide_for_a_script_is_buried_without_its_fields(post: Post) -> None:
    entry = await post.deliver({f"field-{number}": "x" for number in range(5000)})

    await post.handle(entry, nothing)

    stored = await post.stored()
    [letter] = stored.events(DeadLetter)
    assert from_json(letter["data"])["entry"] == entry.id
    assert stored.stream(ModelActionRequested).pending == {GROUP: []}


async def test_an_entry_that_is_no_more_is_buried_as_it_was_read(post: Post) -> None:
    entry = await post.deliver({"data": "no event"})
    await post.client.xdel(post.stream, entry.id)

    await post.handle(entry, nothing)

    [letter] = (await post.stored()).events(DeadLetter)
    assert letter["x-data"] == "no event"


async def test_the_same_result_of_two_entries_differs_by_its_ordinal(post: Post) -> None:
    async def returned(message: Message[ModelActionRequested]) -> Results:
        return [Published(NodeReturned(node="n1"), ordinal=message.entry.id)]

    await post.handle(await post.deliver(), returned)
    await post.handle(await post.deliver(), returned)

    events = (await post.stored()).events(NodeReturned)
    assert len({event["id"] for event in events}) == 2
