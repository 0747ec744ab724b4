import json

import numpy as np
import pytest

from bagclip.data.studies import Rejection, Studies, Summary, TableSummary, TooManyRejected
from bagclip.data.study import ArrayImage, Sentence, Study

IMAGE = ArrayImage(np.zeros((4, 4), np.uint8))


def study(id, **fields):
    return Study(id, (IMAGE,), "Normal.", (Sentence("Normal.", 0, 7),), **fields)


STUDIES = Studies(
    [
        study("a", split="test", labels=frozenset({"Edema"}), attributes={"view": "PA", "sex": "F"}),
        study("b", split="train", patient="p", labels=frozenset({"Cyst", "Edema"}), attributes={"view": "AP"}),
        study("c", split="train", patient="p", attributes={"view": "AP|lateral"}),
    ],
    [TableSummary("pairs", "pairs.csv", 4, (Rejection("pairs.csv", 3, "empty document: it has no text"),))],
)


def ids(studies):
    return "".join(study.id for study in studies)


def test_a_sequence_of_studies():
    assert len(STUDIES) == 3 and STUDIES[-1].id == "c"
    assert isinstance(STUDIES[1:], Studies) and ids(STUDIES[1:]) == "bc"
    assert ids(STUDIES[::-1]) == "cba"
    assert STUDIES[0] in STUDIES
    assert repr(STUDIES) == "Studies(3: train 2, test 1)"


def test_ids_are_unique():
    with pytest.raises(ValueError, match=r"\['a'\] are repeated"):
        Studies([study("a"), study("b"), study("a")])


def test_choosing_by_split_and_attribute():
    assert ids(STUDIES.split("train")) == "bc"
    assert ids(STUDIES.where(view="AP")) == "bc"
    assert ids(STUDIES.where(view="lateral")) == "c"
    assert ids(STUDIES.where(view=("PA", "lateral"))) == "ac"
    assert ids(STUDIES.where(view=["AP", "PA"], sex="F")) == "a"
    assert ids(STUDIES.where(sex="")) == "bc"


@pytest.mark.parametrize(
    "choose, message",
    [
        (lambda: STUDIES.split("val"), r"no study has split 'val'; there are \['test', 'train'\]"),
        (lambda: STUDIES.split("trian"), "Did you mean 'train'?"),
        (lambda: STUDIES.where(veiw="PA"), r"no study has attribute 'veiw'; .* Did you mean 'view'\?"),
        (lambda: STUDIES.where(view="Lateral"), r"view = 'Lateral'; .* Did you mean 'lateral'\?"),
        (lambda: STUDIES.where(view=("PA", "LL")), "view = 'LL'"),
    ],
)
def test_unknown_choices_name_the_nearest(choose, message):
    with pytest.raises(ValueError, match=message):
        choose()


def test_a_summary_counts_and_keeps_its_tables():
    summary = STUDIES.summary
    assert (summary.studies, summary.images, summary.patients, summary.sentences) == (3, 3, 2, 3)
    assert summary.splits == {"train": 2, "test": 1}
    assert summary.labels == {"Edema": 2, "Cyst": 1}
    assert STUDIES.split("test").summary.tables == summary.tables
    assert STUDIES.split("test").summary.studies == 1
    record = json.loads(json.dumps(summary.to_dict()))
    assert record["tables"][0]["kept"] == 3 and record["tables"][0]["share"] == 0.25
    assert record["tables"][0]["rejected"] == [
        {"file": "pairs.csv", "row": 3, "reason": "empty document: it has no text"}
    ]
    assert record["labels"] == {"Edema": 2, "Cyst": 1}


def test_a_summary_prints_as_a_table():
    assert str(STUDIES.summary).splitlines() == [
        "table         rows    kept  rejected unmatched under a mask",
        "pairs.csv        4       3         1         0            0",
        "  1 x empty document (line 3: it has no text)",
        "3 studies of 2 patients: 3 images, 3 sentences, 0 annotations",
        "splits: train 2, test 1",
        "labels: Edema 2, Cyst 1",
    ]
    assert "table" not in str(Studies([study("a")]).summary)


def summary_of(*tables):
    return Summary(tables, 0, 0, 0, 0, 0, {}, {})


def test_a_check_tells_the_commonest_reasons_of_each_table():
    reasons = ["A: 1", "B: 2", "B: 3", "C: 4", "C: 5", "C: 6", "D: 7"]
    rejected = tuple(Rejection("boxes.csv", i, reason) for i, reason in enumerate(reasons, 2))
    summary = summary_of(TableSummary("pairs", "pairs.csv", 10), TableSummary("boxes", "boxes.csv", 70, rejected))
    summary.check(0.1)
    with pytest.raises(TooManyRejected) as caught:
        summary.check(0.09)
    assert str(caught.value) == (
        "boxes.csv: 7 of 70 rows were rejected (10.0%, at most 9.0% may be): 3 x C (line 5: 4); 2 x B (line 3: 2); "
        "1 x A (line 2: 1). Mend these rows, or allow a larger share (max_rejected)."
    )


@pytest.mark.parametrize("limit", [-0.1, 5, float("nan")])
def test_a_limit_is_a_share(limit):
    with pytest.raises(ValueError, match="from 0 to 1"):
        summary_of().check(limit)
