"""How long a leader has listened, by the ages of the heartbeats that it found."""

import pytest

from services.router.listening import listened_s


@pytest.mark.parametrize(
    ("ages_s", "expected_s"),
    [
        pytest.param([], 0.0, id="nobody was heard"),
        pytest.param([0.5, 2.5, 4.5], 4.5, id="one node, all the time"),
        pytest.param([5.9, 0.1, 1.9, 3.8], 5.9, id="in any order"),
        pytest.param([0.2, 0.4, 5.0, 5.8], 0.4, id="two came back after an outage"),
        pytest.param([4.5, 5.5], 0.0, id="nobody has come back yet"),
    ],
)
def test_a_gap_ends_what_counts_as_listening(ages_s: list[float], expected_s: float) -> None:
    assert listened_s(ages_s, heartbeat_s=2.0) == expected_s
