"""Logs as one JSON object per line."""

import json
import logging
import sys
from datetime import UTC, datetime

from typing_extensions import override

from relora_operator.core.actions import Key

_FIELDS = ("key", "job", "job_uid", "release", "target", "set", "lease")
"""What callers may add by `extra=`. Nothing else is copied from a record, so no object's content gets into a log."""


class JsonFormatter(logging.Formatter):
    """Formats a record as time, level, logger, message and the known extra fields."""

    @override
    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, str] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        for name in _FIELDS:
            if (value := getattr(record, name, None)) is not None:
                entry[name] = _text(value)
        if record.exc_info:
            entry["error"] = self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=False)


def _text(value: object) -> str:
    return (
        "/".join(part for part in (value.kind, value.namespace, value.name) if part)
        if isinstance(value, Key)
        else str(value)
    )


def configure_logs(level: str) -> None:
    """Send every log of the process to the standard output; other libraries' from WARNING on."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("relora_operator").setLevel(level)
