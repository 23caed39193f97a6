"""Presets: published lists of cases."""

import pytest

from llmseg_cli.artifacts.presets import PRESETS, Preset, load_preset
from llmseg_cli.data.splitting.amounts import Amount
from llmseg_cli.data.splitting.published_lists import split_by_preset
from llmseg_cli.data.splitting.roles import CaseFacts
from llmseg_cli.errors import DataError, UsageError

LIST = Preset("toy-2", ("d", "b", "a", "c", "e"), 2)


def facts(names: str, *, bare: str = "", foreground: tuple[int, ...] = (1,)) -> list[CaseFacts]:
    return [
        CaseFacts(name, None, None if name in bare else dict.fromkeys(foreground, 1.0))
        for name in names
    ]


def test_the_order_of_the_list_decides() -> None:
    roles = split_by_preset(facts("abcde"), LIST)
    assert (roles.labeled, roles.unlabeled, roles.test) == (("d", "b"), ("a", "c", "e"), ())


def test_the_last_of_the_list_and_all_others_are_test() -> None:
    roles = split_by_preset(facts("xabcdey"), LIST, test=Amount("2", count=2))
    assert roles.unlabeled == ("a",)
    assert roles.test == ("c", "e", "x", "y")
    assert split_by_preset(facts("abcdex"), LIST).test == ("x",)


def test_validation_comes_from_the_labeled() -> None:
    roles = split_by_preset(facts("abcde"), LIST, validation=Amount("1", count=1))
    assert sorted(roles.labeled + roles.validation) == ["b", "d"]


def test_unlabeled_cases_of_the_list_need_no_label_map() -> None:
    assert split_by_preset(facts("abcde", bare="ace"), LIST).unlabeled == ("a", "c", "e")


@pytest.mark.parametrize(
    ("found", "test", "message"),
    [
        (facts("abc"), None, r"lists 5 cases, and 2 are not in the data, such as d \(nearest: "),
        (facts("abcde"), Amount("4", count=4), "beyond its 2 labeled ones preset toy-2 lists 3"),
        (facts("abcde", bare="d"), None, "1 labeled case.s. have no label map, such as d"),
        (facts("abcdex", bare="x"), None, "1 test case.s. have no label map, such as x"),
        (
            [*facts("abde"), *facts("c", foreground=(1, 2))],
            None,
            "class 2 is absent from its 2 labeled cases",
        ),
    ],
)
def test_what_does_not_fit(found: list[CaseFacts], test: Amount | None, message: str) -> None:
    with pytest.raises(DataError, match=message):
        split_by_preset(found, LIST, test=test)


@pytest.mark.parametrize("name", PRESETS)
def test_the_shipped_lists(name: str) -> None:
    preset = load_preset(name)
    assert len(set(preset.cases)) == len(preset.cases) == 80
    assert f"la-{preset.labeled}" == name


def test_an_unknown_preset_is_corrected() -> None:
    with pytest.raises(UsageError, match="Did you mean 'la-16'"):
        load_preset("la16")
