import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import LlamaForCausalLM, OPTConfig, OPTForCausalLM, PreTrainedModel

from relora_trainer import accumulation
from relora_trainer.coefficient_fit import CoefficientFit, MixtureLoss, affordable_passes, probes_of
from relora_trainer.dora import updated_row_norms
from relora_trainer.errors import IntegrityError, NonFiniteError
from relora_trainer.factors import Factors
from relora_trainer.fusion import Fusion
from relora_trainer.items import Item, ItemSet
from relora_trainer.lora import LoraModel
from relora_trainer.scoring import Batch, Scorer, collate, completion_nll
from relora_trainer.search import Box, Observation
from relora_trainer.steps.fuse import Fitted

MakeBase = Callable[..., LlamaForCausalLM]
BOX = Box((0.0, 1.0), (0.0, 3.0))
CHOICES = tuple((token,) for token in range(64))
QUERY, DOWN = "model.layers.0.self_attn.q_proj", "model.layers.1.mlp.down_proj"


def random_items(count: int, seed: int = 0) -> list[tuple[int, ...]]:
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(4, 12, (count,), generator=generator).tolist()
    return [tuple(torch.randint(9, 64, (length,), generator=generator).tolist()) for length in lengths]


def labelled(model: PreTrainedModel, prompts: list[tuple[int, ...]]) -> ItemSet:
    """Return examples whose right completion is the token that the model finds most likely."""
    items = []
    for index, prompt in enumerate(prompts):
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([prompt])).logits[0, -1]
        items.append(Item(str(index), prompt, int(logits.argmax())))
    return ItemSet(tuple(items), CHOICES, 0)


def random_factors(model: PreTrainedModel, name: str, rank: int, scale: float, seed: int) -> Factors:
    rows, columns = model.get_parameter(f"{name}.weight").shape
    generator = torch.Generator().manual_seed(seed)
    return Factors(
        scale * torch.randn(rank, columns, generator=generator), scale * torch.randn(rows, rank, generator=generator)
    )


def merge(model: PreTrainedModel, updates: dict[str, torch.Tensor]) -> PreTrainedModel:
    with torch.no_grad():
        for name, update in updates.items():
            model.get_parameter(f"{name}.weight").add_(update)
    return model


def double_opt() -> OPTForCausalLM:
    """A model that computes in float64 throughout; others normalise and rotate in float32."""
    torch.manual_seed(0)
    config = OPTConfig(
        vocab_size=64,
        hidden_size=16,
        ffn_dim=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        word_embed_proj_dim=16,
        max_position_embeddings=64,
        init_std=0.3,
        dropout=0.0,
    )
    model = OPTForCausalLM(config)
    torch.nn.Module.to(model, torch.float64)
    model.eval()
    return model


OPT_MODULES = ("model.decoder.layers.0.self_attn.q_proj", "model.decoder.layers.1.fc1")


def opt_fusion(model: PreTrainedModel, *, use_dora: bool = False) -> Fusion:
    """Two modules; the second has no delta. Rows of DoRA have gains from 0.5 to 1.5."""
    old = {name: random_factors(model, name, 3, 0.3, seed) for seed, name in enumerate(OPT_MODULES)}
    weights = {name: model.get_parameter(f"{name}.weight").detach() for name in OPT_MODULES}
    if use_dora:
        generator = torch.Generator().manual_seed(5)
        for name, pair in old.items():
            norms = updated_row_norms(weights[name], pair)
            old[name] = replace(pair, magnitude=(norms * (0.5 + torch.rand(len(norms), generator=generator))).float())
    delta = {OPT_MODULES[0]: random_factors(model, OPT_MODULES[0], 5, 0.3, 9)}
    return Fusion(old, delta, lambda name: (weights[name], weights[name]))


def opt_mixture(model: PreTrainedModel, fusion: Fusion) -> tuple[MixtureLoss, Batch]:
    stacked = {name: (module.stacked().to(torch.float64), module.delta_rank) for name, module in fusion.modules.items()}
    gains = {name: module.row_scale.gain for name, module in fusion.modules.items() if module.row_scale is not None}
    LoraModel(model, dict.fromkeys(OPT_MODULES, 3), use_dora=bool(gains))
    sequences = [(prompt, CHOICES[index]) for index, prompt in enumerate(random_items(6))]
    return MixtureLoss(model, stacked, gains), collate(sequences, torch.device("cpu"))


@pytest.mark.parametrize("use_dora", [False, True])
def test_the_gradient_is_that_of_finite_differences(*, use_dora: bool) -> None:
    model = double_opt()
    mixture, batch = opt_mixture(model, opt_fusion(model, use_dora=use_dora))
    at = torch.tensor([[0.3, 1.2], [0.1, 0.8]], dtype=torch.float64, requires_grad=True)
    mixture.loss(batch, at).backward()
    step = 1e-5
    assert at.grad is not None
    for module in range(2):
        for side in range(2):
            ahead, behind = at.detach().clone(), at.detach().clone()
            ahead[module, side] += step
            behind[module, side] -= step
            with torch.no_grad():
                slope = float(mixture.loss(batch, ahead) - mixture.loss(batch, behind)) / (2 * step)
            assert float(at.grad[module, side]) == pytest.approx(slope, rel=1e-6, abs=1e-7)
    assert at.grad[0].abs().min() > 1e-2  # else it would show nothing
    assert at.grad[1, 0] == 0.0  # the second module has no delta


@pytest.mark.parametrize("use_dora", [False, True])
def test_the_loss_is_that_of_the_exact_sum_in_the_weights(*, use_dora: bool) -> None:
    model, merged = double_opt(), double_opt()
    fusion = opt_fusion(model, use_dora=use_dora)
    mixture, batch = opt_mixture(model, fusion)
    coefficients = torch.tensor([[0.4, 1.7], [0.0, 0.5]], dtype=torch.float64)
    updates = {}
    for name, (alpha, beta) in zip(OPT_MODULES, coefficients.tolist(), strict=True):
        stacked, split = fusion.modules[name].stacked().to(torch.float64), fusion.modules[name].delta_rank
        delta, old = Factors(stacked.a[:split], stacked.b[:, :split]), Factors(stacked.a[split:], stacked.b[:, split:])
        updates[name] = alpha * delta.dense() + beta * old.dense()
    merge(merged, updates)
    with torch.no_grad():
        for name, module in fusion.modules.items():
            if module.row_scale is not None:
                merged.get_parameter(f"{name}.weight").mul_(module.row_scale.gain[:, None])
        assert float(mixture.loss(batch, coefficients)) == pytest.approx(float(completion_nll(merged, batch).sum()))


def test_the_same_coefficients_everywhere_make_the_global_candidate() -> None:
    fusion = opt_fusion(double_opt())
    mixed, candidate = fusion.mixed(dict.fromkeys(OPT_MODULES, (0.3, 1.4))), fusion.candidate(0.3, 1.4)
    for name in OPT_MODULES:
        assert torch.equal(mixed[name].a, candidate[name].a)
        assert torch.equal(mixed[name].b, candidate[name].b)


def test_stacked_factors_are_the_exact_updates() -> None:
    model = double_opt()
    old, delta = random_factors(model, OPT_MODULES[0], 3, 1.0, 1), random_factors(model, OPT_MODULES[0], 5, 1.0, 2)
    module = Fusion({"m": old}, {"m": delta}).modules["m"]
    stacked = module.stacked()
    assert (stacked.rank, module.delta_rank) == (6, 3)
    torch.testing.assert_close(stacked.a, torch.cat([delta.a[:3], old.a]), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(stacked.b, torch.cat([delta.b[:, :3], old.b], dim=1), atol=1e-5, rtol=1e-5)


class Case:
    """A new base that needs twice the old update in one module and none of it in the other."""

    def __init__(self, make_base: MakeBase) -> None:
        self.model = make_base()
        old = {name: random_factors(self.model, name, 2, 0.4, seed) for seed, name in enumerate((QUERY, DOWN))}
        self.fusion = Fusion(old, {})
        teacher = merge(make_base(), {DOWN: 2 * old[DOWN].dense()})
        self.items = labelled(teacher, random_items(64))
        self.lora = LoraModel(self.model, dict.fromkeys(old, 2))

    def fit(self, *, box: Box = BOX, passes: int = 20, seed: int = 0) -> CoefficientFit:
        return CoefficientFit(self.model, self.fusion, self.items, box, start=(0.0, 1.0), passes=passes, seed=seed)

    def loss(self, factors: dict[str, Factors]) -> float:
        self.lora.set_factors(factors)
        nll, _ = Scorer(self.model, batch_size=64).losses(self.items)
        return sum(nll) / len(nll)


@pytest.fixture
def case(make_base: MakeBase) -> Case:
    return Case(make_base)


def finish(fit: CoefficientFit, after_step: Callable[[float], None] = lambda _loss: None) -> None:
    fit.run(clock=lambda: 0.0, after_step=after_step)


def test_modules_that_need_different_coefficients_get_them(case: Case) -> None:
    fit = case.fit()
    finish(fit)
    coefficients = fit.coefficients()
    assert fit.step_count == 20 * 2
    assert coefficients[QUERY][1] == pytest.approx(0, abs=0.2)
    assert coefficients[DOWN][1] == pytest.approx(2, abs=0.3)
    best_global = min(case.loss(case.fusion.candidate(0.0, step / 10)) for step in range(31))
    assert case.loss(case.fusion.mixed(coefficients)) < 0.7 * best_global


def test_coefficients_stay_in_their_box(case: Case) -> None:
    fit = case.fit(box=Box((0.0, 0.5), (0.95, 1.1)))

    def after_step(_loss: float) -> None:
        assert all(0.95 <= beta <= 1.1 and alpha == 0.0 for alpha, beta in fit.coefficients().values())

    finish(fit, after_step)
    assert [beta for _, beta in fit.coefficients().values()] == [0.95, 1.1]


def test_the_steps_become_small_towards_the_end(case: Case) -> None:
    fit = case.fit()
    betas: list[float] = []
    finish(fit, lambda _loss: betas.append(fit.coefficients()[DOWN][1]))
    assert abs(betas[0] - 1.0) == pytest.approx(0.1, rel=1e-3)  # Adam's first step is its learning rate
    assert abs(betas[-1] - betas[-2]) < 0.01


def test_a_fit_leaves_the_model_as_it_was(case: Case) -> None:
    held = case.fusion.candidate(0.0, 1.5)
    case.lora.set_factors(held)
    finish(case.fit(passes=1))
    assert all(torch.equal(factors.b, held[name].b) for name, factors in case.lora.factors().items())
    assert all(parameter.grad is None for parameter in case.lora.parameters().values())


def test_an_interrupted_fit_ends_with_the_same_bits(case: Case, tmp_path: Path) -> None:
    straight = case.fit(passes=3, seed=5)
    finish(straight)
    path = tmp_path / "fit.json"
    for done in (1, 4):
        interrupted = case.fit(passes=3, seed=5)
        for _ in range(done):
            interrupted.step()
        interrupted.save(path)
        resumed = case.fit(passes=3, seed=5)
        resumed.restore(path)
        assert resumed.step_count == done
        finish(resumed)
        assert resumed.coefficients() == straight.coefficients()
    other = case.fit(passes=3, seed=6)
    finish(other)
    assert other.coefficients() != straight.coefficients()


def test_without_room_for_a_batch_the_coefficients_are_the_same(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, parts = case.fit(passes=2), case.fit(passes=2)
    finish(whole)

    def collated(sequences: Sequence[tuple[Sequence[int], Sequence[int]]], device: torch.device) -> Batch:
        if len(sequences) > 4:
            raise torch.OutOfMemoryError("tried to allocate 16 GiB")
        return collate(sequences, device)

    monkeypatch.setattr(accumulation, "collate", collated)
    finish(parts)
    assert parts._accumulator.micro_batch_size == 4
    found, want = parts.coefficients(), whole.coefficients()
    assert all(found[name] == pytest.approx(want[name], rel=1e-4) for name in want)


def test_its_time_is_told_and_decides_nothing(case: Case, tmp_path: Path) -> None:
    ticks = itertools.count()
    interrupted = case.fit()
    interrupted.step()
    interrupted.seconds = 5.0
    interrupted.save(tmp_path / "fit.json")
    fit = case.fit()
    fit.restore(tmp_path / "fit.json")
    fit.run(clock=lambda: float(next(ticks)), after_step=lambda _loss: None)
    assert fit.step_count == fit.total_steps
    assert fit.seconds == 5.0 + fit.total_steps - 1


def test_a_loss_that_is_not_finite_is_an_error(case: Case) -> None:
    with torch.no_grad():
        case.model.model.layers[0].mlp.up_proj.weight[0, 0] = float("nan")
    with pytest.raises(NonFiniteError, match="step 0 of the fit"):
        case.fit().step()


@pytest.mark.parametrize("text", ["", "{}", '{"step": 1, "seconds": 1, "values": [[0]], "moments": {}}'])
def test_a_damaged_state_is_refused(case: Case, tmp_path: Path, text: str) -> None:
    (tmp_path / "fit.json").write_text(text)
    with pytest.raises(IntegrityError, match="the fit of the coefficients"):
        case.fit().restore(tmp_path / "fit.json")


@pytest.mark.parametrize(("probes", "passes"), [(1, 0), (4.4, 0), (4.5, 1), (7, 2), (9.5, 3), (20, 3), (100, 3)])
def test_the_passes_that_a_budget_allows(probes: float, passes: int) -> None:
    assert affordable_passes(probes) == passes
    assert probes_of(passes) + 1 <= probes


def test_no_fit_costs_nothing() -> None:
    assert probes_of(0) == 0


@pytest.mark.parametrize(
    ("losses", "used"),
    [
        ((0.1, 0.2, 0.1, 0.2), True),
        ((0.6, 0.5, 0.4, 0.5), False),  # better than (0, 1), equal to the best pair for all modules
        ((1.1, 0.9, 1.0, 1.1), False),
    ],
)
def test_what_was_fitted_is_used_when_it_beats_both_the_port_and_the_best_pair(
    losses: tuple[float, ...],
    used: bool,  # noqa: FBT001 - a parameter of the table
) -> None:
    port, pair, fitted = (
        Observation(0.0, 1.0, nll, (1, 1, 1, 1), 1.0) for nll in ((1.0, 1.1, 1.0, 0.9), (0.5, 0.6, 0.5, 0.4), losses)
    )
    assert Fitted({}, 1, 1.0, fitted).is_used([port, pair]) is used
