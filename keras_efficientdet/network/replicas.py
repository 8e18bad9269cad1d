"""A step that is spread over replicas: how many there are, and sums over all of them."""

import tensorflow as tf


def replica_count() -> int:
    """Over how many replicas the current strategy spreads a step."""
    return tf.distribute.get_strategy().num_replicas_in_sync


def sum_over_replicas(values):
    """Inside a step: tensors -> their sums over all replicas of all workers.

    A list or a dict needs one exchange only.
    """
    return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, values)
