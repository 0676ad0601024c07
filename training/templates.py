"""Render the templates that lie beside the modules: report (HTML), model card (Markdown), drafted recipe (TOML)."""

import json
import re
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from markupsafe import Markup, escape


def paragraphs(text: str) -> list[Markup]:
    """Return the paragraphs of a text as HTML; empty lines separate them, and `…` is code."""
    parts = (part.strip() for part in text.split("\n\n"))
    return [Markup(re.sub("`([^`]+)`", r"<code>\1</code>", str(escape(part)))) for part in parts if part]


def toml(value: object) -> str:
    """Return texts, numbers, booleans or lists as TOML, which writes them like JSON but for one character."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007F")


_ENVIRONMENT = Environment(
    loader=FileSystemLoader(Path(__file__).parent),
    autoescape=select_autoescape(("html.j2",)),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)
_ENVIRONMENT.filters["paragraphs"] = paragraphs
_ENVIRONMENT.filters["toml"] = toml
_ENVIRONMENT.filters["one_line"] = lambda text: " ".join(text.split())


def render(template: str, **values: object) -> str:
    """Return a template filled in; `template` is a path under `training/`. In HTML all values are escaped."""
    return _ENVIRONMENT.get_template(template).render(values)
