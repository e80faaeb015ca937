"""The delta step: Π_64 of the difference of two bases, once for all adapters that move between them."""

from relora_contract.artifacts import Provenance
from relora_trainer.decimals import decimal_text
from relora_trainer.delta import compute_delta
from relora_trainer.execution import StepContext, StepResult, versions
from relora_trainer.hardware import conditions, machine
from relora_trainer.placement import choose_placement
from relora_trainer.workspace import Workspace


def run(context: StepContext) -> StepResult:
    """Project the difference of the request's bases and publish the factors.

    Raises:
        IncompatibleError: The bases differ in the names or shapes of their decoder blocks.
        NonFiniteError: A weight holds NaN or infinity.
    """
    request = context.delta
    workspace = Workspace(context.work, context.store)
    with context.stopwatch.part("load"):
        old = workspace.base(request.source_base)
        new = workspace.base(request.target_base)
    placement = choose_placement()
    folder = context.checkpoints.restore(conditions(placement.device, placement.dtype), machine(placement.device))

    def progress(module: str, done: int, total: int) -> None:
        context.progress.update("project", done, total, module)

    with context.stopwatch.part("project"):
        modules = compute_delta(
            old,
            new,
            folder,
            rank=request.rank,
            placement=placement,
            progress=progress,
            checkpoints=context.checkpoints,
        )
    provenance = Provenance(
        request_digest=request.request_digest,
        step="delta",
        source_base_digest=request.source_base.digest,
        target_base_digest=request.target_base.digest,
        code_version=versions()["relora"],
        image=request.image,
        seed=0,
    )
    with context.stopwatch.part("publish"):
        artifact = context.store.publish(folder, "Delta", provenance)
    return StepResult(
        artifact=artifact,
        captured_energy={name: decimal_text(module.energy) for name, module in modules.items()},
    )
