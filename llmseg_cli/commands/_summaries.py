"""What each command does, for `llmseg --help`, which imports none of them."""

SUMMARIES = {  # command to the first sentences of its own help
    "auto": (
        "Go from a folder of scans, a few of them labeled, to masks of all others, within a time."
    ),
    "plan": (
        "Choose all settings of a training from the scans and the machine, each with its reason."
    ),
    "check": (
        "Report all faults of a data set at once, each with its remedy; exit 8 if there are any."
    ),
    "describe": (
        "Have each class of the target described in words, and record who wrote them and how."
    ),
    "embed": "Turn descriptions into token ids, token vectors and one vector per text.",
    "split": "Give every case a role: labeled, unlabeled, validation or test.",
    "train-sup": (
        "Train a network on the labeled cases alone: the baseline, and the start of mining."
    ),
    "mine-sam": (
        "Turn a run's predictions into prompts, and Segment Anything's masks into pseudo-labels."
    ),
    "train-semi": (
        "Train on labeled and unlabeled cases together, with or without the help of text."
    ),
    "predict": "Segment images: a mask for each, on its own voxels.",
    "ensemble": "Combine masks of the same cases, of several folders, into one a case.",
    "calibrate": "Find on validation cases how sure a run should be, for 'predict --calibrated'.",
    "explain": "Show what in an image a network goes by, class by class, as pictures and NIfTI.",
    "score": "Measure predictions: overlap, surface distances, volumes, with intervals.",
    "suggest": "Say which unlabeled cases to label next, with a picture of each.",
    "report": ("Show runs on one page that opens offline: verdict, cases, curves, data, methods."),
    "paper": (
        "Write what a paper needs of runs and scores: tables, methods, references, model cards."
    ),
    "convert": (
        "Write a data set as another program reads it, or label maps of instances as centres."
    ),
    "export": (
        "Write a run's networks as files that need no llmseg: PyTorch, ONNX, a MONAI bundle."
    ),
    "config": "Settings: every value that a command would use, and where it comes from.",
    "recipe": "Settings of papers and of small machines: list them, or print one to change it.",
    "guide": (
        "Read the guide: how to start, which method when, what went wrong, and each command."
    ),
    "weights": "Pre-trained weights: list, fetch, verify, and say where they are.",
    "cache": (
        "Prepared cases, image embeddings and converted models: list them, or free their space."
    ),
    "bench": "Measure ways to do the same work, in turns: medians and ratios on this machine.",
    "doctor": "Show what this machine has; exit 8 if something is known to give wrong results.",
    "demo-data": (
        "Write a small cohort of brains with label maps, made from one real MRI, to try llmseg on."
    ),
    "completion": "Print what makes a shell complete commands, options and names.",
}
