"""The command `relora-operator`."""

import asyncio
import gc
import logging
import sys

from relora_operator.core.decide import DECISIONS
from relora_operator.kube.connect import ConnectionConfigError
from relora_operator.logs import configure_logs
from relora_operator.loop.resync import NotInstalledError
from relora_operator.process import run
from relora_operator.settings import parse_arguments

logger = logging.getLogger(__name__)

COLLECTIONS = (5_000, 10, 100)
"""When the garbage collector looks at the newest objects, at those that survived that, and at all. What is known of a
fleet is a million objects that stay: by Python's defaults (700, 10, 10) a seventh of the processor time at 1,000
bindings went into looking at all of them again and again."""


def main() -> None:
    """Run the command line and exit."""
    settings = parse_arguments(sys.argv[1:])
    gc.set_threshold(*COLLECTIONS)
    configure_logs(settings.log_level)
    try:
        code = asyncio.run(run(settings, DECISIONS))
    except (ConnectionConfigError, NotInstalledError, OSError) as error:
        logger.error("%s", error)  # noqa: TRY400 - the message says it all
        code = 1
    raise SystemExit(code)
