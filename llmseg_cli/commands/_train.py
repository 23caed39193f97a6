"""What `train-sup` and `train-semi` share."""

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmseg_cli import console
from llmseg_cli.artifacts.cache_folder import default_cache
from llmseg_cli.artifacts.command_line import is_typed
from llmseg_cli.artifacts.launch import launched
from llmseg_cli.artifacts.split import SPLIT, Split
from llmseg_cli.commands._hints import BASIC
from llmseg_cli.commands._labeled import refuse_contradiction
from llmseg_cli.commands._options import (
    DryRun,
    Force,
    GroupBy,
    IgnoreLabel,
    Init,
    KeepState,
    Labeled,
    LabelMap,
    Offline,
    Resume,
    Seed,
)
from llmseg_cli.commands._train_words import conclude
from llmseg_cli.config import TrainSettings
from llmseg_cli.options import label_pairs, parse_label_map
from llmseg_cli.registry import WITHOUT_LABELS

if TYPE_CHECKING:
    from llmseg_cli.artifacts.run_set import Member
    from llmseg_cli.workflows.train.request import Request


MOST_SEEDS = 1000
SplitOrFolds = Annotated[
    Path | None,
    typer.Option(
        "--split",
        help="File of 'llmseg split'; it decides the roles. A folder of folds ('llmseg split "
        "--folds') trains one run a fold.",
        metavar="PATH",
    ),
    BASIC,
]
Seeds = Annotated[
    int,
    typer.Option(
        "--seeds", help="Runs to train, with the seeds from --seed on.", min=1, max=MOST_SEEDS
    ),
    BASIC,
]


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """Which cases a training learns from, what it starts from, and how its folder is treated."""

    split: SplitOrFolds = None
    labeled: Labeled = None
    label_map: LabelMap = None
    ignore_label: IgnoreLabel = None
    group_by: GroupBy = None
    init: Init = None
    seed: Seed = 0
    seeds: Seeds = 1
    resume: Resume = False
    force: Force = False
    keep_state: KeepState = False
    dry_run: DryRun = False
    offline: Offline = False

    def begin(self, output: Path, settings: TrainSettings) -> None:
        """Refuse what the folder does not allow, before torch is loaded.

        Args:
            output: The run folder, or that of several runs.
            settings: How to train.

        Raises:
            UsageError: If it or a folder of one of several runs holds a run, and is not to be
                resumed or replaced; or fewer steps are asked for than that has.
            ArtifactError: If folds are missing.
        """
        if self.force or console.is_follower():
            return
        from llmseg_cli.artifacts.files import refuse_existing
        from llmseg_cli.workflows.train.standing import further, refuse_taken

        folders = [output / member.folder for member in self.members()]
        if self.resume:
            is_given = is_typed("--steps")
            for told in filter(
                None, (further(one, settings, is_given=is_given) for one in folders)
            ):
                console.info(told)
        elif not self.dry_run:
            for folder in folders:
                refuse_taken(folder)
            refuse_existing(output, force=False)
        if not self.dry_run:
            console.info("Loading torch and the data ...")

    def members(self) -> list["Member"]:
        """The runs to train: a fold and seed each, or a single one without these.

        Raises:
            ArtifactError: If folds are missing.
        """
        from llmseg_cli.artifacts.folds import load_folds
        from llmseg_cli.artifacts.run_set import Member

        folds: list[int | None] = [None]
        if self.split is not None and self.split.is_dir():
            folds = [split.fold for split in load_folds(self.split).values()]
        seeds = [self.seed + number if self.seeds > 1 else None for number in range(self.seeds)]
        return [Member(fold, seed) for fold in folds for seed in seeds]

    @property
    def asks_several(self) -> bool:
        """Whether there is more than one run to train."""
        return self.seeds > 1 or (self.split is not None and self.split.is_dir())

    def of_same_run(self, folder: Path | None, split: Split, *, flag: str) -> Path | None:
        """Of a folder with one for each fold or seed, the one of this run's.

        Args:
            folder: What the option *flag* names, or None.
            split: The split of this run.
            flag: For messages.

        Raises:
            ArtifactError: If there is none.
        """
        if folder is None or not folder.is_dir():
            return folder
        from llmseg_cli.artifacts.run_set import member_folder

        return member_folder(folder, fold=split.fold, seed=self.seed, flag=flag)

    def choose_split(self, data: Path, output: Path, *, needs_labels: bool = True) -> Split:
        """The split of a file, that of the run that is resumed, or a new one for `--labeled`.

        Args:
            data: The data set.
            output: The run folder.
            needs_labels: Whether the data have to have a label map.

        Raises:
            UsageError: If a file and `--labeled` contradict each other.
        """
        path = self.split
        if path is None and self.resume and (output / SPLIT).is_file():
            path = output / SPLIT
        if path is not None:
            found = Split.load(path)
            if self.labeled is not None:
                refuse_contradiction(found, self.labeled, path)
            return found
        if not needs_labels and self.labeled is None:
            from llmseg_cli.workflows.train.scans import split_without_labels

            if bare := split_without_labels(data, group_by=self.group_by, seed=self.seed):
                return bare
        from llmseg_cli.workflows.split import plan

        planned = plan(
            data,
            labeled=self.labeled,
            group_by=self.group_by,
            label_map=parse_label_map(self.label_map or []),
            ignore_label=self.ignore_label,
            seed=self.seed,
        )
        for line in planned.sentences():
            console.info(line)
        return planned.split

    def request(
        self, data: Path, split: Split, output: Path, settings: TrainSettings, **wishes: Any
    ) -> "Request":
        """What is asked, with the *wishes* of one command: its name, method and what that takes."""
        from llmseg_cli.workflows.train.request import Request

        return Request(
            data=data,
            split=split,
            output=output,
            settings=settings,
            label_map=label_pairs(split.label_changes(parse_label_map(self.label_map or ()))),
            ignore_label=split.ignored(self.ignore_label),
            seed=self.seed,
            cache=settings.cache or default_cache(),
            init=self.of_same_run(self.init, split, flag="--init"),
            offline=self.offline,
            keep_state=self.keep_state,
            launch=launched(os.environ),
            **wishes,
        )


def train(request: "Request", options: TrainOptions) -> dict[str, Any]:
    """Run, or say what would be run, and what comes next; returns the `--json` document."""
    document = train_one(request, options)
    if request.method in WITHOUT_LABELS and not options.dry_run:
        console.info(
            f"This run knows no organs: '{request.method}' looks at no labels. Start a training "
            "from it."
        )
        tuned = ("--init", request.output, "-o", f"{request.output}-tuned")
        console.next_step("train-sup", "--data", request.data, *tuned)
    elif not options.dry_run:
        split = request.output / SPLIT
        subset = "test" if request.split.test else "unlabeled"
        console.next_step(
            *("predict", "--run", request.output, "--data", request.data, "--split", split),
            *("--subset", subset, "-o", f"{request.output}-masks"),
        )
    return document


def train_one(request: "Request", options: TrainOptions) -> dict[str, Any]:
    """Run, or say what would be run; returns the `--json` document."""
    from llmseg_cli.workflows.train.run import plan, run

    if options.dry_run:
        from llmseg_cli.workflows.train.cost import cost_of

        with console.progress("case") as progress:
            planned = plan(request, resume=options.resume, progress=progress)
        config, data = planned.config, planned.data
        network = next(iter(planned.method.networks().values()))
        cost = cost_of(network, config.channels, config.patch)
        budget = config.settings["budget"]
        length = f"steps for {budget}" if budget else f"{config.settings['steps']} steps"
        console.info(
            f"{config.method} with {config.model}: {planned.parameters:,} trained parameters"
            f"{f' and {cost.frozen:,} frozen ones' if cost.frozen else ''}; per patch and network "
            f"{cost.flops / 1e9:.3g} GFLOP forward and {cost.activations / 1e6:.0f} MB kept for "
            "the backward pass in fp32. "
            f"{len(data.labeled)} labeled, {len(data.unlabeled)} unlabeled and "
            f"{len(data.validation)} validation cases, {len(config.classes)} classes, "
            f"{length}; {data.bytes_cached / 1e6:.0f} MB of prepared cases."
        )
        return {
            "parameters": planned.parameters,
            "network": asdict(cost),
            "config": config.to_dict(),
            "cached_bytes": data.bytes_cached,
        }
    with console.progress() as progress:
        trained = run(request, resume=options.resume, force=options.force, progress=progress)
    if not console.is_follower():
        conclude(trained, request.output, budget=request.settings.budget)
    return {
        "run": str(request.output),
        "steps": trained.steps,
        "losses": trained.losses,
        "validation_dice_final": trained.final_score,
        "validation_dice_best": trained.best_score,
        "best_step": trained.best_step,
        "elapsed_s": round(trained.elapsed_s, 1),
        "data_wait_s": round(trained.waited_s, 1),
    }
