"""Health check of a container: exit code 0 where its service says that it is ready.

Without packages and without proxies: the image has no curl, and a proxy for the outside is not
for the loopback.
"""

import http.client
import os
import sys

connection = http.client.HTTPConnection("127.0.0.1", int(os.environ["ROUNDHOUSE_PORT"]), timeout=4)
try:
    connection.request("GET", "/ready")
    answer = connection.getresponse()
    said = answer.read().decode(errors="replace")
except OSError as error:
    sys.exit(f"nobody answers: {error}")
print(said)  # noqa: T201 - docker keeps it with the state of the container
sys.exit(0 if answer.status == 200 else 1)
