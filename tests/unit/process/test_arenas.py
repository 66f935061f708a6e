"""Memory that a thread makes ready: objects are whole, nothing stays, and its lack is reported.

Each test has a process of its own, because Python has one allocator for all objects.
"""

import subprocess
import sys

import pytest

pytest.importorskip("zoolet.process.arenas", reason="only in the compiled build for Linux")

TIMEOUT_S = 60

PREPARE = """
import gc, os, random, resource, threading
from pathlib import Path
from zoolet.process import arenas

def threads():
    return len(list(Path("/proc/self/task").iterdir()))

def resident_mb():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() >> 20

def many(count):
    return [(number, str(number)) for number in range(count)]

def check(made):
    assert all(one == (number, str(number)) for number, one in enumerate(made))
"""


def run(code: str) -> str:
    """Run code in a process of its own; return what it prints."""
    command = [sys.executable, "-c", PREPARE + code]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_objects_are_whole_and_nothing_else_stays() -> None:
    run("""
before = resident_mb()
plain = many(300_000)
needed = resident_mb() - before
arenas.begin()
made = many(300_000)
assert threads() == 2
arenas.end()
assert threads() == 1
check(made)
assert resident_mb() - before - needed < needed + 8
del made
arenas.begin()
arenas.end()
check(plain)
""")


def test_a_small_program_starts_no_thread() -> None:
    run("""
arenas.begin()
made = many(10_000)
assert threads() == 1
arenas.end()
check(made)
""")


def test_an_end_without_a_beginning_is_refused() -> None:
    run("""
arenas.begin()
arenas.begin()
arenas.end()
made = many(200_000)
assert threads() == 2
arenas.end()
assert threads() == 1
try:
    arenas.end()
except RuntimeError as error:
    assert "without begin" in str(error)
else:
    raise AssertionError
check(made)
""")


@pytest.mark.parametrize("seed", range(3))
def test_objects_come_and_go(seed: int) -> None:
    """Random beginnings and ends, while objects are made and freed on several threads."""
    run(f"""
chance = random.Random({seed})
kept, begun = {{}}, 0

def other():
    for _ in range(20):
        check(many(20_000))

others = [threading.Thread(target=other) for _ in range(2)]
for one in others:
    one.start()
for step in range(200):
    match chance.randrange(4):
        case 0:
            arenas.begin()
            begun += 1
        case 1 if begun:
            arenas.end()
            begun -= 1
        case 2 if kept:
            check(kept.pop(chance.choice(list(kept))))
        case _:
            kept[step] = many(chance.choice((100, 20_000, 60_000)))
for one in others:
    one.join()
for _ in range(begun):
    arenas.end()
for made in kept.values():
    check(made)
assert threads() == 1
""")


def test_a_child_makes_objects_without_the_thread() -> None:
    """It may be made at any time, also while the thread has its lock."""
    run("""
arenas.begin()
made = []
for number in range(60):
    made += many(10_000)
    child = os.fork()
    if child == 0:
        check(many(30_000))
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
assert threads() == 2
arenas.end()
""")


def test_a_lack_of_memory_is_reported() -> None:
    run("""
arenas.begin()
made = many(100_000)
size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (size + (64 << 20), size + (64 << 20)))
more = []
try:
    while True:
        more.append((len(more), str(len(more))))
except MemoryError:
    pass
assert len(more) > 100_000
check(made)
del more
arenas.end()
check(many(100_000))
""")
