"""What determines the outcomes of an adapter on its own base: requests that agree in it share one measurement."""

from relora_contract.digests import model_digest
from relora_contract.model import Model
from relora_contract.request import ReadaptationRequest
from relora_contract.task import Task


class Baseline(Model):
    """All that the outcomes depend on, besides the last bits that differ between machines.

    Attributes:
        base: Digest of the base that the adapter was made for.
        adapter: Digest of the adapter.
        task: How examples are put to the model and scored.
        train: Digest of the training file; the other parts lack what it has.
        validation: Digest of the validation file.
        test: Digest of the test file.
        search_items: Examples that the monitor part leaves to the search.
        conditions: Kind of device and precision.
        versions: Of the code.
    """

    base: str
    adapter: str
    task: Task
    train: str
    validation: str
    test: str
    search_items: int
    conditions: dict[str, str]
    versions: dict[str, str]

    @property
    def key(self) -> str:
        """The digest under which the store keeps the outcomes."""
        return model_digest(self)


def baseline_of(request: ReadaptationRequest, conditions: dict[str, str], versions: dict[str, str]) -> Baseline:
    """Return the baseline of the request's only item."""
    item = request.items[0]
    return Baseline(
        base=request.source_base.digest,
        adapter=item.adapter.digest,
        task=item.task,
        train=item.dataset.train.digest,
        validation=item.dataset.validation.digest,
        test=item.dataset.test.digest,
        search_items=item.plan.validation_samples,
        conditions=conditions,
        versions=versions,
    )
