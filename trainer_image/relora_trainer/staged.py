"""What both stages of fine-tuning share: the tuner over the dataset, the monitor, checkpoints."""

import json
import logging
from functools import cached_property
from pathlib import Path

from relora_contract.artifacts import ArtifactRef
from relora_contract.readaptation import Refine, Strategy
from relora_trainer.errors import ConfigurationError
from relora_trainer.execution import StepContext
from relora_trainer.factor_files import read_factors
from relora_trainer.initialization import HEAD_DEVIATION, Initialization, balanced, fresh, untouched
from relora_trainer.outcomes import Outcome
from relora_trainer.readapting import Readapting
from relora_trainer.readiness import MONITOR_ITEMS, Watch, monitor_interval, seems_ready
from relora_trainer.schedule import Schedule
from relora_trainer.session import Session
from relora_trainer.tuning import STATE_JSON, Ending, StepStatistics, Tuner, train

LOG = logging.getLogger(__name__)
MICRO_BATCH = 16
WATCH = "watch.json"


class StagedTuning:
    """One stage of one adapter."""

    def __init__(self, context: StepContext, step: str) -> None:
        self.work = Readapting(context, step)
        self.context = context
        self.step = step
        self.plan = self.work.item.plan
        self._watch = Watch()

    @cached_property
    def session(self) -> Session:
        """The new base with the adapter's layers."""
        return self.work.open()

    @cached_property
    def tuner(self) -> Tuner:
        """The tuner, anchored at its start; both stages make the same one."""
        start = self._initialization()
        items = self.session.encoder.encode(self.work.parts.train)
        return Tuner(
            self.session.model,
            self.session.lora,
            items,
            self._schedule(len(items.items)),
            initial=start.factors,
            scaling=start.scaling,
            head=start.head,
            batch_size=self.plan.batch_size,
            micro_batch_size=min(self.plan.batch_size, MICRO_BATCH),
            seed=self.plan.seed,
        )

    @property
    def coefficients(self) -> tuple[str | None, str | None]:
        """(α, β) of the start, from the step before; a new adapter has none."""
        before = list(self.context.reports.values())
        return (before[-1].alpha, before[-1].beta) if before else (None, None)

    def _initialization(self) -> Initialization:
        adapter = self.work.adapter
        match self.plan.strategy:
            case Strategy.SCRATCH:
                deviation = getattr(self.session.model.config, "initializer_range", HEAD_DEVIATION)
                return fresh(adapter, self.plan.seed, head_deviation=deviation)
            case Strategy.PORTLLM_FINE_TUNE:
                return untouched(adapter)
        ref = self.context.reports["fuse"].training_state
        if ref is None:
            raise ConfigurationError("the stored report of fuse has no initialization")
        return balanced(read_factors(self.work.workspace.state(ref)), adapter.head)

    def _schedule(self, examples: int) -> Schedule:
        total = self.plan.epochs * (examples // min(self.plan.batch_size, examples))
        return Schedule(
            total_steps=total,
            stage1_steps=max(1, round(float(self.plan.recover_fraction) * total)),
            learning_rate=float(self.plan.learning_rate),
            min_learning_rate=float(self.plan.min_learning_rate),
            anchor_strong=float(self.plan.anchor_strong) if self.plan.anchored else 0.0,
            anchor_weak=float(self.plan.anchor_weak) if self.plan.anchored else 0.0,
        )

    @property
    def _state_folder(self) -> Path:
        return self.work.checkpoint / "tuning"

    def train(self, until: int) -> Ending:
        """Train until `until` steps were made in all, or the monitor says that the adapter is good enough."""
        if (self._state_folder / STATE_JSON).is_file():
            self.tuner.restore(self._state_folder)
            self._watch = Watch(json.loads((self._state_folder / WATCH).read_text())["row"])
            LOG.info("%s: continuing after step %d", self.step, self.tuner.step_count)
            if self._watch.is_ready:
                return Ending.READY
        ending = self._train(until)
        self._write_state()
        return ending

    def _train(self, until: int) -> Ending:
        items = len(self.work.reference.monitor[:MONITOR_ITEMS])
        with self.context.stopwatch.part("train"):
            return train(
                self.tuner,
                until,
                monitor_every=monitor_interval(items, self.plan.batch_size),
                is_ready=self._is_ready,
                is_due=self.context.checkpoints.is_due,
                checkpoint=self._save,
                on_step=self._tell,
            )

    def _save(self) -> None:
        self._write_state()
        self.context.checkpoints.save()

    def _write_state(self) -> None:
        self.tuner.save(self._state_folder)
        (self._state_folder / WATCH).write_text(json.dumps({"row": self._watch.row}))

    def publish_state(self) -> ArtifactRef:
        """Store everything that the next stage continues from."""
        folder = self.work.scratch(f"{self.step}-state")
        self.tuner.save(folder)
        return self.work.publish(folder, "TrainingState")

    def monitor(self) -> list[Outcome]:
        """Score the monitor examples with the factors as they are."""
        items = self.session.encoder.encode(self.work.parts.monitor[:MONITOR_ITEMS])
        return self.session.outcomes(items)

    def _is_ready(self, step: int) -> bool:
        if self.plan.refine is Refine.ALWAYS:
            return False
        outcomes = self.monitor()
        keys = {outcome.key for outcome in outcomes}
        reference = [outcome for outcome in self.work.reference.monitor if outcome.key in keys]
        ready = seems_ready(self.work.item.gates, outcomes, reference)
        LOG.info("%s: step %d: the monitor says %s", self.step, step, "ready" if ready else "not yet")
        return self._watch.tell(ready=ready)

    def _tell(self, step: int, statistics: StepStatistics) -> None:
        total = self.tuner.schedule.total_steps
        self.context.progress.update(self.step, step, total, f"loss {statistics.loss:.4f}")
