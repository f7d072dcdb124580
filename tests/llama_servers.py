"""The processes of llama.cpp that a backend in this process has started."""

import psutil


def llama_servers() -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if _is_one(child)]


def _is_one(child: psutil.Process) -> bool:
    try:
        is_dead = child.status() == psutil.STATUS_ZOMBIE
        return not is_dead and "--until-stdin-closes" in child.cmdline()
    except psutil.Error:
        return False
