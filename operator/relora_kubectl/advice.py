"""A reason with its message and what the documentation says is to be done."""

from collections.abc import Iterable

from relora_contract.model import Model
from relora_operator.core.lineage import Refusal
from relora_operator.core.reasons import REGISTRY, parse_reason


class Advice(Model):
    """Why something is as it is, and what to do."""

    reason: str
    message: str = ""
    remedy: str = ""


def remedy_of(reason: str) -> str:
    """Return what the documentation says is to be done; empty for what passes by itself, or is not documented."""
    known = parse_reason(reason)
    return REGISTRY[known].remedy if known is not None else ""


def stays(reason: str) -> bool:
    """Tell whether what has this reason stays as it is unless someone acts; what is not documented does."""
    known = parse_reason(reason)
    return known is None or REGISTRY[known].terminal


def advice(reason: str, message: str = "") -> Advice:
    """Return a reason with its documented remedy."""
    return Advice(reason=reason, message=message, remedy=remedy_of(reason))


def advice_on(refusal: Refusal) -> Advice:
    """Return what a refusal means for people."""
    return advice(refusal.reason, refusal.message)


def remedies(reasons: Iterable[str]) -> list[tuple[str, str]]:
    """Return each reason once, in the order of the first mention, with its remedy; without those that have none."""
    return [(reason, remedy_of(reason)) for reason in dict.fromkeys(reasons) if remedy_of(reason)]
