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
    members: dict[str, Member] = {}
    refused: dict[Key, Refusal] = {}
    present = [binding for binding in bindings if not _leaving(binding, namespaces)]
    seated = {
        (adapter.name, adapter.digest) for each in (live, beside) if each is not None for adapter in each.adapters
    }
    named = [(served_name(binding, server.metadata.namespace), binding) for binding in present]
    admitted = {
        namespace: _admitted(server, namespace, namespaces)
        for namespace in {binding.metadata.namespace for binding in present}
    }
    for name, binding in sorted(named, key=lambda pair: _rank(pair[1], pair[0], seated)):
        refusal = _refusal(server, binding, admitted=admitted[binding.metadata.namespace])
        if refusal is None and name in members:
            refusal = Refusal(
                Reason.SERVED_NAME_CONFLICT, f"{name} is already the name of {_told(members[name].binding, binding)}"
            )
        if refusal is None and len(members) >= server.spec.effective_max_adapters:
            refusal = Refusal(
                Reason.SERVER_FULL,
                f"AdapterServer {server.metadata.name} already holds {len(members)} adapters (spec.maxAdapters)",
            )
        if refusal is None:
            members[name] = Member(binding, name)
        else:
            refused[binding_key(binding)] = refusal
    return Membership(members=tuple(members[name] for name in sorted(members)), refused=refused)


def _told(holder: AdapterBinding, asking: AdapterBinding) -> str:
    """Name a binding to another one; names in other namespaces are not its owner's to see."""
    same = holder.metadata.namespace == asking.metadata.namespace
    return f"AdapterBinding {holder.metadata.name}" if same else "a binding of another namespace"


def _leaving(binding: AdapterBinding, namespaces: Mapping[str, NamespaceView]) -> bool:
    namespace = namespaces.get(binding.metadata.namespace)
    return binding.metadata.deletion_timestamp is not None or (namespace is not None and namespace.terminating)


def _rank(binding: AdapterBinding, name: str, seated: set[tuple[str, str]]) -> tuple[bool, str, str, str]:
    """Sort key: those who are served come first, then the older ones."""
    metadata, current = binding.metadata, binding.status.current
    served = current is not None and bool(seated) and (name, current.adapter.digest) in seated
    return not served, metadata.creation_timestamp, metadata.namespace, metadata.name


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
