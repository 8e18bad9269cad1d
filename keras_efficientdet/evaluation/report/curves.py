"""Precision over recall and F1 over the score, as matplotlib Figures without global state."""

import numpy as np
from matplotlib.figure import Figure

from keras_efficientdet.evaluation import analysis

NAMED = 12  # most classes that get a colour and a legend entry; of more, only the mean gets one


def precision_recall(run, names) -> Figure:
    """Precision over recall of each class and of their mean.

    Left at IoU 0.5, right averaged over IoU 0.5 to 0.95.
    """
    recall, at_half, averaged = analysis.precision_curves(run)
    figure = Figure(figsize=(10, 4), layout='constrained')
    left, right = figure.add_subplot(1, 2, 1), figure.add_subplot(1, 2, 2)
    _precision(left, recall, at_half, names, 'AP50')
    _finish(left, 'IoU 0.5', 'recall', 'precision')
    _precision(right, recall, averaged, names, 'AP')
    _finish(right, 'mean over IoU 0.5 to 0.95', 'recall', 'precision')
    return figure


def _precision(axis, recall, curves, names, metric):
    _classes(axis, recall, curves, names, [f'{metric} {area:.3f}' for area in curves.mean(1)])
    known = curves[~np.isnan(curves[:, 0])]
    if len(known):
        label = f'mean, {metric} {known.mean():.3f}'
        axis.plot(recall, known.mean(0), color='black', linewidth=2, label=label)


def f1_confidence(scores, names) -> Figure:
    """F1 over the score threshold, of each class and of their mean, with the best thresholds."""
    figure = Figure(figsize=(7, 4.2), layout='constrained')
    axis = figure.add_subplot()
    notes = [f'best at {threshold:.2f}' for threshold in scores.thresholds]
    _classes(axis, analysis.THRESHOLDS, scores.f1, names, notes)
    label = f'mean, {scores.mean.max():.3f} at {scores.threshold:.2f}'
    axis.plot(analysis.THRESHOLDS, scores.mean, color='black', linewidth=2, label=label)
    axis.axvline(scores.threshold, color='black', linewidth=1, linestyle=':')
    _finish(axis, 'F1 at IoU 0.5', 'score threshold', 'F1')
    return figure


def _classes(axis, x, curves, names, notes):
    """A line for each class that occurs; the curves of the others are nan."""
    few = len(names) <= NAMED
    for curve, name, note in zip(curves, names, notes, strict=True):
        if np.isnan(curve[0]):
            continue
        style = {'label': f'{name}, {note}'} if few else {'color': 'silver', 'linewidth': 0.7}
        axis.plot(x, curve, **style)


def _finish(axis, title, x, y):
    axis.set(title=title, xlabel=x, ylabel=y, xlim=(0, 1), ylim=(0, 1.02))
    axis.grid(alpha=0.3)
    if axis.lines:
        axis.legend(fontsize=8)
