"""Prints trainable parameters and multiply-adds of every model, counted from the built network.

The figures of results/models.csv, and of `expected` in hparams. Run: python tests/cost_of_models.py
"""

import keras
import numpy as np

from keras_efficientdet import efficientdet, load_config, model_names
from keras_efficientdet.network.flops import flops

if __name__ == '__main__':
    print('model,trainable parameters,GFLOPs')
    for name in sorted(model_names(), key=lambda n: load_config(n).expected.trainable_params):
        model = efficientdet(load_config(name))
        count = sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)
        print(f'{name},{count},{flops(model) / 1e9:.3f}', flush=True)
        keras.backend.clear_session()
