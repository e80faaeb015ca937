"""When a step's checkpoints are stored, and from which one it continues.

A checkpoint costs time, and a kill costs what was done since the last one. The interval follows from what storing
took: a run spends at most a twentieth of its time on it. SIGTERM stores a last one.
"""

import logging
from collections.abc import Mapping
from pathlib import Path

from relora_store.checkpoints import Checkpoint, CheckpointArea
from relora_store.errors import DeniedError, StoreError
from relora_trainer.ports import Clock, StopSignal

LOG = logging.getLogger(__name__)
SHARE = 0.05
"""Most time that checkpoints may take, as a share of the step's."""
LEAST_SECONDS = 30.0
"""Shortest time between two checkpoints, and before the first: less is not worth the store's requests."""


class Pace:
    """Decides when the next checkpoint is due, from what the last one cost."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._due = clock.monotonic() + LEAST_SECONDS

    def is_due(self) -> bool:
        """Tell whether enough time has passed since the last checkpoint."""
        return self._clock.monotonic() >= self._due

    def spent(self, start: float) -> None:
        """Take note of a checkpoint that was begun at `start` and has just ended."""
        end = self._clock.monotonic()
        self._due = end + max(LEAST_SECONDS, (end - start) * (1 / SHARE - 1))


class StepCheckpoints:
    """The files from which one step continues: a folder whose content is stored from time to time.

    What lies in the folder when a step begins was stored and verified; what an earlier run left there is not used.

    Attributes:
        warnings: For the report.
    """

    def __init__(
        self, area: CheckpointArea, folder: Path, *, clock: Clock, stop: StopSignal, versions: Mapping[str, str]
    ) -> None:
        """Use `area` of the store and the local `folder`.

        Args:
            area: The step's part of the store.
            folder: Belongs to us.
            clock: Measures what storing costs.
            stop: Tells that SIGTERM has arrived.
            versions: Of everything that the result may depend on; a checkpoint of others is not continued.
        """
        self.warnings: list[str] = []
        self._area = area
        self._folder = folder
        self._clock = clock
        self._stop = stop
        self._versions = versions
        self._conditions: Mapping[str, str] | None = None
        self._machine: Mapping[str, str] = {}
        self._pace = Pace(clock)

    def restore(self, conditions: Mapping[str, str], machine: Mapping[str, str]) -> Path:
        """Return the step's folder, with the files of the newest checkpoint that fits, or empty.

        Args:
            conditions: What must be the same to continue from a checkpoint, beside the versions: device and precision.
            machine: What must be the same to end with the same bits as a run without an interruption.

        Raises:
            TemporaryError: The store did not answer. To start again would cost more than to wait.
        """
        self._conditions, self._machine = {**self._versions, **conditions}, machine
        try:
            found = self._area.restore(self._folder, self._fits)
        except DeniedError as error:
            self._warn(f"no checkpoints: {error}")
            self._conditions = None
            self._folder.mkdir(parents=True, exist_ok=True)
            return self._folder
        if found is not None:
            LOG.info("continuing from checkpoint %d: %s", found.sequence, ", ".join(found.files))
            if found.machine != machine:
                self._warn(
                    f"continued on other hardware, which may round differently: {_changes(found.machine, machine)}"
                )
        return self._folder

    def is_due(self) -> bool:
        """Tell whether the state should be written to the folder and saved now: it is time, or SIGTERM has arrived."""
        return self._stop.is_set() or self._pace.is_due()

    def save(self) -> None:
        """Store what lies in the folder. A store that does not answer does not end the step.

        Raises:
            StoppedError: SIGTERM has arrived.
        """
        self.store()
        self._stop.check()

    def store(self) -> bool:
        """Store what lies in the folder, and tell whether the store has it."""
        if self._conditions is None:
            return True
        start = self._clock.monotonic()
        try:
            self._area.write(self._folder, self._conditions, self._machine)
        except StoreError as error:
            LOG.warning("the checkpoint was not stored: %s", error)
            return False
        finally:
            self._pace.spent(start)
        return True

    def remove(self) -> None:
        """Remove the step's checkpoints: its report is stored."""
        if self._conditions is not None:
            self._area.remove()

    def _fits(self, checkpoint: Checkpoint) -> bool:
        if checkpoint.conditions == self._conditions:
            return True
        changes = _changes(checkpoint.conditions, self._conditions or {})
        LOG.warning(
            "checkpoint %d is of a run with other conditions and is passed over: %s", checkpoint.sequence, changes
        )
        return False

    def _warn(self, text: str) -> None:
        LOG.warning("%s", text)
        self.warnings.append(text)


def _changes(before: Mapping[str, str], now: Mapping[str, str]) -> str:
    return ", ".join(
        f"{name} was {before.get(name, 'nothing')} and is {now.get(name, 'nothing')}"
        for name in sorted(before.keys() | now.keys())
        if before.get(name) != now.get(name)
    )
