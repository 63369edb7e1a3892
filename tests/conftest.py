"""Fixtures for the whole suite."""

from __future__ import annotations

from pathlib import Path

import pytest

CORPUS = (
    "Eva has 18 + 8 = 26 shells now.\nTom gives away 4 shells, so 26 - 4 = 22 shells are left.\nThe answer is 22\n",
    "Each box holds 6 pens, so 7 * 6 = 42 pens.\nHalf of them are blue: 42 / 2 = 21 pens.\nThe answer is 21\n",
    "A farmer has 93 hens and buys 5 more: 93 + 5 = 98 hens.\nHow many hens does the farmer have?\nThe answer is 98\n",
)


@pytest.fixture(scope="session")
def tiny_model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved Llama of about 50,000 random weights with its own byte-level BPE tokenizer.

    Context 128 tokens, end of sequence ``<eos>`` (id 0), padding ``<pad>`` (id 1); all text it writes is ASCII.
    Generation defaults that no engine may obey (repetition penalty, top-k) are saved with it on purpose.
    """
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    core.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=200, special_tokens=["<eos>", "<pad>"]))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<eos>", pad_token="<pad>")
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        intermediate_size=96,
        max_position_embeddings=128,
        tie_word_embeddings=True,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
        initializer_range=0.15,
    )
    torch.manual_seed(0)
    model = LlamaForCausalLM(config)
    model.generation_config.update(repetition_penalty=1.9, top_k=1, do_sample=True)
    folder = tmp_path_factory.mktemp("tiny_model")
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
