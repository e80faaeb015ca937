from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from relora_trainer.generation import generative_outcomes, greedy_answers
from relora_trainer.items import Encoder, Item, ItemSet
from relora_trainer.outcomes import ANOTHER_ANSWER
from relora_trainer.scoring import Scorer

MakeBase = Callable[..., LlamaForCausalLM]


def random_items(count: int = 24, bound: int = 3) -> list[Item]:
    generator = torch.Generator().manual_seed(0)
    items = []
    for index in range(count):
        length = int(torch.randint(3, 20, (), generator=generator))
        prompt = tuple(torch.randint(3, 64, (length,), generator=generator).tolist())
        items.append(Item(str(index), prompt, 0, (5,) * (index % bound + 1)))
    return items


def naive(model: PreTrainedModel, prompt: tuple[int, ...], count: int) -> list[int]:
    """One sequence, no cache, no padding."""
    tokens = list(prompt)
    with torch.no_grad():
        for _ in range(count):
            tokens.append(int(model(input_ids=torch.tensor([tokens])).logits[0, -1].argmax()))
    return tokens[len(prompt) :]


def tiny_gpt2() -> PreTrainedModel:
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=64, n_positions=64, n_embd=16, n_layer=2, n_head=2, initializer_range=0.3)
    model = GPT2LMHeadModel(config)
    model.eval()
    return model


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_batches_with_a_cache_decode_as_one_sequence_without(make_base: MakeBase, architecture: str) -> None:
    model: PreTrainedModel = make_base() if architecture == "llama" else tiny_gpt2()
    items = random_items()
    want = [naive(model, item.prompt, 2 * len(item.completion) + 8) for item in items]
    end = Counter(token for answer in want for token in answer).most_common(1)[0][0]
    found = greedy_answers(model, items, end)
    assert found == [tuple(answer[: answer.index(end)]) if end in answer else None for answer in want]
    assert None in found
    assert sum(answer is not None for answer in found) > 3


def test_decoding_never_leaves_the_models_positions(make_base: MakeBase) -> None:
    prompt = tuple(range(3, 63)) * 2  # 120 of 128 positions
    assert greedy_answers(make_base(), [Item("0", prompt, 0, (5,) * 20)], end=2) == [None]


def test_a_batch_without_room_is_answered_in_halves(make_base: MakeBase, monkeypatch: pytest.MonkeyPatch) -> None:
    model, items = make_base(), random_items()
    want = greedy_answers(model, items, end=7)
    untyped: Any = model
    generate = untyped.generate

    def crowded(input_ids: torch.Tensor, **named: Any) -> Any:  # noqa: ANN401 - those of the method
        if len(input_ids) > 5:
            raise torch.OutOfMemoryError("tried to allocate 16 GiB")
        return generate(input_ids=input_ids, **named)

    monkeypatch.setattr(model, "generate", crowded)
    assert greedy_answers(model, items, end=7) == want


def test_a_neighbour_with_a_long_prompt_shortens_no_answer() -> None:
    model = tiny_gpt2()
    long = Item("long", tuple(range(3, 53)), 0, (5,) * 2)
    for item in random_items(40):
        answer = naive(model, item.prompt, 40)
        late = [place for place in range(16, 40) if answer[place] not in answer[:place]]
        if late and answer[late[0]] not in naive(model, long.prompt, 14):
            break
    end = answer[late[0]]
    short = Item("short", item.prompt, 0, (5,) * 20)
    assert greedy_answers(model, [short, long], end) == [tuple(answer[: late[0]]), None]


def test_an_answer_is_right_when_its_text_is_the_expected_one(
    make_base: MakeBase, tokenizer: PreTrainedTokenizerFast
) -> None:
    model, encoder = make_base(), Encoder(tokenizer, None, 64)
    prompts = [item.prompt for item in random_items(8)]
    answers = [naive(model, prompt, 12) for prompt in prompts]
    end = answers[1][2]
    encoder.end = end
    items, want = [], []
    for index, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
        ends = answer.index(end) if end in answer else None
        expected = tuple(answer[:ends] if index % 2 else [7, 8])
        items.append(Item(str(index), prompt, 0, (*expected, end)))
        want.append(ends is not None and encoder.text(expected) == encoder.text(answer[:ends]))
    outcomes = generative_outcomes(model, Scorer(model, batch_size=4), encoder, ItemSet(tuple(items), (), 0))
    assert [outcome.correct for outcome in outcomes] == want
    assert {outcome.prediction for outcome in outcomes} == {0, ANOTHER_ANSWER}
    assert [outcome.tokens for outcome in outcomes] == [len(item.completion) for item in items]
    assert all(outcome.nll > 0 for outcome in outcomes)
