"""What holds of the request records after every script, whoever called it and in whatever state."""

from collections import Counter

from shared.bus.ids import final_id
from shared.bus.keys import Keys
from shared.events import EVENTS
from shared.events.base import Event, Priority
from shared.events.inference import (
    InferenceCancelled,
    InferenceCompleted,
    InferenceFailed,
    InferenceRejected,
    InferenceRequested,
)
from tests.bus.stored import Fields, Keeping, Stored

FINALS: tuple[type[Event], ...] = (
    InferenceCompleted,
    InferenceFailed,
    InferenceRejected,
    InferenceCancelled,
)
FLYING = {"dispatched", "running", "released"}
KEPT_UNTIL_FINAL = (Keys.body, Keys.context, Keys.chain, Keys.waiters)
TOMBSTONE_S = 3600
REPLIES_S = 900
LISTPACK_BYTES = 64


def check(stored: Stored, keeping: dict[str, Keeping]) -> None:
    """Raises `AssertionError` where the records, their indexes or their events disagree."""
    _waiting_index_holds_exactly_what_waits(stored)
    _flight_holds_exactly_what_uses_a_slot(stored)
    _a_request_has_one_final_event(stored)
    _a_body_belongs_to_an_unfinished_request(stored)
    _events_are_what_their_streams_say(stored)
    _replies_say_what_the_final_event_says(stored, keeping)
    for request_id, record in stored.records().items():
        match record["state"]:
            case "final":
                _only_a_tombstone_is_left(stored, keeping, request_id, record)
            case "cancelled_early":
                assert 0 < keeping[stored.keys.request(request_id)].ttl_s <= TOMBSTONE_S
            case _:
                _nothing_expires(stored, keeping, request_id)
        _record_is_small(stored, keeping, request_id, record)


def _waiting_index_holds_exactly_what_waits(stored: Stored) -> None:
    for priority in Priority:
        assert stored.waiting(priority) == {
            request_id: float(record["admitted_ms"])
            for request_id, record in stored.records().items()
            if record["state"] == "waiting" and record["priority"] == priority
        }


def _flight_holds_exactly_what_uses_a_slot(stored: Stored) -> None:
    records = stored.records()
    flying = {each for each, record in records.items() if record["state"] in FLYING}
    assert flying <= stored.flight.keys()
    for request_id in stored.flight.keys() - flying:
        record = records[request_id]
        assert record["state"] == "final", f"{request_id} is in flight and {record['state']}"
        assert record["stop"], f"{request_id} holds a slot that nobody was told to free"


def _a_request_has_one_final_event(stored: Stored) -> None:
    finals = [event for kind in FINALS for event in stored.events(kind)]
    uses = [(event["subject"], event.get("inboxentry", "")) for event in finals]
    counts = Counter(uses)
    assert all(count == 1 for count in counts.values()), counts
    assert [event["id"] for event in finals] == [final_id(*use) for use in uses]
    records = stored.records().items()
    assert {each for each, record in records if record["state"] == "final"} <= dict(uses).keys()
    assert not {(each, record.get("inbox_entry", "")) for each, record in records} & {*uses}
    assert all(entry or "#" in subject for subject, entry in uses)


def _a_body_belongs_to_an_unfinished_request(stored: Stored) -> None:
    prefix = stored.keys.body("")
    with_body = {key.removeprefix(prefix) for key in stored.strings if key.startswith(prefix)}
    assert with_body == {
        request_id
        for request_id, record in stored.records().items()
        if record["state"] not in ("final", "cancelled_early")
    }


def _events_are_what_their_streams_say(stored: Stored) -> None:
    for key, stream in stored.streams.items():
        event_type = key.removeprefix(stored.keys.prefix).partition(":")[0]
        event = EVENTS.get(event_type)
        if event is None or event is InferenceRequested:
            continue
        ids = Counter(fields["id"] for fields in stream.entries.values())
        assert not [event_id for event_id, times in ids.items() if times > 1]
        for fields in stream.entries.values():
            assert fields["type"] == event_type
            assert event.model_validate_json(fields["data"]).subject == fields["subject"]


def _replies_say_what_the_final_event_says(stored: Stored, keeping: dict[str, Keeping]) -> None:
    ended = [event for kind in FINALS for event in stored.events(kind)]
    for key, stream in stored.streams.items():
        if not key.startswith(stored.keys.reply("")):
            continue
        assert 0 < keeping[key].ttl_s <= REPLIES_S
        for reply in stream.entries.values():
            if "final" in reply:
                told = (reply["request"], f"inference.{reply['final']}.v1", reply["data"])
                assert told in [(end["subject"], end["type"], end["data"]) for end in ended]


def _only_a_tombstone_is_left(
    stored: Stored, keeping: dict[str, Keeping], request_id: str, record: Fields
) -> None:
    keys = stored.keys
    told = [
        f'{{"outcome":"{record["outcome"]}","data":{event["data"]}}}'.encode(
            errors="surrogateescape"
        )
        for kind in FINALS
        for event in stored.events(kind)
        if (event["subject"], event["type"]) == (request_id, f"inference.{record['outcome']}.v1")
    ]
    assert stored.result(request_id) in told
    assert not [named for named in KEPT_UNTIL_FINAL if named(keys, request_id) in keeping]
    for key in (keys.request(request_id), keys.result(request_id)):
        assert 0 < keeping[key].ttl_s <= TOMBSTONE_S


def _nothing_expires(stored: Stored, keeping: dict[str, Keeping], request_id: str) -> None:
    assert stored.result(request_id) is None
    for named in (Keys.request, *KEPT_UNTIL_FINAL):
        key = named(stored.keys, request_id)
        assert key not in keeping or keeping[key].ttl_s == -1, f"{key} expires"


def _record_is_small(
    stored: Stored, keeping: dict[str, Keeping], request_id: str, record: Fields
) -> None:
    large = {name: value for name, value in record.items() if len(value) >= LISTPACK_BYTES}
    assert not large
    assert keeping[stored.keys.request(request_id)].encoding == "listpack"
