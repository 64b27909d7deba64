"""The report in a real browser: it asks for nothing, shows its pictures, and its links, filters and order work."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from fake_item import FakeItem

from text4seg.descriptors import encode, parse, rasterize
from text4seg.metrics.board import ScoreBoard
from text4seg.report.page import Card, page
from text4seg.report.pictures import _strip
from text4seg.report.questions import Question
from text4seg.report.record import record
from text4seg.report.summary import summarise

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install 'text4seg[browser]'")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
if CHROMIUM is None:
    pytest.skip("needs a browser: apt install chromium, or Google Chrome", allow_module_level=True)


def answered() -> list[tuple[FakeItem, str]]:
    """Six questions: a perfect answer, a shifted one, one in a strange word, one unreadable; two about classes."""
    mask = np.zeros((32, 48), np.uint8)
    mask[8:24, 12:36] = 1
    one, two = FakeItem(mask, turn=0), FakeItem(mask, turn=1, task="generalized")
    classes = FakeItem(np.maximum(mask, 2 * np.eye(32, 48, dtype=np.uint8)), ("others", "a <b>", "c"), task="partial")
    good = encode(rasterize(mask, one.labels, one.size))
    kinds = encode(rasterize(classes.mask, classes.labels, classes.size))
    return [
        (one, good),
        (one, good.replace("red car *2", "red car *1", 1)),
        (two, good.replace("red car", "lorry")),
        (two, "no idea"),
        (classes, kinds),
        (classes, "others *4\n" * 4),
    ]


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> Path:
    board, lines, cards = ScoreBoard(merged=False), [], []
    for number, (item, text) in enumerate(answered()):
        item.key = f"picture-{number}"
        decoded = parse(text, item.size, item.codec, item.labels[1:])
        lines.append(record(Question(item), decoded, board.update(decoded, item), 40 + 100 * number))  # type: ignore[arg-type]
        cards.append(Card(lines[-1], _strip(item, lines[-1])))  # type: ignore[arg-type]
    words = {"items": 1, "VQA": 0.5, "worst": [{"question": "?", "text": "a", "references": ["b"], "accuracy": 0.5}]}
    made = {"name": "val", "run": "runs/mine", "shards": "shards/mine", **summarise(lines), "words": words}
    made |= {"left_out": [], "timing": {"per_mask": {}}, "stamp": {}, "settings": {}}
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(page(made, sorted(cards, key=lambda card: card.line["iou"])), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield opened
        opened.close()


def test_the_report_in_a_browser(report, browser):
    view = browser.new_page(viewport={"width": 1200, "height": 800})
    asked, wrong = [], []
    view.on("request", lambda request: asked.append(request.url))
    view.on("pageerror", lambda error: wrong.append(str(error)))
    view.on("console", lambda message: wrong.append(message.text))
    view.goto(report.as_uri())
    shown = view.locator(".card:visible")
    assert shown.count() == 6
    assert view.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), "nothing runs out of the page"

    links = view.locator("nav a[href^='#']").evaluate_all("all => all.map(link => link.getAttribute('href'))")
    assert links[0] == "#scores"
    assert {"#gallery", "#words", "#classes"} <= set(links)
    for link in links:
        view.click(f"nav a[href='{link}']")
        assert view.locator(link).is_visible(), link
        assert view.url.endswith(link)

    for card in shown.all():
        card.scroll_into_view_if_needed()
    view.wait_for_function("[...document.images].every(image => image.complete && image.naturalWidth > 100)")

    view.select_option("#status", "invalid")
    assert shown.count() == 1
    assert view.inner_text("#shown") == "1 shown"
    view.select_option("#task", "partial")
    assert shown.count() == 0
    view.select_option("#status", "")
    assert shown.count() == 2
    view.select_option("#task", "")
    before = [card.inner_text() for card in shown.all()]
    view.click("#turn")
    assert [card.inner_text() for card in shown.all()] == before[::-1]
    assert view.inner_text("#turn") == "worst first"

    shown.first.locator("summary").click()
    assert "others *" in shown.first.locator("pre").inner_text()
    assert "not asked for: lorry" in view.inner_text(".gallery")
    assert "a <b>" in view.inner_text(".legend >> nth=0")
    assert wrong == []
    assert [url for url in asked if not url.startswith("data:")] == [report.as_uri()], "offline"
