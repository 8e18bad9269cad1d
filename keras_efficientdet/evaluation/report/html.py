"""One self-contained HTML file: images inside, no scripts, no network."""

import base64
import html
import math

_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; color: #1c1c1c; background: #fff;
  max-width: 1080px; margin: 2em auto; padding: 0 1em }
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


def page(title, subtitle, sections) -> str:
    """The whole file. sections: {heading: HTML}."""
    parts = [
        f'<section>\n<h2>{html.escape(heading)}</h2>\n{content}</section>\n'
        for heading, content in sections.items()
    ]
    heading = html.escape(title)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<title>{heading}</title>\n<style>{_STYLE}</style>\n</head>\n'
        f'<body>\n<h1>{heading}</h1>\n{note(subtitle)}{"".join(parts)}</body>\n</html>\n'
    )


def note(text) -> str:
    """A line of small text."""
    return f'<p class="note">{html.escape(text)}</p>\n'


def table(rows) -> str:
    """A table of dicts with the same keys. Numbers are aligned right, floats have three digits."""
    if not rows:
        return note('none')
    head = ''.join(_cell('th', name, like=value) for name, value in rows[0].items())
    lines = []
    for row in rows:
        cells = ''.join(_cell('td', _text(value), like=value) for value in row.values())
        lines.append(f'<tr>{cells}</tr>\n')
    body = ''.join(lines)
    return f'<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody>\n</table>\n'


def _cell(tag, text, like):
    """A cell, aligned as values such as `like` are."""
    is_number = isinstance(like, int | float) and not isinstance(like, bool)
    side = ' class="number"' if is_number else ''
    return f'<{tag}{side}>{html.escape(text)}</{tag}>'


def _text(value):
    if isinstance(value, float):
        return '-' if math.isnan(value) else f'{value:.3f}'
    return str(value)


def image(data, caption, kind='png') -> str:
    """An HTML figure of an encoded image. data: bytes of a file of this kind."""
    inside = base64.b64encode(data).decode()
    text = html.escape(caption, quote=True)
    return (
        f'<figure><img alt="{text}" src="data:image/{kind};base64,{inside}">'
        f'<figcaption>{text}</figcaption></figure>\n'
    )


def side_by_side(figures) -> str:
    """HTML figures in two columns."""
    return f'<div class="gallery">\n{"".join(figures)}</div>\n'
