"""TRL's SFTTrainer with packing, in a process and an environment of its own: `python -m bench.method.sft WORK.json`.

It reads numbers of optimizer steps from standard input, one a line, and answers each with the tokens per second of so
many steps. The first line that it writes has the versions. It is run with the packages of `locks/bench.txt`, so it
imports nothing of the trainer.
"""

import json
import os
import sys
import tempfile
import warnings
from importlib.metadata import version
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer, PrinterCallback
from trl import SFTConfig, SFTTrainer

from bench.method.sftwork import Work
from bench.method.stepwatch import CountingCollator, StepWatch

PACKAGES = ("trl", "transformers", "peft", "torch", "accelerate", "datasets")


class Sft:
    """SFTTrainer at its defaults, but for two of them.

    Gradient checkpointing is off: the trainer's own loop does not use it either. And it computes in the precision of
    the base's weights: by default it would compute in bfloat16 even where that is slower, as on some processors.
    """

    def __init__(self, work: Work) -> None:
        base = AutoModelForCausalLM.from_pretrained(work["base"], dtype=getattr(torch, work["dtype"]))
        config = LoraConfig(
            r=work["rank"],
            lora_alpha=work["lora_alpha"],
            target_modules=work["target_modules"],
            task_type="CAUSAL_LM",
        )
        self._work = work
        self._model = get_peft_model(base, config)
        self._tokenizer = AutoTokenizer.from_pretrained(work["base"])
        self._data = Dataset.from_list(work["rows"])

    def tokens_per_second(self, steps: int) -> float:
        """Train for `steps` optimizer steps; setting the trainer up and packing are not counted."""
        watch = StepWatch()
        with tempfile.TemporaryDirectory(prefix="relora-bench-") as folder:
            arguments = SFTConfig(
                output_dir=folder,
                packing=True,
                max_length=self._work["packed_tokens"],
                per_device_train_batch_size=1,
                learning_rate=self._work["learning_rate"],
                max_steps=steps,
                gradient_checkpointing=False,
                bf16=self._work["dtype"] == "bfloat16",
                use_cpu=not torch.cuda.is_available(),
                save_strategy="no",
                report_to=[],
                disable_tqdm=True,
                logging_strategy="no",
                dataloader_pin_memory=torch.cuda.is_available(),
            )
            trainer = SFTTrainer(
                model=self._model,
                args=arguments,
                train_dataset=self._data,
                processing_class=self._tokenizer,
                callbacks=[watch],
            )
            counting = CountingCollator(trainer.data_collator)
            trainer.data_collator = counting
            trainer.remove_callback(PrinterCallback)  # standard output is for the answers
            trainer.train()
        return sum(counting.tokens[:steps]) / watch.seconds


def main(path: Path) -> None:
    """Answer until standard input ends."""
    warnings.filterwarnings("ignore")
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever the libraries print is no answer
    sft = Sft(json.loads(path.read_text()))
    print(json.dumps({package: version(package) for package in PACKAGES}), file=answers, flush=True)
    for line in sys.stdin:
        print(sft.tokens_per_second(int(line)), file=answers, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
