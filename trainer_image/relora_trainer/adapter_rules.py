"""What an adapter folder may hold, and which adapters can be carried to a new base and served by vLLM."""

from collections.abc import Mapping
from pathlib import Path

from relora_store.names import Content, check_names
from relora_store.verified import LEDGER
from relora_trainer.errors import IncompatibleError, IntegrityError

REQUIRED_FILES = ("adapter_config.json", "adapter_model.safetensors")

INITS = (True, False, "gaussian", "eva", "orthogonal")
"""Initializations that leave the base's weights as they are. Others (PiSSA, OLoRA, CorDA, LoRA-GA, LoftQ) change them,
so that the adapter is wrong on the released base unless it was converted when it was saved."""

METADATA = frozenset(
    {
        "auto_mapping",
        "base_model_name_or_path",
        "inference_mode",
        "peft_type",
        "peft_version",
        "revision",
        "task_type",
    }
)
"""Fields that do not change what the adapter computes."""
HANDLED = frozenset(
    {
        "alpha_pattern",
        "exclude_modules",
        "init_lora_weights",
        "layers_pattern",
        "layers_to_transform",
        "lora_alpha",
        "lora_dropout",
        "r",
        "rank_pattern",
        "target_modules",
        "use_rslora",
    }
)
"""Fields whose values are carried out."""
INERT_WITHOUT_THEIR_SWITCH = frozenset(
    {
        "corda_config",
        "ensure_weight_tying",
        "eva_config",
        "loftq_config",
        "lora_ga_config",
        "megatron_core",
        "qalora_group_size",
        "runtime_config",
    }
)
"""Fields that hold defaults, or take part in training only."""

REASONS: Mapping[str, str] = {
    "use_dora": "DoRA's magnitudes have no plain LoRA form, and vLLM does not load them",
    "modules_to_save": "vLLM does not load replaced modules such as heads or embeddings",
    "target_parameters": "experts fused into one parameter (MoE) are laid out differently by each version of PEFT",
    "fan_in_fan_out": "layers that store their weights transposed (Conv1D) are not supported",
    "lora_bias": "a bias in the LoRA layers has no plain LoRA form",
    "layer_replication": "replicated layers change the base's architecture",
    "trainable_token_indices": "trained token embeddings are not part of a plain LoRA adapter",
    "alora_invocation_tokens": "activated LoRA depends on tokens of the prompt, which vLLM does not look at",
}


def check_files(folder: Path) -> None:
    """Check the files of an adapter folder by name.

    Raises:
        relora_store.errors.IntegrityError: A file is of a kind that could hold code.
        IntegrityError: A required file is missing.
    """
    found = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()]
    names = [name for name in found if name != LEDGER]
    check_names(names, Content.ADAPTER)
    for name in REQUIRED_FILES:
        if name not in names:
            raise IntegrityError(f"the adapter has no {name}; save it with PEFT's save_pretrained()")


def check_supported(config: Mapping[str, object]) -> None:
    """Check the fields of `adapter_config.json`.

    Raises:
        IntegrityError: The configuration asks for code from elsewhere.
        IncompatibleError: The adapter is of another kind than plain LoRA on linear modules of a causal language model.
    """
    if "auto_map" in config:
        raise IntegrityError("adapter_config.json has auto_map, which loads code from elsewhere; remove it")
    if config.get("peft_type") != "LORA":
        raise IncompatibleError(f"the adapter is of type {config.get('peft_type')!r}; only LORA can be carried over")
    if config.get("task_type") not in {"CAUSAL_LM", None}:
        raise IncompatibleError(f"the adapter is for task {config['task_type']!r}; only CAUSAL_LM can be carried over")
    init = config.get("init_lora_weights", True)
    if init not in INITS:
        raise IncompatibleError(
            f"the adapter was initialised with {init!r}, which changes the base's weights; save it again with "
            "path_initial_model_for_weight_conversion"
        )
    if config.get("bias", "none") != "none":
        raise IncompatibleError("the adapter trains biases; only adapters with bias 'none' can be carried over")
    for field, value in config.items():
        if field in METADATA | HANDLED | INERT_WITHOUT_THEIR_SWITCH | {"bias"} or not value:
            continue
        reason = REASONS.get(field, "it is not known what it changes")
        raise IncompatibleError(f"the adapter sets {field}: {reason}")
