"""What every step of a re-adaptation does: prepare the inputs, judge a candidate, publish what passed."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from relora_contract.artifacts import ArtifactKind, ArtifactRef, Provenance
from relora_contract.digests import hex_part
from relora_contract.request import BaseRef
from relora_store.errors import NotFoundError
from relora_trainer.adapter import Adapter, read_adapter, read_config, read_settings, write_adapter
from relora_trainer.adapter_rules import check_engine, check_rank
from relora_trainer.baseline import baseline_of
from relora_trainer.blocks import BaseWeights, open_base
from relora_trainer.class_order import check_class_order
from relora_trainer.datasets import Parts
from relora_trainer.evaluation import Evaluation
from relora_trainer.execution import StepContext, StepResult, versions
from relora_trainer.factors import Factors
from relora_trainer.fingerprint import fingerprints
from relora_trainer.gate import check_sample, judge, measure, power_warnings
from relora_trainer.hardware import conditions, machine
from relora_trainer.heads import Head
from relora_trainer.items import Encoder
from relora_trainer.outcomes import Outcome
from relora_trainer.placement import choose_placement
from relora_trainer.preflight import check_bases, check_metrics, check_task
from relora_trainer.records import GATE_RECORD, MONITOR_RECORD, read_outcomes, write_outcomes
from relora_trainer.session import Session, open_session
from relora_trainer.standing import reading_of, reference_of
from relora_trainer.tokenizer_rules import tokenizer_warnings
from relora_trainer.workspace import SHORT, Workspace

LOG = logging.getLogger(__name__)
SERVED_BASE = "base"
"""`base_model_name_or_path` of what is published; the server's fetcher writes the path that it serves."""
USES = {
    "search": "search with",
    "monitor": "watch the training with",
    "gate": "ask the gate about",
    "train": "train on",
}
"""What each part of the dataset is for, in words."""


@dataclass(frozen=True)
class Reference:
    """What the old adapter did on its own base."""

    gate: list[Outcome]
    monitor: list[Outcome]


class Readapting:
    """The inputs of one item, fetched and checked when they are first used."""

    def __init__(self, context: StepContext, step: str) -> None:
        self.context = context
        self.step = step
        self.item = context.item
        self.workspace = Workspace(context.work, context.store)
        self.placement = choose_placement()
        self._cuts: dict[str, str] = {}
        check_task(self.item.task)
        check_metrics(self.item.task, self.item.gates)

    @cached_property
    def adapter(self) -> Adapter:
        """The old adapter, checked against both bases and the server's limits."""
        request = self.context.readaptation
        with self.context.stopwatch.part("load"):
            folder = self.workspace.adapter(self.item.adapter)
            config = read_config(folder)  # what it tells is checked before the bases come, which are the large part
            check_engine(config, self.item.engine)
            read_settings(config, is_classifier=self.item.task.is_classification)
        LOG.info("the dataset has %d examples to train on", len(self.parts.train))
        with self.context.stopwatch.part("load"):
            old = self.workspace.base(request.source_base)
            new = self.workspace.base(request.target_base)
            adapter = read_adapter(folder, check_bases(old, new).linear_shapes, self.item.task.classes)
        check_rank(adapter.rank, self.item.max_lora_rank)
        return adapter

    @cached_property
    def parts(self) -> Parts:
        """The disjoint parts of the dataset."""
        with self.context.stopwatch.part("load"):
            return self.workspace.parts(self.item)

    @cached_property
    def checkpoint(self) -> Path:
        """The folder of what an interrupted attempt had reached; empty when there was none."""
        device, dtype = self.placement.device, self.placement.dtype
        with self.context.stopwatch.part("load"):
            return self.context.checkpoints.restore(conditions(device, dtype), machine(device))

    @cached_property
    def _bases(self) -> tuple[BaseWeights, BaseWeights]:
        request = self.context.readaptation
        return open_base(self.workspace.base(request.source_base)), open_base(self.workspace.base(request.target_base))

    def weights(self, module: str) -> tuple[Tensor, Tensor]:
        """Return W and W′ of a linear module from the files of the two bases, `(out, in)` each."""
        old, new = self._bases
        return old.linear_weights[module].read(), new.linear_weights[module].read()

    @property
    def ranks(self) -> dict[str, int]:
        """Rank of each adapted module."""
        return {module: factors.rank for module, factors in self.adapter.factors.items()}

    def open(self) -> Session:
        """Load the new base with the adapter's layers, after the old one was measured: each may fill the memory."""
        LOG.info("the reference covers %d test examples", len(self.reference.gate))
        return self._open(self.context.readaptation.target_base)

    @property
    def _warnings(self) -> list[str]:
        """What the first step says of the request itself."""
        request, item = self.context.readaptation, self.item
        bases = self.workspace.base(request.source_base), self.workspace.base(request.target_base)
        labels = [example.label for example in self.parts.gate]
        power = power_warnings(item.gates, labels, strategy=item.plan.strategy)
        return [*power, *tokenizer_warnings(item.task, *bases), *self._cuts.values()]

    def _open(self, base: BaseRef) -> Session:
        with self.context.stopwatch.part("load"):
            session = open_session(
                self.workspace.base(base),
                self.ranks,
                self.item.task,
                self.placement,
                dropout=self.adapter.settings.lora_dropout,
                use_dora=self.adapter.settings.use_dora,
                check=self._check_examples if self.is_first else None,
            )
            if self.adapter.head is not None:
                session.lora.set_head(self.adapter.head)
            return session

    def _check_examples(self, encoder: Encoder) -> None:
        """Tokenise what any step will use, so that an example that cannot be is found before a model is loaded.

        Raises:
            DataError: The rest of a prompt leaves no room for its text.
        """
        trains = "recover" in self.item.plan.steps
        for part in ("search", "monitor", "gate", *(("train",) if trains else ())):
            items = encoder.encode(getattr(self.parts, part))
            if items.truncated and part not in self._cuts:
                self._cuts[part] = (
                    f"{items.truncated} of the {len(items.items)} examples to {USES[part]} are longer than maxLength "
                    f"({encoder.max_length} tokens) allows: their texts were cut at the end"
                )
                LOG.warning("%s", self._cuts[part])

    def evaluate(self, session: Session, part: str, *, of: str = "candidate") -> list[Outcome]:
        """Score a part of the dataset with the factors that the session holds.

        Args:
            session: The base and the adapter.
            part: The part's name.
            of: What is scored; names the evaluation in the step's checkpoint.
        """
        session.model.eval()
        path = self.checkpoint / f"evaluation-{of}-{part}.json"
        with self.context.stopwatch.part("evaluate"):
            items = session.encoder.encode(getattr(self.parts, part))

            def progress(done: int, total: int) -> None:
                self.context.stop.check()
                self.context.progress.update(f"{self.step}: {part}", done, total)

            held = session.lora
            evaluation = Evaluation(path, held.factors(), self.context.checkpoints, head=held.head_weight())
            return evaluation.run(session.outcomes, items, progress)

    @property
    def is_first(self) -> bool:
        """Whether this is the plan's first step, which measures the reference for all."""
        return self.step == self.item.plan.steps[0]

    @cached_property
    def reference_outcomes(self) -> ArtifactRef:
        """The record of the reference: from the first step, which measures it where no earlier request has."""
        if not self.is_first:
            return reference_of(self.context.reports)
        rank, labels = self.adapter.rank, [example.label for example in self.parts.gate]
        check_sample(self.item.gates, labels)
        for warning in self._warnings:
            LOG.warning("%s", warning)
        store, placement = self.context.store, self.placement
        key = baseline_of(self.context.readaptation, conditions(placement.device, placement.dtype), versions()).key
        known = store.find_baseline(key)
        if known is not None and self._is_stored(known):
            LOG.info("an earlier request measured the old adapter on its own base: %s", known.uri)
            return known
        LOG.info("measuring the old adapter of rank %d on its own base, on %d test examples", rank, len(labels))
        measured = self._measure_reference()
        store.note_baseline(key, measured)
        return measured

    def _is_stored(self, state: ArtifactRef) -> bool:
        try:
            self.workspace.state(state)
        except NotFoundError:
            return False
        return True

    def _measure_reference(self) -> ArtifactRef:
        session = self._open(self.context.readaptation.source_base)
        session.lora.set_factors(self.adapter.factors)
        record = self.scratch("reference")
        outcomes = self.evaluate(session, "gate", of="reference")
        if self.item.task.is_classification:
            check_class_order(outcomes, self.item.task.classes)
        write_outcomes(record / GATE_RECORD, outcomes)
        write_outcomes(record / MONITOR_RECORD, self.evaluate(session, "monitor", of="reference"))
        return self.publish(record, "Outcomes")

    @cached_property
    def reference(self) -> Reference:
        """What the old adapter did on its own base."""
        folder = self.workspace.state(self.reference_outcomes)
        return Reference(read_outcomes(folder / GATE_RECORD), read_outcomes(folder / MONITOR_RECORD))

    def scratch(self, name: str) -> Path:
        """Return a folder of this request's own; it may hold what an interrupted run left."""
        return self.workspace.scratch(f"{hex_part(self.item.request_digest)[:SHORT]}/{name}")

    def judge_and_publish(self, session: Session, *, alpha: str | None = None, beta: str | None = None) -> StepResult:
        """Publish the factors that the session holds and ask the gate about them.

        What is judged is what will be served: the factors and the head as they are stored, in the old adapter's
        precision. An adapter that does not pass is published too: when only the gates change, it needs no second
        training.
        """
        factors = {name: pair.to(self.adapter.dtype).to(torch.float32) for name, pair in session.lora.factors().items()}
        session.lora.set_factors(factors)
        head = self._held_head(session)
        if head is not None:
            session.lora.set_head(head)
        use = self.context.store.note_reading(reading_of(self.item, self.step))
        outcomes = self.evaluate(session, "gate")
        gates, strategy = self.item.gates, self.item.plan.strategy
        verdict, evidence = judge(gates, outcomes, self.reference.gate, strategy=strategy)
        LOG.info("%s: gate %s", self.step, verdict)
        record = self.scratch(f"{self.step}-outcomes")
        write_outcomes(record / GATE_RECORD, outcomes)
        return StepResult(
            verdict=verdict,
            artifact=self._publish_adapter(session, factors, head, alpha, beta),
            outcomes=self.publish(record, "Outcomes"),
            reference_outcomes=self.reference_outcomes if self.is_first else None,
            alpha=alpha,
            beta=beta,
            quality=[measure(metric, outcomes) for metric in self.item.task.metrics],
            gates=evidence,
            split_use=use,
            warnings=self._warnings if self.is_first else [],
        )

    def publish(self, folder: Path, kind: ArtifactKind, provenance: Provenance | None = None) -> ArtifactRef:
        """Publish a folder that is not an adapter."""
        with self.context.stopwatch.part("publish"):
            return self.context.store.publish(folder, kind, provenance or self.provenance())

    def provenance(self, alpha: str | None = None, beta: str | None = None) -> Provenance:
        """Return what an artifact of this step is made from."""
        request, dataset = self.context.readaptation, self.item.dataset
        return Provenance(
            request_digest=self.item.request_digest,
            step=self.step,
            source_base_digest=request.source_base.digest,
            target_base_digest=request.target_base.digest,
            input_adapter_digest=self.item.adapter.digest,
            dataset_digests={
                "train": dataset.train.digest,
                "validation": dataset.validation.digest,
                "test": dataset.test.digest,
            },
            code_version=versions()["relora"],
            image=request.image,
            seed=self.item.plan.seed,
            alpha=alpha,
            beta=beta,
        )

    def _held_head(self, session: Session) -> Head | None:
        """Return the class head that the session holds, as precise as it will be stored."""
        weight = session.lora.head_weight()
        return None if weight is None or self.adapter.head is None else self.adapter.head.holding(weight)

    def _publish_adapter(
        self, session: Session, factors: Mapping[str, Factors], head: Head | None, alpha: str | None, beta: str | None
    ) -> ArtifactRef:
        folder = self.scratch(f"{self.step}-adapter")
        write_adapter(
            folder,
            factors,
            source=self.adapter.settings,
            dtype=self.adapter.dtype,
            base_model=SERVED_BASE,
            head=head,
        )
        prints = fingerprints(session.model, session.lora, session.encoder, self.item.task)
        with self.context.stopwatch.part("publish"):
            return self.context.store.publish(folder, "Adapter", self.provenance(alpha, beta), prints)
