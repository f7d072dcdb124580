"""The files that the house rules are checked on."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]

PRODUCTION = ("cli", "services", "shared", "simulator")
CODE = (*PRODUCTION, "tests")

_IGNORED = {".git"} | {
    line.rstrip("/")
    for line in (ROOT / ".gitignore").read_text().splitlines()
    if line.endswith("/")
}


@cache
def python_files(*folders: str) -> list[Path]:
    return [path for path in repository_files() if _is_python_in(path, folders)]


@cache
def repository_files() -> list[Path]:
    """Every file that is committed, or would be, relative to the root."""
    return sorted(path.relative_to(ROOT) for path in _walk(ROOT))


@cache
def syntax(path: Path) -> ast.Module:
    return ast.parse((ROOT / path).read_text(), filename=str(path))


def calls(path: Path) -> Iterator[tuple[str, ast.Call]]:
    """Every call in a file, with the dotted name that is called as it is written there."""
    for node in ast.walk(syntax(path)):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def place(path: Path, node: ast.expr | ast.stmt | ast.excepthandler) -> str:
    return f"{path}:{node.lineno}"


def _is_python_in(path: Path, folders: tuple[str, ...]) -> bool:
    return path.suffix == ".py" and path.parts[0] in folders


def _walk(folder: Path) -> Iterator[Path]:
    for path in folder.iterdir():
        if path.name in _IGNORED:
            continue
        if path.is_dir() and not path.is_symlink():
            yield from _walk(path)
        elif path.is_file():
            yield path
