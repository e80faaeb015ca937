"""Training throughput of the trainer's own loop, against TRL's SFTTrainer with packing.

TRL is not among the packages of the project: its process runs in an environment of the bench (`make bench-method`
makes it), on the same versions of torch, transformers and PEFT.
"""

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from bench.method.chain import Chain
from bench.method.sftwork import Work
from bench.method.throughput import BATCH, RATE, Loop, tokens
from bench.method.timing import reaches
from bench.results import Row
from relora_trainer.adapter import read_adapter
from relora_trainer.blocks import open_base
from relora_trainer.datasets import read_examples
from relora_trainer.placement import choose_placement
from relora_trainer.session import open_session

TESTS = Path(__file__).parents[2]
PYTHON = TESTS.parent / ".venv-bench" / "bin" / "python"
_TIMES = 1.0


def rows(chain: Chain, steps: int, rounds: int) -> Iterator[Row]:
    """Yield the ratio of tokens per second over `rounds` of `steps` optimizer steps each, both sides in turns."""
    ours = Loop(chain, steps * (rounds + 1))
    with tempfile.TemporaryDirectory(prefix="relora-bench-") as folder:
        path = Path(folder) / "work.json"
        path.write_text(json.dumps(_work(chain)))
        with Peer(path) as theirs:
            ours.tokens_per_second(1)
            theirs.tokens_per_second(1)
            found = [ours.tokens_per_second(steps) / theirs.tokens_per_second(steps) for _ in range(rounds)]
            name = f"training throughput, ours ÷ SFTTrainer of TRL {theirs.versions['trl']} with packing"
    yield reaches(name, found, _TIMES)


class Peer:
    """The process of TRL, as a context manager."""

    def __init__(self, work: Path) -> None:
        if not PYTHON.is_file():
            raise FileNotFoundError(f"{PYTHON} is missing: start the bench by `make bench-method`, which makes it")
        environment = os.environ | {"PYTHONPATH": str(TESTS)}
        self._process = subprocess.Popen(
            [PYTHON, "-m", "bench.method.sft", work],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        self.versions: dict[str, str] = json.loads(self._answer())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def tokens_per_second(self, steps: int) -> float:
        """Let it train for `steps` optimizer steps."""
        assert self._process.stdin is not None
        print(steps, file=self._process.stdin, flush=True)
        return float(self._answer())

    def _answer(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise ChildProcessError("the process of TRL ended without an answer; standard error says why")
        return line


def _work(chain: Chain) -> Work:
    adapter = read_adapter(chain.adapter, open_base(chain.new).linear_shapes)
    placement = choose_placement()
    encoder = open_session(chain.new, {}, chain.task, placement).encoder
    items = encoder.encode(read_examples(chain.data / "train.jsonl", chain.task))
    settings = adapter.settings
    rows = tokens(items)
    return Work(
        base=str(chain.new),
        dtype=str(placement.dtype).removeprefix("torch."),
        rank=settings.r,
        lora_alpha=int(settings.lora_alpha),
        target_modules=list(settings.target_modules),
        learning_rate=RATE,
        packed_tokens=BATCH * sum(len(row["input_ids"]) for row in rows) // len(rows),
        rows=rows,
    )
