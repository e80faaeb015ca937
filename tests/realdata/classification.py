"""A classification task as an adapter binding states it: a prompt template and a closed set of labels."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.nn import functional
from transformers import PreTrainedModel, PreTrainedTokenizerBase

IGNORED = -100
Row = Mapping[str, str]


@dataclass(frozen=True)
class Task:
    """What ``spec.task`` of an adapter binding says, without the places of its data.

    The completion is the label exactly as it stands in ``choices``, and follows the prompt without a space: a template
    that ends in a line break leaves no doubt about where the label's first token begins.
    """

    prompt_template: str
    completion_field: str
    choices: tuple[str, ...]
    max_length: int

    def to_json(self) -> str:
        """Return the task under the field names of the custom resource."""
        fields = {
            "kind": "CausalLM",
            "promptTemplate": self.prompt_template,
            "completionField": self.completion_field,
            "choices": list(self.choices),
            "maxLength": self.max_length,
        }
        return json.dumps(fields, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Task":
        """Return the task that :meth:`to_json` wrote."""
        fields = json.loads(text)
        choices = tuple(fields["choices"])
        return cls(fields["promptTemplate"], fields["completionField"], choices, fields["maxLength"])


@dataclass(frozen=True)
class Example:
    """A row as token ids: the prompt, the label with the end-of-sequence token, and the label's index."""

    prompt: list[int]
    completion: list[int]
    label: int


@dataclass(frozen=True)
class Batch:
    """Right-padded examples.

    ``input_ids`` and ``attention_mask`` have shape (examples, tokens); ``targets`` too, with the next token where it
    belongs to the completion and ``IGNORED`` elsewhere; ``labels`` has shape (examples,).
    """

    input_ids: torch.Tensor
    attention_mask: torch.Tensor
    targets: torch.Tensor
    labels: torch.Tensor


@dataclass(frozen=True)
class Quality:
    """How well a model does on n examples."""

    accuracy: float
    nll: float
    """Negative log-likelihood in nats per completion token, end-of-sequence included."""
    n: int


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    """Write ``rows`` as JSON lines."""
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def read_rows(path: Path) -> list[Row]:
    """Return the rows of a file of JSON lines."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def encode(tokenizer: PreTrainedTokenizerBase, task: Task, rows: Sequence[Row]) -> list[Example]:
    """Return the rows as token ids.

    Raises:
        ValueError: a prompt with its completion is longer than the task allows, or two labels begin with the same
            token, which :func:`evaluate` could not tell apart.
    """
    completions = [[*_ids(tokenizer, choice), tokenizer.eos_token_id] for choice in task.choices]
    if len({completion[0] for completion in completions}) < len(completions):
        raise ValueError(f"two of the choices {task.choices} begin with the same token; choose other words")
    examples = []
    for row in rows:
        prompt = _ids(tokenizer, task.prompt_template.format(**row))
        label = task.choices.index(row[task.completion_field])
        if len(prompt) + len(completions[label]) > task.max_length:
            raise ValueError(f"a row is longer than maxLength {task.max_length} tokens: {row}")
        examples.append(Example(prompt, completions[label], label))
    return examples


def _ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids


def collate(examples: Sequence[Example], pad: int) -> Batch:
    """Return ``examples`` as one batch; the completion's last token is a target only, never an input."""
    sequences = [example.prompt + example.completion[:-1] for example in examples]
    shape = (len(examples), max(map(len, sequences)))
    input_ids = torch.full(shape, pad)
    attention_mask = torch.zeros(shape, dtype=torch.long)
    targets = torch.full(shape, IGNORED)
    for row, (example, sequence) in enumerate(zip(examples, sequences, strict=True)):
        input_ids[row, : len(sequence)] = torch.tensor(sequence)
        attention_mask[row, : len(sequence)] = 1
        targets[row, len(example.prompt) - 1 : len(sequence)] = torch.tensor(example.completion)
    return Batch(input_ids, attention_mask, targets, torch.tensor([example.label for example in examples]))


def completion_logits(model: PreTrainedModel, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the fp32 logits (tokens, vocabulary) at the completions' positions only, and their targets (tokens,)."""
    hidden = model.get_decoder()(
        input_ids=batch.input_ids, attention_mask=batch.attention_mask, use_cache=False
    ).last_hidden_state
    wanted = batch.targets != IGNORED
    return functional.linear(hidden[wanted], model.get_output_embeddings().weight).float(), batch.targets[wanted]


def evaluate(model: PreTrainedModel, examples: Sequence[Example], choices: Sequence[int], *, pad: int) -> Quality:
    """Return the quality of ``model``, which chooses among the labels by their first tokens ``choices``."""
    correct, nll, tokens = 0, 0.0, 0
    candidates = torch.tensor(choices)
    with torch.inference_mode():
        for some in by_length(examples, 64):
            batch = collate(some, pad)
            logits, targets = completion_logits(model, batch)
            nll += functional.cross_entropy(logits, targets, reduction="sum").item()
            tokens += len(targets)
            lengths = (batch.targets != IGNORED).sum(dim=1)
            first = lengths.cumsum(dim=0) - lengths  # where each example's completion begins among the logits
            correct += int((logits[first][:, candidates].argmax(dim=1) == batch.labels).sum())
    return Quality(correct / len(examples), nll / tokens, len(examples))


def by_length(examples: Sequence[Example], size: int) -> Iterator[list[Example]]:
    """Yield groups of ``size`` examples of similar length, so that little of a batch is padding."""
    ordered = sorted(examples, key=lambda example: len(example.prompt))
    for start in range(0, len(ordered), size):
        yield ordered[start : start + size]
