"""Vision-language models on this machine, through transformers."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from llmseg_cli.artifacts.descriptions import Writer
from llmseg_cli.errors import WeightsError
from llmseg_cli.knowledge.descriptions.llm import Sampling, Written
from llmseg_cli.knowledge.descriptions.local_model import drawing, load_writing
from llmseg_cli.knowledge.sights.looking import Shown
from llmseg_cli.knowledge.weights.loading import open_config, refuse_code
from llmseg_cli.knowledge.weights.model_files import find_model, model_digest
from llmseg_cli.knowledge.weights.strangers import refused
from llmseg_cli.knowledge.weights.tokenizers import load_tokenizer
from llmseg_cli.knowledge.weights.transformers import load_transformers

PROCESSORS = ("processor_config.json", "preprocessor_config.json")  # transformers 5, 4
ONE_PICTURE = "Some models take one picture: pass --slices 1. Else choose another model."


class LocalVision:
    """A model of transformers that takes pictures and text, and writes text.

    Args:
        name: A folder or an id of the hub.
        cache: llmseg's cache folder, if it is not the usual one.
        offline: Never use the network.
        device: Where it runs.

    Raises:
        UsageError: If the path is wrong.
        WeightsError: If it is absent, altered, not whole, looks at no pictures, or has no image
            processor.
    """

    def __init__(
        self,
        name: str,
        *,
        cache: Path | None = None,
        offline: bool = False,
        device: str = "cpu",
    ) -> None:
        found = find_model(name, cache=cache, offline=offline)
        if found.gguf is not None:
            raise WeightsError(
                f"{name} is a GGUF file, whose part for pictures llmseg does not read. Give a "
                "folder of transformers, or let a server run it: --llm openai:MODEL --base-url URL."
            )
        self.processor, self.model, files = _load(found.folder)
        self.model.to(device)
        self.about = Writer(
            provider="transformers",
            model=found.name,
            revision=found.revision,
            digest=model_digest(found, files),
            licence=found.licence,
            parameters=sum(parameter.numel() for parameter in self.model.parameters()),
            chat_template=bool(getattr(self.processor, "chat_template", None)),
        )

    def look(
        self, query: str, pictures: Sequence[Shown], *, seed: int, sampling: Sampling
    ) -> Written:
        """Answer a query about pictures, through the model's chat template if it has one.

        Raises:
            WeightsError: If the model does not take them.
        """
        with refused(f"{self.about.model} does not take {len(pictures)} pictures and a question",
                     remedy=ONE_PICTURE):  # fmt: skip
            text = self._rendered(query, len(pictures))
            inputs = self.processor(
                text=[text], images=[one.pixels for one in pictures], return_tensors="pt"
            ).to(self.model.device)
            new = self._continued(dict(inputs), seed, sampling)
        return Written(
            text=self.processor.tokenizer.decode(new, skip_special_tokens=True),
            query=text,
            finished=len(new) < sampling.max_tokens,
        )

    def _continued(self, inputs: dict[str, Any], seed: int, sampling: Sampling) -> torch.Tensor:
        """The tokens that follow; some models repeat the question before them, others do not."""
        asked = inputs["input_ids"][0]
        floats = {key: one for key, one in inputs.items() if torch.is_floating_point(one)}
        placed = inputs | {key: one.to(self.model.dtype) for key, one in floats.items()}
        with torch.random.fork_rng(), torch.inference_mode():
            torch.manual_seed(seed)
            output: torch.Tensor = self.model.generate(
                **placed,
                max_new_tokens=sampling.max_tokens,
                pad_token_id=self._padding(),
                **drawing(sampling),
            )[0]
        if len(output) >= len(asked) and torch.equal(output[: len(asked)], asked):
            return output[len(asked) :]
        return output

    def _rendered(self, query: str, pictures: int) -> str:
        if not self.about.chat_template:
            return query
        content = [{"type": "image"} for _ in range(pictures)]
        message = {"role": "user", "content": [*content, {"type": "text", "text": query}]}
        found: str = self.processor.apply_chat_template(
            [message], add_generation_prompt=True, tokenize=False
        )
        return found

    def _padding(self) -> int | None:
        words = self.processor.tokenizer
        return words.eos_token_id if words.pad_token_id is None else words.pad_token_id


def _load(folder: Path) -> tuple[Any, Any, tuple[Path, ...]]:
    """Processor, network and the files that they were read from."""
    hf = load_transformers()
    config = open_config(folder)
    if type(config) not in hf.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING:
        raise WeightsError(
            f"{folder} holds a model '{config.model_type}', which does not look at pictures. Give "
            "one such as a SmolVLM, a LLaVA or a Qwen-VL."
        )
    kind = hf.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING[type(config)]
    settings = [folder / name for name in PROCESSORS if (folder / name).is_file()]
    for path in settings:
        refuse_code(path)
    words = load_tokenizer(folder, config=config)
    with refused(f"{folder} holds no image processor that loads", remedy="Fetch the model again."):
        processor = hf.AutoProcessor.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
    if not hasattr(processor, "image_processor") or not hasattr(processor, "tokenizer"):
        raise WeightsError(
            f"{folder} has no processor of pictures ({' or '.join(PROCESSORS)}). Copy it beside "
            "the weights."
        )
    model, files = load_writing(folder, kind, config=config, what="the vision-language model")
    return processor, model, (*files, *words.files, *settings)
