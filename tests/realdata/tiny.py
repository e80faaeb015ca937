"""Tiny releases of one base and two adapters, made in seconds, for integration and end-to-end tests."""

from dataclasses import dataclass

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch.nn import functional
from transformers import AutoTokenizer, GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from realdata.cache import Build
from realdata.classification import Batch, Example, collate, completion_logits
from realdata.evolve import copy_all_but_weights
from realdata.lora import batches
from realdata.tiny_language import KINDS, MOODS, questions

END, PAD = "<|end|>", "<|pad|>"
MOST_TOKENS = 512
EMBEDDING = "model.embed_tokens.weight"


@dataclass(frozen=True)
class TinyTraining:
    """Hyperparameters of the tiny base: AdamW, linear warm-up and linear decay.

    The loss is that of the answers plus ``language_weight`` times that of all other tokens.
    """

    steps: int
    batch_size: int
    learning_rate: float
    warmup_steps: int
    decay_steps: int
    language_weight: float
    seed: int

    def rate_at(self, step: int) -> float:
        """Return the learning rate of a step, counted from 0."""
        share = min(1.0, (step + 1) / self.warmup_steps, (self.steps - step) / self.decay_steps)
        return self.learning_rate * share


def write_first_release(build: Build, settings: TinyTraining) -> None:
    """Train a tokenizer and a two-layer Llama model from scratch to answer the two questions of the small language."""
    asked = questions(8_000, seed=1)
    tokenizer = _train_tokenizer([prompt + answer for prompt, answer in asked])
    examples = [_example(tokenizer, prompt, answer) for prompt, answer in asked]
    torch.manual_seed(settings.seed)
    model = LlamaForCausalLM(_config(tokenizer))
    optimizer = torch.optim.AdamW(model.parameters())
    for step, some in enumerate(batches(examples, settings.batch_size, settings.steps, settings.seed)):
        for group in optimizer.param_groups:
            group["lr"] = settings.rate_at(step)
        batch = collate(some, tokenizer.pad_token_id)
        answers = functional.cross_entropy(*completion_logits(model, batch))
        loss = answers + settings.language_weight * _language_loss(model, batch)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        build.stage.update(f"step {step + 1}/{settings.steps}, loss of the answers {answers.item():.3f}")
    torch.nn.Module.to(model, torch.bfloat16)
    model.save_pretrained(build.folder)
    GenerationConfig.from_model_config(model.config).save_pretrained(build.folder)
    tokenizer.save_pretrained(build.folder)


def _example(tokenizer: PreTrainedTokenizerFast, prompt: str, answer: str) -> Example:
    return Example(tokenizer.encode(prompt), [*tokenizer.encode(answer), tokenizer.eos_token_id], label=0)


def _language_loss(model: LlamaForCausalLM, batch: Batch) -> torch.Tensor:
    logits = model(input_ids=batch.input_ids, attention_mask=batch.attention_mask).logits[:, :-1]
    real = batch.attention_mask[:, 1:].bool()
    return functional.cross_entropy(logits[real], batch.input_ids[:, 1:][real])


def write_broken_release(build: Build) -> None:
    """Write the first release with one embedding for all words that the tasks ask about.

    No adapter of the linear layers can tell those words apart any more, so every gate that asks for more than chance
    fails, however long the adapter is trained. The weights are finite and the shapes and the tokenizer are the same.
    """
    base = build.inputs["tiny-r1"]
    tokenizer = AutoTokenizer.from_pretrained(base)
    meanings = [word for words in (*KINDS.values(), *MOODS.values()) for word in words]
    ids = sorted(
        {index for word in meanings for spelling in (word, f" {word}") for index in tokenizer.encode(spelling)}
    )
    weights = load_file(base / "model.safetensors")
    weights[EMBEDDING][ids] = weights[EMBEDDING][ids].float().mean(dim=0).to(torch.bfloat16)
    copy_all_but_weights(base, build.folder)
    save_file(weights, build.folder / "model.safetensors", metadata={"format": "pt"})


def _train_tokenizer(texts: list[str]) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=MOST_TOKENS,
        special_tokens=[END, PAD],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END, pad_token=PAD, model_max_length=256)


def _config(tokenizer: PreTrainedTokenizerFast) -> LlamaConfig:
    return LlamaConfig(
        architectures=["LlamaForCausalLM"],
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,  # heads of 32, the smallest that the serving engine supports
        num_key_value_heads=1,
        max_position_embeddings=256,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        tie_word_embeddings=True,
        initializer_range=0.06,  # the default of large models leaves so small a one on a plateau for long
        dtype="bfloat16",
    )
