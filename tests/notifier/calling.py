"""One call of a receiver, by an address or by a name that a test resolves."""

from collections.abc import Sequence
from typing import Any

from services.notifier.verdict import Outcome
from services.notifier.webhook import Caller, Parcel
from shared.config import EndpointConfig
from tests.fakes.receiver import Receiver
from tests.notifier.desk import endpoint

PARCEL = Parcel(b'{"a": 1}', {"webhook-id": "n1"}, "internal")
NAME = "n8n.example"
LOOPBACK = {"allow_private": ["127.0.0.0/8"]}


class Names:
    """A name server; `answers` come one after the other, the last one again and again."""

    def __init__(self, *answers: Sequence[str] | Exception) -> None:
        self.answers = list(answers)
        self.asked = 0

    async def addresses(self, host: str, port: int) -> Sequence[str]:
        self.asked += 1
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


async def post(caller: Caller, endpoint: EndpointConfig, parcel: Parcel = PARCEL) -> Outcome:
    return await caller.call("n8n", endpoint, parcel)


def named(receiver: Receiver, name: str = NAME, **settings: Any) -> EndpointConfig:
    url = f"http://{name}:{receiver.port}/hook?key=value"
    return endpoint(receiver, **{"url": url, **LOOPBACK, **settings})
