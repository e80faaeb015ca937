from dataclasses import replace

import pytest
from tokenizers import Tokenizer, normalizers
from transformers import PreTrainedTokenizerFast

from relora_trainer.chat import chat_text
from relora_trainer.datasets import Example
from relora_trainer.errors import ConfigurationError, DataError
from relora_trainer.items import Encoder
from relora_trainer.prompts import Prompt, Turn
from samples.tinymodels import SPECIAL


def example(text: str, before: str = "in: ", after: str = " out:", label: int = 0) -> Example:
    return Example(key="0" * 64, prompt=Prompt(before, text, after), label=label)


def test_a_space_joins_prompt_and_completion_and_the_end_token_closes(tokenizer: PreTrainedTokenizerFast) -> None:
    items = Encoder(tokenizer, ["a", "bc"], 64).encode([example("xyz", label=1)])
    assert str(tokenizer.decode(list(items.items[0].prompt))).replace(" ", "") == "in:xyzout:"
    assert items.choices == tuple(
        (*tokenizer(text, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id) for text in (" a", " bc")
    )
    assert items.completion(items.items[0]) == items.choices[1]
    assert items.length(items.items[0]) == len("in: xyz out:") + 4


def test_no_space_is_added_after_white_space(tokenizer: PreTrainedTokenizerFast) -> None:
    items = Encoder(tokenizer, ["a", "b"], 64).encode([example("xyz", after="\n")])
    assert [len(choice) for choice in items.choices] == [2, 2]


def test_prompts_that_end_differently_are_refused(tokenizer: PreTrainedTokenizerFast) -> None:
    with pytest.raises(DataError, match="end it with text"):
        Encoder(tokenizer, ["a", "b"], 64).encode([example("x", after=""), example("x ", after="")])


def test_a_long_text_is_cut_at_its_end_and_the_rest_of_the_prompt_kept(tokenizer: PreTrainedTokenizerFast) -> None:
    long = "abcdefghij" * 10
    items = Encoder(tokenizer, ["a", "bcd"], 30).encode([example(long), example("short")])
    assert items.truncated == 1
    prompt = items.items[0].prompt
    longest_choice = len(" bcd") + 1
    assert len(prompt) == 30 - longest_choice
    kept = 30 - longest_choice - len("in: ") - len(" out:")
    want = tokenizer("in: " + long[:kept] + " out:")["input_ids"]
    assert prompt == tuple(want)


def test_a_template_that_fills_the_length_is_refused(tokenizer: PreTrainedTokenizerFast) -> None:
    with pytest.raises(DataError, match=r"task\.maxLength 12 leaves no room"):
        Encoder(tokenizer, ["a", "bcd"], 12).encode([example("xyz")])


def test_a_generative_task_has_a_completion_per_example(tokenizer: PreTrainedTokenizerFast) -> None:
    asked = [Example("0" * 64, Prompt("in: ", "x" * 60, " out:"), 0, answer) for answer in ("ab", "abcdef")]
    encoder = Encoder(tokenizer, None, 30)
    items = encoder.encode(asked)
    assert items.choices == ()
    assert [encoder.text(items.completion(item)) for item in items.items] == ["a b", "a b c d e f"]
    assert [item.completion[-1] for item in items.items] == [tokenizer.eos_token_id] * 2
    assert [items.length(item) for item in items.items] == [30, 30]  # a short completion leaves more of the text


def test_a_classifier_reads_the_prompt_alone_and_answers_with_a_row(tokenizer: PreTrainedTokenizerFast) -> None:
    encoder = Encoder(tokenizer, ["?", "!"], 20, is_classifier=True)  # names of classes are not tokenised
    items = encoder.encode([example("xyz", label=1), example("abcdefghij" * 5), example("x", after=" ")])
    assert items.choices == ((0,), (1,))
    assert items.completion(items.items[0]) == (1,)
    assert items.items[0].prompt == tuple(tokenizer("in: xyz out:")["input_ids"])
    assert (items.truncated, len(items.items[1].prompt)) == (1, 20)


@pytest.mark.parametrize(("pad", "kept"), [("<pad>", 6), ("</s>", 7), (None, 7)])
def test_a_classifier_looks_at_the_last_token_that_is_no_padding(
    tokenizer: PreTrainedTokenizerFast, pad: str | None, kept: int
) -> None:
    """As transformers does, whose models pass over the pad token also where a prompt ends with it."""
    token = None if pad is None else tokenizer.get_vocab()[pad]
    encoder = Encoder(tokenizer, ["a", "b"], 20, is_classifier=True, pad=token)
    (item,) = encoder.encode([example("ab<pad>", before="<pad>abc", after="")]).items
    assert len(item.prompt) == kept
    assert item.prompt[0] == tokenizer.pad_token_id
    (empty,) = encoder.encode([example("<pad><pad>", before="", after="")]).items
    assert len(empty.prompt) == (1 if pad == "<pad>" else 2)


def test_choices_with_the_same_tokens_are_refused(tokenizer: PreTrainedTokenizerFast) -> None:
    with pytest.raises(ConfigurationError, match="same tokens"):
        Encoder(tokenizer, ["?", "!"], 12)


def test_a_tokenizer_without_an_end_is_refused(tokenizer: PreTrainedTokenizerFast) -> None:
    tokenizer.eos_token = None
    with pytest.raises(ConfigurationError, match="end-of-sequence"):
        Encoder(tokenizer, ["a", "b"], 12)


CHAT = (
    "{% for m in messages %}<s>{{ m.role[0] }}:{{ m.content | trim }}</s>\n{% endfor %}"
    "{% if add_generation_prompt %}<s>a:{% endif %}"
)
"""Its messages end with `</s>` and a line feed, as those of many released models."""


def chat_example(text: str, label: int = 0) -> Example:
    turns = (Turn("system", "be"), Turn("user", None))
    return Example("0" * 64, Prompt("in: ", text, " out:", turns), label)


def test_a_chat_has_the_form_of_the_tokenizers_template(tokenizer: PreTrainedTokenizerFast) -> None:
    tokenizer.chat_template = CHAT
    encoder = Encoder(tokenizer, ["a", "bc"], 64, is_chat=True)
    items = encoder.encode([chat_example("xyz", label=1)])
    (item,) = items.items
    want = "<s>s:be</s>\n<s>u:in: xyz out:</s>\n<s>a:"
    assert item.prompt == tuple(tokenizer(want, add_special_tokens=False)["input_ids"])
    assert items.completion(item) == (*tokenizer("bc", add_special_tokens=False)["input_ids"], tokenizer.eos_token_id)


def test_what_the_template_puts_before_and_after_an_answer_belongs_to_it(tokenizer: PreTrainedTokenizerFast) -> None:
    tokenizer.chat_template = (
        "{% for m in messages %}{{ m.role }}:"
        "{% if m.role == 'assistant' %} I:{% endif %}{{ m.content }}<pad>{% endfor %}"
        "{% if add_generation_prompt %}assistant:{% endif %}"
    )
    encoder = Encoder(tokenizer, None, 64, is_chat=True)
    asked = Example("0" * 64, Prompt("", "xyz", "", (Turn("user", None),)), 0, "ab")
    completion = encoder.encode([asked]).items[0].completion
    assert completion == (*tokenizer(" I:ab", add_special_tokens=False)["input_ids"], tokenizer.pad_token_id)
    assert encoder.end == tokenizer.pad_token_id


def test_a_long_chat_is_cut_inside_its_text(tokenizer: PreTrainedTokenizerFast) -> None:
    tokenizer.chat_template = CHAT
    encoder = Encoder(tokenizer, ["a", "bc"], 40, is_chat=True)
    items = encoder.encode([chat_example("abcdefghij" * 10)])
    assert (items.truncated, len(items.items[0].prompt)) == (1, 40 - len("bc") - 1)
    end = tokenizer(" out:</s>\n<s>a:", add_special_tokens=False)["input_ids"]
    assert list(items.items[0].prompt[-len(end) :]) == end


@pytest.mark.parametrize(
    ("template", "message"),
    [
        (None, "has none: use task.promptTemplate"),
        ("{{ raise_exception('no system here') }}", "refuses them: no system here"),
        (
            "{% for m in messages %}{{ m.content }}{% endfor %}{% if add_generation_prompt %}?{% endif %}",
            "after its prompt",
        ),
        ("{% for m in messages %}{{ m.content | upper }}{% endfor %}", "after its prompt"),
    ],
)
def test_a_chat_template_that_cannot_be_followed_is_refused(
    tokenizer: PreTrainedTokenizerFast, template: str | None, message: str
) -> None:
    tokenizer.chat_template = template
    with pytest.raises(ConfigurationError, match=message):
        Encoder(tokenizer, ["a", "b"], 12, is_chat=True)


def test_a_template_that_writes_the_date_always_gets_the_same(tokenizer: PreTrainedTokenizerFast) -> None:
    tokenizer.chat_template = (
        "{%- if date_string is not defined %}{%- set date_string = strftime_now('%d %b %Y') %}{%- endif %}"
        "{{ date_string }} {{ messages[0].content }}"
    )
    assert chat_text(tokenizer, [{"role": "user", "content": "x"}]) == "01 Jan 2026 x"


def test_a_completion_has_the_tokens_that_it_has_inside_of_a_text(tokenizer: PreTrainedTokenizerFast) -> None:
    inner = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    inner.normalizer = normalizers.Prepend(" ")  # as SentencePiece's tokenizers have it
    prepending = PreTrainedTokenizerFast(tokenizer_object=inner, **SPECIAL)
    assert len(prepending(" a", add_special_tokens=False)["input_ids"]) == len("  a")
    for after, completion in ((" out:", " bc"), ("\n", "bc")):
        items = Encoder(prepending, ["a", "bc"], 64).encode([example("xyz", label=1, after=after)])
        (item,) = items.items
        assert items.completion(item) == (*tokenizer(completion)["input_ids"], tokenizer.eos_token_id)
        generative = Encoder(prepending, None, 64).encode([replace(example("xyz", after=after), completion="bc")])
        assert generative.items[0].completion == items.completion(item)


@pytest.mark.parametrize("written_as", ["", " "])
def test_where_line_ends_are_not_kept_a_completion_has_the_tokens_of_its_own(
    tokenizer: PreTrainedTokenizerFast, written_as: str
) -> None:
    inner = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    inner.normalizer = normalizers.Replace("\n", written_as)
    items = Encoder(PreTrainedTokenizerFast(tokenizer_object=inner, **SPECIAL), ["a", "bc"], 64).encode(
        [example("xyz")]
    )
    assert items.choices == tuple((*tokenizer(text)["input_ids"], tokenizer.eos_token_id) for text in (" a", " bc"))


def test_a_completion_whose_line_ends_join_those_before_it_has_the_tokens_of_its_own(
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    inner = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    inner.normalizer = normalizers.Replace("\n\n", ".")
    joining = PreTrainedTokenizerFast(tokenizer_object=inner, **SPECIAL)
    asked = [replace(example("xyz", after="\n"), completion=text) for text in ("ab", "\nab")]
    items = Encoder(joining, None, 64).encode(asked).items
    assert [item.completion for item in items] == [
        (*tokenizer(text)["input_ids"], tokenizer.eos_token_id) for text in ("ab", "\nab")
    ]
