"""A stand-in service: `python -m tests.fakes.service [conduct]`.

Serves /ready where the environment says, and ends with SIGTERM, unless its conduct differs:
`stubborn` ignores SIGTERM, `stillborn` ends at once, `busy` is never ready, and `parent` has a
child of its own, which ignores SIGTERM too.
"""

import http.server
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

CHILD = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"


class Ready(http.server.BaseHTTPRequestHandler):
    conduct = ""

    def do_GET(self) -> None:
        ready = self.conduct != "busy"
        checks = {"store": "ok", "engine": "ok" if ready else "it has none"}
        body = json.dumps({"ready": ready, "role": "active", "checks": checks})
        self.send_response(200 if ready else 503)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())


def main(conduct: str) -> None:
    if conduct == "stillborn":
        sys.exit("the stand-in has no engine")
    if conduct == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    else:
        signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    if conduct == "parent":
        child = subprocess.Popen([sys.executable, "-c", CHILD])
        Path(os.environ["ROUNDHOUSE_DATA"], "child").write_text(str(child.pid))
    Ready.conduct = conduct
    address = (os.environ["ROUNDHOUSE_HOST"], int(os.environ["ROUNDHOUSE_PORT"]))
    http.server.HTTPServer(address, Ready).serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:] or [""])
