"""The pre-trained models that went into a training, and their licences."""

from llmseg_cli.artifacts.run_config import RunConfig
from llmseg_cli.errors import UsageError, WeightsError
from llmseg_cli.knowledge.weights.embedded import named

UNKNOWN_LICENCE = "not known to llmseg; its publisher says"


def borrowed(config: RunConfig) -> list[str]:
    """Names of the pre-trained models that went into a training."""
    made = (config.pseudo or {}).get("made_by") or {}
    init = config.settings.get("image_encoder_init", "pretrained")
    names = [
        (config.text or {}).get("encoder"),
        (config.image_encoder or {}).get("name") if init == "pretrained" else None,
        _of_block(config),
        made.get("sam"),
    ]
    return list(dict.fromkeys(str(name) for name in names if name))


def _of_block(config: RunConfig) -> str | None:
    block = config.llm_block
    if block is None or block["kind"] != "pretrained":
        return None
    return str(config.settings.get("llm_model") or block["name"])


def licence_of(name: str) -> str:
    """The licence of an embedded model; of any other, that it is not known here."""
    try:
        found = named(name)
    except (UsageError, WeightsError):
        return UNKNOWN_LICENCE
    return f"{found.licence} ({found.origin})"
