"""A TOML file → a Recipe, or one message that names file, key and fix. Knows no key but the two with defaults."""

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from training.errors import RecipeError
from training.recipe import Recipe

SHIPPED = Path(__file__).parent / "recipes"
DEFAULTS = (("data", "source", "table"), ("features", "kind", "number"))  # the kinds that need not be named
Toml = dict[str, Any]


def read_recipe(which: str | Path) -> Recipe:
    """Read a recipe by the path of its file, or by the name of one that ships with the package.

    Raises:
        RecipeError: there is none, it is no TOML, or it does not hold what a recipe holds.

    """
    path = _locate(Path(which))
    try:
        told = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise RecipeError(f"{path.name}: {error}") from None
    if "folder" in told:
        raise RecipeError(f"{path.name}: folder: unknown key; remove it")
    for section, key, usual in DEFAULTS:
        for table in _tables(told.get(section)):
            table.setdefault(key, usual)
    told["folder"] = path.parent
    try:
        return Recipe.model_validate(told)
    except ValidationError as error:
        raise RecipeError("\n".join(f"{path.name}: {line}" for line in _complaints(error, told))) from None


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


def _complaints(error: ValidationError, told: Toml) -> Iterator[str]:
    """One line a key: as one would write it, what is wrong, what would be right. One key may have many faults."""
    found: dict[str, list[str]] = {}
    for fault in error.errors():
        place, value = _place(fault["loc"], told)
        message = fault["msg"].removeprefix("Value error, ")
        match fault["type"]:
            case "extra_forbidden":
                message = "unknown key; remove it, or see docs/recipes.md for the keys there are"
            case "missing":
                message = "is missing; add it"
            case "tuple_type":
                message = "should be a list; a list of tables is written with two brackets"
            case "model_type" | "model_attributes_type":
                message = "should be a table; it is written with one bracket"
            case "union_tag_invalid":
                context = fault["ctx"]
                key = context["discriminator"].strip("'")
                place = f"{place}.{key}"
                message = f"there is no {context['tag']!r}; known: {context['expected_tags']}"
            case "union_tag_not_found":
                place = f"{place}.{fault['ctx']['discriminator'].strip(chr(39))}"
                message = "is missing; add it"
            case kind if kind != "value_error" and not isinstance(value, dict | list):
                message = f"{message[0].lower()}{message[1:]}, and not {value!r}"
        found.setdefault(place, []).append(message)
    for place, messages in found.items():
        yield f"{place}: {'; or '.join(messages)}" if place else "; ".join(messages)


def _place(location: tuple[int | str, ...], told: Toml) -> tuple[str, Any]:
    """Return `features[2].unit` and what stands there; the kinds that pydantic puts between are left out."""
    place, here = "", told  # type: str, Any
    for index, key in enumerate(location):
        known = isinstance(here, dict) and key in here
        if isinstance(key, int) and isinstance(here, list):
            place, here = f"{place}[{key}]", here[key]
        elif known or (index == len(location) - 1 and isinstance(here, dict)):
            place, here = f"{place}.{key}", here.get(key)
    return place.removeprefix("."), here
