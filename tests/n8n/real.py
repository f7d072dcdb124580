"""A real n8n without a browser, on workflows of this repository."""

import json
import os
import subprocess
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.servers import free_port
from tests.waiting import until

COMMAND_S = 120
START_S = 120
STOP_S = 45

QUIET = {
    "N8N_DIAGNOSTICS_ENABLED": "false",
    "N8N_VERSION_NOTIFICATIONS_ENABLED": "false",
    "N8N_TEMPLATES_ENABLED": "false",
    "N8N_PERSONALIZATION_ENABLED": "false",
    "EXTERNAL_FRONTEND_HOOKS_URLS": "",
    "N8N_ENFORCE_SETTINGS_FILE_PERMISSIONS": "false",
    "GENERIC_TIMEZONE": "UTC",
}


@dataclass
class N8n:
    """`environment` is what the workflows read and what compose.yaml gives the container."""

    program: Path
    folder: Path
    environment: dict[str, str]
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    def start(self, workflow: Path, credentials: list[dict[str, object]]) -> "N8n":
        """Import and publish the workflow, then serve it."""
        named = json.loads(workflow.read_text())["id"]
        secrets = self.folder / "credentials.json"
        secrets.write_text(json.dumps(credentials))
        self._command("import:credentials", f"--input={secrets}")
        self._command("import:workflow", f"--input={workflow}")
        self._command("publish:workflow", "--id", named)
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [self.program, "start"], env=self._environment(), stdout=log, stderr=log
            )
        return self

    async def serves(self) -> None:
        """Readiness precedes production webhooks by seconds; these lines do not."""
        for words in ("Activated workflow", "Editor is now accessible"):
            await until(lambda words=words: self._says(words), START_S, 0.2)

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}/webhook/{path}"

    def stop(self) -> None:
        if self.process is None:
            return
        self.process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(STOP_S)
        self.process.kill()
        self.process.wait()

    @property
    def _log(self) -> Path:
        return self.folder / "n8n.log"

    def _command(self, *arguments: str) -> None:
        """To a file and with a limit: the command hangs for ever on a closed pipe."""
        with self._log.open("ab") as log:
            subprocess.run(
                [self.program, *arguments],
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                timeout=COMMAND_S,
                check=True,
            )

    def _environment(self) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "N8N_USER_FOLDER": str(self.folder),
            "N8N_PORT": str(self.port),
            "N8N_LISTEN_ADDRESS": "127.0.0.1",
            "N8N_RUNNERS_BROKER_PORT": str(self._broker_port),
            **QUIET,
            **self.environment,
        }

    def __post_init__(self) -> None:
        self._broker_port = free_port()

    def _says(self, words: str) -> bool:
        said = self._log.read_text(errors="replace")
        assert self.process is not None
        assert self.process.poll() is None, said[-2000:]
        return words in said
