"""nnU-Net 2 in a process of its own, on a CPU, for `accuracy.py`: it trains in time, or predicts.

What is nnU-Net's own: fingerprint, planner (`ExperimentPlanner`), preprocessing, network, loss,
deep supervision, augmentation, SGD with momentum 0.99 from 0.01, and prediction with overlapping
windows, Gaussian weights and all flips. What is set, and why:

- A small `gpu_memory_target`: the planner then takes a patch and a batch of which a CPU does many
  steps in the time (Left Atrium: 56 x 96 x 112 with 2 GB, 96 x 128 x 192 with its 8 GB).
- Fold `all`: every labeled case trains. There is no validation while it trains, and none at the
  end: with that fold it would be of the training cases.
- The steps end with the time, and the poly schedule (power 0.9) is laid over them, step by step
  instead of epoch by epoch (`pace.py`). 250,000 steps is what nnU-Net asks for by itself.
- Augmentation within the process by default (`nnUNet_n_proc_DA=0`): it is 2 % of a step (0.025 s of
  a core beside 1.54 s, hippocampus), and a process for it takes from the cores that compute.
  `--augmenting` has as many processes as wanted.
- torch.compile is never used by nnU-Net on a CPU, nor mixed precision: float32.
- One configuration: 2d for pictures, else 3d_fullres, which nnU-Net trains by default, too.
"""

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

from pace import Pace

RESERVE_S = 4.0  # to write the checkpoint and to end


def main() -> None:
    """Train or predict; nnU-Net reads its folders from the environment when it is imported."""
    options = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    options.add_argument("work", choices=("train", "predict"))
    options.add_argument("--folder", type=Path, required=True, help="of this contestant")
    options.add_argument("--raw", type=Path, required=True, help="of the data set")
    options.add_argument("--configuration", required=True)
    options.add_argument("--threads", type=int, required=True)
    options.add_argument("--deadline", type=float, default=0.0)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--memory-gb", type=float, default=2.0)
    options.add_argument("--augmenting", type=int, default=0)
    chosen = options.parse_args()
    os.environ.update(
        nnUNet_raw=str(chosen.raw.parent),
        nnUNet_preprocessed=str(chosen.folder / "preprocessed"),
        nnUNet_results=str(chosen.folder / "results"),
        nnUNet_n_proc_DA=str(chosen.threads),  # the planner has as many threads; never 0
        nnUNet_compile="f",
    )
    import torch

    torch.set_num_threads(chosen.threads)
    torch.manual_seed(chosen.seed)
    if chosen.work == "train":
        train(chosen)
    else:
        predict(chosen)


def train(chosen: argparse.Namespace) -> None:
    """From raw files to `checkpoint_final.pth`, before the deadline."""
    import numpy as np
    import torch
    from batchgenerators.utilities.file_and_folder_operations import load_json
    from nnunetv2.experiment_planning import plan_and_preprocess_api as planning
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    began = time.time()
    np.random.seed(chosen.seed)  # noqa: NPY002 - nnU-Net draws from it
    plans_name = f"nnUNetPlans_{chosen.memory_gb:g}G"
    planning.extract_fingerprints([1], num_processes=chosen.threads, show_progress_bar=False)
    planning.plan_experiments(
        [1], gpu_memory_target_in_gb=chosen.memory_gb, overwrite_plans_name=plans_name
    )
    planning.preprocess(
        [1],
        plans_name,
        configurations=(chosen.configuration,),
        num_processes=(chosen.threads,),
        show_progress_bar=False,
    )
    prepared = time.time()
    os.environ.update(nnUNet_n_proc_DA=str(chosen.augmenting))
    torch.set_num_threads(chosen.threads)  # which the planner has changed

    class BudgetTrainer(nnUNetTrainer):  # type: ignore[misc]
        """nnU-Net's trainer, whose steps end in time."""

        pace = Pace(chosen.deadline - RESERVE_S)

        def run_training(self) -> None:
            self.on_train_start()
            self.network.train()
            self.lr_scheduler.max_steps = 1  # it is told the share that is done
            while (progress := self.pace.progress) < 1:
                self.lr_scheduler.step(progress)
                loss = self.train_step(next(self.dataloader_train))["loss"]
                self.pace.tick()
                if self.pace.done % 10 == 0:
                    rate = self.optimizer.param_groups[0]["lr"]
                    print(f"step {self.pace.done} loss {loss:.4f} rate {rate:.5f}", flush=True)
            self.on_train_end()

    folder = chosen.folder / "preprocessed" / chosen.raw.name
    plans = load_json(str(folder / f"{plans_name}.json")) | {"continue_training": False}
    trainer = BudgetTrainer(
        plans,
        chosen.configuration,
        "all",
        load_json(str(chosen.raw / "dataset.json")),
        device=torch.device("cpu"),
    )
    trainer.run_training()
    facts = {
        "steps": trainer.pace.done,
        "seconds_per_step": trainer.pace.seconds_per_step,
        "prepare_s": prepared - began,
        "settings": _settings(trainer),
        "trained": str(trainer.output_folder_base),
    }
    (chosen.folder / "facts.json").write_text(json.dumps(facts), encoding="utf-8")


def _settings(trainer: Any) -> str:
    plan = trainer.configuration_manager
    patch = " x ".join(str(int(side)) for side in plan.patch_size)
    return f"{trainer.configuration_name}, patch {patch}, batch {plan.batch_size}"


def predict(chosen: argparse.Namespace) -> None:
    """Masks of the test images, by nnU-Net's predictor with its defaults."""
    import torch
    from batchgenerators.utilities.file_and_folder_operations import load_json
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
    from nnunetv2.utilities.label_handling.label_handling import determine_num_input_channels
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    facts = json.loads((chosen.folder / "facts.json").read_text(encoding="utf-8"))
    trained = Path(facts["trained"])
    found = torch.load(
        trained / "fold_all" / "checkpoint_final.pth", map_location="cpu", weights_only=False
    )
    dataset = load_json(str(trained / "dataset.json"))
    plans = PlansManager(load_json(str(trained / "plans.json")))
    plan = plans.get_configuration(chosen.configuration)
    network = nnUNetTrainer.build_network_architecture(
        plans,
        plan,
        determine_num_input_channels(plans, plan, dataset),
        plans.get_label_manager(dataset).num_segmentation_heads,
        enable_deep_supervision=False,
    )
    network.load_state_dict(found["network_weights"])
    predictor = nnUNetPredictor(device=torch.device("cpu"), perform_everything_on_device=False)
    predictor.manual_initialization(
        network,
        plans,
        plan,
        [found["network_weights"]],
        dataset,
        "nnUNetTrainer",
        found["inference_allowed_mirroring_axes"],
    )
    masks = chosen.folder / "found"
    masks.mkdir()
    predictor.predict_from_files_sequential(str(chosen.raw / "imagesTs"), str(masks))


if __name__ == "__main__":
    main()
