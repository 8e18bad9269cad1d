"""Precision over recall and F1 over the score, as matplotlib Figures without global state."""

import numpy as np
from matplotlib.figure import Figure

from keras_efficientdet.evaluation import analysis

NAMED = 12  # classes that get a colour and a line in the legend; of more, all are grey but the mean


def precision_recall(run, names):
    """Precision over recall at IoU .5 and averaged over IoU .5 to .95, of each class and of their mean."""
    recall, at_half, averaged = analysis.precision_curves(run)
    figure = Figure(figsize=(10, 4), layout='constrained')
    for place, (curves, figure_name, title) in enumerate(
        ((at_half, 'AP50', 'IoU 0.5'), (averaged, 'AP', 'mean over IoU 0.5 to 0.95')), 1
    ):
        axis = figure.add_subplot(1, 2, place)
        _classes(
            axis, recall, curves, names, [f'{figure_name} {area:.3f}' for area in curves.mean(1)]
        )
        known = curves[~np.isnan(curves[:, 0])]
        if len(known):
            axis.plot(
                recall,
                known.mean(0),
                color='black',
                linewidth=2,
                label=f'mean, {figure_name} {known.mean():.3f}',
            )
        _finish(axis, title, 'recall', 'precision')
    return figure


def f1_confidence(scores, names):
    """F1 over the score threshold, of each class with its best threshold, and their mean with the best for all."""
    figure = Figure(figsize=(7, 4.2), layout='constrained')
    axis = figure.add_subplot()
    _classes(
        axis, analysis.THRESHOLDS, scores.f1, names, [f'best at {t:.2f}' for t in scores.thresholds]
    )
    axis.plot(
        analysis.THRESHOLDS,
        scores.mean,
        color='black',
        linewidth=2,
        label=f'mean, {scores.mean.max():.3f} at {scores.threshold:.2f}',
    )
    axis.axvline(scores.threshold, color='black', linewidth=1, linestyle=':')
    _finish(axis, 'F1 at IoU 0.5', 'score threshold', 'F1')
    return figure


def _classes(axis, x, curves, names, notes):
    few = len(names) <= NAMED
    for curve, name, note in zip(curves, names, notes, strict=True):
        if not np.isnan(curve[0]):
            style = {'label': f'{name}, {note}'} if few else {'color': 'silver', 'linewidth': 0.7}
            axis.plot(x, curve, **style)


def _finish(axis, title, x, y):
    axis.set(title=title, xlabel=x, ylabel=y, xlim=(0, 1), ylim=(0, 1.02))
    axis.grid(alpha=0.3)
    if axis.lines:
        axis.legend(fontsize=8)
