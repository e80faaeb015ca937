"""Fine-tuning in two stages, Algorithm 1 of arXiv 2606.02606, as a loop of our own.

transformers.Trainer fixes its schedule before it starts and stores its state as pickle; here stage 1 may end while it
runs, and the state is safetensors and JSON. A run that is interrupted and resumed ends with the same bits as one that
was not, on the same hardware with the same number of threads.
"""

import hashlib
import json
import logging
import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import PreTrainedModel

from relora_store.errors import IntegrityError as StoreIntegrityError
from relora_store.errors import NotFoundError
from relora_trainer.accumulation import Accumulator
from relora_trainer.anchor import Anchor
from relora_trainer.batching import BatchPlan
from relora_trainer.errors import IntegrityError, NonFiniteError
from relora_trainer.factors import Factors, named_tensors
from relora_trainer.hardware import machine
from relora_trainer.heads import Head
from relora_trainer.items import ItemSet
from relora_trainer.lora import LoraModel
from relora_trainer.random_state import CPU, random_state, set_random_state
from relora_trainer.schedule import Schedule
from relora_trainer.scoring import Batch, completion_nll
from relora_trainer.tensorfile import open_tensors

LOG = logging.getLogger(__name__)
CLIP_NORM = 1.0
ADAM_STATE = ("step", "exp_avg", "exp_avg_sq")
STATE_TENSORS = "state.safetensors"
STATE_JSON = "state.json"


@dataclass(frozen=True)
class StepStatistics:
    """What one optimizer step did.

    Attributes:
        loss: Mean task loss per completion token, in nats; without the anchor.
        gradient_norm: ‖∇‖ of task and anchor, before clipping.
    """

    loss: float
    gradient_norm: float


class Ending(StrEnum):
    """Why `train` returned."""

    READY = "Ready"
    """The monitor said that the adapter is good enough."""
    FINISHED = "Finished"
    """All steps were made."""


class Tuner:
    """Trains the factors of a model's LoRA layers, DoRA's magnitudes included, one optimizer step at a time.

    AdamW without weight decay, which would pull the factors to zero and not to their initialization; gradients are
    clipped to norm 1 after the anchor was added.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        lora: LoraModel,
        items: ItemSet,
        schedule: Schedule,
        *,
        initial: Mapping[str, Factors],
        scaling: Mapping[str, float] | None = None,
        head: Head | None = None,
        batch_size: int,
        micro_batch_size: int,
        seed: int,
    ) -> None:
        """Start at Θ_init.

        Args:
            model: The new base that carries `lora`.
            lora: Its trainable layers; their factors are set to `initial`.
            items: The training examples.
            schedule: Of both stages.
            initial: Θ_init by module: the start, and the anchor of both stages.
            scaling: What B·A is multiplied with, by module; without it, 1.
            head: The start of a classifier's head, and its anchor.
            batch_size: Examples of one optimizer step.
            micro_batch_size: Most examples of one forward pass, fewer if they are long; gradients are accumulated.
            seed: Of the batches and of dropout.
        """
        self.schedule = schedule
        self.step_count = 0
        self._model = model
        self._lora = lora
        self._items = items
        self._plan = BatchPlan([items.length(item) for item in items.items], batch_size=batch_size, seed=seed)
        lora.set_factors(initial, scaling)
        named = named_tensors(initial)
        if head is not None:
            lora.set_head(head)
            named[f"{head.name}.weight"] = head.weight
        self._parameters = lora.parameters()
        self._anchor = Anchor(self._parameters, named)
        self._optimizer = torch.optim.AdamW(self._parameters.values(), lr=schedule.learning_rate, weight_decay=0.0)
        self._device = model.device
        self._accumulator = Accumulator(
            items,
            self._loss,
            clear=self._optimizer.zero_grad,
            micro_batch_size=micro_batch_size,
            device=model.device,
            save_memory=self._recompute_activations,
        )
        torch.manual_seed(seed)

    def drift(self) -> float:
        """Return ‖Θ − Θ_init‖ over all factors."""
        return self._anchor.drift()

    def penalty(self) -> float:
        """Return the anchor's term of the objective with the strength of the last step, eqs. 18 and 21."""
        return self._anchor.penalty(self.schedule.anchor_at(max(self.step_count - 1, 0)))

    def step(self) -> StepStatistics:
        """Make one optimizer step.

        Raises:
            NonFiniteError: The loss or the gradient is NaN or infinite; the factors are as before the step.
        """
        number = self.step_count
        batch = self._plan.batch(number)
        self._model.train()
        loss = self._accumulator.gradient(batch)
        self._anchor.add_gradient(self.schedule.anchor_at(number))
        norm = float(torch.nn.utils.clip_grad_norm_(self._parameters.values(), CLIP_NORM))
        if not (math.isfinite(loss) and math.isfinite(norm)):
            keys = ", ".join(self._items.items[index].key[:12] for index in batch[:4])
            raise NonFiniteError(
                f"step {number}: the loss is {loss} and the gradient's norm {norm}; the batch of {len(batch)} examples "
                f"begins with {keys}"
            )
        for group in self._optimizer.param_groups:
            group["lr"] = self.schedule.learning_rate_at(number)
        self._optimizer.step()
        self._optimizer.zero_grad()  # the monitor has the room of the gradients
        self._model.eval()
        self.step_count += 1
        return StepStatistics(loss, norm)

    def end_stage1(self) -> None:
        """End stage 1 here: E₁ of eq. 22 becomes the number of steps made; E_total stays."""
        self.schedule = self.schedule.with_stage1_ending_at(self.step_count)

    def save(self, folder: Path) -> None:
        """Write everything that determines the rest of the run: safetensors and JSON, no pickle."""
        folder.mkdir(parents=True, exist_ok=True)
        tensors = random_state(self._device)
        for name, parameter in self._parameters.items():
            tensors[f"{name}.value"] = parameter.detach().cpu()
            for key, value in self._optimizer.state.get(parameter, {}).items():
                tensors[f"{name}.{key}"] = value.detach().cpu()
        save_file(tensors, folder / STATE_TENSORS)
        state = {
            "step": self.step_count,
            "schedule": asdict(self.schedule),
            "items": self._items_digest(),
            "stepped": [name for name, parameter in self._parameters.items() if self._optimizer.state.get(parameter)],
            "machine": self._machine(),
        }
        (folder / STATE_JSON).write_text(json.dumps(state, indent=1, sort_keys=True))

    def restore(self, folder: Path) -> bool:
        """Continue the run that `save` wrote; the tuner must have been made with the same arguments.

        Returns:
            Whether the rest of the run will have the same bits as if it had not been interrupted: what decides the
            order of floating-point sums is as it was.

        Raises:
            IntegrityError: The state is damaged, or is that of another run.
        """
        try:
            state = json.loads((folder / STATE_JSON).read_text())
            entries = open_tensors(folder / STATE_TENSORS).tensors
            step, schedule, stepped = int(state["step"]), Schedule(**state["schedule"]), set(state["stepped"])
            same_items = state["items"] == self._items_digest()
        except (OSError, ValueError, KeyError, TypeError, NotFoundError, StoreIntegrityError) as error:
            raise IntegrityError("the training state is incomplete or damaged") from error
        if not same_items:
            raise IntegrityError("the training state is of a run with other examples")
        tensors = {name: entry.read() for name, entry in entries.items()}
        if CPU not in tensors:
            raise IntegrityError(f"the training state lacks {CPU}")
        self._load(tensors, stepped)
        set_random_state(tensors, self._device)
        self.step_count, self.schedule = step, schedule
        return bool(state.get("machine") == self._machine())

    def _recompute_activations(self) -> bool:
        """Compute them a second time in the backward pass from now on: a third slower, with the same gradient."""
        if not self._model.supports_gradient_checkpointing or self._model.is_activation_checkpointing:
            return False
        LOG.warning("the accelerator has no room for the activations of a pass: they are computed twice from now on")
        self._model.activation_checkpointing_enable({"use_reentrant": False})
        return True

    def _loss(self, batch: Batch) -> Tensor:
        return completion_nll(self._model, batch).sum()

    @torch.no_grad()
    def _load(self, tensors: Mapping[str, Tensor], stepped: Collection[str]) -> None:
        """Set the parameters, and AdamW's state of those that it has stepped.

        It has none of a parameter before its first gradient, which some never get: a model may leave projections out.
        """
        for name, parameter in self._parameters.items():
            try:
                values = {key: tensors[f"{name}.{key}"] for key in ("value", *(ADAM_STATE if name in stepped else ()))}
            except KeyError as error:
                raise IntegrityError(f"the training state lacks {error.args[0]}") from error
            if any(values[key].shape != parameter.shape for key in values if key != "step"):
                raise IntegrityError(f"the training state has other shapes for {name}")
            parameter.copy_(values.pop("value"))
            if values:
                # AdamW keeps its step count on the CPU and its moments beside the parameter.
                moments = {key: value.to(self._device) for key, value in values.items() if key != "step"}
                self._optimizer.state[parameter] = {"step": values["step"], **moments}

    def _machine(self) -> dict[str, str]:
        """Return what decides the order of floating-point sums."""
        return {**machine(self._device), "torch": torch.__version__}

    def _items_digest(self) -> str:
        keys = "\n".join(item.key for item in self._items.items)
        return hashlib.sha256(keys.encode()).hexdigest()


def train(
    tuner: Tuner,
    until: int,
    *,
    monitor_every: int,
    is_ready: Callable[[int], bool],
    is_due: Callable[[], bool],
    checkpoint: Callable[[], None],
    on_step: Callable[[int, StepStatistics], None],
) -> Ending:
    """Make optimizer steps until `until` were made in all, or the adapter is ready.

    Args:
        tuner: Fresh or restored.
        until: Count of steps, those before a restore included.
        monitor_every: Optimizer steps between two calls of `is_ready`.
        is_ready: Called with the count of steps made; True ends the training.
        is_due: Asked before every step; True when the state should be saved.
        checkpoint: Saves the state. It ends the training by an error when a stop was asked for.
        on_step: Called after every step with the count of steps made.

    Raises:
        NonFiniteError: A step met NaN or infinity.
    """
    while tuner.step_count < until:
        if is_due():
            checkpoint()
        statistics = tuner.step()
        on_step(tuner.step_count, statistics)
        if tuner.step_count % monitor_every == 0 and is_ready(tuner.step_count):
            return Ending.READY
    return Ending.FINISHED
