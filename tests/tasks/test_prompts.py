"""Prompts: one text and one tokenisation for training, sampling, exploring and evaluating."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from selfexplore_tasks.errors import UserError
from selfexplore_tasks.prompts import PromptFormat
from selfexplore_tasks.recipe import Example, Prompt

QUESTION = "How many shells has Eva?"
STEPS = "Eva has 18 + 8 = 26 shells now.\n"
REST = "Tom gives away 4 shells, so 26 - 4 = 22 shells are left.\nThe answer is 22"
TEMPLATE = (
    "{% for message in messages %}<eos>{{ message.role }}: {{ message.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}<eos>assistant: {% endif %}"
)


@pytest.fixture(scope="session")
def tokenizer(tiny_model_dir: Path) -> PreTrainedTokenizerBase:
    loaded: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(tiny_model_dir)
    return loaded


@pytest.fixture(scope="session")
def chat_model_dir(tiny_model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model's tokenizer with a chat template that begins every turn with a special token."""
    folder = tmp_path_factory.mktemp("chat") / "model"
    shutil.copytree(tiny_model_dir, folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    return folder


def test_plain_text_needs_no_tokenizer() -> None:
    prompt = Prompt(
        template="Q: {question}\nA: ",
        instruction="Answer.",
        examples=(Example(question="1 + 1?", rationale="1 + 1 = 2\nThe answer is 2"),),
    )
    text = PromptFormat(prompt, Path("no/such/folder")).text("2 + 2?")
    assert text == "Answer.\n\nQ: 1 + 1?\nA: 1 + 1 = 2\nThe answer is 2\n\nQ: 2 + 2?\nA: "


def test_braces_in_a_question_are_text() -> None:
    assert PromptFormat(Prompt(), Path("no/such/folder")).text("{question} {0} {x}") == "{question} {0} {x}\n"


def test_training_sees_the_tokens_that_sampling_sees(tiny_model_dir: Path) -> None:
    """Prompt and completion ids joined are the ids of the whole text, also behind a prefix of steps."""
    prompts = PromptFormat(Prompt(), tiny_model_dir)
    whole = tuple(AutoTokenizer.from_pretrained(tiny_model_dir)(f"{QUESTION}\n{STEPS}{REST}").input_ids)
    assert prompts.prompt_ids(QUESTION) + prompts.completion_ids(QUESTION, "", STEPS + REST) == whole
    assert prompts.prompt_ids(QUESTION, STEPS) + prompts.completion_ids(QUESTION, STEPS, REST) == whole


def test_a_prefix_continues_the_prompt_that_was_sampled_from(tiny_model_dir: Path) -> None:
    prompts = PromptFormat(Prompt(), tiny_model_dir)
    start = prompts.prompt_ids(QUESTION)
    assert prompts.prompt_ids(QUESTION, STEPS)[: len(start)] == start


def test_tokens_never_merge_across_the_boundary(tiny_model_dir: Path) -> None:
    """Joined, `The ans` + `wer is` would be other tokens than those the model had in front of it when sampling."""
    tokenizer = AutoTokenizer.from_pretrained(tiny_model_dir)
    prompts = PromptFormat(Prompt(template="{question}"), tiny_model_dir)
    question, completion = "shel", "ls are left."
    start, rest = prompts.prompt_ids(question), prompts.completion_ids(question, "", completion)
    assert start == tuple(tokenizer("shel").input_ids)
    assert start + rest != tuple(tokenizer("shells are left.").input_ids), "this text does not merge: choose another"
    assert tokenizer.decode(start + rest) == question + completion


TEMPLATES = ("{question}\n", "{question}", "Eva: {question} ")
TEXTS = st.text("shel 18+=.\nTo", max_size=12)


@pytest.fixture(scope="session")
def formats(tiny_model_dir: Path) -> dict[str, PromptFormat]:
    """A prompt format for each template."""
    return {template: PromptFormat(Prompt(template=template), tiny_model_dir) for template in TEMPLATES}


@settings(deadline=None, max_examples=60)
@given(template=st.sampled_from(TEMPLATES), texts=st.tuples(TEXTS, TEXTS, TEXTS))
def test_ids_always_join_and_spell_the_text(
    formats: dict[str, PromptFormat], tokenizer: PreTrainedTokenizerBase, template: str, texts: tuple[str, str, str]
) -> None:
    question, prefix, completion = texts
    prompts = formats[template]
    start = prompts.prompt_ids(question, prefix)
    ids = start + prompts.completion_ids(question, prefix, completion)
    assert tokenizer.decode(ids) == template.replace("{question}", question) + prefix + completion
    assert start[: len(prompts.prompt_ids(question))] == prompts.prompt_ids(question)


def test_chat_uses_the_template_with_its_special_tokens_once(chat_model_dir: Path) -> None:
    prompt = Prompt(
        style="chat",
        template="Solve: {question}",
        instruction="Be brief.",
        examples=(Example(question="1 + 1?", rationale="The answer is 2"),),
    )
    prompts = PromptFormat(prompt, chat_model_dir)
    prompts.check()
    expected = (
        "<eos>system: Be brief.\n<eos>user: Solve: 1 + 1?\n<eos>assistant: The answer is 2\n"
        f"<eos>user: Solve: {QUESTION}\n<eos>assistant: "
    )
    assert prompts.text(QUESTION) == expected
    ids = prompts.prompt_ids(QUESTION)
    assert ids == tuple(AutoTokenizer.from_pretrained(chat_model_dir)(expected, add_special_tokens=False).input_ids)
    assert ids.count(prompts.eos_token_id) == 5


def test_chat_continues_inside_of_the_assistants_turn(chat_model_dir: Path) -> None:
    prompts = PromptFormat(Prompt(style="chat"), chat_model_dir)
    tokenizer = AutoTokenizer.from_pretrained(chat_model_dir)
    ids = prompts.prompt_ids(QUESTION, STEPS) + prompts.completion_ids(QUESTION, STEPS, REST)
    assert tokenizer.decode(ids) == prompts.text(QUESTION) + STEPS + REST
    assert prompts.prompt_ids(QUESTION, STEPS)[: len(prompts.prompt_ids(QUESTION))] == prompts.prompt_ids(QUESTION)


def test_chat_without_a_template_is_refused(tiny_model_dir: Path) -> None:
    with pytest.raises(UserError, match="chat template"):
        PromptFormat(Prompt(style="chat"), tiny_model_dir).check()


def test_a_tokenizer_without_an_end_is_refused(tiny_model_dir: Path, tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_model_dir)
    tokenizer.eos_token = None
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(UserError, match="no end-of-sequence token"):
        PromptFormat(Prompt(), tmp_path).check()


def test_a_tokenizer_that_frames_every_text(tiny_model_dir: Path, tmp_path: Path) -> None:
    """Llama and Gemma put a begin token in front, some tokenizers an end token behind: only the first is wanted."""
    from tokenizers import processors

    tokenizer = AutoTokenizer.from_pretrained(tiny_model_dir)
    tokenizer._tokenizer.post_processor = processors.TemplateProcessing(
        single="<pad> $A <eos>", special_tokens=[("<pad>", 1), ("<eos>", 0)]
    )
    tokenizer.save_pretrained(tmp_path)
    plain, framed = PromptFormat(Prompt(), tiny_model_dir), PromptFormat(Prompt(), tmp_path)
    assert framed.prompt_ids(QUESTION) == (1, *plain.prompt_ids(QUESTION))
    assert framed.prompt_ids(QUESTION, STEPS) == (1, *plain.prompt_ids(QUESTION, STEPS))
    assert framed.completion_ids(QUESTION, STEPS, REST) == plain.completion_ids(QUESTION, STEPS, REST)
