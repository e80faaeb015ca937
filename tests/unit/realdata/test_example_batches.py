import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from realdata.classification import IGNORED, Example, Task, by_length, collate, encode
from realdata.evolve import Pretraining, pack
from realdata.lora import LoraTraining, batches, share_of_peak
from realdata.tiny import TinyTraining

WORDS = ("<end>", "a", "b", "good", "bad", "ugly")
TRAINING = LoraTraining(4, ("q_proj",), learning_rate=1.0, batch_size=2, steps=10, warmup_steps=4, seed=0)


@pytest.fixture
def tokenizer() -> PreTrainedTokenizerFast:
    words = Tokenizer(models.WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token="<end>"))  # noqa: S106 # a token of text
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=words, eos_token="<end>", pad_token="<end>")  # noqa: S106 # a token of text


def examples(count: int) -> list[Example]:
    return [Example([1] * (number % 7 + 1), [3, 0], label=0) for number in range(count)]


def test_encoded_completion_is_the_label_and_the_end(tokenizer: PreTrainedTokenizerFast) -> None:
    task = Task("a {text}", "label", ("good", "bad"), max_length=8)
    assert encode(tokenizer, task, [{"text": "b", "label": "bad"}]) == [Example([1, 2], [4, 0], label=1)]


def test_a_row_that_would_have_to_be_cut_is_refused(tokenizer: PreTrainedTokenizerFast) -> None:
    task = Task("{text}", "label", ("good", "bad"), max_length=3)
    with pytest.raises(ValueError, match="maxLength 3"):
        encode(tokenizer, task, [{"text": "a b", "label": "bad"}])


def test_choices_that_begin_alike_are_refused(tokenizer: PreTrainedTokenizerFast) -> None:
    task = Task("{text}", "label", ("good", "good bad"), max_length=8)
    with pytest.raises(ValueError, match="begin with the same token"):
        encode(tokenizer, task, [])


def test_targets_are_the_completion_one_position_ahead() -> None:
    batch = collate([Example([1, 2], [3, 0], 0), Example([1], [4, 0], 1)], pad=0)
    assert batch.input_ids.tolist() == [[1, 2, 3], [1, 4, 0]]
    assert batch.attention_mask.tolist() == [[1, 1, 1], [1, 1, 0]]
    assert batch.targets.tolist() == [[IGNORED, 3, 0], [4, 0, IGNORED]]
    assert batch.labels.tolist() == [0, 1]


def test_groups_by_length_hold_every_example_once() -> None:
    groups = list(by_length(examples(10), 4))
    assert [len(group) for group in groups] == [4, 4, 2]
    assert sorted(len(example.prompt) for group in groups for example in group) == sorted(
        len(example.prompt) for example in examples(10)
    )


def test_training_batches_are_full_and_the_same_for_a_seed() -> None:
    chosen = batches(examples(40), size=4, count=25, seed=1)
    assert [len(batch) for batch in chosen] == [4] * 25
    assert chosen == batches(examples(40), size=4, count=25, seed=1)
    assert chosen != batches(examples(40), size=4, count=25, seed=2)


def test_too_few_examples_for_a_batch_are_refused() -> None:
    with pytest.raises(ValueError, match="3 examples do not fill one batch of 4"):
        batches(examples(3), size=4, count=1, seed=0)


def test_learning_rate_warms_up_and_then_falls_to_zero() -> None:
    shares = [share_of_peak(step, TRAINING) for step in range(11)]
    assert shares[:4] == [0.25, 0.5, 0.75, 1.0]
    assert shares[4] == 1.0
    assert shares[10] == 0.0
    assert shares[4:] == sorted(shares[4:], reverse=True)


def test_tiny_base_s_learning_rate_rises_stays_and_falls() -> None:
    training = TinyTraining(
        steps=10, batch_size=1, learning_rate=2.0, warmup_steps=2, decay_steps=4, language_weight=0.0, seed=0
    )
    assert [training.rate_at(step) for step in range(10)] == [1.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 1.5, 1.0, 0.5]


def test_texts_are_packed_with_the_end_between_them(tokenizer: PreTrainedTokenizerFast) -> None:
    settings = Pretraining(2, 1, 3, learning_rate=1.0, warmup_steps=1, target_share=1.0, seed=0)
    packed = pack(tokenizer, ["a b", "good bad ugly"], settings)
    assert torch.equal(packed, torch.tensor([[[1, 2, 0]], [[3, 4, 5]]]))


def test_too_little_text_is_refused(tokenizer: PreTrainedTokenizerFast) -> None:
    settings = Pretraining(2, 1, 3, learning_rate=1.0, warmup_steps=1, target_share=1.0, seed=0)
    with pytest.raises(ValueError, match="hold 3 tokens, the recipe needs 6"):
        pack(tokenizer, ["a b"], settings)
