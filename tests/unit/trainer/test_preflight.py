import json
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from relora_contract.task import Gate, Message, Metric, Task
from relora_trainer.errors import ConfigurationError, IncompatibleError, IntegrityError
from relora_trainer.preflight import check_bases, check_metrics, check_task
from relora_trainer.tokenizer_rules import tokenizer_warnings

Json = dict[str, Any]


def _base(folder: Path) -> Path:
    folder.mkdir()
    weight = {"model.layers.0.self_attn.q_proj.weight": torch.zeros(4, 4)}
    save_file(weight, folder / "model.safetensors")
    (folder / "config.json").write_text(
        json.dumps({"model_type": "llama", "hidden_size": 4, "num_attention_heads": 2, "vocab_size": 3})
    )
    vocabulary = {"a": 0, "b": 1, "c": 2, "ab": 4, "ba": 5}
    tokenizer = {
        "model": {"type": "BPE", "vocab": vocabulary, "merges": ["a b"]},
        "normalizer": None,
        "added_tokens": [_added("<b>", 3)],
    }
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    return folder


def _added(content: str, number: int) -> Json:
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {"id": number, "content": content, "special": True, **flags}


def _edit(path: Path, change: Callable[[Json], object]) -> None:
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


def test_equal_bases_pass(tmp_path: Path) -> None:
    weights = check_bases(_base(tmp_path / "old"), _base(tmp_path / "new"))
    assert weights.linear_shapes == {"model.layers.0.self_attn.q_proj": (4, 4)}


def test_what_a_newer_version_of_the_libraries_writes_otherwise_is_no_difference(tmp_path: Path) -> None:
    old, new = _base(tmp_path / "old"), _base(tmp_path / "new")
    _edit(new / "config.json", lambda value: value.update(tie_word_embeddings=False, num_key_value_heads=2))
    newer = {"merges": [["a", "b"]], "byte_fallback": False, "ignore_merges": False}
    _edit(new / "tokenizer.json", lambda value: value["model"].update(newer))
    check_bases(old, new)


def test_buffers_that_libraries_no_longer_store_are_no_difference(tmp_path: Path) -> None:
    old, new = _base(tmp_path / "old"), _base(tmp_path / "new")
    weights = load_file(old / "model.safetensors")
    buffers = {
        "model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(2),
        "h.0.attn.bias": torch.ones(1, 1, 4, 4, dtype=torch.bool),
        "h.0.attn.masked_bias": torch.tensor(-1e4),
    }
    save_file(weights | buffers, old / "model.safetensors")
    check_bases(old, new)
    save_file(weights | {"h.0.attn.bias": torch.ones(4)}, old / "model.safetensors")
    with pytest.raises(IncompatibleError, match=r"h\.0\.attn\.bias is gone"):
        check_bases(old, new)


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("config.json", lambda value: value.update(model_type="unheard-of"), "cannot load the configuration"),
        ("config.json", lambda value: value.update(num_key_value_heads="x"), "cannot load the configuration"),
        ("config.json", lambda value: value.update(transformers_weights="x.safetensors"), "transformers_weights"),
        ("tokenizer.json", lambda value: value["model"].update(type="Telepathy"), "is no tokenizer"),
    ],
)
def test_what_no_library_reads_is_an_integrity_error(
    tmp_path: Path, file: str, change: Callable[[Json], object], message: str
) -> None:
    old, new = _base(tmp_path / "old"), _base(tmp_path / "new")
    _edit(new / file, change)
    with pytest.raises(IntegrityError, match=message):
        check_bases(old, new)


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"choices": None}, "task.choices"), ({"messages": [Message(role="user", content="{text}")]}, "task.messages")],
)
def test_a_classification_has_classes_and_a_template(changes: dict[str, object], message: str) -> None:
    task = Task(kind="SequenceClassification", prompt_template="{text}", completion_field="label", choices=["a", "b"])
    check_task(task)
    with pytest.raises(ConfigurationError, match=message):
        check_task(task.model_copy(update=changes))


@pytest.mark.parametrize(
    ("choices", "metric", "fits"),
    [
        (["a", "b"], Metric.ACCURACY, True),
        (["a", "b"], Metric.MACRO_F1, True),
        (["a", "b"], Metric.LOSS, True),
        (["a", "b"], Metric.EXACT_MATCH, False),
        (None, Metric.EXACT_MATCH, True),
        (None, Metric.LOSS, True),
        (None, Metric.ACCURACY, False),
        (None, Metric.MACRO_F1, False),
    ],
)
def test_a_gate_measures_what_the_task_has(choices: list[str] | None, metric: Metric, *, fits: bool) -> None:
    task = Task(kind="CausalLM", prompt_template="{text}", completion_field="label", choices=choices)
    gates = [Gate(metric=metric, max_regression="0.1")]
    with nullcontext() if fits else pytest.raises(ConfigurationError, match=f"{metric}.*choices; use"):
        check_metrics(task, gates)


@pytest.mark.parametrize(
    ("file", "change", "message"),
    {
        "another configuration": (
            "config.json",
            lambda value: value.update(hidden_size=8),
            "hidden_size was 4 and is 8",
        ),
        "a resized vocabulary": (
            "config.json",
            lambda value: value.update(vocab_size=5),
            "vocab_size was 3 and is 5; .* release the base with that of its predecessor",
        ),
        "weights that are tied now": (
            "config.json",
            lambda value: value.update(tie_word_embeddings=True),
            "tie_word_embeddings was False and is True",
        ),
        "a token is gone": ("tokenizer.json", lambda value: value["model"]["vocab"].pop("c"), r"'c' \(gone\)"),
        "a token moved": (
            "tokenizer.json",
            lambda value: value["model"]["vocab"].update(c=7),
            r"'c' \(id 2 became 7\)",
        ),
        "a special token is gone": (
            "tokenizer.json",
            lambda value: value.update(added_tokens=[_added("<a>", 3)]),
            r"'<b>' \(gone\), '<a>' \(new\)",
        ),
        "another merge": (
            "tokenizer.json",
            lambda value: value["model"].update(merges=["b a"]),
            r"merge 0 \(\['a', 'b'\] became \['b', 'a'\]\)",
        ),
        "a merge more": (
            "tokenizer.json",
            lambda value: value["model"].update(merges=["a b", "b a"]),
            r"the number of merges \(1 became 2\)",
        ),
        "a model of images": (
            "config.json",
            lambda value: value.update(vision_config={"hidden_size": 4}),
            "the base reads images too .* release its language model on its own",
        ),
        "quantised weights": (
            "config.json",
            lambda value: value.update(quantization_config={"quant_method": "fp8"}),
            "the base is quantised .* release the base in bfloat16",
        ),
        "another normalizer": (
            "tokenizer.json",
            lambda value: value.update(normalizer={"type": "NFC"}),
            "'normalizer' of tokenizer.json",
        ),
    }.values(),
)
def test_a_difference_is_named(tmp_path: Path, file: str, change: Callable[[Json], object], message: str) -> None:
    old, new = _base(tmp_path / "old"), _base(tmp_path / "new")
    _edit(new / file, change)
    with pytest.raises(IncompatibleError, match=message):
        check_bases(old, new)


def test_other_shapes_are_named(tmp_path: Path) -> None:
    old, new = _base(tmp_path / "old"), _base(tmp_path / "new")
    save_file({"model.layers.0.self_attn.q_proj.weight": torch.zeros(8, 4)}, new / "model.safetensors")
    with pytest.raises(IncompatibleError, match=r"was \[4, 4\] and is \[8, 4\]"):
        check_bases(old, new)


def test_a_missing_tokenizer_is_an_integrity_error(tmp_path: Path) -> None:
    old, new = _base(tmp_path / "old"), _base(tmp_path / "new")
    (new / "tokenizer.json").unlink()
    with pytest.raises(IntegrityError, match=r"no tokenizer\.json"):
        check_bases(old, new)


CHAT = Task(kind="CausalLM", messages=[Message(role="user", content="{text}")], completion_field="label")
PLAIN = Task(kind="CausalLM", prompt_template="{text}", completion_field="label")
TEMPLATE, OTHER = "{{ messages[0].content }}", "<s>{{ messages[0].content }}"


def _in_a_file(base: Path, template: str) -> None:
    (base / "chat_template.jinja").write_text(template)


def _in_the_configuration(base: Path, template: str) -> None:
    (base / "tokenizer_config.json").write_text(json.dumps({"chat_template": template}))


@pytest.mark.parametrize("store", [_in_a_file, _in_the_configuration])
def test_another_chat_template_is_told(tmp_path: Path, store: Callable[[Path, str], None]) -> None:
    old, new = _base(tmp_path / "old"), _base(tmp_path / "new")
    store(old, TEMPLATE)
    _in_a_file(new, TEMPLATE)
    assert tokenizer_warnings(CHAT, old, new) == []
    _in_a_file(new, OTHER)
    (warning,) = tokenizer_warnings(CHAT, old, new)
    assert "chat templates of the two bases differ" in warning
    assert tokenizer_warnings(PLAIN, old, new) == []


def test_a_chat_template_that_writes_the_time_is_told(tmp_path: Path) -> None:
    old, new = _base(tmp_path / "old"), _base(tmp_path / "new")
    for template, count in (
        ("{{ strftime_now('%d %b %Y') }}", 1),
        ("{%- if date_string is not defined %}{%- set date_string = strftime_now('%d') %}{%- endif %}", 0),
    ):
        _in_a_file(old, template)
        _in_a_file(new, template)
        assert len(tokenizer_warnings(CHAT, old, new)) == count


def test_weights_in_integers_are_refused(tmp_path: Path) -> None:
    old, new = _base(tmp_path / "old"), _base(tmp_path / "new")
    packed = {"model.layers.0.self_attn.q_proj.weight": torch.zeros(4, 4, dtype=torch.int8)}
    save_file(packed, new / "model.safetensors")
    with pytest.raises(
        IncompatibleError, match=r"q_proj\.weight of the base is stored as torch\.int8; a delta is taken"
    ):
        check_bases(old, new)


def test_another_token_at_the_end_of_answers_is_told(tmp_path: Path) -> None:
    old, new = _base(tmp_path / "old"), _base(tmp_path / "new")
    (old / "special_tokens_map.json").write_text(json.dumps({"eos_token": {"content": "</s>"}}))
    assert tokenizer_warnings(PLAIN, old, new) == [], "the tokenizer's class may have the same default"
    (new / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<|im_end|>"}))
    (warning,) = tokenizer_warnings(PLAIN, old, new)
    assert "end its answers with '</s>', and is asked for '<|im_end|>'" in warning
    assert tokenizer_warnings(CHAT, old, new) == [], "a chat ends with the token of its template"
    (new / "tokenizer_config.json").write_text(json.dumps({"eos_token": "</s>"}))
    assert tokenizer_warnings(PLAIN, old, new) == []
