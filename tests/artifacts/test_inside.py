"""Plain names stay where they are; paths stay inside as spelled or as links lead."""

from pathlib import Path

import pytest

from llmseg_cli.artifacts.inside import is_inside, is_plain_name


@pytest.mark.parametrize("name", ["a", "a.nii.gz", "...", "..a", "~", "-", " "])
def test_plain_names(tmp_path: Path, name: str):
    assert is_plain_name(name)
    assert (tmp_path / name).parent.resolve() == tmp_path.resolve()


@pytest.mark.parametrize(
    "name", ["", ".", "..", "a/b", "/a", "../a", "a\\b", "a\0", None, 3, ["a"]]
)
def test_what_is_no_plain_name(name: object):
    assert not is_plain_name(name)


@pytest.mark.parametrize(
    ("path", "inside"),
    [
        ("a", True),
        ("a/../b", True),
        (".", True),
        ("../x", False),
        ("a/../../x", False),
        ("/", False),
    ],
)
def test_inside_as_spelled(tmp_path: Path, path: str, inside: bool):
    assert is_inside(tmp_path, tmp_path / path) == inside


def test_a_link_of_the_folder_counts_as_in_it_and_the_folder_may_be_a_link(tmp_path: Path):
    (tmp_path / "data").mkdir()
    (tmp_path / "archive").mkdir()
    (tmp_path / "data" / "images").symlink_to(tmp_path / "archive")
    (tmp_path / "link").symlink_to(tmp_path / "data")
    assert is_inside(tmp_path / "data", tmp_path / "data" / "images" / "a")
    assert is_inside(tmp_path / "link", tmp_path / "data" / "a")
    assert not is_inside(tmp_path / "data", tmp_path / "archive" / "a")
