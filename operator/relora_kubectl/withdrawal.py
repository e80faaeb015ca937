"""Withdraws a release: shows first what that does, then writes the field."""

from dataclasses import dataclass

from pydantic import Field

from relora_contract.api.release import BaseModelRelease
from relora_contract.model import Model
from relora_kubectl.cluster import Cluster
from relora_kubectl.errors import ExitCode, PluginError
from relora_kubectl.kinds import RELEASE
from relora_kubectl.looks import look_around
from relora_kubectl.returns import Returns, returns_of
from relora_kubectl.returns_text import returns_blocks
from relora_kubectl.tables import Block, Note

WITHDRAWN_FIELD = ("spec", "withdrawn")
FINAL = (
    "A withdrawal is final: spec.withdrawn is never false again. To use these weights later, create a new "
    "BaseModelRelease."
)


class WithdrawalView(Model):
    """What a withdrawal did."""

    release: str
    changed: bool
    """False when the release was withdrawn already."""
    owned_by: list[str] = Field(default_factory=list)
    """GitOps managers that own the field."""
    returns: Returns
    """What moves, as seen before the write."""


@dataclass(frozen=True)
class Withdrawal:
    """A release and what its withdrawal would do."""

    release: BaseModelRelease
    view: WithdrawalView


async def look_ahead(cluster: Cluster, name: str) -> Withdrawal:
    """Return what the withdrawal of a release would do.

    Raises:
        PluginError: The release does not exist, or the cluster cannot be read.
    """
    found = await cluster.find_owned(RELEASE, "", name, WITHDRAWN_FIELD)
    if found is None:
        raise PluginError(f"BaseModelRelease {name} does not exist", ExitCode.REFUSED)
    view = WithdrawalView(
        release=name,
        changed=not found.one.spec.withdrawn,
        owned_by=list(found.owners),
        returns=returns_of(found.one, await look_around(cluster)),
    )
    return Withdrawal(found.one, view)


async def withdraw_release(cluster: Cluster, seen: BaseModelRelease) -> None:
    """Withdraw the very release that was shown, unless its spec was changed meanwhile; its status may have.

    Raises:
        PluginError: It was replaced or changed, or may not be changed.
    """
    name = seen.metadata.name
    now = await cluster.find(RELEASE, "", name)
    if now is None or (now.metadata.uid, now.spec) != (seen.metadata.uid, seen.spec):
        raise PluginError(f"{name} was changed or replaced meanwhile: look again", ExitCode.REFUSED)
    await cluster.set_spec(RELEASE, now.metadata, {"withdrawn": True})


def preview_blocks(view: WithdrawalView) -> list[Block]:
    """Return what the withdrawal does, before it is confirmed."""
    if not view.changed:
        return [Note(f"release {view.release} was withdrawn already"), *returns_blocks(view.returns)]
    return [Note(f"the withdrawal of release {view.release}:"), *returns_blocks(view.returns), Note(FINAL)]
