"""Files and functions stay small enough to be read at once, and are named by what they are."""

import ast
from pathlib import Path

from tests.house.sources import CODE, PRODUCTION, ROOT, place, python_files, syntax

MAX_LINES_OF_A_FILE = 300
MAX_LINES_OF_A_FUNCTION = 40
MAX_LINES_OF_A_TEST = 60

NAMELESS_FILES = {"utils.py", "helpers.py", "common.py", "misc.py"}
NAMELESS_CLASSES = ("Manager", "Helper", "Utils")

Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions(path: Path) -> list[Function]:
    return [node for node in ast.walk(syntax(path)) if isinstance(node, Function)]


def too_long(folders: tuple[str, ...], limit: int) -> list[str]:
    return [
        f"{place(path, function)} {function.name}"
        for path in python_files(*folders)
        for function in functions(path)
        if (function.end_lineno or 0) - function.lineno + 1 > limit
    ]


def test_there_is_code_to_check() -> None:
    assert len(python_files(*PRODUCTION)) > 20
    assert sum(len(functions(path)) for path in python_files(*PRODUCTION)) > 100
    assert len(python_files("tests")) > 5


def test_a_file_is_at_most_300_lines_long() -> None:
    lengths = {path: len((ROOT / path).read_text().splitlines()) for path in python_files(*CODE)}
    long = [f"{path}: {lines}" for path, lines in lengths.items() if lines > MAX_LINES_OF_A_FILE]

    assert not long, "\n".join(long)


def test_a_function_is_at_most_40_lines_long() -> None:
    long = too_long(PRODUCTION, MAX_LINES_OF_A_FUNCTION)
    assert not long, "\n".join(long)


def test_a_test_is_at_most_60_lines_long() -> None:
    long = too_long(("tests",), MAX_LINES_OF_A_TEST)
    assert not long, "\n".join(long)


def test_no_file_is_a_drawer_for_whatever_has_no_other_home() -> None:
    drawers = [str(path) for path in python_files(*CODE) if path.name in NAMELESS_FILES]
    assert not drawers, "\n".join(drawers)


def test_no_class_is_named_by_the_fact_that_it_does_something() -> None:
    named = [
        f"{place(path, node)} {node.name}"
        for path in python_files(*CODE)
        for node in ast.walk(syntax(path))
        if isinstance(node, ast.ClassDef) and node.name.endswith(NAMELESS_CLASSES)
    ]
    assert not named, "\n".join(named)
