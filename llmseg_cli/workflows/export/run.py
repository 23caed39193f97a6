"""`llmseg export`: the networks of a run in one file, compared with the run before it is there."""

import shutil
import warnings
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from llmseg_cli.artifacts.files import atomic_path, refuse_existing, to_json, write_json
from llmseg_cli.artifacts.folders import replaced_folder
from llmseg_cli.artifacts.inputs import Input, refuse_folder_over_inputs
from llmseg_cli.artifacts.lock import only_job
from llmseg_cli.artifacts.manifest import Manifest
from llmseg_cli.artifacts.own_folder import refuse_not_made
from llmseg_cli.artifacts.run_set import is_set
from llmseg_cli.data.cases import find_cases
from llmseg_cli.errors import DataError, UsageError
from llmseg_cli.workflows.export import bundle
from llmseg_cli.workflows.export.answer import Answer, compared, load_program, traced
from llmseg_cli.workflows.export.facts import facts_of
from llmseg_cli.workflows.export.onnx_file import load_onnx, refuse_without_packages, save_onnx
from llmseg_cli.workflows.predict.image import Prepared, prepare
from llmseg_cli.workflows.runs.run_folder import OpenRun, open_run

if TYPE_CHECKING:
    from torch.export import ExportedProgram

COMMAND = "export"
PT2, ONNX = ".pt2", ".onnx"
INSIDE = "llmseg.json"  # name of the facts in the file of torch.export


@dataclass(frozen=True)
class Exported:
    """What was written.

    Args:
        files: The network, its facts, and that for ONNX.
        bundle: The MONAI bundle, or None.
        facts: What the JSON says.
    """

    files: tuple[Path, ...]
    bundle: Path | None
    facts: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """The `--json` document."""
        folder = None if self.bundle is None else str(self.bundle)
        return {"files": [str(path) for path in self.files], "bundle": folder, **self.facts}


def run(
    folder: Path,
    *,
    out: Path | None,
    onnx: bool = False,
    monai_bundle: Path | None = None,
    example: Path | None = None,
    network: str | None = None,
    checkpoint: str = "final",
    cache: Path | None = None,
    force: bool = False,
) -> Exported:
    """Export what a run answers: the mean probabilities of its networks, in float32.

    Args:
        folder: The run folder.
        out: File to write, ending in .pt2; a .json with the facts lies beside it.
        onnx: Whether to write a .onnx beside it as well.
        monai_bundle: Folder of a MONAI bundle to write, or None.
        example: An image that the run and what is written are compared on, besides noise.
        network: A network of the run, or `mean`; by default what the run recorded.
        checkpoint: `final` or `best`.
        cache: llmseg's cache folder, if it is not the usual one.
        force: Replace earlier outputs.

    Raises:
        UsageError: If there is nothing to write, something would be lost, a package is missing, or
            the network cannot be exported.
        ArtifactError: If the folder is no finished run.
        DataError: If the example cannot be read.
        GateError: If what was written answers otherwise; it is not kept.
    """
    files = outputs_of(out, onnx=onnx, monai_bundle=monai_bundle)
    for path in files:
        refuse_existing(path, force=force)
    if onnx:
        refuse_without_packages()
    if is_set(folder):
        raise UsageError(
            f"{folder} holds several runs, and a file holds one. Name one of them, such as "
            f"{folder}/seed-0."
        )
    if monai_bundle is not None:
        refuse_folder_over_inputs(monai_bundle, [Input("the run folder", folder)])
        refuse_not_made(monai_bundle, command=COMMAND, force=force)
    opened = open_run(
        folder,
        device="cpu",
        network=network,
        checkpoint=checkpoint,
        precision="fp32",
        cache=cache,
    )
    scan = _prepared(example, opened) if example is not None else None
    answer = Answer(list(opened.networks.values()))
    program = traced(answer, opened.config)
    facts = facts_of(folder, opened.config, tuple(opened.networks), checkpoint)
    work = _Work(program, answer, opened, scan, facts)
    if out is not None:
        work.write(out, onnx=onnx)
    if monai_bundle is not None:
        with only_job(monai_bundle):
            refuse_not_made(monai_bundle, command=COMMAND, force=force)
            work.bundle(monai_bundle, pt2=out)
    return Exported(files, monai_bundle, facts)


def outputs_of(out: Path | None, *, onnx: bool, monai_bundle: Path | None) -> tuple[Path, ...]:
    """The files that are asked for, the network first.

    Raises:
        UsageError: If none is, and no bundle; or the network would have another suffix.
    """
    if out is None:
        if monai_bundle is None:
            raise UsageError("Nothing to write. Pass -o model.pt2, or --monai-bundle DIR.")
        if onnx:
            raise UsageError("--onnx writes beside -o. Pass -o model.pt2 as well.")
        return ()
    if out.suffix != PT2:
        raise UsageError(f"-o {out}: expected a file of torch.export, such as {out.stem}{PT2}.")
    others = [out.with_suffix(ONNX)] if onnx else []
    return (out, *others, out.with_suffix(".json"))


def _prepared(image: Path, run: OpenRun) -> Prepared:
    cases = find_cases(image).cases
    if len(cases) != 1:
        raise DataError(f"--example {image} holds {len(cases)} images, expected one.")
    return prepare(cases[0], run)


class _Work:
    """One traced run, written in one form after another; `facts` learn what was compared."""

    def __init__(
        self,
        program: "ExportedProgram",
        answer: Answer,
        run: OpenRun,
        scan: Prepared | None,
        facts: dict[str, Any],
    ) -> None:
        self.program, self.answer, self.run, self.scan = program, answer, run, scan
        self.facts, self.text = facts, to_json(facts)
        facts["compared"] = {}

    def write(self, out: Path, *, onnx: bool) -> None:
        """The network, that for ONNX, and last the facts."""
        with ExitStack() as stack:
            self._save(stack.enter_context(atomic_path(out)))
            if onnx:
                temporary = stack.enter_context(atomic_path(out.with_suffix(ONNX)))
                save_onnx(self.program, temporary, self.text)
                self._compare("onnx", load_onnx(temporary), "The file for ONNX")
        write_json(out.with_suffix(".json"), self.facts)

    def bundle(self, target: Path, *, pt2: Path | None) -> None:
        """The MONAI bundle, with the file that was written before, if one was."""
        manifest = Manifest(COMMAND)
        with replaced_folder(target) as folder:
            (folder / bundle.MODEL).parent.mkdir()
            if pt2 is None:
                self._save(folder / bundle.MODEL)
            else:
                shutil.copyfile(pt2, folder / bundle.MODEL)
            name = target.resolve().name
            bundle.write_bundle(folder, self.run.config, self.facts, name=name)
            manifest.details = {"run": self.facts["run"]}
            manifest.write(folder, outputs=bundle.FILES)

    def _save(self, path: Path) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch about its own parts
            torch.export.save(self.program, path, extra_files={INSIDE: self.text})
        self._compare("pt2", load_program(path), "The exported file")

    def _compare(self, form: str, ask: Any, name: str) -> None:
        found = compared(ask, self.answer, self.run, self.scan, name=name)
        self.facts["compared"][form] = found
