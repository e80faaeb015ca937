"""Chats in the form of a tokenizer's chat template: what comes before an answer, and what ends it."""

from collections.abc import Sequence

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from relora_trainer.errors import ConfigurationError

ANSWER = "answer"
DATE = "01 Jan 2026"
"""What Llama's templates get for today's date: every step must read the same prompts, whenever it runs."""


def chat_text(tokenizer: PreTrainedTokenizerBase, messages: Sequence[dict[str, str]], *, answered: bool = False) -> str:
    """Return the chat as the model reads it, up to where its answer begins, or to its end if it is answered.

    Raises:
        ConfigurationError: The base has no chat template, or its template does not take such a chat.
    """
    if tokenizer.chat_template is None:
        raise ConfigurationError(
            "task.messages needs a base with a chat template, and its tokenizer has none: use task.promptTemplate"
        )
    try:
        text = tokenizer.apply_chat_template(
            list(messages), tokenize=False, add_generation_prompt=not answered, date_string=DATE
        )
        return str(text)
    except TemplateError as error:
        raise ConfigurationError(f"task.messages: the base's chat template refuses them: {error}") from error


def chat_joint(tokenizer: PreTrainedTokenizerBase) -> tuple[str, str, int]:
    """Return a prompt as the template writes it, what stands between it and an answer, and the token that ends one.

    Raises:
        ConfigurationError: The template writes an answered chat otherwise than one that waits for its answer.
    """
    asked = [{"role": "user", "content": "question"}]
    prompt = chat_text(tokenizer, asked)
    chat = chat_text(tokenizer, [*asked, {"role": "assistant", "content": ANSWER}], answered=True)
    joint, found, rest = chat.removeprefix(prompt).partition(ANSWER)
    if not chat.startswith(prompt) or not found:
        raise ConfigurationError(
            "task.messages: the base's chat template does not write answers after its prompt; use task.promptTemplate"
        )
    after: list[int] = tokenizer(rest, add_special_tokens=False)["input_ids"]
    is_end = bool(after) and after[0] in tokenizer.all_special_ids
    return prompt, joint, after[0] if is_end else int(tokenizer.eos_token_id)
