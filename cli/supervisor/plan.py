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
    """What `up` was asked for. `environment` is that of the shell, with .env below it.

    Services that are `left_out` are not started, nor are stores that only they need.
    """

    data: Path
    host: str
    port: int
    compact: bool
    config: Path | None
    environment: Mapping[str, str]
    left_out: frozenset[str] = frozenset()

    @property
    def prefix(self) -> str:
        return self.environment.get("ROUNDHOUSE_PREFIX", "rh:")


@dataclass(frozen=True)
class Plan:
    """`stages` in the order of their start, the embedded stores first.

    `urls` are those of all stores; `lacking` says of which service's store nothing could be made.
    """

    host: str
    port: int
    urls: Mapping[str, str]
    external: tuple[Store, ...]
    stages: tuple[tuple[Program, ...], ...]
    lacking: tuple[UserError, ...]

    @property
    def redis_url(self) -> str:
        return self.urls["valkey"]


class Planner:
    """Chooses ports, prepares the embedded stores, and gives every program its environment."""

    def __init__(self, wishes: Wishes, services: Services, folder: DataFolder) -> None:
        self._folder = folder
        self._host = wishes.host
        self._port = ports.check(wishes.host, wishes.port)
        self._left_out = set(wishes.left_out)
        self._services = services
        self._compact = wishes.compact
        given = wishes.environment
        hosted = services.names - wishes.left_out
        stores = [store for store in STORES if store.serves is None or store.serves in hosted]
        self._urls = {store: given[store.url_variable] for store in stores if _names(given, store)}
        self._external = tuple(self._urls)
        self._embedded = tuple(store for store in stores if store not in self._urls)
        self._ports = ports.choose(self._names(), self._previous_ports())
        secret = {store.url_variable for store in STORES}
        self._environment = {
            **{name: value for name, value in given.items() if name not in secret},
            "PYTHONPATH": str(ROOT),
            "ROUNDHOUSE_DATA": str(folder.services),
            MARKER: folder.marker,
        }

    def plan(self) -> Plan:
        stores, lacking = [], []
        for store in self._embedded:
            try:
                stores.append(self._store(store))
            except UserError as error:
                if store.serves is None:
                    raise
                self._left_out.add(store.serves)
                lacking.append(error)
        services = tuple(tuple(map(self._service, stage)) for stage in self._stages())
        return Plan(
            host=self._host,
            port=self._port,
            urls={store.name: url for store, url in self._urls.items()},
            external=self._external,
            stages=(tuple(stores), *services),
            lacking=tuple(lacking),
        )

    def _stages(self) -> tuple[tuple[Service, ...], ...]:
        if self._compact:
            return ((self._services.compact,),)
        return tuple(
            tuple(row for row in stage if row.name not in self._left_out)
            for stage in self._services.stages
        )

    def _names(self) -> Iterator[str]:
        yield from (store.name for store in self._embedded)
        yield from (row.name for stage in self._stages() for row in stage if not row.edge)

    def _previous_ports(self) -> dict[str, int]:
        state = self._folder.state()
        return {process.name: process.port for process in state.processes} if state else {}

    def _store(self, store: Store) -> Program:
        folder, port = self._folder.root / store.name, self._ports[store.name]
        command, url = store.set_up(folder, port)
        self._urls[store] = url
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
            stop_signal=store.stop_signal,
            needed=store.serves is None,
        )

    def _told(self, service: Service) -> dict[str, str]:
        """The stores that this service needs, and no other, since their URLs hold passwords."""
        return {
            store.url_variable: url
            for store, url in self._urls.items()
            if self._compact or store.serves in (None, service.name)
        }

    def _service(self, service: Service) -> Program:
        host = self._host if service.edge else ports.LOOPBACK
        port = self._port if service.edge else self._ports[service.name]
        return Program(
            name=service.name,
            store=False,
            command=service.command,
            environment={
                **self._environment,
                **self._told(service),
                "ROUNDHOUSE_HOST": host,
                "ROUNDHOUSE_PORT": str(port),
            },
            folder=ROOT,
            log=self._folder.log(service.name),
            port=port,
            lacks=partial(service_lacks, ports.reachable(host), port),
            explain=_nothing_more,
            section=service.section,
            needed=service.needed,
        )


def _names(environment: Mapping[str, str], store: Store) -> bool:
    """Whether it says where that store is; an empty variable says nothing."""
    return bool(environment.get(store.url_variable))


def _nothing_more(_words: str) -> UserError | None:
    return None
