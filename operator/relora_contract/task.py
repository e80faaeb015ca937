"""What an adapter is for and how it is judged: the task, its metrics and the gates.

The same models are the tenant's API and the trainer's request. Optional fields have no default in the schema, so that
stored objects are not rewritten; `effective_…` supplies the defaults.
"""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, StringConstraints

from relora_contract.crd.rules import ATOMIC, SET, cel, remedy, validations
from relora_contract.model import Model
from relora_contract.scalars import Decimal

Choice = Annotated[str, StringConstraints(min_length=1, max_length=200)]
FieldName = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=63),
    Field(json_schema_extra=remedy("write a field of the examples: letters, digits and _")),
]

PLACEHOLDER = "[{][A-Za-z_][A-Za-z0-9_]*[}]"
"""A field of an example in a template, once `{{` is removed."""


class Message(Model):
    """One message of a chat prompt."""

    role: Literal["system", "user", "assistant"] = Field(description="Who says it.")
    content: Annotated[str, StringConstraints(min_length=1, max_length=8192)] = Field(
        description="What is said; `{field}` stands for a field of the example, `{{` and `}}` for braces."
    )


class TaskKind(StrEnum):
    """How a model answers."""

    CAUSAL_LM = "CausalLM"
    """It completes the prompt."""
    SEQUENCE_CLASSIFICATION = "SequenceClassification"
    """A head over the hidden state of the prompt's last token chooses a class; the adapter brings the head."""


class Task(Model):
    """What is asked and what is expected: a completion, out of a closed label set or free, or a class."""

    model_config = ConfigDict(
        json_schema_extra=validations(
            cel(
                "has(self.promptTemplate) != has(self.messages)",
                "give promptTemplate, or messages for a base with a chat template, and not both",
            ),
            cel(
                "!has(self.promptTemplate) || "
                "!self.promptTemplate.replace('{{', '').contains('{' + self.completionField + '}')",
                "remove the completion field from the prompt: the model would be told the answer",
                field=".promptTemplate",
            ),
            cel(
                "!has(self.messages) || "
                "!self.messages.exists(m, m.content.replace('{{', '').contains('{' + self.completionField + '}'))",
                "remove the completion field from the messages: the model would be told the answer",
                field=".messages",
            ),
            cel(
                "self.kind != 'SequenceClassification' || has(self.choices)",
                "name the classes: one for each row of the adapter's head, in their order",
                field=".choices",
            ),
            cel(
                "self.kind != 'SequenceClassification' || !has(self.messages)",
                "give promptTemplate: messages wait for an answer, and a head classifies what it has read",
                field=".messages",
            ),
        )
    )

    kind: TaskKind = Field(
        description=(
            "CausalLM: the model completes the prompt. SequenceClassification: the head that the adapter brings "
            "(modules_to_save) chooses a class after the prompt's last token; its AdapterServer must be of engine PEFT."
        )
    )
    prompt_template: Annotated[str, StringConstraints(min_length=1, max_length=8192)] | None = Field(
        default=None,
        description="The prompt; `{field}` stands for a field of the example, `{{` and `}}` for braces.",
        json_schema_extra=validations(
            cel(
                f"self.replace('{{{{', '').matches('{PLACEHOLDER}')",
                "name a field of the examples in braces, as in {text}: without one every prompt is the same",
            )
        ),
    )
    messages: Annotated[list[Message], Field(min_length=1, max_length=8, json_schema_extra=ATOMIC)] | None = Field(
        default=None,
        description=(
            "The prompt as a chat, in the form of the tokenizer's chat template; the completion is the assistant's "
            "next message. Instead of promptTemplate."
        ),
        json_schema_extra=validations(
            cel(
                f"self.exists(m, m.content.replace('{{{{', '').matches('{PLACEHOLDER}'))",
                "name a field of the examples in braces in a message, as in {text}: without one every chat is the same",
            ),
            cel("self[self.size() - 1].role == 'user'", "end with a message of the user: the answer comes next"),
        ),
    )
    completion_field: FieldName = Field(
        description="The field of the example that holds the expected completion, or the name of the class."
    )
    choices: Annotated[list[Choice], Field(min_length=2, max_length=256, json_schema_extra=SET)] | None = Field(
        default=None,
        description=(
            "The closed label set; answers are scored by log-likelihood over it. Of SequenceClassification: the "
            "classes, in the order of the head's rows. Without it the task is generative: the answer is decoded "
            "greedily and compared with the expected completion."
        ),
    )
    max_length: Annotated[int, Field(ge=8, le=131_072)] | None = Field(
        default=None,
        description=(
            "Longest prompt with completion (a class takes no room), in tokens; longer examples are cut inside the "
            "example's text. Default 512."
        ),
    )

    @property
    def effective_max_length(self) -> int:
        """`maxLength` with its default."""
        return self.max_length or 512

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes of a head, by its rows; none of a task that has no head."""
        return tuple(self.choices or ()) if self.is_classification else ()

    @property
    def is_classification(self) -> bool:
        """Whether a head chooses a class."""
        return self.kind is TaskKind.SEQUENCE_CLASSIFICATION

    @property
    def metrics(self) -> tuple["Metric", ...]:
        """What can be measured of the task."""
        return (Metric.ACCURACY, Metric.MACRO_F1, Metric.LOSS) if self.choices else (Metric.EXACT_MATCH, Metric.LOSS)


class Metric(StrEnum):
    """What a gate measures on the test examples."""

    ACCURACY = "Accuracy"
    MACRO_F1 = "MacroF1"
    EXACT_MATCH = "ExactMatch"
    LOSS = "Loss"


class Gate(Model):
    """A bound on one metric. Given both, both must hold."""

    model_config = ConfigDict(
        json_schema_extra=validations(
            cel(
                "has(self.threshold) || has(self.maxRegression)",
                "the gate bounds nothing: set threshold, maxRegression or both",
            ),
            cel(
                "self.metric == 'Loss' || !has(self.threshold) || "
                "(double(self.threshold) >= 0.0 && double(self.threshold) <= 1.0)",
                'Accuracy, MacroF1 and ExactMatch are shares: give a threshold from 0 to 1, as in "0.81"',
                field=".threshold",
            ),
        )
    )

    metric: Metric = Field(
        description=(
            "Accuracy: share of right choices. MacroF1: mean F1 over the choices; its maxRegression needs 600 test "
            "examples. ExactMatch, without choices: share of greedy answers that are the expected completion, white "
            "space around them aside. Loss: nats per completion token, of SequenceClassification per example; its "
            "maxRegression needs 100 test examples."
        )
    )
    threshold: Decimal | None = Field(
        default=None,
        description="The metric's point estimate must reach it (Loss: stay at or below it).",
    )
    max_regression: Decimal | None = Field(
        default=None,
        description=(
            "Margin of the paired non-inferiority test against the adapter in use on its own base, absolute, "
            "in the metric's unit."
        ),
        json_schema_extra=validations(
            cel("double(self) >= 0.0", "maxRegression is a margin: give a number that is not negative")
        ),
    )
