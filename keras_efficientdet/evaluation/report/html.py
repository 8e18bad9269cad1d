"""One HTML file that needs nothing else: no scripts, no network, pictures inside."""

import base64
import html
import math

_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; color: #1c1c1c; background: #fff; max-width: 1080px; margin: 2em auto;
  padding: 0 1em }
h1 { font-size: 1.6em; margin-bottom: .2em }
h2 { font-size: 1.15em; margin: 2em 0 .5em; border-bottom: 1px solid #ccc }
table { border-collapse: collapse; margin: .6em 0 }
th, td { padding: .2em .8em .2em 0; text-align: left; vertical-align: top; overflow-wrap: anywhere }
th { border-bottom: 1px solid #888; font-weight: 600 }
td { border-bottom: 1px solid #eee }
.number { text-align: right; font-variant-numeric: tabular-nums }
img { max-width: 100%; max-height: 34em; height: auto }
figure { margin: 0; break-inside: avoid }
figcaption, .note { color: #555; font-size: .88em }
.gallery { display: grid; grid-template-columns: repeat(2, 1fr); gap: 1em }
@page { margin: 1.5cm }
@media print {
  body { margin: 0; max-width: none; font-size: 11px }
  h2 { break-after: avoid }
  tr { break-inside: avoid }
  thead { display: table-header-group }
}
"""


def page(title, subtitle, sections):
    """The whole file. sections: {heading: html}."""
    body = ''.join(
        f'<section>\n<h2>{html.escape(heading)}</h2>\n{content}</section>\n'
        for heading, content in sections.items()
    )
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<title>{html.escape(title)}</title>\n'
        f'<style>{_STYLE}</style>\n</head>\n<body>\n<h1>{html.escape(title)}</h1>\n{note(subtitle)}{body}</body>\n</html>\n'
    )


def note(text):
    """A line of small text."""
    return f'<p class="note">{html.escape(text)}</p>\n'


def table(rows):
    """A table of dicts with the same keys; numbers stand right, floats with three digits."""
    if not rows:
        return note('none')
    head = ''.join(f'<th{_side(value)}>{html.escape(name)}</th>' for name, value in rows[0].items())
    lines = ''.join(
        '<tr>'
        + ''.join(f'<td{_side(v)}>{html.escape(_text(v))}</td>' for v in row.values())
        + '</tr>\n'
        for row in rows
    )
    return f'<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{lines}</tbody>\n</table>\n'


def _side(value):
    return (
        ' class="number"' if isinstance(value, int | float) and not isinstance(value, bool) else ''
    )


def _text(value):
    if isinstance(value, float):
        return '-' if math.isnan(value) else f'{value:.3f}'
    return str(value)


def picture(data, caption, kind='png'):
    """A figure of the bytes of a picture file."""
    inside = base64.b64encode(data).decode()
    text = html.escape(caption, quote=True)
    return f'<figure><img alt="{text}" src="data:image/{kind};base64,{inside}"><figcaption>{text}</figcaption></figure>\n'


def side_by_side(figures):
    """Figures in two columns."""
    return f'<div class="gallery">\n{"".join(figures)}</div>\n'
