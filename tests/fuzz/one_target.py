"""Runs Atheris for one target: ``python -m tests.fuzz.one_target NAME OPTION...``.

The options are those of libFuzzer. `tests.fuzz.__main__` starts this program, one process for each
target, because libFuzzer ends its process.
"""

import logging
import sys
import warnings

import atheris

with atheris.instrument_imports(include=["zoolet"], enable_loader_override=False):
    from tests.fuzz.targets import TARGETS


def main() -> None:
    """Fuzz the target that the first argument names."""
    name = sys.argv.pop(1)
    logging.disable()
    warnings.simplefilter("ignore")
    atheris.Setup(sys.argv, TARGETS[name].try_one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
