"""The reference page of all reasons: `python -m relora_operator.reasons_page` prints it."""

import sys

from relora_operator.core.reasons import REGISTRY, Blame, Entry, Reason

_INTRODUCTION = """# Reasons of conditions

`kubectl get bmr,adb,ads -A` shows the reason of each object in the column STATUS; `kubectl describe` shows the message
beside it. A star (★) marks reasons that stay until someone acts.

An upgrade that waits or fails takes nothing away: a workload keeps the set that it has, and a binding its pair. Not
served are: a server whose set does not get ready (`RolloutFailed`; pods from before its first set go on where
`maxUnavailable` is 0), one whose target does not exist, those who stayed on a fallback that fails, and a binding that
is not admitted.

To try again, run [`kubectl relora retry KIND/NAME -n NAMESPACE`](kubectl-plugin.md), or set the annotation
`relora.dev/retryRequestedAt` of the object to a new value (a release is in no namespace):

```
kubectl annotate adb NAME -n NAMESPACE relora.dev/retryRequestedAt="$(date -Is)" --overwrite
```
"""

_SECTIONS = {
    Blame.OWNER: (
        "For the owner of the binding or of the server",
        "Causes in a tenant's own objects, data or secrets.",
    ),
    Blame.RELEASE: ("For the platform team", "Causes in the release, its weights, its profile or the cluster."),
    Blame.NOBODY: ("Nothing to repair", "States that someone wants, or that pass by themselves."),
}


def reasons_page() -> str:
    """Return the page as Markdown, built from the registry of reasons."""
    lines = [_INTRODUCTION]
    for blame, (title, text) in _SECTIONS.items():
        lines += [f"## {title}", "", text, ""]
        entries = {reason: entry for reason, entry in REGISTRY.items() if entry.blame is blame}
        acting = any(entry.remedy for entry in entries.values())
        lines += ["| Reason | Where | Meaning |" + (" What to do |" if acting else ""), "|---" * (3 + acting) + "|"]
        lines += [_row(reason, entry, acting=acting) for reason, entry in sorted(entries.items())]
        lines.append("")
    return "\n".join(lines)


def _row(reason: Reason, entry: Entry, *, acting: bool) -> str:
    star = " ★" if entry.terminal else ""
    remedy = f" {entry.remedy} |" if acting else ""
    return f"| `{reason.value}`{star} | {_places(entry.conditions)} | {entry.meaning} |{remedy}"


def _places(conditions: tuple[str, ...]) -> str:
    """Return the conditions by kind, as in `AdapterBinding: Ready, UpToDate`."""
    kinds: dict[str, list[str]] = {}
    for condition in conditions:
        kind, _, name = condition.partition(".")
        kinds.setdefault(kind, []).append(name)
    return "; ".join(f"{kind}: {', '.join(names)}" for kind, names in kinds.items())


if __name__ == "__main__":
    sys.stdout.write(reasons_page())
