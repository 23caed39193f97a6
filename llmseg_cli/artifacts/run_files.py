"""Names of the files of a run folder, and of one of `llmseg auto`."""

CONFIG = "config.yaml"
WEIGHTS, BEST, STATE = "model.safetensors", "best.safetensors", "state.ckpt"
CURVE = "curve.png"
CALIBRATION, CALIBRATION_BEST = "calibration.json", "calibration-best.json"

COURSE = "auto.json"  # of `llmseg auto`
