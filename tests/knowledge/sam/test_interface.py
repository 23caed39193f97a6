"""How prompts become questions and answers, with a segmenter that only notes what it is asked."""

import numpy as np
import torch

from llmseg_cli.knowledge.sam.framed import stack
from llmseg_cli.knowledge.sam.framing import Framing
from llmseg_cli.knowledge.sam.interface import PromptableSegmenter
from llmseg_cli.knowledge.sam.prompt import Prompt

SHAPE = (50, 25)  # on a square of 100: two pixels a pixel


class Noting(PromptableSegmenter):
    """Its mask has the value of its embedding, and its second candidate is the better one."""

    def __init__(self):
        super().__init__(
            "noting", "sha256:0", Framing(100), torch.device("cpu"), torch.float32, low_side=20
        )
        self.asked = []

    def embed(self, image):
        return (torch.tensor(float(image.mean())).half(),)

    def decode(self, embeddings, prompts):
        self.asked.append(prompts)
        values = torch.stack([embedding[0] for embedding in embeddings]).float()
        masks = values[:, None, None, None].expand(-1, 3, 20, 20).clone()
        masks[:, 0] = masks[:, 2] = -100
        return masks, torch.tensor([[0.1, 0.9, 0.3]]).expand(len(prompts), -1)


def prompt(*, points=0, box=None, logits=None):
    places = np.arange(2 * points, dtype=np.float32).reshape(points, 2)
    return Prompt(np.ones(SHAPE, bool), box, places, np.ones(points, bool), logits)


def ask(prompts, **options):
    segmenter = Noting()
    embeddings = [(torch.tensor(float(i + 1)),) for i in range(len(prompts))]
    return segmenter, segmenter.ask(embeddings, prompts, **options)


def test_answers_come_in_the_order_of_the_questions_whatever_is_batched():
    kinds = [prompt(points=2), prompt(box=(1, 2, 3, 4)), prompt(points=3), prompt(points=2)]
    segmenter, answers = ask(kinds * 2, batch=2)
    assert [answer.logits[0, 0] for answer in answers] == [1, 2, 3, 4, 5, 6, 7, 8]
    assert sorted(len(asked) for asked in segmenter.asked) == [2, 2, 2, 2]
    assert all(len({one.kind for one in asked}) == 1 for asked in segmenter.asked)


def test_the_candidate_of_the_best_quality_is_the_answer():
    _, (answer,) = ask([prompt(points=1)])
    assert answer.logits.shape == SHAPE
    assert answer.mask.all()
    assert np.isclose(answer.predicted_iou, 0.9)


def test_an_answer_keeps_no_more_than_its_own_mask_in_memory():
    _, answers = ask([prompt(points=2)] * 4)
    assert answers[3].low_logits.untyped_storage().nbytes() == 20 * 20 * 4


def test_points_and_boxes_lie_in_the_square():
    segmenter, _ = ask([prompt(points=2, box=(1, 2, 30, 24))])
    ((framed,),) = segmenter.asked
    assert framed.points.tolist() == [[0, 2], [4, 6]]
    assert framed.box.tolist() == [2, 4, 60, 48]
    assert framed.mask is None


def test_one_point_alone_is_ambiguous():
    cases = [prompt(points=1), prompt(points=2), prompt(points=1, box=(0, 0, 1, 1))]
    segmenter, _ = ask(cases)
    assert [asked[0].is_ambiguous for asked in segmenter.asked] == [True, False, False]


def test_an_earlier_answer_takes_the_place_of_the_networks_log_odds():
    logits = np.full(SHAPE, 2, np.float32)
    earlier = torch.zeros(20, 20)
    segmenter, _ = ask([prompt(points=2, logits=logits)] * 2, previous=[earlier, None])
    ((first, second),) = segmenter.asked
    assert first.mask is earlier
    torch.testing.assert_close(second.mask, torch.full((20, 20), 2.0))


def test_stability_is_the_overlap_of_a_tight_and_a_loose_mask():
    low = torch.full((20, 20), -2.0)
    low[:, :4], low[:, 4:6] = 3, 0.5
    segmenter = Noting()
    segmenter.decode = lambda embeddings, prompts: (low[None, None], torch.ones(1, 1))
    (answer,) = segmenter.ask([()], [prompt(points=2)])
    tight, loose = (answer.logits > 1).sum(), (answer.logits > -1).sum()
    assert 0 < tight < loose
    assert answer.stability == tight / loose
    low.fill_(-5)
    assert segmenter.ask([()], [prompt(points=2)])[0].stability == 1


def test_stacked_prompts_of_no_kind_are_none():
    segmenter, _ = ask([prompt(points=2), prompt(box=(0, 0, 1, 1))])
    points, boxes = (stack(asked, torch.device("cpu")) for asked in segmenter.asked)
    assert (points.boxes, points.masks, boxes.points, boxes.labels) == (None,) * 4
    assert points.labels.tolist() == [[1, 1]]
    assert boxes.boxes.shape == (1, 4)


def test_prompts_with_and_without_a_mask_are_asked_apart():
    segmenter, _ = ask([prompt(points=2)] * 2, previous=[torch.zeros(20, 20), None])
    assert [len(asked) for asked in segmenter.asked] == [1, 1]
