"""What trust is worth, from what `predict` notes and from Dice, in the document and in words."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy.stats import spearmanr
from training_cli import invoke

from llmseg_cli.artifacts.journal import JOURNAL, Journal
from llmseg_cli.artifacts.manifest import Manifest

SHAPE = (10, 9, 8)
AGREEMENT = {"a": 0.9, "b": 0.7, "c": 0.8, "d": 0.4, "e": 0.85, "f": 0.3}
SHIFT = {"a": 0, "b": 1, "c": 2, "d": 3, "e": 1, "f": 4}  # how wrong a mask is


def write(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, np.eye(4)), path)


def box(shift: int = 0) -> np.ndarray:
    labels = np.zeros(SHAPE, np.uint8)
    labels[1 + shift : 6 + shift, 2:7, 2:6] = 1
    return labels


def trust(agreement: float | None, entropy: float = 0.1) -> dict:
    return {
        "agreement": agreement,
        "classes": {"1": agreement},
        "between": "networks",
        "voices": 2,
        "entropy": entropy,
    }


def predict(out: Path, **noted: dict) -> None:
    """A folder as `predict` writes it."""
    journal = Journal(out, resume=False)
    for case in AGREEMENT:
        write(out / f"{case}.nii.gz", box(SHIFT[case]))
        details = {"trust": noted[case]} if case in noted else {}
        journal.add(case, f"{case}.nii.gz", image="-", made_by="-", details=details)
    outputs = tuple(f"{case}.nii.gz" for case in AGREEMENT)
    Manifest("predict").write(out, outputs=outputs)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for case in AGREEMENT:
        write(tmp_path / "labels" / f"{case}.nii.gz", box())
    return tmp_path


def score(*words: str) -> tuple[dict, str]:
    result = invoke("score", "--ref", "labels", "--bootstrap", "0", "--json", *words)
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout), result.stderr


def dice_of(document: dict) -> list[float]:
    return [case["classes"]["1"]["dice"] for case in document["cases"]]


def test_agreement_and_entropy_are_compared_with_dice(place: Path):
    entropy = dict(zip(AGREEMENT, (0.2, 0.1, 0.3, 0.35, 0.15, 0.25), strict=True))
    predict(place / "masks", **{c: trust(a, entropy[c]) for c, a in AGREEMENT.items()})
    document, said = score("--pred", "masks")
    (found,) = document["trust"]
    dice = dice_of(document)
    by_agreement, by_entropy = found["measures"]["agreement"], found["measures"]["entropy"]
    expected = spearmanr(list(AGREEMENT.values()), dice).statistic
    assert by_agreement["spearman"] == pytest.approx(expected)
    assert by_entropy["spearman"] == pytest.approx(-spearmanr([*entropy.values()], dice).statistic)
    order = sorted(range(6), key=lambda i: -list(AGREEMENT.values())[i])
    risks = [float(np.mean([1 - dice[i] for i in order[:n]])) for n in range(1, 7)]
    assert by_agreement["risk_coverage"]["risk"] == pytest.approx(risks)
    assert by_agreement["area"] == pytest.approx(np.mean(risks))
    assert by_agreement["worst_fifth"] == {"cases": 2, "among_least_trusted": 2, "share": 1.0}
    assert found["between"] == {"networks": 2}
    assert found["in_words"] in said
    assert f"agreement of 2 networks, 6 cases: rank correlation with Dice {expected:.2f}" in said
    assert "2 of the 2 worst are among the 2 least trusted." in said


def test_cases_without_trust_and_changed_masks_are_left_out_and_counted(place: Path):
    noted = {case: trust(a) for case, a in AGREEMENT.items() if case != "a"}
    predict(place / "masks", **(noted | {"b": trust(None)}))
    write(place / "masks" / "c.nii.gz", box(1))
    (found,) = score("--pred", "masks")[0]["trust"]
    assert found["measures"]["agreement"]["n"] == 3
    assert found["cases_without"] == {"agreement": 3, "entropy": 2}


def test_masks_of_others_have_no_trust(place: Path):
    for case in AGREEMENT:
        write(place / "masks" / f"{case}.nii.gz", box(SHIFT[case]))
    (place / "masks" / JOURNAL).write_text("not ours\n")
    document, said = score("--pred", "masks")
    assert document["trust"] is None
    assert "trust" not in said


def test_a_damaged_journal_costs_a_warning_and_no_score(place: Path):
    predict(place / "masks", **{case: trust(a) for case, a in AGREEMENT.items()})
    (place / "masks" / JOURNAL).write_text("{}\n{}\n")
    document, said = score("--pred", "masks")
    assert document["trust"] is None
    assert document["metrics"]["dice"]["mean"] is not None
    assert "What trust is worth is not told" in said


def test_of_two_folders_each_has_its_own(place: Path):
    predict(place / "masks", **{case: trust(a) for case, a in AGREEMENT.items()})
    predict(place / "others", **{case: trust(1 - a) for case, a in AGREEMENT.items()})
    document, _ = score("--pred", "masks", "--compare", "others")
    own, other = document["trust"]
    assert [own["folder"], other["folder"]] == ["masks", "others"]
    one, two = (found["measures"]["agreement"]["spearman"] for found in (own, other))
    assert one == pytest.approx(-two)
    together, _ = score("--pred", "masks", "--pred", "others")
    assert [one["folder"].split("/")[-1] for one in together["trust"]] == ["masks", "others"]
