"""Training on several devices and machines: strategies, the data of a worker, the chief's tasks."""

import atexit
import concurrent.futures
import json
import logging
import os
import pathlib
import shutil
import tempfile

import keras
import numpy as np
import tensorflow as tf

from keras_efficientdet.data import pipeline as data
from keras_efficientdet.data import records
from keras_efficientdet.errors import ConfigError
from keras_efficientdet.network.replicas import sum_over_replicas

_log = logging.getLogger(__name__)
_EVEN_ENOUGH = 10  # with so many files for each worker, one file more is at most a tenth more
_MESSAGE = 16384  # bytes for the chief's metrics; a collective operation needs a fixed shape


def strategy_for(name: str = 'auto') -> tf.distribute.Strategy:
    """The tf.distribute.Strategy of a name; the choice and its reason are logged.

    To be called before TensorFlow does anything else, because workers have to be connected at the
    start of a program.

    Args:
      name: 'one' device; 'mirrored' over all GPUs of this machine (all logical CPUs if there is no
        GPU); 'multi_worker' over the machines of the environment's TF_CONFIG; 'tpu', named by
        TPU_NAME or COLAB_TPU_ADDR, or else that of this machine; 'auto' decides by the environment.
    Raises:
      ConfigError: an unknown name; no TF_CONFIG; no TPU.
    """
    reason = 'as requested'
    if name == 'auto':
        name, reason = _fitting()
    if name not in _MAKERS:
        raise ConfigError(f'strategy {name!r}: expected auto, {", ".join(_MAKERS)}')
    strategy = _MAKERS[name]()
    _log.info('strategy: %s (%s), %d replicas', name, reason, strategy.num_replicas_in_sync)
    return strategy


def _fitting():
    """(name, reason) by the environment and the devices of this machine."""
    workers = len(_cluster_workers())
    gpus = len(tf.config.list_physical_devices('GPU'))
    if workers > 1:
        return 'multi_worker', f'TF_CONFIG names {workers} workers'
    for variable in ('TPU_NAME', 'COLAB_TPU_ADDR'):
        if os.environ.get(variable):
            return 'tpu', f'{variable} is set'
    if tf.config.list_physical_devices('TPU'):
        return 'tpu', 'this machine has a TPU'
    if gpus > 1:
        return 'mirrored', f'this machine has {gpus} GPUs'
    return 'one', f'{gpus} GPUs, no TPU, no TF_CONFIG with several workers'


def _cluster_workers():
    try:
        cluster = json.loads(os.environ.get('TF_CONFIG') or '{}').get('cluster', {})
    except ValueError as error:
        raise ConfigError(f'TF_CONFIG is not valid json: {error}') from error
    return [*cluster.get('chief', ()), *cluster.get('worker', ())]


def _mirrored():
    gpus = tf.config.list_logical_devices('GPU')
    if gpus:
        return tf.distribute.MirroredStrategy([d.name for d in gpus])
    # Logical CPUs share one memory, so no collective operations are needed.
    return tf.distribute.MirroredStrategy(
        [d.name for d in tf.config.list_logical_devices('CPU')],
        cross_device_ops=tf.distribute.ReductionToOneDevice(),
    )


def _multi_worker():
    if not _cluster_workers():
        raise ConfigError(
            'strategy multi_worker: TF_CONFIG lists no workers; docs/TRAINING.md has an example'
        )
    return tf.distribute.MultiWorkerMirroredStrategy()


def _tpu():
    address = os.environ.get('TPU_NAME') or os.environ.get('COLAB_TPU_ADDR') or 'local'
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu=address)
        if address != 'local':
            tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
    except (ValueError, RuntimeError, tf.errors.OpError) as error:
        raise ConfigError(
            f'strategy tpu: no TPU at {address!r} (set TPU_NAME): {str(error)[:200]}'
        ) from error
    return tf.distribute.TPUStrategy(resolver)


_MAKERS = {
    'one': tf.distribute.get_strategy,
    'mirrored': _mirrored,
    'multi_worker': _multi_worker,
    'tpu': _tpu,
}


def distributed(files_or_dir, config, strategy, first_epoch=0):
    """The batches of `training_stream` as `fit` takes them under a strategy.

    Each worker reads its own `Share`.

    Raises:
      ConfigError: batch_size is not a multiple of the replicas; a data service with fewer files
        than workers.
    """
    count = strategy.num_replicas_in_sync
    if config.train.batch_size % count:
        raise ConfigError(
            f'train.batch_size {config.train.batch_size} is not a multiple of the {count} '
            'replicas; it counts the images of all of them'
        )
    if count == 1:
        return data.training_stream(files_or_dir, config, first_epoch)

    def of_worker(context):
        workers = context.num_input_pipelines
        by_file = _by_file(files_or_dir, config, workers)
        share = data.Share(workers, context.input_pipeline_id, count, by_file)
        return data.training_stream(files_or_dir, config, first_epoch, share)

    return strategy.distribute_datasets_from_function(of_worker)


def _by_file(files_or_dir, config, workers):
    """Whether workers read files of their own (cheaper), or every n-th example (always even)."""
    files = len(records.record_files(files_or_dir))
    by_file = workers > 1 and (files % workers == 0 or files >= _EVEN_ENOUGH * workers)
    if workers > 1 and config.data.data_service and not by_file:
        raise ConfigError(
            f'{files_or_dir}: {files} files for {workers} workers; with data.data_service the '
            f'number of files must be a multiple of the workers, or at least {_EVEN_ENOUGH} each'
        )
    if workers > 1:
        unit = 'file' if by_file else 'example'
        _log.info('%d files for %d workers: distributed by %s', files, workers, unit)
    return by_file


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Whether this process is the one of its strategy that evaluates and writes files."""
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return True
    here = strategy.cluster_resolver
    return here.task_type == 'chief' or (
        here.task_id == 0 and 'chief' not in here.cluster_spec().jobs
    )


def own_folder(folder, strategy):
    """`folder` for the chief; for other workers one that is removed when the process ends."""
    if is_chief(strategy):
        return pathlib.Path(folder)
    own = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, own, ignore_errors=True)
    return pathlib.Path(own)


class ChiefEvaluation(keras.callbacks.Callback):
    """Evaluation by one process on one device.

    The logs of all workers get its metrics, so that their callbacks decide alike. The chief puts
    the averaged weights into a copy of the network outside of the strategy, because inside of it
    reading a batch-norm statistic needs all workers. The others wait.

    Args:
      copy: a compiled copy of the network, made outside of the strategy's scope.
      evaluation: the CocoEvaluation that is to see the copy.
      validation: `data.validation_dataset`, for val_loss.
    """

    def __init__(self, copy, evaluation, validation):
        super().__init__()
        self.copy = copy
        self.evaluation = evaluation
        self.validation = validation
        evaluation.set_model(copy)

    def on_epoch_end(self, epoch, logs=None):
        if epoch + 1 not in self.evaluation.epochs:
            return
        weights = self.model.plan.state.evaluated()
        metrics = {}
        if is_chief(self.model.distribute_strategy):
            # In a thread of its own: a strategy's scope belongs to a thread, and Keras 2 calls its
            # callbacks inside of it.
            with concurrent.futures.ThreadPoolExecutor(1) as outside:
                metrics = outside.submit(self._metrics, weights, epoch).result()
        logs.update(from_chief(metrics, self.model.distribute_strategy))

    def _metrics(self, weights, epoch):
        self.copy.plan.state.set_weights(weights)
        losses = self.copy.evaluate(self.validation, verbose=0, return_dict=True)
        metrics = {f'val_{name}': float(value) for name, value in losses.items()}
        self.evaluation.on_epoch_end(epoch, metrics)
        return metrics


def from_chief(metrics, strategy):
    """The chief's {name: number} at every worker; all of them must call it."""
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return metrics
    text = json.dumps(metrics).encode() if is_chief(strategy) else b''
    padded = tf.constant([*text.ljust(_MESSAGE, b'\0')], tf.int32)

    def share():
        # A sum in which only the first replica has a part: the text itself.
        first = tf.distribute.get_replica_context().replica_id_in_sync_group == 0
        return sum_over_replicas(tf.where(first, padded, 0))

    sent = strategy.experimental_local_results(strategy.run(tf.function(share)))[0]
    return json.loads(sent.numpy().astype(np.uint8).tobytes().rstrip(b'\0'))
