"""The confusion matrix as a matplotlib Figure."""

import numpy as np
from matplotlib.figure import Figure

WRITTEN = 25  # classes up to which each cell holds its numbers


def confusion(table, names, threshold):
    """Shares of each true class as colours, and the counts.

    Args:
      table: int [K + 1, K + 1] of `analysis.confusion`. names: of the K classes.
      threshold: the score that it was counted at, for the title.
    """
    labels = [*names, 'background']
    side = min(20.0, 2.6 + 0.75 * len(labels)) if len(names) <= WRITTEN else 14.0
    figure = Figure(figsize=(side + 1.2, side), layout='constrained')
    axis = figure.add_subplot()
    share = table / np.maximum(1, table.sum(1, keepdims=True))
    picture = axis.imshow(share, cmap='Blues', vmin=0, vmax=1)
    ticks, small = range(len(labels)), 9 if len(names) <= WRITTEN else 5
    axis.set_xticks(
        ticks,
        labels,
        rotation=45 if len(names) < 8 else 90,
        ha='right' if len(names) < 8 else 'center',
        fontsize=small,
    )
    axis.set_yticks(ticks, labels, fontsize=small)
    axis.set(title=f'score >= {threshold:.2f}, IoU 0.5', xlabel='found as', ylabel='true class')
    if len(names) <= WRITTEN:
        _write(axis, table, share)
    figure.colorbar(picture, ax=axis, shrink=0.7, label='share of the row')
    return figure


def _write(axis, table, share):
    small = 8 if len(table) < 14 else 6
    for (row, column), count in np.ndenumerate(table):
        if count:
            axis.text(
                column,
                row,
                f'{share[row, column]:.2f}\n({count})',
                ha='center',
                va='center',
                fontsize=small,
                color='white' if share[row, column] > 0.5 else 'black',
            )
