"""Approves a release for bindings: reads, asks, and writes the field of each."""

from collections.abc import Sequence

from relora_contract.api.binding import AdapterBinding
from relora_kubectl.approval import APPROVED_FIELD, Approvals, ApprovalView, Approved, refusals
from relora_kubectl.cluster import Cluster
from relora_kubectl.confirmation import confirm
from relora_kubectl.errors import ExitCode, PluginError
from relora_kubectl.fleet import Fleet
from relora_kubectl.kinds import BINDING, PROFILE, RELEASE, full_name
from relora_kubectl.output import warn
from relora_kubectl.wording import counted
from relora_operator.kube.errors import JsonObject


async def approve_release(
    cluster: Cluster, release_name: str, names: Sequence[str], namespace: str, *, yes: bool
) -> ApprovalView:
    """Approve a release for the named bindings of a namespace, or for all that await it; return what was done.

    Args:
        cluster: Where.
        release_name: The release.
        names: The bindings; none for all that await the release.
        namespace: Where they are; empty for all namespaces.
        yes: The approval of all namespaces needs no further question.

    Raises:
        PluginError: The release or a binding cannot be approved, or the user does not agree. Nothing is approved then.
            What goes wrong later is among the failures of the view.
    """
    fleet = Fleet(
        releases=await cluster.every(RELEASE),
        profiles=await cluster.every(PROFILE),
        namespaces=await cluster.namespaces(namespace),
        bindings=await cluster.every(BINDING, namespace),
        servers=(),
    )
    approvals = Approvals(release_name, fleet)
    if names:
        chosen = _named(fleet.bindings, names, namespace)
        if problems := refusals(approvals, chosen):
            raise PluginError("\n".join(["nothing was approved", *problems]), ExitCode.REFUSED)
    else:
        chosen = approvals.awaiting(fleet.bindings)
        if not namespace and chosen:
            spaces = len({one.metadata.namespace for one in chosen})
            warn(cluster.unreadable)  # before anybody agrees to what the question leaves out
            told = f"{counted(len(chosen), 'binding')} of {counted(spaces, 'namespace')}"
            confirm(f"Approve release {release_name} for {told}?", yes=yes)
    view = ApprovalView(release=release_name, bindings=[])
    for one in chosen:
        try:
            view.bindings.append(await _approve(cluster, approvals, one, release_name))
        except PluginError as error:
            view.failures.append(str(error))
            if error.code is ExitCode.UNREACHABLE:
                break
    return view


def _named(bindings: Sequence[AdapterBinding], names: Sequence[str], namespace: str) -> list[AdapterBinding]:
    known = {one.metadata.name: one for one in bindings}
    absent = [full_name(namespace, name) for name in names if name not in known]
    if absent:
        raise PluginError(f"AdapterBinding {', '.join(absent)} does not exist", ExitCode.REFUSED)
    return [known[name] for name in dict.fromkeys(names)]


async def _approve(cluster: Cluster, approvals: Approvals, seen: AdapterBinding, release_name: str) -> Approved:
    """Write the field of a binding as it is now: meanwhile it may have changed."""
    namespace, name = seen.metadata.namespace, seen.metadata.name
    found = await cluster.find_owned(BINDING, namespace, name, APPROVED_FIELD)
    if found is None:
        raise PluginError(f"AdapterBinding {full_name(namespace, name)} does not exist any more", ExitCode.REFUSED)
    if problems := refusals(approvals, [found.one]):
        raise PluginError(problems[0], ExitCode.REFUSED)
    changed = not found.one.spec.approves(release_name)
    if changed:
        policy: JsonObject = {"approvedReleaseName": release_name}
        await cluster.set_spec(BINDING, found.one.metadata, {"updatePolicy": policy})
    reverted_by = list(found.owners) if changed else []
    return Approved(namespace=namespace, name=name, changed=changed, reverted_by=reverted_by)
