"""Names a user can say, and where the code behind each stands."""

from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from inspect import Parameter, signature
from typing import Any, TypeVar

from llmseg_cli.errors import UsageError, unknown

Constructor = TypeVar("Constructor", bound=Callable[..., None])


def takes_options_of(parent: type) -> Callable[[Constructor], Constructor]:
    """Let a constructor that hands its `**options` to *parent* show them by name and default.

    What can be set is read from signatures, so that an option is declared once, where it is used.
    """
    taken = [p for p in signature(parent).parameters.values() if p.kind is Parameter.KEYWORD_ONLY]

    def shown(constructor: Constructor) -> Constructor:
        found = signature(constructor)
        own = [p for p in found.parameters.values() if p.kind is not Parameter.VAR_KEYWORD]
        places = [p for p in own if p.kind is not Parameter.KEYWORD_ONLY]
        options = [p for p in own if p.kind is Parameter.KEYWORD_ONLY]
        listed = found.replace(parameters=[*places, *taken, *options])
        constructor.__signature__ = listed  # type: ignore[attr-defined]  # inspect reads it
        return constructor

    return shown


class Registry(Mapping[str, str]):
    """A table of names to `module:attribute`, imported when asked for.

    Args:
        kind: What the names are, for messages.
        entries: Name to `module:attribute`.
        meanings: Name to what it means in a few words, where the name does not say it.
        others: Entries that are another package's, under its prefix. They are found like the rest
            and offered behind it, but not among those that a walk over the table meets.
        common: Options of every entry, with their defaults, besides those of its constructor.
    """

    def __init__(
        self,
        kind: str,
        entries: Mapping[str, str],
        meanings: Mapping[str, str] | None = None,
        *,
        others: Mapping[str, str] | None = None,
        common: Mapping[str, Any] | None = None,
    ) -> None:
        self.kind = kind
        self._entries = dict(entries)
        self._meanings = dict(meanings or {})
        self._others = dict(others or {})
        self._common = dict(common or {})

    def __getitem__(self, name: str) -> str:
        if name not in self:
            raise unknown(self.kind, name, self.offered())
        return {**self._entries, **self._others}[name]

    def __contains__(self, name: object) -> bool:
        return name in self._entries or name in self._others

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def names(self) -> list[str]:
        """The names of the table, in its order."""
        return list(self._entries)

    def offered(self) -> list[str]:
        """These and those of other packages; completion uses it."""
        return [*self._entries, *self._others]

    def meanings(self) -> dict[str, str]:
        """Name to what it means, empty where that is not said; help uses it."""
        return {name: self._meanings.get(name, "") for name in self._entries}

    def load(self, name: str) -> Any:
        """Import and return what *name* stands for.

        Raises:
            UsageError: If the name is unknown; the message corrects its spelling.
        """
        module, _, attribute = self[name].partition(":")
        return getattr(import_module(module), attribute)

    def defaults(self, name: str) -> dict[str, Any]:
        """The options of *name*: keyword-only arguments of its constructor, and common ones."""
        parameters = signature(self.load(name)).parameters.values()
        own = {p.name: p.default for p in parameters if p.kind is Parameter.KEYWORD_ONLY}
        return own | self._common

    def check_options(self, name: str, options: Mapping[str, Any]) -> None:
        """Compare *options* with the keyword-only arguments of the constructor of *name*.

        Raises:
            UsageError: If an option is unknown; the message names the nearest known one.
        """
        known = list(self.defaults(name))
        for option in options:
            if option not in known:
                if not known:
                    raise UsageError(f"The {self.kind} '{name}' has no options; got '{option}'.")
                raise unknown(f"option of {self.kind} '{name}'", option, known)

    def fit_options(self, name: str, options: Mapping[str, Any], *, place: str) -> dict[str, Any]:
        """*options*, each of the type of its default.

        Args:
            name: The entry.
            options: Keyword-only arguments of its constructor.
            place: Where they stand, such as `--model-option`, for messages.

        Raises:
            UsageError: If an option is unknown or its value is of another type or too large.
        """
        self.check_options(name, options)
        defaults = self.defaults(name)
        return {
            key: _of_type(value, type(defaults[key]), f"{place} {key}")
            for key, value in options.items()
        }


def _of_type(value: Any, wanted: type, option: str) -> Any:
    if wanted is bool and isinstance(value, str) and value in BOOLEANS:
        return BOOLEANS[value]
    if wanted is float and type(value) is int:
        value = float(value)
    if type(value) is not wanted:
        expected = NAMES.get(wanted, wanted.__name__)
        raise UsageError(f"{option}={str(value)[:SHOWN]}: expected {expected}.")
    if isinstance(value, int | float) and not abs(value) < LARGEST:
        raise UsageError(f"{option}={value}: expected a number below {LARGEST}.")
    return value


NAMES = {int: "a whole number", float: "a number", bool: "true or false", str: "a word"}
BOOLEANS = {"yes": True, "on": True, "no": False, "off": False}  # as YAML 1.1 has them
LARGEST = 1 << 16  # of any option of a method or network; NaN and infinity are not below it
SHOWN = 40  # characters of a wrong value


METHODS = Registry(
    "method",
    {
        "supervised": "llmseg_cli.methods.supervised:Supervised",
        "mean-teacher": "llmseg_cli.methods.mean_teacher:MeanTeacher",
        "uncertainty-aware-mean-teacher": (
            "llmseg_cli.methods.uncertainty_aware_mean_teacher:UncertaintyAwareMeanTeacher"
        ),
        "cross-pseudo-supervision": (
            "llmseg_cli.methods.cross_pseudo_supervision:CrossPseudoSupervision"
        ),
        "usl": "llmseg_cli.methods.usl:Usl",
        "weak-to-strong": "llmseg_cli.methods.weak_to_strong:WeakToStrong",
        "copy-paste": "llmseg_cli.methods.copy_paste:CopyPaste",
        "affine-consistency": "llmseg_cli.methods.affine_consistency:AffineConsistency",
        "dec-seg": "llmseg_cli.methods.dec_seg:DecSeg",
        "adversarial": "llmseg_cli.methods.adversarial:Adversarial",
        "diffusion": "llmseg_cli.methods.diffusion:Diffusion",
        "sam-mining": "llmseg_cli.methods.pseudo_labels:SamMining",
        "self-training": "llmseg_cli.methods.pseudo_labels:SelfTraining",
        "rounds": "llmseg_cli.methods.rounds:Rounds",
        "volume-fusion": "llmseg_cli.methods.volume_fusion:VolumeFusion",
    },
)
WITHOUT_LABELS = ("volume-fusion",)  # methods whose runs others start from, and predict nothing


def methods_of_labels() -> list[str]:
    """The methods whose runs predict the classes of label maps."""
    return [name for name in METHODS if name not in WITHOUT_LABELS]


MONAI = (  # segmentation networks of MONAI, by its names
    *("AHNet", "AttentionUnet", "BasicUNet", "BasicUNetPlusPlus", "DynUNet", "FlexibleUNet"),
    *("HighResNet", "MedNeXt", "SegResNet", "SegResNetDS", "SwinUNETR", "UNETR", "UNet", "VNet"),
)
MODELS = Registry(
    "model",
    {
        "vnet": "llmseg_cli.models.vnet:VNet",
        "unet": "llmseg_cli.models.unet:UNet",
        "unetpp": "llmseg_cli.models.unetpp:UNetPlusPlus",
        "resenc": "llmseg_cli.models.resenc:ResEnc",
        "vit": "llmseg_cli.models.vit:ViT",
        "transunet": "llmseg_cli.models.transunet:TransUNet",
        "seunet-trans": "llmseg_cli.models.seunet_trans:SeUNetTrans",
        "medt": "llmseg_cli.models.medt:MedT",
        "catformer": "llmseg_cli.models.catformer:CATformer",
        "cascade": "llmseg_cli.models.cascade:Cascade",
        "merit": "llmseg_cli.models.merit:Merit",
        "medvisionllama": "llmseg_cli.models.medvisionllama:MedVisionLlama",
    },
    others={f"monai:{name}": f"llmseg_cli.models.monai.constructors:{name}" for name in MONAI},
    common={"local_global": False, "dual_scale": "none"},
)

LOSSES = Registry(
    "loss",
    {
        "dice-ce": "llmseg_cli.losses.dice_cross_entropy:dice_cross_entropy",
        "dice-ce-background": (
            "llmseg_cli.losses.dice_cross_entropy:dice_cross_entropy_with_background"
        ),
        "dice-ce-cascade": "llmseg_cli.losses.dice_cross_entropy:dice_cross_entropy_of_cascade",
        "mutation": "llmseg_cli.losses.mutation:mutation",
        "dice-bce": "llmseg_cli.losses.dice_binary_cross_entropy:dice_binary_cross_entropy",
        "hard-dice-bce": (
            "llmseg_cli.losses.dice_binary_cross_entropy:hard_dice_binary_cross_entropy"
        ),
    },
    meanings={
        "dice-ce": "soft Dice and cross entropy",
        "dice-ce-background": "the same, with the background in the Dice",
        "dice-ce-cascade": "that with 0.7 of the Dice and 0.3 of the cross entropy",
        "mutation": "that of every combination of a network's heads",
        "dice-bce": "soft Dice and binary cross entropy of each class",
        "hard-dice-bce": "Dice of the label map, which trains nothing",
    },
)
