"""Language models that write descriptions on this machine, through transformers."""

from pathlib import Path
from typing import Any

import torch

from llmseg_cli.artifacts.descriptions import Writer
from llmseg_cli.errors import WeightsError
from llmseg_cli.knowledge.descriptions.llm import SMALL, Sampling, Written
from llmseg_cli.knowledge.weights.gguf_file import converted_folder
from llmseg_cli.knowledge.weights.loading import load_network, open_config
from llmseg_cli.knowledge.weights.model_files import find_model, model_digest
from llmseg_cli.knowledge.weights.strangers import refused
from llmseg_cli.knowledge.weights.tokenizers import load_tokenizer
from llmseg_cli.knowledge.weights.transformers import load_transformers

ANOTHER = "Fetch the model again, or choose another."


class LocalModel:
    """A causal language model of the Hugging Face formats or GGUF.

    Args:
        name: `smollm2`, a folder, a GGUF file or an id of the hub.
        cache: llmseg's cache folder, if it is not the usual one.
        offline: Never use the network.
        device: Where it runs.

    Raises:
        UsageError: If the path is wrong.
        WeightsError: If it is absent, altered, not whole, or no language model.
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
        folder, digest = found.folder, ""
        if found.gguf is not None:
            digest = model_digest(found, [found.gguf])
            folder = converted_folder(found.gguf, digest=digest, cache=cache)
        self.tokenizer, self.model, files = _load(folder)
        self.model.to(device)
        self.about = Writer(
            provider="transformers",
            model=found.name,
            revision=found.revision,
            digest=digest or model_digest(found, files),
            licence=found.licence,
            parameters=sum(parameter.numel() for parameter in self.model.parameters()),
            chat_template=bool(self.tokenizer.chat_template),
        )

    def write(self, query: str, *, seed: int, sampling: Sampling) -> Written:
        """Answer *query*, through the model's chat template if it has one."""
        text = self._rendered(query)
        with refused(f"{self.about.model} loads, but does not write", remedy=ANOTHER):
            new = self._continued(text, seed, sampling)
            return Written(
                text=self.tokenizer.decode(new, skip_special_tokens=True),
                query=text,
                finished=len(new) < sampling.max_tokens,
            )

    def _continued(self, text: str, seed: int, sampling: Sampling) -> torch.Tensor:
        """The tokens that follow a text."""
        inputs = self.tokenizer(
            text,
            return_tensors="pt",
            return_attention_mask=True,
            add_special_tokens=not self.about.chat_template,
        ).to(self.model.device)
        with torch.random.fork_rng(), torch.inference_mode():
            torch.manual_seed(seed)
            output: torch.Tensor = self.model.generate(
                input_ids=inputs["input_ids"],  # some tokenizers return more than a model takes
                attention_mask=inputs["attention_mask"],
                max_new_tokens=sampling.max_tokens,
                pad_token_id=self._padding(),
                **drawing(sampling),
            )[0]
        return output[inputs["input_ids"].shape[1] :]

    def _rendered(self, query: str) -> str:
        if not self.about.chat_template:
            return f"{query}\n\n"
        with refused(f"The chat template of {self.about.model} does not take a question"):
            return self.tokenizer.apply_chat_template(
                [{"role": "user", "content": query}], add_generation_prompt=True, tokenize=False
            )

    def _padding(self) -> int | None:
        found = self.tokenizer.pad_token_id
        return self.tokenizer.eos_token_id if found is None else found


def drawing(sampling: Sampling) -> dict[str, Any]:
    """Arguments of `generate` of transformers that say how text is drawn."""
    if sampling.temperature == 0:
        return {"do_sample": False, "temperature": None, "top_p": None, "top_k": None}
    return {
        "do_sample": True,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": 0,
    }


def _load(folder: Path) -> tuple[Any, Any, tuple[Path, ...]]:
    """Tokenizer, network and the files that they were read from."""
    hf = load_transformers()
    config = open_config(folder)
    if type(config) not in hf.MODEL_FOR_CAUSAL_LM_MAPPING:
        raise WeightsError(
            f"{folder} holds a model '{config.model_type}', which is no language model that writes "
            "text. Give one such as a Llama, a Qwen or a Gemma."
        )
    kind = hf.MODEL_FOR_CAUSAL_LM_MAPPING[type(config)]
    words = load_tokenizer(folder, config=config)
    model, files = load_writing(folder, kind, config=config, what="the language model")
    return words.tokenizer, model, (*words.files, *files)


def load_writing(
    folder: Path, kind: Any, *, config: Any, what: str
) -> tuple[Any, tuple[Path, ...]]:
    """A network that writes, with its folder's habits of writing, and the files that were read.

    A small one is in float32, which is faster there.

    Args:
        folder: Of the model.
        kind: Class of the network.
        config: Its configuration.
        what: It is called, for messages.

    Raises:
        WeightsError: If a file is damaged or missing.
    """
    hf, loaded = load_transformers(), load_network(folder, kind, config=config, what=what)
    model, habits = loaded.network, folder / "generation_config.json"
    if habits.is_file():
        with refused(f"{habits} is not readable", remedy="Fetch the model again."):
            model.generation_config = hf.GenerationConfig.from_pretrained(
                folder, local_files_only=True
            )
    small = sum(parameter.numel() for parameter in model.parameters()) < SMALL
    return (model.float() if small else model), (*loaded.files, habits)
