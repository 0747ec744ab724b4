"""Sentences: where a document's sentences begin and end.

Rules, not a model: clinical text is telegraphic ("Heart normal"), abbreviated ("approx. 4 mm"), listed ("1. Mild edema.
2. No effusion."), wrapped at 70 columns or flattened to one line, and a rule can be read, tested and mended. The
abbreviations and section names are English; other languages and scripts are split by their stops and line breaks.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Something always follows these, so their stop never ends a sentence.
_NEVER_LAST = _words(
    "dr drs mr mrs ms prof st vs cf eg ie e.g i.e viz ca circa approx incl esp fig figs vol pp ref refs vit w"
)
# These may stand last: their stop ends a sentence unless a lower-case word or a number goes on ("bilat. opacities",
# "max. 3 cm", "9 a.m. on Monday").
_MAY_BE_LAST = _words(
    """
    etc al inc ltd jr sr ext bilat lat ant post sup inf med dist prox abd resp diff mod prob poss susp excl max min avg
    est temp wt ht sat neg pos pt pts hx tx dx rx sx fx dept art sec ch mm cm kg mg ml hr hrs mins wk wks mo mos yr yrs
    am pm a.m p.m jan feb mar apr jun jul aug sep sept oct nov dec
    """
)
# After an initial or a lone letter only a word that opens sentences tells "hepatitis B. No ..." from "J. Smith".
_OPENERS = _words(
    """
    a an the there this that these those it its he she they we in on at of for from with without no not none is are was
    were if as and but also however although compared since patient heart cardiac lung lungs pleural mediastinal bones
    right left both bilateral mild moderate severe small large new stable unchanged normal clear images findings
    impression follow please recommend
    """
)
# A line cannot end a sentence with one of these: it goes on below.
_DANGLING = _words(
    """
    a an the this of and or but nor with without in on at to from by for into within between than as is are was were
    be been has have had not which that measuring approximately
    """
)

# "IMPRESSION: No acute disease." is about disease, not about impressions, so a section's name is left out. Any other
# topic carries meaning ("Heart: normal.", "LUNGS: clear.") and stays with what is said about it.
_SECTION = (
    r"(?:(?:final|preliminary|wet|radiology|clinical|past|medical|surgical|brief|case|imaging|patient) +)*"
    r"(?:(?:reason|indication) +for +(?:the +|this +)?(?:exam(?:ination)?|study|test)"
    r"|history +of +present(?:ing)? +illness|findings?|impressions?|conclusions?|opinion|summary|comparisons?"
    r"|techniques?|procedure|protocol|indications?|history|information|details|exam(?:ination)?"
    r"|recommendation(?:s|\(s\))?|addendum|notification|report|read|presentation|discussion|notes?)"
)
# With a colon in any case; without one only as a line of its own that begins with a capital.
_HEADING = rf"{_SECTION} *:|(?-i:(?=[A-Z])){_SECTION}(?=[ \t]*(?:[\r\n]|$))"
_HEADING_LINE = re.compile(_HEADING, re.IGNORECASE)
# In flattened reports a section may follow without any stop; capitals and a colon tell it from prose.
_FLAT_HEADING = re.compile(rf"(?<!\S){_SECTION.upper()}:")

_BULLET = r"[-–—•·*‣◦●○■□▪►➢>]+(?=\s|[^\W\d_])"
# "(L) effusion" is a side and not a list letter, so a letter has no opening bracket.
_NUMBER = r"(?:\(?\d{1,2}[.)]|(?-i:\(?[ivx]{1,4}\)|[a-h]\)))(?=\s|[^\W\d_]|$)"
_MARK_LINE = re.compile(rf"{_BULLET}|{_NUMBER}")
# All that may stand before a sentence and is no part of it; a stray stop is one, but not the point of ".5 cm".
_LEAD = re.compile(rf"(?:\s+|[.,;:]+(?!\d)|{_BULLET}|{_NUMBER}|{_HEADING})*", re.IGNORECASE)
_ITEM = re.compile(r"(?<!\S)\(?(\d{1,2})[.)]\s*(?=[^\W\d_])")

_BREAK = re.compile(r"(?<![^\S\r\n])[^\S\r\n]*(?:\r\n|\r|\n)\s*")
_STOP = re.compile(r"[.!?…]+[\"'”’»)\]]*|[。！？｡।॥۔؟]+[」』”’）)]*")
_ABBREVIATED = re.compile(r"(?:[^\W\d_]{1,2}\.)+[^\W\d_]{1,2}")
_WORD = re.compile(r"[^\W\d_]+")
_SPACES = re.compile(r"\s*")


def split(document: str) -> list[tuple[int, int]]:
    """Spans of the sentences of a document, in order, so that ``document[start:end]`` is a sentence.

    Every character that is not white space is in exactly one span, except: section names ("FINDINGS:", in any case
    before a colon, or alone on a line), list numbers and bullets before an item, and runs of punctuation without a
    letter or digit. Spans do not overlap, are never empty, and have no white space at their ends.

    A stop ends a sentence unless it belongs to a number, an abbreviation or an initial. A line break ends one before a
    blank line, a list item or a section; else it does not when the line cannot end there ("of", "Dr.", a comma, a
    colon), when the next begins in lower case, or, in a document wrapped that way, when the next word would not have
    fitted. Texts without capitals or without lower case are split by the same rules, less what case would have told.

    Example:
        >>> text = "IMPRESSION: 1. Nodule of approx. 3.5 cm, per Dr. Lee 2. No effusion"
        >>> [text[start:end] for start, end in split(text)]
        ['Nodule of approx. 3.5 cm, per Dr. Lee', 'No effusion']
    """
    spans = []
    # Where no lower case exists, capitals do not mark acronyms: "DR. LEE" is a title there, "MR. The" is not.
    shouted = document == document.upper()
    for left, right in _blocks(document):
        start = _skip(document, left, right)
        for stop in _STOP.finditer(document, start, right):
            if stop.start() >= start and _ends(document, start, stop, right, shouted):
                spans.append((start, stop.end()))
                start = _skip(document, stop.end(), right)
        spans.append((start, start + len(document[start:right].rstrip())))
    return [(start, end) for start, end in spans if any(c.isalnum() for c in document[start:end])]


def _skip(document: str, left: int, right: int) -> int:
    lead = _LEAD.match(document, left, right)
    return lead.end() if lead else left


def _blocks(document: str) -> Iterator[tuple[int, int]]:
    """Pieces that no sentence crosses."""
    cuts = {0, len(document), *_lines(document), *_items(document)}
    cuts |= {heading.start() for heading in _FLAT_HEADING.finditer(document)}
    yield from pairwise(sorted(cuts))


def _lines(document: str) -> Iterator[int]:
    """Starts of the lines before which a sentence must have ended."""
    breaks = list(_BREAK.finditer(document))
    starts = [0, *(b.end() for b in breaks)]
    lines = [document[start : b.start()] for start, b in zip(starts, breaks, strict=False)]
    cased = document != document.lower()
    lower = [cased and document[b.end() : b.end() + 1].islower() for b in breaks]
    # A line that goes on in lower case proves that the text is wrapped; its longest line is then the paper's width.
    wrapped = any(low and not line.endswith((".", "!", "?")) for low, line in zip(lower, lines, strict=True))
    width = max(map(len, lines), default=0) if wrapped else 0
    for line, low, b in zip(lines, lower, breaks, strict=True):
        blank = len(re.findall(r"\r\n|\r|\n", b[0])) > 1
        if blank or _MARK_LINE.match(document, b.end()) or _HEADING_LINE.match(document, b.end()):
            yield b.end()
            continue
        last = line.split()[-1].lower() if line.split() else ""
        dangles = last in _DANGLING or last.endswith((",", ":", "-", "/", "(")) or last.rstrip(".") in _NEVER_LAST
        following = document[b.end() : b.end() + 100].split()
        full = len(line) + 1 + len(following[0] if following else "") > width
        if not (dangles or low or (wrapped and full)):
            yield b.end()


def _items(document: str) -> Iterator[int]:
    """Starts of list items inside a line: "1." after a colon or a line break, then 2, 3, ... even without a stop."""
    expected = 0
    for item in _ITEM.finditer(document):
        before = document[: item.start()].rstrip(" \t")[-1:]
        opens = before in ("", *"\r\n.!?:;")
        number = int(item[1])
        # In mid-sentence the number must be the next one and a capital must follow: "1. Mild edema 2. No effusion".
        if number == expected and (opens or not document[item.end()].islower()):
            expected += 1
            yield item.start()
        elif number == 1 and opens:
            expected = 2
            if before in (":", ";"):
                yield item.start()


def _ends(document: str, start: int, stop: re.Match[str], right: int, shouted: bool) -> bool:
    """Whether a sentence that began at ``start`` ends with this stop."""
    mark, before = stop[0], document[max(start, stop.start() - 60) : stop.start()]
    spaces = _SPACES.match(document, stop.end(), right)
    rest = document[spaces.end() : min(spaces.end() + 40, right)] if spaces else ""
    if mark[0] not in ".!?…" or not rest:
        return True
    words = before.split()
    word = words[-1].lstrip("([{\"'“‘«") if words and not before[-1].isspace() else ""
    if spaces and not spaces[0]:  # "38.5" and "www.x.org", but also "clear.The heart".
        opens = rest[0].isupper() and (rest[1:2].isalpha() or rest[:2] in ("A ", "I "))
        closes = before[-1:].islower() or before[-1:].isdigit() or before[-1:] in tuple("%)_")
        if mark[0] != "." or not (opens and closes) or "://" in word or "@" in word or word.startswith("www."):
            return False
    goes_on = rest[0].islower()
    if "?" in mark or "!" in mark:
        return not goes_on and not before[-1:].isspace()  # "? TB" asks about TB, it does not end a question.
    if "…" in mark or "..." in mark:
        return not goes_on
    acronym = word.isupper() and len(word) > 1 and word != "DR" and not shouted
    if not acronym and (word.lower() in _NEVER_LAST or (word.lower() == "no" and rest[0].isdigit())):
        return False
    letter = len(word) == 1 and word.lower() != word.upper()
    if letter and len(words) > 1 and words[-2][0].isdigit():
        return not goes_on  # A unit: "38.2 C. Cough", "5 g. Then".
    if letter or (_ABBREVIATED.fullmatch(word) and word[-1].isupper()):
        opener = _WORD.match(rest)
        return opener is not None and opener[0].lower() in _OPENERS
    if _ABBREVIATED.fullmatch(word) or (word.lower() in _MAY_BE_LAST and not acronym):
        return not goes_on and not rest[0].isdigit()
    return True
