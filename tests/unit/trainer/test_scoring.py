from collections.abc import Callable

import pytest
import torch
from transformers import Gemma2Config, Gemma2ForCausalLM, LlamaForCausalLM, PreTrainedModel

from relora_trainer.errors import NonFiniteError
from relora_trainer.items import Item, ItemSet
from relora_trainer.scoring import Batch, Scorer, collate, completion_logits, completion_nll
from relora_trainer.search import Observation

MakeBase = Callable[..., LlamaForCausalLM]
CPU = torch.device("cpu")
CHOICES = ((5, 6, 2), (5, 7, 8, 2), (9, 2), (10, 11, 12, 13, 2), (14, 2))


def random_items(count: int, choices: tuple[tuple[int, ...], ...] = CHOICES, seed: int = 0) -> ItemSet:
    generator = torch.Generator().manual_seed(seed)
    items = []
    for index in range(count):
        length = int(torch.randint(3, 30, (), generator=generator))
        prompt = tuple(torch.randint(3, 64, (length,), generator=generator).tolist())
        items.append(Item(str(index), prompt, int(torch.randint(len(choices), (), generator=generator))))
    return ItemSet(tuple(items), choices, 0)


def naive_log_likelihood(model: PreTrainedModel, prompt: tuple[int, ...], completion: tuple[int, ...]) -> float:
    """One unpadded sequence, all logits."""
    with torch.no_grad():
        log_p = model(input_ids=torch.tensor([[*prompt, *completion]])).logits[0].log_softmax(-1)
    positions = range(len(prompt) - 1, len(prompt) + len(completion) - 1)
    return sum(float(log_p[position, token]) for position, token in zip(positions, completion, strict=True))


@pytest.mark.parametrize("shared", [(), (15, 16)])
def test_outcomes_are_the_exact_argmax_over_whole_choices(make_base: MakeBase, shared: tuple[int, ...]) -> None:
    choices = tuple((*shared, *choice) for choice in CHOICES)
    model, items = make_base(), random_items(60, choices)
    outcomes = Scorer(model, batch_size=7).outcomes(items)
    greedy_first_token_differs = 0
    for item, outcome in zip(items.items, outcomes, strict=True):
        scores = [naive_log_likelihood(model, item.prompt, choice) for choice in choices]
        assert outcome.prediction == max(range(len(choices)), key=scores.__getitem__)
        assert outcome.nll == pytest.approx(-scores[item.label], abs=1e-3)
        assert outcome.tokens == len(choices[item.label])
        assert outcome.correct == (outcome.prediction == item.label)
        with torch.no_grad():
            first = model(input_ids=torch.tensor([(*item.prompt, *shared)])).logits[0, -1]
        by_first = max(range(len(CHOICES)), key=lambda choice: float(first[CHOICES[choice][0]]))
        greedy_first_token_differs += by_first != outcome.prediction
    assert greedy_first_token_differs > 0  # else the test could not tell the exact argmax from the shortcut


@pytest.mark.parametrize("shared", [(), (15, 16)])
def test_a_confident_model_needs_one_forward_pass(make_base: MakeBase, shared: tuple[int, ...]) -> None:
    model, items = make_base(), random_items(20)
    with torch.no_grad():
        model.model.norm.weight.zero_()  # all logits equal: log p of a choice is -length·log(vocabulary)
    rows = 0

    def count(_module: torch.nn.Module, arguments: tuple[torch.Tensor, ...], keywords: dict[str, torch.Tensor]) -> None:
        nonlocal rows
        del arguments
        rows += len(keywords["input_ids"])

    model.register_forward_pre_hook(count, with_kwargs=True)
    certain = ItemSet(items.items, tuple((*shared, last) for last in (9, 10, 11, 12, 14)), 0)
    Scorer(model, batch_size=8).outcomes(certain)
    assert rows == 20


def test_losses_of_a_prefix_of_the_examples(make_base: MakeBase) -> None:
    model, items = make_base(), random_items(10)
    scorer = Scorer(model, batch_size=3)
    nll, tokens = scorer.losses(items)
    some, _ = scorer.losses(items, 4)
    assert some == pytest.approx(nll[:4], abs=1e-4)
    assert tokens == tuple(len(CHOICES[item.label]) for item in items.items)
    assert nll[3] == pytest.approx(
        -naive_log_likelihood(model, items.items[3].prompt, items.completion(items.items[3])), abs=1e-3
    )


def test_the_objective_is_the_mean_loss_of_a_float64_model(make_base: MakeBase) -> None:
    model, items = make_base(), random_items(30)
    probe = Observation(0.0, 1.0, *Scorer(model, batch_size=7).losses(items), seconds=1.0)
    exact = model.double()
    completions = [CHOICES[item.label] for item in items.items]
    total = sum(naive_log_likelihood(exact, item.prompt, CHOICES[item.label]) for item in items.items)
    assert probe.loss.value == pytest.approx(-total / sum(map(len, completions)), rel=1e-5)


def test_logits_are_computed_where_a_completion_token_is_predicted_only(make_base: MakeBase) -> None:
    model = make_base()
    batch = collate([((5, 6, 7), (8, 2)), ((9,), (10, 11, 2))], CPU)
    assert batch.predicts.tolist() == [[False, False, True, True], [True, True, True, False]][:2]
    assert batch.targets.tolist() == [8, 2, 10, 11, 2]
    assert batch.rows.tolist() == [0, 0, 1, 1, 1]
    assert completion_logits(model, batch).shape == (5, 64)


def test_soft_caps_of_the_architecture_are_kept() -> None:
    torch.manual_seed(0)
    config = Gemma2Config(
        vocab_size=64,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        final_logit_softcapping=0.5,
        initializer_range=0.5,
    )
    model = Gemma2ForCausalLM(config).eval()
    prompt, completion = (5, 6, 7), (8, 2)
    with torch.no_grad():
        nll = completion_nll(model, collate([(prompt, completion)], CPU))
    assert float(nll.sum()) == pytest.approx(-naive_log_likelihood(model, prompt, completion), abs=1e-4)


def test_the_hook_is_gone_afterwards(make_base: MakeBase) -> None:
    model = make_base()
    Scorer(model, batch_size=3).losses(random_items(4))
    assert model(input_ids=torch.tensor([[5, 6, 7]])).logits.shape == (1, 3, 64)


def test_a_non_finite_loss_is_an_error(make_base: MakeBase) -> None:
    model = make_base()
    with torch.no_grad():
        model.model.layers[0].mlp.up_proj.weight[0, 0] = float("nan")
    with pytest.raises(NonFiniteError, match="4 examples"):
        Scorer(model, batch_size=3).losses(random_items(4))
    with pytest.raises(NonFiniteError, match="4 examples"):
        Scorer(model, batch_size=3).outcomes(random_items(4))


def test_a_batch_without_room_is_scored_in_halves(make_base: MakeBase, monkeypatch: pytest.MonkeyPatch) -> None:
    model, items = make_base(), random_items(11)
    scorer = Scorer(model, batch_size=8)
    want = scorer.outcomes(items)
    most = 3

    def crowded(model: PreTrainedModel, batch: Batch) -> torch.Tensor:
        if len(batch.input_ids) > most:
            raise torch.OutOfMemoryError("tried to allocate 16 GiB")
        return completion_logits(model, batch)

    monkeypatch.setattr("relora_trainer.scoring.completion_logits", crowded)
    found = scorer.outcomes(items)
    assert [outcome.prediction for outcome in found] == [outcome.prediction for outcome in want]
    assert [outcome.nll for outcome in found] == pytest.approx([outcome.nll for outcome in want], abs=1e-4)
    most = 0
    with pytest.raises(torch.OutOfMemoryError):
        scorer.outcomes(items)
