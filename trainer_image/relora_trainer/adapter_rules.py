"""What an adapter folder may hold, which adapters an engine loads, and which can be carried to a new base."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from relora_contract.serving import Engine
from relora_contract.task import TaskKind
from relora_store.names import Content, check_names
from relora_store.verified import LEDGER
from relora_trainer.blocks import BLOCK
from relora_trainer.errors import ConfigurationError, IncompatibleError, IntegrityError
from relora_trainer.heads import NAMES as HEADS

SHOWN = 3
TASKS = {TaskKind.CAUSAL_LM: "CAUSAL_LM", TaskKind.SEQUENCE_CLASSIFICATION: "SEQ_CLS"}
"""PEFT's `task_type` of an adapter for each kind of task."""
REQUIRED_FILES = ("adapter_config.json", "adapter_model.safetensors")

INITS = (True, False, "gaussian", "eva", "orthogonal", "mica")
"""Initializations that leave the base's weights as they are. Others (PiSSA, OLoRA, CorDA, LoRA-GA, LoftQ)
change them, so that the adapter is wrong on the released base unless it was converted when it was saved."""

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
        "fan_in_fan_out",
        "init_lora_weights",
        "layers_pattern",
        "layers_to_transform",
        "lora_alpha",
        "lora_dropout",
        "modules_to_save",
        "r",
        "rank_pattern",
        "target_modules",
        "use_dora",
        "use_rslora",
    }
)
"""Fields whose values are carried out."""
INERT_WITHOUT_THEIR_SWITCH = frozenset(
    {
        "bias",
        "corda_config",
        "ensure_weight_tying",
        "eva_config",
        "loftq_config",
        "lora_ga_config",
        "megatron_core",
        "qalora_group_size",
        "runtime_config",
        "velora_config",
    }
)
"""Fields that hold defaults, or take part in training only. What `bias` trained is told by the tensors: none where the
base has no biases, as Llama."""

ENGINE_LIMITS: Mapping[Engine, Mapping[str, str]] = {
    Engine.VLLM: {"use_dora": "DoRA", "modules_to_save": "replaced modules such as heads"},
    Engine.PEFT: {},
}
"""What an engine does not load, by the field that asks for it. That each adapter has one rank is our own doing."""

REASONS: Mapping[str, str] = {
    "target_parameters": "experts fused into one parameter (MoE) are laid out differently by each version of PEFT; "
    "target the linear modules outside of the experts",
    "lora_bias": "a bias in the LoRA layers has no plain LoRA form; train the adapter without lora_bias",
    "layer_replication": "replicated layers change the base's architecture; train the adapter on the base as released",
    "trainable_token_indices": "trained token embeddings are not part of a plain LoRA adapter; train without them",
    "alora_invocation_tokens": "activated LoRA depends on tokens of the prompt, which the serving engine does not look "
    "at; train a plain LoRA adapter",
    "arrow_config": "Arrow routes each token between adapters; carry those over one by one",
    "kasa_config": "KaSA changes the base's weights and puts a diagonal between its factors; train a plain "
    "LoRA adapter",
    "megatron_config": "the layers of Megatron are split over devices; train the adapter on the base as transformers "
    "loads it",
    "monteclora_config": "MonteCLoRA draws its weights at random; train a plain LoRA adapter",
    "use_bdlora": "the factors of BD-LoRA are block-diagonal, and fused or trained they are not; train a plain LoRA "
    "adapter",
    "use_qalora": "QA-LoRA pools the inputs of its layers; train a plain LoRA adapter",
}

TENSORS: Mapping[str, str] = {
    r"lora_embedding_[AB]$": "LoRA on embeddings is not carried over; target linear modules of the blocks",
    r"(^|[._])experts\.": "LoRA on experts (MoE) is laid out differently by each version of PEFT; "
    "target the linear modules outside of the experts",
    r"\.(lm_head|embed_out|score|classifier)\.lora_[AB]\.weight$": "LoRA on the output head is not carried over; "
    "leave it out of target_modules",
    r"\.(embed_tokens|wte|wpe|embed_in|lm_head|embed_out)\.weight$": "it replaces the base's embeddings or head, "
    "resized or trained, by the old base's; train it with the base's vocabulary, or save it again with "
    "save_embedding_layers=False if they are unchanged",
    r"\.(score|classifier)\.weight$": "it is a class head, which a task of kind CausalLM does not use: set task.kind "
    "to SequenceClassification",
    r"\.bias$": "trained biases are not carried over: PEFT loads them into the base itself, which would change the "
    "bare base and every other adapter of a server; train the adapter with bias 'none'",
}
"""Why a tensor beside those of the linear modules is not carried over, by a pattern of its name."""


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


def check_engine(config: Mapping[str, object], engine: Engine | None) -> None:
    """Check that the engine of an adapter's server loads adapters of its kind.

    Args:
        config: `adapter_config.json`.
        engine: None without a server: then any kind will do.

    Raises:
        ConfigurationError: It does not.
    """
    limits = ENGINE_LIMITS[engine] if engine is not None else {}
    for field, what in limits.items():
        if config.get(field):
            raise ConfigurationError(
                f"the adapter sets {field}, and engine {engine} of its AdapterServer does not load {what}: train the "
                f"adapter without {field}; or serve it with PEFT, and set engine: PEFT in the AdapterServer"
            )


def check_rank(rank: int, max_lora_rank: int | None) -> None:
    """Check that the engine of an adapter's server loads adapters of such a rank.

    Args:
        rank: The highest of the adapter's modules, which all are stored with.
        max_lora_rank: `maxLoRARank` of the server; None without one: then any rank will do.

    Raises:
        ConfigurationError: It does not.
    """
    if max_lora_rank is not None and rank > max_lora_rank:
        raise ConfigurationError(
            f"the adapter has rank {rank}, its server allows {max_lora_rank}: raise maxLoRARank of the AdapterServer "
            "and the engine's own limit"
        )


def check_supported(config: Mapping[str, object], *, is_classifier: bool = False) -> None:
    """Check the fields of `adapter_config.json`.

    Args:
        config: Its fields.
        is_classifier: Whether the task is SequenceClassification.

    Raises:
        ConfigurationError: The adapter is for the other kind of task.
        IntegrityError: The configuration asks for code from elsewhere.
        IncompatibleError: The adapter is of another kind than plain LoRA on linear modules of a causal language model
            or of a classifier made of one.
    """
    if "auto_map" in config:
        raise IntegrityError("adapter_config.json has auto_map, which loads code from elsewhere; remove it")
    if config.get("peft_type") != "LORA":
        raise IncompatibleError(
            f"the adapter is of type {config.get('peft_type')!r}; only LORA can be carried over: "
            "where PEFT supports it, convert the adapter with peft.save_as_lora()"
        )
    _check_task(config, is_classifier=is_classifier)
    init = config.get("init_lora_weights", True)
    if (init.lower() if isinstance(init, str) else init) not in INITS:
        raise IncompatibleError(
            f"the adapter was initialised with {init!r}, which changes the base's weights; save it again with "
            "path_initial_model_for_weight_conversion"
        )
    for field, value in config.items():
        if field in METADATA | HANDLED | INERT_WITHOUT_THEIR_SWITCH or not value:
            continue
        named = f" ({', '.join(map(str, value))})" if isinstance(value, list) else ""
        reason = REASONS.get(field, "it is not known what it changes; remove it if it has no effect")
        raise IncompatibleError(f"the adapter sets {field}{named}: {reason}")


def _check_task(config: Mapping[str, object], *, is_classifier: bool) -> None:
    trained = config.get("task_type")
    if trained not in (*TASKS.values(), None):
        known = " and ".join(TASKS.values())
        raise IncompatibleError(f"the adapter is for task {trained!r}; only {known} can be carried over")
    kind = TaskKind.SEQUENCE_CLASSIFICATION if is_classifier else TaskKind.CAUSAL_LM
    if trained not in (TASKS[kind], None):
        raise ConfigurationError(f"the adapter is for task {trained!r}, and task.kind is {kind}: set the other kind")
    saved = config.get("modules_to_save") or []
    names = saved if isinstance(saved, list) else [saved]
    replaced = [name for name in names if not is_classifier or name not in HEADS]
    if replaced:
        raise IncompatibleError(
            f"the adapter sets modules_to_save ({', '.join(map(str, replaced))}): they replace the base's own, and on "
            "a new base that would take back what the release changed in them, and tear weights apart that are tied; "
            "train the adapter without them"
        )


def check_nothing_else(names: Iterable[str], targeted: Iterable[str] = ()) -> None:
    """Check the tensors of an adapter that do not belong to a linear module which it adapts.

    Args:
        names: Of the tensors.
        targeted: The modules of these tensors that the adapter's configuration names as its targets.

    Raises:
        IncompatibleError: A tensor is of a kind that is not carried over.
        IntegrityError: Nothing explains a tensor.
    """
    left = sorted(names)
    for name in left:
        for pattern, reason in TENSORS.items():
            if re.search(pattern, name):
                raise IncompatibleError(f"{name}: {reason}")
    if outside := sorted(targeted):
        if BLOCK.fullmatch(f"{outside[0]}.weight"):
            raise IncompatibleError(
                f"the base has no {outside[0]}: the adapter was trained on a base with other blocks"
            )
        raise IncompatibleError(
            f"{outside[0]} is no linear module of the decoder blocks, and LoRA on other modules is not carried over; "
            "leave it out of target_modules"
        )
    if left:
        more = f" and {len(left) - SHOWN} more" if len(left) > SHOWN else ""
        raise IntegrityError(
            f"the adapter holds tensors that its configuration does not explain: {', '.join(left[:SHOWN])}{more}"
        )
