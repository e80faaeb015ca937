import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM, LlamaForSequenceClassification

from relora_trainer.adapter import Adapter, LoraSettings
from relora_trainer.factors import Factors
from relora_trainer.heads import Head
from relora_trainer.initialization import balanced, fresh, untouched
from relora_trainer.items import Item, ItemSet
from relora_trainer.lora import LoraModel
from relora_trainer.schedule import Schedule
from relora_trainer.scoring import collate, completion_nll
from relora_trainer.tuning import Tuner

MakeBase = Callable[..., LlamaForCausalLM]
Q0, DOWN1 = "model.layers.0.self_attn.q_proj", "model.layers.1.mlp.down_proj"
SHAPES = {Q0: (32, 32), DOWN1: (32, 48)}
PLAIN = Schedule(6, 2, 1e-2, 1e-3, 0.0, 0.0)


def old_adapter(*modules: str, **settings: object) -> Adapter:
    generator = torch.Generator().manual_seed(3)
    chosen = LoraSettings.model_validate({"r": 4, "lora_alpha": 10, "target_modules": ["q_proj"], **settings})
    stored = {}
    for name in modules or SHAPES:
        (rows, columns), rank = SHAPES[name], chosen.rank(name)
        a, b = torch.randn(rank, columns, generator=generator), torch.randn(rows, rank, generator=generator)
        stored[name] = Factors(a * 0.1, b * 0.1)
    return Adapter(chosen, stored, torch.float32)


def test_a_new_adapter_has_the_old_ones_form_and_no_effect() -> None:
    old = old_adapter(rank_pattern={"down_proj": 2}, use_rslora=True)
    start = fresh(old, 1, {})
    assert {name: (pair.a.shape, pair.b.shape) for name, pair in start.factors.items()} == {
        name: (pair.a.shape, pair.b.shape) for name, pair in old.stored.items()
    }
    assert not any(pair.b.any() for pair in start.factors.values())
    assert start.scaling == {Q0: 10 / math.sqrt(4), DOWN1: 10 / math.sqrt(2)}


def test_a_new_adapter_is_initialised_as_peft_does_it(make_base: MakeBase) -> None:
    model = get_peft_model(make_base(), LoraConfig(r=64, target_modules=["q_proj", "down_proj"]))
    for module in (Q0, DOWN1):
        rows, columns = SHAPES[module]
        old = Adapter(
            LoraSettings(r=64, lora_alpha=64, target_modules=["x"]),
            {module: Factors(torch.ones(64, columns), torch.ones(rows, 64))},
            torch.float32,
        )
        ours = fresh(old, 0, {}).factors[module].a
        theirs = model.get_submodule(f"base_model.model.{module}").lora_A["default"].weight.detach()
        bound = 1 / math.sqrt(columns)
        assert theirs.abs().max() <= bound
        assert 0.98 * bound < ours.abs().max() <= bound
        assert float(ours.std()) == pytest.approx(float(theirs.std()), rel=0.05)


def test_a_new_head_is_initialised_as_transformers_does_it() -> None:
    """A linear layer of a model is normal with the deviation `initializer_range`."""
    old = replace(old_adapter(), head=Head("score", torch.ones(8, 2048), torch.bfloat16))
    start = fresh(old, 0, {}, head_deviation=0.3).head
    assert start is not None
    config = LlamaConfig(vocab_size=8, hidden_size=2048, num_hidden_layers=0, initializer_range=0.3)
    config.num_labels = 8
    theirs = LlamaForSequenceClassification(config).score.weight.detach()
    assert float(start.weight.std()) == pytest.approx(float(theirs.std()), rel=0.05)
    assert (start.name, start.dtype, start.weight.shape) == ("score", torch.bfloat16, theirs.shape)
    again, other = fresh(old, 0, {}, head_deviation=0.3).head, fresh(old, 1, {}, head_deviation=0.3).head
    assert again is not None
    assert other is not None
    assert torch.equal(again.weight, start.weight)
    assert not torch.equal(other.weight, start.weight)


def test_the_old_head_is_the_start_of_all_other_strategies() -> None:
    old = replace(old_adapter(), head=Head("score", torch.ones(2, 32), torch.float32))
    assert untouched(old).head is old.head
    assert balanced(old.factors, old.head).head is old.head


def test_a_new_dora_adapter_starts_at_the_magnitudes_of_the_base(make_base: MakeBase) -> None:
    old = old_adapter(use_dora=True)
    lora = LoraModel(make_base(), dict.fromkeys(SHAPES, 4), use_dora=True)
    start = fresh(old, 1, lora.base_magnitudes())
    theirs = get_peft_model(make_base(), LoraConfig(r=4, use_dora=True, target_modules=list(SHAPES)))
    for module, pair in start.factors.items():
        layer = theirs.get_submodule(f"base_model.model.{module}")
        torch.testing.assert_close(pair.magnitude, layer.lora_magnitude_vector["default"].weight.detach())


def test_a_new_adapter_depends_on_the_seed_and_the_module_alone() -> None:
    both, one = old_adapter(), old_adapter(DOWN1)
    assert torch.equal(fresh(both, 1, {}).factors[DOWN1].a, fresh(one, 1, {}).factors[DOWN1].a)
    assert not torch.equal(fresh(both, 1, {}).factors[DOWN1].a, fresh(both, 2, {}).factors[DOWN1].a)


def test_the_old_factors_are_fine_tuned_as_peft_and_adamw_would(make_base: MakeBase) -> None:
    old = old_adapter()
    items = ItemSet(tuple(Item(str(i), (5 + i, 6, 7 + i), i % 2) for i in range(8)), ((9, 2), (10, 2)), 0)
    start = untouched(old)
    model = make_base()
    lora = LoraModel(model, dict.fromkeys(SHAPES, 4))
    tuner = Tuner(
        model,
        lora,
        items,
        PLAIN,
        initial=start.factors,
        scaling=start.scaling,
        batch_size=8,
        micro_batch_size=8,
        seed=0,
    )
    for _ in range(3):
        tuner.step()

    theirs = get_peft_model(make_base(), LoraConfig(r=4, lora_alpha=10, target_modules=list(SHAPES)))
    state = theirs.state_dict()
    for name, pair in old.stored.items():
        state[f"base_model.model.{name}.lora_A.default.weight"].copy_(pair.a)
        state[f"base_model.model.{name}.lora_B.default.weight"].copy_(pair.b)
    trained = [parameter for parameter in theirs.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, weight_decay=0.0)
    batch = collate([(item.prompt, items.completion(item)) for item in items.items], torch.device("cpu"))
    for step in range(3):
        optimizer.param_groups[0]["lr"] = PLAIN.learning_rate_at(step)
        completion_nll(theirs.base_model.model, batch).mean().backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()

    for name, pair in lora.factors().items():
        b = state[f"base_model.model.{name}.lora_B.default.weight"]
        assert not torch.allclose(b, old.stored[name].b, atol=1e-3)  # it has moved
        torch.testing.assert_close(
            pair.a, state[f"base_model.model.{name}.lora_A.default.weight"], atol=1e-4, rtol=1e-3
        )
        torch.testing.assert_close(pair.b, b * 10 / 4, atol=1e-4, rtol=1e-3)
