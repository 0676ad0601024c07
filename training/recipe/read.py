"""Read a TOML file as a `Recipe`, or raise one error that names file, key and fix."""

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from training.errors import RecipeError
from training.recipe.recipe import Recipe

SHIPPED = Path(__file__).parents[1] / "recipes"
DEFAULTS = (("data", "source", "table"), ("features", "kind", "number"))  # kinds that may be left out
Toml = dict[str, Any]


def read_recipe(which: str | Path) -> Recipe:
    """Read a recipe, given the path of its file or the name of a shipped one.

    Raises:
        RecipeError: the file does not exist, is not TOML, or is not a valid recipe.

    """
    path = _locate(Path(which))
    try:
        return recipe_of(path.read_text(encoding="utf-8-sig"), path.name, path.parent)
    except (UnicodeDecodeError, OSError) as error:
        raise RecipeError(f"{path.name}: {error}") from None


def recipe_of(text: str, name: str, folder: Path) -> Recipe:
    """Return the recipe of a text; `name` is used in messages, and paths are relative to `folder`.

    Raises:
        RecipeError: the text is not TOML, or not a valid recipe.

    """
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"{name}: {error}") from None
    if "folder" in content:
        raise RecipeError(f"{name}: folder: unknown key; remove it")
    for section, key, default in DEFAULTS:
        for table in _tables(content.get(section)):
            table.setdefault(key, default)
    content["folder"] = folder
    try:
        return Recipe.model_validate(content)
    except ValidationError as error:
        raise RecipeError("\n".join(f"{name}: {line}" for line in _messages(error, content))) from None


def shipped() -> list[str]:
    """Return the names of the recipes that ship with the package."""
    return sorted(path.stem for path in SHIPPED.glob("*.toml"))


def _locate(which: Path) -> Path:
    for path in (which, SHIPPED / f"{which}.toml"):
        if path.is_file():
            return path
    raise RecipeError(f"{which}: no such file, nor a recipe that ships with the package ({', '.join(shipped())})")


def _tables(section: Any) -> list[Toml]:
    tables = section if isinstance(section, list) else [section]
    return [table for table in tables if isinstance(table, dict)]


def _messages(error: ValidationError, content: Toml) -> Iterator[str]:
    """Yield one line per key: the key as written in TOML, then all its faults."""
    found: dict[str, list[str]] = {}
    for fault in error.errors():
        place, message = _message(fault, content)
        found.setdefault(place, []).append(message)
    for place, messages in found.items():
        yield f"{place}: {'; or '.join(messages)}" if place else "; ".join(messages)


MESSAGES = {
    "extra_forbidden": "unknown key; remove it, or see docs/recipes.md for the keys there are",
    "missing": "is missing; add it",
    "union_tag_not_found": "is missing; add it",
    "tuple_type": "should be a list; a list of tables is written with two brackets",
    "model_type": "should be a table; it is written with one bracket",
    "model_attributes_type": "should be a table; it is written with one bracket",
}


def _message(fault: ErrorDetails, content: Toml) -> tuple[str, str]:
    """Return key and message of one fault."""
    (place, value), context = _place(fault["loc"], content), fault.get("ctx", {})
    if "discriminator" in context:
        place += "." + context["discriminator"].strip("'")
    if fault["type"] in MESSAGES:
        return place, MESSAGES[fault["type"]]
    if fault["type"] == "union_tag_invalid":
        return place, f"there is no {context['tag']!r}; known: {context['expected_tags']}"
    message = fault["msg"].removeprefix("Value error, ")
    if fault["type"] != "value_error" and not isinstance(value, dict | list):
        message = f"{message[0].lower()}{message[1:]}, and not {value!r}"
    return place, message


def _place(location: tuple[int | str, ...], content: Toml) -> tuple[str, Any]:
    """Return the key, such as `features[2].unit`, and its value. Skips the union tags that pydantic inserts."""
    place, here = "", content  # type: str, Any
    for index, key in enumerate(location):
        known = isinstance(here, dict) and key in here
        if isinstance(key, int) and isinstance(here, list):
            place, here = f"{place}[{key}]", here[key]
        elif known or (index == len(location) - 1 and isinstance(here, dict)):
            place, here = f"{place}.{key}", here.get(key)
    return place.removeprefix("."), here
