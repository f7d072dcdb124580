"""The short form of `make chaos`: every kind of fault once, while requests come and go."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.chaos.plan import Plan, plan
from tests.chaos.run import Run
from tests.conftest import SUMMED_UP

REQUESTS = 400


SEED = int(os.environ.get("CHAOS_SEED", "1"))


@pytest.mark.timeout(300)
@pytest.mark.parametrize("planned", [plan(SEED, REQUESTS)], ids=[f"CHAOS_SEED={SEED}"])
async def test_every_promise_is_kept_whatever_is_killed_frozen_or_cut_off(
    planned: Plan,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    record_property: Callable[[str, object], None],
) -> None:
    record_property(SUMMED_UP, f"CHAOS_SEED={SEED}; {planned.replay}")

    def say(line: str) -> None:
        with capsys.disabled():
            sys.stdout.write(f"\n{line}")

    say(f"CHAOS_SEED={SEED}; {planned.replay}")
    result = await Run(planned, tmp_path, say).run()

    assert not result.wrong, "\n".join([planned.replay, *result.wrong[:20]])
    assert result.accepted > REQUESTS * 0.9
    assert result.finals["completed"] > REQUESTS * 0.5
