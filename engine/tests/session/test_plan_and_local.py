"""The suite's own claims in a session: plans, a model of the user's, what cannot run here, what is left behind."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import GPT2Config

from engine.arms.arm import Arm
from engine.arms.measurement import Measurement, digest_of
from engine.claim.claim import Claim
from engine.claim.procedure import Evidence
from engine.claim.units import Effort, Units
from engine.experiments.embedding.arm import RoundTripArm
from engine.ledger import Ledger
from engine.models import draw_weights, find_subject
from engine.records import Record
from engine.running.executors.inline import Inline
from engine.running.scheduler import ItemRun
from engine.session.items import expand_items
from engine.tests.planted import make_trial
from engine.tests.planted_claims import read_session, run_session, write_claim
from engine.tests.tiny_models import make_gpt2, save
from engine.tests.whole_claims import find_claims

ROOT = Path(__file__).resolve().parents[3]
PROMPT = ("--effort", "smoke", "--prompt", "The sky is blue.")
"""One unit of the user's own, which smoke does not leave out."""


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A random GPT-2 without tokenizer files: its vocabulary is the packaged one."""
    folder = tmp_path_factory.mktemp("tiny")
    config = GPT2Config(n_embd=16, n_layer=2, n_head=2, n_positions=64)
    draw_weights("tiny", config, seed=0, dtype=torch.float32).save_pretrained(folder)
    return f"local:{folder}"


def run_claims(pytester: pytest.Pytester, *options: str) -> pytest.RunResult:
    """The repository's claims, with ledger and report in the test's folder."""
    places = ("--ledger", str(pytester.path / ".ledger"), "--report-dir", str(pytester.path / "reports" / "latest"))
    return run_session(pytester, "-p", "no:cacheprovider", *places, *options)


def unsign(records: list[Record]) -> list[Record]:
    """The records without the session that judged."""
    return [replace(record, session=None) for record in records]


def stored(pytester: pytest.Pytester) -> list[Path]:
    return list(pytester.path.glob(".ledger/measurements/*/*.json"))


def test_a_plan_lists_arms_time_and_memory_and_runs_nothing(tiny: str, pytester: pytest.Pytester) -> None:
    result = run_claims(pytester, str(ROOT / "claims"), "-k", "c11", "--subject", tiny, "--plan", "-v")
    assert result.ret == 0, result.outlines
    # Under each of two protocols: two stacks to tune, in three rounds; then three waves of the trained one, and of four
    # drawn ones. The scripts' protocol fixes the step size, so that its fifteen arms are there at once.
    result.stdout.fnmatch_lines(["round one: 19 arms; later rounds: 38; stored: 0"])
    result.stdout.re_match_lines(
        [
            r"estimated, one after the other: .* if every claim is decided at its first look, .* if none stops.*",
            r"memory: about [0-9.]+ GB for the largest arm; all at once may take [0-9.]+ GB",
            r"at once: up to [0-9]+ arms? of 1 thread; nothing was run",
            r"C11  3 to measure",
            rf"[0-9a-f]{{10}}  to run        about .* s +[0-9.]+ GB  tuning {tiny} 1b\+h page N=1000  \(1 item\)",
            r"[0-9a-f]{10}  after tuning .* GB  inversion local-untrained:.*:3 1b\+h controlled N=1000 .*",
        ],
    )
    assert not stored(pytester)
    assert not (pytester.path / "reports" / "latest" / "index.html").exists()


def test_a_plan_goes_on_behind_the_tuning_of_clamped_walks(tiny: str, pytester: pytest.Pytester) -> None:
    asked = (str(ROOT / "claims"), "-k", "c25", "--protocol", "controlled", "--subject", tiny, "--plan", "-v")
    result = run_claims(pytester, *asked)
    assert result.ret == 0, result.outlines
    # Two nets to tune, and again beyond the grid's edges; then three waves of each, on four drawings.
    result.stdout.fnmatch_lines(["round one: 2 arms; later rounds: 26; stored: 0"])
    result.stdout.re_match_lines([r"[0-9a-f]{10}  after tuning .* clamped walk local:.*"])


def test_a_plan_says_what_is_skipped(pytester: pytest.Pytester) -> None:
    asked = (str(ROOT / "claims"), "-m", "xl", "-k", "c01 or c02", "--plan")
    result = run_claims(pytester, *asked)
    assert result.ret == 0
    result.stdout.fnmatch_lines(["round one: 0 arms*", "C02  1 skipped", "skipped  2 items: gpt2-xl is *with a GPU*"])
    result.stdout.no_fnmatch_line("skipped  C0*")
    each = run_claims(pytester, *asked, "-v")
    each.stdout.fnmatch_lines(["skipped  C01 gpt2-xl: *with a GPU*", "skipped  C02 gpt2-xl: *with a GPU*"])


def test_a_users_text_is_what_every_model_of_the_family_is_trained_on(pytester: pytest.Pytester) -> None:
    texts = pytester.path / "notes"
    texts.mkdir()
    for name in ("one.md", "two.txt"):
        (texts / name).write_text(f"Some words of {name}.\n\n" * 40)
    asked = (str(ROOT / "claims"), "-k", "c43", "--subject", "gpt2-mini-d256", "--effort", "full", "--plan", "-v")
    result = run_claims(pytester, *asked, "--text", str(texts))
    assert result.ret == 0, result.outlines
    arms = [line for line in result.outlines if "gpt2-mini-" in line and (" training " in line or "generation" in line)]
    assert len(arms) >= 12
    assert all(f"+{texts}" in line for line in arms)
    assert any("gpt2-mini-d64+" in line for line in arms)  # the smaller one that it is compared with


def test_a_folder_without_text_is_refused_in_one_line(pytester: pytest.Pytester) -> None:
    result = run_claims(pytester, str(ROOT / "claims"), "-k", "c43", "--text", str(pytester.path / "nowhere"))
    assert result.ret != 0
    result.stderr.fnmatch_lines(["*--text: got '*nowhere', expected a folder with files that end in .md, .rst, .txt*"])


def test_a_plan_is_printed_by_one_process_whatever_the_workers(pytester: pytest.Pytester) -> None:
    pytest.importorskip("xdist", reason="install pytest-xdist to test workers")
    write_claim(pytester.path, "supported")
    result = pytester.runpytest_inprocess("-p", "no:hypothesispytest", "--device", "cpu", "-n", "2", "--plan")
    assert result.ret == 0
    assert [line for line in result.outlines if line.startswith("round one: ")] == [
        "round one: 0 arms; later rounds: 0; stored: 0"
    ]


def test_a_claim_is_measured_on_a_users_model_once_and_can_be_run_again(
    tiny: str, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = (str(ROOT / "claims"), "-k", "c11", "--subject", tiny, *PROMPT)
    first = run_claims(pytester, *asked)
    assert first.ret == 0, first.outlines
    records, measured = read_session(pytester), stored(pytester)
    assert [(r.claim, r.subject, r.protocol) for r in records] == [
        ("C11", tiny, name) for name in ("controlled", "page", "script")
    ]
    for record in records:
        assert record.outcome in {"passed", "finding", "inconclusive"}
        assert record.criteria[0].n == 1
        assert {tiny, tiny.replace("local:", "local-untrained:") + ":0"} <= set(record.sources)
        assert record.provenance is not None
    assert (pytester.path / "reports" / "latest" / "index.html").is_file()

    def refuse(*_: object) -> None:
        raise AssertionError("measured what was stored")

    monkeypatch.setattr(Inline, "run", refuse)
    plan = run_claims(pytester, *asked, "--plan", "-v")
    assert sum("  stored  " in line for line in plan.outlines) >= 4  # each tuning's first round, at least
    assert run_claims(pytester, *asked).ret == 0
    assert unsign(read_session(pytester)) == unsign(records)

    monkeypatch.chdir(ROOT)  # where the commands in records begin
    command = shlex.split(records[1].command)
    assert command[:2] == ["pytest", "claims/trainability/c11_trained_needs_hundredfold.py"]
    assert run_claims(pytester, *command[1:]).ret == 0
    assert unsign(read_session(pytester)) == unsign(records[1:2])
    assert sorted(stored(pytester)) == sorted(measured)


def test_what_another_ledger_stores_is_planned_and_judged_as_stored(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = save(pytester.path / "model", make_gpt2())
    asked = (str(ROOT / "claims"), "-k", "c01", "--subject", f"local:{model}")
    assert run_claims(pytester, *asked).ret == 0
    records = unsign(read_session(pytester))
    (pytester.path / ".ledger").rename(pytester.path / "other")

    def refuse(*_: object) -> None:
        raise AssertionError("measured what was stored")

    monkeypatch.setattr(Inline, "run", refuse)
    both = ("--ledger", str(pytester.path / "other"))
    run_claims(pytester, *asked, *both, "--plan").stdout.fnmatch_lines(["round one: 1 arm; later rounds: 0; stored: 1"])
    assert run_claims(pytester, *asked, *both).ret == 0
    assert unsign(read_session(pytester)) == records
    assert not stored(pytester)
    gone = run_claims(pytester, *asked, "--ledger", "absent")
    assert gone.ret == 4
    gone.stderr.fnmatch_lines(["ERROR: --ledger: got *absent*, expected a ledger to read besides the first; *"])


def test_what_is_stored_is_judged_alone_whatever_it_was_measured_on(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The arm is the GPU's: stored as one measured it, and judged here, where there is none."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    model = save(pytester.path / "model", make_gpt2())
    asked = (str(ROOT / "claims"), "-k", "c01", "--subject", f"local:{model}", "--device", "cuda")
    refused = run_claims(pytester, *asked)
    assert refused.ret == 4
    refused.stderr.fnmatch_lines(["*--device: got 'cuda', expected a CUDA device; *"])

    subject = find_subject(f"local:{model}")
    here = RoundTripArm(subject=subject.id, source=subject.fingerprint(), sentences=True)
    there = replace(here, device="cuda")
    Ledger(pytester.path / ".ledger").put(replace(Inline().run(here), digest=digest_of(there), arm=there))
    assert run_claims(pytester, *asked, "--stored").ret == 0
    (record,) = read_session(pytester)
    assert record.outcome == "finding" or record.ruling == "supported"
    assert record.arms == (digest_of(there),)


def test_what_is_not_stored_is_skipped_with_what_to_do_and_nothing_is_measured(pytester: pytest.Pytester) -> None:
    model = save(pytester.path / "model", make_gpt2())
    result = run_claims(pytester, str(ROOT / "claims"), "-k", "c01", "--subject", f"local:{model}", "--stored")
    assert result.ret == 0
    (record,) = read_session(pytester)
    assert record.outcome == "skipped"
    assert record.sentence.startswith(f"round trip on local:{model}: got no measurement of it in the ledger, expected")
    assert not stored(pytester)


@pytest.mark.parametrize(("options", "times"), [((), 1), (("--fresh",), 2)], ids=["stored", "fresh"])
def test_fresh_alone_measures_what_is_stored_again(
    options: tuple[str, ...], times: int, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, ran = Inline.run, list[Arm]()

    def run_long_ago(executor: Inline, arm: Arm) -> Measurement:
        ran.append(arm)
        measurement = run(executor, arm)
        return replace(measurement, provenance=replace(measurement.provenance, measured_at="2020-01-01T00:00:00+00:00"))

    monkeypatch.setattr(Inline, "run", run_long_ago)
    model = save(pytester.path / "model", make_gpt2())
    for _ in range(2):
        assert run_claims(pytester, str(ROOT / "claims"), "-k", "c01", "--subject", f"local:{model}", *options).ret == 0
    assert [arm.kind for arm in ran] == ["round trip"] * times


@pytest.mark.parametrize("tier", ["gpu", "xl"])
def test_what_needs_a_gpu_is_collected_and_skips_with_what_to_do(tier: str, pytester: pytest.Pytester) -> None:
    result = run_claims(pytester, str(ROOT / "claims"), "-m", tier)
    assert result.ret == 0, result.outlines
    records = read_session(pytester)
    assert records
    for record in records:
        assert (record.tier, record.outcome, record.ruling) == (tier, "skipped", None)
        article = {"gpu": "a", "xl": "an"}[tier]
        assert f"{record.subject} is {article} {tier} subject and this session runs on cpu" in record.sentence
        assert f"--subject {record.subject}" in record.sentence
    assert not stored(pytester)


def test_a_row_that_an_effort_leaves_out_is_not_run(tiny: str, pytester: pytest.Pytester) -> None:
    result = run_claims(pytester, str(ROOT / "claims"), "-k", "c11", "--subject", tiny, "--effort", "smoke")
    assert result.ret == 0
    assert [record.outcome for record in read_session(pytester)] == ["not run"] * 3
    assert not stored(pytester)


def count_units(claim: Claim, subject: str | None, effort: Effort = "standard", **changes: Any) -> set[int]:
    """How many units the items of a subject would measure; None for a session that asks for no subject."""
    asked: Any = SimpleNamespace(
        subjects=() if subject is None else (find_subject(subject),),
        effort=effort,
        text=None,
        **{"protocols": (), "prompts": (), "starts": 1, "stopping": True, "dtype": "float32"} | changes,
        devices=SimpleNamespace(kind="cpu"),
    )
    return {item.trial.count() for item in expand_items(claim, asked)}


def test_what_is_too_costly_on_other_models_runs_at_standard_effort_on_a_small_one(tiny: str) -> None:
    claim = find_claims()["C07"]
    assert (claim.units.standard, claim.units.full) == (0, 36)
    assert count_units(claim, "smollm2-135m") == {0}
    assert count_units(claim, tiny) == {36}
    assert count_units(claim, tiny, "smoke") == {0}


def test_a_large_subject_has_its_cheap_rows_alone_unless_it_is_asked_for() -> None:
    large, claims = "gemma3-270m", find_claims()
    cheap, costly = (replace(claims[name], subjects=(large,)) for name in ("C05", "C33"))
    assert (count_units(cheap, None), count_units(cheap, None, "smoke")) == ({60}, {0})
    assert (count_units(costly, None), count_units(costly, large), count_units(costly, None, "full")) == (
        {0},
        {36},
        {36},
    )
    twin = replace(claims["C01"], subjects=(f"{large}-untrained",))
    assert (count_units(twin, None), count_units(twin, None, "full")) == ({0}, {36})


def test_a_row_without_units_measures_nothing_even_by_a_procedure_that_needs_none() -> None:
    claim = find_claims()["C01"]
    run = ItemRun(claim=claim, trial=make_trial(units=Units(smoke=0, standard=0)))
    run.advance(None)
    assert (run.done, run.error, run.evidence) == (True, None, Evidence())


@pytest.mark.parametrize("marker", ["gpu", "xl", "weights"])
def test_the_markers_are_registered(marker: str, pytester: pytest.Pytester) -> None:
    result = run_session(pytester, "--markers", "--strict-markers")
    result.stdout.fnmatch_lines([f"@pytest.mark.{marker}: needs *"])
