"""Options of `llmseg describe` that count beside others, a line each."""

from llmseg_cli.commands._rule import Rule, Values


def _asks_model(values: Values) -> bool:
    return values["llm"] not in ("library", "measured") and not values["llm"].startswith("file:")


def _runs_model(values: Values) -> bool:
    return _asks_model(values) and not values["llm"].startswith("openai:")


OF_DESCRIBE = (
    Rule(
        ("template", "max_words", "temperature", "top_p", "base_url"),
        _asks_model,
        "--llm {llm} asks no language model; leave it out, or name one with --llm",
    ),
    Rule(
        ("seed",),
        lambda v: "llm" not in v or _asks_model(v),
        "--llm {llm} asks no language model, so nothing is drawn; leave it out",
        is_shared=True,
    ),
    Rule(
        ("device",),
        lambda v: "llm" not in v or _runs_model(v),
        "--llm {llm} runs no language model on this machine; leave it out",
        is_shared=True,
    ),
    Rule(
        ("data", "pred"),
        lambda v: "llm" not in v or v["llm"] == "measured",
        "--llm {llm} measures no images; pass --llm measured, or leave it out",
        is_shared=True,
    ),
    Rule(
        ("images",),
        lambda v: "llm" not in v or v["llm"] == "measured" or _asks_model(v),
        "--llm {llm} looks at no images; pass --llm measured, or a model that looks at pictures",
    ),
    Rule(
        ("send_images",),
        lambda v: bool(v["images"]) and v["llm"].startswith("openai:"),
        "pictures are sent to a server alone; pass --images and --llm openai:MODEL",
    ),
    Rule(
        ("slices",),
        lambda v: "llm" not in v or (bool(v["images"]) and _asks_model(v)),
        "no model is shown any pictures; pass --images, and a model that looks with --llm",
        is_shared=True,
    ),
    Rule(
        ("texts",),
        lambda v: v.get("llm") != "measured",
        "--llm measured writes one text for each case and class; leave it out",
    ),
    Rule(
        ("top_p",),
        lambda v: v["temperature"] > 0,
        "--temperature 0 draws nothing; leave one of the two out",
    ),
)
