"""llama.cpp's own HTTP server for one GGUF file, as a process of its own.

    python -m services.inference_worker.llama_server MODEL --port 0 --alias NAME

Prints one line of JSON once the model answers, and serves until SIGTERM or SIGINT:
`{"ready": true, "url": ..., "pid": ..., "load_s": ...}`, or `{"ready": false, "error": ...}`
and exit status 1. A broken GGUF may also kill the process: that is why it has its own.
"""

import argparse
import ctypes
import json
import os
import signal
import sys
import threading
from pathlib import Path
from time import perf_counter
from typing import Any

import xllamacpp

PR_SET_PDEATHSIG = 1
WARNINGS = 2
"""llama.cpp's verbosity that logs no more than warnings, and so never a prompt."""

KEY_VARIABLE = "LLAMA_SERVER_KEY"
"""Environment variable with the key that callers must show. Without one, every program on this
machine may ask, and so may every page in a browser on it."""

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def main() -> int:
    started = perf_counter()
    options = _options()
    announce = _take_stdout()
    if options.until_stdin_closes:
        _die_with_parent()
    # llama.cpp's threads inherit the mask, so that a signal always reaches sigwait below: with a
    # Python handler, 13 of 25 stops hung when the kernel gave SIGTERM to a C++ thread.
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        server = xllamacpp.Server(_parameters(options))
    except (RuntimeError, ValueError) as error:
        announce({"ready": False, "error": str(error)})
        return 1
    load_s = round(perf_counter() - started, 3)
    url = server.listening_address
    announce({"ready": True, "url": url, "pid": os.getpid(), "load_s": load_s})
    signal.sigwait(STOP_SIGNALS)
    os._exit(0)  # destroying the server can deadlock, and there is nothing to save


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Serve one GGUF file with llama.cpp.")
    parser.add_argument("model", type=Path)
    parser.add_argument("--port", type=int, default=0, help="0: any free port")
    parser.add_argument("--alias", default="tiny", help="name under which it answers")
    parser.add_argument("--context", type=int, default=2048, help="tokens per slot")
    parser.add_argument("--slots", type=int, default=2, help="requests at a time")
    parser.add_argument("--threads", type=int, help="default: llama.cpp's own choice")
    parser.add_argument("--embed-tokens", type=int, help="embed inputs of up to so many tokens")
    parser.add_argument("--pool-last", action="store_true", help="embed by the last token's state")
    parser.add_argument(
        "--until-stdin-closes", action="store_true", help="die with whoever holds the other end"
    )
    return parser.parse_args()


def _parameters(options: argparse.Namespace) -> xllamacpp.CommonParams:
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(options.model)
    parameters.model_alias = {options.alias}
    parameters.hostnames = ["127.0.0.1"]
    parameters.port = options.port
    parameters.n_parallel = options.slots
    parameters.n_ctx = options.context * options.slots  # llama.cpp counts the total
    parameters.fit_params = False  # the profile decides; a context shrunk to fit would be a lie
    parameters.cache_ram_mib = 0  # its prompt cache takes up to 8 GiB that nobody reserved
    parameters.cache_idle_slots = False
    parameters.ui = False
    parameters.endpoint_metrics = True
    parameters.verbosity = WARNINGS
    if KEY_VARIABLE in os.environ:
        parameters.api_keys = [os.environ[KEY_VARIABLE]]
    if options.threads:
        parameters.cpuparams.n_threads = options.threads
        parameters.cpuparams_batch.n_threads = options.threads
    if options.embed_tokens:
        parameters.embedding = True
        # An input to embed must fit one physical batch.
        parameters.n_batch = parameters.n_ubatch = options.embed_tokens
    if options.pool_last:
        parameters.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_LAST
    return parameters


def _take_stdout() -> Any:
    """Keep stdout for the ready line; whatever llama.cpp prints goes to stderr."""
    stdout = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def announce(line: dict[str, Any]) -> None:
        with stdout:
            stdout.write(json.dumps(line) + "\n")

    return announce


def _die_with_parent() -> None:
    """Leave no engine behind: by the kernel's signal on Linux, by the end of stdin elsewhere.

    The signal also ends a process that is stopped; stdin also ends where a thread, and not the
    process, was the parent.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    threading.Thread(target=_exit_at_end_of_stdin, daemon=True).start()


def _exit_at_end_of_stdin() -> None:
    while os.read(0, 4096):
        pass
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
