"""Fuzzes all decoders: ``python -m tests.fuzz --minutes 10``. ``make fuzz`` runs it.

Each target gets the same share of the time. Inputs that reach new code are kept in the corpus with
``--keep``. The exit status is 1 if an input raises an exception that the decoder does not name,
needs more than 10 s, or needs more than 2 GiB of memory.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.fuzz.corpus import inputs_of, write_inputs
from tests.fuzz.targets import TARGETS

FINDINGS = Path("build/fuzz")
_LONGEST_INPUT_BYTES = 4096
_LONGEST_KEPT_BYTES = 600
_MOST_KEPT = 60
_ONE_INPUT_S = 10
_MEMORY_MIB = 2048
_EXIT_S = 60


class Result(NamedTuple):
    """What the fuzzer found in a target.

    Attributes:
        runs: the number of inputs that were tried.
        findings: the files with inputs that show a defect.
        output: the last lines of the fuzzer.
    """

    runs: int
    findings: list[Path]
    output: str


def main() -> int:
    """Fuzz the targets; return the exit status."""
    given = _arguments()
    names = given.target or sorted(TARGETS)
    if given.replay is not None:
        TARGETS[names[0]].try_one(given.replay.read_bytes())
        print(f"{names[0]}: {given.replay} shows no defect")
        return 0
    seconds = max(1, int(given.minutes * 60 * given.processes / len(names)))
    print(f"{len(names)} targets, {seconds} s each, {given.processes} at a time", flush=True)
    failed = 0
    with ThreadPoolExecutor(given.processes) as pool:
        results = pool.map(lambda name: _fuzz(name, seconds, given.seed, keeps=given.keep), names)
        for name, result in zip(names, results, strict=True):
            print(f"{name:20} {result.runs:>9,} inputs  {len(result.findings) or 'no'} defects",
                  flush=True)  # fmt: skip
            failed += bool(result.findings)
            for finding in result.findings:
                print(f"{result.output}\nRepeat it: python -m tests.fuzz --target {name}"
                      f" --replay {finding}", flush=True)  # fmt: skip
    return 1 if failed else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Fuzz all decoders.")
    parser.add_argument("--minutes", type=float, default=10, help="time for all targets together")
    parser.add_argument("--processes", type=int, default=2, help="targets at the same time")
    parser.add_argument("--target", action="append", choices=sorted(TARGETS), help="only this one")
    parser.add_argument("--seed", type=int, default=0, help="0: a new one in each run")
    parser.add_argument("--keep", action="store_true", help="write new inputs to the corpus")
    parser.add_argument("--replay", type=Path, help="run one input of --target, without Atheris")
    return parser.parse_args()


@contextmanager
def _unpacked(name: str) -> Iterator[Path]:
    """Yield a directory with the inputs of a target, as files."""
    with tempfile.TemporaryDirectory(prefix="zoolet-fuzz-") as directory:
        for number, data in enumerate(inputs_of(name)):
            (Path(directory) / f"input-{number}").write_bytes(data)
        yield Path(directory)


def _fuzz(name: str, seconds: int, seed: int, *, keeps: bool) -> Result:
    findings = FINDINGS / name
    findings.mkdir(parents=True, exist_ok=True)
    began_s = time.time()
    with _unpacked(name) as corpus:
        fuzzing = _run(name, seconds, str(corpus), f"-max_total_time={seconds}", f"-seed={seed}",
                       f"-artifact_prefix={findings}/")  # fmt: skip
        found = [path for path in findings.iterdir() if path.stat().st_mtime >= began_s - 1]
        if fuzzing.returncode and not found:
            raise RuntimeError(f"the fuzzer of {name} failed:\n{fuzzing.stdout[-4000:]}")
        if keeps:
            _keep(name, corpus)
    lines = fuzzing.stdout.splitlines()
    runs = next((int(line.split()[1]) for line in reversed(lines) if line.startswith("Done ")), 0)
    return Result(runs, found, "\n".join(lines[-40:]))


def _keep(name: str, corpus: Path) -> None:
    """Write inputs of all lengths to the corpus in the repository; each reached new code."""
    found = {path.read_bytes() for path in corpus.iterdir()} - set(inputs_of(name))
    short = sorted((data for data in found if len(data) <= _LONGEST_KEPT_BYTES), key=len)
    write_inputs(name, {*inputs_of(name), *short[:: 1 + len(short) // _MOST_KEPT]})


def _run(name: str, seconds: int, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.fuzz.one_target", name, f"-timeout={_ONE_INPUT_S}",
               f"-rss_limit_mb={_MEMORY_MIB}", f"-max_len={_LONGEST_INPUT_BYTES}",
               "-print_final_stats=0", *options]  # fmt: skip
    return subprocess.run(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=2 * seconds + _EXIT_S,
        check=False,
    )


if __name__ == "__main__":
    sys.exit(main())
