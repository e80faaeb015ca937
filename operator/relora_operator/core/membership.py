"""Which bindings a server admits, and under which names it serves them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from relora_contract.api.binding import AdapterBinding
from relora_contract.api.server import AdapterServer, BindingsFrom
from relora_contract.names import default_served_name
from relora_contract.serving import ServingSet
from relora_operator.core.actions import Key
from relora_operator.core.lineage import Refusal
from relora_operator.core.observed import NamespaceView
from relora_operator.core.reasons import Reason


@dataclass(frozen=True)
class Member:
    """An admitted binding."""

    binding: AdapterBinding
    served_name: str


@dataclass(frozen=True)
class Membership:
    """The admitted bindings, and why the others are not."""

    members: tuple[Member, ...]
    refused: dict[Key, Refusal]


def binding_key(binding: AdapterBinding) -> Key:
    """Return the key of a binding."""
    return Key("AdapterBinding", binding.metadata.namespace, binding.metadata.name)


def server_key(binding: AdapterBinding) -> Key | None:
    """Return the key of the server that a binding names."""
    ref = binding.spec.server_ref
    return Key("AdapterServer", ref.namespace or binding.metadata.namespace, ref.name) if ref else None


def served_name(binding: AdapterBinding, server_namespace: str) -> str:
    """Return what clients ask for."""
    return binding.spec.served_name or default_served_name(
        binding_namespace=binding.metadata.namespace,
        binding_name=binding.metadata.name,
        server_namespace=server_namespace,
    )


def membership(
    server: AdapterServer,
    live: ServingSet | None,
    bindings: Iterable[AdapterBinding],
    namespaces: Mapping[str, NamespaceView],
    beside: ServingSet | None = None,
) -> Membership:
    """Admit bindings: those in the live set, or in the one `beside` it, keep their seats, then the older come first."""
    refused: dict[Key, Refusal] = {}
    asking: list[Member] = []
    admitted: dict[str, bool] = {}
    for binding in bindings:
        if _leaving(binding, namespaces):
            continue
        namespace = binding.metadata.namespace
        if namespace not in admitted:
            admitted[namespace] = _admitted(server, namespace, namespaces)
        refusal = _refusal(server, binding, admitted=admitted[namespace])
        if refusal is None:
            asking.append(Member(binding, served_name(binding, server.metadata.namespace)))
        else:
            refused[binding_key(binding)] = refusal
    members = {member.served_name: member for member in asking}
    if len(members) < len(asking) or len(members) > server.spec.effective_max_adapters:
        members = _seated(server, asking, _served(live, beside), refused)
    return Membership(members=tuple(members[name] for name in sorted(members)), refused=refused)


def _served(*sets: ServingSet | None) -> set[tuple[str, str]]:
    return {(adapter.name, adapter.digest) for each in sets if each is not None for adapter in each.adapters}


def _seated(
    server: AdapterServer, asking: Iterable[Member], served: set[tuple[str, str]], refused: dict[Key, Refusal]
) -> dict[str, Member]:
    """Return those who get a seat, by served name, where there are more who ask; add the others to `refused`."""
    members: dict[str, Member] = {}
    for member in sorted(asking, key=lambda one: _rank(one, served)):
        binding, name = member.binding, member.served_name
        if name in members:
            refused[binding_key(binding)] = Refusal(
                Reason.SERVED_NAME_CONFLICT, f"{name} is already the name of {_told(members[name].binding, binding)}"
            )
        elif len(members) >= server.spec.effective_max_adapters:
            refused[binding_key(binding)] = Refusal(
                Reason.SERVER_FULL,
                f"AdapterServer {server.metadata.name} already holds {len(members)} adapters (spec.maxAdapters)",
            )
        else:
            members[name] = member
    return members


def _told(holder: AdapterBinding, asking: AdapterBinding) -> str:
    """Name a binding to another one; names in other namespaces are not its owner's to see."""
    same = holder.metadata.namespace == asking.metadata.namespace
    return f"AdapterBinding {holder.metadata.name}" if same else "a binding of another namespace"


def _leaving(binding: AdapterBinding, namespaces: Mapping[str, NamespaceView]) -> bool:
    namespace = namespaces.get(binding.metadata.namespace)
    return binding.metadata.deletion_timestamp is not None or (namespace is not None and namespace.terminating)


def _rank(member: Member, served: set[tuple[str, str]]) -> tuple[bool, str, str, str]:
    """Sort key: those who are served come first, then the older ones."""
    metadata, current = member.binding.metadata, member.binding.status.current
    seated = current is not None and (member.served_name, current.adapter.digest) in served
    return not seated, metadata.creation_timestamp, metadata.namespace, metadata.name


def _refusal(server: AdapterServer, binding: AdapterBinding, *, admitted: bool) -> Refusal | None:
    if binding.spec.model != server.spec.model:
        return Refusal(
            Reason.MODEL_MISMATCH, f"AdapterServer {server.metadata.name} serves the model {server.spec.model}"
        )
    if not admitted:
        return Refusal(
            Reason.NOT_ADMITTED,
            f"AdapterServer {server.metadata.namespace}/{server.metadata.name} does not admit bindings of this "
            "namespace (spec.allowedBindings)",
        )
    return None


def _admitted(server: AdapterServer, namespace: str, namespaces: Mapping[str, NamespaceView]) -> bool:
    allowed = server.spec.allowed_bindings
    if allowed is None or allowed.from_ is BindingsFrom.SAME:
        return namespace == server.metadata.namespace
    if allowed.from_ is BindingsFrom.ALL:
        return True
    view = namespaces.get(namespace)
    return view is not None and allowed.selector is not None and allowed.selector.matches(view.labels)
