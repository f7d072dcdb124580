"""nginx as a plain proxy: the yardstick for what forwarding costs at least."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from subprocess import PIPE

from tests.benchmarks.orders import Way
from tests.benchmarks.systems import NotHereError, Site, System, running, until_it_answers
from tests.servers import free_port

SETTINGS = """\
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log stderr error;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  keepalive_requests 1000000;
  upstream engine {{ server {engine}; keepalive 64; keepalive_requests 1000000; }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://engine;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_buffering off;
    }}
  }}
}}
"""


@asynccontextmanager
async def nginx(site: Site) -> AsyncIterator[System]:
    binary = shutil.which("nginx")
    if binary is None:
        raise NotHereError("it is not installed (Debian, Ubuntu: apt install nginx-light)")
    port = free_port()
    folder = site.folder / "nginx"
    folder.mkdir()
    settings = folder / "nginx.conf"
    engine = site.engine_url.removeprefix("http://")
    settings.write_text(SETTINGS.format(folder=folder, engine=engine, port=port))
    log = folder / "log"
    command = (binary, "-p", str(folder), "-c", str(settings), "-e", "stderr")
    async with running(command, log) as pid:
        url = f"http://127.0.0.1:{port}"
        await until_it_answers(url, log)
        yield System("nginx", {Way.HTTP: url}, {"nginx": pid}, await _version(binary))


async def _version(binary: str) -> str:
    process = await asyncio.create_subprocess_exec(binary, "-v", stderr=PIPE)
    _, said = await process.communicate()
    return said.decode().strip().rpartition("/")[2]
