"""The log of a training as curves."""

import csv
import os

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

_FEW = 60  # epochs below which each has a marker
# {title of a panel: columns of log.csv}
_PANELS = {
    'loss': ('loss', 'val_loss'),  # and the loss of each output, whose names are the head's
    'COCO AP, validation': ('val_AP', 'val_AP50', 'val_AP75'),
    'learning rate': ('learning_rate',),
}


def learning_curves(log_file: str | os.PathLike) -> Figure:
    """Losses, validation AP and learning rate of the log.csv that `fit` writes.

    Epochs without a value are left out, and so is a panel without any value.
    """
    with open(log_file, encoding='utf-8', newline='') as file:
        rows = list(csv.DictReader(file))
    panels = {}
    for title, columns in {**_PANELS, 'loss': (*_PANELS['loss'], *_output_losses(rows))}.items():
        curves = {column: _points(rows, column) for column in columns}
        if any(curves.values()):
            panels[title] = curves
    figure = Figure(figsize=(4.5 * max(1, len(panels)), 3.6), layout='constrained')
    for place, (title, curves) in enumerate(panels.items(), 1):
        axis = figure.add_subplot(1, len(panels), place)
        _draw(axis, title, curves, epochs=len(rows))
    return figure


def _output_losses(rows):
    """Columns of a log with the loss of one output, as Keras names them."""
    columns = rows[0] if rows else ()
    return [n for n in columns if n.endswith('_loss') and not n.startswith('val_')]


def _points(rows, column):
    """[(epoch, value)] of the epochs that have a value."""
    return [(int(row['epoch']), float(row[column])) for row in rows if row.get(column)]


def _draw(axis, title, curves, epochs):
    for name, points in curves.items():
        if points:
            x, y = zip(*points, strict=True)
            axis.plot(x, y, marker='.' if len(points) < _FEW else None, label=name)
    axis.set(title=title, xlabel='epoch', xlim=(0.5, epochs + 0.5))
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.grid(alpha=0.3)
    axis.legend()
    if title == 'loss':
        axis.set_yscale('log')
    elif 'AP' in title:
        axis.set_ylim(0, 1)


def save_curves(log_file: str | os.PathLike, path: str | os.PathLike) -> None:
    """Writes `learning_curves` as a PNG."""
    learning_curves(log_file).savefig(path, dpi=110)
