import base64
import io
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from bagclip.data.study import Box
from bagclip.metrics import Estimate
from bagclip.report import Candidate, GroundingExample, Report, RetrievalExample, write_report

NAN = float("nan")
VOID = {"meta", "col", "img", "br", "line", "circle", "polyline"}


class Page(HTMLParser):
    """What a reader of the page gets: its tags in order, its text, and whether every tag is closed."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.open, self.words, self.attributes = [], [], [], []
        self.feed(html)
        self.close()
        assert not self.open, f"never closed: {self.open}"
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attributes]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        assert tag in VOID, f"<{tag}/> is no void element"
        self.handle_starttag(tag, attributes)

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.words.append(data)


def picture(seed, size=(40, 30)):
    return np.random.default_rng(seed).integers(0, 256, size, dtype=np.uint8)


def full(text=lambda words: words, size=(40, 30)):
    """A report with something everywhere; every text passes through ``text``."""
    t = text
    region = np.zeros(size, dtype=bool)
    region[5:9, 3:12] = True
    heat = np.random.default_rng(0).random(size)
    unseen = heat.copy()
    unseen[:, :4] = np.nan
    grounding = (
        GroundingExample(picture(1, size), heat, t("small effusion"), t("effusion"), region, (), 1.237),
        GroundingExample(
            picture(2, (*size, 3)), unseen, t("mass"), t("mass"), None, (Box(1, 1, 9, 9),), -0.456, t("missed")
        ),
    )
    images = tuple(
        Candidate(picture(i, size), None, 0.5 - i / 8, t("a sentence"), 0.7 - i / 8, i == 1) for i in range(3)
    )
    texts = tuple(
        Candidate(None, t("Clear lungs. ") + t("No mass."), 0.4125 - i / 8, t("No mass."), 0.9125 - i / 8, i == 0)
        for i in range(3)
    )
    return Report(
        title=t("A run"),
        lead=t("What was done."),
        formula=t('chain(Cosine(), Max().over("regions"))'),
        loss=t("InfoNCE"),
        equation=t("max_n s_n"),
        reference=t("Somebody, somewhere, https://example.org/paper"),
        results={
            "retrieval": {
                "text_to_image/R@10": Estimate(0.6843, 0.6511, 0.7102, 0.0101, 1463),
                "text_to_image/median_rank": Estimate(4.5, 4.0, 6.0, 491, 1463),
                "image_to_text/R@10": Estimate(0.5921, NAN, NAN, 0.0004, 1462),
            },
            "classification": {
                "macro_auroc": Estimate(0.9141, 0.9012, 0.9232, 0.5, 1461),
                t("auroc/pleural effusion"): Estimate(0.8876, 0.8512, 0.9011, 0.5, 77),
            },
            "grounding": {
                "cnr_signed": Estimate(0.9127, 0.8622, 0.9573, -0.0412, 312),
                "macro/cnr_signed": Estimate(0.7843, 0.7011, 0.8112, -0.0333, 12),
                t("my own"): Estimate(1234.5, 1200.0, 1300.0, NAN, 5),
            },
        },
        context={
            "retrieval": {t("candidates"): 1464, t("convention"): t("ties rank against the query")},
            "grounding": {"phrases": 31200},
        },
        history=[
            {
                "epoch": e,
                "loss": 5.0 / e,
                "lr": 0.1,
                "val": {"text_to_image/R@10": 0.1 * e, "image_to_text/R@10": 0.15 * e},
            }
            for e in (1, 2, 3)
        ],
        grounding=grounding,
        retrieval=(
            RetrievalExample(t("A mass. Clear lungs."), None, images, 2, "text_to_image"),
            RetrievalExample(None, picture(7, size), texts, 1, "image_to_text"),
        ),
        data={t("studies"): 6001, t("rejected"): t("17 rows")},
        environment={t("torch"): t("2.9")},
        commands=(t("pip install bagclip"), t("bagclip demo")),
    )


@pytest.fixture
def written(tmp_path):
    def write(report):
        write_report(tmp_path / "report.html", report)
        return (tmp_path / "report.html").read_text(encoding="utf-8")

    return write


def pictures(page):
    addresses = [value for tag, name, value in page.attributes if (tag, name) == ("img", "src")]
    return [Image.open(io.BytesIO(base64.b64decode(a.removeprefix("data:image/jpeg;base64,")))) for a in addresses]


def test_every_tag_is_closed(written):
    html = written(full())
    page = Page(html)
    assert html.startswith("<!DOCTYPE html>")
    assert [page.tags.count(tag) for tag in ("html", "head", "title", "body", "main", "h1", "table")] == [1] * 6 + [3]


def test_it_loads_nothing(written):
    html = written(full())
    page = Page(html)
    for tag, name, value in page.attributes:
        assert not name.startswith("on"), f"{tag} has a script in {name}"
        if name in ("src", "href", "srcset", "data", "action", "poster", "xlink:href", "style"):
            assert value.startswith("data:image/jpeg;base64,"), f"{tag} {name}={value[:60]}"
    assert not {"script", "link", "iframe", "object", "embed", "base", "form"} & set(page.tags)
    style = html[html.index("<style>") : html.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style
    assert ("meta", "content", "default-src 'none'; img-src data:; style-src 'unsafe-inline'") in page.attributes


@pytest.mark.parametrize(
    "hostile",
    [
        "<script>alert(1)</script>",
        "</style><b>",
        '"><img src=x onerror=alert(1)>',
        "{{ 7 * 7 }}",
        "a & b &lt; c",
        "--> ]]>",
    ],
)
def test_foreign_text_stays_text(written, hostile):
    harmless, page = Page(written(full())), Page(written(full(lambda words: f"{words} {hostile}")))
    assert page.tags == harmless.tags
    expected = " ".join(hostile.split())
    for words in (
        "small effusion",
        "What was done.",
        "missed",
        "A mass. Clear lungs.",
        "17 rows",
        "bagclip demo",
        "my own",
    ):
        assert f"{words} {expected}" in page.text
    assert any(name == "alt" and hostile in value for _, name, value in page.attributes)


def test_a_lone_surrogate_does_not_lose_the_report(written):
    assert "file ?.png" in Page(written(Report("A run", lead="file \udcff.png"))).text


def test_every_number_is_there(written):
    report = full()
    text = Page(written(report)).text
    for metrics in report.results.values():
        for name, e in metrics.items():
            decimals = 1 if name.endswith("rank") else 3
            for x in (e.value, e.low, e.high, e.chance):
                shown = "–" if np.isnan(x) else f"{x:.{decimals}f}" if abs(x) > 0.001 else f"{x:g}"
                assert shown.replace("-", "−") in text, f"{name}: {shown}"
            assert f"{e.n:,}" in text
    assert "0.684 0.651 to 0.710 0 1 0.010 1,463" in text, "value, interval, ends of the axis, chance, n"
    for shown in ("1,464", "31,200", "6,001", "+1.24", "−0.46", "0.412", "0.912", "rank 2", "rank 1", "1.667", "0.450"):
        assert shown in text


def test_rows_say_what_they_are(written):
    rows = re.findall(r'<th scope="row">(.*?)</th>\s*<td class="value">(.*?)</td>', written(full()))
    assert rows == [
        ("Recall at 10", "0.684"),
        ("Median rank", "4.5"),
        ("Recall at 10", "0.592"),
        ("Macro AUROC", "0.914"),
        ("pleural effusion", "0.888"),
        ("Signed CNR", "0.913"),
        ("my own", "1234.500"),
        ("Signed CNR", "0.784"),
    ]


def test_an_interval_is_drawn_where_it_lies(written):
    html = written(Report("A run", results={"t": {"x": Estimate(0.5, 0.25, 0.875, 0.125, 9)}}))
    (row,) = re.findall(r'<td class="graph" aria-hidden="true">(.*?)</td>', html, re.DOTALL)
    assert re.findall(r'class="interval" x1="(.*?)" x2="(.*?)"', row) == [("25.0%", "87.5%")]
    assert re.findall(r'class="chance" x1="(.*?)" x2="(.*?)"', row) == [("12.5%", "12.5%")]
    assert re.findall(r'<circle cx="(.*?)"', row) == ["50.0%"]


def test_a_negative_ratio_is_marked_and_a_positive_one_is_not(written):
    html = written(full())
    assert html.count("higher outside than inside") == 1
    assert re.search(r"−0\.46</b>, higher outside than inside", html)


def test_the_best_sentence_is_marked_where_it_stands(written):
    html = written(full())
    assert html.count("<mark>No mass.</mark>") == 3
    assert "Clear lungs. <mark>No mass.</mark></p>" in html
    assert html.count("<mark>a sentence</mark>") == 3


def test_candidates_that_belong_to_the_query_are_named(written):
    html = written(full())
    assert html.count("belongs to the query</strong>") == 2
    assert 'alt="Candidate 2, which belongs to the query"' in html


def test_pictures_are_those_given_and_none_is_large(written):
    report = full(size=(500, 900))
    page = Page(written(report))
    shown = pictures(page)
    # The colours of the key, two for each phrase, three candidates, one query.
    assert len(shown) == 1 + 4 + 3 + 1
    assert max(max(s.size) for s in shown) == 400
    original = Image.fromarray(report.grounding[0].image).resize((400, 222), Image.Resampling.LANCZOS)
    assert np.abs(np.asarray(shown[1], dtype=float) - np.asarray(original)).mean() < 6
    assert shown[3].mode == "RGB"
    described = [value for tag, name, value in page.attributes if (tag, name) == ("img", "alt")]
    assert [bool(words) for words in described] == [False] + 8 * [True], "only the bar of the key says nothing itself"


def test_what_is_empty_is_left_out(written):
    page = Page(written(Report("A run")))
    assert page.text == "A run A run"
    assert not {"section", "table", "img", "h2", "svg"} & set(page.tags)
    report = full()
    headings = Page(written(report)).tags.count("h2")
    for nothing in ({"history": ()}, {"grounding": ()}, {"retrieval": ()}, {"results": {}}, {"data": {}}):
        assert Page(written(replace(report, **nothing))).tags.count("h2") == headings - 1


def test_a_gallery_of_usual_size_stays_below_four_megabytes(written):
    # Shapes with the grain of a radiograph: pure noise would be the worst there is to compress.
    shapes = np.array(Image.fromarray(picture(0, (16, 16))).resize((512, 512), Image.Resampling.BICUBIC))
    image = np.clip(shapes + np.random.default_rng(0).normal(0, 5, (512, 512)), 0, 255).astype(np.uint8)
    example, search = full(size=(512, 512)).grounding[0], full().retrieval[0]
    example = replace(example, image=image, heat=shapes.astype(float))
    search = replace(search, candidates=tuple(replace(search.candidates[0], image=image) for _ in range(5)))
    assert len(written(Report("A run", grounding=[example] * 16, retrieval=[search] * 8))) < 4e6


def test_a_failure_leaves_what_was_there(tmp_path):
    path = tmp_path / "report.html"
    write_report(path, Report("The first"))
    before = path.read_bytes()
    example = replace(full().grounding[0], heat=np.zeros((3, 3)))
    with pytest.raises(ValueError, match="map has shape"):
        write_report(path, Report("The second", grounding=[example]))
    assert path.read_bytes() == before
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="cannot write"):
        write_report(tmp_path / "folder", Report("The third"))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["folder", "report.html"]


def test_a_folder_is_made_for_it(tmp_path):
    write_report(tmp_path / "new" / "report.html", Report("A run"))
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["report.html"]
