"""What an exposition offers to queries."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from prometheus_client import Metric

TARGET_LABELS = frozenset({"job", "instance"})
"""What Prometheus itself adds to every sample."""


@dataclass
class Offer:
    """Names, labels and values of labels of the samples."""

    labels: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    """By name of a sample."""
    values: dict[tuple[str, str], set[str]] = field(default_factory=lambda: defaultdict(set))
    """By name of a sample and name of a label."""

    def add(self, families: Iterable[Metric]) -> None:
        """Add what was scraped or collected."""
        for family in families:
            for sample in family.samples:
                self.labels[sample.name] |= set(sample.labels) | TARGET_LABELS
                for label, value in sample.labels.items():
                    self.values[sample.name, label].add(value)
