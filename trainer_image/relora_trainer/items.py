"""Examples as token sequences, exactly as a serving engine sees and produces them.

Prompt and completion are tokenised apart: an engine tokenises the prompt and then generates. One space joins them
unless the prompt ends in white space, and the completion ends with the end-of-sequence token, so that no choice is
the beginning of another. It has the tokens that it has inside of a text: tokenizers that put a space before every text
(SentencePiece) would else give it one more, which no model generates there. In a chat the tokenizer's chat template
says what joins and what ends them. A classifier reads the prompt alone, and its completion is the row of the right
class.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from relora_trainer.chat import chat_joint, chat_text
from relora_trainer.datasets import Example
from relora_trainer.errors import ConfigurationError, DataError

LINE_END = "\n"
"""What a completion is tokenised after: no tokenizer joins it with a word or with a space that follows."""
CHUNK = 1_000
"""Texts of one call of the tokenizer, whose own records of each token take much more memory than the tokens."""


@dataclass(frozen=True)
class Item:
    """One example, tokenised.

    Attributes:
        key: The example's content hash.
        prompt: Token ids of the prompt, special tokens of the tokenizer included.
        label: Index of the right choice; 0 for a generative task.
        completion: Token ids of what a generative task expects, end-of-sequence token included.
    """

    key: str
    prompt: tuple[int, ...]
    label: int
    completion: tuple[int, ...] = ()


@dataclass(frozen=True)
class ItemSet:
    """Tokenised examples with the choices that they share, if the task has any.

    Attributes:
        items: The examples.
        choices: Per choice the token ids of the completion, end-of-sequence token included; per class its row.
        truncated: How many prompts were cut to fit.
    """

    items: tuple[Item, ...]
    choices: tuple[tuple[int, ...], ...]
    truncated: int

    def completion(self, item: Item) -> tuple[int, ...]:
        """Return the right completion of an item."""
        return self.choices[item.label] if self.choices else item.completion

    def length(self, item: Item) -> int:
        """Return the tokens of prompt and right completion."""
        return len(item.prompt) + len(self.completion(item))


class Encoder:
    """Tokenises examples of one task."""

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        choices: Sequence[str] | None,
        max_length: int,
        *,
        is_chat: bool = False,
        is_classifier: bool = False,
        pad: int | None = None,
    ) -> None:
        """Tokenise the choices.

        Args:
            tokenizer: A fast tokenizer with an end-of-sequence token.
            choices: The closed label set; None for a generative task.
            max_length: Longest prompt with completion, in tokens.
            is_chat: Whether prompts are chats, in the form of the tokenizer's chat template.
            is_classifier: Whether the choices are the classes of a head, which takes no tokens.
            pad: The token that a classifier passes over when it looks for the last token of a prompt.

        Raises:
            ConfigurationError: The tokenizer lacks what is needed, or two choices are the same tokens.
        """
        if not tokenizer.is_fast:
            raise ConfigurationError("the base has no tokenizer.json: a fast tokenizer is needed to cut long texts")
        if tokenizer.eos_token_id is None:
            raise ConfigurationError("the base's tokenizer has no end-of-sequence token")
        self._tokenizer = tokenizer
        self.end = int(tokenizer.eos_token_id)
        self._is_chat = is_chat
        joints = ["", " "]
        self._context = LINE_END
        if is_chat:
            self._context, joint, self.end = chat_joint(tokenizer)
            joints = [joint]
        self._is_generative = choices is None
        self._is_classifier = is_classifier
        self._pad = pad
        self.max_length = max_length
        self._choices = {joint: self._completions([joint + choice for choice in choices or ()]) for joint in joints}
        if is_classifier:
            self._choices = {"": tuple((row,) for row, _ in enumerate(choices or ()))}
        for tokenised in self._choices.values():
            if len(set(tokenised)) < len(tokenised):
                raise ConfigurationError("task.choices: two choices have the same tokens")

    def encode(self, examples: Sequence[Example]) -> ItemSet:
        """Tokenise the examples; a prompt that is too long is cut at the end of its text.

        Raises:
            DataError: The rest of a prompt leaves no room for its text, or no examples are given.
        """
        if not examples:
            raise DataError("there are no examples to tokenise")
        joint = self._joint(examples)
        choices = self._choices[joint]
        completions: Sequence[tuple[int, ...]] = [()] * len(examples)
        if self._is_generative:
            completions = self._completions([joint + example.completion for example in examples])
        prompts = self._prompts([self._written(example, example.prompt.text) for example in examples])
        items, truncated = [], 0
        for example, prompt, completion in zip(examples, prompts, completions, strict=True):
            room = self.max_length
            if not self._is_classifier:
                room -= max(map(len, choices or (completion,)))
            is_long = len(prompt) > room
            kept = self._cut(example, room) if is_long else prompt
            items.append(Item(example.key, tuple(kept), example.label, completion))
            truncated += is_long
        return ItemSet(tuple(items), choices, truncated)

    def whole_prompt(self, example: Example) -> tuple[int, ...]:
        """Return the token ids of a prompt, however many they are."""
        return tuple(self._prompt(example, example.prompt.text))

    def text(self, tokens: Sequence[int]) -> str:
        """Return what the tokens say, without special tokens and the white space around it."""
        return str(self._tokenizer.decode(list(tokens), skip_special_tokens=True)).strip()

    def _cut(self, example: Example, room: int) -> list[int]:
        """Drop tokens from the end of the example's text until its prompt fits."""
        whole = example.prompt.text
        offsets = self._tokenizer(whole, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
        kept = len(offsets) - (len(self._prompt(example, whole)) - room)
        while kept > 0:
            prompt = self._prompt(example, whole[: offsets[kept - 1][1]])
            if len(prompt) <= room:
                return prompt
            kept -= len(prompt) - room
        raise DataError(
            f"task.maxLength {self.max_length} leaves no room for the text of example {example.key[:12]}: "
            "the rest of the prompt and the longest choice or completion fill it"
        )

    def _completions(self, texts: Sequence[str]) -> tuple[tuple[int, ...], ...]:
        """Return the tokens of completions as they follow a prompt, end-of-sequence token included."""
        if not texts:
            return ()
        [before] = self._ids([self._context])
        is_kept = self._is_chat or LINE_END in str(self._tokenizer.decode(before))  # some turn it into a space
        if not is_kept:
            return tuple((*own, self.end) for own in self._ids(texts))
        wholes = self._ids([self._context + text for text in texts])
        # A text that begins with line ends of its own may join the context's: it is tokenised alone.
        joined = [index for index, whole in enumerate(wholes) if whole[: len(before)] != before]
        alone = dict(zip(joined, self._ids([texts[index] for index in joined]), strict=True))
        return tuple((*alone.get(index, whole[len(before) :]), self.end) for index, whole in enumerate(wholes))

    def _ids(self, texts: Sequence[str], *, special: bool = False) -> list[list[int]]:
        found: list[list[int]] = []
        for start in range(0, len(texts), CHUNK):
            found += self._tokenizer(list(texts[start : start + CHUNK]), add_special_tokens=special)["input_ids"]
        return found

    def _prompt(self, example: Example, text: str) -> list[int]:
        [prompt] = self._prompts([self._written(example, text)])
        return prompt

    def _written(self, example: Example, text: str) -> str:
        if self._is_chat:
            return chat_text(self._tokenizer, example.prompt.messages(text))
        return example.prompt.around(text)

    def _prompts(self, texts: Sequence[str]) -> list[list[int]]:
        prompts = self._ids(texts, special=not self._is_chat)
        if self._is_classifier:  # what comes after the token that the head looks at changes nothing
            for prompt in prompts:
                while len(prompt) > 1 and prompt[-1] == self._pad:
                    prompt.pop()
        return prompts

    def _joint(self, examples: Sequence[Example]) -> str:
        """Return what joins prompt and completion."""
        if len(self._choices) == 1:
            return next(iter(self._choices))
        joints = {"" if example.prompt.around(example.prompt.text)[-1:].isspace() else " " for example in examples}
        if len(joints) > 1:
            raise DataError("task.promptTemplate: some prompts end in white space and some do not; end it with text")
        return joints.pop()
