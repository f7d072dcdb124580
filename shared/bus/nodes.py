"""A node's name belongs to one worker instance, which says so with every heartbeat. And the
leader's commands to a node.
"""

from shared.bus.envelope import envelope
from shared.bus.keys import Keys
from shared.bus.requests import FencedError
from shared.bus.scripts import script
from shared.bus.writer import Writer
from shared.events.models import ModelLoadRequested, ModelUnloadRequested, NodeHeartbeat


async def beat(writer: Writer, keys: Keys, heartbeat: NodeHeartbeat, ttl_s: float) -> str | None:
    """Publish a heartbeat and keep the node's name; or return the instance that holds it."""
    fields = envelope(heartbeat, "inference-worker")
    return await _hold(writer, keys, heartbeat.node, heartbeat.instance, ttl_s, fields=fields)


async def occupy(
    writer: Writer, keys: Keys, node: str, instance: str, ttl_s: float, *, replaces: str = ""
) -> str | None:
    """Take a node's name before there is anything to say; or return the instance that holds it.

    `replaces` names an instance that is known to be dead.
    """
    return await _hold(writer, keys, node, instance, ttl_s, replaces=replaces)


async def leave(writer: Writer, keys: Keys, node: str, instance: str) -> None:
    """Give the node's name back at a clean stop, unless another instance holds it."""
    await writer.run(script("release"), keys={"lease": keys.node(node)}, args={"owner": instance})


async def command(
    writer: Writer,
    keys: Keys,
    event: ModelLoadRequested | ModelUnloadRequested,
    node: str,
    *,
    ordinal: str,
    fence_key: str,
    token: str,
) -> None:
    """Tell a node what to do, once for each ordinal. Raise `FencedError` for who leads no more."""
    fields = envelope(event, "model-manager", ordinal=ordinal)
    reply = await writer.run(
        script("command"),
        keys={
            "fence": fence_key,
            "node": keys.stream(type(event), node),
            "guard": keys.published(str(fields[3])),
        },
        args={"token": token},
        events={"event": fields},
    )
    if reply[0] == b"fenced":
        raise FencedError(token)


async def _hold(
    writer: Writer,
    keys: Keys,
    node: str,
    instance: str,
    ttl_s: float,
    *,
    replaces: str = "",
    fields: list[str | bytes] | None = None,
) -> str | None:
    reply = await writer.run(
        script("heartbeat"),
        keys={"node": keys.node(node), "heartbeat": keys.stream(NodeHeartbeat)},
        args={"instance": instance, "replaces": replaces, "ttl_ms": int(ttl_s * 1000)},
        events={"event": fields or []},
    )
    return None if reply[0] == b"ok" else str(reply[1].decode())
