"""What reads files and options that others have written, with inputs to try it on and what those must come to."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from numpy.random import default_rng

from engine.arms.measurement import Measurement, measurement_type
from engine.arms.prompts import check_prompt
from engine.arms.protocol import find_protocol
from engine.claim.criteria import Ruling
from engine.claim.on_record import read_verdicts
from engine.claim.registration import LOCK, read_lock, write_lock
from engine.claim.units import find_effort
from engine.commands.invert.options import parse
from engine.errors import EngineError
from engine.ledger.store import UntrustedError, verify_stored
from engine.models import CATALOGUE, find_subject
from engine.models.devices import check_device
from engine.records import RECORD, read_records
from engine.report.compare import compare_runs
from engine.report.compare_page import render_comparison, write_lines
from engine.report.export import SHEETS
from engine.report.history import gather_run, merge_records
from engine.report.markdown import tabulate
from engine.report.render import render
from engine.session.options import _read_memory
from engine.sheets import write_csv
from engine.studies.bench.results import read_bench, write_page
from engine.studies.calibration.page import render_calibration, tabulate_calibration
from engine.studies.calibration.results import read_calibration
from engine.tests import kept_figures
from engine.tests.ledger.test_ledger import KINDS
from engine.tests.mutations import NUMBERS, TEXTS, damage, fuzz_json, mix, write_toml
from engine.tests.report_samples import make_records
from engine.tests.report_tables import KINDS as KINDS_OF_TABLES
from engine.tests.report_tables import Cast, make_tables

READ = frozenset({"read"})


@dataclass(frozen=True, kw_only=True)
class Reader:
    """What reads something that others have written.

    read: raises one of `refuses` for an input that it cannot use.
    reaches: what very many inputs must have come to among other things: 'read', the name of an error of ours, or what
    the ledger's own says.
    """

    inputs: st.SearchStrategy[Any]
    read: Callable[[Any], object]
    refuses: type[Exception] = EngineError
    reaches: frozenset[str] = READ


def read_written(path: Path, read: Callable[[Path], object], content: bytes) -> None:
    """Read a file that holds this."""
    path.write_bytes(content)
    read(path)


# A stored measurement, and the arm that is looked for.


def make_stored(_: Path) -> Reader:
    def fuzz(stored: Measurement) -> st.SearchStrategy[tuple[bytes, Measurement]]:
        plain = measurement_type().dump_python(stored, mode="json")
        envelope = {"schema": 1, "content": stored.content(), "measurement": plain}
        return st.tuples(fuzz_json([envelope]), st.just(stored))

    def read(given: tuple[bytes, Measurement]) -> None:
        # What is trusted has the numbers that were stored: at most what is said of the run has changed.
        assert verify_stored(given[0], given[1].arm).content() == given[1].content()

    reasons = {"read", "unreadable", "other-schema", "invalid", "other-arm", "altered"}
    inputs = st.one_of([fuzz(measurement) for measurement in KINDS.values()])
    return Reader(inputs=inputs, read=read, refuses=UntrustedError, reaches=frozenset(reasons))


# Records, and all that is made of them.


def fuzz_records() -> st.SearchStrategy[bytes]:
    plain = make_records()
    small = Cast(prompts=("The sky is blue.", "It rains."), reads=(0, 10, 100))
    drawn = [replace(plain[1], tables=make_tables(small, default_rng(1), (kind,))) for kind in KINDS_OF_TABLES]
    return fuzz_json([RECORD.dump_python(record, mode="json") for record in (*plain, *drawn)], lines=True)


def use_records(path: Path) -> None:
    """What the commands make of a file, pages aside."""
    records = merge_records([read_records(path), read_records(path)])
    assert tabulate(records)
    for sheet in SHEETS.values():
        write_csv(sheet(records))
    write_lines(compare_runs(gather_run(records), gather_run(records[1:])))


def draw_records(path: Path) -> None:
    """The pages that are made of a file."""
    records = read_records(path)
    render(records, title="", rendered_at="", previous=records[1:], history=[gather_run(records)])
    render_comparison(compare_runs(gather_run(records), gather_run(records[1:])))


def make_records_reader(folder: Path) -> Reader:
    read = partial(read_written, folder / "records.jsonl", use_records)
    return Reader(inputs=fuzz_records(), read=read, reaches=READ | {"LedgerError"})


def make_pages(folder: Path) -> Reader:
    read = partial(read_written, folder / "records.jsonl", draw_records)
    return Reader(inputs=fuzz_records(), read=read, reaches=READ | {"LedgerError"})


def make_bench(folder: Path) -> Reader:
    read = partial(read_written, folder / "bench.json", lambda path: write_page(read_bench(path)))
    return Reader(inputs=fuzz_json([kept_figures.make_bench()]), read=read, reaches=READ | {"UsageError"})


def make_calibration(folder: Path) -> Reader:
    read = partial(read_written, folder / "calibration.json", lambda path: tabulate_calibration(read_calibration(path)))
    return Reader(inputs=fuzz_json([kept_figures.make_calibration()]), read=read, reaches=READ | {"UsageError"})


def make_calibration_page(folder: Path) -> Reader:
    read = partial(read_written, folder / "calibration.json", lambda path: render_calibration(read_calibration(path)))
    return Reader(inputs=fuzz_json([kept_figures.make_calibration()]), read=read)


# What is kept of claims.


def fuzz_toml(sound: dict[str, tuple[str, ...]], heads: tuple[str, ...]) -> st.SearchStrategy[bytes]:
    file = "\n".join([heads[0], *(f"{key} = {values[0]}" for key, values in sound.items())]).encode()
    return mix(write_toml(sound, heads), st.one_of(damage([file]), st.binary(max_size=60)))


def make_verdicts(folder: Path) -> Reader:
    words = tuple(map(json.dumps, (*Ruling, *Ruling, "C16", "C17", "gpt2", "page", "2026-03-01")))
    sound = dict.fromkeys(("ruling", "claim", "subject", "protocol", "date", "reason"), words)
    heads = ("[[verdict]]", "[[verdict]]", "[[verdict]]", "[verdict]", "[[other]]", "verdict = 3", "")
    read = partial(read_written, folder / "verdicts.toml", read_verdicts)
    return Reader(inputs=fuzz_toml(sound, heads), read=read, reaches=READ | {"LedgerError"})


def make_register(folder: Path) -> Reader:
    sound = {
        "date": ("2026-11-25T10:00:00Z", "2026-11-25 10:00:00+02:00", "0001-01-01T00:00:00+14:00"),
        "commit": ('""', f'"{"a" * 40}"'),
        "digest": (f'"{"0" * 40}"', f'"{"1" * 40}"'),
        "fields": ('{ criteria = "01234567" }', "{}"),
    }
    heads = ("[[C16]]", "[[C16]]", "[[C17]]", "[C16]", '[["a\\u0000"]]', "C16 = 3", "")
    read = partial(read_written, folder / LOCK, lambda path: write_lock(read_lock(path)))
    return Reader(inputs=fuzz_toml(sound, heads), read=read, reaches=READ | {"LedgerError", "DeclarationError"})


# Options.


def make_memory(_: Path) -> Reader:
    digits = st.from_regex(r"\s?[0-9]{0,5}\.?[0-9]{1,5}\s?[kKmMgGtTeE]?i?[bB]?", fullmatch=True)
    huge = st.integers(1, 5000).map(lambda n: "9" * n)
    inputs = st.one_of(digits, huge, st.tuples(digits, TEXTS).map("".join), TEXTS)

    def read(text: str) -> None:
        assert 0 < _read_memory(text) < float("inf")

    return Reader(inputs=inputs, read=read, reaches=READ | {"UsageError"})


def make_prompts(_: Path) -> Reader:
    words = st.lists(st.one_of(TEXTS, st.sampled_from(("the", "sky", " ", "\n"))), max_size=6).map(" ".join)

    def read(text: str) -> None:
        check_prompt(text, text.split(), context=8, who="--prompt")
        assert text.encode()

    return Reader(inputs=words, read=read, reaches=READ | {"PromptError"})


def make_names(_: Path) -> Reader:
    known = st.sampled_from((*CATALOGUE, "local:", "local-untrained:", "local-int8:", "~", "~nobody", ":"))
    parts = st.one_of(
        known, TEXTS, st.sampled_from((":0", ":4294967296", "-int8", "/", "x" * 300, "/nowhere", ".gguf"))
    )
    names = st.lists(parts, max_size=3).map("".join)

    def read(name: str) -> None:
        assert find_subject(name).id

    return Reader(inputs=names, read=read, reaches=READ | {"UsageError", "SubjectError"})


def make_choices(_: Path) -> Reader:
    """Names out of a short list: effort, protocol, device."""
    known = st.sampled_from(("smoke", "full", "page", "script", "auto", "cpu", "cuda", "cuda:", "meta", "mps:0", "xpu"))
    numbered = st.tuples(known, st.one_of(st.sampled_from(NUMBERS), st.integers()).map(str)).map("".join)
    texts = st.one_of(known, numbered, TEXTS)

    def read(pair: tuple[Callable[[str], object], str]) -> None:
        pair[0](pair[1])

    inputs = st.tuples(st.sampled_from((find_effort, find_protocol, check_device)), texts)
    return Reader(inputs=inputs, read=read, reaches=READ | {"UsageError"})


def make_invert_words(_: Path) -> Reader:
    options = ("--subject", "--blocks", "--iterations", "--step", "--seed", "--sigma", "--ledger", "--json", "--dtype")
    known = st.sampled_from(("gpt2", "all", "1", "-1", "nan", "/nowhere/file.json", "x" * 300, "--head", "--", "-"))
    # Help would end the process, as it should.
    texts = TEXTS.filter(lambda text: not any(text.startswith(help) for help in ("-h", "--help")))
    values = st.one_of(known, texts, st.integers().map(str), st.floats().map(str))
    pairs = st.lists(st.tuples(st.sampled_from(options), values), max_size=3)
    inputs = st.tuples(values, pairs).map(
        lambda p: [p[0], "--subject", "gpt2", *(word for pair in p[1] for word in pair)]
    )
    return Reader(inputs=inputs, read=parse, reaches=READ | {"UsageError", "PromptError", "LedgerError"})
