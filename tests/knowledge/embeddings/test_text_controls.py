"""Another case's text is nobody's own, and is whole."""

from dataclasses import replace

import numpy as np
import pytest

from llmseg_cli.errors import UsageError
from llmseg_cli.knowledge.embeddings.file import Embeddings
from llmseg_cli.knowledge.embeddings.text_controls import of_one_case, other_case_text


def of_cases(count: int, *, classes: int = 2) -> Embeddings:
    """Texts of cases, whose numbers all are that of the text."""
    random = np.random.default_rng(0)
    keys = [
        (f"case{case}", f"class {value}")
        for case in range(count)
        for value in range(classes)
        for _ in range(1 + (case % 2))  # every other case has two texts of a class
    ]
    number = np.arange(len(keys))
    mask = np.ones((len(keys), 4), bool)
    return Embeddings(
        target="toy",
        class_names=tuple(name for _, name in keys),
        texts=tuple(f"text {n}" for n in number),
        token_ids=np.repeat(number[:, None], 4, axis=1),
        mask=mask,
        tokens=np.repeat(number[:, None, None], 4, axis=1).astype(np.float32).repeat(3, axis=2),
        pooled=random.normal(size=(len(keys), 3)).astype(np.float32),
        encoder="none",
        case_ids=tuple(case for case, _ in keys),
        images={f"case{case}": f"{case:064x}" for case in range(count)},
    )


@pytest.mark.parametrize("count", [2, 3, 10])
@pytest.mark.parametrize("seed", range(5))
def test_no_case_keeps_its_text_and_each_goes_to_one(count, seed):
    given = of_cases(count)
    found = other_case_text(given, seed=seed)
    owner = dict(zip(given.texts, given.case_ids, strict=True))
    classes = dict(zip(given.texts, given.class_names, strict=True))
    taken = {}
    for case, name, text in zip(found.case_ids, found.class_names, found.texts, strict=True):
        assert owner[text] != case
        assert classes[text] == name
        taken.setdefault(case, set()).add(owner[text])
    assert all(len(from_whom) == 1 for from_whom in taken.values())
    assert sorted(next(iter(one)) for one in taken.values()) == sorted(given.cases)
    rows = [given.texts.index(text) for text in found.texts]
    for field in ("token_ids", "mask", "tokens", "pooled"):
        np.testing.assert_array_equal(getattr(found, field), getattr(given, field)[rows])
    assert found.images == given.images


def test_the_seed_decides_and_one_case_has_no_other():
    given = of_cases(8)
    first, again, other = (other_case_text(given, seed=seed).texts for seed in (0, 0, 1))
    assert first == again
    assert first != other
    with pytest.raises(UsageError, match="it takes two"):
        other_case_text(of_cases(1), seed=0)


def test_the_texts_of_the_first_case_as_those_of_all():
    found = of_one_case(of_cases(3))
    assert (found.case_ids, found.images, found.texts) == ((), {}, ("text 0", "text 1"))


def test_a_case_without_a_class_is_refused():
    given = of_cases(2)
    names = (*("class 0", "class 1"), *("class 0",) * 4)
    with pytest.raises(ValueError, match="case case1 has no text of class 1"):
        replace(given, class_names=names)
