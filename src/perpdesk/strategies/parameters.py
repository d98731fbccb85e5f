"""Parameters from outside: read, checked, and explained in words."""

import difflib
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from perpdesk.domain.errors import UsageRefused
from perpdesk.strategies.base import SignalStrategy, StrategyParams


def params_schema(cls: type[SignalStrategy]) -> dict[str, Any]:
    """Return the JSON Schema of the parameters: types, ranges, descriptions and search hints."""
    return cls.Params.model_json_schema()


def parse_params(cls: type[SignalStrategy], values: Mapping[str, object]) -> Any:
    """Return the strategy's `Params`; text is read as the field's type ("21", "true").

    Raises UsageRefused that names each wrong parameter, its value, and what is allowed.
    """
    try:
        return cls.Params.model_validate(dict(values))
    except ValidationError as error:
        problems = [_problem(cls, item) for item in error.errors(include_url=False)]
    raise UsageRefused(
        "; ".join(problems),
        next_step=f"Correct it; `perpdesk strategies show {cls.name}` lists all parameters.",
    )


def allowed(cls: type[SignalStrategy], name: str) -> str:
    """Return in words what a parameter may be, such as "a whole number from 1 to 500"."""
    schema = params_schema(cls)
    field = _resolved(schema["properties"][name], schema)
    if "enum" in field:
        return "one of " + ", ".join(str(value) for value in field["enum"])
    kinds = {
        "integer": "a whole number",
        "number": "a number",
        "boolean": "true or false",
        "string": "text",
    }
    kind = kinds.get(str(field.get("type")), "a valid value")
    bounds = (
        ("minimum", "from {}"),
        ("exclusiveMinimum", "above {}"),
        ("maximum", "to {}"),
        ("exclusiveMaximum", "below {}"),
    )
    words = [text.format(field[bound]) for bound, text in bounds if bound in field]
    if words and words[0].startswith("to "):
        words[0] = "up " + words[0]
    return " ".join([kind, *words])


def default_of(params: type[StrategyParams], name: str) -> object:
    """Return a parameter's default; None where it has none."""
    field = params.model_fields[name]
    return None if field.is_required() else field.get_default(call_default_factory=True)


def _resolved(field: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """Follow the reference that Pydantic writes for an enumeration."""
    reference = field.get("$ref")
    if reference is None:
        return field
    resolved: dict[str, Any] = schema["$defs"][reference.rsplit("/", 1)[1]]
    return resolved


def _problem(cls: type[SignalStrategy], item: Any) -> str:
    known = list(cls.Params.model_fields)
    if not item["loc"]:
        return f"parameters of {cls.key()}: {item['msg'].removeprefix('Value error, ')}"
    name = str(item["loc"][0])
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
        meant = f"; did you mean {near[0]}?" if near else ""
        listed = ", ".join(known) if known else "none"
        return f"{cls.key()} has no parameter {name}{meant} (it has: {listed})"
    if item["type"] == "missing":
        return f"parameter {name} of {cls.key()} is missing; it must be {allowed(cls, name)}"
    given = f"parameter {name}={item['input']} of {cls.key()} is refused"
    if item["type"] == "value_error":
        return f"{given}: {item['msg'].removeprefix('Value error, ')}"
    return f"{given}: it must be {allowed(cls, name)}"
