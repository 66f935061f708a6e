"""asyncio and uvloop work without OpenSSL and inspect, which can still be imported later.

Each test runs in a new process, because this one has imported all of these modules.
"""

import subprocess
import sys

import pytest

ECHO = """
import sys
from zoolet.process import unused_modules
unused_modules.leave_out()
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
from zoolet.process import unused_modules
unused_modules.leave_out()
import ssl, asyncio.base_events
print(sys.modules["ssl"].SSLContext is ssl.SSLContext, asyncio.base_events.ssl is ssl)
"""
    assert run(program) == ["True True"]


def test_inspect_is_not_loaded_until_somebody_needs_it() -> None:
    program = f"""{ECHO}
import functools
def plain(): pass
@functools.wraps(plain)
async def coroutine(): pass
def generator(): yield
class Own:
    async def method(self): pass
small = asyncio.coroutines.inspect
functions = (plain, coroutine, generator, Own().method, print, Own)
found = [small.iscoroutinefunction(each) for each in functions]
generators = [small.isgenerator(each) for each in (generator(), generator, [])]
plain_ones = [small.isfunction(each) for each in functions]
unwrapped = [small.unwrap(each) for each in functions]
print("inspect" in sys.modules)
import inspect
print(inspect is small, hasattr(inspect, "signature"), small.signature(plain))
print(found == [inspect.iscoroutinefunction(each) for each in functions])
print(plain_ones == [inspect.isfunction(each) for each in functions])
print(unwrapped == [inspect.unwrap(each) for each in functions])
print(generators == [inspect.isgenerator(each) for each in (generator(), generator, [])])
"""
    assert run(program) == ["False", "False True ()", "True", "True", "True", "True"]


def test_what_asyncio_needs_of_inspect_while_it_is_imported_is_the_real_thing() -> None:
    program = """
import sys
from zoolet.process import unused_modules
small = sys.modules["inspect"] = unused_modules._Small("inspect")
from inspect import signature
import inspect
print(inspect is small, signature is inspect.signature)
"""
    assert run(program) == ["False True"]


def test_an_inspect_that_was_imported_before_stays() -> None:
    program = f"import inspect\n{ECHO}print(asyncio.coroutines.inspect is inspect)"
    assert run(program) == ["True"]


def test_a_coroutine_is_refused_as_the_handler_of_a_signal() -> None:
    pytest.importorskip("uvloop", exc_type=ImportError)
    program = f"""{ECHO}
import signal, uvloop
async def handle(): pass
async def main():
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, print, "handled")
    signal.raise_signal(signal.SIGTERM)
    await asyncio.sleep(0.01)
    try:
        loop.add_signal_handler(signal.SIGHUP, handle)
    except TypeError as error:
        print(error)
uvloop.run(main())
"""
    assert run(program) == ["handled", "coroutines cannot be used with add_signal_handler()"]
