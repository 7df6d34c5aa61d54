"""Whether data fits a JSON Schema: those keywords that our files use, and a failure for any other."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

_TYPES: dict[str, Callable[[Any], bool]] = {
    "object": lambda x: isinstance(x, dict),
    "array": lambda x: isinstance(x, list),
    "string": lambda x: isinstance(x, str),
    "integer": lambda x: isinstance(x, int) and not isinstance(x, bool),
    "number": lambda x: isinstance(x, int | float) and not isinstance(x, bool),
    "boolean": lambda x: isinstance(x, bool),
    "null": lambda x: x is None,
}
#: A schema that nothing fits.
NOTHING: dict[str, Any] = {"enum": []}
_REMARKS = {"$schema", "$id", "$defs", "title", "description", "default"}


def fits(data: Any, schema: dict[str, Any], defs: dict[str, Any]) -> bool:
    """Whether `data` is valid; `defs` are the schemas by name that `$ref` points at."""
    for keyword, wanted in schema.items():
        match keyword:
            case "$ref":
                good = fits(data, defs[wanted.rpartition("/")[2]], defs)
            case "anyOf":
                good = any(fits(data, one, defs) for one in wanted)
            case "type":
                good = _TYPES[wanted](data)
            case "enum":
                good = data in wanted
            case "const":
                good = data == wanted
            case "minimum":
                good = data >= wanted
            case "maximum":
                good = data <= wanted
            case "pattern":
                good = re.search(wanted, data) is not None
            case "maxLength" | "maxProperties":
                good = len(data) <= wanted
            case "required":
                good = set(wanted) <= set(data)
            case "properties":
                good = all(fits(data[name], one, defs) for name, one in wanted.items() if name in data)
            case "additionalProperties":
                good = all(fits(v, wanted, defs) for k, v in data.items() if k not in schema.get("properties", {}))
            case "propertyNames":
                good = all(fits(name, wanted, defs) for name in data)
            case "items":
                good = all(fits(one, wanted, defs) for one in data)
            case _:
                assert keyword in _REMARKS, f"this test does not know {keyword}"
                good = True
        if not good:
            return False
    return True


def closed(schema: Any) -> Any:
    """The same schema, in which an object whose properties are named has no others."""
    if isinstance(schema, list):
        return [closed(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    out = {key: closed(value) for key, value in schema.items()}
    if isinstance(out.get("properties"), dict) and out.get("type") == "object":
        out["additionalProperties"] = NOTHING
    return out


def misfit(data: Any, schema: dict[str, Any], defs: dict[str, Any], path: str = "$") -> str | None:
    """Where data does not fit, as deep as can be told; None when it fits."""
    if fits(data, schema, defs):
        return None
    while "$ref" in schema:
        schema = defs[schema["$ref"].rpartition("/")[2]]
    if isinstance(data, dict):
        missing = set(schema.get("required", ())) - set(data)
        if missing:
            return f"{path}: {sorted(missing)} missing"
        for name, value in data.items():
            one = schema.get("properties", {}).get(name, schema.get("additionalProperties", {}))
            found = misfit(value, one, defs, f"{path}.{name}")
            if found is not None:
                return found
    if isinstance(data, list):
        for number, value in enumerate(data):
            found = misfit(value, schema.get("items", {}), defs, f"{path}[{number}]")
            if found is not None:
                return found
    return f"{path}: {data!r:.80} is not {schema!r:.200}"
