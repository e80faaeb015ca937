"""Adapters of every kind on every architecture: what is fused and published, loaded by plain PEFT, is the formula."""

import json
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora import LoraLayer
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    Gemma2Config,
    GemmaConfig,
    GPT2Config,
    LlamaConfig,
    MistralConfig,
    OPTConfig,
    PhiConfig,
    PreTrainedConfig,
    PreTrainedModel,
    Qwen2Config,
    Qwen3Config,
)
from transformers.pytorch_utils import Conv1D

from relora_trainer.adapter import Adapter, read_adapter, write_adapter
from relora_trainer.blocks import open_base
from relora_trainer.delta import compute_delta, open_delta
from relora_trainer.factors import Factors
from relora_trainer.fusion import Fusion
from relora_trainer.heads import Head
from relora_trainer.lora import LoraModel
from relora_trainer.scoring import collate, completion_logits

ALPHA, BETA = 0.6, 1.3
TOLERANCE = 3e-6
INPUT = torch.tensor([[5, 6, 7, 8, 9, 10], [11, 12, 13, 14, 15, 16]])
PAD = 0
PADDED = torch.tensor([[5, 6, 7, 8, 9, 10], [11, 12, 13, PAD, PAD, PAD]])
HEAD = "base_model.model.score.weight"
LIKE_LLAMA: dict[str, Any] = {
    "vocab_size": 40,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 8,
    "max_position_embeddings": 32,
    "initializer_range": 0.3,
}


@dataclass(frozen=True)
class Architecture:
    """A tiny configuration and two modules of each block that an adapter targets."""

    config: Callable[[], PreTrainedConfig]
    targets: tuple[str, str]


ARCHITECTURES = {
    "llama": Architecture(lambda: LlamaConfig(**LIKE_LLAMA), ("q_proj", "down_proj")),
    "llama-tied": Architecture(lambda: LlamaConfig(**LIKE_LLAMA, tie_word_embeddings=True), ("v_proj", "gate_proj")),
    "qwen2": Architecture(lambda: Qwen2Config(**LIKE_LLAMA), ("k_proj", "up_proj")),
    "qwen3": Architecture(lambda: Qwen3Config(**LIKE_LLAMA), ("q_proj", "o_proj")),
    "mistral": Architecture(lambda: MistralConfig(**LIKE_LLAMA), ("q_proj", "down_proj")),
    "gemma": Architecture(lambda: GemmaConfig(**LIKE_LLAMA), ("q_proj", "down_proj")),
    "gemma2": Architecture(lambda: Gemma2Config(**LIKE_LLAMA), ("q_proj", "down_proj")),
    "gpt2": Architecture(
        lambda: GPT2Config(vocab_size=40, n_positions=32, n_embd=16, n_layer=2, n_head=2, initializer_range=0.3),
        ("c_attn", "c_fc"),
    ),
    "opt": Architecture(
        lambda: OPTConfig(
            vocab_size=40,
            hidden_size=16,
            ffn_dim=24,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=32,
            word_embed_proj_dim=16,
            init_std=0.3,
        ),
        ("q_proj", "fc2"),
    ),
    "phi": Architecture(
        lambda: PhiConfig(**{key: value for key, value in LIKE_LLAMA.items() if key != "head_dim"}), ("dense", "fc1")
    ),
}
KINDS: dict[str, Callable[[str, str], dict[str, Any]]] = {
    "plain": lambda first, second: {"target_modules": [first, second]},
    "rslora": lambda first, second: {"target_modules": [first, second], "use_rslora": True},
    "patterns": lambda first, second: {
        "target_modules": [first, second],
        "rank_pattern": {second: 2},
        "alpha_pattern": {first: 3, second: 5},
    },
    "rslora with patterns": lambda first, second: {
        "target_modules": [first, second],
        "use_rslora": True,
        "rank_pattern": {first: 3},
        "alpha_pattern": {first: 3},
    },
    "one block": lambda first, _: {"target_modules": [first], "layers_to_transform": [1]},
    "all linear": lambda *_: {"target_modules": "all-linear"},
    "dora": lambda first, second: {"target_modules": [first, second], "use_dora": True},
    "dora, rslora with patterns": lambda first, second: {
        "target_modules": [first, second],
        "use_dora": True,
        "use_rslora": True,
        "rank_pattern": {first: 3},
        "alpha_pattern": {second: 5},
    },
}


@dataclass(frozen=True)
class Release:
    """Two bases of one architecture and their delta, on disk."""

    architecture: Architecture
    folder: Path

    def model(self, name: str, *, classes: int = 0) -> PreTrainedModel:
        """Return a base in float64, fresh; with classes a classifier whose head is random."""
        return deepcopy(self._loaded(name, classes))

    @cache  # noqa: B019 - a module's fixture holds few releases
    def _loaded(self, name: str, classes: int) -> PreTrainedModel:
        kind: Any = AutoModelForSequenceClassification if classes else AutoModelForCausalLM
        settings = {"num_labels": classes, "pad_token_id": PAD} if classes else {}
        model: PreTrainedModel = kind.from_pretrained(self.folder / name, dtype=torch.float64, **settings)
        model.eval()
        return model


@pytest.fixture(scope="module", params=list(ARCHITECTURES))
def release(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Release:
    folder = tmp_path_factory.mktemp(request.param)
    architecture = ARCHITECTURES[request.param]
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(architecture.config())
    model.save_pretrained(folder / "old")
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 2 and ("layers" in name or ".h." in name):
                parameter.add_(0.05 * torch.randn_like(parameter))
    model.save_pretrained(folder / "new")
    compute_delta(folder / "old", folder / "new", folder / "delta")
    return Release(architecture, folder)


def old_adapter(release: Release, folder: Path, settings: dict[str, Any], *, classes: int = 0) -> None:
    """Train nothing: save an adapter of random factors and gains, and of a random head, as PEFT does."""
    conv1d = release.model("old").config.model_type == "gpt2"
    task = "SEQ_CLS" if classes else "CAUSAL_LM"
    config = LoraConfig(r=4, lora_alpha=6, task_type=task, fan_in_fan_out=conv1d, **settings)
    model = get_peft_model(torch.nn.Module.float(release.model("old", classes=classes)), config)
    torch.manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_magnitude" in name:
                parameter.mul_(0.8 + 0.4 * torch.rand_like(parameter))
            elif "lora_" in name or "modules_to_save" in name:
                parameter.copy_(0.15 * torch.randn_like(parameter))
    model.save_pretrained(folder, save_embedding_layers=False)


def truncated(matrix: Tensor, rank: int) -> Tensor:
    u, s, v_t = torch.linalg.svd(matrix, full_matrices=False)
    nearest: Tensor = (u[:, :rank] * s[:rank]) @ v_t[:rank]
    return nearest


def formula_logits(release: Release, adapter: Path, *, alpha: float, beta: float, classes: int = 0) -> Tensor:
    """Return the logits of W' + T_r(α·T_r(W' − W) + β·s·B·A) in float64, all dense and without our code.

    For DoRA the rows of that sum have the gain m/‖W + s·B·A‖ of the old adapter. The scaling s is PEFT's own: that of
    the layers which it makes of the adapter's folder. A classifier's head is the stored one, whatever α and β are.
    """
    old, new = release.model("old", classes=classes), release.model("new", classes=classes)
    layers = {
        name.removeprefix("base_model.model."): module
        for name, module in PeftModel.from_pretrained(deepcopy(old), adapter).named_modules()
        if isinstance(module, LoraLayer)
    }
    with torch.no_grad():
        for name, layer in layers.items():
            a, b = layer.lora_A["default"].weight.double(), layer.lora_B["default"].weight.double()
            before, after = weight_of(old, name), weight_of(new, name)
            transposed = isinstance(new.get_submodule(name), Conv1D)
            if transposed:
                before, after = before.T, after.T
            rank, update = layer.r["default"], layer.scaling["default"] * b @ a
            fused = truncated(alpha * truncated(after - before, rank) + beta * update, rank)
            gain = torch.ones(len(before), dtype=torch.float64)
            if "default" in layer.lora_magnitude_vector:
                gain = layer.lora_magnitude_vector["default"].weight.double() / (before + update).norm(dim=1)
            after.copy_(gain[:, None] * (after + fused))  # a view of the model's weight
        if classes:
            weight_of(new, "score").copy_(load_file(adapter / "adapter_model.safetensors")[HEAD])
    return class_logits_of(new) if classes else logits_of(new)


def weight_of(model: PreTrainedModel, name: str) -> Tensor:
    weight = model.get_submodule(name).weight
    assert isinstance(weight, Tensor)
    return weight


@torch.no_grad()
def logits_of(model: torch.nn.Module) -> Tensor:
    logits: Tensor = model(input_ids=INPUT).logits
    return logits


@torch.no_grad()
def class_logits_of(model: torch.nn.Module) -> Tensor:
    """Return what transformers itself makes of a padded batch, `(sequences, classes)`."""
    logits: Tensor = model(input_ids=PADDED, attention_mask=(PADDED != PAD).long()).logits
    return logits


def read_fusion(release: Release, folder: Path, classes: tuple[str, ...] = ()) -> tuple[Adapter, Fusion]:
    """Read an adapter and the release's delta as the steps do."""
    old, new = open_base(release.folder / "old"), open_base(release.folder / "new")
    adapter = read_adapter(folder, new.linear_shapes, classes)
    delta = open_delta(release.folder / "delta").factors(adapter.factors)
    assert delta.keys() == adapter.factors.keys()
    weights = old.linear_weights, new.linear_weights
    return adapter, Fusion(adapter.factors, delta, lambda name: (weights[0][name].read(), weights[1][name].read()))


@pytest.mark.parametrize("kind", KINDS)
def test_the_fused_adapter_computes_the_formula(release: Release, kind: str, tmp_path: Path) -> None:
    old_adapter(release, tmp_path / "adapter", KINDS[kind](*release.architecture.targets))
    want = formula_logits(release, tmp_path / "adapter", alpha=ALPHA, beta=BETA)

    adapter, fusion = read_fusion(release, tmp_path / "adapter")
    candidate = fusion.candidate(ALPHA, BETA)

    def error(factors: dict[str, Factors], name: str) -> float:
        write_adapter(tmp_path / name, factors, source=adapter.settings, dtype=torch.float32, base_model="new")
        published = PeftModel.from_pretrained(release.model("new"), tmp_path / name)
        return float((logits_of(published) - want).abs().max() / want.abs().max())

    assert error(candidate, "fused") < TOLERANCE
    assert error(fusion.candidate(ALPHA, BETA * 1.01), "broken β") > 10 * TOLERANCE
    assert error(fusion.candidate(ALPHA * 1.01, BETA), "broken α") > 10 * TOLERANCE
    broken = {name: replace(pair, b=pair.b * 1.01) for name, pair in candidate.items()}
    assert error(broken, "broken scale") > 10 * TOLERANCE
    if adapter.settings.use_dora:
        magnitudes = {name: pair.magnitude for name, pair in candidate.items() if pair.magnitude is not None}
        broken = {name: replace(candidate[name], magnitude=value * 1.01) for name, value in magnitudes.items()}
        assert error(broken, "broken magnitude") > 10 * TOLERANCE
        untouched = {name: replace(pair, magnitude=adapter.factors[name].magnitude) for name, pair in candidate.items()}
        assert error(untouched, "untouched magnitude") > 10 * TOLERANCE

    # What is trained and judged is what is published.
    model = release.model("new")
    lora = LoraModel(model, {name: pair.rank for name, pair in candidate.items()}, use_dora=adapter.settings.use_dora)
    lora.set_factors(candidate)
    assert (logits_of(model) - want).abs().max() < TOLERANCE * want.abs().max()


@pytest.mark.parametrize("kind", ["plain", "all linear", "dora"])
def test_a_classifiers_head_is_copied_beside_the_fused_factors(release: Release, kind: str, tmp_path: Path) -> None:
    classes = ("low", "middle", "high")
    old_adapter(release, tmp_path / "adapter", KINDS[kind](*release.architecture.targets), classes=len(classes))
    want = formula_logits(release, tmp_path / "adapter", alpha=ALPHA, beta=BETA, classes=len(classes))

    adapter, fusion = read_fusion(release, tmp_path / "adapter", classes)
    assert adapter.head is not None
    candidate = fusion.candidate(ALPHA, BETA)

    def error(factors: dict[str, Factors], head: Head, name: str) -> float:
        write_adapter(
            tmp_path / name, factors, source=adapter.settings, dtype=torch.float32, base_model="new", head=head
        )
        published = PeftModel.from_pretrained(release.model("new", classes=len(classes)), tmp_path / name)
        return float((class_logits_of(published) - want).abs().max() / want.abs().max())

    assert error(candidate, adapter.head, "fused") < TOLERANCE
    assert error(fusion.candidate(ALPHA, BETA * 1.01), adapter.head, "broken β") > 10 * TOLERANCE
    scaled = replace(adapter.head, weight=adapter.head.weight * 1.01)
    assert error(candidate, scaled, "broken head") > 10 * TOLERANCE

    # What is trained and judged is what is published, and the prompts are pooled as transformers pools them.
    model = release.model("new", classes=len(classes))
    ranks = {name: pair.rank for name, pair in candidate.items()}
    lora = LoraModel(model, ranks, use_dora=adapter.settings.use_dora, with_head=True)
    lora.set_factors(candidate)
    lora.set_head(adapter.head)
    prompts = [[token for token in row if token != PAD] for row in PADDED.tolist()]
    with torch.no_grad():
        ours = completion_logits(model, collate([(prompt, (0,)) for prompt in prompts], torch.device("cpu")))
    assert (ours - want).abs().max() < TOLERANCE * want.abs().max()


@pytest.mark.parametrize(("architecture", "prefix"), [("gpt2", "transformer."), ("opt", "model."), ("llama", "model.")])
def test_a_checkpoint_without_the_models_prefix_has_the_same_modules(
    architecture: str, prefix: str, tmp_path: Path
) -> None:
    model = AutoModelForCausalLM.from_config(ARCHITECTURES[architecture].config())
    model.save_pretrained(tmp_path)
    want = open_base(tmp_path).linear_shapes
    assert len(want) >= 8
    assert all(isinstance(model.get_submodule(name), torch.nn.Linear | Conv1D) for name in want)
    weights = {name.removeprefix(prefix): value for name, value in load_file(tmp_path / "model.safetensors").items()}
    save_file(weights, tmp_path / "model.safetensors")
    assert open_base(tmp_path).linear_shapes == want


def test_experts_are_not_linear_modules_of_the_blocks(tmp_path: Path) -> None:
    names = ["self_attn.q_proj", "block_sparse_moe.experts.0.w1", "block_sparse_moe.gate"]
    save_file({f"model.layers.0.{name}.weight": torch.ones(4, 6) for name in names}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "mixtral"}))
    assert set(open_base(tmp_path).linear_shapes) == {f"model.layers.0.{names[0]}", f"model.layers.0.{names[2]}"}
