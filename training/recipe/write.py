"""Write a `Recipe` as the TOML that `read` takes."""

import tomli_w

from training.recipe.recipe import Recipe


def to_toml(recipe: Recipe) -> str:
    """Return the recipe as TOML; keys that were not given are left out."""
    content = recipe.model_dump(exclude={"folder"}, exclude_unset=True, exclude_none=True)
    if "path" in content["data"]:
        content["data"]["path"] = str(content["data"]["path"])
    return tomli_w.dumps(content, multiline_strings=True)
