"""Self-training: what is hidden, what is chosen, and that hidden labels are never trained on."""

from dataclasses import replace

import numpy as np
import pytest
from trainings import pictures

from minicnn.train import self_training

FACES = pictures(40)


def rows(dataset):
    return [image.tobytes() for image in dataset.images]


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_hidden_and_labelled_are_the_whole(share):
    labelled, hidden = self_training.hide_labels(FACES, share, seed=3)
    assert len(hidden) == round(share * 40)
    assert sorted(rows(labelled) + rows(hidden)) == sorted(rows(FACES))
    again = self_training.hide_labels(FACES, share, seed=3)[1]
    assert rows(hidden) == rows(again)
    assert rows(hidden) != rows(self_training.hide_labels(FACES, share, seed=4)[1])
    truth = dict(zip(rows(FACES), FACES.labels, strict=True))
    assert [truth[row] for row in rows(hidden)] == list(hidden.labels)


def test_pseudo_labels():
    p = np.array([[0.5, 0.3, 0.2], [0.1, 0.45, 0.45], [0.0, 0.1, 0.9], [0.46, 0.27, 0.27]])
    sure, labels = self_training.pseudo_labels(p, 0.45)
    assert (sure.tolist(), labels.tolist()) == ([0, 2, 3], [0, 2, 0])
    assert labels.dtype == np.int64
    assert [len(a) for a in self_training.pseudo_labels(p, 1.0)] == [0, 0]


def test_rounds_choose_from_scratch_and_know_how_many_were_right():
    labelled, hidden = self_training.hide_labels(FACES, 0.5, seed=0)
    said = [  # of each round's model, for the hidden images: class and probability
        (np.zeros(20, int), np.where(np.arange(20) < 5, 0.9, 0.4)),
        (hidden.labels, np.where(np.arange(20) >= 12, 0.8, 0.34)),
        (hidden.labels, np.ones(20)),
    ]
    given = []

    def fit(dataset):
        given.append(dataset)
        classes, sure = said[len(given) - 1]
        p = np.repeat((1 - sure)[:, None] / 2, 3, axis=1)
        p[np.arange(20), classes] = sure
        return lambda images: p if len(images) == 20 else None

    got = list(self_training.rounds(fit, labelled, hidden, count=2, threshold=0.45))
    assert [(r.number, r.images, r.added) for r in got] == [(0, 20, 0), (1, 25, 5), (2, 28, 8)]
    assert np.isnan(got[0].right)
    assert got[1].right == np.mean(hidden.labels[:5] == 0)
    assert got[2].right == 1.0
    assert rows(given[2]) == rows(labelled) + rows(hidden)[12:]
    assert given[1].labels.tolist() == [*labelled.labels, *np.zeros(5)]


def test_hidden_labels_are_not_used():
    labelled, hidden = self_training.hide_labels(FACES, 0.5, seed=0)
    unknown = replace(hidden, labels=np.full(20, -1))
    seen = {}
    for name, images in (("known", hidden), ("unknown", unknown)):
        given = []

        def fit(dataset, given=given):
            given.append(dataset)
            return lambda x: np.tile([0.2, 0.7, 0.1], (len(x), 1))

        *_, last = self_training.rounds(fit, labelled, images, count=1)
        seen[name] = rows(given[1]), given[1].labels.tolist()
    assert np.isnan(last.right)
    assert seen["known"] == seen["unknown"]


def test_errors():
    for share in (0, 1, -0.5):
        with pytest.raises(ValueError, match=rf"hide_labels: share is {share}, wanted a number in \(0, 1\)"):
            self_training.hide_labels(FACES, share)
    with pytest.raises(ValueError, match=r"pseudo_labels: threshold is 1.5, wanted a number in \[0, 1\]"):
        self_training.pseudo_labels(np.ones((40, 3)), 1.5)
