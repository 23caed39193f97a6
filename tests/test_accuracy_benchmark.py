"""`make bench-accuracy`: nobody sees what is locked, masks lie right, and trainings end in time."""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import h5py
import nibabel as nib
import numpy as np
import pytest
from PIL import Image
from tiny_data import random_image, write_nifti

from llmseg_cli.data.cases import find_cases
from llmseg_cli.data.volumes import load_label_map

BENCHMARKS = Path(__file__).parents[1] / "examples" / "benchmarks"
LEFT_POSTERIOR = np.array(
    [[0, -2.0, 0, 7], [0, 0, 3.0, 5], [-1.0, 0, 0, 2], [0, 0, 0, 1]]
)  # axes in another order and direction, of 1, 2 and 3 mm


@pytest.fixture
def program(monkeypatch):
    """A module of the benchmark by its name."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))

    def load(name: str) -> ModuleType:
        return importlib.import_module(name)

    return load


class Clock:
    """A clock that a test sets."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def write_split(folder: Path, labeled: list[str], test: list[str]) -> None:
    folder.mkdir(exist_ok=True)
    roles = {"labeled": labeled, "test": test}
    (folder / "split.json").write_text(json.dumps(roles), encoding="utf-8")


def some_label(seed: int, shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 3, shape).astype(np.uint8)


def write_scans(root: Path) -> Path:
    """Four scans whose voxels are stored in an unusual order; the label maps have 0, 1 and 2."""
    for seed, name in enumerate("abcd"):
        shape = (4 + seed, 6, 5)
        write_nifti(root / "images" / f"{name}.nii.gz", random_image(seed, shape), LEFT_POSTERIOR)
        write_nifti(root / "labels" / f"{name}.nii.gz", some_label(seed, shape), LEFT_POSTERIOR)
    return root


def write_stacks(root: Path) -> Path:
    """HDF5 files whose first axis is few slices, with the label map inside."""
    root.mkdir()
    for seed, name in enumerate("abcd"):
        with h5py.File(root / f"{name}.h5", "w") as file:
            file["image"] = random_image(seed, (5, 24, 20))
            file["label"] = some_label(seed, (5, 24, 20))
    return root


def write_pictures(root: Path) -> Path:
    """JPEG pictures in color, and masks of 0 and 255."""
    for folder in ("images", "labels"):
        (root / folder).mkdir(parents=True)
    for seed, name in enumerate("abcd"):
        drawn = np.random.default_rng(seed).integers(0, 255, (24, 18, 3)).astype(np.uint8)
        Image.fromarray(drawn).save(root / "images" / f"{name}.jpg")
        mask = 255 * (some_label(seed, (24, 18)) > 1).astype(np.uint8)
        Image.fromarray(mask).save(root / "labels" / f"{name}.png")
    return root


class TestPace:
    def test_steps_that_fit(self, program):
        pace = program("pace")
        assert [pace.steps_that_fit(left, 2.5) for left in (10, 9.9, 2.4, -3)] == [4, 3, 0, 0]
        with pytest.raises(ValueError, match="0 s"):
            pace.steps_that_fit(10, 0)

    def test_even_steps_fill_the_time_and_the_schedule_ends_at_its_end(self, program):
        clock = Clock()
        pace = program("pace").Pace(clock.now + 60.5, clock=clock)
        shares = []
        while (progress := pace.progress) < 1:
            shares.append(progress)
            clock.now += 0.5
            pace.tick()
        assert pace.done == 121
        assert shares[:3] == [0, 0, 0]  # none is timed before the third ends
        assert shares[3:] == pytest.approx([step / 121 for step in range(3, 121)])

    @pytest.mark.parametrize("slower", [0.2, 4])
    def test_a_machine_that_changes_its_speed_neither_overruns_nor_stops_early(
        self, program, slower
    ):
        clock, start = Clock(), Clock.now
        pace = program("pace").Pace(start + 300, clock=clock)
        last = 0.0
        while (progress := pace.progress) < 1:
            last = progress
            clock.now += 1 if clock.now < start + 100 else slower
            pace.tick()
        assert start + 300 - slower <= clock.now <= start + 300
        assert last > 0.95

    def test_a_deadline_that_has_passed_ends_at_once(self, program):
        clock = Clock()
        pace = program("pace").Pace(clock.now - 1, clock=clock)
        assert pace.progress == 1

    def test_poly(self, program):
        pace = program("pace")
        assert [pace.poly(share, 0.5) for share in (0, 0.75, 1)] == [1, 0.5, 0]


class TestData:
    @pytest.mark.parametrize("write", [write_scans, write_stacks])
    def test_a_mask_in_the_rivals_voxels_comes_back_onto_the_original_ones(
        self, program, tmp_path, write
    ):
        data = write(tmp_path / "data")
        write_split(tmp_path / "laid", ["a", "b"], ["d"])
        laid = program("accuracy_data").lay(data, tmp_path / "laid", label_map={})
        assert (laid.classes, laid.channels, laid.is_2d) == (3, 1, False)
        case = find_cases(data).case("a")
        image = nib.load(laid.raw / "imagesTr" / "a_0000.nii.gz")
        label = nib.load(laid.raw / "labelsTr" / "a.nii.gz")
        assert nib.aff2axcodes(image.affine) == ("R", "A", "S")
        assert image.shape == label.shape
        found = tmp_path / "found"
        found.mkdir()
        (laid.raw / "labelsTr" / "a.nii.gz").rename(found / "a.nii.gz")
        program("accuracy_data").collect(found, tmp_path / "masks", find_cases(data), ("a",))
        mask = load_label_map(tmp_path / "masks" / "a.nii.gz")
        truth = load_label_map(case.label)
        assert mask.grid.shape == truth.grid.shape
        np.testing.assert_allclose(mask.grid.affine, truth.grid.affine)
        np.testing.assert_array_equal(mask.array, truth.array)

    def test_slices_of_a_stack_are_the_last_axis(self, program, tmp_path):
        data = write_stacks(tmp_path / "data")
        write_split(tmp_path / "laid", ["a", "b"], ["d"])
        laid = program("accuracy_data").lay(data, tmp_path / "laid", label_map={})
        assert laid.shape == (24, 20, 5)
        image = nib.load(laid.raw / "imagesTs" / "d_0000.nii.gz").get_fdata()
        with h5py.File(data / "d.h5") as file:
            np.testing.assert_allclose(image, np.moveaxis(file["image"][:], 0, 2), rtol=1e-6)

    def test_pictures(self, program, tmp_path):
        data = write_pictures(tmp_path / "data")
        write_split(tmp_path / "laid", ["a", "b"], ["d"])
        laid = program("accuracy_data").lay(data, tmp_path / "laid", label_map={255: 1})
        assert (laid.classes, laid.channels, laid.is_2d) == (2, 3, True)
        given = np.asarray(Image.open(data / "images" / "a.jpg"))
        image = np.asarray(Image.open(laid.raw / "imagesTr" / "a_0000.png"))
        np.testing.assert_array_equal(image, given)
        mask = np.asarray(Image.open(laid.raw / "labelsTr" / "a.png"))
        np.testing.assert_array_equal(255 * mask, Image.open(data / "labels" / "a.png"))
        program("accuracy_data").collect(
            laid.raw / "labelsTr", tmp_path / "masks", find_cases(data), ("a",)
        )
        np.testing.assert_array_equal(Image.open(tmp_path / "masks" / "a.png"), mask)

    @pytest.mark.parametrize("write", [write_scans, write_stacks, write_pictures])
    def test_nobody_trains_on_a_label_map_that_is_not_labeled_or_an_image_that_is_locked(
        self, program, tmp_path, write
    ):
        data = write(tmp_path / "data")
        write_split(tmp_path / "laid", ["a", "b"], ["d"])
        laid = program("accuracy_data").lay(data, tmp_path / "laid", label_map={255: 1})
        seen = find_cases(laid.folder / "llmseg").cases
        assert {case.id: case.label is not None for case in seen} == {
            "a": True,
            "b": True,
            "c": False,
        }
        for name in ("imagesTr", "labelsTr"):
            assert {path.name[0] for path in (laid.raw / name).iterdir()} == {"a", "b"}
        (locked,) = find_cases(laid.folder / "test").cases
        assert locked.label is None
        (reference,) = (laid.folder / "references").iterdir()
        truth = load_label_map(find_cases(data).case("d").label, label_map={255: 1})
        np.testing.assert_array_equal(load_label_map(reference).array, truth.array)

    def test_what_nnunet_reads(self, program, tmp_path):
        data = write_scans(tmp_path / "data")
        write_split(tmp_path / "laid", ["a", "b"], ["d"])
        laid = program("accuracy_data").lay(data, tmp_path / "laid", label_map={})
        assert json.loads((laid.raw / "dataset.json").read_text()) == {
            "channel_names": {"0": "channel0"},
            "labels": {"background": 0, "class1": 1, "class2": 2},
            "numTraining": 2,
            "file_ending": ".nii.gz",
        }

    def test_names_of_classes_stay_with_llmsegs_data(self, program, tmp_path):
        data = write_scans(tmp_path / "data")
        names = {"labels": {"0": "background", "1": "front", "2": "back"}}
        (data / "dataset.json").write_text(json.dumps(names), encoding="utf-8")
        write_split(tmp_path / "laid", ["a", "b"], ["d"])
        laid = program("accuracy_data").lay(data, tmp_path / "laid", label_map={})
        assert find_cases(laid.folder / "llmseg").classes == find_cases(data).classes


class TestContestants:
    def test_words_of_a_command(self, program):
        words_of = program("contestants").words_of
        words = words_of(
            "llmseg auto --data {data} --budget {minutes}m", {"data": "a b", "minutes": "3"}
        )
        assert words == [
            sys.executable,
            "-m",
            "llmseg_cli",
            "auto",
            "--data",
            "a b",
            "--budget",
            "3m",
        ]
        with pytest.raises(ValueError, match=r"no \{step\} in .*; known: \{data\}, \{steps\}"):
            words_of("llmseg train-sup --steps {step}", {"data": "d"})
        with pytest.raises(ValueError, match="begins with 'python'"):
            words_of("python train.py", {})

    def test_seconds_per_step_leave_the_first_ones_out(self, program):
        lines = [
            {"step": step, "time": 100.0 + (9 if step > 2 else 0) + step / 4}
            for step in range(1, 8)
        ]
        log = "\n".join(map(json.dumps, [*lines, {"validation": 0.5}]))
        assert program("contestants").seconds_per_step(log) == pytest.approx(0.25)
        with pytest.raises(ValueError, match="1 timed"):
            program("contestants").seconds_per_step(json.dumps(lines[-1]))

    def test_steps_of_all_trainings_count(self, program, tmp_path):
        steps_taken = program("contestants").steps_taken
        assert steps_taken(tmp_path) is None
        for name, steps in (("first", (10, 20)), ("second", (5, 7))):
            (tmp_path / name).mkdir()
            lines = [json.dumps({"step": step}) for step in steps]
            (tmp_path / name / "log.jsonl").write_text("\n".join(lines), encoding="utf-8")
        assert steps_taken(tmp_path) == 27

    @pytest.mark.parametrize(
        ("shape", "is_2d", "patch"),
        [
            ((35, 50, 36), False, [32, 48, 32]),
            ((240, 160, 88), False, [64, 96, 96]),
            ((216, 256, 9), False, [8, 224, 208]),
            ((256, 256, 1), True, [224, 224]),
        ],
    )
    def test_patches_of_pymic_are_slices_first_and_halve_four_times(
        self, program, shape, is_2d, patch
    ):
        assert program("pymic_rival").patch_of(shape, is_2d=is_2d) == patch

    def test_pymic_is_given_each_image_with_its_label_map(self, program, tmp_path):
        for folder in ("imagesTr", "labelsTr"):
            (tmp_path / folder).mkdir()
        for name in ("a_0000", "a_0001", "b_0000", "b_0001"):
            (tmp_path / "imagesTr" / f"{name}.nii.gz").touch()
        assert program("pymic_rival").rows(tmp_path, "imagesTr", "labelsTr", 2) == [
            "image0,image1,label",
            "imagesTr/a_0000.nii.gz,imagesTr/a_0001.nii.gz,labelsTr/a.nii.gz",
            "imagesTr/b_0000.nii.gz,imagesTr/b_0001.nii.gz,labelsTr/b.nii.gz",
        ]
        assert program("pymic_rival").rows(tmp_path, "imagesTr", None, 1)[1] == (
            "imagesTr/a_0000.nii.gz"
        )


class TestMeasured:
    def test_a_command_has_these_cores_and_threads_alone(self, program, tmp_path):
        measured = program("measured")
        before = os.sched_getaffinity(0)
        core = min(before)
        ask = "import os; print(os.sched_getaffinity(0), os.environ['OMP_NUM_THREADS'])"
        try:
            found = measured.measure(
                [sys.executable, "-c", ask],
                tmp_path / "log",
                cores=(core,),
                environment=measured.limited(1),
            )
        finally:
            os.sched_setaffinity(0, before)
        assert (tmp_path / "log").read_text() == f"{{{core}}} 1\n"
        assert found.cpu_s > 0
        assert found.peak_mb > 0

    def test_the_time_of_its_own_processes_counts(self, program, tmp_path):
        measured = program("measured")
        work = "import time\nwhile time.process_time() < 0.2: pass"
        ask = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {work!r}])"
        words = [sys.executable, "-c", ask]
        cores = tuple(os.sched_getaffinity(0))
        found = measured.measure(words, tmp_path / "log", cores=cores, environment=os.environ)
        assert found.cpu_s >= 0.2

    def test_a_failure_shows_what_was_said_last(self, program, tmp_path):
        measured = program("measured")
        words = [sys.executable, "-c", "print('before'); raise SystemExit('no scans')"]
        cores = tuple(os.sched_getaffinity(0))
        with pytest.raises(measured.FailedError, match=r"ended with 1:\n(before\n)?no scans"):
            measured.measure(words, tmp_path / "log", cores=cores, environment=os.environ)

    def test_one_command_after_the_other(self, program):
        first, second = (program("measured").Measured(*n) for n in ((1, 2, 30, 4), (5, 6, 7, 8)))
        assert first + second == program("measured").Measured(6, 8, 30, 4)


LINE = {
    "data": "hippocampus",
    "contestant": "nnU-Net",
    "version": "2.8.1",
    "minutes": 10.0,
    "threads": 1,
    "side_by_side": True,
    "labeled": 6,
    "train": {"wall_s": 594.0, "cpu_s": 1140.0},
    "predict": {"wall_s": 30.0, "cpu_s": 60.0},
    "steps": 1234,
    "dice": {"mean": 0.81234, "interval": [0.79, 0.83], "classes": {"1": 0.825, "2": 0.8}},
}


class TestTable:
    def test_a_row(self, program):
        table = program("accuracy_table")
        assert table.row(LINE) == (
            "| hippocampus, 6, 2 x 1 | nnU-Net 2.8.1 | 10 | 9.90 | 19.00 | 1,234 | 0.50 "
            "| 0.812 [0.790, 0.830] | 0.825 0.800 |"
        )
        assert {line.count("|") for line in (*table.HEAD.splitlines(), table.row(LINE))} == {10}

    def test_a_failure_is_a_row_too(self, program):
        table = program("accuracy_table")
        failed = {name: LINE[name] for name in list(LINE)[:7]} | {"error": "it said:\nno | room\n"}
        assert table.row(failed).count("|") == 10
        assert "failed: no / room |" in table.row(failed)

    def test_results_print_again(self, program, tmp_path):
        results = tmp_path / "accuracy.jsonl"
        results.write_text(json.dumps(LINE) + "\n", encoding="utf-8")
        words = [sys.executable, str(BENCHMARKS / "accuracy.py"), "--table", str(results)]
        done = subprocess.run(words, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        table = program("accuracy_table")
        assert done.stdout.splitlines() == [*table.HEAD.splitlines(), table.row(LINE)]


class TestProgram:
    @pytest.mark.parametrize(
        ("threads", "side_by_side", "expected"),
        [(2, False, [(3, 5)]), (1, False, [(3,)]), (1, True, [(3,), (5,)])],
    )
    def test_cores_of_each_that_runs_at_once(self, program, threads, side_by_side, expected):
        assert program("accuracy").lanes([3, 5], threads, side_by_side) == expected

    def test_too_few_cores(self, program):
        with pytest.raises(SystemExit, match=r"need 4 cores; there are 2\. Say --threads 1"):
            program("accuracy").lanes([3, 5], 2, True)

    def test_a_known_set_is_drawn_as_known_unless_said_otherwise(self, program):
        accuracy = program("accuracy")
        chosen = accuracy.options().parse_args(["--data", "x/kvasir", "--labeled", "5"])
        assert accuracy.drawing(chosen) == {
            "--labeled": ["5"],
            "--test": ["60"],
            "--label-map": ["255:1"],
        }
        other = accuracy.options().parse_args(["--data", "x/mine", "--labeled", "5"])
        with pytest.raises(SystemExit, match=r"mine is none of .*: say --test"):
            accuracy.drawing(other)

    @pytest.mark.slow
    def test_llmseg_takes_part(self, toy_data, tmp_path):
        out = tmp_path / "accuracy.jsonl"
        train = (
            "llmseg train-sup --data {data} -o {out} --cache {cache} --seed {seed} "
            "--steps {steps} --log-every 1 --patch 16,16,16 --model vnet --model-option filters=4"
        )
        words = [sys.executable, str(BENCHMARKS / "accuracy.py"), "llmseg", "--data", str(toy_data)]
        words += ["--labeled", "2", "--test", "2", "--minutes", "0.25", "--threads", "1"]
        done = subprocess.run(
            [*words, "-o", str(out), "--train", train], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        (line,) = map(json.loads, out.read_text(encoding="utf-8").splitlines())
        assert line["labeled"] == line["test"] == line["dice"]["cases"] == 2
        assert line["steps"] >= 1
        assert 0 <= line["dice"]["mean"] <= 1
        assert f"| {line['steps']:,} |" in done.stdout
