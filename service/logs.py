"""Log lines as JSON, one object a line, each with the id of the request it belongs to."""

import logging
import time

from pythonjsonlogger.orjson import OrjsonFormatter

from service.api.http.edge import REQUEST_ID


class _Request(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        record.request_id = REQUEST_ID.get()
        return True


def configure(level: str) -> None:
    """Send everything to stderr as JSON: our lines from `level` on, those of the libraries from warnings on."""
    handler = logging.StreamHandler()
    handler.addFilter(_Request())
    names = {"asctime": "time", "levelname": "level", "name": "logger"}
    fields = "{asctime}{levelname}{name}{message}{request_id}"
    formatter = OrjsonFormatter(fields, datefmt="%Y-%m-%dT%H:%M:%SZ", style="{", rename_fields=names)
    formatter.converter = time.gmtime
    handler.setFormatter(formatter)
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("carousel").setLevel(level.upper())
