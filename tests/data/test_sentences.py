import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bagclip.data.sentences import split


def sentences(document):
    return [document[start:end] for start, end in split(document)]


def same(text):
    return text, [text]


WRAPPED = """The lungs are hyperinflated, in keeping with the known chronic
obstructive disease. There is a new opacity beside the left
PICC line, which may be pneumonia in the setting of a fever of
38.5 degrees
Heart normal"""

CASES = {
    "decimal": same("A nodule of 3.5 cm is seen."),
    "decimals and a stop": ("Now 3.5 cm. It was 2.1 cm.", ["Now 3.5 cm.", "It was 2.1 cm."]),
    "leading point": ("Stable. .5 cm nodule.", ["Stable.", ".5 cm nodule."]),
    "approx": same("A cyst of approx. 4 mm in the liver."),
    "doctor": same("Discussed with Dr. Smith by phone."),
    "doctor in capitals": same("Discussed with DR. Smith by phone."),
    "doctor glued": same("Seen by Dr.Smith today."),
    "acronym is no title": ("Compared with MR. The mass grew.", ["Compared with MR.", "The mass grew."]),
    "shouted": ("DR. SMITH NOTIFIED. NO EFFUSION.", ["DR. SMITH NOTIFIED.", "NO EFFUSION."]),
    "for example": same("Infection, e.g. pneumonia, i.e. Streptococcus."),
    "versus": same("Atelectasis vs. Pneumonia at the base."),
    "saint": same("Transferred from St. Mary on Monday."),
    "number": same("See study No. 3 for details of it."),
    "answer no": ("Effusion? No. The heart is large.", ["Effusion?", "No.", "The heart is large."]),
    "morning": same("Taken at 9 a.m. on Monday."),
    "morning last": ("Taken at 9 a.m. The tube is high.", ["Taken at 9 a.m.", "The tube is high."]),
    "doses": ("Steroids q.i.d. Heart normal.", ["Steroids q.i.d.", "Heart normal."]),
    "doses go on": same("Steroids b.i.d. 5 days."),
    "initials": same("Reported by J. R. Smith and A.B. Jones."),
    "species": same("Culture grew S. aureus and P. Jirovecii."),
    "lone letter": ("Known hepatitis B. No ascites.", ["Known hepatitis B.", "No ascites."]),
    "unit letter": ("Fever of 38.5 C. Cough.", ["Fever of 38.5 C.", "Cough."]),
    "temperature": same("T 38.5 and HR 90."),
    "temperature with a stop": same("T. 38.5 on arrival."),
    "date": ("Compared with 01.02.2020. No change.", ["Compared with 01.02.2020.", "No change."]),
    "figure": same("Opacity (Fig. 2) at the base."),
    "blank": ("Compared to ___. The heart is large.", ["Compared to ___.", "The heart is large."]),
    "blank name": same("Findings told to Dr. ___ at 9:30."),
    "blank opens": ("Small effusion. ___ was told.", ["Small effusion.", "___ was told."]),
    "glued percent": ("SpO2 95%.Then it fell.", ["SpO2 95%.", "Then it fell."]),
    "glued word": ("Airway disease.There are opacities.", ["Airway disease.", "There are opacities."]),
    "glued number": ("Stage 3.No change.", ["Stage 3.", "No change."]),
    "address": same("See www.radiopaedia.Org or a@b.Com for it."),
    "ellipsis": ("Opacity... unchanged. Unclear... The heart.", ["Opacity... unchanged.", "Unclear...", "The heart."]),
    "question": ("Is it TB? Yes! Treat.", ["Is it TB?", "Yes!", "Treat."]),
    "query": same("Cough ? Pneumonia on the right"),
    "encoding wreck": same("Fever (38?C) and dyspnea."),
    "quote after stop": ('Read as "normal." Later changed.', ['Read as "normal."', "Later changed."]),
    "bracket after stop": ("(Not shown.) Heart normal.", ["(Not shown.)", "Heart normal."]),
    "quote opens": ('Clear. "Paving" is seen.', ["Clear.", '"Paving" is seen.']),
    "lower case after stop": ("lungs are clear. no effusion.", ["lungs are clear.", "no effusion."]),
    "shortened word": same("Bilat. opacities and resp. failure."),
    "shortened last": ("Opacities bilat. Heart normal.", ["Opacities bilat.", "Heart normal."]),
    "double stops": ("Lungs clear.. Heart normal. . Done.", ["Lungs clear..", "Heart normal.", "Done."]),
    "list on a line": ("1. Mild edema. 2. No effusion.", ["Mild edema.", "No effusion."]),
    "list without stops": ("1. Mild edema 2. No effusion 3. Cyst", ["Mild edema", "No effusion", "Cyst"]),
    "list on lines": ("1) Mild edema\n2) no effusion", ["Mild edema", "no effusion"]),
    "list after units": ("1. Cyst of 4 mm. 2. No effusion.", ["Cyst of 4 mm.", "No effusion."]),
    "list after colon": ("Seen are: 1. Edema 2. Cyst", ["Seen are:", "Edema", "Cyst"]),
    "not a list": same("Grade 2 disease of 12 (2) nodes, 1.5 cm"),
    "bullets": ("- Mild edema\n• No effusion\n* Cyst\n-Nodule", ["Mild edema", "No effusion", "Cyst", "Nodule"]),
    "side in brackets": same("(L) lower lobe opacity."),
    "letters": ("a) edema\nb) effusion", ["edema", "effusion"]),
    "lines without stops": ("Heart normal\nNo effusion\nSmall nodule", ["Heart normal", "No effusion", "Small nodule"]),
    "blank line": ("the heart is\n\nnormal", ["the heart is", "normal"]),
    "carriage returns": ("Heart normal\r\nNo effusion", ["Heart normal", "No effusion"]),
    "wrapped": (
        WRAPPED,
        [
            "The lungs are hyperinflated, in keeping with the known chronic\nobstructive disease.",
            "There is a new opacity beside the left\n"
            "PICC line, which may be pneumonia in the setting of a fever of\n38.5 degrees",
            "Heart normal",
        ],
    ),
    "wrapped at a title": same("The tube was moved by Dr.\nSmith at noon."),
    "comma at a line's end": same("Compared with CT,\nMRI and PET."),
    "heading": ("IMPRESSION: No acute disease.", ["No acute disease."]),
    "heading alone": ("FINDINGS:\nLungs clear.\n\nIMPRESSION:\nNormal.", ["Lungs clear.", "Normal."]),
    "heading without colon": ("FINAL REPORT\nFindings\nLungs clear.", ["Lungs clear."]),
    "heading inside": ("Cough. Imaging Notes: Lungs clear. Discussion: Old.", ["Cough.", "Lungs clear.", "Old."]),
    "heading flattened": (
        "EXAMINATION: CHEST (PA AND LAT) INDICATION: ___F with cough TECHNIQUE: PA",
        ["CHEST (PA AND LAT)", "___F with cough", "PA"],
    ),
    "headings of many words": ("REASON FOR THIS EXAM: fall\nCLINICAL HISTORY: none", ["fall", "none"]),
    "heading before a list": ("IMPRESSION:\n1. Edema\n2. Cyst", ["Edema", "Cyst"]),
    "topic": same("Heart: normal."),
    "topic on its line": same("LUNGS:\nClear."),
    "findings in prose": same("No acute\nfindings are seen."),
    "chinese": ("双肺清晰。心影正常！无积液", ["双肺清晰。", "心影正常！", "无积液"]),
    "german": ("Kein Erguss. Übrige Lunge frei.", ["Kein Erguss.", "Übrige Lunge frei."]),
    "arabic": ("الرئتان صافيتان. القلب طبيعي", ["الرئتان صافيتان.", "القلب طبيعي"]),
    "outer space": ("  \n Heart normal. \t ", ["Heart normal."]),
    "no stop": same("Heart normal"),
    "nothing": ("", []),
    "spaces": (" \n\t ", []),
    "punctuation": ("... --- ___ .", []),
    "heading and no more": ("FINDINGS:", []),
}


@pytest.mark.parametrize("document, expected", CASES.values(), ids=CASES)
def test_hard_cases(document, expected):
    assert sentences(document) == expected


# Pieces that make trouble when they meet, and none of which is a list mark or a section's name by itself.
PIECES = st.sampled_from(
    ["Heart", "normal", "Dr.", "3.5", "cm.", "e.g.", "J.", "No.", "q.i.d.", "95%.Then", "___", "Über", "肺", "%"]
) | st.sampled_from(
    [" ", "  ", "\u2003", "\n", "\n\n", "\r\n", ". ", ".", "..", "? ", "! ", ", ", "…", "。", ":", "(", '"']
)
WORD = re.compile(r"[^\W_]+")


def check_spans(document):
    spans = split(document)
    bounds = [bound for span in spans for bound in span]
    assert bounds == sorted(bounds)
    for start, end in spans:
        text = document[start:end]
        assert text == text.strip()
        assert any(c.isalnum() for c in text)
    return [document[a:b] for a, b in zip([0, *bounds[1::2]], [*bounds[::2], len(document)], strict=True)]


@settings(max_examples=300)
@given(st.lists(PIECES, max_size=30).map("".join))
def test_nothing_with_a_letter_is_lost(document):
    for left_out in check_spans(document):
        assert not WORD.search(left_out)


@settings(max_examples=300)
@given(st.text(max_size=80) | st.text(alphabet="aivZÜ肺19.)( \n-:%?", max_size=80))
def test_any_text(document):
    for left_out in check_spans(document):
        # List marks are all that a random text can lose: at most two digits, one letter or a Roman number.
        assert all(re.fullmatch(r"\d{1,2}|[a-h]|[ivx]{1,4}", word) for word in WORD.findall(left_out))


@settings(max_examples=100)
@given(st.lists(st.sampled_from(["Heart normal.", "No effusion.", "A 3.5 cm cyst.", "Seen by Dr. Lee."]), max_size=8))
def test_sentences_come_back_however_they_are_joined(parts):
    for joint in (" ", "\n", "\n\n", "  \r\n"):
        assert sentences(joint.join(parts)) == parts
    numbered = " ".join(f"{i}. {part}" for i, part in enumerate(parts, 1))
    assert sentences(numbered) == parts


def test_long_documents():
    assert len(split("Seen by Dr. Lee at 3.5 cm. " * 5_000)) == 5_000
    assert split(" " * 100_000 + "." * 100_000) == []
