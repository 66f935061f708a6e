"""Each input of the corpus is decoded, or refused with an error that the decoder names.

The corpus has inputs that the fuzzer found with the interpreted sources (``make fuzz``). This test
runs them with the modules of the installation, which may be compiled.
"""

import pytest

from tests.fuzz.corpus import DIRECTORY, inputs_of
from tests.fuzz.targets import TARGETS


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_no_input_of_the_corpus_shows_a_defect(name: str) -> None:
    inputs = inputs_of(name)
    assert inputs
    for data in inputs:
        try:
            TARGETS[name].try_one(data)
        except Exception as error:
            raise AssertionError(f"a defect with {data!r}") from error


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_seeds_are_what_a_decoder_accepts(name: str) -> None:
    """A target whose first inputs are all refused would reach little code."""
    target = TARGETS[name]
    accepted = 0
    for seed in target.seeds:
        try:
            target.run(seed)
        except target.errors:
            continue
        accepted += 1
    assert accepted or name in {"digest-server", "digest-client"}


def test_each_file_of_the_corpus_has_a_target() -> None:
    assert {path.stem for path in DIRECTORY.glob("*.txt")} <= set(TARGETS)
