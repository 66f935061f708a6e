"""asyncio and uvloop work without OpenSSL, and the module ssl can still be imported later.

Each test runs in a new process, because this one has imported all of these modules.
"""

import subprocess
import sys

import pytest

ECHO = """
import sys
from zoolet.process import openssl
openssl.leave_out()
import asyncio

async def serve(reader, writer):
    writer.write(await reader.readline())
    await writer.drain()
    writer.close()

async def ask(**options):
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname(), **options)
    writer.write(b"hello\\n")
    print((await reader.readline()).decode().strip())
    writer.close()
    server.close()
"""
ON_ASYNCIO = "asyncio.run(ask())\n"
ON_UVLOOP = "import uvloop; uvloop.run(ask())\n"


def run(program: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_connections_need_no_openssl(loop: str) -> None:
    if loop == "uvloop":
        pytest.importorskip("uvloop", exc_type=ImportError)
    program = ECHO + (ON_ASYNCIO if loop == "asyncio" else ON_UVLOOP)
    assert run(f"{program}print('ssl' in sys.modules, '_ssl' in sys.modules)") == [
        "hello",
        "False False",
    ]


def test_ssl_is_the_real_module_afterwards() -> None:
    program = f"{ECHO}{ON_ASYNCIO}import ssl; print(ssl.create_default_context().check_hostname)"
    assert run(program) == ["hello", "True"]


def test_asyncio_refuses_tls() -> None:
    program = f"""{ECHO}
import ssl
try:
    asyncio.run(ask(ssl=ssl.create_default_context(), server_hostname="localhost"))
except RuntimeError as error:
    print(error)
"""
    assert run(program) == ["stdlib ssl module not available"]


@pytest.mark.parametrize("module", ["asyncio", "ssl", "uvloop"])
def test_what_is_imported_before_stays(module: str) -> None:
    if module == "uvloop":
        pytest.importorskip("uvloop", exc_type=ImportError)
    program = f"""
import sys, {module}
from zoolet.process import openssl
openssl.leave_out()
import ssl, asyncio.base_events
print(sys.modules["ssl"].SSLContext is ssl.SSLContext, asyncio.base_events.ssl is ssl)
"""
    assert run(program) == ["True True"]
