"""The short form of `make chaos`: every kind of fault once, while requests come and go."""

import os
import sys
from pathlib import Path

import pytest

from tests.chaos.plan import plan
from tests.chaos.run import Run

REQUESTS = 400


@pytest.mark.timeout(300)
async def test_every_promise_is_kept_whatever_is_killed_frozen_or_cut_off(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seed = int(os.environ.get("CHAOS_SEED", "1"))

    def say(line: str) -> None:
        with capsys.disabled():
            sys.stdout.write(f"\n{line}")

    say(f"CHAOS_SEED={seed}")
    result = await Run(plan(seed, REQUESTS), tmp_path, say).run()

    assert not result.wrong, "\n".join([f"CHAOS_SEED={seed}", *result.wrong[:20]])
    assert result.accepted > REQUESTS * 0.9
    assert result.finals["completed"] > REQUESTS * 0.5
