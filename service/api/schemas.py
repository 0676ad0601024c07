"""The shapes of bodies and answers as JSON Schema, for the OpenAPI document: routes read and write bytes themselves."""

from typing import Any

Schema = dict[str, Any]

_FLOAT32 = 3.4028234e38


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _list(items: Schema, least: int = 0) -> Schema:
    return {"type": "array", "items": items} | ({"minItems": least} if least else {})


def _by_name(value: Schema) -> Schema:
    return {"type": "object", "additionalProperties": value}


def _asked(description: str, required: dict[str, Schema], optional: dict[str, Schema] | None = None) -> Schema:
    """A body: unknown keys are refused."""
    return _answered(description, required, optional) | {"additionalProperties": False}


def _answered(description: str, required: dict[str, Schema], optional: dict[str, Schema] | None = None) -> Schema:
    """An answer: more keys may come with a later version."""
    schema = {"type": "object", "description": description, "properties": required | (optional or {})}
    return schema | ({"required": list(required)} if required else {})


_TEXT: Schema = {"type": "string"}
_COUNT: Schema = {"type": "integer", "minimum": 0}
_BOOL: Schema = {"type": "boolean"}
_NUMBER: Schema = {"type": "number", "minimum": -_FLOAT32, "maximum": _FLOAT32}
_NAME: Schema = {"type": "string", "pattern": r"^(?!\.{1,2}$)[A-Za-z0-9._:@-]{1,128}$"}
_TTL: Schema = {"type": "number", "exclusiveMinimum": 0}
_STEP = _COUNT | {"description": "index of the first time step of the inputs; left out, it is not checked"}
_VALUES: Schema = {
    "type": "object",
    "description": "numbers or nested lists by name, as the model's `signature` has them",
}
_NEXT = _COUNT | {"description": "the next expected step"}

COMPONENTS: dict[str, Schema] = {
    "Sequence": {
        "description": "Steps: lists of F numbers in feature order, or objects by feature name, where a category may "
        "have one of its labels; all in one style.",
        "anyOf": [_list(_list(_NUMBER), 1), _list(_by_name({"anyOf": [_NUMBER, _TEXT]}), 1)],
    },
    "Outputs": {
        "description": "A list of K numbers, or an object by output name, for each step; in the style of the steps.",
        "anyOf": [_list(_list(_NUMBER), 1), _list(_by_name(_NUMBER), 1)],
    },
    "Predict": _asked(
        "Sequences, each from the zero state; lengths may differ.", {"sequences": _list(_ref("Sequence"), 1)}
    ),
    "Predicted": _answered(
        "The outputs of each sequence, in the style it came in.",
        {"model": _TEXT, "version": _TEXT, "outputs": _list(_ref("Outputs"))},
        {"last": {"const": True, "description": "one answer a sequence, after its last step"}},
    ),
    "Open": _asked(
        "A session to open. Without an id the server makes one; the history is run first, to warm the state up.",
        {},
        {
            **{"id": _NAME, "ttl_seconds": _TTL, "history": _ref("Sequence"), "snapshots": _ref("Snapshots")},
            **{"constants": _VALUES, "initial": _VALUES},
        },
    ),
    "Session": _answered(
        "A session as it stands; `replay` is how many answers are kept for retries.",
        {
            **{"id": _NAME, "model": _TEXT, "version": _TEXT, "step": _COUNT, "ttl_seconds": _TTL},
            **{"expires_at": {"type": "string", "format": "date-time"}, "replay": _COUNT},
        },
        {
            "behind_ms": _COUNT
            | {"description": "so many milliseconds of answers may be lost, where they are written behind"},
            "snapshots": _list(_COUNT) | {"description": "steps of the kept snapshots, where it takes any"},
        },
    ),
    "Snapshots": _asked(
        "A snapshot is taken at the end of each call that reaches or passes a multiple of `every`; `keep` are kept.",
        {"every": {"type": "integer", "minimum": 1}, "keep": {"type": "integer", "minimum": 1, "maximum": 256}},
    ),
    "Forecast": _asked(
        "What a copy is fed: inputs, then its own outputs so many times; one of them at least.",
        {},
        {"inputs": _ref("Sequence"), "steps": {"type": "integer", "minimum": 1}},
    ),
    "Rewind": _asked("The step of a kept snapshot.", {"step": _COUNT}),
    "Page": _answered(
        "Sessions in the order of their ids; `next` is the `after` of the next page, where there is one.",
        {"sessions": _list({"allOf": [_ref("Session"), _ref("Place")]})},
        {"next": _TEXT},
    ),
    "Place": _answered(
        "Whether a session is in memory, and how long nothing was called on it.",
        {"resident": _BOOL, "idle_seconds": {"type": "number", "minimum": 0}},
    ),
    "Deleted": _answered("How many sessions were deleted.", {"deleted": _COUNT}),
    "Steps": _asked("T steps of one session.", {"inputs": _ref("Sequence")}, {"step": _STEP}),
    "Stepped": _answered("Their outputs.", {"outputs": _ref("Outputs"), "step": _NEXT}),
    "Item": _asked("T steps of one of many sessions.", {"session": _TEXT, "inputs": _ref("Sequence")}, {"step": _STEP}),
    "ManySteps": _asked(
        "Steps of many sessions, run in list order; `open` creates the unknown ones.",
        {"items": _list(_ref("Item"), 1)},
        {"open": _BOOL},
    ),
    "ItemAnswer": _answered(
        "Outputs and next step, or the error of this item alone.",
        {"session": {"type": ["string", "null"], "description": "as it was asked; null where that is no string"}},
        {"outputs": _ref("Outputs"), "step": _NEXT, "created": {"const": True}, "error": _ref("Problem")},
    ),
    "ManyStepped": _answered("The answers, in the order asked.", {"items": _list(_ref("ItemAnswer"))}),
    "Fork": _asked(
        "The id of the copy, the ids of many, or how many; without any of them one is made, and its id too.",
        {},
        {"id": _NAME, "ids": _list(_NAME, 1) | {"uniqueItems": True}, "count": {"type": "integer", "minimum": 1}},
    ),
    "Forked": {"anyOf": [_ref("Session"), _ref("Copies")]},
    "Copies": _answered("The copies, in the order asked.", {"sessions": _list(_ref("Session"))}),
    "Migrate": _asked(
        "The version to go on in; with a history, with the state after it.",
        {"version": _TEXT},
        {"history": _ref("Sequence")},
    ),
    "Version": _answered(
        "A version of a model.",
        {"version": _TEXT, "state": {"enum": ["ready", "loading", "unavailable"]}},
        {"reason": _TEXT},
    ),
    "Listed": _answered(
        "A model and its versions; the default one is the greatest that is ready.",
        {"name": _TEXT, "versions": _list(_ref("Version")), "default_version": {"type": ["string", "null"]}},
    ),
    "Models": _answered("All models.", {"models": _list(_ref("Listed"))}),
    "Column": _answered(
        "A feature or an output; further keys say how its values are made, as the model contract has them.",
        {"name": _TEXT},
        {"unit": _TEXT},
    ),
    "Model": _answered(
        "What a model takes and gives; `tolerance` is there where batched does not equal alone bit for bit.",
        {
            **{"name": _TEXT, "version": _TEXT, "cell": {"type": ["string", "null"]}},
            **{"features": _list(_ref("Column")), "outputs": _list(_ref("Column")), "state_bytes": _COUNT},
            **{"metrics": {"type": "object"}, "streamable": _BOOL, "bit_equal": _BOOL, "provider": _TEXT},
        },
        {
            **{"memory_horizon": _COUNT, "tolerance": {"type": "number"}, "signature": {"type": "object"}},
            **{"not_streamable": _TEXT, "in_thread": {"const": True}},
        },
    ),
    "Live": _answered("The process answers.", {"live": {"const": True}}),
    "Ready": _answered("Whether traffic should come here, and if not, why.", {"ready": _BOOL}, {"reason": _TEXT}),
    "Problem": _answered(
        "RFC 9457, with a `code` that clients decide by.",
        {"type": _TEXT, "title": _TEXT, "status": _COUNT, "detail": _TEXT, "code": _TEXT},
        {
            **{"expected_step": _COUNT, "applied": {"const": True}, "retry_after_ms": _COUNT},
            "snapshots": _list(_COUNT) | {"description": "steps of the kept snapshots, where a rewind named another"},
        },
    ),
}
