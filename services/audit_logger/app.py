"""Where the audit-logger is put together."""

from services.audit_logger.database import Database
from services.audit_logger.handlers import Trail
from services.audit_logger.settings import Settings
from services.audit_logger.spill import Spill
from shared.bus.bus import Bus
from shared.events.audit import AuditAnswered, AuditQueryRequested
from shared.events.base import Event
from shared.events.inference import STORIES
from shared.service import Service, StartError

CONSUMES: tuple[type[Event], ...] = (*STORIES, AuditQueryRequested)
PUBLISHES: tuple[type[Event], ...] = (AuditAnswered,)


def create_app(settings: Settings) -> Service:
    async def must_know_its_database() -> None:
        if not settings.database_url:
            raise StartError(
                "DATABASE_URL is not set; write it like postgresql://user:password@host/database"
            )

    bus = Bus("audit-logger", settings, consumes=CONSUMES, publishes=PUBLISHES)
    database = Database(settings.database_url)
    spill = Spill(settings.data / "audit-spill", settings.instance)
    trail = Trail(bus, database, spill)
    bus.on_batches(STORIES, trail.record)
    bus.on(AuditQueryRequested, trail.answer)
    bus.background(trail.watch)
    return Service(
        "audit-logger",
        settings,
        bus,
        checks=trail.checks,
        on_start=(must_know_its_database,),
        on_stop=(database.close,),
        core=False,
    )
