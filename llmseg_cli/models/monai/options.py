"""Options of MONAI's constructors as `--model-option` gives them, checked by their annotations."""

import json
from collections.abc import Mapping, Sequence
from enum import Enum
from inspect import Parameter, signature
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from llmseg_cli.errors import UsageError
from llmseg_cli.options import parse_value

SCALARS = (bool, int, float, str)  # with such a default an option is checked by the registry
WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a word"}
TASK = ("spatial_dims", "in_channels", "out_channels", "img_size", "dropout_dim")  # patch and data
LEFT_OUT = (  # downloads, objects, and outputs that are not one map of logits
    "pretrained", "progress", "preprocess", "norm_layer", "save_attn",
    "deep_supervision", "deep_supr_num", "dsdepth",
)  # fmt: skip
SUPERSEDED = {"SegResNet": ("norm_name", "num_groups"), "VNet": ("dropout_prob",)}
EXTRA = ("use_hyena", "hyena_")  # beginnings of those that need the package nvsubquadratic
WIDTHS = {"channels": (16, 32, 64, 128, 256), "strides": ""}
NEEDED: dict[
    str, dict[str, Any]
] = {  # what MONAI's constructor demands; ours; "" is as long as the others
    "AttentionUnet": WIDTHS,
    "DynUNet": {"kernel_size": "", "strides": (1, 2, 2, 2, 2), "upsample_kernel_size": ""},
    "FlexibleUNet": {"backbone": "efficientnet-b0"},
    "UNet": WIDTHS,
}


def options_of(name: str, constructor: Any) -> dict[str, Any]:
    """Option to its default, as `--model-option` would give it: numbers, true or false, text."""
    hints = get_type_hints(constructor.__init__)
    found: dict[str, Any] = {}
    for key, one in signature(constructor).parameters.items():
        if key in (*TASK, *LEFT_OUT, *SUPERSEDED.get(name, ())) or key.startswith(EXTRA):
            continue
        default = NEEDED.get(name, {}).get(key, one.default)
        found[key] = default if _is_simple(default, hints[key]) else _text(default)
    return found


def arguments_of(name: str, constructor: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of MONAI's constructor for the options that were given, and those it demands.

    Args:
        name: Of the network in MONAI.
        constructor: MONAI's.
        given: Options, each of the type of its default in `options_of`.

    Raises:
        UsageError: If a value is of another type than the constructor's annotation.
    """
    hints, defaults = get_type_hints(constructor.__init__), options_of(name, constructor)
    arguments: dict[str, Any] = dict(NEEDED.get(name, {}))
    for key, value in given.items():
        if value == defaults[key]:
            continue
        is_text = isinstance(value, str) and hints[key] is not str
        arguments[key] = _value(value, hints[key], name, key) if is_text else value
    return _completed(arguments)


def _completed(arguments: dict[str, Any]) -> dict[str, Any]:
    """The arguments, those that were left open as long as the others."""
    filled = dict(arguments)
    if filled.get("strides") == "":
        filled["strides"] = (2,) * (len(filled["channels"]) - 1)
    if filled.get("kernel_size") == "":
        filled["kernel_size"] = (3,) * len(filled["strides"])
    if filled.get("upsample_kernel_size") == "":
        filled["upsample_kernel_size"] = tuple(filled["strides"])[1:]
    return filled


def _is_simple(default: Any, hint: Any) -> bool:
    """Whether one type of numbers or words is all that the annotation allows."""
    return _kinds(hint) == (type(default),) and type(default) in SCALARS


def _text(value: Any) -> str:
    """A value as it is typed: `16,32,64`, `none`, a word, or a list of JSON."""
    if value is None:
        return "none"
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, str):
        return value
    if isinstance(value, Sequence) and all(type(one) in (int, float) for one in value):
        return ",".join(map(str, value))
    return json.dumps(value, default=str)


def _value(text: str, hint: Any, name: str, key: str) -> Any:
    place = f"--model-option {key}={text}"
    value = None if text.lower() in ("none", "null") else parse_value(text, place=place)
    if isinstance(value, str) and "," in value:
        value = parse_value(f"[{value}]", place=place)
    if not _fits(value, hint) and type(value) in (int, float):
        value = [value]  # a list of one
    if not _fits(value, hint):
        raise UsageError(f"{place}: '{name}' of MONAI expects {_words(hint)}.")
    return _tupled(value)


def _kinds(hint: Any) -> tuple[Any, ...]:
    """The types of an annotation; where words are listed, not any word."""
    kinds = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    listed = any(isinstance(kind, type) and issubclass(kind, Enum) for kind in kinds)
    return tuple(kind for kind in kinds if not (listed and kind is str))


def _fits(value: Any, hint: Any) -> bool:
    return any(_is(value, kind) for kind in _kinds(hint))


def _is(value: Any, kind: Any) -> bool:
    if kind is Any or kind is Parameter.empty:
        return True
    if value is None:
        return kind is NoneType
    origin, inner = get_origin(kind) or kind, get_args(kind)
    if isinstance(origin, type) and issubclass(origin, Enum):
        return value in [member.value for member in origin]
    if origin is float:
        return type(value) in (int, float)
    if isinstance(value, list):
        is_list = isinstance(origin, type) and issubclass(tuple, origin)
        return is_list and all(any(_fits(one, k) for k in inner or (Any,)) for one in value)
    return type(value) is origin


def _words(hint: Any) -> str:
    found = dict.fromkeys(_word(kind) for kind in _kinds(hint))
    return " or ".join(word for word in found if word)


def _word(kind: Any) -> str:
    if kind is NoneType:
        return "none"
    origin, inner = get_origin(kind) or kind, get_args(kind)
    if isinstance(origin, type) and issubclass(origin, Enum):
        return " or ".join(str(member.value) for member in origin)
    if isinstance(origin, type) and issubclass(tuple, origin):
        numbers = any(k in (int, float) for one in inner for k in _kinds(one))
        return (
            "numbers such as 2,2,2,2"
            if numbers
            else "a list such as 1,2,2 or [group, {num_groups: 8}]"
        )
    return WORDS.get(origin, "")


def _tupled(value: Any) -> Any:
    return tuple(map(_tupled, value)) if isinstance(value, list) else value
