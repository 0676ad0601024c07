"""Log lines as JSON, one object a line, each with the id of the request it belongs to."""

import logging

from pythonjsonlogger.orjson import OrjsonFormatter

from service.api.edge import REQUEST_ID


class _Request(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        record.request_id = REQUEST_ID.get()
        return True


def configure(level: str) -> None:
    """Send everything to stderr as JSON: our lines from `level` on, those of the libraries from warnings on."""
    handler = logging.StreamHandler()
    handler.addFilter(_Request())
    handler.setFormatter(
        OrjsonFormatter(
            "{asctime}{levelname}{name}{message}{request_id}",
            style="{",
            rename_fields={"asctime": "time", "levelname": "level", "name": "logger"},
        )
    )
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("carousel").setLevel(level.upper())
