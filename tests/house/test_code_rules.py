"""Habits that hide faults or make tests flaky."""

import ast
import re

from tests.house.sources import CODE, PRODUCTION, ROOT, calls, place, python_files, syntax

ASYNCHRONOUS = ("services", "shared", "simulator", "tests")

SUPPRESSED_WITHOUT_REASON = re.compile(r"# noqa: BLE001\s*$|# noqa\s*$|# type: ignore\s*$")


def test_no_service_sleeps_with_its_thread_and_no_test_waits_by_sleeping() -> None:
    sleeping = [
        place(path, call)
        for path in python_files(*ASYNCHRONOUS)
        for name, call in calls(path)
        if name == "time.sleep"
    ]
    imported = [
        place(path, node)
        for path in python_files(*ASYNCHRONOUS)
        for node in ast.walk(syntax(path))
        if isinstance(node, ast.ImportFrom) and node.module == "time"
        if any(alias.name == "sleep" for alias in node.names)
    ]
    assert not (sleeping + imported), "\n".join(sleeping + imported)


def test_no_except_is_bare() -> None:
    bare = [
        place(path, node)
        for path in python_files(*CODE)
        for node in ast.walk(syntax(path))
        if isinstance(node, ast.ExceptHandler) and node.type is None
    ]
    assert not bare, "\n".join(bare)


def test_a_blind_except_says_why() -> None:
    silent = [
        f"{path}:{number}"
        for path in python_files(*PRODUCTION)
        for number, line in enumerate((ROOT / path).read_text().splitlines(), start=1)
        if SUPPRESSED_WITHOUT_REASON.search(line)
    ]
    assert not silent, "\n".join(silent)
