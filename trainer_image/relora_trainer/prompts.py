"""Prompts of examples: a template, or the messages of a chat, with fields of the example in braces."""

import string
from collections.abc import Mapping
from dataclasses import dataclass

from relora_contract.task import Task
from relora_trainer.errors import ConfigurationError


@dataclass(frozen=True)
class PromptTemplate:
    """A parsed prompt template: alternating text and field names."""

    pieces: tuple[tuple[str, str | None], ...]

    @classmethod
    def parse(cls, template: str, where: str = "task.promptTemplate") -> "PromptTemplate":
        """Parse `{field}` placeholders; `{{` and `}}` stand for braces.

        Raises:
            ConfigurationError: The template is malformed; the message names `where`.
        """
        pieces: list[tuple[str, str | None]] = []
        try:
            for text, field, spec, conversion in string.Formatter().parse(template):
                if field is not None and (spec or conversion or not field.isidentifier()):
                    raise ConfigurationError(
                        f"{where}: {{{field}}} must be a plain field name; write {{{{ and }}}} for braces"
                    )
                pieces.append((text, field))
        except ValueError as error:
            raise ConfigurationError(f"{where} is malformed: {error}") from error
        return cls(tuple(pieces))

    @property
    def fields(self) -> frozenset[str]:
        """The fields that an example must have."""
        return frozenset(field for _, field in self.pieces if field is not None)

    def render(self, values: Mapping[str, str]) -> tuple[str, str, str]:
        """Return the prompt as (before, text, after) around the last placeholder, of which there must be one."""
        last = max(index for index, (_, field) in enumerate(self.pieces) if field is not None)
        before, text, after = "", "", ""
        for index, (literal, field) in enumerate(self.pieces):
            if index > last:
                after += literal
                continue
            before += literal
            if field is not None and index < last:
                before += values[field]
            elif field is not None:
                text = values[field]
        return before, text, after

    def filled(self, values: Mapping[str, str]) -> str:
        """Return the template with every placeholder replaced."""
        return "".join(literal + (values[field] if field is not None else "") for literal, field in self.pieces)


@dataclass(frozen=True)
class Turn:
    """A message of a chat; the one that holds the text of the last placeholder has no content of its own."""

    role: str
    content: str | None


@dataclass(frozen=True)
class Prompt:
    """A prompt around the value of its last placeholder, which may be cut.

    Attributes:
        before: What comes before the text: of the whole prompt, or of its message.
        text: The value of the last placeholder.
        after: What comes after it.
        turns: The messages of a chat; none for a plain prompt.
    """

    before: str
    text: str
    after: str
    turns: tuple[Turn, ...] = ()

    def around(self, text: str) -> str:
        """Return the prompt, or the message of the last placeholder, with another text."""
        return self.before + text + self.after

    def messages(self, text: str) -> list[dict[str, str]]:
        """Return the chat with another text."""
        return [
            {"role": turn.role, "content": self.around(text) if turn.content is None else turn.content}
            for turn in self.turns
        ]


class Prompts:
    """Makes the prompts of a task."""

    def __init__(self, task: Task) -> None:
        """Parse the templates.

        Raises:
            ConfigurationError: One is malformed, none has a placeholder, or it is not clear which is meant.
        """
        if (task.prompt_template is None) == (task.messages is None):
            raise ConfigurationError("task: give promptTemplate or messages, and not both")
        self.completion_field = task.completion_field
        self._roles = [message.role for message in task.messages or ()]
        if task.prompt_template is not None:
            self._templates = [PromptTemplate.parse(task.prompt_template)]
        else:
            contents = [message.content for message in task.messages or ()]
            self._templates = [
                PromptTemplate.parse(content, f"task.messages[{index}].content")
                for index, content in enumerate(contents)
            ]
        if not self.fields:
            raise ConfigurationError(
                f"task.{'messages' if self._roles else 'promptTemplate'} has no placeholder such as {{text}}"
            )

    @property
    def fields(self) -> frozenset[str]:
        """The fields that an example must have for its prompt."""
        return frozenset(field for template in self._templates for field in template.fields)

    def prompt(self, values: Mapping[str, str]) -> Prompt:
        """Return the prompt for the values of the fields."""
        last = max(index for index, template in enumerate(self._templates) if template.fields)
        turns = tuple(
            Turn(role, None if index == last else template.filled(values))
            for index, (role, template) in enumerate(zip(self._roles, self._templates, strict=False))
        )
        return Prompt(*self._templates[last].render(values), turns)
