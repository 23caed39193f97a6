"""Words in, one call, words out."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from llmseg_cli.artifacts.shard import Shard
from llmseg_cli.cli import app
from llmseg_cli.errors import PartialError
from llmseg_cli.workflows.predict import run as workflow
from llmseg_cli.workflows.predict.cases import CaseResult
from llmseg_cli.workflows.predict.cost import Estimate
from llmseg_cli.workflows.predict.run import Predicted

COST = Estimate({"a": 12, "b": 8}, passes=16, memory_mb=900, device_mb=0, largest="a")
DONE = Predicted(
    Path("pred"), COST, (CaseResult("a", "ok", "a.nii.gz"), CaseResult("b", "skipped", "b.nii.gz"))
)


@pytest.fixture
def call(monkeypatch, tmp_path, names_alone):
    """Runs the command with a workflow that only listens; gives the result and its arguments."""
    monkeypatch.chdir(tmp_path)

    def make(*words: str, outcome=DONE, stdin: str | None = None):
        heard = {}

        def run(folder, *, on_estimate, on_case, progress, **values):
            heard.update(values, run=folder)
            opened = SimpleNamespace(
                patches=((112, 112, 80),),
                groups=(None,),
                networks={"first": None, "second": None},
                device=SimpleNamespace(type="cpu"),
                dtype="torch.bfloat16",
                temperatures={},
            )
            on_estimate(COST, opened)
            on_case(CaseResult("c", "failed", reason="c.nii.gz: not a whole NIfTI file."))
            progress("predict", 20, 20, case="b")
            if isinstance(outcome, Exception):
                raise outcome
            return outcome

        monkeypatch.setattr(workflow, "run", run)
        arguments = ["predict", "--run", "runs/usl", "-o", "pred", *words]
        result = CliRunner().invoke(app, arguments, input=stdin, env={"COLUMNS": "200"})
        return result, heard

    return make


def test_defaults(call):
    result, heard = call("--images", "scans")
    assert result.exit_code == 0
    assert result.stdout == ""
    assert heard == {
        "run": [Path("runs/usl")],
        "out": Path("pred"),
        "data": None,
        "images": [Path("scans")],
        "split": None,
        "subset": None,
        "overlap": 0.5,
        "stride": None,
        "blend": "gaussian",
        "mirror": False,
        "network": None,
        "checkpoint": "final",
        "device": "auto",
        "precision": "auto",
        "batch": 0,
        "skip_below": None,
        "probabilities": False,
        "dicom_seg": False,
        "overlays": 0,
        "uncertainty": False,
        "centres": None,
        "calibrated": False,
        "largest_component": None,
        "fill_holes": None,
        "max_ram": None,
        "cache": None,
        "resume": False,
        "force": False,
        "text": None,
        "shard": None,
        "merge": False,
        "dry_run": False,
    }


def test_every_word_arrives(call):
    result, heard = call(
        *("--data", "scans", "--split", "s.json", "--subset", "validation", "--stride", "18,18,4"),
        *("--mirror", "--network", "mean", "--checkpoint", "best"),
        *("--device", "cpu", "--precision", "fp32", "--windows", "3", "--resume", "--force", "-n"),
        *("--cache", "kept", "--skip-below", "-500", "--max-ram", "4GB", "--blend", "constant"),
    )
    assert result.exit_code == 0
    assert (heard["skip_below"], heard["max_ram"]) == (-500.0, 4 * 10**9)
    assert (heard["data"], heard["split"]) == (Path("scans"), Path("s.json"))
    assert (heard["subset"], heard["stride"]) == ("validation", (18, 18, 4))
    assert (heard["mirror"], heard["network"], heard["checkpoint"]) == (True, "mean", "best")
    assert (heard["device"], heard["precision"], heard["batch"]) == ("cpu", "fp32", 3)
    assert [heard[name] for name in ("resume", "force", "dry_run")] == [True] * 3
    assert (heard["cache"], heard["blend"]) == (Path("kept"), "constant")
    assert call("--images", "a", "--overlap", "0.7")[1]["overlap"] == 0.7


def test_several_images_as_a_shell_expands_them(call):
    _, heard = call("--images", "a.png", "b.png", "c.png", "--images", "d")
    assert heard["images"] == [Path(name) for name in ("a.png", "d", "b.png", "c.png")]


def test_images_from_a_pipe_or_a_file(call, tmp_path):
    _, heard = call("--from0", "-", stdin="with space.nii.gz\0b.nii.gz\0")
    assert heard["images"] == [Path("with space.nii.gz"), Path("b.nii.gz")]
    (tmp_path / "list").write_bytes("ä.nii.gz\0".encode())
    _, heard = call("--from0", str(tmp_path / "list"))
    assert heard["images"] == [Path("ä.nii.gz")]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--from0", "absent"], "Cannot read --from0 absent"),
        (["--from0", "-"], "names no image"),
        (["--images", "a", "--max-ram", "much"], "size 'much': expected a number of bytes"),
        (["--images", "a", "--stride", "18,x"], "stride '18,x': expected whole numbers"),
    ],
)
def test_wrong_words(call, words, message):
    result, heard = call(*words, stdin="")
    assert result.exit_code == 2
    assert message in result.stderr
    assert not heard


def test_a_list_in_the_configuration(call, tmp_path):
    (tmp_path / "llmseg.yaml").write_text("predict:\n  stride: [18, 18, 4]\n  mirror: true\n")
    result, heard = call("--images", "a")
    assert result.exit_code == 0, result.stderr
    assert (heard["stride"], heard["mirror"]) == ((18, 18, 4), True)


def test_the_estimate_the_failures_and_the_end_are_told(call):
    result, _ = call("--images", "scans")
    assert "2 cases, 20 windows of 112x112x80, each asked 16 times, first, second on cpu in " in (
        result.stderr
    )
    assert "about 900 MB of memory for the largest (a)" in result.stderr
    assert "Warning: c failed: c.nii.gz: not a whole NIfTI file." in result.stderr
    assert "pred: 1 mask, 1 kept from before." in result.stderr


def test_json_also_where_cases_failed(call):
    result, _ = call("--images", "scans", "--json", "-q")
    assert json.loads(result.stdout)["counts"] == {
        "cases_in": 2, "ok": 1, "failed": 0, "skipped": 1,
    }  # fmt: skip
    assert result.stderr == ""
    error = PartialError("1 of 3 cases failed")
    error.report = {"counts": {"failed": 1}}
    result, _ = call("--images", "scans", "--json", outcome=error)
    assert result.exit_code == 5
    assert json.loads(result.stdout) == {"counts": {"failed": 1}}
    assert "1 of 3 cases failed" in result.stderr


def test_a_dry_run_says_what_it_would_cost(call):
    result, _ = call("--images", "scans", "-n", outcome=Predicted(Path("pred"), COST, ()))
    assert result.exit_code == 0
    assert "20 windows" in result.stderr
    assert "masks" not in result.stderr


def test_shards_are_counted_from_1_and_the_last_one_joins(call):
    result, heard = call("--images", "scans", "--shard", "2/3", outcome=DONE)
    assert result.exit_code == 0, result.stderr
    assert (heard["shard"], heard["merge"]) == (Shard(2, 3), False)
    assert "2 shards of 3 not" not in result.stderr
    assert "Shard 2/3 is done; 3 shards of 3 not: 1/3 has not begun; 2/3 has not" in result.stderr
    result, heard = call("--images", "scans", "--merge")
    assert (heard["shard"], heard["merge"]) == (None, True)
    for words, said in (
        (("--shard", "0/2"), "--shard 0/2: expected I/N"),
        (("--shard", "3/2"), "from 1/N to N/N, such as 1/4"),
        (("--shard", "1/2", "--merge"), "Pass one."),
        (("--shard", "1/2", "--cross-validation"), "Predict each fold by itself"),
    ):
        result, heard = call("--images", "scans", *words)
        assert (result.exit_code, heard) == (2, {})
        assert said in " ".join(result.stderr.split())
