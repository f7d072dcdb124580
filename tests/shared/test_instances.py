"""Names of processes are their own, also where hosts and pids are not."""

import os
import socket
import subprocess
import sys

import pytest
from pydantic import ValidationError

from shared import instances
from shared.bus.attempts import AttemptRecords
from shared.bus.envelope import Entry
from shared.instances import MAX_LENGTH, is_dead_here, new_instance
from shared.settings import ServiceSettings

LONGEST_ENTRY = "9999999999999-999999"


def test_one_process_of_a_host_never_has_the_name_of_another() -> None:
    names = {new_instance() for _ in range(20)}

    assert len(names) == 20


@pytest.mark.parametrize("host", ["box", "a" * 64, "gpu-3.example.org", "-.-", "ü"])
def test_the_longest_name_leaves_room_for_what_an_executor_adds(
    host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: host)
    monkeypatch.setattr(os, "getpid", lambda: 4_194_304)  # the largest that Linux gives

    name = ServiceSettings().instance

    assert len(name) <= MAX_LENGTH
    records = AttemptRecords(None, None, "n1", name)  # type: ignore[arg-type]
    executor = records.new_executor(Entry("s", LONGEST_ENTRY, {}))
    assert len(executor.encode()) < 64


def test_a_name_of_somebody_s_own_is_no_longer_either() -> None:
    assert ServiceSettings(instance="mine").instance == "mine"
    with pytest.raises(ValidationError):
        ServiceSettings(instance="x" * (MAX_LENGTH + 1))


def test_a_process_that_lives_is_not_dead_and_one_that_ended_is() -> None:
    told = subprocess.run(
        [sys.executable, "-c", "from shared.instances import new_instance; print(new_instance())"],
        capture_output=True,
        text=True,
        check=True,
    )

    assert not is_dead_here(new_instance())
    assert is_dead_here(told.stdout.strip())


def test_of_a_process_elsewhere_nothing_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    gone = new_instance().replace(f"-{os.getpid()}-", "-4194305-")
    assert is_dead_here(gone)

    monkeypatch.setattr(instances, "_place", lambda: "000000")
    assert not is_dead_here(gone), "another container of the same host name, or before a reboot"
    monkeypatch.setattr(socket, "gethostname", lambda: "elsewhere")
    assert not is_dead_here(gone)
    assert not is_dead_here("not-one-of-ours")
