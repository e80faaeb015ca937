"""The page of all reasons, from the registry that the operator works by: `python -m relora_operator.reason_page`."""

import sys
from collections.abc import Iterator

from relora_operator.core.reasons import REGISTRY, Blame, Entry, Reason

_INTRODUCTION = """# Reasons of conditions

Every condition of a release, a binding or a server carries one of these reasons; its message names the objects. Until
a binding is ready, `Ready`, `Adapted` and `Evaluated` repeat the reason of `UpToDate`. `Stalled` and `Reconciling`
repeat the reason that they stand for, and are there only while they hold.

A failed upgrade changes neither `Ready` nor `Stalled` of what still serves, unless its owner must act.
"""

_SECTIONS: dict[Blame, tuple[str, str]] = {
    Blame.OWNER: (
        "The owner must act",
        "Raised for the owner of the binding, of the server, or of its workload. The object is `Stalled`.",
    ),
    Blame.RELEASE: (
        "The platform team must act",
        "The release, its weights, its profile or the cluster is the cause. What serves goes on serving.",
    ),
    Blame.NOBODY: ("Nothing is to be done", "Wanted states, and states that pass by themselves."),
}


def reason_page() -> str:
    """Return the page as Markdown."""
    return "\n".join([_INTRODUCTION, *(line for blame in _SECTIONS for line in _section(blame))])


def _section(blame: Blame) -> Iterator[str]:
    title, text = _SECTIONS[blame]
    entries = sorted((reason.value, entry) for reason, entry in REGISTRY.items() if entry.blame is blame)
    remedies = blame is not Blame.NOBODY
    yield from (f"## {title}", "", text, "")
    yield "| reason | on | meaning |" + (" remedy |" if remedies else "")
    yield "|---|---|---|" + ("---|" if remedies else "")
    for name, entry in entries:
        yield _row(Reason(name), entry, remedies=remedies)
    yield ""


def _row(reason: Reason, entry: Entry, *, remedies: bool) -> str:
    places = ", ".join(f"`{place}`" for place in entry.conditions)
    if remedies:
        return f"| `{reason}` | {places} | {entry.meaning} | {entry.remedy} |"
    return f"| `{reason}` | {places} | {f'{entry.meaning} {entry.remedy}'.strip()} |"


if __name__ == "__main__":
    sys.stdout.write(reason_page())
