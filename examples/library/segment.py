# llmseg as a library: train on a few labeled volumes and many unlabeled ones, predict, score.
#
#     python examples/library/segment.py
#
# The cells (# %%) run one by one in VS Code, Spyder or Jupyter (jupytext). On one CPU core all of
# it takes half a minute. Replace the first cell by your own arrays: axes X, Y, Z and the sides of a
# voxel in mm.

# %% Phantoms: a bright ball in noise, some of them labeled
import numpy as np

from llmseg_cli import api

SPACING = (1.0, 1.0, 1.5)  # mm
SHAPE = (24, 22, 16)


def phantom(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """An image `(X, Y, Z)` and its label map: one ball somewhere near the middle."""
    random = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*map(np.arange, SHAPE), indexing="ij"), axis=-1) * SPACING
    center = np.array(SHAPE) * SPACING / 2 + random.uniform(-2, 2, 3)
    labels = (np.linalg.norm(grid - center, axis=-1) < random.uniform(5, 7)).astype(np.uint8)
    image = 5 * labels + random.standard_normal(SHAPE)
    return image.astype(np.float32), labels


cases = [phantom(seed) for seed in range(10)]
images, labels = zip(*cases[:4], strict=True)
unlabeled = [image for image, _ in cases[4:8]]
held_out = cases[8:]

# %% Train: options have the names of `llmseg train-semi`
run = api.train(
    images,
    labels,
    unlabeled=unlabeled,
    spacing=SPACING,
    classes=["ball"],
    method="mean-teacher",
    options={
        "patch": (32, 16, 16),
        "steps": 40,
        "model-option": ["filters=4", "dropout=0", "normalization=instance"],
        "optimizer": "adam",
        "learning-rate": 0.01,
    },
    progress=lambda phase, done, total, **values: (
        print(phase, done, values) if phase == "train" and done % 20 == 0 else None
    ),
)
print("classes:", run.classes)

# %% Predict: numbers of classes on the image's own voxels
image, reference = held_out[0]
mask = run.predict(image, SPACING)
print("voxels of the ball:", int((mask == 1).sum()), "of", int(reference.sum()))

# %% Probabilities, to look where the network is not sure
sure = run.probabilities(image, SPACING).max(axis=0)
print(f"voxels below 90 %: {(sure < 0.9).mean():.1%}")

# %% Score: the numbers of `llmseg score`
dice = []
for image, reference in held_out:
    found = api.score(run.predict(image, SPACING), reference, SPACING, classes={1: "ball"})
    dice.append(found["ball"]["dice"])
    print({name: round(value, 3) for name, value in found["ball"].items() if value is not None})
print("mean Dice:", round(float(np.mean(dice)), 3))
