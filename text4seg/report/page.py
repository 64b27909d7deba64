"""``report.html``: one file that needs nothing else, no network and no server.

Every text that comes from data or from a model is escaped.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any, NamedTuple

from text4seg.decoding.settings import OFF

from .overlay import palette
from .table import MEANINGS

Report = Mapping[str, Any]
SURE = {"mean": "mean confidence", "ranks_iou": "confidence against IoU (Spearman)"}
STYLE = """
:root{--ink:#1c2024;--faint:#667078;--line:#dde3e8;--soft:#f5f7f9;--good:#2f7d4f;--bad:#c0392b}
*{box-sizing:border-box}body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);margin:0}
header{padding:28px 5vw 12px;border-bottom:1px solid var(--line)}main{padding:0 5vw 60px;max-width:1500px}
nav a{margin-right:18px;color:var(--faint)}h1{font-size:24px;margin:0 0 4px}h2{margin:34px 0 10px;font-size:18px}
table{border-collapse:collapse;margin:6px 0}td,th{padding:3px 14px 3px 0;text-align:left;vertical-align:top}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}thead th{border-bottom:1px solid var(--line)}
tbody tr:nth-child(odd){background:var(--soft)}.faint{color:var(--faint)}
.cols{display:flex;align-items:flex-start;flex-wrap:wrap;gap:10px 60px}
.bar{display:inline-block;height:9px;background:#8fb8de;vertical-align:middle}.wide{overflow-x:auto}
.gallery{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(430px,100%),1fr));gap:16px}
.card{border:1px solid var(--line);border-radius:6px;padding:10px}.card img{max-width:100%;display:block;margin:6px 0}
.tag{border:1px solid var(--line);border-radius:10px;padding:0 8px;font-size:12px;margin-right:4px}
.invalid{color:var(--bad);border-color:var(--bad)}.ok{color:var(--good);border-color:var(--good)}
pre{white-space:pre-wrap;background:var(--soft);padding:8px;max-height:220px;overflow:auto;font-size:12px}
.confusion td.n{padding:2px 8px}.confusion th{font-weight:500;font-size:12px}
.legend{font-size:12px}.legend span{white-space:nowrap}
.legend i{display:inline-block;width:10px;height:10px;margin:0 4px 0 8px}
select,button{font:inherit;margin-right:12px}
"""
SCRIPT = """
const cards=[...document.querySelectorAll('.card')],box=document.querySelector('.gallery');
function pick(){const s=status_.value,t=task_.value;let n=0;
 for(const c of cards){const on=(!s||c.dataset.status===s)&&(!t||c.dataset.task===t);c.hidden=!on;n+=on}
 shown.textContent=n+' shown'}
const status_=document.getElementById('status'),task_=document.getElementById('task'),
 shown=document.getElementById('shown'),turn=document.getElementById('turn');
status_.onchange=task_.onchange=pick;
turn.onclick=()=>{cards.reverse().forEach(c=>box.append(c));
 turn.textContent=turn.textContent==='best first'?'worst first':'best first'};pick();
"""


class Card(NamedTuple):
    """One item of the gallery: its line of ``items.jsonl``, and its picture strip as a data URL."""

    line: Mapping[str, Any]
    strip: str


def page(report: Report, cards: Sequence[Card]) -> str:
    """The whole page.

    Args:
        report: what ``report.json`` holds.
        cards: the gallery, in the order in which it is shown.
    """
    parts = {
        "scores": ("Scores", _scores(report)),
        "classes": ("Classes", _classes(report["classes"])),
        "confusion": ("Confusion", _confusion(report["confusion"])),
        "breakdown": ("Breakdown", _breakdown(report)),
        "answers": ("Answers", _answers(report)),
        "matches": ("Words read as labels", _matches(report["matches"])),
        "gallery": ("Gallery", _gallery(cards) if cards else ""),
    }
    parts = {name: part for name, part in parts.items() if part[1] and report["scores"]}
    parts |= {"words": ("Answers in words", _words(report["words"]))} if report["words"] else {}
    parts["made"] = ("Made with", _made(report))
    links = "".join(f'<a href="#{name}">{title}</a>' for name, (title, _) in parts.items())
    body = "".join(f'<h2 id="{name}">{title}</h2>{text}' for name, (title, text) in parts.items())
    title = f"{escape(report['run'])}: {escape(report['name'])}"
    files = '<a href="report.json">report.json</a> <a href="items.jsonl">items.jsonl</a>'
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><style>{STYLE}</style>'
        f'<header><h1>{title}</h1><div class="faint">{report["items"]} questions about {report["pictures"]} pictures, '
        f"{escape(report['shards'])}</div><nav>{links}{files}</nav></header><main>{body}</main>"
        f"{f'<script>{SCRIPT}</script>' if 'gallery' in parts else ''}</html>\n"
    )


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]], numbers: Iterable[int] = (), kind: str = "") -> str:
    """A table; cells are HTML already, `numbers` are the columns that align right."""
    right = set(numbers)

    def cells(tag: str, values: Sequence[str]) -> str:
        return "".join(f"<{tag}{' class=n' if i in right else ''}>{value}</{tag}>" for i, value in enumerate(values))

    body = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    return f'<table class="{kind}"><thead><tr>{cells("th", heads)}</tr></thead><tbody>{body}</tbody></table>'


def _scores(report: Report) -> str:
    scores, spread = report["scores"], report["wordings"].get("spread", {})
    heads = ["score", "value", "", "ceiling", "before refining", "published arithmetic", ""]
    rows = []
    for name, meaning in MEANINGS.items():
        if name in scores:
            beside = [scores.get(f"{kind}_{name}") for kind in ("ceiling", "coarse", "legacy")]
            bar = f'<span class="bar" style="width:{100 * scores[name]:.0f}px"></span>'
            rows.append([f"<b>{name}</b>", f"<b>{scores[name]:.4f}</b>", bar, *map(_number, beside), escape(meaning)])
    empty = {column for column in (3, 4, 5) if not any(row[column] for row in rows)}
    heads, *rows = ([cell for i, cell in enumerate(row) if i not in empty] for row in (heads, *rows))
    table = _table(heads, rows, (1, *range(3, len(heads) - 1)))
    note = (
        '<p class="faint">The ceiling is what a perfect grid of this size reaches; a refiner may pass it. The '
        "published arithmetic is what the authors' scripts print for the same masks: it never compares the written "
        "label with the question, counts an unreadable answer as an empty mask, and never charges background.</p>"
    )
    if not spread:
        return table + note
    rows = [
        [name, *(f"{scores[name]:.4f}" if name in scores else "",), *(f"{spread[name][k]:.4f}" for k in KEYS)]
        for name in MEANINGS
        if name in spread
    ]
    count = len(report["wordings"]["each"])
    return table + note + f"<h3>Over {count} wordings</h3>" + _table(["score", "mean", *KEYS], rows, (1, 2, 3, 4))


KEYS = ("deviation", "lowest", "highest")


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _classes(classes: Sequence[Mapping[str, Any]]) -> str:
    if not classes:
        return ""
    heads = ["class", "IoU", "IoU without background", "pixels found", "pixels right", "pixels"]
    rows = [
        [
            escape(row["label"]),
            *("" if row[k] is None else f"{row[k]:.3f}" for k in ("iou", "iou_nobg", "accuracy", "precision")),
            str(row["pixels"]),
        ]
        for row in sorted(classes, key=lambda row: row["iou"])
    ]
    return _table(heads, rows, range(1, 6))


def _confusion(table: Mapping[str, Any]) -> str:
    rows = []
    for name, counts in zip(table["rows"], table["counts"], strict=True):
        whole = max(1, sum(counts))
        cells = [
            f'<span style="background:rgba(80,140,200,{n / whole:.2f});padding:1px 5px">{n / whole:.0%}</span>'
            if table["unit"] == "pixels"
            else str(n)
            for n in counts
        ]
        rows.append([escape(name), *cells])
    heads = [f"{table['unit']}: there / written", *map(escape, table["columns"])]
    return f'<div class="wide">{_table(heads, rows, range(1, len(heads)), "confusion")}</div>'


def _breakdown(report: Report) -> str:
    tables = []
    for key, title in (("by_size", "target's share"), ("by_length", "answer's length"), ("by_task", "task")):
        rows = [
            [escape(row["group"]), str(row["items"]), *(f"{row[k]:.3f}" for k in ("gIoU", "ceiling_gIoU", "cIoU"))]
            for row in report[key]
        ]
        tables.append(_table([title, "items", "gIoU", "ceiling", "cIoU"], rows, (1, 2, 3, 4)))
    return f'<div class="cols">{"".join(tables)}</div>'


def _matches(matches: Sequence[Mapping[str, Any]]) -> str:
    if not matches:
        return ""
    rows = [
        [escape(row["word"]), escape(row["label"]), row["how"], _number(row["near"]), str(row["times"])]
        for row in matches
    ]
    return _table(["written", "read as", "how", "cosine", "answers"], rows, (3, 4))


def _words(words: Mapping[str, Any]) -> str:
    head = f"<p><b>VQA accuracy {words['VQA']:.4f}</b> over {words['items']} questions; the lowest:</p>"
    rows = [
        [escape(row["question"]), escape(row["text"]), escape(" | ".join(row["references"])), f"{row['accuracy']:.2f}"]
        for row in words["worst"]
    ]
    return head + _table(["question", "answer", "references", "accuracy"], rows, (3,))


def _answers(report: Report) -> str:
    items = max(1, sum(report["statuses"].values()))
    statuses = [[escape(name), str(n), f"{n / items:.1%}"] for name, n in report["statuses"].items()]
    repairs = [[escape(name), str(n)] for name, n in report["repairs"].items()]
    tables = _table(["status", "answers", ""], statuses, (1, 2))
    per_mask = [[f"{name} a mask", f"{value:.4g}"] for name, value in report["timing"]["per_mask"].items()]
    outside = report["left_language"]
    kept = [["left the language of descriptors", f"{outside} ({outside / items:.1%})"]]
    if report["settings"].get("decoding", {}).get("grammar") == OFF:  # nobody looked
        kept = []
    known = {name: value for name, value in report["confidence"].items() if value is not None}
    sure = [[SURE[name], f"{value:.3f}"] for name, value in known.items()]
    tables += _table(["decoding", ""], [*per_mask, *kept, *sure], (1,))
    tables += _table(["most frequent repairs", "times"], repairs, (1,)) if repairs else ""
    left = [[escape(line)] for line in report["left_out"]]
    return f'<div class="cols">{tables}</div>' + (_table(["left out: cannot be read"], left) if left else "")


def _gallery(cards: Sequence[Card]) -> str:
    def options(name: str) -> str:
        values = sorted({card.line[name] for card in cards})
        every = "".join(f"<option>{escape(value)}</option>" for value in values)
        return f'<select id="{name}"><option value="">every {name}</option>{every}</select>'

    head = f'<p>{options("status")}{options("task")}<button id="turn">best first</button><span id="shown"></span></p>'
    return (
        head
        + '<p class="faint">Picture, truth, answer.</p><div class="gallery">'
        + "".join(map(_card, cards))
        + "</div>"
    )


def _card(card: Card) -> str:
    line = card.line
    tags = f'<span class="tag {escape(line["status"])}">{escape(line["status"])}</span>'
    strange = line["tally"]["labels"][len(line["labels"]) :]
    tags += f'<span class="tag">not asked for: {escape(", ".join(strange[:3]))}</span>' if line["unmatched"] else ""
    tags += '<span class="tag">nothing marked</span>' if line["tally"]["all_others"] else ""
    repairs = "".join(f"<li>{escape(what)}</li>" for what in line["repairs"])
    place = f"{line['key']}, turn {line['turn']}"
    left = "" if line["left"] is None else f", left the language at token {line['left']}"
    sure = "" if line.get("confidence") is None else f", confidence {line['confidence']:.2f}"
    return (
        f'<div class="card" data-status="{escape(line["status"])}" data-task="{escape(line["task"])}">'
        f'<b>IoU {line["iou"]:.3f}</b> <span class="faint">ceiling {line["ceiling"]:.3f}</span> {tags}'
        f'<img loading="lazy" alt="picture, truth, answer" src="{card.strip}">{_legend(line)}{escape(line["question"])}'
        f'<details><summary class="faint">{escape(place)}, {line["tokens"]} tokens{left}{sure}</summary>'
        f"<ul>{repairs}</ul><pre>{escape(line['text'])}</pre></details></div>"
    )


def _legend(line: Mapping[str, Any]) -> str:
    """Which colour is which label, of those that are there or were written; nothing where only one was asked for."""
    names = line["labels"]
    if len(names) < 3:
        return ""
    pixels = line["tally"]["views"][""]["pixels"]
    present = sorted({i for true, guess, _ in pixels for i in (true, guess) if 0 < i < len(names)})
    colours = palette(len(names) - 1)
    marks = (f'<span><i style="background:rgb{colours[i - 1]}"></i>{escape(names[i])}</span> ' for i in present)
    return f'<div class="legend">{"".join(marks)}</div>'


def _made(report: Report) -> str:
    rows = [[name, _plain(report[name])] for name in ("timing", "stamp", "settings")]
    return _table(["", ""], rows)


def _plain(value: Any) -> str:
    return f"<pre>{escape(json.dumps(value, indent=1))}</pre>"
