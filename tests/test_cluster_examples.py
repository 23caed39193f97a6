"""The scripts for SLURM, with programs of its names that do no more than the scripts rely on."""

import os
import re
import shutil
import stat
import subprocess
from pathlib import Path

import pytest
from test_examples import unknown_flags, words_of_script

ROOT = Path(__file__).parents[1]
SCRIPTS = sorted((ROOT / "examples" / "cluster").glob("*.sbatch"))
PROGRAMS = {
    "scontrol": """[ "$1" = show ] && printf 'node1\\nnode2\\n' || echo "$@" >> requeued""",
    "srun": """while [ "${1#--}" != "$1" ]; do shift; done
code=0
for number in $(seq 0 $((SLURM_NTASKS - 1))); do
  SLURM_PROCID=$number SLURM_LOCALID=$((number % 2)) "$@" || code=$?
done
exit $code""",
    "llmseg": """echo "$RANK $LOCAL_RANK $WORLD_SIZE $MASTER_ADDR $MASTER_PORT $*" >> called
exit "$LLMSEG_CODE\"""",
}
SLURM = {
    "SLURM_JOB_ID": "31234",
    "SLURM_JOB_NODELIST": "node[1-2]",
    "SLURM_CPUS_PER_TASK": "8",
    "SLURM_ARRAY_TASK_ID": "3",
    "SLURM_ARRAY_TASK_COUNT": "8",
}


def run(script: Path, place: Path, *, tasks: int, code: int) -> tuple[int, list[str]]:
    """The exit code of a script, and how it calls llmseg."""
    for name, text in PROGRAMS.items():
        path = place / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/bash\n{text}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
    unset = dict.fromkeys(("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"), "-")
    environment = (
        os.environ | unset | SLURM | {"SLURM_NTASKS": str(tasks), "LLMSEG_CODE": str(code)}
    )
    environment["PATH"] = f"{place / 'bin'}:{os.environ['PATH']}"
    done = subprocess.run(["bash", str(script)], cwd=place, env=environment, check=False)
    return done.returncode, (place / "called").read_text().splitlines()


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_the_scripts_are_bash_and_their_options_exist(script):
    subprocess.run(["bash", "-n", str(script)], check=True)
    for words in words_of_script(script):
        assert not unknown_flags(words)


def test_each_task_of_a_training_is_told_which_process_it_is(tmp_path):
    code, called = run(ROOT / "examples/cluster/train.sbatch", tmp_path, tasks=4, code=0)
    assert code == 0
    assert [line.split()[:5] for line in called] == [
        ["0", "0", "4", "node1", "21234"],
        ["1", "1", "4", "node1", "21234"],
        ["2", "0", "4", "node1", "21234"],
        ["3", "1", "4", "node1", "21234"],
    ]
    assert not (tmp_path / "requeued").exists()


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
@pytest.mark.parametrize(("code", "again"), [(75, True), (5, False), (6, False)])
def test_what_was_saved_is_queued_again_and_nothing_else(script, code, again, tmp_path):
    found, _ = run(script, tmp_path, tasks=2, code=code)
    assert found == code
    assert (tmp_path / "requeued").exists() == again
    if again:
        assert (tmp_path / "requeued").read_text() == "requeue 31234\n"


def test_an_array_gives_each_job_its_share(tmp_path):
    _, called = run(ROOT / "examples/cluster/predict.sbatch", tmp_path, tasks=1, code=0)
    assert "--shard 3/8" in called[0]


def test_a_sweep_has_a_job_for_every_combination(tmp_path, monkeypatch):
    script = ROOT / "examples/cluster/sweep.sbatch"
    last = int(re.search(r"--array=0-(\d+)", script.read_text())[1])
    found = set()
    for index in range(last + 1):
        place = tmp_path / str(index)
        place.mkdir()
        monkeypatch.setitem(SLURM, "SLURM_ARRAY_TASK_ID", str(index))
        code, called = run(script, place, tasks=1, code=0)
        assert code == 0
        trained, predicted, scored = (line.split()[5:] for line in called)
        assert [trained[0], predicted[0], scored[0]] == ["train-semi", "predict", "score"]
        method, seed = (trained[trained.index(flag) + 1] for flag in ("--method", "--seed"))
        split = trained[trained.index("--split") + 1]
        name = f"{method}-{split[6:-5]}-{seed}"
        assert trained[trained.index("-o") + 1] == predicted[2] == f"runs/{name}"
        assert predicted[predicted.index("-o") + 1] == scored[2] == f"masks/{name}"
        assert split in predicted
        assert split in scored
        found.add((method, split, seed))
    assert len(found) == last + 1


needs_bash = pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")
pytestmark = needs_bash
