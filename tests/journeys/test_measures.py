"""What the router measures is what happened, and what it no longer knows it no longer says."""

import httpx
from prometheus_client.parser import text_string_to_metric_families

from tests.fakes.asking import final
from tests.fakes.processes import Child
from tests.journeys.conftest import CONFIG, Stage
from tests.waiting import until

Sample = tuple[str, tuple[tuple[str, str], ...]]


async def measured(child: Child) -> dict[Sample, float]:
    async with httpx.AsyncClient(trust_env=False) as client:
        page = await client.get(f"http://127.0.0.1:{child.port}/metrics")
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(page.text)
        for sample in family.samples
    }


async def measured_is(child: Child, wanted: Sample, value: float) -> bool:
    return (await measured(child)).get(wanted) == value


def sample(name: str, **labels: str) -> Sample:
    return f"roundhouse_{name}", tuple(sorted(labels.items()))


async def test_a_request_that_ends_without_an_answer_is_counted_with_its_reason(
    stage: Stage,
) -> None:
    router = await stage.router()
    await stage.worker("n1")

    await stage.asker.answer("one two three", model="crash", priority="HIGH")
    await stage.asker.answer("a b c d e f g h i j", model="slow", deadlinems=500)
    await stage.asker.answer("one two")

    completed = sample("requests_completed_total", priority="NORMAL", model="echo")
    await until(lambda: measured_is(router, completed, 1))
    page = await measured(router)
    assert {each: value for each, value in page.items() if each[0].endswith("_failed_total")} == {
        sample("requests_failed_total", priority="HIGH", reason="attempts_exhausted"): 1,
        sample("requests_failed_total", priority="NORMAL", reason="deadline"): 1,
    }


async def test_how_full_the_queue_is_stands_beside_what_waits(stage: Stage) -> None:
    router = await stage.router()
    await stage.worker("n1", slots=1)
    running = await stage.asker.ask("a b c d e f g h i j", model="slow")
    await stage.running(1)
    waiting = await stage.asker.ask("one", model="slow")

    await until(lambda: measured_is(router, sample("requests_waiting", priority="NORMAL"), 1))

    page = await measured(router)
    limit = page[sample("requests_waiting_limit", priority="NORMAL")]
    assert limit == next(
        each.backlog for priority, each in CONFIG.priorities.items() if priority == "NORMAL"
    )
    assert page[sample("nodes_alive")] == 1
    for stream in (running, waiting):
        await stage.asker.requester.cancel(stream.request_id, "seen enough")
        await final(stream)


async def test_a_router_that_leads_no_longer_does_not_repeat_what_it_last_knew(
    stage: Stage,
) -> None:
    first = await stage.router()
    await stage.worker("n1")
    await until(lambda: measured_is(first, sample("nodes_alive"), 1))
    second = await stage.router()

    first.freeze()
    await until(lambda: measured_is(second, sample("nodes_alive"), 1), timeout_s=15)
    first.thaw()

    await until(lambda: measured_is(first, sample("nodes_alive"), 0), timeout_s=15)
    page = await measured(first)
    assert not [name for name, _ in page if name.startswith("roundhouse_requests_waiting")]
