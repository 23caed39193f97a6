"""How a language model turns queries and keys by their position, as transformers computes it."""

from typing import Any

from llmseg_cli.errors import UsageError
from llmseg_cli.knowledge.weights.strangers import refused

FIXED = ("linear", "yarn", "llama3")  # the same rates for texts of any length
BOUNDED = {  # rates that hold up to a length, and where the configuration says it
    "dynamic": "max_position_embeddings",
    "longrope": "original_max_position_embeddings",
}


def turning_of(config: Any, *, source: object) -> dict[str, Any]:
    """The arguments of `LlamaShape` that say how the model turns, if not by its base alone.

    Args:
        config: Of a Llama or Mistral.
        source: Where it lies, for messages.

    Returns:
        `rotary_rates`, radians per position for each pair of a head's values; `rotary_factor`, by
        which sine and cosine grow; `rotary_limit`, the most positions for which the rates hold.
        Nothing for the original kind.

    Raises:
        UsageError: If the kind is unknown here.
        WeightsError: If the configuration lacks a value of its kind.
    """
    given = config.rope_parameters
    kind = given.get("rope_type", "default")
    if given.get("partial_rotary_factor", 1) != 1 or kind not in ("default", *FIXED, *BOUNDED):
        known = ", ".join(("default", *FIXED, *BOUNDED))
        named = "a part of each head" if kind == "default" else f"'{kind}'"
        raise UsageError(
            f"{source}: it turns positions by {named}, which --llm-rotary cannot; it knows "
            f"{known} on whole heads. Leave --llm-rotary out."
        )
    if kind == "default":
        return {}
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    with refused(f"{source}: config.json does not say how to turn positions by '{kind}'"):
        rates, factor = ROPE_INIT_FUNCTIONS[kind](config)
        found: dict[str, Any] = {"rotary_rates": rates.tolist(), "rotary_factor": float(factor)}
        if kind in BOUNDED:
            key = BOUNDED[kind]
            found["rotary_limit"] = int(given.get(key) or getattr(config, key))
    return found
