"""`llmseg paper`: numbers as scores and tests have them, and facts as runs have them."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import wilcoxon
from tiny_data import write_nifti
from tiny_runs import run_config
from training_cli import invoke

from llmseg_cli import registry
from llmseg_cli.artifacts.manifest import Manifest
from llmseg_cli.artifacts.run_config import RunConfig
from llmseg_cli.artifacts.scores import Scores
from llmseg_cli.artifacts.split import Split
from llmseg_cli.workflows.paper import methods, words
from llmseg_cli.workflows.paper.rows import load_table
from llmseg_cli.workflows.paper.trainings import load_trainings

CASES = [f"case{number}" for number in range(7)]
SHAPE = (9, 8, 6)
FLIPS = {"sup": 90, "usl": 45, "odd_one": 60}  # voxels that a method gets wrong


def label_of(case: str) -> np.ndarray:
    random = np.random.default_rng(CASES.index(case))
    label = np.zeros(SHAPE, np.uint8)
    label[1:5, 2:6, 1:5] = 1
    label[5:8, 2 : 5 + random.integers(0, 3), 1:4] = 2
    return label


def mask_of(case: str, method: str, seed: int) -> np.ndarray:
    random = np.random.default_rng([CASES.index(case), seed, FLIPS[method]])
    mask = label_of(case).ravel()
    mask[random.choice(mask.size, FLIPS[method] + seed, replace=False)] = random.integers(0, 3)
    return mask.reshape(SHAPE)


def dice_of(case: str, method: str, seed: int) -> float:
    """The mean over both classes, by counting."""
    label, mask = label_of(case), mask_of(case, method, seed)
    found = [
        2 * ((label == k) & (mask == k)).sum() / ((label == k).sum() + (mask == k).sum())
        for k in (1, 2)
    ]
    return float(np.mean(found))


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scores of each method over two seeds, and of one against another."""
    place = tmp_path_factory.mktemp("scored")
    for case in CASES:
        write_nifti(place / "labels" / f"{case}.nii.gz", label_of(case))
        for method in FLIPS:
            for seed in (0, 1):
                folder = place / method / f"seed-{seed}"
                write_nifti(folder / f"{case}.nii.gz", mask_of(case, method, seed))
    for method in FLIPS:
        score(place, method, place / f"{method}-scores.json")
    score(place, "usl/seed-0", place / "pair.json", "--compare", place / "sup" / "seed-0")
    return place


def score(place: Path, masks: str, out: Path, *more: str | Path) -> None:
    words_ = ("--pred", place / masks, "--ref", place / "labels", "--bootstrap", "200", "-o", out)
    found = invoke("score", *words_, *more)
    assert found.exit_code == 0, found.output


def paper(*said: str | Path, code: int = 0) -> str:
    found = invoke("paper", *said)
    assert found.exit_code == code, f"{found.output}{found.exception!r}"
    return found.stderr


def write_run(folder: Path, seed: int, **changes: object) -> Path:
    """A run folder without networks; what it says of itself is whole."""
    config = run_config(
        (16, 16, 16),
        seed=seed,
        classes=("background", "left_atrium", "wall"),
        preprocessing={"spacing": [1.25], "normalize": "window:-100:300"},
        **changes,
    )
    folder.mkdir(parents=True)
    config.save(folder / "config.yaml")
    (folder / "model.safetensors").write_bytes(b"weights")
    images = {name: f"{name}" for name in "abcdef"}
    roles = {"labeled": ("a", "b"), "unlabeled": ("c",), "validation": (), "test": ("d", "e", "f")}
    Split(**roles, seed=seed, images=images, groups={}).save(folder / "split.json")
    manifest = Manifest("train-semi", seed=seed)
    manifest.warnings = ["Something odd."]
    manifest.write(folder, outputs=("model.safetensors",), config={})
    return folder


def test_means_and_deviations_are_those_of_counting(scored: Path):
    table = load_table([scored / f"{name}-scores.json" for name in FLIPS], None)
    assert [row.name for row in table.rows] == ["sup", "usl", "odd_one"]
    assert table.baseline.name == "sup"
    for row in table.rows:
        expected = [[dice_of(case, row.name, seed) for case in CASES] for seed in (0, 1)]
        np.testing.assert_allclose(row.values("dice"), expected)


def test_differences_are_wilcoxons_with_holms_factors(scored: Path):
    table = load_table([scored / f"{name}-scores.json" for name in FLIPS], None)
    found = table.differences(["dice"])
    raw = {}
    for name in ("usl", "odd_one"):
        gains = [
            np.mean([dice_of(case, name, seed) - dice_of(case, "sup", seed) for seed in (0, 1)])
            for case in CASES
        ]
        raw[name] = wilcoxon(gains).pvalue
        assert found[name, "dice"].found.difference == pytest.approx(np.mean(gains))
        assert found[name, "dice"].found.p_value == pytest.approx(raw[name])
    low, high = sorted(raw, key=raw.__getitem__)
    assert found[low, "dice"].corrected == pytest.approx(min(1, 2 * raw[low]))
    assert found[high, "dice"].corrected == pytest.approx(max(min(1, 2 * raw[low]), raw[high]))


def test_a_comparison_in_a_file_is_told_as_score_told_it(scored: Path):
    table = load_table([scored / "pair.json"], None)
    assert [row.name for row in table.rows] == ["pair", "seed-0"]
    assert table.baseline.name == "seed-0"
    paired = Scores.load(scored / "pair.json").comparison["paired"]
    for metric, name in (("dice", "dice"), ("hd95", "hd95_mm")):
        found = table.differences([metric])["pair", metric].found
        assert found.difference == pytest.approx(paired[name]["difference"])
        assert found.p_value == pytest.approx(paired[name]["p_value"])
        assert list(found.interval) == pytest.approx(paired[name]["interval"])


def test_scores_of_other_references_do_not_stand_in_one_table(scored: Path, tmp_path: Path):
    scores = Scores.load(scored / "usl-scores.json")
    cases = [dict(case) for case in scores.cases]
    cases[0] = {**cases[0], "digests": {**cases[0]["digests"], "reference": "sha256:0"}}
    replace(scores, cases=tuple(cases)).save(tmp_path / "other.json")
    said = paper(
        *("--scores", scored / "sup-scores.json", "--scores", tmp_path / "other.json"),
        *("-o", tmp_path / "paper"),
        code=2,
    )
    assert "scored on other cases or other references" in said
    assert not (tmp_path / "paper").exists()


def test_scores_with_other_options_do_not_stand_in_one_table(scored: Path, tmp_path: Path):
    score(scored, "usl", tmp_path / "voxel.json", "--voxel-units")
    said = paper(
        *("--scores", scored / "sup-scores.json", "--scores", tmp_path / "voxel.json"),
        *("-o", tmp_path / "paper"),
        code=2,
    )
    assert "their 'unit' differ" in said


@pytest.fixture
def written(scored: Path, tmp_path: Path) -> Path:
    """A paper of two seeds of a training, and three rows of scores."""
    runs = [write_run(tmp_path / "runs" / f"seed-{seed}", seed) for seed in (0, 1)]
    (training,) = load_trainings(runs)
    scores = Scores.load(scored / "usl-scores.json")
    seeds = [
        {**one, "run": run.digests[0]}
        for one, run in zip(scores.predictions["seeds"], training.runs, strict=True)
    ]
    made = replace(scores, predictions={**scores.predictions, "seeds": seeds})
    made.save(tmp_path / "usl-scores.json")
    paper(
        tmp_path / "runs",
        *("--scores", scored / "sup-scores.json", "--scores", tmp_path / "usl-scores.json"),
        *(scored / "odd_one-scores.json", "-o", tmp_path / "paper"),  # by its place
    )
    return tmp_path / "paper"


def test_tables_hold_the_numbers(written: Path):
    expected = 100 * np.mean([dice_of(case, "usl", seed) for case in CASES for seed in (0, 1)])
    seeds = [np.mean([dice_of(case, "usl", seed) for case in CASES]) for seed in (0, 1)]
    deviation = 100 * np.std(seeds, ddof=1)
    for name, sign in (("tables.md", "±"), ("tables.tex", r"$\pm$")):
        text = (written / name).read_text()
        assert f"{expected:.1f} {sign} {deviation:.1f} [" in text
    latex = (written / "tables.tex").read_text()
    assert r"odd\_one" in latex
    assert latex.count(r"\begin{tabular}") == latex.count(r"\end{tabular}") == 3
    for table in latex.split(r"\midrule")[1:]:
        body = table.split(r"\bottomrule")[0].strip().splitlines()
        assert len({len(re.findall(r"(?<!\\)&", line)) for line in body}) == 1


def test_methods_say_what_the_run_says(written: Path):
    text = (written / "paper.md").read_text()
    for fact in (
        *("2 labeled and 1 unlabeled cases", "3 were locked", "left_atrium and wall"),
        *("1.25 mm", "clipped to -100 to 300", "V-Net [@milletari2016vnet]"),
        *("[@kumari2024llmsegnet]", "16 x 16 x 16 voxels", "2 trainings, with the seeds 0 and 1"),
        "Holm's method [@holm1979]",
    ):
        assert fact in text, fact
    latex = (written / "paper.tex").read_text()
    assert r"V-Net~\cite{milletari2016vnet}" in latex
    assert r"left\_atrium" in latex
    assert r"\input{tables.tex}" in latex
    assert "[@" not in latex + (written / "tables.tex").read_text()


def test_references_are_those_that_are_cited(written: Path):
    texts = "".join((written / name).read_text() for name in ("paper.tex", "tables.tex"))
    cited = {key for keys in re.findall(r"\\cite\{([^}]+)\}", texts) for key in keys.split(",")}
    entries = re.findall(r"^@\w+\{([\w-]+),", (written / "references.bib").read_text(), re.M)
    assert sorted(entries) == sorted(cited)


def test_a_card_says_what_was_seen_and_how_well_it_does(written: Path):
    (card,) = (written / "cards").iterdir()
    text = card.read_text()
    dice = np.mean([dice_of(case, "usl", seed) for case in CASES for seed in (0, 1)])
    per_class = re.findall(r"^\| usl \| [^|]+ \| ([\d.]+) ", text, re.M)
    assert np.mean([float(one) for one in per_class]) == pytest.approx(dice, abs=2e-3)
    for fact in ("Not a medical device", "labeled: 2 cases", "Apache-2.0", "Something odd."):
        assert fact in text, fact
    assert "scored on 7 cases" in text
    assert "sup" not in re.findall(r"^\| (\w+) \|", text, re.M)


def test_versions_are_those_of_the_runs(written: Path):
    text = (written / "environment.txt").read_text()
    assert text.count("numpy ") == 3
    assert "[seed-0]" in text


def test_only_its_own_folder_is_replaced(written: Path, scored: Path):
    said = ("--scores", scored / "sup-scores.json", "-o", written)
    assert "exists" in paper(*said, code=2)
    paper(*said, "--force")
    assert not (written / "cards").exists()
    (written / "mine.txt").write_text("notes")
    assert "mine.txt was not written by" in paper(*said, "--force", code=2)


def test_nothing_to_write_of_is_refused(tmp_path: Path):
    assert "Pass run folders, --scores FILE, or both." in paper("-o", tmp_path / "p", code=2)


def test_every_method_and_network_has_its_words_and_its_reference():
    assert set(methods.METHODS) == set(registry.METHODS)
    assert set(methods.NETWORKS) == set(registry.MODELS)
    known = words.entries()
    cited = [keys for _, keys in (*methods.METHODS.values(), *methods.NETWORKS.values())]
    cited += [methods.network_words(f"monai:{name}")[1] for name in registry.MONAI]
    assert set(methods.OF_MONAI) <= set(registry.MONAI)
    assert {key for keys in (*cited, *methods.ENCODERS.values()) for key in keys} <= set(known)
    for entry in known.values():
        assert entry.count("{") == entry.count("}")


def test_what_latex_would_take_for_its_own_is_escaped():
    assert words.as_latex(r"50 % of a_b & {c} [@holm1979; @owen2007].") == (
        r"50 \% of a\_b \& \{c\}~\cite{holm1979,owen2007}."
    )


def test_a_run_of_other_settings_is_another_training(tmp_path: Path):
    runs = [write_run(tmp_path / name, 0) for name in ("one", "two")]
    config = RunConfig.load(runs[1] / "config.yaml")
    replace(config, model_options={"filters": 4}).save(runs[1] / "config.yaml")
    assert [one.name for one in load_trainings(runs)] == ["one", "two"]


def test_the_citation_file_has_the_version_and_the_licence():
    import tomllib

    import yaml

    root = Path(__file__).parents[3]
    cff = yaml.safe_load((root / "CITATION.cff").read_text(encoding="utf-8"))
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert cff["version"] == project["version"]
    assert cff["license"] == project["license"]
    assert {"cff-version", "message", "title", "authors", "type"} <= set(cff)


def test_json_says_what_was_written(scored: Path, tmp_path: Path):
    found = invoke(
        *("paper", "--scores", scored / "pair.json", "-o", tmp_path / "p", "--json"),
    )
    content = json.loads(found.stdout)
    assert content["rows"] == ["pair", "seed-0"]
    assert content["baseline"] == "seed-0"
    assert all((tmp_path / "p" / name).is_file() for name in content["files"])
