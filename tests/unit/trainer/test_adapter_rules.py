"""Which adapters are taken and which are refused, by their files, their configuration and their tensors."""

import dataclasses
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from peft import LoraConfig
from safetensors.torch import load_file, save_file
from transformers import LlamaForCausalLM

from relora_contract.serving import Engine
from relora_store.errors import IntegrityError as StoreIntegrityError
from relora_trainer.adapter import read_adapter, read_config
from relora_trainer.adapter_rules import (
    HANDLED,
    INERT_WITHOUT_THEIR_SWITCH,
    METADATA,
    REASONS,
    check_engine,
    check_rank,
)
from relora_trainer.errors import ConfigurationError, IncompatibleError, IntegrityError, NonFiniteError, TrainerError
from samples.peft_adapters import edit_tensors, linears, saved_by_peft

MakeBase = Callable[..., LlamaForCausalLM]
KEY = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"


def edit_config(folder: Path, **fields: object) -> None:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"peft_type": "ADALORA"}, IncompatibleError, r"ADALORA.*save_as_lora"),
        ({"peft_type": "IA3"}, IncompatibleError, "IA3"),
        ({"task_type": "TOKEN_CLS"}, IncompatibleError, "TOKEN_CLS.*only CAUSAL_LM and SEQ_CLS"),
        ({"task_type": "SEQ_CLS"}, ConfigurationError, "SEQ_CLS.*task.kind is CausalLM"),
        ({"init_lora_weights": "pissa"}, IncompatibleError, "path_initial_model_for_weight_conversion"),
        ({"init_lora_weights": "pissa_niter_16"}, IncompatibleError, "pissa_niter_16"),
        ({"init_lora_weights": "olora"}, IncompatibleError, "olora"),
        ({"init_lora_weights": "loftq"}, IncompatibleError, "loftq"),
        ({"init_lora_weights": "corda"}, IncompatibleError, "corda"),
        ({"init_lora_weights": "lora_ga"}, IncompatibleError, "lora_ga"),
        *(
            ({field: value}, IncompatibleError, f"sets {field}.*: {re.escape(REASONS[field][:30])}")
            for field, value in {
                "alora_invocation_tokens": [1, 2],
                "arrow_config": {"top_k": 1},
                "kasa_config": {"beta": 1.0},
                "layer_replication": [[0, 1]],
                "megatron_config": {"tensor_model_parallel_size": 2},
                "monteclora_config": {"num_samples": 2},
                "trainable_token_indices": [3],
                "use_bdlora": {"nblocks": 2},
                "use_qalora": True,
            }.items()
        ),
        ({"target_modules": "(["}, IntegrityError, "PEFT cannot apply its targets and patterns"),
        ({"rank_pattern": {"([": 4}}, IntegrityError, "PEFT cannot apply its targets and patterns"),
        ({"alpha_pattern": {"([": 4}}, IntegrityError, "PEFT cannot apply its targets and patterns"),
        ({"layers_pattern": "layers"}, IntegrityError, "PEFT cannot apply its targets and patterns"),
        ({"alpha_pattern": {"q_proj": float("nan")}}, IntegrityError, "alpha_pattern"),
        ({"rank_pattern": {"q_proj": 0}}, IntegrityError, "rank_pattern"),
        ({"use_dora": True}, IntegrityError, r"lacks tensor .*\.lora_magnitude_vector"),
        ({"modules_to_save": ["lm_head"]}, IncompatibleError, r"modules_to_save \(lm_head\): .*tied; train"),
        ({"modules_to_save": ["score", "embed_tokens"]}, IncompatibleError, r"\(score, embed_tokens\)"),
        ({"modules_to_save": "embed_tokens"}, IncompatibleError, r"\(embed_tokens\)"),
        ({"target_parameters": ["experts.gate_up_proj"]}, IncompatibleError, "MoE"),
        ({"lora_bias": True}, IncompatibleError, "lora_bias"),
        ({"a_field_of_the_future": True}, IncompatibleError, "a_field_of_the_future"),
        ({"auto_map": {"AutoModel": "x.y"}}, IntegrityError, "auto_map"),
        ({"r": 0}, IntegrityError, "r: "),
        ({"r": "4; rm"}, IntegrityError, "r: "),
        ({"lora_alpha": "nan"}, IntegrityError, "lora_alpha"),
        ({"target_modules": None}, IntegrityError, "target_modules"),
        ({"target_modules": ["c_attn"]}, IncompatibleError, "none of the adapter's target modules"),
        ({"r": 8}, IncompatibleError, "shape"),
        ({"target_modules": ["q_proj", "k_proj", "down_proj"]}, IntegrityError, "lacks tensor"),
        ({"target_modules": ["q_proj"]}, IntegrityError, "does not explain"),
    ],
)
def test_a_configuration_that_cannot_be_carried_over_is_refused(
    saved_adapter: Path, make_base: MakeBase, fields: dict[str, object], error: type[TrainerError], message: str
) -> None:
    edit_config(saved_adapter, **fields)
    with pytest.raises(error, match=message):
        read_adapter(saved_adapter, linears(make_base()))


def test_every_field_of_the_library_is_carried_out_or_known_to_change_nothing_or_refused() -> None:
    known = METADATA | HANDLED | INERT_WITHOUT_THEIR_SWITCH | REASONS.keys()
    assert {field.name for field in dataclasses.fields(LoraConfig)} - known == set()


@pytest.mark.parametrize("init", ["gaussian", "Gaussian", "eva", "orthogonal", "mica", False])
def test_an_initialisation_that_leaves_the_base_alone_is_taken(
    saved_adapter: Path,
    make_base: MakeBase,
    init: str | bool,  # noqa: FBT001 - a value of the file
) -> None:
    edit_config(saved_adapter, init_lora_weights=init, velora_config={"num_groups": 2})
    assert read_adapter(saved_adapter, linears(make_base())).rank == 4


def test_a_target_outside_of_the_blocks_is_told_apart_from_a_stray_tensor(
    saved_adapter: Path, make_base: MakeBase
) -> None:
    edit_tensors(
        saved_adapter, lambda t: t.update({"base_model.model.model.project_in.lora_A.weight": torch.ones(4, 8)})
    )
    edit_config(saved_adapter, target_modules=["q_proj", "down_proj", "project_in"])
    with pytest.raises(IncompatibleError, match=r"model\.project_in is no linear module of the decoder blocks"):
        read_adapter(saved_adapter, linears(make_base()))


def test_an_adapter_of_a_base_with_more_blocks_is_told_so(saved_adapter: Path, make_base: MakeBase) -> None:
    tensor = "base_model.model.model.layers.7.self_attn.q_proj.lora_A.weight"
    edit_tensors(saved_adapter, lambda t: t.update({tensor: torch.ones(4, 32)}))
    with pytest.raises(IncompatibleError, match=r"no model\.layers\.7\.self_attn\.q_proj: .* a base with other blocks"):
        read_adapter(saved_adapter, linears(make_base()))


@pytest.mark.parametrize("fields", [{"use_dora": True}, {"modules_to_save": ["score"]}])
def test_what_the_engine_cannot_load_is_refused_with_the_remedy(saved_adapter: Path, fields: dict[str, object]) -> None:
    for engine in (*Engine, None):
        check_engine(read_config(saved_adapter), engine)
    edit_config(saved_adapter, **fields)
    for engine in (Engine.PEFT, None):
        check_engine(read_config(saved_adapter), engine)
    with pytest.raises(ConfigurationError, match=rf"{next(iter(fields))}.* VLLM .*engine: PEFT in the AdapterServer"):
        check_engine(read_config(saved_adapter), Engine.VLLM)


def test_a_rank_that_the_server_does_not_load_is_refused_with_the_remedy() -> None:
    for allowed in (16, None):
        check_rank(16, allowed)
    with pytest.raises(ConfigurationError, match=r"rank 16, its server allows 8: raise maxLoRARank"):
        check_rank(16, 8)


def test_an_adapter_without_task_type_or_with_auto_mapping_is_plain_lora(
    saved_adapter: Path, make_base: MakeBase
) -> None:
    edit_config(saved_adapter, task_type=None, auto_mapping={"parent_library": "x", "base_model_class": "y"})
    assert read_adapter(saved_adapter, linears(make_base())).rank == 4


@pytest.mark.parametrize("name", ["adapter_model.bin", "optimizer.pt", "code.py", "nested/deep.pkl", "x.so"])
def test_a_file_that_could_hold_code_is_refused(saved_adapter: Path, make_base: MakeBase, name: str) -> None:
    (saved_adapter / name).parent.mkdir(exist_ok=True)
    (saved_adapter / name).write_bytes(b"x")
    with pytest.raises(StoreIntegrityError, match=name):
        read_adapter(saved_adapter, linears(make_base()))


@pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.safetensors"])
def test_a_missing_file_is_named(saved_adapter: Path, make_base: MakeBase, name: str) -> None:
    (saved_adapter / name).unlink()
    with pytest.raises(IntegrityError, match=name):
        read_adapter(saved_adapter, linears(make_base()))


@pytest.mark.parametrize("text", ["{", "[]", "[" * 50_000])
def test_a_configuration_that_is_no_object_is_refused(saved_adapter: Path, make_base: MakeBase, text: str) -> None:
    (saved_adapter / "adapter_config.json").write_text(text)
    with pytest.raises(IntegrityError, match=r"not JSON|not a JSON object"):
        read_adapter(saved_adapter, linears(make_base()))


def test_a_header_above_a_megabyte_is_not_read(saved_adapter: Path, make_base: MakeBase) -> None:
    path = saved_adapter / "adapter_model.safetensors"
    save_file(load_file(path), path, metadata={"padding": "x" * 1_100_000})
    with pytest.raises(StoreIntegrityError, match="at most 1048576"):
        read_adapter(saved_adapter, linears(make_base()))


@pytest.mark.parametrize(
    ("edit", "error", "message"),
    [
        (lambda t: t[KEY].__setitem__((0, 0), float("nan")), NonFiniteError, "lora_A"),
        (lambda t: t.update({KEY: torch.ones(4, 33)}), IncompatibleError, "shape"),
        (lambda t: t.update({KEY: torch.ones(4, 32, dtype=torch.float64)}), IntegrityError, "float64"),
        (lambda t: t.update({KEY: t[KEY].half()}), IntegrityError, "mixes precisions"),
        (lambda t: t.pop(KEY), IntegrityError, "lacks tensor"),
        (lambda t: t.update({"base_model.model.what.lora_A.weight": torch.ones(4, 32)}), IntegrityError, "what"),
        *(
            (lambda t, name=name: t.update({f"base_model.model.{name}": torch.ones(4)}), IncompatibleError, remedy)
            for name, remedy in {
                "lm_head.lora_A.weight": "leave it out of target_modules",
                "lm_head.weight": "save_embedding_layers=False",
                "model.embed_tokens.weight": "save_embedding_layers=False",
                "score.weight": "kind to SequenceClassification",
                "model.embed_tokens.lora_embedding_A": "linear modules of the blocks",
                "model.layers.0.mlp.experts.0.w1.lora_A.weight": "outside of the experts",
                "model.layers.0.self_attn.q_proj.base_layer.bias": "bias 'none'",
            }.items()
        ),
    ],
)
def test_unexpected_tensors_are_refused(
    saved_adapter: Path,
    make_base: MakeBase,
    edit: Callable[[dict[str, torch.Tensor]], object],
    error: type[TrainerError],
    message: str,
) -> None:
    edit_tensors(saved_adapter, edit)
    with pytest.raises(error, match=message):
        read_adapter(saved_adapter, linears(make_base()))


def test_magnitudes_that_the_configuration_does_not_explain_are_refused(make_base: MakeBase, tmp_path: Path) -> None:
    saved_by_peft(tmp_path / "adapter", make_base(), use_dora=True)
    edit_config(tmp_path / "adapter", use_dora=False)
    with pytest.raises(IntegrityError, match=r"does not explain.*magnitude"):
        read_adapter(tmp_path / "adapter", linears(make_base()))
