"""The products by name: which inputs and which settings each is made from."""

from dataclasses import asdict, replace

from realdata import docstrings, evolve, lora, reviews, smollm2, tiny, tiny_language, topics
from realdata.cache import JSON, Build, Product
from realdata.classification import Task
from realdata.evolve import Pretraining
from realdata.lora import LoraTraining
from realdata.reviews import Split
from realdata.tiny import TinyTraining
from realdata.topics import Topics

ATTENTION_AND_MLP = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def _release(name: str, base: Product, settings: Pretraining) -> Product:
    def build(work: Build) -> None:
        evolve.evolve(work.inputs[base.name], docstrings.documents(), settings, work.folder, work.stage)

    recipe: dict[str, JSON] = {"version": 1, "text": dict(docstrings.versions()), **asdict(settings)}
    return Product(name, recipe, build, (base,), lora.computed_in)


def _adapter(name: str, base: Product, task: Product, settings: LoraTraining) -> Product:
    def build(work: Build) -> None:
        lora.train_adapter(work.inputs[base.name], work.inputs[task.name], settings, work.folder, work.stage)

    recipe: dict[str, JSON] = {"version": 1, **asdict(settings), "target_modules": list(settings.target_modules)}
    return Product(name, recipe, build, (base, task), lora.computed_in)


def _sentiment(split: Split) -> Product:
    recipe: dict[str, JSON] = {"version": 1, **asdict(split)}
    wheel = reviews.WHEEL.product()
    return Product("task-sentiment", recipe, lambda work: reviews.write_sentiment(work, split), (wheel,))


def _author(split: Split) -> Product:
    recipe: dict[str, JSON] = {"version": 2, **asdict(split)}
    wheel = reviews.WHEEL.product()
    return Product("task-author", recipe, lambda work: reviews.write_author(work, split), (wheel,))


def _topics(name: str, found: Topics, split: Split) -> Product:
    recipe: dict[str, JSON] = {"version": 1, "labels": dict(found.labels), "prompt": found.prompt, **asdict(split)}
    wheel = topics.WHEEL.product()
    return Product(name, recipe, lambda work: topics.write_topics(work, found, split), (wheel,))


def _shortened(name: str, task: Product, split: Split) -> Product:
    def build(work: Build) -> None:
        reviews.shorten_task(work.folder, work.inputs[task.name], split)

    return Product(name, {"version": 1, **asdict(split)}, build, (task,))


def _tiny_task(name: str, task: Task, split: Split, seed: int) -> Product:
    def build(work: Build) -> None:
        count = 8 * (split.train + split.validation + split.test)  # repeated texts are dropped
        reviews.write_task(work.folder, task, tiny_language.rows(task, count, seed), split)

    return Product(name, {"version": 1, "seed": seed, **asdict(split)}, build)


def _tiny_first(settings: TinyTraining) -> Product:
    recipe: dict[str, JSON] = {"version": 1, **asdict(settings)}
    return Product("tiny-r1", recipe, lambda work: tiny.write_first_release(work, settings))


def _tiny_next(base: Product, settings: Pretraining) -> Product:
    def build(work: Build) -> None:
        texts = tiny_language.later_text(6_000, seed=2)
        evolve.evolve(work.inputs[base.name], texts, settings, work.folder, work.stage)

    return Product("tiny-r2", {"version": 1, **asdict(settings)}, build, (base,), lora.computed_in)


BASE_R1 = Product("smollm2-r1", {"version": 1}, smollm2.convert, (smollm2.WHEEL.product(),))
_MILD = Pretraining(
    steps=32,
    blocks_per_step=4,
    block_tokens=128,
    learning_rate=8e-4,
    warmup_steps=8,
    target_share=0.35,
    seed=0,
)
BASE_R2 = _release("smollm2-r2", BASE_R1, _MILD)
TASK_SENTIMENT = _sentiment(Split(train=1600, validation=320, test=500))
TASK_AUTHOR = _author(Split(train=800, validation=320, test=500))
_TRAINING = LoraTraining(8, ATTENTION_AND_MLP, learning_rate=1e-3, batch_size=16, steps=80, warmup_steps=6, seed=0)
ADAPTER_SENTIMENT = _adapter(
    "adapter-sentiment",
    BASE_R1,
    TASK_SENTIMENT,
    _TRAINING,
)
ADAPTER_AUTHOR = _adapter(
    "adapter-author",
    BASE_R1,
    TASK_AUTHOR,
    replace(_TRAINING, steps=40),
)

BASE_R2_HARD = _release("smollm2-r2-hard", BASE_R1, replace(_MILD, steps=96))
_BENCH = Split(train=512, validation=256, test=400)
BENCH_SENTIMENT = _shortened("bench-sentiment", TASK_SENTIMENT, _BENCH)
BENCH_EXCERPT = _shortened("bench-excerpt", TASK_SENTIMENT, Split(train=256, validation=128, test=200))
BENCH_AUTHOR = _shortened("bench-author", TASK_AUTHOR, _BENCH)
TASK_NEWSGROUP = _topics("task-newsgroup", topics.NEWSGROUP, Split(train=516, validation=258, test=402))
TASK_NEWS = _topics("task-news", topics.NEWS, Split(train=515, validation=255, test=400))
ADAPTER_NEWSGROUP = _adapter(
    "adapter-newsgroup",
    BASE_R1,
    TASK_NEWSGROUP,
    _TRAINING,
)
ADAPTER_NEWS = _adapter(
    "adapter-news",
    BASE_R1,
    TASK_NEWS,
    replace(_TRAINING, steps=60),
)

TINY_R1 = _tiny_first(
    TinyTraining(
        steps=160,
        batch_size=64,
        learning_rate=3e-3,
        warmup_steps=20,
        decay_steps=60,
        language_weight=0.3,
        seed=0,
    )
)
TINY_R2 = _tiny_next(
    TINY_R1,
    Pretraining(
        steps=40,
        blocks_per_step=16,
        block_tokens=64,
        learning_rate=2e-3,
        warmup_steps=5,
        target_share=1.0,
        seed=1,
    ),
)
TINY_R2_BAD = Product("tiny-r2-bad", {"version": 1}, tiny.write_broken_release, (TINY_R1,))
TINY_TASK_KIND = _tiny_task("tiny-task-kind", tiny_language.KIND_TASK, Split(768, 256, 384), seed=11)
TINY_TASK_MOOD = _tiny_task("tiny-task-mood", tiny_language.MOOD_TASK, Split(768, 256, 384), seed=12)
_TINY_TRAINING = LoraTraining(4, ATTENTION_AND_MLP, learning_rate=5e-3, batch_size=32, steps=40, warmup_steps=4, seed=0)
TINY_ADAPTER_KIND = _adapter("tiny-adapter-kind", TINY_R1, TINY_TASK_KIND, _TINY_TRAINING)
TINY_ADAPTER_MOOD = _adapter("tiny-adapter-mood", TINY_R1, TINY_TASK_MOOD, _TINY_TRAINING)

DEMO = (BASE_R1, BASE_R2, TASK_SENTIMENT, TASK_AUTHOR, ADAPTER_SENTIMENT, ADAPTER_AUTHOR)
TINY = (TINY_R1, TINY_R2, TINY_R2_BAD, TINY_TASK_KIND, TINY_TASK_MOOD, TINY_ADAPTER_KIND, TINY_ADAPTER_MOOD)
BENCH = (
    BASE_R2_HARD,
    BENCH_SENTIMENT,
    BENCH_EXCERPT,
    BENCH_AUTHOR,
    TASK_NEWSGROUP,
    TASK_NEWS,
    ADAPTER_NEWSGROUP,
    ADAPTER_NEWS,
)
BY_NAME = {product.name: product for product in (*DEMO, *BENCH, *TINY)}
