"""Facts of data sets and machines that plans are made for."""

from llmseg_cli.planning.fingerprint import Fingerprint, Power, Sizes

ONE_MM = (1.0, 1.0, 1.0)
CPU, GPU = Power(2, 8 * 2**30), Power(16, 2**37, "H200", 140 * 10**9)
MRI = Fingerprint(
    sizes=Sizes(30, (36, 50, 35), ONE_MM),
    channels=1,
    classes={1: "anterior", 2: "posterior"},
    labeled=6,
    extents={1: (14.0, 15.0, 16.0), 2: (14.0, 20.0, 16.0)},
    low=10.0,
    high=700.0,
    window=(200.0, 500.0),
    telling=("a", "b"),
    silent=("c",),
)
