"""Options of `llmseg convert` that only count for one of the things it writes, a line each."""

from llmseg_cli.commands._rule import Rule, Values


def _to_centres(values: Values) -> bool:
    return values.get("program") == "centres"


def _to_others(values: Values) -> bool:
    return values.get("program") != "centres"


OF_CONVERT = (
    Rule(
        ("radius", "instance_classes"),
        _to_centres,
        "only --to centres draws discs at centres of instances; leave it out, or add --to centres",
    ),
    Rule(
        ("split", "pseudo", "channels", "label_map", "ignore_label"),
        _to_others,
        "--to centres writes all cases, and its label maps hold instances; leave it out",
        is_shared=True,
    ),
)
