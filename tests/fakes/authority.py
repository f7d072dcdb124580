"""Certificates that a test makes for itself, with the openssl program."""

import shutil
import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path


def openssl() -> str | None:
    return shutil.which("openssl")


@dataclass(frozen=True)
class Authority:
    """Signs certificates; `root` is what a client has to trust."""

    folder: Path

    @property
    def root(self) -> Path:
        return self.folder / "root.pem"

    def found(self) -> "Authority":
        self._run(
            *("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=Test"),
            *("-addext", "keyUsage=critical,keyCertSign"),
            *("-keyout", "root.key", "-out", "root.pem"),
        )
        return self

    def server(self, name: str, days: int = 2) -> ssl.SSLContext:
        """What a server of this name presents; expired where `days` is negative."""
        (self.folder / f"{name}.ext").write_text(f"subjectAltName=DNS:{name}\n")
        self._run(
            *("req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}"),
            *("-keyout", f"{name}.key", "-out", f"{name}.csr"),
        )
        self._run(
            *("x509", "-req", "-in", f"{name}.csr", "-CA", "root.pem", "-CAkey", "root.key"),
            *("-CAcreateserial", "-days", str(days), "-extfile", f"{name}.ext"),
            *("-out", f"{name}.pem"),
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.folder / f"{name}.pem", self.folder / f"{name}.key")
        return context

    def _run(self, *arguments: str) -> None:
        program = openssl()
        assert program is not None
        command = [program, *arguments]
        subprocess.run(command, cwd=self.folder, check=True, capture_output=True)
