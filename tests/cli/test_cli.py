"""The commands, run as a user runs them."""

import csv
import json

import numpy as np
import pytest
from PIL import Image

from bagclip.cli.settings import parse_settings
from bagclip.data import phantom
from command_line import bagclip

SMALL = ["--dim", "16", "--set", "image.size=64", "--set", "image.width=4", "--set", "text.width=16",
         "--set", "text.layers=1", "--set", "train.batch_size=8", "--set", "train.epochs=1"]  # fmt: skip


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Phantom studies as a user's files: images, a table of pairs and a table of boxes."""
    folder = tmp_path_factory.mktemp("data")
    pairs, boxes = [], []
    for i, study in enumerate(phantom(40, seed=5, size=80)):
        Image.fromarray(study.images[0].pixels()).save(folder / f"{i}.png")
        split = ["train", "train", "val", "test"][i % 4]
        row = {"image": f"{i}.png", "report": study.document, "labels": "|".join(study.labels), "split": split}
        pairs.append(row | {"view": "PA" if i % 3 else "AP"})
        boxes += [
            {"image": f"{i}.png", "phrase": a.phrase, "label": a.label, "kind": a.kind} | vars(box)
            for a in study.annotations
            for box in a.boxes
        ]
    for name, rows in (("pairs.csv", pairs), ("boxes.csv", boxes)):
        with open(folder / name, "w", newline="") as file:
            renamed = [
                {{"top": "y0", "bottom": "y1", "left": "x0", "right": "x1"}.get(k, k): v for k, v in r.items()}
                for r in rows
            ]
            writer = csv.DictWriter(file, list(renamed[0]))
            writer.writeheader()
            writer.writerows(renamed)
    return folder


@pytest.fixture(scope="module")
def run(table, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "lse"
    bagclip("train", "lse_nl", "--data", table / "pairs.csv", "--boxes", table / "boxes.csv", "--out", out, *SMALL)
    return out


def read(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def write(path, rows):
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def test_train_keeps_what_a_reader_needs(run):
    record = json.loads((run / "run.json").read_text())
    (command,) = record["commands"]
    assert command.startswith("bagclip train lse_nl")
    assert record["data"]["tables"][0]["rows"] == 40 and record["data"]["tables"][0]["rejected"] == []
    assert "torch" in record["environment"]
    assert {path.name for path in run.iterdir()} >= {"model", "metrics.jsonl", "last.safetensors"}


def test_evaluate_writes_results_and_a_report(run, table, tmp_path, capsys):
    words = ["evaluate", run, "--data", table / "pairs.csv", "--boxes", table / "boxes.csv", "--out"]
    bagclip(*words, tmp_path / "a")
    printed = capsys.readouterr().out
    bagclip(*words, tmp_path / "b")
    first, second = ((tmp_path / name / "results.json").read_bytes() for name in "ab")
    assert first == second
    results = json.loads(first)
    assert set(results) == {"retrieval", "classification", "grounding"}
    for direction in ("text_to_image", "image_to_text"):
        for metric in ("R@1", "R@5", "R@10", "median_rank"):
            estimate = results["retrieval"][f"{direction}/{metric}"]
            assert set(estimate) == {"value", "low", "high", "chance", "n"} and estimate["n"] == 10
    for metric in ("cnr_signed", "cnr_abs", "miou", "pointing_game"):
        assert {metric, f"macro/{metric}"} <= set(results["grounding"])
    assert "macro_auroc" in results["classification"]
    page = (tmp_path / "a" / "report.html").read_text()
    assert "InfoNCE" in page and "bagclip train lse_nl" in page and "pairs.csv" in page
    assert "retrieval (candidates: 10" in printed and "report.html" in printed


def test_evaluate_by_a_column_and_by_prompts(run, table, tmp_path, capsys):
    (tmp_path / "prompts.yaml").write_text("PA: [frontal view]\nAP: {present: [supine], absent: [upright, standing]}\n")
    bagclip("evaluate", run, "--data", table / "pairs.csv", "--on", "classification", "--attribute", "view",
            "--prompts", tmp_path / "prompts.yaml", "--out", tmp_path)  # fmt: skip
    assert set(json.loads((tmp_path / "results.json").read_text())["classification"]) == {
        "macro_auroc", "auroc/PA", "auroc/AP"
    }  # fmt: skip
    (tmp_path / "prompts.yaml").write_text("PA: frontal\n")
    with pytest.raises(SystemExit, match="class 'PA' needs a list of sentences"):
        bagclip("evaluate", run, "--data", table / "pairs.csv", "--on", "classification", "--prompts",
                tmp_path / "prompts.yaml")  # fmt: skip


def test_a_table_of_images_and_texts_is_enough(run, table, tmp_path, capsys):
    rows = [{"image": str(table / row["image"]), "report": row["report"]} for row in read(table / "pairs.csv")]
    write(tmp_path / "pairs.csv", rows)
    bagclip("train", "lse", "--data", tmp_path / "pairs.csv", "--out", tmp_path / "run", *SMALL)
    bagclip("evaluate", tmp_path / "run", "--data", tmp_path / "pairs.csv", "--split", "train")
    assert set(json.loads((tmp_path / "run" / "results.json").read_text())) == {"retrieval"}
    printed = capsys.readouterr().out
    assert "classification is left out" in printed and "grounding is left out" in printed
    with pytest.raises(SystemExit, match="grounding needs at least two annotated phrases"):
        bagclip("evaluate", tmp_path / "run", "--data", tmp_path / "pairs.csv", "--split", "train", "--on", "grounding")


def test_bad_images_boxes_and_masks_reach_the_record(table, tmp_path):
    rows = [row | {"image": str(table / row["image"])} for row in read(table / "pairs.csv")]
    (tmp_path / "cut.png").write_bytes((table / "0.png").read_bytes()[:900])
    rows[0]["image"] = str(tmp_path / "cut.png")
    write(tmp_path / "pairs.csv", rows)
    image = {"image": rows[1]["image"], "phrase": "mass"}
    write(tmp_path / "boxes.csv", [image | dict(zip(["x0", "y0", "x1", "y1"], box, strict=True)) for box in
                                   ([1, 1, 9, 9], [1, 1, 900, 9], [9, 1, 1, 9], ["nan", 1, 9, 9])])  # fmt: skip
    Image.new("1", (7, 7), 1).save(tmp_path / "mask.png")
    write(tmp_path / "masks.csv", [image | {"mask_path": str(tmp_path / "mask.png")}])
    bagclip("train", "lse", "--data", tmp_path / "pairs.csv", "--boxes", tmp_path / "boxes.csv", "--masks",
            tmp_path / "masks.csv", "--out", tmp_path / "run", "--max-rejected", "1", *SMALL)  # fmt: skip
    tables = {
        t["name"]: t["rejected"] for t in json.loads((tmp_path / "run" / "run.json").read_text())["data"]["tables"]
    }
    assert [entry["row"] for entry in tables["pairs"]] == [2] and "truncated" in tables["pairs"][0]["reason"]
    assert [entry["row"] for entry in tables["boxes"]] == [3, 4, 5]
    assert [entry["row"] for entry in tables["masks"]] == [2] and "7" in tables["masks"][0]["reason"]
    assert all(entry["file"].endswith(".csv") for rejected in tables.values() for entry in rejected)


def test_a_split_column_is_full_or_absent(table, tmp_path):
    rows = [row | {"image": str(table / row["image"])} for row in read(table / "pairs.csv")]
    for row in rows[:7]:
        row["split"] = ""
    write(tmp_path / "pairs.csv", rows)
    with pytest.raises(SystemExit, match=r"7 of 40 studies in .* have no split and the others have"):
        bagclip("train", "lse", "--data", tmp_path / "pairs.csv", "--out", tmp_path / "run", *SMALL)


def test_ground_draws_over_the_image(run, table, tmp_path, capsys):
    bagclip("ground", run, table / "0.png", "left effusion", "--out", tmp_path / "heat.png")
    drawn = np.asarray(Image.open(tmp_path / "heat.png").convert("RGB"), dtype=int)
    assert drawn.shape[1] >= 512 and (np.ptp(drawn, axis=2) > 40).any()
    assert "is seen best at row" in capsys.readouterr().out


def test_demo_goes_the_whole_way_and_equals_itself(tmp_path, capsys):
    words = ["demo", "--limit", "24", "--epochs", "1", "--out"]
    bagclip(*words, tmp_path / "a")
    printed = capsys.readouterr().out
    bagclip(*words, tmp_path / "b")
    assert (tmp_path / "a" / "results.json").read_bytes() == (tmp_path / "b" / "results.json").read_bytes()
    for task in ("retrieval", "classification", "grounding", "report.html"):
        assert task in printed
    assert (tmp_path / "a" / "report.html").is_file() and (tmp_path / "a" / "gallery.png").is_file()


def test_a_formula_is_trained_as_a_method_is(tmp_path):
    formula = 'chain(Cosine(), TopK(k=4).over("regions"), Mean().over("sentences"))'
    small = ["--set", "train.epochs=1", "--set", "train.batch_size=8", "--set", "image.size=64", "--dim", "16"]
    bagclip("train", formula, "--data", "phantom:24", "--out", tmp_path / "run", *small)
    config = json.loads((tmp_path / "run" / "model" / "config.json").read_text())
    assert config["method"]["score"] == formula


def test_methods_are_listed_for_people_and_machines(capsys):
    bagclip("methods")
    assert "log-sum-exp" in capsys.readouterr().out
    bagclip("methods", "--json")
    listed = json.loads(capsys.readouterr().out)
    names = """clip convirt biovil biovil_l local_mi gloria gloria_separable scan_t2i scan_i2t filip maxsim limitr
        medclip carzero xclip siglip plip lovt mgca sparc abmil dsmil lse nl lse_nl lse_nl_losses"""
    assert [entry["name"] for entry in listed] == names.split()
    assert all(entry[key] for entry in listed for key in ("formula", "loss", "equation", "reference", "pooled"))
    declared = {entry["name"]: entry["properties"] for entry in listed}
    assert not declared["gloria"]["separable_over_sentences"] and declared["lse"]["separable_over_sentences"]
    assert not declared["nl"]["differentiable_in_the_key"] and not declared["scan_t2i"]["replication_invariant"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["train", "lse_n1", "--data", "phantom"], "there is no method 'lse_n1'; did you mean 'lse_nl'"),
        (["train", "lse", "--data", "nowhere.csv"], "nowhere.csv"),
        (["train", "lse", "--data", "phantom:x"], "after 'phantom:' comes a number"),
        (["train", "lse", "--data", "phantom", "--set", "train.epoch=2"], "did you mean 'epochs'"),
        (["train", "lse", "--data", "phantom", "--set", "trainer.lr=2"], "did you mean 'train'"),
        (["train", "lse", "--data", "phantom", "--set", "lr=2"], "not of the form part.name=value"),
        (["train", "lse", "--data", "phantom", "--set", "train.lr=fast"], "lr must be a positive number"),
        (["train", "lse", "--data", "phantom", "--set", "train.epochs=0"], "epochs must be a whole number"),
        (["train", "lse", "--data", "phantom", "--set", "train.lr=["], "'[' is no value"),
        (["train", "lse", "--data", "phantom", "--set", "image.size=big"], "the settings of image"),
        (["train", "lse", "--data", "phantom", "--set", "method.sharpness=abc"], "sharpness of LogSumExp must be"),
        (["train", "lse", "--data", "phantom", "--dim", "0"], "--dim must be at least 1"),
        (["train", "lse", "--data", "phantom", "--where", "view=PA"], "--where, --boxes and --masks are for tables"),
        (["train", "lse", "--data", "phantom", "--resume", "yes"], '--resume is "auto" or "never"'),
        (["train", "lse", "--data", "phantom", "--image", "no/such/model/here"], "no/such/model/here"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_in_a_sentence(words, sentence, tmp_path):
    with pytest.raises(SystemExit) as stop:
        bagclip(*words, "--out", tmp_path / "run")
    assert sentence in str(stop.value) and "Traceback" not in str(stop.value)


def test_bad_rows_are_counted_or_stop_the_run(table, tmp_path):
    rows = read(table / "pairs.csv")
    for row in rows[:3]:
        row["report"] = " "
    for row in rows:
        row["image"] = str(table / row["image"])
    with open(tmp_path / "pairs.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    with pytest.raises(SystemExit, match=r"3 of 40 rows were rejected \(7\.5%, at most 5\.0% may be\)"):
        bagclip("train", "lse", "--data", tmp_path / "pairs.csv", "--out", tmp_path / "run", *SMALL)
    bagclip(
        "train", "lse", "--data", tmp_path / "pairs.csv", "--out", tmp_path / "run", "--max-rejected", "0.1", *SMALL
    )
    rejected = json.loads((tmp_path / "run" / "run.json").read_text())["data"]["tables"][0]["rejected"]
    assert [entry["row"] for entry in rejected] == [2, 3, 4]


def test_a_leak_stops_the_run_unless_allowed(table, tmp_path):
    rows = read(table / "pairs.csv")
    with open(tmp_path / "pairs.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, [*rows[0], "patient_id"])
        writer.writeheader()
        writer.writerows(row | {"image": str(table / row["image"]), "patient_id": i // 4} for i, row in enumerate(rows))
    words = ["train", "lse", "--data", tmp_path / "pairs.csv", "--out", tmp_path / "run", *SMALL]
    with pytest.raises(SystemExit, match="patients in more than one split"):
        bagclip(*words)
    bagclip(*words, "--allow-leaks")


def test_settings_are_typed():
    settings = parse_settings(
        ["train.precision=no", "train.lr=3e-4", "train.augment=false", "train.patience=null", "text.pooling=cls"]
    )
    assert settings["train"] == {"precision": "no", "lr": 3e-4, "augment": False, "patience": None}
    assert settings["text"] == {"pooling": "cls"}
