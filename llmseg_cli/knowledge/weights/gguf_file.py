"""GGUF files, converted once into a folder that loads fast."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import rmtree
from tempfile import TemporaryDirectory
from typing import Any

from llmseg_cli.artifacts.cache_folder import default_cache, note_use
from llmseg_cli.artifacts.files import sha256_file, write_json
from llmseg_cli.artifacts.folders import atomic_folder
from llmseg_cli.errors import WeightsError
from llmseg_cli.knowledge.weights.fit import refuse_misfit
from llmseg_cli.knowledge.weights.strangers import read_mapping, refused
from llmseg_cli.knowledge.weights.transformers import load_transformers

FORM = "fp16-2"  # of the converted folders; another number converts anew
DIGESTS = "digests.json"  # of the converted files, compared when they are used
FACTORS = "rope_freqs.weight"  # of wavelengths, as llama.cpp stores the scaling of Llama 3
SCALING = "rope.scaling.type"  # after the architecture's name
KNOWN = (f"gpt-oss.{SCALING}",)  # transformers reads that one itself
REMEDY = (
    "Give the safetensors folder of the model, or serve the file and use --llm openai:MODEL "
    "--base-url URL."
)


def converted_folder(gguf: Path, *, digest: str, cache: Path | None = None) -> Path:
    """The folder of float16 safetensors and tokenizer made of a GGUF file.

    It is made when first asked for: de-quantizing SmolLM2 takes 12 s, loading the folder 0.2 s. A
    folder whose files were altered is made anew.

    Args:
        gguf: The file.
        digest: Its `sha256:`, which names the folder.
        cache: llmseg's cache folder, if it is not the usual one.

    Raises:
        WeightsError: If transformers cannot read it, or not all of it.
    """
    name = f"{gguf.stem}-{digest.removeprefix('sha256:')[:16]}-{FORM}"
    target = (cache or default_cache()) / "converted" / name
    note_use(target / "config.json")
    if target.is_dir() and not _is_sound(target):
        rmtree(target)
    if not target.is_dir():
        with atomic_folder(target) as folder:
            _convert(gguf, folder)
            write_json(folder / DIGESTS, _digests(folder))
    return target


def _digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.iterdir() if path.is_file() and path.name != DIGESTS)
    return {path.name: sha256_file(path) for path in files}


def _is_sound(folder: Path) -> bool:
    try:
        return bool(recorded := read_mapping(folder / DIGESTS)) and recorded == _digests(folder)
    except WeightsError:
        return False


def _convert(gguf: Path, folder: Path) -> None:
    with refused(f"{gguf} is not readable as a GGUF language model", remedy=REMEDY):
        turning = _turning(gguf)
        tokenizer, model, loaded = _read(gguf)
    refuse_misfit(
        gguf,
        "its language model",
        missing=loaded["missing_keys"],
        unexpected=loaded["unexpected_keys"],
        mismatched=loaded["mismatched_keys"],
        remedy="Fetch or convert it again.",
    )
    with refused(f"{gguf} cannot be converted", remedy=REMEDY):
        _plain(model, turning).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    usual = (folder / "config.json").stat().st_mode
    for path in folder.iterdir():
        path.chmod(usual)  # safetensors are written for their owner alone


def _read(gguf: Path) -> tuple[Any, Any, dict[str, Any]]:
    hf = load_transformers()
    with _alone(gguf) as place:
        given = {"gguf_file": gguf.name, "local_files_only": True, "trust_remote_code": False}
        tokenizer = hf.AutoTokenizer.from_pretrained(place, **given)
        model, loaded = hf.AutoModelForCausalLM.from_pretrained(
            place, output_loading_info=True, ignore_mismatched_sizes=True, **given
        )
    return tokenizer, model, loaded


@contextmanager
def _alone(gguf: Path) -> Iterator[Path]:
    """A folder in which the file stands alone: what lies beside it is not of it, and not read."""
    with TemporaryDirectory(prefix="llmseg-") as place:
        (Path(place) / gguf.name).symlink_to(gguf.resolve())
        yield Path(place)


def _turning(gguf: Path) -> dict[str, Any]:
    """The scaling of positions that the file names, which transformers leaves out.

    Factors of wavelengths, as of Llama 3.1, are those of LongRoPE without its two lengths.

    Raises:
        WeightsError: If it is of another kind.
    """
    from gguf import GGUFReader

    reader = GGUFReader(gguf)
    factors = next((t.data.tolist() for t in reader.tensors if t.name == FACTORS), None)
    if factors is not None:
        count = next(
            int(f.contents()) for f in reader.fields.values() if f.name.endswith("context_length")
        )
        return {
            "rope_type": "longrope",
            "short_factor": factors,
            "long_factor": factors,
            "factor": 1.0,
            "attention_factor": 1.0,
            "original_max_position_embeddings": count,
        }
    kinds = [
        str(field.contents())
        for field in reader.fields.values()
        if field.name.endswith(SCALING) and field.name not in KNOWN
    ]
    if kinds and kinds[0] != "none":
        raise WeightsError(
            f"{gguf} scales its positions ('{kinds[0]}'), which is not read of GGUF files. {REMEDY}"
        )
    return {}


def _plain(model: Any, turning: dict[str, Any]) -> Any:
    """The same weights as a plain model; one that says it is quantized is not saved."""
    import torch

    hf, config = load_transformers(), model.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    if turning:
        config.rope_parameters = {**config.rope_parameters, **turning}
    weights = {name: weight.half() for name, weight in model.state_dict().items()}
    with torch.device("meta"):  # draws no first weights
        plain = hf.AutoModelForCausalLM.from_config(
            config, dtype=torch.float16, trust_remote_code=False
        )
    plain.load_state_dict(weights, assign=True)
    plain.tie_weights()
    return plain
