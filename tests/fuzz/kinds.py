"""The kinds of input: which sound folder, what is damaged in it, and which commands read it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fuzz import checkpoints, dicom, hdf5, itk, names, nifti, pictures, texts
from fuzz.bytewise import damage_file
from fuzz.choices import Choices

FileDamage = Callable[[Choices, Path], str]
Damage = Callable[[Choices, Path], str]
Commands = tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Kind:
    """A kind of input.

    Args:
        name: What it is called in the report.
        sound: The sound folder that examples start from.
        commands: Command lines, without `llmseg`, that read what is damaged.
        damage: Damages the folder of an example; says what it did.
        weight: How many examples it has for one of another kind.
    """

    name: str
    sound: str
    commands: Commands
    damage: Damage
    weight: float = 1.0


def _commands(*lines: str) -> Commands:
    return tuple(tuple(line.split()) for line in lines)


def _one_of(pattern: str, *ways: FileDamage) -> Damage:
    """Damage one file (or folder) of those that a pattern finds, in one of several ways."""

    def damage(choices: Choices, example: Path) -> str:
        return choices.pick(ways)(choices, choices.pick(sorted(example.glob(pattern))))

    return damage


def damage_pseudo(choices: Choices, path: Path) -> str:
    """Damage a mask, or what lies beside the masks, as what it is."""
    if path.suffix in (".json", ".jsonl"):
        return texts.damage_lines_or_document(choices, path)
    return pictures.damage_picture(choices, path)


TINY = "--model vnet --model-option filters=2 --steps 2 --batch 2 --workers 0"
BOX, SQUARE = f"--patch 16,16,16 {TINY}", f"--patch 16,16 {TINY}"
CHECK = "check --data in/data -o out.json"
SPLIT = "split --data in/data -o out.json --labeled 0.5 --test 1"
PREDICT = "predict --run in/run --data in/data -o out"
IMAGES = "predict --run in/run --images in/data/images -o out"
ONE_SERIES = "predict --run in/run --images in/data/images/case0 -o out"
PLAN = f"train-sup --data in/data --labeled 0.5 -o out --dry-run {BOX}"
FLAT = f"train-sup --data in/data --labeled 0.5 -o out --dry-run {SQUARE}"
BY_SPLIT = "--data in/data --split in/split.json -o out"
LEARN = f"train-semi {BY_SPLIT} --dry-run"
LEARN_FEW = f"train-sup {BY_SPLIT} --dry-run"
SCORE = "score --pred in/pred --ref in/data --split in/split.json -o out.json --bootstrap 10"
ADD = "split --data in/data --into in/split.json --add in/suggested.csv -o out.json"
WRITE = "describe --target toy --modality MRI -o out.yaml --max-words 5 --llm"
EXPLAIN = "explain --run in/run --images in/data/images --limit 0 -o out"
MINE = "mine-sam --run in/run --data in/data --split in/split.json -o out --sam"

REPORT = "report in/run --scores in/scores.json --masks in/pred --data in/data -o out.html"

SCANS = _commands(
    CHECK, SPLIT, PLAN, IMAGES, "score --pred in/data/labels --ref in/data -o out.json"
)

KINDS = (
    Kind("NIfTI headers", "scans", SCANS,
         _one_of("in/data/*/*.gz", nifti.damage_header), weight=2),
    Kind("NIfTI alone", "scans",
         _commands("predict --run in/run --images in/scan.nii -o out", "check --data in/scan.nii"),
         _one_of("in/scan.nii", nifti.damage_header, damage_file, names.odd_thing)),
    Kind("NIfTI explained", "explained", _commands(EXPLAIN),
         _one_of("in/data/images/*", nifti.damage_header, nifti.damage_archive), weight=0.3),
    Kind("archives", "scans", SCANS, _one_of("in/data/*/*.gz", nifti.damage_archive)),
    Kind("sizes", "scans", _commands(CHECK, IMAGES, PLAN),
         _one_of("in/data/*/*.gz", nifti.damage_size), weight=0.2),
    Kind("predictions", "scans", _commands(SCORE, SCORE + " --json"),
         _one_of("in/pred/*.gz", nifti.damage_header, nifti.damage_archive, names.odd_thing)),
    Kind("MetaImage and NRRD", "itk", _commands(CHECK, SPLIT, PLAN, IMAGES),
         _one_of("in/data/*/*.[mn][hr]*", itk.damage_header, itk.damage_header, itk.damage_voxels),
         weight=1.5),
    Kind("DICOM", "dicom", _commands(CHECK, IMAGES, ONE_SERIES),
         _one_of("in/data/images/*", dicom.damage_series), weight=1.5),
    Kind("pictures", "pictures", _commands(CHECK, SPLIT, FLAT, IMAGES, PREDICT),
         _one_of("in/data/*/*.*", pictures.damage_picture), weight=1.5),
    Kind("HDF5", "hdf5", _commands(CHECK, SPLIT, PLAN, PREDICT),
         _one_of("in/data/data/*.h5", hdf5.damage_hdf5), weight=1.5),
    Kind("HDF5 lists", "hdf5", _commands(CHECK), _one_of("in/data/*.list", texts.damage_text_file),
         weight=0.3),
    Kind("dataset.json", "decathlon", _commands(CHECK, SPLIT, PLAN, "check --data in/data --json"),
         _one_of("in/data/dataset.json", texts.damage_document)),
    Kind("dataset.json of nnU-Net", "nnunet", _commands(CHECK, SPLIT, PLAN),
         _one_of("in/data/dataset.json", texts.damage_document)),
    Kind("case lists", "lists",
         _commands("check --data in/data/list.csv -o out.json",
                   "split --data in/data/list.csv -o out.json --labeled 2",
                   "predict --run in/run --data in/data/list.csv -o out",
                   "score --pred in/data/maps --ref in/data/list.csv -o out.json"),
         _one_of("in/data/list.csv", texts.damage_text_file, texts.damage_cells)),
    Kind("cases.json", "lists",
         _commands("check --data in/data/list.json -o out.json",
                   "split --data in/data/list.json -o out.json --labeled 2",
                   "predict --run in/run --data in/data/list.json -o out"),
         _one_of("in/data/list.json", texts.damage_document)),
    Kind("file names", "scans", SCANS, _one_of("in/data/*", names.odd_name)),
    Kind("things that are no files", "scans", SCANS,
         _one_of("in/data/*/*.gz", names.odd_thing), weight=0.5),
    Kind("llmseg.yaml", "settings",
         _commands("check --data in/data", SPLIT, SCORE, f"{LEARN}",
                   f"{LEARN_FEW}", "predict --run in/run --data in/data -o out"),
         _one_of("llmseg.yaml", texts.damage_document)),
    Kind("recipes", "settings",
         _commands(f"{LEARN} --recipe in/recipe.yaml",
                   "predict --run in/run --data in/data -o out --config in/recipe.yaml"),
         _one_of("in/recipe.yaml", texts.damage_document), weight=0.5),
    Kind("config.yaml", "scans",
         _commands(IMAGES, f"{PREDICT} --split in/split.json",
                   "explain --run in/run --data in/data -o out",
                   f"{LEARN} --init in/run {BOX}",
                   f"{MINE} transformers:in/absent --dry-run"),
         _one_of("in/run/config.yaml", texts.damage_document), weight=2),
    Kind("config.yaml of MedVisionLlama", "explained",
         _commands(EXPLAIN, IMAGES),
         _one_of("in/run/config.yaml", texts.damage_document), weight=0.5),
    Kind("run.json", "scans", _commands(SCORE, f"{SCORE} --json"),
         _one_of("in/pred/run.json", texts.damage_document)),
    Kind("cases.jsonl that is scored", "scans", _commands(SCORE, f"{SCORE} --json"),
         _one_of("in/pred/cases.jsonl", texts.damage_lines), weight=0.5),
    Kind("suggested.csv", "scans", _commands(ADD),
         _one_of("in/suggested.csv", texts.damage_text_file, texts.damage_cells), weight=0.3),
    Kind("tables of centres", "scans",
         _commands(f"{SCORE} --centres 3", f"{SCORE} --centres 3 --json"),
         _one_of("in/pred/centres/*.csv", texts.damage_text_file, texts.damage_cells), weight=0.5),
    Kind("a report of scores", "scans", _commands("report in/run --scores in/scores.json", REPORT),
         _one_of("in/scores.json", texts.damage_document)),
    Kind("a report of runs", "scans", _commands("report in/run", "report in/run --json"),
         _one_of("in/run/[clrs]*[lon]", texts.damage_lines_or_document)),
    Kind("a report of scans", "scans", _commands(REPORT),
         _one_of("in/data/*/*.gz", nifti.damage_header, nifti.damage_archive), weight=0.3),
    Kind("split.json", "scans",
         _commands(SCORE, f"{PREDICT} --split in/split.json", f"{LEARN_FEW} {BOX}",
                   f"{LEARN} {BOX}",
                   f"{MINE} transformers:in/absent --dry-run"),
         _one_of("in/split.json", texts.damage_document)),
    Kind("split.json of a run", "scans",
         _commands(f"{LEARN} --init in/run {BOX}",
                   f"{MINE} transformers:in/absent --dry-run"),
         _one_of("in/run/split.json", texts.damage_document), weight=0.5),
    Kind("model.safetensors", "scans",
         _commands(IMAGES, f"{LEARN} --init in/run {BOX}"),
         _one_of("in/run/model.safetensors", checkpoints.damage_safetensors)),
    Kind("state.ckpt", "resumed",
         _commands(f"train-sup --data in/data --split in/split.json -o out-run --resume {BOX}"),
         _one_of("out-run/state.ckpt", checkpoints.damage_torch), weight=1.5),
    Kind("outputs that are continued", "resumed",
         _commands(f"train-sup --data in/data --split in/split.json -o out-run --resume {BOX}",
                   f"train-sup --data in/data --split in/split.json -o out-run --force {BOX}"),
         _one_of("out-run/[cls]*[lnv]", texts.damage_lines_or_document)),
    Kind("cases.jsonl", "resumed",
         _commands("predict --run in/run --data in/data --split in/split.json -o out-pred --resume",
                   "predict --run in/run --data in/data --split in/split.json -o out-pred --force"),
         _one_of("out-pred/cases.jsonl", texts.damage_lines)),
    Kind("prepared cases", "resumed",
         _commands(f"{LEARN_FEW} {BOX}"),
         _one_of("cache/cases/**/*.*", damage_file, names.odd_thing)),
    Kind("descriptions.yaml", "texts",
         _commands("embed in/descriptions.yaml --encoder in/encoder -o out.safetensors"),
         _one_of("in/descriptions.yaml", texts.damage_document)),
    Kind("texts of cases", "texts",
         _commands("embed in/of-cases.yaml --encoder in/encoder -o out.safetensors"),
         _one_of("in/of-cases.yaml", texts.damage_document), weight=0.5),
    Kind("texts by hand", "texts",
         _commands(f"{WRITE} file:in/mine.yaml --class near --class far"),
         _one_of("in/mine.yaml", texts.damage_document), weight=0.5),
    Kind("templates", "texts",
         _commands(f"{WRITE} in/llama --template in/template.txt --dry-run"),
         _one_of("in/template.txt", texts.damage_text_file), weight=0.3),
    Kind("text encoders", "texts",
         _commands("embed in/descriptions.yaml --encoder in/encoder -o out.safetensors"),
         _one_of("in/encoder/*", checkpoints.damage_model_file), weight=1.5),
    Kind("language models", "texts",
         _commands(f"{WRITE} in/llama --texts 1"),
         _one_of("in/llama/*", checkpoints.damage_model_file)),
    Kind("GGUF", "texts",
         _commands(f"{WRITE} in/llama.gguf --texts 1"),
         _one_of("in/llama.gguf", checkpoints.damage_gguf)),
    Kind("embeddings.safetensors", "guided",
         _commands(f"{LEARN} --text in/embeddings.safetensors {BOX}"),
         _one_of("in/embeddings.safetensors", checkpoints.damage_safetensors), weight=1.5),
    Kind("pseudo-labels", "mining",
         _commands(f"{LEARN} --method sam-mining --pseudo in/pseudo {SQUARE}"),
         _one_of("in/pseudo/*.*", damage_pseudo)),
    Kind(".pth of Segment Anything", "mining", _commands(f"{MINE} vit_b:in/sam.pth"),
         _one_of("in/sam.pth", checkpoints.damage_torch)),
    Kind("folders of Segment Anything", "mining", _commands(f"{MINE} transformers:in/sam"),
         _one_of("in/sam/*", checkpoints.damage_model_file)),
)  # fmt: skip
