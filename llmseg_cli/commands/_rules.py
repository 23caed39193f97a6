"""Options that only count beside others, a line each; recipes and defaults do not bind."""

from dataclasses import fields
from typing import Any

from llmseg_cli.artifacts.split import SPLIT
from llmseg_cli.commands._rule import Rule, Values
from llmseg_cli.commands._rules_of_describe import OF_DESCRIBE
from llmseg_cli.config_mining import MiningSettings
from llmseg_cli.options import parse_assignments
from llmseg_cli.registry import METHODS, MODELS, WITHOUT_LABELS

OF_SELF_TRAINING = ("mirror", "threshold")  # the mining options of those who ask no SAM


def _mines(values: Values) -> bool:
    return "schedule" not in values or bool(METHODS.load(values["method"]).mines)


def _has_schedule(values: Values) -> bool:
    return METHODS.load(values["method"]).mines != "ensemble"


def _mines_again(values: Values) -> bool:
    return values["schedule"] == "continuous" or not (values["init"] or values["pseudo"])


def _asks_sam(values: Values) -> bool:
    return "schedule" not in values or METHODS.load(values["method"]).mines == "sam"


def _has_points(values: Values) -> bool:
    return "points" in values["prompts"]


def _has_box(values: Values) -> bool:
    return "box" in values["prompts"] or (_has_points(values) and values["negative_points"] > 0)


def _has_block(values: Values) -> bool:
    from inspect import signature

    return "booster" in signature(MODELS.load(values["model"])).parameters


def _validates(values: Values) -> bool:
    """Whether the split has validation cases; one that `--labeled` draws has none."""
    from llmseg_cli.artifacts.folds import load_one_or_folds

    path = values.get("split")
    if path is None and values.get("resume") and (values["output"] / SPLIT).is_file():
        path = values["output"] / SPLIT
    return path is not None and any(s.validation for s in load_one_or_folds(path).values())


def _option(kind: str, key: str, default: str, values: Values) -> Any:
    flag = f"--{kind.replace('_', '-')}"
    return parse_assignments(values[kind] or (), flag=flag).get(key, default)


def _predicts(values: Values) -> bool:
    return values["masks"] is None and values["by"] in ("agreement", "both")


MAKES_NONE = (
    "the method '{method}' makes no pseudo-labels; use --method sam-mining or self-training"
)
IN_PARTS = (
    "the method '{method}' makes pseudo-labels between equal parts of the steps; say how often "
    "with --method-option rounds=2"
)
ENCODER = tuple(f"image_encoder_{name}" for name in ("init", "freeze", "learning_rate_factor"))
OF_LAYERS = ("llm_layers", "llm_rotary", "llm_final_norm")
DRAWING = (  # words of `split` that say who has which role, and how label maps are read
    *("labeled", "test", "test_cases", "validation", "folds", "group_by", "preset", "test_images"),
    *("seed", "label_map", "ignore_label", "classes"),
)
MINING = tuple(one.name for one in fields(MiningSettings))
OF_RAY = ("address", "cpus_per_case", "gpus_per_case")
RULES = (
    Rule(OF_RAY, lambda v: v["engine"] == "ray", "only tasks of Ray have it; pass --engine ray"),
    Rule(
        ("text_control", "fusion"),
        lambda v: v["text"] is not None,
        "no text enters without --text embeddings.safetensors ('llmseg embed' writes it)",
    ),
    Rule(
        ("steps",),
        lambda v: not v.get("budget"),
        "--budget {budget} says when the training ends; leave one of the two out",
        is_typed=True,
    ),
    Rule(
        ("momentum",),
        lambda v: v["optimizer"] == "sgd",
        "only --optimizer sgd has a momentum",
    ),
    Rule(
        ("unlabeled_batch",),
        lambda v: bool(METHODS.load(v["method"]).uses_unlabeled),
        "the method '{method}' learns from labeled cases alone; use another --method",
    ),
    Rule(
        ("foreground", "class_weights", "label_map", "ignore_label", "validate_every"),
        lambda v: v.get("method") not in WITHOUT_LABELS,
        "the method '{method}' looks at no label map; leave it out",
        is_typed=True,
    ),
    Rule(
        ("validate_every",),
        _validates,
        "the split has no validation cases; make one with 'llmseg split --validation 2', and pass "
        "it with --split",
    ),
    Rule(
        ("group_by",),
        lambda v: v.get("split") is None,
        "the file of --split decides who belongs together; make it with 'llmseg split --group-by'",
        is_shared=True,
    ),
    Rule(("schedule",), _mines, MAKES_NONE),
    Rule(("every",), _mines, MAKES_NONE, is_typed=True),  # a plan has it for trainings from nothing
    Rule(("schedule",), _has_schedule, IN_PARTS),
    Rule(("every",), _has_schedule, IN_PARTS, is_typed=True),
    Rule(
        ("every",),
        _mines_again,
        "with --init or --pseudo, and --schedule one-time, nothing is mined at such steps; pass "
        "--schedule continuous",
        is_typed=True,
    ),
    Rule(
        tuple(name for name in MINING if name not in OF_SELF_TRAINING),
        _asks_sam,
        "the method '{method}' does not ask Segment Anything; use --method sam-mining, or 'llmseg "
        "mine-sam' and --pseudo",
    ),
    Rule(
        OF_SELF_TRAINING,
        _mines,
        "the method '{method}' asks neither Segment Anything nor itself for pseudo-labels; use "
        "--method sam-mining or self-training, or 'llmseg mine-sam' and --pseudo",
    ),
    Rule(
        ("positive_points", "negative_points", "confident"),
        _has_points,
        "no points are asked; pass --prompts box,points",
    ),
    Rule(
        ("confident",),
        lambda v: v["positive_points"] > 1,
        "the first point is the deepest one; pass more --positive-points",
    ),
    Rule(("box_margin",), _has_box, "no box is asked; pass --prompts box"),
    Rule(
        ENCODER,
        lambda v: v["image_encoder"] is not None,
        "the network has no image encoder; name one with --image-encoder efficientnet-lite0",
    ),
    Rule(
        ("image_encoder_learning_rate_factor",),
        lambda v: v["image_encoder_freeze"] != "all",
        "with --image-encoder-freeze all it is not trained; leave one of the two out",
    ),
    Rule(
        ("llm_block", "llm_model", "llm_lora", "embed_llm", *OF_LAYERS),
        _has_block,
        "the network '{model}' has no block of a language model; use --model medvisionllama",
    ),
    Rule(
        OF_LAYERS,
        lambda v: v["llm_block"] not in ("identity", "mlp"),
        "the block '{llm_block}' has no layers of a language model; leave it out",
    ),
    Rule(
        ("overlap",),
        lambda v: v["stride"] is None,
        "--stride says where the windows are; leave one of the two out",
    ),
    *OF_DESCRIBE,
    Rule(
        ("seed",),
        lambda v: "bootstrap" not in v or v["bootstrap"] > 0,
        "--bootstrap 0 draws nothing; leave one of the two out",
        is_shared=True,
    ),
    Rule(
        ("seed",),
        lambda v: v.get("preset") is None or bool(v["validation"] or v["folds"]),
        "--preset lists the cases, and nothing is drawn without --validation; leave it out",
        is_shared=True,
    ),
    Rule(
        ("validation",),
        lambda v: v.get("folds") is None,
        "with --folds all labeled cases validate, each in one fold; leave one of the two out",
    ),
    Rule(
        DRAWING,
        lambda v: not v.get("add"),
        "--add changes the roles of the cases that it names alone; leave one of the two out",
        is_typed=True,
    ),
    Rule(
        ("mirror",),
        lambda v: "by" not in v or _predicts(v),
        "no masks are predicted with --masks, or with --by {by}; leave it out",
        is_typed=True,
    ),
    Rule(
        ("checkpoint", "device"),
        lambda v: "by" not in v or _predicts(v) or v["by"] in ("diversity", "both"),
        "no network is asked with --by {by} as it stands; leave it out",
        is_typed=True,
    ),
    Rule(
        ("seed",),
        lambda v: v.get("by", "random") == "random",
        "only --by random draws anything; leave it out",
        is_typed=True,
    ),
    Rule(
        ("older_than", "to"),
        lambda v: not v["everything"],
        "--all removes everything; leave one of the two out",
    ),
    Rule(
        ("data", "masks", "cases", "viewer"),
        lambda v: "scores" not in v or None not in (v["data"], v["out"]),
        "scans are shown on a page alone; pass --data DIR and -o report.html",
        is_shared=True,
        is_typed=True,
    ),
    Rule(("mlflow",), lambda v: v["out"] is not None, "pass -o report.html, too", is_typed=True),
    Rule(
        ("method_option.decay",),
        lambda v: (
            v["method"] != "usl" or _option("method_option", "peer", "average", v) == "average"
        ),
        "only --method-option peer=average has a moving average; leave one of the two out",
    ),
    Rule(
        ("method_option.pseudo_weight",),
        lambda v: v.get("pseudo") is not None,
        "there are no pseudo-labels to weigh; pass --pseudo DIR",
    ),
    Rule(
        ("model_option.rank",),
        lambda v: _option("model_option", "mapper", "linear", v) == "lora",
        "only --model-option mapper=lora has a rank; leave one of the two out",
    ),
)
