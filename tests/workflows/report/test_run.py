"""`llmseg report` as a whole: from runs, scores, masks and scans to a page that opens offline."""

import base64
import gzip
import hashlib
import io
import json
import re
from collections.abc import Callable
from pathlib import Path

import html5lib
import numpy as np
import pytest
from PIL import Image
from report_files import AFFINE, SHAPE, write_masks, write_run, write_scans
from tiny_data import write_nifti
from training_cli import invoke

from llmseg_cli.artifacts.files import sha256_json
from llmseg_cli.artifacts.split import Split
from llmseg_cli.progress import silent

NAMES = tuple(f"case{index:02d}" for index in range(5))
ODD = "<script>alert(1)</script>"
NO_NUMBER = re.compile(r"\b(nan|inf|none|undefined)\b", re.IGNORECASE)
MB = 1e6


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder without anybody's configuration."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("LLMSEG_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "place"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


Scored = Callable[..., None]


@pytest.fixture
def scored(place: Path) -> Scored:
    """Writes runs/semi, scans, masks, other-masks, and the scores of both."""

    def write(names=NAMES, classes=2, **run) -> None:
        of_run = ("background", *(f"class {value}" for value in range(1, classes + 1)))
        write_run(place / "runs/semi", test=names, **{"classes": of_run, **run})
        write_scans(place / "scans", names, classes)
        write_masks(place / "masks", names, classes=classes)
        write_masks(place / "other-masks", names, shift=2, classes=classes)
        words = ["--pred", "masks", "--compare", "other-masks", "--ref", "scans"]
        done = invoke("score", *words, "-o", "scores.json", "--bootstrap", "50")
        assert done.exit_code == 0, done.stderr

    return write


WHOLE = ("--scores", "scores.json", "--masks", "masks", "--data", "scans", "-o", "report.html")


def made(*words: str) -> str:
    """The page that a report makes, which is sound whatever it is made of."""
    result = invoke("report", *words)
    assert result.exit_code == 0, result.stderr
    text = Path("report.html").read_text(encoding="utf-8")
    sound(text)
    json.loads(Path("report.json").read_text(), parse_constant=pytest.fail)
    return text


def sound(text: str) -> None:
    """HTML without a fault, that asks for nothing outside and has no number that is none."""
    document = html5lib.HTMLParser(strict=True, namespaceHTMLElements=False).parse(text)
    addresses = [one.get(name) for one in document.iter() for name in ("src", "href")]
    assert {a.partition(":")[0] for a in addresses if a and not a.startswith("#")} <= {"data"}
    assert "http" not in re.sub(r"http-equiv", "", text)
    ids = [one.get("id") for one in document.iter() if one.get("id")]
    assert len(ids) == len({*ids})
    refuse_other_scripts(document)
    for one in document.iter("img"):
        Image.open(io.BytesIO(base64.b64decode(one.get("src").partition(",")[2]))).verify()
    for table in document.iter("table"):
        widths = {len(row) for row in table.iter("tr")}
        assert len(widths) == 1
    for cell in document.iter("td"):
        assert not NO_NUMBER.fullmatch("".join(cell.itertext()).strip()) or "none" in cell.text


def refuse_other_scripts(document) -> None:
    """What runs in a page is llmseg's own, by the digests that its rule for browsers names."""
    (rule,) = (one for one in document.iter("meta") if one.get("http-equiv"))
    known = re.findall(r"'sha256-([^']+)'", rule.get("content"))
    running = [one.text for one in document.iter("script") if one.get("type") is None]
    digests = [base64.b64encode(hashlib.sha256(one.encode()).digest()).decode() for one in running]
    assert digests == known
    assert len(running) == 1


def words_of(text: str) -> str:
    document = html5lib.parse(text, namespaceHTMLElements=False)
    for script in document.iter("script"):
        script.text = ""
    return " ".join("".join(document.find("body").itertext()).split())


def test_a_page_says_what_the_scores_say(scored: Scored):
    scored()
    text = made("runs/semi", *WHOLE)
    told = words_of(text)
    scores = json.loads(Path("scores.json").read_text())
    mean, paired = scores["metrics"]["dice"]["mean"], scores["comparison"]["paired"]["dice"]
    assert f"Dice {mean:.3g}, 95 % interval" in told
    assert f"Wilcoxon p = {paired['p_value']:.3g}" in told
    assert f"{paired['n_better']} cases better, {paired['n_worse']} worse" in told
    facts = json.loads(Path("report.json").read_text())
    own = {case["case"]: case["dice"] for case in facts["scores"][0]["cases"]}
    for case in scores["cases"]:
        dices = [score["dice"] for score in case["classes"].values()]
        assert own[case["case"]] == pytest.approx(sum(dices) / len(dices))
        assert f"{own[case['case']]:.3g}" in told
    assert list(own.values()) == sorted(own.values())


def test_a_page_has_all_sections_in_order(scored: Scored):
    scored()
    text = made("runs/semi", *WHOLE)
    found = re.findall(r"<section id=\"(\w+)\">", text)
    expected = ["verdict", "scores", "cases", "curves", "data", "pseudo", "texts", "methods"]
    assert found == expected
    told = words_of(text)
    for said in (
        "supervised", "Share of unlabeled voxels", "worst", "median", "best", "20 x 18 x 6",
        "1 x 1 x 3 mm", "UniMatch V2", "arXiv:1606.04797", "prefers-color-scheme",
    ):  # fmt: skip
        assert said in told or said in text
    assert "few; intervals are wide" in told
    assert "no split chose these cases" in told
    assert text.count("data:image/webp") >= len(NAMES)


def test_errors_of_slices_are_those_of_the_voxels(scored: Scored):
    scored()
    made("runs/semi", *WHOLE)
    import nibabel as nib

    facts = json.loads(Path("report.json").read_text())
    for case in facts["shown"]:
        mask, reference = (
            np.asarray(nib.load(f"{folder}/{case['case']}.nii.gz").dataobj)
            for folder in ("masks", "scans/labels")
        )
        assert case["slices"]
        for one in case["slices"]:
            assert (one["axis"], one["of"]) == ("Z", SHAPE[2])
            a, b = mask[..., one["number"] - 1], reference[..., one["number"] - 1]
            wrong = one["missed"] + one["false"] + one["other_class"]
            assert wrong == int((a != b).sum())
            assert one["missed"] == int(((b > 0) & (a == 0)).sum())


def test_the_plain_report_draws_curves_on_the_terminal(place: Path):
    write_run(place / "run")
    result = invoke("report", "run")
    assert result.exit_code == 0, result.stderr
    assert "strong" in result.stdout
    assert re.search(r"confident +▁\S*█ +0\.01 to 0\.99", result.stdout)
    assert json.loads(invoke("report", "run", "--json").stdout)["runs"][0]["method"]


def test_names_that_are_markup_stay_text(scored: Scored, place: Path):
    names = (*NAMES[:2], ODD.replace("/", "|"), "a&b\"'", "{{ 7 * 7 }}")
    scored(names, classes=1)
    text = made("runs/semi", *WHOLE)
    assert "<script>alert" not in text
    assert "{{ 7 * 7 }}" in words_of(text)
    assert ODD.replace("/", "|") in words_of(text)


@pytest.mark.parametrize("classes", [1, 12])
def test_one_class_and_many(scored: Scored, classes: int):
    scored(NAMES[:3], classes)
    told = words_of(made("runs/semi", *WHOLE))
    for value in range(1, classes + 1):
        assert f"class {value}" in told
    assert ("The 12 classes stand in the table" in told) == (classes == 12)


def test_a_hundred_classes(place: Path):
    names = ("background", *(f"<i>{value}</i>" for value in range(1, 101)))
    write_run(place / "run", classes=names)
    label = np.arange(np.prod(SHAPE), dtype=np.uint8).reshape(SHAPE) % 101
    for folder in ("scans/images", "scans/labels", "masks"):
        write_nifti(place / folder / "a.nii.gz", np.roll(label, folder == "masks"), AFFINE)
    assert invoke("score", "masks", "scans", "-o", "scores.json").exit_code == 0
    text = made("run", *WHOLE)
    assert "&lt;i&gt;100&lt;/i&gt;" in text
    assert len(text) < MB


def test_scores_of_other_masks_are_told(scored: Scored):
    scored()
    words = ("--scores", "scores.json", "--masks", "other-masks", "--data", "scans")
    told = words_of(made("runs/semi", *words, "-o", "report.html"))
    assert "scores.json was made of other masks than those of --masks" in told
    assert "none of the runs of this report is known to have made the masks" in told


def test_runs_that_made_the_masks_together_are_found_among_others(scored: Scored, place: Path):
    scored()
    runs = [f"{name}/fold-{fold}" for name in ("first", "second") for fold in range(3)]
    for seed, run in enumerate(runs):
        write_run(place / run, seed=seed)
    facts = json.loads(invoke("report", *runs, "--json").stdout)["runs"]
    digests = [one["weights"]["final"] for one in facts]
    assert len({*digests}) == len(runs)
    scores = json.loads(Path("scores.json").read_text(encoding="utf-8"))
    for makers, told in (
        (slice(3, 6), "second/fold-0, second/fold-1, second/fold-2"),
        ((0, 4), ""),
    ):
        part = digests[makers] if isinstance(makers, slice) else [digests[n] for n in makers]
        scores["predictions"]["run"] = sha256_json(sorted(part))
        Path("scores.json").write_text(json.dumps(scores), encoding="utf-8")
        page = words_of(made(*runs, "--scores", "scores.json", "-o", "report.html", "--force"))
        assert ("is known to have made the masks" in page) == (not told)
        assert told in page


def test_a_missed_class_and_a_failed_case_are_told(scored: Scored, place: Path):
    scored()
    write_nifti(place / "masks" / "case03.nii.gz", np.zeros(SHAPE, np.uint8), AFFINE)
    (place / "masks" / "case04.nii.gz").unlink()
    assert invoke("score", "masks", "scans", "-o", "scores.json", "--force").exit_code == 5
    told = words_of(made("runs/semi", *WHOLE))
    assert "no mean Dice over 4 cases; 1 case could not be scored" in told
    assert "a class is missed in 1 case (case03)" in told
    assert "case04" in told


def test_scans_that_are_missing_leave_a_sentence(scored: Scored, place: Path):
    scored()
    (place / "scans" / "images" / "case01.nii.gz").unlink()
    (place / "scans" / "images" / "case02.nii.gz").write_bytes(b"no scan")
    (place / "masks" / "case03.nii.gz").unlink()
    told = words_of(made("runs/semi", *WHOLE))
    assert "Not shown: the data set has no such case" in told
    assert "Not shown: masks has no mask of this case" in told
    assert "case02.nii.gz" in told


def test_a_run_without_validation_or_end_or_log(place: Path):
    write_run(place / "run", finished=False, validated=False)
    told = words_of(made("run", "-o", "report.html"))
    assert "nobody knows how good it is" in told
    assert "run is unfinished" in told
    assert "The run was not validated" in told
    (place / "run" / "log.jsonl").unlink()
    assert "no log.jsonl" in words_of(made("run", "-o", "report.html", "--force"))


def test_pictures_and_volumes_side_by_side(place: Path):
    write_run(place / "run", classes=("background", "polyp"))
    write_scans(place / "scans", ["volume"], 1)
    write_masks(place / "masks", ["volume"], classes=1)
    for folder in ("scans/images", "scans/labels", "masks"):
        pixels = np.zeros((30, 40, 3), np.uint8) if folder == "scans/images" else None
        label = np.zeros((30, 40), np.uint8)
        label[5:20, 5:25] = 1
        Image.fromarray(label if pixels is None else pixels + 60).save(f"{folder}/flat.png")
    told = words_of(made("run", "--masks", "masks", "--data", "scans", "-o", "report.html"))
    assert "flat, picture" in told
    assert "volume, slice" in told


def test_several_runs_stand_side_by_side(place: Path):
    text = {"fusion": "token-map", "embeddings": "e" * 64, "target": "atrium", "texts": ["<b>A"]}
    shapes = {"token_shape": [1, 1, 4], "pooled_shape": [1, 1, 4], "encoder": "minilm"}
    write_run(place / "set/seed-0", text={**text, **shapes, "control": "none"})
    write_run(place / "set/seed-1", text={**text, **shapes, "control": "shuffled"})
    told = words_of(made("set", "-o", "report.html"))
    assert "Runs side by side" in told
    assert "the target's" in told
    assert "shuffled" in told
    assert "<b>A" in told


def test_what_is_named_and_is_not_right_is_one_sentence(place: Path, scored: Scored):
    scored()
    (place / "empty").mkdir()
    (place / "notes.json").write_text('{"schema": "llmseg/scores/1"}')
    (place / "damaged.json").write_text(
        Path("scores.json").read_text().replace('"std"', '"mean"', 1)
    )
    for words, code, said in (
        (("empty",), 2, "empty is no run folder"),
        (("runs/semi", "--scores", "notes.json"), 2, "notes.json: lacks 'status'"),
        (("runs/semi", "--scores", "damaged.json"), 2, "stands there twice"),
        (("runs/semi", "--pseudo", "masks"), 2, "there is no qc.csv"),
        (("runs/semi", "--masks", "masks"), 2, "pass --data DIR and -o report.html"),
        (("runs/semi", "--cases", "3"), 2, "pass --data DIR and -o report.html"),
        (("runs/semi", "-o", "report.pdf"), 2, "ends in .html"),
        (("runs/semi", "-o", "scores.html", "--scores", "scores.json", "-f"), 2, "is what is read"),
        (("runs/semi", *WHOLE[2:], "--masks", "empty"), 3, "No label maps in empty"),
    ):
        result = invoke("report", *words)
        assert (result.exit_code, "Traceback" in result.output) == (code, False), result.output
        assert said in result.stderr
    assert not list(place.glob("report.*"))


def test_without_the_extra_the_command_that_installs_it_is_told(place: Path, monkeypatch):
    write_run(place / "run")
    monkeypatch.setattr("llmseg_cli.workflows.report.page.PACKAGES", ("jinja2", "no_such_package"))
    result = invoke("report", "run", "-o", "report.html")
    assert result.exit_code == 2
    assert "report -o needs the package no_such_package: python -m pip install" in result.stderr
    assert invoke("report", "run").exit_code == 0


@pytest.mark.parametrize(("cases", "most_mb"), [(16, 3), (200, 6)])
def test_a_page_stays_small(place: Path, cases: int, most_mb: float):
    """Of scans that compress worst, noise in as many pixels as a tile has."""
    names = [f"case{index:03d}" for index in range(cases)]
    write_run(place / "run", test=names, steps=4000, classes=("background", "a", "b", "c"))
    shape = (400, 400, 4)
    random = np.random.default_rng(0)
    label = np.zeros(shape, np.uint8)
    label[10:390, 10:390] = random.integers(0, 4, (380, 380, 4))
    write_nifti(place / "image.nii.gz", random.normal(0, 1, shape).astype("f4"), AFFINE)
    write_nifti(place / "label.nii.gz", label, AFFINE)
    write_nifti(place / "mask.nii.gz", np.roll(label, 1, axis=0), AFFINE)
    for folder in ("scans/images", "scans/labels", "masks", "one/ref", "one/pred"):
        (place / folder).mkdir(parents=True)
    files = {"scans/images": "image", "scans/labels": "label", "masks": "mask"}
    for folder, kind in files.items():
        for name in names:
            (place / folder / f"{name}.nii.gz").symlink_to(place / f"{kind}.nii.gz")
    for folder, kind in {"one/ref": "label", "one/pred": "mask"}.items():
        (place / folder / "case000.nii.gz").symlink_to(place / f"{kind}.nii.gz")
    assert invoke("score", "one/pred", "one/ref", "-o", "one.json").exit_code == 0
    scores = json.loads(Path("one.json").read_text())
    scores["cases"] = [{**scores["cases"][0], "case": name} for name in names]
    Path("scores.json").write_text(json.dumps(scores))
    text = made("run", *WHOLE)
    assert text.count("data:image/webp") == 3 * min(12, cases)
    assert len(text.encode()) < most_mb * MB


def test_the_split_of_a_run_is_read_as_it_is(place: Path):
    write_run(place / "run", test=("t0",))
    split = Split.load(place / "run/split.json")
    facts = json.loads(invoke("report", "run", "--json").stdout)
    assert facts["runs"][0]["counts"]["locked_test"] == len(split.test)
    assert f"digest {facts['runs'][0]['test_list'][:8]}" in " ".join(facts["verdict"])


def test_a_viewer_needs_its_program_and_a_volume_with_a_mask(place: Path, cache: Path):
    write_run(place / "run")
    write_scans(place / "scans", ["a"])
    words = ("report", "run", "--data", "scans", "--viewer", "-o", "report.html")
    absent = invoke(*words)
    assert (absent.exit_code, absent.stdout) == (7, "")
    assert "Run 'llmseg weights fetch niivue'" in absent.stderr
    assert "pass --data DIR and -o report.html" in invoke("report", "run", "--viewer").stderr
    assert not Path("report.html").exists()


def test_a_viewer_is_given_the_mask_thinned_to_fit(scored: Scored, place: Path, monkeypatch):
    """Against the files, read by nibabel; of more voxels than fit, the longest axis is thinned."""
    import nibabel as nib

    from llmseg_cli.workflows.report.sources import viewing
    from llmseg_cli.workflows.report.sources.scans import look_at
    from llmseg_cli.workflows.report.sources.showing import draw, labels_with_reference
    from llmseg_cli.workflows.score.predictions import find_predictions

    scored(NAMES[:1])
    cohort = look_at(place / "scans", (), NAMES[:1], silent)
    labels = labels_with_reference(cohort, find_predictions(place / "masks"))
    drawn = draw([(NAMES[0], "", None)], cohort, labels, silent)
    mask = nib.load(place / "masks" / f"{NAMES[0]}.nii.gz")
    for most, steps in ((2160, (1, 1, 1)), (1100, (2, 1, 1)), (550, (2, 2, 1))):
        monkeypatch.setattr(viewing, "MOST", most)
        view = viewing.view_of([one.case for one in drawn], cohort, labels)
        assert view.facts.every == steps
        kept = nib.Nifti1Image.from_bytes(gzip.decompress(base64.b64decode(view.mask)))
        part = tuple(slice(None, None, step) for step in steps)
        np.testing.assert_array_equal(kept.dataobj, np.asarray(mask.dataobj)[part])
        at = np.array([3, 2, 1])
        here = kept.affine @ [*at, 1]
        np.testing.assert_allclose(here, mask.affine @ [*(at * steps), 1])
        assert view.numbers == (1, 2)


def test_what_is_said_of_all_folds_is_one_line(place: Path):
    for fold in range(7):
        path = write_run(place / f"folds/fold-{fold}") / "run.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"warnings": ["few labels"]}))
    made("folds", "-o", "report.html")
    told = json.loads(Path("report.json").read_text())["warnings"]
    names = ", ".join(f"fold-{fold}" for fold in range(5))
    assert told == [f"{names}, ... have no locked test list.", f"{names}, ...: few labels"]


def test_means_without_intervals_are_told_without_them(scored: Scored):
    scored()
    words = ("--pred", "masks", "--ref", "scans", "-o", "scores.json", "--bootstrap", "0")
    assert invoke("score", *words, "--force").exit_code == 0
    told = words_of(made("runs/semi", *WHOLE))
    assert "5 cases are few; there is no interval." in told
    assert "another seed may differ." in told
    assert "bootstrap interval" not in told


def test_of_two_files_of_scores_the_one_that_ranks_the_cases_is_named(scored: Scored):
    scored()
    words = ("--pred", "other-masks", "--ref", "scans", "-o", "other.json", "--bootstrap", "9")
    assert invoke("score", *words).exit_code == 0
    told = words_of(made("runs/semi", "--scores", "other.json", *WHOLE))
    assert "By scores.json, whose masks these are." in told
    assert json.loads(Path("report.json").read_text())["shown_by"] == "scores.json"
    assert "whose masks these are" not in words_of(made("runs/semi", *WHOLE, "--force"))
