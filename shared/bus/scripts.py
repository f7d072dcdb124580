"""Lua scripts with named keys and arguments.

A script says in its header what it takes; the loader turns that into locals, checks the type of
every named key before the first write, and lets Python call it by those names:

    --! keys request:hash flight:zset      ->  local key_request, key_flight
    --! keys request:hash? failed:stream*  ->  not checked here: see below
    --! args id attempt                    ->  local id, attempt
    --! events started                     ->  local started = {first=…, last=…}, a slice of ARGV
    --! rest record                        ->  the remaining ARGV as such a slice
    --! flags no-writes                    ->  instead of allow-oom

A check costs a microsecond of the store's time, so scripts that run for every request do without
where they can: a key with `?` is read, or written first of all, by which the store itself refuses
another type before anything has changed; one with `*` is checked on the branch that writes it;
`any` is overwritten, deleted, or guarded where it is used.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).parent / "lua"
_HEADER = re.compile(r"^--! (keys|args|events|rest|flags) (.+)$", re.MULTILINE)
_DEFINED = re.compile(r"^local (?:function )?(\w+)", re.MULTILINE)
_WORD = re.compile(r"\w+")

Argument = str | bytes | int | float
Fields = Sequence[str | bytes]


@dataclass(frozen=True, slots=True)
class Script:
    """A loaded script: its text, its SHA-1, and the order of what it takes."""

    name: str
    text: str
    sha1: str
    keys: tuple[str, ...]
    args: tuple[str, ...]
    events: tuple[str, ...]
    rest: bool

    def command(
        self,
        keys: Mapping[str, str],
        args: Mapping[str, Argument] | None = None,
        events: Mapping[str, Fields] | None = None,
        rest: Sequence[Argument] = (),
        more_keys: Sequence[str] = (),
    ) -> list[Argument]:
        """The words of an EVALSHA. Raises `KeyError` for a name that is missing."""
        if rest and not self.rest:
            raise KeyError(f"script {self.name} takes no further arguments")
        words: list[Argument] = ["EVALSHA", self.sha1, len(self.keys) + len(more_keys)]
        words += [keys[name] for name in self.keys]
        words += more_keys
        words += [(args or {})[name] for name in self.args]
        for name in self.events:
            fields = (events or {}).get(name, ())
            words.append(len(fields))
            words += fields
        words += rest
        return words


@cache
def script(name: str) -> Script:
    """Load `lua/<name>.lua`."""
    body = (FOLDER / f"{name}.lua").read_text()
    header = {key: value.split() for key, value in _HEADER.findall(body)}
    typed = [word.split(":") for word in header.get("keys", [])]
    keys = tuple(key for key, _ in typed)
    args, events = tuple(header.get("args", [])), tuple(header.get("events", []))
    rest = header.get("rest", [])
    lines = [
        f"#!lua flags={' '.join(header.get('flags', ['allow-oom']))}",
        *_used(_prelude(), body),
        *_bind("key_", keys, "KEYS"),
        *_check_types([kind for _, kind in typed]),
        *_bind("", args, "ARGV"),
        *_slices(len(args), events, rest),
        body,
    ]
    text = "\n".join(lines)
    sha1 = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
    return Script(name, text, sha1, keys, args, events, bool(rest))


@cache
def _prelude() -> tuple[str, ...]:
    """Its definitions, in their order: each paragraph is one, or several that belong together."""
    return tuple((FOLDER / "prelude.lua").read_text().split("\n\n"))


def _used(definitions: Sequence[str], body: str) -> list[str]:
    """Those that the body uses, or that one of them does: each is made anew in every call."""
    used: list[str] = []
    words = set(_WORD.findall(body)) | {"mistyped"}
    for definition in reversed(definitions):
        if words.intersection(_DEFINED.findall(definition)):
            used.insert(0, definition)
            words.update(_WORD.findall(definition))
    return used


def names() -> list[str]:
    return sorted(path.stem for path in FOLDER.glob("*.lua") if path.stem != "prelude")


def _bind(prefix: str, names: Sequence[str], source: str) -> list[str]:
    return [f"local {prefix}{name} = {source}[{at}]" for at, name in enumerate(names, 1)]


def _check_types(kinds: Sequence[str]) -> list[str]:
    checked = [at for at, kind in enumerate(kinds, 1) if kind.isalpha() and kind != "any"]
    return [
        f"do local bad = mistyped('{kinds[at - 1]}', KEYS[{at}]) if bad then return bad end end"
        for at in checked
    ]


def _slices(after: int, events: Sequence[str], rest: Sequence[str]) -> list[str]:
    lines = [f"local next_argument = {after + 1}"]
    for name in events:
        lines += [
            f"local {name} = {{ first = next_argument + 1,"
            " last = next_argument + tonumber(ARGV[next_argument]) }",
            f"next_argument = {name}.last + 1",
        ]
    return lines + [f"local {name} = {{ first = next_argument, last = #ARGV }}" for name in rest]
