"""Bodies that are too large for their entries, which refer to them."""

from redis.exceptions import ResponseError

from shared.bus.keys import Keys
from shared.bus.writer import Writer


async def size_bytes(writer: Writer, keys: Keys, dataref: str) -> int:
    """The size of a body, whatever its producer says of it; 0 where it is none, or gone."""
    try:
        return int(await writer.send("STRLEN", keys.blob(dataref)))
    except ResponseError as error:
        if str(error).startswith("WRONGTYPE"):
            return 0
        raise
