"""YAML as plain data, with the line and column of every key and value."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

Path = tuple[str | int, ...]
"""Where in the document: keys and list positions, from the top."""

Place = tuple[int, int]
"""Line and column, from 1."""

STRING = "tag:yaml.org,2002:str"
TEXT_TAGS = {STRING, "tag:yaml.org,2002:timestamp"}
SCALAR_TAGS = {f"tag:yaml.org,2002:{name}" for name in ("bool", "int", "float", "null")}


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong at one place, and what to do about it."""

    place: Place
    message: str


class ConfigError(Exception):
    """The configuration cannot be used. The message lists every problem, a line each."""

    def __init__(self, source: str, problems: tuple[Problem, ...]) -> None:
        self.source = source
        self.problems = problems
        super().__init__(
            "\n".join(
                f"{source}:{problem.place[0]}:{problem.place[1]}: {problem.message}"
                for problem in problems
            )
        )


@dataclass(slots=True)
class Document:
    """A YAML document's data. Keys are text as written, also where YAML reads `no` or `1`."""

    data: Any = None
    values: dict[Path, Place] = field(default_factory=dict)
    keys: dict[Path, Place] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def place(self, path: Path) -> Place:
        """Of the value at `path`, or of the nearest part around it that the document has."""
        while path and path not in self.values:
            path = path[:-1]
        return self.values.get(path, (1, 1))

    def key_place(self, path: Path) -> Place:
        """Of the key that ends `path`; of the value where that is a position in a list."""
        return self.keys.get(path) or self.place(path)


def read_document(text: str, source: str) -> Document:
    """Raise `ConfigError` where the text is no YAML at all."""
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        raise _unreadable(source, place, f"is not YAML here: {error.problem}") from error
    except yaml.reader.ReaderError as error:
        before = text[: error.position]
        place = (before.count("\n") + 1, error.position - before.rfind("\n"))
        raise _unreadable(source, place, "holds a character that YAML forbids") from error
    except RecursionError as error:
        raise _unreadable(source, (1, 1), "is nested too deeply to be read") from error
    document = Document()
    if node is not None:
        document.data = _Reader(document).read(node, (), ())
    return document


def _unreadable(source: str, place: Place, what: str) -> ConfigError:
    return ConfigError(source, (Problem(place, f"the file {what}; correct it there"),))


@dataclass(slots=True)
class _Reader:
    document: Document
    scalars: yaml.constructor.SafeConstructor = field(
        default_factory=yaml.constructor.SafeConstructor
    )

    def read(self, node: yaml.Node, path: Path, inside: tuple[yaml.Node, ...]) -> Any:
        self.document.values[path] = _place(node)
        if node in inside:
            self._complain(node, "this alias holds itself; write the value out")
            return None
        inside = (*inside, node)
        match node:
            case yaml.MappingNode():
                return self._mapping(node, path, inside)
            case yaml.SequenceNode():
                return [
                    self.read(item, (*path, position), inside)
                    for position, item in enumerate(node.value)
                ]
            case _:
                return self._scalar(node)

    def _mapping(
        self, node: yaml.MappingNode, path: Path, inside: tuple[yaml.Node, ...]
    ) -> Mapping[str, Any]:
        found: dict[str, Any] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                self._complain(key, "a key must be plain text; write it as one word")
                continue
            name = str(key.value)
            if name in found:
                self._complain(key, f"the key {name!r} is given twice; remove one of them")
                continue
            self.document.keys[(*path, name)] = _place(key)
            found[name] = self.read(value, (*path, name), inside)
        return found

    def _scalar(self, node: yaml.Node) -> Any:
        if node.tag in TEXT_TAGS:
            return str(node.value)
        if node.tag in SCALAR_TAGS:
            try:
                return self.scalars.construct_object(node)
            except (ValueError, LookupError):
                self._complain(node, f"this is no {node.tag[18:]}; put it in quotes")
                return None
        self._complain(node, f"the tag {node.tag} means nothing here; remove it")
        return None

    def _complain(self, node: yaml.Node, message: str) -> None:
        self.document.problems.append(Problem(_place(node), message))


def _place(node: yaml.Node) -> Place:
    return node.start_mark.line + 1, node.start_mark.column + 1
