"""The log of a training as curves."""

import csv

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

_CURVES = {
    'loss': ('loss', 'val_loss'),  # and the loss of each output, whose names are the head's
    'COCO AP, validation': ('val_AP', 'val_AP50', 'val_AP75'),
    'learning rate': ('learning_rate',),
}


def learning_curves(log_file):
    """Losses, val_AP and learning rate of the log.csv that `fit` writes, as a matplotlib Figure. Epochs without a figure are
    left out, and so is a panel for which there are none."""
    with open(log_file, newline='') as file:
        rows = list(csv.DictReader(file))
    columns = {**_CURVES, 'loss': (*_CURVES['loss'], *_output_losses(rows))}
    curves = {
        title: {
            name: [(int(row['epoch']), float(row[name])) for row in rows if row.get(name)]
            for name in wanted
        }
        for title, wanted in columns.items()
    }
    panels = {title: lines for title, lines in curves.items() if any(lines.values())}
    figure = Figure(figsize=(4.5 * max(1, len(panels)), 3.6), layout='constrained')
    for place, (title, lines) in enumerate(panels.items(), 1):
        axis = figure.add_subplot(1, len(panels), place)
        for name, points in lines.items():
            if points:
                axis.plot(
                    *zip(*points, strict=True), marker='.' if len(points) < 60 else None, label=name
                )
        axis.set(title=title, xlabel='epoch', xlim=(0.5, len(rows) + 0.5))
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.grid(alpha=0.3)
        axis.legend()
        if title == 'loss':
            axis.set_yscale('log')
        elif 'AP' in title:
            axis.set_ylim(0, 1)
    return figure


def _output_losses(rows):
    """Columns of a log with the loss of one output, as Keras names them."""
    columns = rows[0] if rows else ()
    return [n for n in columns if n.endswith('_loss') and not n.startswith('val_')]


def save_curves(log_file, path):
    """Writes `learning_curves` as a PNG."""
    learning_curves(log_file).savefig(path, dpi=110)
