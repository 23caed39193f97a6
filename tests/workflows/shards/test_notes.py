"""Notes of shards that make one file: what is missing, changed or differs is named."""

from pathlib import Path

import pytest

from llmseg_cli.artifacts.lock import only_job
from llmseg_cli.artifacts.shard import Shard
from llmseg_cli.errors import ArtifactError, UsageError
from llmseg_cli.workflows.shards.notes import Shared

CASES = [("a",), ("b", "b of folder 2"), ("c",), ("d",), ("e",)]


class Place:
    """Five cases; the answer to each is its own name, and `states` are those of its files."""

    def __init__(self, out: Path) -> None:
        self.out, self.asked = out, []
        self.states = {name: f"state of {name}" for row in CASES for name in row}

    def shared(self, **settings) -> Shared:
        return Shared(self.out, {"tolerance": 1.0, **settings}, CASES, self.states.__getitem__)

    def answer(self, words: str, *, force: bool = False, killed_after: int | None = None, **more):
        shared = self.shared(**more)
        with shared.answering(Shard(*map(int, words.split("/"))), force=force) as own:
            for name in own.left[:killed_after]:
                self.asked.append(name)
                own.note(name, {"of": name})

    def join(self, **more) -> dict:
        with self.shared(**more).joined() as answers:
            return dict(answers)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "out.json")


def lines(place: Place, name: str) -> Path:
    return place.out.with_name("out.json.shards") / name


def test_all_answers_are_joined_and_the_notes_go(place):
    for words in ("2/2", "1/2"):
        place.answer(words)
    assert place.asked == ["b", "b of folder 2", "d", "a", "c", "e"]
    assert place.join() == {name: {"of": name} for row in CASES for name in row}
    assert list(place.out.parent.iterdir()) == []


def test_notes_stay_if_what_is_made_of_them_fails(place):
    place.answer("1/1")
    with pytest.raises(RuntimeError), place.shared().joined():
        raise RuntimeError
    assert place.join()["a"] == {"of": "a"}


def test_what_is_missing_is_named(place):
    with pytest.raises(UsageError, match=r"--merge: .*out\.json\.shards holds no shard\. Run the"):
        place.join()
    place.answer("2/3", killed_after=1)
    said = (
        r"3 shards of 3 missing in .*: 1/3 has not begun; 2/3 is not done \(1 of 3 so far; --shard "
        r"2/3\); 3/3 has not begun\."
    )
    with pytest.raises(UsageError, match=said):
        place.join()
    place.answer("2/3")
    assert place.asked == ["b", "b of folder 2", "e"]  # nothing twice
    place.answer("1/3")
    assert place.shared().waiting(Shard(1, 3)) == ["3/3 has not begun"]


def test_a_line_that_was_not_finished_is_answered_again(place):
    place.answer("1/2", killed_after=2)
    path = lines(place, "shard-1-of-2.jsonl")
    path.write_text(path.read_text()[:-10])
    place.answer("1/2")
    place.answer("2/2")
    assert place.asked[:4] == ["a", "c", "c", "e"]
    assert place.join()["c"] == {"of": "c"}


def test_what_failed_is_tried_again(place):
    with place.shared().answering(Shard(1, 5), force=False) as own:
        own.note("a", "failed", is_final=False)
    assert place.shared().waiting(Shard(1, 5))[0] == "2/5 has not begun"  # it counts as answered
    place.answer("1/5")
    assert place.asked == ["a"]


@pytest.mark.parametrize(
    ("words", "more", "said"),
    [
        ("1/2", {"tolerance": 2.0}, r"shard 2/2 was made with other settings \(tolerance 1.0, not"),
        ("2/2", {"tolerance": 2.0}, r"--force does this one anew"),
        ("1/3", {}, r"holds shards of 2 \(shard-1-of-2 and the like\)"),
        ("6/6", {}, r"there are only 5 cases"),
    ],
)
def test_what_does_not_fit_is_refused(place, words, more, said):
    place.answer("2/2")
    before = lines(place, "shard-2-of-2.jsonl").read_text()
    with pytest.raises(UsageError, match=said):
        place.answer(words, **more)
    assert lines(place, "shard-2-of-2.jsonl").read_text() == before


def test_force_answers_a_shard_anew(place):
    place.answer("1/1")
    place.answer("1/1", force=True, tolerance=2.0)
    assert place.asked == 2 * [name for row in CASES for name in row]
    with pytest.raises(UsageError, match=r"shard 1/1 was made with other settings"):
        place.join()
    assert len(place.join(tolerance=2.0)) == 6


def test_a_file_that_changed_is_named_and_read_again(place):
    place.answer("1/1")
    place.states["c"] = "another"
    with pytest.raises(UsageError, match=r"a file of case c was changed since shard 1/1 was done"):
        place.join()
    place.asked.clear()
    place.answer("1/1")
    assert place.asked == ["c"]
    place.join()


@pytest.mark.parametrize(
    ("old", "new"), [('"case"', '"cafe"'), ("llmseg/shard/1", "llmseg/shard/9"), ("{", "")]
)
def test_damage_is_named_with_its_line(place, old, new):
    place.answer("1/1")
    path = lines(place, "shard-1-of-1.jsonl")
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(ArtifactError, match=r"shard-1-of-1\.jsonl:[12] is damaged: .*--force"):
        place.join()


def test_a_shard_is_answered_by_one_process_at_a_time(place):
    with (
        only_job(lines(place, "shard-1-of-2")),
        pytest.raises(UsageError, match=r"another llmseg job is writing there"),
    ):
        place.answer("1/2")


def test_of_two_shards_that_end_at_once_one_joins(place):
    place.answer("1/1")
    shared = place.shared()
    assert not shared.is_joined_elsewhere()
    with shared.joined():
        assert place.shared().is_joined_elsewhere()  # as another process asks meanwhile
    assert place.shared().is_joined_elsewhere()  # and after
