from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import LlamaForCausalLM

from relora_trainer.dora import updated_row_norms
from relora_trainer.errors import IncompatibleError
from relora_trainer.factors import Factors
from relora_trainer.lora import LoraModel

MakeBase = Callable[..., LlamaForCausalLM]
TARGETS = ["q_proj", "down_proj"]
INPUT = torch.tensor([[5, 6, 7, 8, 9], [10, 11, 12, 13, 14]])


def shapes(model: LlamaForCausalLM) -> dict[str, tuple[int, int]]:
    return {
        name: tuple(module.weight.shape) for name, module in model.named_modules() if name.rpartition(".")[2] in TARGETS
    }


def random_factors(model: LlamaForCausalLM, rank: int = 4) -> dict[str, Factors]:
    torch.manual_seed(7)
    return {
        name: Factors(torch.randn(rank, columns) * 0.2, torch.randn(rows, rank) * 0.2)
        for name, (rows, columns) in shapes(model).items()
    }


@pytest.mark.parametrize("rslora", [False, True])
def test_logits_equal_those_of_peft(make_base: MakeBase, rslora: bool) -> None:  # noqa: FBT001 - a parameter of the table
    ours, theirs = make_base(), make_base()
    factors = random_factors(ours)
    config = LoraConfig(r=4, lora_alpha=6, use_rslora=rslora, target_modules=TARGETS)
    scaling = 6 / 2 if rslora else 6 / 4
    peft_model = get_peft_model(theirs, config).eval()
    state = peft_model.state_dict()
    for name, pair in factors.items():
        state[f"base_model.model.{name}.lora_A.default.weight"].copy_(pair.a)
        state[f"base_model.model.{name}.lora_B.default.weight"].copy_(pair.b)

    lora = LoraModel(ours, dict.fromkeys(factors, 4))
    lora.set_factors({name: Factors(pair.a, pair.b * scaling) for name, pair in factors.items()})
    ours.eval()
    with torch.no_grad():
        torch.testing.assert_close(
            ours(input_ids=INPUT).logits, peft_model(input_ids=INPUT).logits, atol=1e-4, rtol=1e-4
        )


def dora_factors(model: LlamaForCausalLM) -> dict[str, Factors]:
    """Return random factors with rows that gained 0.9 to 1.1."""
    gained = {}
    for name, pair in random_factors(model).items():
        norms = updated_row_norms(model.get_parameter(f"{name}.weight").detach(), pair).float()
        gained[name] = replace(pair, magnitude=norms * (0.9 + 0.2 * torch.rand_like(norms)))
    return gained


@pytest.mark.parametrize("dropout", [0.0, 0.5])
@pytest.mark.parametrize("training", [False, True])
def test_dora_computes_and_learns_what_peft_does(make_base: MakeBase, dropout: float, *, training: bool) -> None:
    ours, theirs = make_base(), make_base()
    factors = dora_factors(ours)
    config = LoraConfig(r=4, lora_alpha=6, use_dora=True, target_modules=TARGETS, lora_dropout=dropout)
    peft_model = get_peft_model(theirs, config).train(training)
    with torch.no_grad():
        for name, pair in factors.items():
            layer = peft_model.get_submodule(f"base_model.model.{name}")
            layer.lora_A["default"].weight.copy_(pair.a)
            layer.lora_B["default"].weight.copy_(pair.b)
            layer.lora_magnitude_vector["default"].weight.copy_(pair.magnitude)
    scaling = dict.fromkeys(factors, 1.5)
    lora = LoraModel(ours, dict.fromkeys(factors, 4), dropout=dropout, use_dora=True)
    lora.set_factors(factors, scaling)
    ours.train(training)

    logits = []
    for model in (ours, peft_model):
        torch.manual_seed(3)  # the same dropout
        output = model(input_ids=INPUT, labels=INPUT)
        output.loss.backward()
        logits.append(output.logits.detach())
    torch.testing.assert_close(*logits, atol=1e-4, rtol=1e-4)
    for name in factors:
        layer = peft_model.get_submodule(f"base_model.model.{name}")
        theirs_by_part = {
            "lora_A": layer.lora_A["default"].weight,
            "lora_B": layer.lora_B["default"].weight,
            "lora_magnitude_vector": layer.lora_magnitude_vector["default"].weight,
        }
        for part, parameter in theirs_by_part.items():
            mine = lora.parameters()[f"{name}.{part}"].grad
            assert mine is not None
            torch.testing.assert_close(mine, parameter.grad, atol=1e-4, rtol=1e-3)


def test_a_bare_model_is_the_base_and_is_adapted_again_afterwards(make_base: MakeBase) -> None:
    model = make_base()
    factors = dora_factors(model)
    with torch.no_grad():
        base = model(input_ids=INPUT).logits
        lora = LoraModel(model, dict.fromkeys(factors, 4), use_dora=True)
        lora.set_factors(factors)
        adapted = model(input_ids=INPUT).logits
        with lora.bare():
            assert torch.equal(model(input_ids=INPUT).logits, base)
        assert torch.equal(model(input_ids=INPUT).logits, adapted)
    assert not torch.allclose(adapted, base, atol=1e-2)


def test_factors_of_another_kind_are_refused(make_base: MakeBase) -> None:
    model = make_base()
    factors = dora_factors(model)
    lora = LoraModel(model, dict.fromkeys(factors, 4))
    with pytest.raises(ValueError, match="holds lora_A, lora_B, given are lora_A, lora_B, lora_magnitude_vector"):
        lora.set_factors(factors)


@pytest.mark.parametrize("use_dora", [False, True])
def test_until_factors_are_set_the_base_is_unchanged(make_base: MakeBase, *, use_dora: bool) -> None:
    model = make_base()
    with torch.no_grad():
        before = model(input_ids=INPUT).logits
        LoraModel(model, {"model.layers.0.self_attn.q_proj": 4}, use_dora=use_dora)
        torch.testing.assert_close(model(input_ids=INPUT).logits, before, atol=0 if not use_dora else 1e-5, rtol=0)


def test_setting_another_candidate_leaves_nothing_of_the_first(make_base: MakeBase) -> None:
    model = make_base()
    factors = random_factors(model)
    lora = LoraModel(model, dict.fromkeys(factors, 4))
    lora.set_factors(factors)
    with torch.no_grad():
        first = model(input_ids=INPUT).logits
    lora.set_factors({name: Factors(pair.a * 0, pair.b) for name, pair in factors.items()})
    lora.set_factors(factors)
    with torch.no_grad():
        assert torch.equal(model(input_ids=INPUT).logits, first)
    assert all(torch.equal(lora.factors()[name].a, factors[name].a) for name in factors)


def test_only_the_factors_are_trained_and_in_float32(make_base: MakeBase) -> None:
    model = make_base(dtype=torch.bfloat16)
    factors = random_factors(model)
    lora = LoraModel(model, dict.fromkeys(factors, 4))
    lora.set_factors(factors)
    model(input_ids=INPUT, labels=INPUT).loss.backward()
    trained = {id(parameter) for parameter in model.parameters() if parameter.requires_grad}
    assert trained == {id(parameter) for parameter in lora.parameters().values()}
    assert all(
        parameter.dtype is torch.float32 and parameter.grad is not None for parameter in lora.parameters().values()
    )


def test_a_scaling_beside_the_factors_is_folded_when_they_are_read(make_base: MakeBase) -> None:
    model = make_base()
    factors = random_factors(model)
    lora = LoraModel(model, dict.fromkeys(factors, 4))
    with torch.no_grad():
        lora.set_factors(factors, dict.fromkeys(factors, 1.5))
        beside = model(input_ids=INPUT).logits
        folded = lora.factors()
        lora.set_factors(folded)
        torch.testing.assert_close(model(input_ids=INPUT).logits, beside, atol=1e-5, rtol=1e-5)
    assert all(torch.equal(folded[name].b, factors[name].b * 1.5) for name in factors)


def test_a_name_that_is_no_linear_module_is_refused(make_base: MakeBase) -> None:
    for name in ("model.layers.0.self_attn.qkv_proj", "model.norm", "model.embed_tokens"):
        with pytest.raises(IncompatibleError, match=name):
            LoraModel(make_base(), {name: 4})


def test_factors_of_other_modules_are_refused(make_base: MakeBase) -> None:
    lora = LoraModel(make_base(), {"model.layers.0.self_attn.q_proj": 4})
    with pytest.raises(ValueError, match="exactly the modules"):
        lora.set_factors({})
