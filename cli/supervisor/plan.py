"""From what the user asked for to the programs that have to run."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from cli.address import ROOT
from cli.errors import UserError
from cli.supervisor import ports
from cli.supervisor.folder import DataFolder
from cli.supervisor.leftovers import MARKER
from cli.supervisor.probes import service_lacks
from cli.supervisor.process import Program
from cli.supervisor.services import Service, Services
from cli.supervisor.stores import STORES, Store


@dataclass(frozen=True)
class Wishes:
    """What `up` was asked for. `environment` is that of the shell, with .env below it."""

    data: Path
    host: str
    port: int
    compact: bool
    config: Path | None
    environment: Mapping[str, str]

    @property
    def prefix(self) -> str:
        return self.environment.get("ROUNDHOUSE_PREFIX", "rh:")


@dataclass(frozen=True)
class Plan:
    """`stages` in the order of their start, the embedded stores first."""

    host: str
    port: int
    redis_url: str
    external: tuple[Store, ...]
    stages: tuple[tuple[Program, ...], ...]

    @property
    def url(self) -> str:
        return ports.url(self.host, self.port)


class Planner:
    """Chooses ports, prepares the embedded stores, and gives every program its environment."""

    def __init__(self, wishes: Wishes, services: Services, folder: DataFolder) -> None:
        self._folder = folder
        self._host = wishes.host
        self._port = ports.check(wishes.host, wishes.port)
        self._stages = ((services.compact,),) if wishes.compact else services.stages
        given = wishes.environment
        self._external = tuple(store for store in STORES if given.get(store.url_variable))
        self._embedded = tuple(store for store in STORES if store not in self._external)
        self._ports = ports.choose(self._names(), self._previous_ports())
        self._environment = {
            **given,
            "PYTHONPATH": str(ROOT),
            "ROUNDHOUSE_DATA": str(folder.services),
            MARKER: folder.marker,
        }

    def plan(self) -> Plan:
        stores = tuple(self._store(store) for store in self._embedded)
        services = tuple(tuple(map(self._service, stage)) for stage in self._stages)
        return Plan(
            host=self._host,
            port=self._port,
            redis_url=self._environment["REDIS_URL"],
            external=self._external,
            stages=(stores, *services),
        )

    def _names(self) -> Iterator[str]:
        yield from (store.name for store in self._embedded)
        yield from (row.name for stage in self._stages for row in stage if not row.edge)

    def _previous_ports(self) -> dict[str, int]:
        state = self._folder.state()
        return {process.name: process.port for process in state.processes} if state else {}

    def _store(self, store: Store) -> Program:
        folder, port = self._folder.root / store.name, self._ports[store.name]
        command, url = store.set_up(folder, port)
        self._environment[store.url_variable] = url
        return Program(
            name=store.name,
            store=True,
            command=command,
            environment=self._environment,
            folder=folder,
            log=self._folder.log(store.name),
            port=port,
            lacks=partial(store.lacks, url),
            explain=partial(store.explain, folder),
        )

    def _service(self, service: Service) -> Program:
        host = self._host if service.edge else ports.LOOPBACK
        port = self._port if service.edge else self._ports[service.name]
        return Program(
            name=service.name,
            store=False,
            command=service.command,
            environment=self._environment | {"ROUNDHOUSE_HOST": host, "ROUNDHOUSE_PORT": str(port)},
            folder=ROOT,
            log=self._folder.log(service.name),
            port=port,
            lacks=partial(service_lacks, ports.reachable(host), port),
            explain=_nothing_more,
        )


def _nothing_more(_words: str) -> UserError | None:
    return None
