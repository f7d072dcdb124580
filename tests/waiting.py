"""Waiting for a condition instead of sleeping."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import TypeVar

T = TypeVar("T")


async def until(
    condition: Callable[[], Awaitable[T] | T], timeout_s: float = 5.0, every_s: float = 0.02
) -> T:
    """Return the condition's first true answer; fail, saying the last one, after `timeout_s`."""
    deadline = monotonic() + timeout_s
    while True:
        answer = condition()
        if inspect.isawaitable(answer):
            answer = await answer
        if answer:
            return answer
        if monotonic() > deadline:
            raise AssertionError(f"not within {timeout_s} s; the last answer was {answer!r}")
        await asyncio.sleep(every_s)
