"""A paragraph on methods from what runs and scores say of themselves, with citations."""

from typing import Any

from llmseg_cli.artifacts.run_config import RunConfig
from llmseg_cli.artifacts.scores import EMPTY_POLICIES
from llmseg_cli.metrics.signature import METRICS, key
from llmseg_cli.registry import WITHOUT_LABELS
from llmseg_cli.workflows.paper.rows import Table
from llmseg_cli.workflows.paper.tables import TITLES
from llmseg_cli.workflows.paper.trainings import Training
from llmseg_cli.workflows.paper.words import cite, listed

METHODS = {  # name of a method: words, and what to cite
    "supervised": ("supervised training on the labeled cases alone", ()),
    "mean-teacher": ("a mean teacher", ("tarvainen2017mean",)),
    "uncertainty-aware-mean-teacher": ("an uncertainty-aware mean teacher", ("yu2019uamt",)),
    "cross-pseudo-supervision": ("cross pseudo supervision of two networks", ("chen2021cps",)),
    "usl": (
        "co-training of two networks with the Unified Segmentation Loss",
        ("kumari2024llmsegnet",),
    ),
    "weak-to-strong": (
        "consistency from weak to strong augmentation",
        ("sohn2020fixmatch", "yang2024unimatch"),
    ),
    "copy-paste": ("bidirectional copy-paste", ("bai2023bcp",)),
    "affine-consistency": ("consistency of affine views", ("huang2023acformer",)),
    "dec-seg": (
        "consistency between scales and lights, with images painted from answers",
        ("gu2025decseg",),
    ),
    "adversarial": (
        "a critic that judges answers for unlabeled images",
        ("you2022castformer", "zhang2017dan"),
    ),
    "diffusion": (
        "a diffusion of masks whose samples answer and label the unlabeled images",
        ("wu2024medsegdiffv2",),
    ),
    "sam-mining": ("pseudo-labels that Segment Anything draws", ("mao2025mining",)),
    "self-training": ("self-training with pseudo-labels", ("lee2013pseudo",)),
    "rounds": ("rounds of self-training with an ensemble", ("yang2022stpp",)),
    "volume-fusion": ("pre-training by volume fusion, without labels", ("wang2023volumefusion",)),
}
NETWORKS = {
    "vnet": ("V-Net", ("milletari2016vnet",)),
    "unet": ("U-Net", ("ronneberger2015unet", "cicek2016unet")),
    "unetpp": ("U-Net++", ("zhou2018unetpp",)),
    "resenc": ("U-Net with a residual encoder", ("isensee2024revisited",)),
    "vit": ("Vision Transformer", ("dosovitskiy2021vit",)),
    "transunet": ("TransUNet", ("chen2021transunet",)),
    "seunet-trans": ("seUNet-Trans", ("pham2024seunettrans",)),
    "medt": ("Medical Transformer", ("valanarasu2021medt", "wang2020axialdeeplab")),
    "catformer": ("CATformer", ("you2022castformer", "yue2021psvit")),
    "cascade": ("CASCADE", ("rahman2023cascade",)),
    "merit": ("MERIT", ("rahman2023merit", "rahman2023cascade")),
    "medvisionllama": (
        "Vision Transformer around a block of a language model",
        ("marthi2024medvisionllama",),
    ),
}
OF_MONAI = {  # beside MONAI's own
    "AHNet": ("liu2018ahnet",),
    "AttentionUnet": ("oktay2018attention",),
    "BasicUNet": ("ronneberger2015unet",),
    "BasicUNetPlusPlus": ("zhou2018unetpp",),
    "DynUNet": ("isensee2021nnunet",),
    "HighResNet": ("li2017highresnet",),
    "MedNeXt": ("roy2023mednext",),
    "SegResNet": ("myronenko2018",),
    "SegResNetDS": ("myronenko2018",),
    "SwinUNETR": ("hatamizadeh2022swinunetr",),
    "UNETR": ("hatamizadeh2022unetr",),
    "UNet": ("ronneberger2015unet",),
    "VNet": ("milletari2016vnet",),
}
OF_LOSSES = {"dice-ce-cascade": ("rahman2023cascade",), "mutation": ("rahman2023merit",)}
ENCODERS = {"efficientnet-lite0": ("tan2019efficientnet",), "lite-medsam": ("kirillov2023sam",)}
NORMALIZED = {
    "zscore": "normalized to mean 0 and standard deviation 1 per channel",
    "zscore-nonzero": "normalized to mean 0 and standard deviation 1 of voxels other than 0",
    "minmax": "scaled to the range 0 to 1 per channel",
    "none": "taken as stored",
}


def of_training(training: Training) -> str:
    """Data, preparation, network, learning and knowledge of one training."""
    config = training.config
    sentences = [
        _data(training),
        _preparation(config),
        _network(config),
        _learning(config),
        *_knowledge(config),
        _seeds(training),
        _machine(training),
    ]
    return " ".join(sentence for sentence in sentences if sentence)


def _data(training: Training) -> str:
    labeled, unlabeled, validation, test = map(
        training.counts, ("labeled", "unlabeled", "validation", "test")
    )
    said = [f"It learned from {labeled} labeled cases"]
    if training.config.method in WITHOUT_LABELS:
        said = [f"It learned from the images of {labeled} labeled and {unlabeled} unlabeled cases"]
    elif training.config.method != "supervised":
        said = [f"It learned from {labeled} labeled and {unlabeled} unlabeled cases"]
    elif unlabeled not in ("0", "?"):
        said.append(f"{unlabeled} unlabeled ones were not looked at")
    if validation not in ("0", "?"):
        said.append(f"{validation} were kept for validation")
    if test not in ("0", "?"):
        how = f" ({training.test_words})" if training.test_words else ""
        said.append(f"{test} were locked for testing{how}")
    classes = listed(training.config.classes[1:])
    return f"{'; '.join(said)}. The classes were {classes}."


def _preparation(config: RunConfig) -> str:
    spacing = config.preprocessing["spacing"]
    normalize = config.preprocessing["normalize"]
    words = NORMALIZED.get(normalize)
    if words is None:
        _, low, high = normalize.split(":")
        words = f"clipped to {low} to {high} and scaled to the range 0 to 1"
    if not any(spacing):
        grid = "kept their voxels"
    elif all(spacing):
        grid = f"were resampled linearly to {' x '.join(f'{mm:g}' for mm in spacing)} mm"
    else:
        sides = [f"{mm:g} mm" if mm else "their own" for mm in spacing]
        grid = f"were resampled linearly to {listed(sides)} spacing along X, Y and Z"
    return f"Images were turned to RAS+ and {grid}; intensities were {words}."


def _network(config: RunConfig) -> str:
    name, keys = network_words(config.model)
    options = ", ".join(f"{option} {value}" for option, value in config.model_options.items())
    shown = f" ({options})" if options else ""
    several = f" Of {len(config.networks)} networks, " if len(config.networks) > 1 else ""
    answer = "the mean answered." if config.answer == "mean" else f"'{config.answer}' answered."
    return f"The network was a {name}{cite(*keys)}{shown}.{several}{answer if several else ''}"


def network_words(model: str) -> tuple[str, tuple[str, ...]]:
    """What a network is called in a sentence, and what to cite for it."""
    if model in NETWORKS:
        return NETWORKS[model]
    name = model.removeprefix("monai:")
    return f"MONAI {name}", ("cardoso2022monai", *OF_MONAI.get(name, ()))


def _learning(config: RunConfig) -> str:
    settings, (words, keys) = config.settings, METHODS[config.method]
    patch = " x ".join(map(str, config.patch))
    slices = f" of {config.slices} slices" if config.slices > 1 else ""
    given = {
        name: value for name, value in config.method_options.items() if not isinstance(value, dict)
    }
    options = ", ".join(f"{name} {value}" for name, value in given.items())
    batch = f"{settings['batch']} labeled"
    if config.method != "supervised":
        batch += f" and {config.unlabeled_batch} unlabeled"
    rate = f"{settings['optimizer']}, learning rate {settings['learning_rate']:g}"
    if settings["optimizer"] == "sgd":
        rate += f", momentum {settings['momentum']:g}"
    if settings["weight_decay"]:
        rate += f", weight decay {settings['weight_decay']:g}"
    shown = f" ({options})" if options else ""
    return (
        f"It was trained with {words}{cite(*keys)}{shown} and the loss {settings['loss']}"
        f"{cite(*OF_LOSSES.get(settings['loss'], ()))}, for "
        f"{settings['steps']} steps of {batch} patches of {patch} voxels{slices}, with "
        f"{rate}, the schedule '{settings['learning_rate_schedule']}' and the "
        f"augmentation '{settings['augment']}'."
    )


def _knowledge(config: RunConfig) -> list[str]:
    found = []
    if config.text:
        control = config.text.get("control", "none")
        what = "" if control == "none" else f" (the control '{control}')"
        by = config.text.get("encoder") or "a text encoder"
        of = "class of each image" if "cases" in config.text else "class"
        found.append(
            f"Text{what} of each {of}, encoded by {by}, entered at the bottleneck "
            f"({config.text['fusion']}){cite('kumari2024llmsegnet')}."
        )
    if config.image_encoder:
        name = config.image_encoder["name"]
        start = config.settings.get("image_encoder_init", "pretrained")
        found.append(f"Its image encoder was {name} ({start}){cite(*ENCODERS.get(name, ()))}.")
    if config.llm_block:
        block = config.llm_block
        layers = listed(block["layers"])
        found.append(f"The block was '{block['kind']}', layer {layers} of {block['name']}.")
    if config.pseudo:
        found.append(_pseudo(config.pseudo))
    if config.init:
        found.append("It started from the weights of another training.")
    return found


def _pseudo(pseudo: dict[str, Any]) -> str:
    made = pseudo.get("made_by") or {}
    by = f" by {made['sam']}{cite('kirillov2023sam')}" if made.get("sam") else ""
    if not pseudo.get("minings"):
        return f"Pseudo-labels of unlabeled cases were made{by} before the training."
    steps = listed(pseudo["minings"][:5]) + (", ..." if len(pseudo["minings"]) > 5 else "")
    return f"Pseudo-labels of unlabeled cases were made{by} at step {steps}."


def _seeds(training: Training) -> str:
    seeds = training.seeds
    times = len(training.runs)
    if times == 1:
        return f"There was one training, with seed {seeds[0]}."
    return f"There were {times} trainings, with the seeds {listed(seeds)}."


def _machine(training: Training) -> str:
    record = training.runs[0].record
    machine, env = record.get("hardware", {}), record.get("env", {})
    place = machine.get("gpu") or f"{machine.get('cores', '?')} cores of {machine.get('cpu', '?')}"
    torch = f", PyTorch {env['torch']}{cite('paszke2019pytorch')}," if "torch" in env else ""
    wall = [float(run.record.get("wall_s", 0)) / 60 for run in training.runs]
    return (
        f"llmseg {record.get('version', '?')}{cite('llmseg')}{torch} trained on {place} for "
        f"{sum(wall) / len(wall):.0f} minutes."
    )


def of_scores(table: Table, metrics: list[str]) -> str:
    """What was measured, how intervals and tests were made, and which look it was."""
    scores = table.scores
    defined = []
    for metric in metrics:
        name = key(metric, scores.unit)
        unit = METRICS[metric].unit(scores.unit)
        shown = "" if unit == "-" else f", in {unit}"
        defined.append(
            f"{TITLES.get(metric, metric)} ({table.rows[0].metrics[name]['definition']}{shown})"
        )
    said = [f"We report {listed(defined)}, taken case by case as the mean over classes."]
    if EMPTY_POLICIES[scores.empty_policy]:
        said.append(
            f"Where one of two masks is empty, Dice is 0 and a distance counts as the "
            f"{EMPTY_POLICIES[scores.empty_policy]}."
        )
    drawn = scores.bootstrap
    if drawn["draws"]:
        keys = ("owen2007",) if "seeds" in drawn["resampled"] else ()
        said.append(
            f"Intervals of {drawn['level']:.0%} are percentiles of {drawn['draws']} bootstrap "
            f"resamples of {drawn['resampled']}{cite(*keys)}."
        )
    if len(table.rows) > 1:
        said.append(
            f"Each row was compared with {table.baseline.name} by a two-sided Wilcoxon signed-rank "
            f"test on paired cases{cite('wilcoxon1945')}, corrected for the number of tests by "
            f"Holm's method{cite('holm1979')}."
        )
    looks = (scores.looks or {}).get("predictions", ())
    said += [str(look["in_words"]) for look in looks if look.get("in_words")]
    return " ".join(said)
