"""What a node's memory is promised to. Reservations, not readings: a load that has begun takes
its memory long before any reading shows it. Pure.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from shared.events.gpu import Device

GPU_MARGIN_MIB = 1024
GPU_MARGIN_SHARE = 0.05
HOST_MARGIN_SHARE = 0.10

DECLARED = "declared"
"""Stands for the devices of a node whose memory is configured and cannot be sampled."""

Parts = Mapping[str, int]
"""MiB by device."""


class OverCommitError(Exception):
    """A reservation that the node has no room for."""


def margin_mib(device: Device) -> int:
    """What stays free: an engine's estimate is no promise, and a desktop needs some too."""
    if device.kind == "host":
        return math.ceil(device.total_mib * HOST_MARGIN_SHARE)
    return max(GPU_MARGIN_MIB, math.ceil(device.total_mib * GPU_MARGIN_SHARE))


@dataclass(slots=True)
class _Reservation:
    parts: Parts
    settled: bool = False
    """Its load is over, so that the next reading includes it."""
    seen: bool = False
    """A reading since then includes it."""


@dataclass(slots=True)
class Ledger:
    """Reservations on one node. Whatever is free here may be reserved without over-commitment."""

    budget_mib: int | None = None
    """Bound on all reservations together. It stands in for the reading of a host's own memory,
    since the engines of such a node may be on another machine; beside GPUs both hold.
    """
    _devices: tuple[Device, ...] = ()
    _reservations: dict[str, _Reservation] = field(default_factory=dict)

    def __contains__(self, model: str) -> bool:
        return model in self._reservations

    @property
    def models(self) -> tuple[str, ...]:
        return tuple(self._reservations)

    def parts(self, model: str) -> Parts:
        """Where the model's reservation is. Raise `KeyError` where it has none."""
        return self._reservations[model].parts

    def held_mib(self, model: str) -> int:
        return sum(self.parts(model).values())

    def observe(self, devices: Sequence[Device]) -> None:
        """Take a new reading of all devices."""
        self._devices = tuple(devices)
        for reservation in self._reservations.values():
            reservation.seen = reservation.settled
        for model, reservation in self._reservations.items():
            if DECLARED in reservation.parts and not self._is_declared:
                reservation.parts = self._crammed(self.held_mib(model))

    @property
    def capacity_mib(self) -> int | None:
        """What models could have if nothing else ran here; None while nothing is known of it."""
        if not self._devices and self.budget_mib is None:
            return None
        if self._is_declared:
            return self.budget_mib
        total_mib = sum(each.total_mib - margin_mib(each) for each in self._devices)
        return max(0, total_mib if self.budget_mib is None else min(total_mib, self.budget_mib))

    def free_mib(self, without: Collection[str] = ()) -> dict[str, int]:
        """Room by device, as it would be without the named models."""
        left_mib = self._left_mib(without)
        if self._is_declared:
            return {DECLARED: int(left_mib)}
        return {
            device.uuid: int(min(left_mib, self._room_mib(device, without)))
            for device in self._devices
        }

    def fit(self, need_mib: int, without: Collection[str] = ()) -> Parts | None:
        """Where `need_mib` would go: on one device if any has room, else split; None: nowhere."""
        if need_mib <= 0:
            return {}
        if need_mib > self._left_mib(without):
            return None
        free_mib = self.free_mib(without)
        roomiest = sorted(free_mib, key=lambda device: free_mib[device], reverse=True)
        parts: dict[str, int] = {}
        for device in roomiest:
            part_mib = min(free_mib[device], need_mib - sum(parts.values()))
            if part_mib > 0:
                parts[device] = part_mib
        return parts if sum(parts.values()) == need_mib else None

    def reserve(self, model: str, need_mib: int) -> None:
        """Promise memory to a model before its load. Raise `OverCommitError` without room."""
        parts = self.fit(need_mib)
        if parts is None or model in self._reservations:
            raise OverCommitError(f"{need_mib} MiB for {model} on top of {self._reservations}")
        self._reservations[model] = _Reservation(parts)

    def adopt(self, model: str, held_mib: int) -> None:
        """Enter a model that is found loaded, with or without room for it."""
        self._reservations[model] = _Reservation(self.fit(held_mib) or self._crammed(held_mib))

    def settle(self, model: str, measured_mib: int | None) -> None:
        """The model's load is over: what was reserved becomes what was measured, if it was."""
        reservation = self._reservations[model]
        reservation.settled = True
        held_mib = self.held_mib(model)
        if measured_mib is None or measured_mib == held_mib:
            return
        scale = measured_mib / held_mib if held_mib else 0.0
        parts = {
            device: math.ceil(part_mib * scale) for device, part_mib in reservation.parts.items()
        }
        reservation.parts = parts or self._crammed(measured_mib)

    def release(self, model: str) -> None:
        """The model is gone; what it held is free once a reading shows it."""
        self._reservations.pop(model, None)

    @property
    def _is_declared(self) -> bool:
        sampled = any(device.kind == "gpu" for device in self._devices)
        return self.budget_mib is not None and not sampled

    def _left_mib(self, without: Collection[str]) -> float:
        """What the budget leaves, whatever the devices say."""
        if self.budget_mib is None:
            return math.inf
        staying = (self.held_mib(model) for model in self._reservations if model not in without)
        return max(0, self.budget_mib - sum(staying))

    def _room_mib(self, device: Device, without: Collection[str]) -> int:
        """Foreign use counts, and on top of it all that no reading shows yet."""
        reserved_mib = unseen_mib = gone_mib = 0
        for model, reservation in self._reservations.items():
            part_mib = reservation.parts.get(device.uuid, 0)
            if model not in without:
                reserved_mib += part_mib
                unseen_mib += 0 if reservation.seen else part_mib
            elif reservation.seen:
                gone_mib += part_mib
        taken_mib = max(max(0, device.used_mib - gone_mib) + unseen_mib, reserved_mib)
        return max(0, device.total_mib - margin_mib(device) - taken_mib)

    def _crammed(self, held_mib: int) -> Parts:
        """On the device with the most room, however little that is."""
        free_mib = self.free_mib()
        if not free_mib:
            return {DECLARED: held_mib}
        return {max(free_mib, key=lambda device: free_mib[device]): held_mib}
