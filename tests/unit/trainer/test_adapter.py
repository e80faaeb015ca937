import dataclasses
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import LlamaForCausalLM, PreTrainedModel

from relora_contract.serving import Engine
from relora_store.errors import IntegrityError as StoreIntegrityError
from relora_trainer.adapter import Adapter, read_adapter, read_config, write_adapter
from relora_trainer.adapter_rules import (
    HANDLED,
    INERT_WITHOUT_THEIR_SWITCH,
    METADATA,
    REASONS,
    check_engine,
    check_rank,
)
from relora_trainer.errors import ConfigurationError, IncompatibleError, IntegrityError, NonFiniteError, TrainerError
from relora_trainer.factors import Factors
from relora_trainer.heads import Head
from relora_trainer.lora import LoraModel
from samples.tinymodels import tiny_classifier

MakeBase = Callable[..., LlamaForCausalLM]
INPUT = torch.tensor([[5, 6, 7, 8, 9], [10, 11, 12, 13, 14]])
Q0 = "model.layers.0.self_attn.q_proj"
KEY = f"base_model.model.{Q0}.lora_A.weight"


def linears(model: LlamaForCausalLM) -> dict[str, tuple[int, int]]:
    return {
        name: (module.out_features, module.in_features)
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and ".layers." in name
    }


def saved_by_peft(folder: Path, model: PreTrainedModel, **config: object) -> LlamaForCausalLM:
    """Save an adapter with random factors; return the model that carries it."""
    settings = {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "down_proj"], "task_type": "CAUSAL_LM", **config}
    peft_model = get_peft_model(model, LoraConfig(**settings))
    torch.manual_seed(5)
    with torch.no_grad():
        for name, parameter in peft_model.named_parameters():
            if "lora_magnitude" in name:
                parameter.mul_(0.9 + 0.2 * torch.rand_like(parameter))
            elif "lora_" in name or "modules_to_save" in name:
                parameter.copy_(torch.randn_like(parameter) * 0.2)
    peft_model.save_pretrained(folder, save_embedding_layers=False)
    peft_model.eval()
    carrier: LlamaForCausalLM = peft_model
    return carrier


@pytest.fixture
def folder(tmp_path: Path, make_base: MakeBase) -> Path:
    saved_by_peft(tmp_path / "adapter", make_base())
    return tmp_path / "adapter"


def edit_config(folder: Path, **fields: object) -> None:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def edit_tensors(folder: Path, edit: Callable[[dict[str, torch.Tensor]], object]) -> None:
    path = folder / "adapter_model.safetensors"
    tensors = load_file(path)
    edit(tensors)
    save_file(tensors, path)


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"use_rslora": True},
        {"rank_pattern": {"down_proj": 2, "layers.0.self_attn.q_proj": 6}},
        {"alpha_pattern": {"down_proj": 3}},
        {"target_modules": "all-linear"},
        {"target_modules": r".*layers\.1\..*(up|gate)_proj"},
        {"target_modules": ["q_proj"], "layers_to_transform": [1]},
        {"target_modules": ["q_proj", "k_proj"], "exclude_modules": ["layers.0.self_attn.q_proj"]},
        {"bias": "all"},  # Llama has none
        {"use_dora": True},
        {"use_dora": True, "use_rslora": True, "rank_pattern": {"down_proj": 2}},
    ],
)
def test_read_and_written_again_it_computes_the_same_as_peft(
    tmp_path: Path, make_base: MakeBase, config: dict[str, object]
) -> None:
    theirs = saved_by_peft(tmp_path / "adapter", make_base(), **config)
    model = make_base()
    adapter = read_adapter(tmp_path / "adapter", linears(model))
    with torch.no_grad():
        want = theirs(input_ids=INPUT).logits

    lora = LoraModel(
        model, {name: pair.rank for name, pair in adapter.factors.items()}, use_dora=adapter.settings.use_dora
    )
    lora.set_factors(adapter.factors)
    with torch.no_grad():
        torch.testing.assert_close(model.eval()(input_ids=INPUT).logits, want, atol=1e-4, rtol=1e-4)

    out = tmp_path / "canonical"
    write_adapter(out, adapter.factors, source=adapter.settings, dtype=adapter.dtype, base_model="base-r2")
    again = PeftModel.from_pretrained(make_base(), out).eval()
    with torch.no_grad():
        torch.testing.assert_close(again(input_ids=INPUT).logits, want, atol=1e-4, rtol=1e-4)
    written = json.loads((out / "adapter_config.json").read_text())
    assert written["lora_alpha"] == written["r"] == adapter.rank
    assert not written["use_rslora"]
    assert written["use_dora"] is config.get("use_dora", False)
    assert written.keys().isdisjoint({"rank_pattern", "alpha_pattern"})
    assert {
        tensor.shape[0] for name, tensor in load_file(out / "adapter_model.safetensors").items() if "lora_A" in name
    } == {adapter.rank}
    reread = read_adapter(out, linears(make_base()))
    assert all(torch.allclose(reread.factors[n].dense(), f.dense(), atol=1e-5) for n, f in adapter.factors.items())


CLASSES = ("low", "middle", "high")
HEAD = "base_model.model.score.weight"


@pytest.fixture
def classifier(tmp_path: Path) -> Path:
    saved_by_peft(tmp_path / "classifier", tiny_classifier(len(CLASSES)), task_type="SEQ_CLS")
    return tmp_path / "classifier"


def test_a_classifier_is_read_and_written_with_its_head(classifier: Path, make_base: MakeBase, tmp_path: Path) -> None:
    """PEFT names both heads that a model may have, trains factors in float32 and the head in the base's precision."""
    assert set(json.loads((classifier / "adapter_config.json").read_text())["modules_to_save"]) == {
        "classifier",
        "score",
    }
    edit_tensors(classifier, lambda tensors: tensors.update({HEAD: tensors[HEAD].bfloat16()}))
    adapter = read_adapter(classifier, linears(make_base()), CLASSES)
    assert adapter.head is not None
    assert (adapter.head.name, adapter.head.dtype, adapter.dtype) == ("score", torch.bfloat16, torch.float32)
    assert adapter.head.weight.dtype is torch.float32
    write_adapter(
        tmp_path / "out",
        adapter.factors,
        source=adapter.settings,
        dtype=adapter.dtype,
        base_model="b",
        head=adapter.head,
    )
    written = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert (written["task_type"], written["modules_to_save"]) == ("SEQ_CLS", ["score"])
    stored = load_file(tmp_path / "out" / "adapter_model.safetensors")
    assert torch.equal(stored[HEAD], load_file(classifier / "adapter_model.safetensors")[HEAD])
    served = PeftModel.from_pretrained(tiny_classifier(len(CLASSES)), tmp_path / "out")
    assert torch.equal(served.base_model.model.score.weight, adapter.head.weight)


@pytest.mark.parametrize(
    ("edit", "error", "message"),
    [
        (lambda t: t.pop(HEAD), IntegrityError, "no class head .*score.weight.*task_type SEQ_CLS"),
        (lambda t: t[HEAD].__setitem__((0, 0), float("inf")), NonFiniteError, "score.weight"),
        (lambda t: t.update({HEAD: torch.ones(3)}), IntegrityError, r"shape \[3\]; a head is a matrix"),
        (lambda t: t.update({HEAD: torch.ones(2, 32)}), ConfigurationError, "2 rows .* 3 classes"),
        (lambda t: t.update({HEAD: torch.ones(3, 32, dtype=torch.float64)}), IntegrityError, "float64"),
        (lambda t: t.update({"base_model.model.score.bias": torch.ones(3)}), IncompatibleError, "bias"),
        (lambda t: t.update({"base_model.model.classifier.weight": torch.ones(3, 32)}), TrainerError, "classifier"),
    ],
)
def test_a_head_that_does_not_fit_is_refused(
    classifier: Path,
    make_base: MakeBase,
    edit: Callable[[dict[str, torch.Tensor]], object],
    error: type[TrainerError],
    message: str,
) -> None:
    edit_tensors(classifier, edit)
    with pytest.raises(error, match=message):
        read_adapter(classifier, linears(make_base()), CLASSES)


def test_a_head_that_overflows_its_precision_is_not_written(
    classifier: Path, make_base: MakeBase, tmp_path: Path
) -> None:
    adapter = read_adapter(classifier, linears(make_base()), CLASSES)
    huge = Head("score", torch.full((3, 32), 1e6), torch.float16)
    with pytest.raises(NonFiniteError, match=r"score\.weight is NaN or infinite in torch\.float16"):
        write_adapter(
            tmp_path / "out",
            adapter.factors,
            source=adapter.settings,
            dtype=adapter.dtype,
            base_model="b",
            head=huge,
        )


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_stored_precision_is_kept(folder: Path, make_base: MakeBase, tmp_path: Path, dtype: torch.dtype) -> None:
    edit_tensors(folder, lambda tensors: tensors.update({name: value.to(dtype) for name, value in tensors.items()}))
    adapter: Adapter = read_adapter(folder, linears(make_base()))
    assert adapter.dtype is dtype
    assert adapter.factors[Q0].a.dtype is torch.float32
    write_adapter(tmp_path / "out", adapter.factors, source=adapter.settings, dtype=dtype, base_model="b")
    assert {tensor.dtype for tensor in load_file(tmp_path / "out" / "adapter_model.safetensors").values()} == {dtype}


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
    folder: Path, make_base: MakeBase, fields: dict[str, object], error: type[TrainerError], message: str
) -> None:
    edit_config(folder, **fields)
    with pytest.raises(error, match=message):
        read_adapter(folder, linears(make_base()))


def test_every_field_of_the_library_is_carried_out_or_known_to_change_nothing_or_refused() -> None:
    known = METADATA | HANDLED | INERT_WITHOUT_THEIR_SWITCH | REASONS.keys()
    assert {field.name for field in dataclasses.fields(LoraConfig)} - known == set()


@pytest.mark.parametrize("init", ["gaussian", "Gaussian", "eva", "orthogonal", "mica", False])
def test_an_initialisation_that_leaves_the_base_alone_is_taken(
    folder: Path,
    make_base: MakeBase,
    init: str | bool,  # noqa: FBT001 - a value of the file
) -> None:
    edit_config(folder, init_lora_weights=init, velora_config={"num_groups": 2})
    assert read_adapter(folder, linears(make_base())).rank == 4


def test_a_target_outside_of_the_blocks_is_told_apart_from_a_stray_tensor(folder: Path, make_base: MakeBase) -> None:
    edit_tensors(folder, lambda t: t.update({"base_model.model.model.project_in.lora_A.weight": torch.ones(4, 8)}))
    edit_config(folder, target_modules=["q_proj", "down_proj", "project_in"])
    with pytest.raises(IncompatibleError, match=r"model\.project_in is no linear module of the decoder blocks"):
        read_adapter(folder, linears(make_base()))


def test_an_adapter_of_a_base_with_more_blocks_is_told_so(folder: Path, make_base: MakeBase) -> None:
    tensor = "base_model.model.model.layers.7.self_attn.q_proj.lora_A.weight"
    edit_tensors(folder, lambda t: t.update({tensor: torch.ones(4, 32)}))
    with pytest.raises(IncompatibleError, match=r"no model\.layers\.7\.self_attn\.q_proj: .* a base with other blocks"):
        read_adapter(folder, linears(make_base()))


@pytest.mark.parametrize("fields", [{"use_dora": True}, {"modules_to_save": ["score"]}])
def test_what_the_engine_cannot_load_is_refused_with_the_remedy(folder: Path, fields: dict[str, object]) -> None:
    for engine in (*Engine, None):
        check_engine(read_config(folder), engine)
    edit_config(folder, **fields)
    for engine in (Engine.PEFT, None):
        check_engine(read_config(folder), engine)
    with pytest.raises(ConfigurationError, match=rf"{next(iter(fields))}.* VLLM .*engine: PEFT in the AdapterServer"):
        check_engine(read_config(folder), Engine.VLLM)


def test_a_rank_that_the_server_does_not_load_is_refused_with_the_remedy() -> None:
    for allowed in (16, None):
        check_rank(16, allowed)
    with pytest.raises(ConfigurationError, match=r"rank 16, its server allows 8: raise maxLoRARank"):
        check_rank(16, 8)


def test_an_adapter_without_task_type_or_with_auto_mapping_is_plain_lora(folder: Path, make_base: MakeBase) -> None:
    edit_config(folder, task_type=None, auto_mapping={"parent_library": "x", "base_model_class": "y"})
    assert read_adapter(folder, linears(make_base())).rank == 4


@pytest.mark.parametrize("name", ["adapter_model.bin", "optimizer.pt", "code.py", "nested/deep.pkl", "x.so"])
def test_a_file_that_could_hold_code_is_refused(folder: Path, make_base: MakeBase, name: str) -> None:
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_bytes(b"x")
    with pytest.raises(StoreIntegrityError, match=name):
        read_adapter(folder, linears(make_base()))


@pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.safetensors"])
def test_a_missing_file_is_named(folder: Path, make_base: MakeBase, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(IntegrityError, match=name):
        read_adapter(folder, linears(make_base()))


@pytest.mark.parametrize("text", ["{", "[]", "[" * 50_000])
def test_a_configuration_that_is_no_object_is_refused(folder: Path, make_base: MakeBase, text: str) -> None:
    (folder / "adapter_config.json").write_text(text)
    with pytest.raises(IntegrityError, match=r"not JSON|not a JSON object"):
        read_adapter(folder, linears(make_base()))


def test_a_header_above_a_megabyte_is_not_read(folder: Path, make_base: MakeBase) -> None:
    path = folder / "adapter_model.safetensors"
    save_file(load_file(path), path, metadata={"padding": "x" * 1_100_000})
    with pytest.raises(StoreIntegrityError, match="at most 1048576"):
        read_adapter(folder, linears(make_base()))


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
    folder: Path,
    make_base: MakeBase,
    edit: Callable[[dict[str, torch.Tensor]], object],
    error: type[TrainerError],
    message: str,
) -> None:
    edit_tensors(folder, edit)
    with pytest.raises(error, match=message):
        read_adapter(folder, linears(make_base()))


def test_the_magnitudes_of_dora_are_read_in_any_precision_and_never_rounded(
    make_base: MakeBase, tmp_path: Path
) -> None:
    saved_by_peft(tmp_path / "adapter", make_base(), use_dora=True)
    edit_tensors(
        tmp_path / "adapter",
        lambda tensors: tensors.update(
            {name: value.bfloat16() for name, value in tensors.items() if "magnitude" not in name}
        ),
    )
    adapter = read_adapter(tmp_path / "adapter", linears(make_base()))
    assert adapter.dtype is torch.bfloat16
    factors = {name: pair.to(adapter.dtype) for name, pair in adapter.factors.items()}
    write_adapter(tmp_path / "out", factors, source=adapter.settings, dtype=adapter.dtype, base_model="b")
    written = load_file(tmp_path / "out" / "adapter_model.safetensors")
    magnitude = f"base_model.model.{Q0}.lora_magnitude_vector"
    assert torch.equal(written[magnitude], load_file(tmp_path / "adapter" / "adapter_model.safetensors")[magnitude])
    assert {value.dtype for name, value in written.items() if "magnitude" not in name} == {torch.bfloat16}


def test_magnitudes_that_the_configuration_does_not_explain_are_refused(make_base: MakeBase, tmp_path: Path) -> None:
    saved_by_peft(tmp_path / "adapter", make_base(), use_dora=True)
    edit_config(tmp_path / "adapter", use_dora=False)
    with pytest.raises(IntegrityError, match=r"does not explain.*magnitude"):
        read_adapter(tmp_path / "adapter", linears(make_base()))


def test_factors_that_overflow_the_stored_precision_are_not_written(
    folder: Path, make_base: MakeBase, tmp_path: Path
) -> None:
    settings = read_adapter(folder, linears(make_base())).settings
    huge = {Q0: Factors(torch.full((2, 32), 1e6), torch.ones(32, 2))}
    with pytest.raises(NonFiniteError, match="float16"):
        write_adapter(tmp_path / "out", huge, source=settings, dtype=torch.float16, base_model="b")


def test_the_same_factors_give_the_same_bytes(folder: Path, make_base: MakeBase, tmp_path: Path) -> None:
    adapter = read_adapter(folder, linears(make_base()))
    for out in ("one", "two"):
        write_adapter(tmp_path / out, adapter.factors, source=adapter.settings, dtype=adapter.dtype, base_model="b")
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
