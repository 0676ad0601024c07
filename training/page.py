"""A page of HTML that needs nothing but itself: light and dark, on a phone and in print. All text is escaped here."""

import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape

STYLE = """
:root { color-scheme: light dark; --ink: #22303c; --line: #d5dbe0; --paper: #fff; --code: #f1f4f6 }
@media screen and (prefers-color-scheme: dark) {
  :root { --ink: #e3e8ec; --line: #3a4650; --paper: #14191e; --code: #212930 } }
* { box-sizing: border-box }
body { font: 1rem/1.55 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  max-width: 48rem; margin: 0 auto; padding: 1rem 1rem 3rem; overflow-wrap: break-word }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 1rem 0 }
h2 { font-size: 1.15rem; margin: 2.2rem 0 .6rem; border-top: 1px solid var(--line); padding-top: 1rem }
p { margin: .6rem 0 }
figure, .wide { margin: 1rem 0; overflow-x: auto }
svg { display: block; max-width: 100%; min-width: min(100%, 30rem); height: auto }
@media (max-width: 30rem) { svg { min-width: 30rem } }
table { border-collapse: collapse; font-size: .9rem }
th, td { text-align: left; padding: .3rem .9rem .3rem 0; border-bottom: 1px solid var(--line); vertical-align: top }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; padding: .3rem 0 .3rem .9rem }
td.word { overflow-wrap: anywhere }
code, pre { font: .85rem/1.45 ui-monospace, monospace; background: var(--code); border-radius: .2rem }
code { padding: .1rem .25rem }
pre { padding: .6rem; overflow-x: auto }
@media print { body { max-width: none; font-size: 10pt; padding: 0 } figure, tr { break-inside: avoid }
  h2 { break-after: avoid } svg { min-width: 0 } pre { white-space: pre-wrap } }
"""


def page(title: str, lead: str, sections: Mapping[str, str]) -> str:
    """Return the whole page: a lead and a section of HTML under each heading; what is empty has no heading."""
    body = "\n".join(f"<h2>{escape(head)}</h2>\n{html}" for head, html in sections.items() if html)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n"
        f"<body>\n<h1>{escape(title)}</h1>\n{lead}{body}\n</body>\n</html>\n"
    )


def prose(text: str) -> str:
    """Return paragraphs, parted by empty lines; `…` is code."""
    paragraphs = (re.sub("`([^`]+)`", r"<code>\1</code>", escape(part.strip())) for part in text.split("\n\n"))
    return "".join(f"<p>{part}</p>\n" for part in paragraphs if part)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table of numbers; the first column says whose they are."""
    return _table(f"<thead>{_row('th', head, 'number')}</thead>\n{''.join(_row('td', row, 'number') for row in rows)}")


def facts(told: Mapping[str, str]) -> str:
    """Return a table of words, each beside its name."""
    return _table("".join(_row("td", row, "word") for row in told.items()))


def _table(rows: str) -> str:
    return f'<div class="wide"><table>\n{rows}</table></div>\n'


def _row(tag: str, cells: Sequence[str], kind: str) -> str:
    first, *others = (f">{escape(cell)}</{tag}>" for cell in cells)
    return f"<tr><{tag}{first}{''.join(f'<{tag} class={kind}{cell}' for cell in others)}</tr>\n"


def figure(svg: str) -> str:
    """Return a figure; the SVG is taken as it is."""
    return f"<figure>{svg}</figure>\n"


def verbatim(text: str) -> str:
    """Return text as it is written."""
    return f"<pre>{escape(text)}</pre>\n"
