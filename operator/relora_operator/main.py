"""The command `relora-operator`."""

import asyncio
import logging
import sys

from relora_operator.core.decide import DECISIONS
from relora_operator.kube.connect import ConnectionConfigError
from relora_operator.logs import configure_logs
from relora_operator.loop.resync import NotInstalledError
from relora_operator.process import run
from relora_operator.settings import parse_arguments

logger = logging.getLogger(__name__)


def main() -> None:
    """Run the command line and exit."""
    settings = parse_arguments(sys.argv[1:])
    configure_logs(settings.log_level)
    try:
        code = asyncio.run(run(settings, DECISIONS))
    except (ConnectionConfigError, NotInstalledError, OSError) as error:
        logger.error("%s", error)  # noqa: TRY400 - the message says it all
        code = 1
    raise SystemExit(code)
