"""Whatever a file or an option holds, reading it gives an answer or one line of ours, and never another error.

The inputs are drawn without a random seed, so that every run of one version tries the same ones: a few hundred for
each reader in the fast suite, 100,000 and more together in the slow one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from engine.errors import EngineError
from engine.tests.model_readers import (
    make_config,
    make_gguf,
    make_gguf_config,
    make_index,
    make_manifest,
    make_sizes_of_config,
    make_tokenizer,
)
from engine.tests.readers import (
    Reader,
    make_bench,
    make_calibration,
    make_calibration_page,
    make_choices,
    make_invert_words,
    make_memory,
    make_names,
    make_pages,
    make_prompts,
    make_records_reader,
    make_register,
    make_stored,
    make_verdicts,
)

PROMISED = 100_000


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A reader, made for a folder of its own, with how many inputs it is given in the slow suite and in the fast."""

    make: Callable[[Path], Reader]
    many: int
    few: int = 300


TRIALS = {
    "a stored measurement": Trial(make=make_stored, many=25_000),
    "records": Trial(make=make_records_reader, many=14_000),
    "records on a page": Trial(make=make_pages, many=2_000, few=20),
    "figures of benchmarks": Trial(make=make_bench, many=4_000),
    "figures of the calibration": Trial(make=make_calibration, many=4_000),
    "a calibration on a page": Trial(make=make_calibration_page, many=200, few=10),
    "the register of claims": Trial(make=make_register, many=4_000),
    "verdicts on record": Trial(make=make_verdicts, many=4_000),
    "the header of a GGUF file": Trial(make=make_gguf, many=18_000),
    "the configuration in a GGUF file": Trial(make=make_gguf_config, many=1_000, few=40),
    "a configuration": Trial(make=make_config, many=4_000, few=100),
    "the size of a configuration": Trial(make=make_sizes_of_config, many=600, few=30),
    "a tokenizer": Trial(make=make_tokenizer, many=300, few=20),
    "an index of weights": Trial(make=make_index, many=6_000),
    "a manifest of unpacked weights": Trial(make=make_manifest, many=4_000),
    "--memory": Trial(make=make_memory, many=6_000),
    "--prompt": Trial(make=make_prompts, many=4_000),
    "--subject": Trial(make=make_names, many=6_000),
    "--effort, --protocol, --device": Trial(make=make_choices, many=3_000),
    "invert's command line": Trial(make=make_invert_words, many=4_000),
}


PROFILE = settings(
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.generate, Phase.shrink],
    suppress_health_check=[
        HealthCheck.data_too_large,
        HealthCheck.filter_too_much,
        HealthCheck.large_base_example,
        HealthCheck.too_slow,
    ],
)


def try_out(reader: Reader, number: int) -> Counter[str]:
    """How often each thing came of `number` inputs. Raises what no reader may raise, for the smallest such input."""
    came_to = Counter[str]()

    @settings(PROFILE, max_examples=number)
    @given(reader.inputs)
    def attempt(value: Any) -> None:
        what = line = "read"
        try:
            reader.read(value)
        except reader.refuses as error:
            line = str(error)
            what = type(error).__name__ if isinstance(error, EngineError) else line
        assert len(line.splitlines()) == 1
        came_to[what] += 1

    attempt()
    return came_to


@pytest.mark.parametrize("trial", TRIALS.values(), ids=TRIALS)
def test_what_cannot_be_read_is_refused_in_one_line(trial: Trial, tmp_path: Path) -> None:
    assert try_out(trial.make(tmp_path), trial.few).total() >= trial.few


@pytest.mark.slow
@pytest.mark.parametrize("trial", TRIALS.values(), ids=TRIALS)
def test_each_of_very_many_inputs_is_read_or_refused_in_one_line(
    trial: Trial, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    reader = trial.make(tmp_path)
    came_to = try_out(reader, trial.many)
    request.node.user_properties.extend(came_to.items())  # for JUnit's file
    assert came_to.total() >= trial.many
    # Inputs that are all refused at their first byte would say nothing of what lies behind it.
    assert reader.reaches <= set(came_to)


def test_the_slow_suite_tries_as_many_inputs_as_are_promised() -> None:
    assert sum(trial.many for trial in TRIALS.values()) >= PROMISED
