"""Training on several devices and machines: the choice of a strategy, the data of each worker, evaluation by the chief."""

import atexit
import concurrent.futures
import json
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

_EVEN_ENOUGH = 10  # with that many files for each worker, one file more is at most a tenth more
_MESSAGE = 16384  # bytes for the chief's figures


def strategy_for(name='auto'):
    """The tf.distribute.Strategy of a name; says which and why.

    Call it before any other work of TensorFlow: workers have to be joined at the start of a program.

    Args:
      name: 'one' device; 'mirrored' over all GPUs of this machine (all logical CPUs where there is no GPU); 'multi_worker'
        over the machines of the environment's TF_CONFIG; 'tpu', named by TPU_NAME or COLAB_TPU_ADDR, else that of this
        machine; 'auto' decides by the environment.
    Raises:
      ConfigError: an unknown name; no TF_CONFIG; no TPU.
    """
    reason = 'as asked for'
    if name == 'auto':
        name, reason = _fitting()
    if name not in _MAKERS:
        raise ConfigError(f'strategy {name!r}: expected auto, {", ".join(_MAKERS)}')
    strategy = _MAKERS[name]()
    print(f'strategy: {name} ({reason}), {strategy.num_replicas_in_sync} replicas')
    return strategy


def _fitting():
    """(name, reason) by what the environment says and the machine has."""
    workers, gpus = len(_cluster_workers()), len(tf.config.list_physical_devices('GPU'))
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
        raise ConfigError(f'TF_CONFIG is no json: {error}') from error
    return [*cluster.get('chief', ()), *cluster.get('worker', ())]


def _mirrored():
    gpus = tf.config.list_logical_devices('GPU')
    if gpus:
        return tf.distribute.MirroredStrategy([d.name for d in gpus])
    return tf.distribute.MirroredStrategy(
        [d.name for d in tf.config.list_logical_devices('CPU')],
        cross_device_ops=tf.distribute.ReductionToOneDevice(),
    )  # one memory: no collectives


def _multi_worker():
    if not _cluster_workers():
        raise ConfigError(
            'strategy multi_worker: TF_CONFIG names no workers; docs/TRAINING.md has an example'
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
    """The batches of `data.training_stream` as `fit` takes them under a strategy: each worker reads its `data.Share`.

    Raises:
      ConfigError: batch_size is no multiple of the replicas; a data service with fewer files than workers.
    """
    count = strategy.num_replicas_in_sync
    if config.train.batch_size % count:
        raise ConfigError(
            f'train.batch_size {config.train.batch_size} is no multiple of the {count} replicas; it counts the '
            'images of all of them'
        )
    if count == 1:
        return data.training_stream(files_or_dir, config, first_epoch)

    def of_worker(context):
        workers = context.num_input_pipelines
        share = data.Share(
            workers, context.input_pipeline_id, count, _by_file(files_or_dir, config, workers)
        )
        return data.training_stream(files_or_dir, config, first_epoch, share)

    return strategy.distribute_datasets_from_function(of_worker)


def _by_file(files_or_dir, config, workers):
    files = len(records.record_files(files_or_dir))
    by_file = workers > 1 and (files % workers == 0 or files >= _EVEN_ENOUGH * workers)
    if workers > 1 and config.data.data_service and not by_file:
        raise ConfigError(
            f'{files_or_dir}: {files} files for {workers} workers; with data.data_service the files must be a '
            f'multiple of the workers, or at least {_EVEN_ENOUGH} for each'
        )
    if workers > 1:
        print(
            f'{files} files for {workers} workers: shared out by {"file" if by_file else "example"}'
        )
    return by_file


def is_chief(strategy):
    """Whether this process is the one of its strategy that evaluates and writes files."""
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return True
    here = strategy.cluster_resolver
    return here.task_type == 'chief' or (
        here.task_id == 0 and 'chief' not in here.cluster_spec().jobs
    )


def own_folder(folder, strategy):
    """`folder` for the chief of a strategy; for other workers a folder that goes when the process ends."""
    if is_chief(strategy):
        return pathlib.Path(folder)
    own = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, own, ignore_errors=True)
    return pathlib.Path(own)


class ChiefEvaluation(keras.callbacks.Callback):
    """Evaluation by one process on one device; the logs of every worker get its figures, so that callbacks agree.

    The chief puts the averaged weights into a copy of the network outside of the strategy: reading a batch-norm statistic
    inside of it needs all workers. The others wait.

    Args:
      copy: a compiled copy of the network, made outside of the strategy's scope.
      evaluation: the CocoEvaluation that is to see the copy.
      validation: `data.validation_dataset`, for val_loss.
    """

    def __init__(self, copy, evaluation, validation):
        super().__init__()
        self.copy, self.evaluation, self.validation = copy, evaluation, validation
        evaluation.set_model(copy)

    def on_epoch_end(self, epoch, logs=None):
        if epoch + 1 not in self.evaluation.epochs:
            return
        weights, found = self.model.training_state.evaluated(), {}
        if is_chief(self.model.distribute_strategy):
            with concurrent.futures.ThreadPoolExecutor(
                1
            ) as outside:  # Keras 2 calls callbacks inside of the scope
                found = outside.submit(self._figures, weights, epoch).result()
        logs.update(from_chief(found, self.model.distribute_strategy))

    def _figures(self, weights, epoch):
        self.copy.training_state.set_weights(weights)
        found = {
            f'val_{name}': float(v)
            for name, v in self.copy.evaluate(self.validation, verbose=0, return_dict=True).items()
        }
        self.evaluation.on_epoch_end(epoch, found)
        return found


def from_chief(figures, strategy):
    """The chief's {name: number} at every worker; all of them must call it."""
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return figures
    text = json.dumps(figures).encode() if is_chief(strategy) else b''
    padded = tf.constant(
        np.frombuffer(text.ljust(_MESSAGE, b'\0') if text else bytes(_MESSAGE), np.uint8).astype(
            np.int32
        )
    )

    def share():
        first = tf.distribute.get_replica_context().replica_id_in_sync_group == 0
        return sum_over_replicas(tf.where(first, padded, 0))

    sent = strategy.experimental_local_results(strategy.run(tf.function(share)))[0]
    return json.loads(sent.numpy().astype(np.uint8).tobytes().rstrip(b'\0'))
