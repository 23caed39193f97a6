"""Fuzzing that coverage guides, where `atheris` is installed (`pip install atheris`; Linux).

Run as `python -m fuzz.guided READER FOLDER [options of libFuzzer, such as -max_total_time=60]` in
the folder `tests`: it mutates bytes of the sound files in FOLDER, and of what it found itself and
keeps there, and stops at the first that raises something else than an error of llmseg, which is
saved as `crash-*`. Unlike `make fuzz` it stays in one process and calls readers directly, hundreds
of times a second, so it finds rare bytes; limits and files of others are not watched.
"""

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["llmseg_cli", "nibabel", "PIL", "yaml"]):
    from llmseg_cli.artifacts.descriptions import Descriptions
    from llmseg_cli.artifacts.journal import Journal
    from llmseg_cli.artifacts.run_config import RunConfig
    from llmseg_cli.artifacts.split import Split
    from llmseg_cli.config_file import load_layers
    from llmseg_cli.data.cases import survey
    from llmseg_cli.data.volumes import load_image, load_label_map
    from llmseg_cli.errors import LlmsegError
    from llmseg_cli.knowledge.embeddings.file import load_embeddings
    from llmseg_cli.training.checkpoints import load_weights


def _options(path: Path) -> None:
    load_layers(path, commands={"check": {"seed": "seed", "data": "data"}}, command="check")


READERS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "nifti": ("a.nii", lambda path: (load_image((path,)), load_label_map(path))),
    "nifti-gz": ("a.nii.gz", lambda path: load_image((path,))),
    "png": ("a.png", lambda path: (load_image((path,)), load_label_map(path))),
    "tiff": ("a.tif", lambda path: load_image((path,))),
    "hdf5": ("a.h5", lambda path: load_image((path,))),
    "nrrd": ("a.nrrd", lambda path: load_image((path,))),
    "mha": ("a.mha", lambda path: load_image((path,))),
    "csv": ("cases.csv", survey),
    "json": ("cases.json", survey),
    "dataset": ("dataset.json", survey),
    "options": ("llmseg.yaml", _options),
    "split": ("split.json", Split.load),
    "run": ("config.yaml", RunConfig.load),
    "descriptions": ("descriptions.yaml", Descriptions.load),
    "journal": ("cases.jsonl", lambda path: Journal.read(path.parent)),
    "embeddings": ("embeddings.safetensors", load_embeddings),
    "weights": ("model.safetensors", load_weights),
}


def main() -> None:
    """Fuzz one reader."""
    if len(sys.argv) < 3 or sys.argv[1] not in READERS:
        sys.exit(f"Usage: python -m fuzz.guided READER FOLDER [...]. READER: {', '.join(READERS)}.")
    name, read = READERS[sys.argv.pop(1)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name

        def attempt(content: bytes) -> None:
            path.write_bytes(content)
            try:
                read(path)
            except LlmsegError as error:
                if not str(error).strip():
                    raise RuntimeError("an error that says nothing") from error

        atheris.Setup(sys.argv, attempt)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
