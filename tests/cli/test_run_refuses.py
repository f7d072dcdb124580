"""What `run` says when it cannot, and that nothing was sent or spoilt then."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.command import Command
from tests.waiting import until


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "results.jsonl"


def requests(folder: Path, count: int, **more: Any) -> Path:
    file = folder / "requests.jsonl"
    lines = [json.dumps({"input": f"{folder.name} {each}"} | more) for each in range(1, count + 1)]
    file.write_text("\n".join(lines) + "\n")
    return file


async def test_a_second_run_on_the_same_results_is_refused(
    command: Command, tmp_path: Path, out: Path
) -> None:
    file = requests(tmp_path, 4, model="slow")
    running = command.start("run", str(file), "--out", str(out))
    await until(out.exists, 20)

    second = command.run("run", str(file), "--out", str(out))

    assert second.code == 1
    assert f"Another run is writing to {out}." in second.err
    assert running.finish().code == 0


def test_bad_lines_are_all_named_and_nothing_is_sent(
    nowhere: Command, tmp_path: Path, out: Path
) -> None:
    file = tmp_path / "bad.jsonl"
    file.write_bytes(
        b'{"input": "one"}\n{"inputs": 2}\n\n{"input": "\xff"}\n{"input": "4", "id": " "}'
    )

    ran = nowhere.run("run", str(file), "--out", str(out))

    assert ran.code == 1
    assert "3 lines are no requests:" in ran.err
    assert f"{file}:2: input: Field required" in ran.err
    assert f"{file}:4: " in ran.err
    assert f"{file}:5: id: this is not a name" in ran.err
    assert "--skip-invalid" in ran.err
    assert not out.exists()


def test_bad_lines_can_be_left_out(command: Command, tmp_path: Path, out: Path) -> None:
    file = tmp_path / "bad.jsonl"
    file.write_text(f'{{"input": "{tmp_path.name}"}}\nnonsense\n')

    ran = command.run("run", str(file), "--out", str(out), "--skip-invalid")

    assert ran.code == 0, ran.err
    assert "1 invalid lines left out" in ran.out
    assert [json.loads(line)["line"] for line in out.read_text().splitlines()] == [1]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "has no requests"),
        ("\n \n", "has no requests"),
    ],
    ids=["empty", "blank"],
)
def test_a_file_without_requests_is_refused(
    nowhere: Command, tmp_path: Path, out: Path, content: str, said: str
) -> None:
    file = tmp_path / "empty.jsonl"
    file.write_text(content)

    ran = nowhere.run("run", str(file), "--out", str(out))

    assert ran.code == 1
    assert said in ran.err
    assert not out.exists()


@pytest.mark.parametrize("option", [("--task", "a b"), ("--model", "a b")])
def test_an_option_that_is_no_name_is_refused_once(
    nowhere: Command, tmp_path: Path, out: Path, option: tuple[str, str]
) -> None:
    ran = nowhere.run("run", str(requests(tmp_path, 3)), "--out", str(out), *option)

    assert ran.code == 1
    assert ran.err.count("this is not a name") == 1


def test_results_are_written_nowhere_that_they_could_spoil(
    nowhere: Command, tmp_path: Path
) -> None:
    file = requests(tmp_path, 1)
    notes = tmp_path / "notes.txt"
    notes.write_text("mine")
    said = {
        str(file): "is the input itself",
        str(notes): f"{notes}:1 is no result of a run",
        str(tmp_path / "none" / "out"): "No such file or directory",
        "/dev/null": "is no file",
    }

    for out, why in said.items():
        ran = nowhere.run("run", str(file), "--out", out)
        assert (ran.code, why in ran.err) == (1, True), ran.err

    assert notes.read_text() == "mine"
    assert len(file.read_text().splitlines()) == 1
