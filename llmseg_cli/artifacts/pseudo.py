"""What label maps hold besides classes, and the table that lies beside pseudo-labels."""

UNKNOWN = 255  # a voxel of which nothing is known; it teaches nothing and is not scored

QC = "qc.csv"
QC_COLUMNS = (
    "case",
    "status",
    "class",
    "component",
    "slices",
    "prompts",
    "predicted_iou",
    "stability",
    "agreement",
    "area",
    "network_area",
    "area_ratio",
    "kept",
    "reason",
)
