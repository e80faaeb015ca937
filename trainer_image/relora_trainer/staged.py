"""What both stages of fine-tuning share: the tuner over the dataset, the monitor, checkpoints."""

import json
import logging
from functools import cached_property
from pathlib import Path

from relora_contract.artifacts import ArtifactRef
from relora_contract.readaptation import Refine, Strategy
from relora_contract.report import LearningCurve, Look
from relora_trainer.errors import ConfigurationError, NonFiniteError
from relora_trainer.execution import StepContext
from relora_trainer.factor_files import read_factors
from relora_trainer.gate import measure
from relora_trainer.initialization import HEAD_DEVIATION, Initialization, balanced, fresh, untouched
from relora_trainer.items import ItemSet
from relora_trainer.learning_curve import CurveRecorder
from relora_trainer.outcomes import Outcome
from relora_trainer.readapting import Readapting
from relora_trainer.readiness import MONITOR_ITEMS, Watch, monitor_interval, seems_ready
from relora_trainer.schedule import Schedule
from relora_trainer.session import Session
from relora_trainer.tuning import STATE_JSON, Ending, StepStatistics, Tuner, train

LOG = logging.getLogger(__name__)
MICRO_BATCH = 16
WATCH = "watch.json"
CURVE = "curve.json"


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

    @cached_property
    def _recorder(self) -> CurveRecorder:
        """Of this stage; an interrupted one goes on with what its checkpoint holds."""
        return CurveRecorder.for_steps(self.tuner.schedule.total_steps)

    @property
    def curve(self) -> LearningCurve | None:
        """What this stage has recorded of its training."""
        metric = self.work.item.gates[0].metric
        return self._recorder.curve(measure(metric, self._monitor_reference).value if self._recorder.looks else None)

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
                magnitudes = self.session.lora.base_magnitudes()
                return fresh(adapter, self.plan.seed, magnitudes, head_deviation=deviation)
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
            self._recorder = CurveRecorder.model_validate_json((self._state_folder / CURVE).read_text())
            LOG.info("%s: continuing after step %d", self.step, self.tuner.step_count)
            if self._watch.is_ready:
                return Ending.READY
        ending = self._train(until)
        self._recorder.end(self.tuner.step_count, self._pull)
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
        (self._state_folder / CURVE).write_text(self._recorder.model_dump_json())

    def publish_state(self) -> ArtifactRef:
        """Store everything that the next stage continues from."""
        folder = self.work.scratch(f"{self.step}-state")
        self.tuner.save(folder)
        return self.work.publish(folder, "TrainingState")

    @cached_property
    def _monitor_items(self) -> ItemSet:
        return self.session.encoder.encode(self.work.parts.monitor[:MONITOR_ITEMS])

    def monitor(self) -> list[Outcome]:
        """Score the monitor examples with the factors as they are.

        Raises:
            NonFiniteError: The loss of one is NaN or infinite.
        """
        try:
            return self.session.outcomes(self._monitor_items)
        except NonFiniteError as error:
            raise NonFiniteError(f"after step {self.tuner.step_count} of the training: {error}") from error

    def _is_ready(self, step: int) -> bool:
        if self.plan.refine is Refine.ALWAYS:
            return False
        gates, outcomes = self.work.item.gates, self.monitor()
        ready = seems_ready(gates, outcomes, self._monitor_reference)
        self._recorder.looks.append(Look(step=step, value=measure(gates[0].metric, outcomes).value, ready=ready))
        LOG.info("%s: step %d: the monitor says %s", self.step, step, "ready" if ready else "not yet")
        return self._watch.tell(ready=ready)

    @cached_property
    def _monitor_reference(self) -> list[Outcome]:
        """What the old pair did on the examples of the monitor."""
        keys = {example.key for example in self.work.parts.monitor[:MONITOR_ITEMS]}
        return [outcome for outcome in self.work.reference.monitor if outcome.key in keys]

    def _pull(self) -> tuple[float, float]:
        return self.tuner.drift(), self.tuner.penalty()

    def _tell(self, step: int, statistics: StepStatistics) -> None:
        self._recorder.step(step, statistics.loss, self._pull)
        total = self.tuner.schedule.total_steps
        self.context.progress.update(self.step, step, total, f"loss {statistics.loss:.4f}")
