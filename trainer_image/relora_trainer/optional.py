"""What a step can do without: nothing that is only looked at may end it."""

import logging
from collections.abc import Callable
from typing import TypeVar

LOG = logging.getLogger(__name__)
Made = TypeVar("Made")


def optional(what: str, make: Callable[[], Made]) -> Made | None:
    """Return what `make` makes. Where it fails, log why and return None.

    Args:
        what: For the log.
        make: Makes it.
    """
    try:
        return make()
    except Exception:  # whatever it is: the step's result does not depend on it
        LOG.warning("%s is left out", what, exc_info=True)
        return None
