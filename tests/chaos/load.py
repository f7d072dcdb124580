"""The programs that ask: producers that write the inbox themselves, and clients of the gateways."""

import asyncio
import json
from collections import Counter
from dataclasses import dataclass
from typing import Any

import aiohttp

from shared.events.inference import InferenceCancelRequested
from tests.chaos.cell import KEYS, Cell
from tests.chaos.engine import prompt
from tests.chaos.plan import Again, Ask, Way
from tests.chaos.tape import INBOX

CANCELS = KEYS.stream(InferenceCancelRequested)
PRODUCERS = 3
RETRIES = 60
RETRY_S = 0.3
WORTH_RETRYING = (429, 500, 503)
"""What a client meets that may be another answer later."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a client of a gateway got. `text` is all that came of the answer."""

    ask: Ask
    request_id: str
    status: int
    text: str
    whole: bool
    """Whether the answer says of itself that it is complete."""


class Load:
    """Asks as the plan says; a client whose gateway dies tries again under the same key."""

    def __init__(self, cell: Cell, seed: int) -> None:
        self._cell = cell
        self._seed = seed
        self._client = cell.client()
        self._http = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=2, sock_read=60),
        )
        self._under_way: set[asyncio.Task[None]] = set()
        self._later: dict[int, list[Any]] = {}
        self._ids: dict[int, str] = {}
        """Of requests, as far as they are known."""
        self.promised: set[str] = set()
        """Requests of which somebody was told that they were taken."""
        self.answers: list[Answer] = []
        self.statuses: Counter[str] = Counter()

    async def submit(self, ask: Ask) -> None:
        """Ask, and do what was to be done after so many requests."""
        if ask.cancel_after is not None and ask.cancel_after < 0:
            await self._cancel(ask)
        if ask.way in (Way.STREAM, Way.FOREIGN):
            await self._publish(ask)
        else:
            self._beside(self._call(ask))
        if ask.again:
            self._after(ask.number + ask.again_after, self._publish_again, ask)
        if ask.cancel_after is not None and ask.cancel_after >= 0:
            self._after(ask.number + ask.cancel_after, self._cancel, ask)
        for what, about in self._later.pop(ask.number, ()):
            await what(about)

    async def over(self) -> None:
        """Do what is left, and wait until every client has its answer, or has given up."""
        for number in sorted(self._later):
            for what, about in self._later.pop(number):
                await what(about)
        while self._under_way:
            await asyncio.gather(*self._under_way)

    async def close(self) -> None:
        for task in self._under_way:
            task.cancel()
        await self._http.close()
        await self._client.aclose()

    def _after(self, number: int, what: Any, about: Ask) -> None:
        self._later.setdefault(number, []).append((what, about))

    async def _publish(self, ask: Ask, text: str = "") -> None:
        content = text or prompt(ask.number, ask.padding)
        fields: dict[Any, Any] = {"data": _data(ask, content)}
        if ask.way is not Way.FOREIGN:
            fields |= self._attributes(ask)
        entry_id = await self._client.xadd(INBOX, fields)
        self._ids[ask.number] = fields.get("id") or entry_id.decode()
        self.promised.add(self._ids[ask.number])

    async def _publish_again(self, ask: Ask) -> None:
        await self._publish(ask, prompt(ask.number, 1000) if ask.again is Again.OTHER else "")

    def _attributes(self, ask: Ask) -> dict[str, str]:
        attributes = {
            "id": f"c{self._seed}-{ask.number}",
            "priority": ask.priority,
            "deadlinems": str(ask.deadline_ms),
            "replyto": f"producer-{ask.number % PRODUCERS}",
            "replymode": "chunks" if ask.chunks else "final",
            "traceparent": _traceparent(ask),
        }
        return attributes | _wanted(ask)

    async def _cancel(self, ask: Ask) -> None:
        request_id = self._ids.get(ask.number)
        if request_id is None and ask.way is Way.STREAM:
            request_id = f"c{self._seed}-{ask.number}"
        if request_id is not None:
            data = json.dumps({"request_id": request_id, "reason": "chaos"})
            await self._client.xadd(CANCELS, {"data": data})

    async def _call(self, ask: Ask) -> None:
        """Ask a gateway, the other one after a failure; without a key, only once."""
        status = 0
        for attempt in range(RETRIES if ask.keyed else 1):
            try:
                async with asyncio.timeout(ask.leaves_s):
                    status = await self._call_once(ask, ask.gateway + attempt)
            except TimeoutError:
                self.statuses["left"] += 1
                return
            except (aiohttp.ClientError, OSError):
                status = 0
            if status and status not in WORTH_RETRYING:
                break
            await asyncio.sleep(RETRY_S)
        self.statuses[str(status or "connection lost")] += 1

    async def _call_once(self, ask: Ask, gateway: int) -> int:
        submits = ask.way is Way.SUBMIT
        path = "/v1/requests" if submits else "/v1/chat/completions"
        headers = {"Content-Type": "application/json", "Traceparent": _traceparent(ask)}
        if ask.keyed:
            headers["Idempotency-Key"] = f"{self._seed}/{ask.number}"
        body = _data(ask, prompt(ask.number, ask.padding)) if submits else _body(ask)
        url = self._cell.gateway_url(gateway % 2) + path
        async with self._http.post(url, data=body, headers=headers) as response:
            request_id = response.headers.get("X-Roundhouse-Request-Id", "")
            if request_id:
                self._ids[ask.number] = request_id
            if response.status < 400:
                self.promised.add(request_id)
            answer = Answer(ask, request_id, response.status, "", False)
            try:
                if ask.way is Way.SSE and response.status == 200:
                    answer = await _streamed(answer, response)
                else:
                    answer = _plain(answer, await response.read())
            finally:
                self.answers.append(answer)
        return answer.status

    def _beside(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)


async def _streamed(answer: Answer, response: aiohttp.ClientResponse) -> Answer:
    """An answer that breaks off has the status 0, one that ends in an error event 599."""
    text, whole, status = "", False, answer.status
    try:
        async for line in response.content:
            said = line.removeprefix(b"data: ").strip()
            if said == b"[DONE]":
                whole = True
            elif line.startswith(b"data: "):
                event = json.loads(said)
                status = 599 if "error" in event else status
                for choice in event.get("choices", ()):
                    text += choice["delta"].get("content") or ""
    except aiohttp.ClientError:
        status = 0
    return Answer(answer.ask, answer.request_id, status, text, whole)


def _plain(answer: Answer, body: bytes) -> Answer:
    if answer.status != 200 or answer.ask.way is Way.SUBMIT:
        return answer
    text = json.loads(body)["choices"][0]["message"]["content"]
    return Answer(answer.ask, answer.request_id, 200, text, True)


def _wanted(ask: Ask) -> dict[str, str]:
    if ask.model.startswith("task/"):
        return {"task": ask.model.removeprefix("task/")}
    return {"model": ask.model} if ask.model else {}


def _data(ask: Ask, content: str) -> str:
    """An `inference.requested`, which says by itself what no attribute says."""
    said: dict[str, Any] = {"input": {"messages": [{"role": "user", "content": content}]}}
    if ask.way is not Way.STREAM:
        said |= {"priority": ask.priority, "deadline_ms": ask.deadline_ms, **_wanted(ask)}
    return json.dumps(said)


def _body(ask: Ask) -> str:
    hints = {"priority": ask.priority, "deadline_s": ask.deadline_ms / 1000}
    content = prompt(ask.number, ask.padding)
    return json.dumps(
        {
            "model": ask.model or "auto",
            "messages": [{"role": "user", "content": content}],
            "stream": ask.way is Way.SSE,
            "roundhouse": hints,
        }
    )


def _traceparent(ask: Ask) -> str:
    """Carries the request's number into everything that is ever said about it."""
    return f"00-{ask.number + 1:032x}-{ask.number + 1:016x}-01"
