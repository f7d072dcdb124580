"""Tells whether a contract changed in a way that its readers or writers would notice.

The rule is the one in `shared/events/base.py`: an added optional property is compatible, anything
else is not. A tightened bound breaks those who write the event, a loosened one those who read it;
during a rolling upgrade both run beside each other, so both are reported.
"""

from dataclasses import dataclass
from typing import Any

Schema = dict[str, Any]

_ANNOTATIONS = frozenset({"$schema", "$defs", "$comment", "title", "description", "examples"})
_PER_PROPERTY = frozenset({"properties", "required"})
_ALTERNATIVES = frozenset({"anyOf", "oneOf", "allOf", "prefixItems"})
_STEPS = {"items": "[]", "additionalProperties": "{}", "propertyNames": "{key}"}


def breaking_changes(released: Schema, current: Schema) -> list[str]:
    """Differences between two JSON Schemas of one contract, each as `<path>: <what changed>`."""
    return _Comparison(released, current).of("", released, current)


@dataclass(frozen=True)
class _Comparison:
    released: Schema
    current: Schema

    def of(self, path: str, old: Schema, new: Schema) -> list[str]:
        old, new = _resolve(old, self.released), _resolve(new, self.current)
        found = self._properties(path, old, new)
        for keyword in sorted((old.keys() | new.keys()) - _ANNOTATIONS - _PER_PROPERTY):
            found += self._keyword(path, keyword, old.get(keyword), new.get(keyword))
        return found

    def _properties(self, path: str, old: Schema, new: Schema) -> list[str]:
        before, after = old.get("properties", {}), new.get("properties", {})
        needed_before, needed_after = set(old.get("required", ())), set(new.get("required", ()))
        found = [f"{_join(path, name)}: removed" for name in before if name not in after]
        for name in after:
            where = _join(path, name)
            match name in before, name in needed_before, name in needed_after:
                case False, _, True:
                    found.append(f"{where}: new, and required")
                case True, False, True:
                    found.append(f"{where}: now required")
                case True, True, False:
                    found.append(f"{where}: no longer required")
            if name in before:
                found += self.of(where, before[name], after[name])
        return found

    def _keyword(self, path: str, keyword: str, old: Any, new: Any) -> list[str]:
        where = path or "(the event)"
        if keyword == "enum" and old is not None and new is not None:
            lost = [f"{where}: no longer allows {value!r}" for value in old if value not in new]
            return lost + [f"{where}: now allows {value!r}" for value in new if value not in old]
        if keyword in _ALTERNATIVES and len(old or ()) == len(new or ()):
            pairs = zip(old, new, strict=True)
            return [text for before, after in pairs for text in self.of(path, before, after)]
        if keyword in _STEPS and isinstance(old, dict) and isinstance(new, dict):
            return self.of(path + _STEPS[keyword], old, new)
        if keyword == "default" and isinstance(old, dict) and isinstance(new, dict):
            new = {name: new.get(name) for name in old}  # others belong to added properties
        return [] if old == new else [f"{where}: {keyword} was {old!r}, is {new!r}"]


def _resolve(schema: Schema, root: Schema) -> Schema:
    """Replace a reference into `$defs` by what it names; keywords beside it stay in force."""
    while "$ref" in schema:
        beside = {keyword: value for keyword, value in schema.items() if keyword != "$ref"}
        schema = {**root["$defs"][schema["$ref"].removeprefix("#/$defs/")], **beside}
    return schema


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
