"""The confusion matrix as a matplotlib Figure."""

import numpy as np
from matplotlib.figure import Figure

WRITTEN = 25  # most classes for which each cell has its numbers in it


def confusion(table, names, threshold) -> Figure:
    """The confusion matrix: shares of each true class as colours, and counts.

    Args:
      table: int [K + 1, K + 1] of `analysis.confusion`.
      names: of the K classes.
      threshold: the score that it was counted at, for the title.
    """
    few = len(names) <= WRITTEN
    labels = [*names, 'background']
    side = min(20.0, 2.6 + 0.75 * len(labels)) if few else 14.0  # inches
    figure = Figure(figsize=(side + 1.2, side), layout='constrained')
    axis = figure.add_subplot()
    share = table / np.maximum(1, table.sum(1, keepdims=True))
    drawn = axis.imshow(share, cmap='Blues', vmin=0, vmax=1)
    ticks, font = range(len(labels)), 9 if few else 5
    # A few names fit when slanted; more would overlap.
    rotation, alignment = (45, 'right') if len(names) < 8 else (90, 'center')
    axis.set_xticks(ticks, labels, fontsize=font, rotation=rotation, ha=alignment)
    axis.set_yticks(ticks, labels, fontsize=font)
    axis.set(title=f'score >= {threshold:.2f}, IoU 0.5', xlabel='found as', ylabel='true class')
    if few:
        _write(axis, table, share)
    figure.colorbar(drawn, ax=axis, shrink=0.7, label='share of the row')
    return figure


def _write(axis, table, share):
    font = 8 if len(table) < 14 else 6
    for (row, column), count in np.ndenumerate(table):
        if not count:
            continue
        axis.text(
            column,
            row,
            f'{share[row, column]:.2f}\n({count})',
            ha='center',
            va='center',
            fontsize=font,
            color='white' if share[row, column] > 0.5 else 'black',
        )
