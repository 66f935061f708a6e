"""The tasks of the soak test: each run writes to a file of its job what it does.

Executors import this module by its own name, so it imports nothing of the project. The file
``$SOAK_HOME/runs/<id>`` gets a JSON object per line: ``run`` (a random id), ``what`` (``started``,
``returned`` or ``raised``), ``at_ms``, ``worker`` (the tag of the worker process), ``pid``.
"""

import atexit
import ctypes
import json
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
import types
from collections import UserDict
from pathlib import Path
from typing import Any

HOME = Path(os.environ["SOAK_HOME"])
TAG = os.environ.get("SOAK_WORKER", "")
FOREVER_S = 600
BROKEN = "broken"
"""The loader fails for this dataset."""


def load(dataset: str, groupid: str) -> str:
    if dataset == BROKEN:
        raise OSError("the soak test's loader fails for this dataset")
    return f"{dataset}:{groupid}"


def run(group: object, parameters: dict[str, Any]) -> Any:
    """Do what ``parameters["kind"]`` says, and write that it started, and how it ended."""
    del group
    name = secrets.token_hex(6)
    _note(parameters["id"], name, "started")
    how = "raised"
    try:
        time.sleep(parameters.get("sleep_s", 0))
        result = _KINDS[parameters["kind"]](parameters)
        how = "returned"
    finally:
        _note(parameters["id"], name, how)
    if result is not None:
        return result
    return {"id": parameters["id"], "run": name, "text": "x" * parameters.get("size", 0)}


def _note(job_id: int, name: str, what: str) -> None:
    line = {"run": name, "what": what, "at_ms": time.time_ns() // 10**6, "worker": TAG}
    data = json.dumps(line | {"pid": os.getpid()}) + "\n"
    # One write appends the line as a whole, also if two runs of the job write at once.
    descriptor = os.open(HOME / "runs" / str(job_id), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(descriptor, data.encode())
    finally:
        os.close(descriptor)


# --- What a task can do. A function that returns None succeeded.


def _nothing(_: dict[str, Any]) -> None:
    return


def _raise(parameters: dict[str, Any]) -> None:
    kind: type[BaseException] = {
        "value": ValueError,
        "exit": SystemExit,
        "interrupt": KeyboardInterrupt,
        "memory": MemoryError,
        "recursion": RecursionError,
    }[parameters["error"]]
    raise kind("this task raises " + "x" * parameters.get("size", 0))


def _hang(parameters: dict[str, Any]) -> None:
    how = parameters["how"]
    if how == "deaf":
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
    elif how == "locked":
        # It holds the interpreter's lock: no other thread of this process runs.
        ctypes.PyDLL(None).sleep(FOREVER_S)
    elif how == "spin":
        until = time.monotonic() + 10
        while time.monotonic() < until:
            sum(range(10**5))
    time.sleep(FOREVER_S)


def _exit(parameters: dict[str, Any]) -> None:
    os._exit(parameters["status"])


def _segfault(_: dict[str, Any]) -> None:
    ctypes.string_at(0)


def _abort(_: dict[str, Any]) -> None:
    os.abort()


def _signal(parameters: dict[str, Any]) -> None:
    os.kill(os.getpid(), parameters["number"])
    time.sleep(0.05)


def _fork(parameters: dict[str, Any]) -> None:
    for _ in range(parameters["children"]):
        if os.fork() == 0:
            try:
                time.sleep(FOREVER_S)
            finally:
                os._exit(0)


def _subprocess(_: dict[str, Any]) -> None:
    subprocess.Popen(["sleep", str(FOREVER_S)])
    subprocess.run(["echo", "a subprocess prints"], check=False)


def _print(parameters: dict[str, Any]) -> None:
    size_bytes, how = parameters["size_bytes"], parameters["how"]
    if how == "lines":
        for _ in range(size_bytes // 80):
            print("l" * 79)
    elif how == "no end":
        sys.stdout.write("n" * size_bytes)
    elif how == "errors":
        sys.stderr.write("\x1b[31m[/b] e" * (size_bytes // 12))
    else:
        # Below Python: what C code and subprocesses do.
        for _ in range(size_bytes // 4096 + 1):
            os.write(1 if how == "bytes" else 2, b"\xff\x00b" * 1365 + b"\n")


def _vandal(parameters: dict[str, Any]) -> None:
    how = parameters["how"]
    if how == "streams":
        sys.stdout.close()
        sys.stderr = None
    elif how == "directory":
        os.chdir("/")
        os.environ.clear()
    elif how == "handlers":
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
    elif how == "thread":
        threading.Thread(target=time.sleep, args=(FOREVER_S,), daemon=False).start()
    elif how == "atexit":
        atexit.register(time.sleep, FOREVER_S)
    elif how == "std descriptors":
        os.close(0)
        os.close(1)
        os.close(2)
    elif how == "all descriptors":
        os.closerange(3, 256)


def _bad_result(parameters: dict[str, Any]) -> Any:
    how = parameters["how"]
    if how == "user dict":
        return UserDict(a=1)
    if how == "proxy":
        return types.MappingProxyType({"a": [types.MappingProxyType({})]})
    if how == "nan":
        return float("nan")
    if how == "bytes":
        return b"bytes"
    if how == "large number":
        return 10**5000
    if how == "half character":
        return "\ud800"
    if how == "keys":
        return {1: 2}
    nested: Any = []
    for _ in range(parameters["depth"]):
        nested = [nested]
    return nested


def _kill_worker(parameters: dict[str, Any]) -> None:
    (HOME / "killed" / TAG).touch()
    os.kill(int((HOME / "workers" / TAG).read_text()), signal.SIGKILL)
    time.sleep(FOREVER_S if parameters["stays"] else 0)


_KINDS = {
    "return": _nothing,
    "raise": _raise,
    "hang": _hang,
    "exit": _exit,
    "segfault": _segfault,
    "abort": _abort,
    "signal": _signal,
    "fork": _fork,
    "subprocess": _subprocess,
    "print": _print,
    "vandal": _vandal,
    "bad result": _bad_result,
    "kill worker": _kill_worker,
}
