import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import (
    BartConfig,
    BartForSequenceClassification,
    ModernBertDecoderConfig,
    ModernBertDecoderForSequenceClassification,
    PreTrainedModel,
)

from relora_trainer.errors import ConfigurationError, IncompatibleError
from relora_trainer.heads import Head, check_classes, head_of, replace_head
from relora_trainer.items import Item, ItemSet
from relora_trainer.lora import LoraModel
from relora_trainer.scoring import Scorer, collate, completion_logits
from samples.tinymodels import tiny_classifier

CPU = torch.device("cpu")
Q0 = "model.layers.0.self_attn.q_proj"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_replaced_head_computes_what_the_models_own_did(dtype: torch.dtype) -> None:
    model = tiny_classifier(3, dtype)
    ids = torch.tensor([[5, 6, 7, 8], [9, 10, 0, 0]])
    with torch.no_grad():
        want = model(input_ids=ids, attention_mask=(ids != 0).long()).logits
        LoraModel(model, {Q0: 4}, with_head=True)
        ours = completion_logits(model, collate([((5, 6, 7, 8), (0,)), ((9, 10), (2,))], CPU))
    assert ours.dtype is torch.float32
    torch.testing.assert_close(ours, want.float(), atol=1e-5 if dtype is torch.float32 else 0.1, rtol=1e-2)


def test_the_head_is_trained_in_float32_with_the_factors() -> None:
    model = tiny_classifier(3, torch.bfloat16)
    lora = LoraModel(model, {Q0: 4}, with_head=True)
    assert list(lora.parameters()) == [f"{Q0}.lora_A", f"{Q0}.lora_B", "score.weight"]
    completion_logits(model, collate([((5, 6), (0,))], CPU)).sum().backward()
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert trained == {f"{Q0}.lora_a", f"{Q0}.lora_b", "score.weight"}
    assert lora.parameters()["score.weight"].dtype is torch.float32
    assert lora.parameters()["score.weight"].grad is not None


def test_a_model_without_a_class_head_has_none() -> None:
    model = tiny_classifier(3)
    assert head_of(model) is None
    lora = LoraModel(model, {Q0: 4})
    assert lora.head_weight() is None
    with pytest.raises(IncompatibleError, match=r"head is score \[3, 32\], the base's is None"):
        lora.set_head(Head("score", torch.ones(3, 32), torch.float32))


@pytest.mark.parametrize("head", [("score", 2), ("classifier", 3)])
def test_a_head_of_another_name_or_shape_is_refused(head: tuple[str, int]) -> None:
    lora = LoraModel(tiny_classifier(3), {Q0: 4}, with_head=True)
    with pytest.raises(IncompatibleError, match=r"the base's is \('score', \[3, 32\]\)"):
        lora.set_head(Head(head[0], torch.ones(head[1], 32), torch.float32))


def bart() -> PreTrainedModel:
    config = BartConfig(
        vocab_size=64,
        d_model=16,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
    )
    model: PreTrainedModel = BartForSequenceClassification(config)
    model.eval()
    return model


def modern_bert() -> PreTrainedModel:
    """Its classifier is one linear layer, but over the output of another head."""
    config = ModernBertDecoderConfig(
        vocab_size=64,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        pad_token_id=0,
        initializer_range=0.5,
    )
    model: PreTrainedModel = ModernBertDecoderForSequenceClassification(config)
    model.eval()
    return model


@pytest.mark.parametrize("make", [bart, modern_bert])
def test_a_model_that_classifies_otherwise_is_refused(make: Callable[[], PreTrainedModel]) -> None:
    with pytest.raises(IncompatibleError, match="ForSequenceClassification does not classify by one linear layer"):
        replace_head(make())


def test_a_class_needs_one_forward_pass() -> None:
    model = tiny_classifier(3)
    LoraModel(model, {Q0: 4}, with_head=True)
    generator = torch.Generator().manual_seed(0)
    prompts = [tuple(torch.randint(1, 64, (3 + i % 5,), generator=generator).tolist()) for i in range(30)]
    items = ItemSet(tuple(Item(str(i), prompt, i % 3) for i, prompt in enumerate(prompts)), ((0,), (1,), (2,)), 0)
    rows = 0

    def count(_module: torch.nn.Module, _arguments: object, keywords: dict[str, torch.Tensor]) -> None:
        nonlocal rows
        rows += len(keywords["input_ids"])

    handle = model.model.register_forward_pre_hook(count, with_kwargs=True)
    outcomes = Scorer(model, batch_size=7).outcomes(items)
    handle.remove()
    assert rows == 30
    for prompt, outcome in zip(prompts, outcomes, strict=True):
        with torch.no_grad():
            log_p = model(input_ids=torch.tensor([prompt])).logits[0].log_softmax(-1)
        assert outcome.prediction == int(log_p.argmax())
        assert outcome.nll == pytest.approx(-float(log_p[outcome.label]), abs=1e-4)
        assert outcome.tokens == 1


HEAD = Head("score", torch.ones(3, 4), torch.bfloat16)


def test_a_head_is_held_as_it_will_be_stored() -> None:
    held = HEAD.holding(torch.full((3, 4), 1.001))
    assert held.weight.dtype is torch.float32
    assert torch.equal(held.weight, torch.ones(3, 4))  # the nearest number of bfloat16


@pytest.mark.parametrize("labels", [None, {}, {"0": "LABEL_0", "1": "LABEL_1"}, {"0": "a", "2": "c"}, "a", ["a"]])
def test_classes_that_nothing_contradicts_pass(tmp_path: Path, labels: object) -> None:
    if labels is not None:
        (tmp_path / "config.json").write_text(json.dumps({"id2label": labels}))
    check_classes(HEAD, ("a", "b", "c"), tmp_path)


def test_the_first_class_that_is_named_otherwise_is_told(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"id2label": {"0": "a", "1": "c", "2": "b"}}))
    with pytest.raises(ConfigurationError, match=r"row 1 .* is 'c' .* task\.choices\[1\] is 'b'"):
        check_classes(HEAD, ("a", "b", "c"), tmp_path)


def test_another_number_of_classes_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"has 3 rows and task\.choices has 2 classes"):
        check_classes(HEAD, ("a", "b"), tmp_path)
