"""effdet's models, in the environment that has PyTorch: `make test-torch` calls this as a program.

make NAME SIZE CLASSES FOLDER: random weights and statistics, as weights.pth (zip), series.pth (the
  format before PyTorch 1.6), weights.safetensors and checkpoint.pth (of a training); an image and
  the outputs for it, as outputs.npz.
run NAME SIZE CLASSES FOLDER FILE: the outputs for the image of FOLDER with the weights in FILE,
  loaded strictly, as ours.npz.
goldens FOLDER: small files of each format, and the names of effdet's models (tests/goldens/torch).
"""

import argparse
import gzip
import json
import pathlib
import sys

import effdet
import numpy as np
import safetensors.torch
import torch


def model_of(name, size, classes):
    config = effdet.get_efficientdet_config(name)
    config.image_size, config.num_classes = (size, size), classes
    return effdet.EfficientDet(config, pretrained_backbone=False).eval()


def randomise(model):
    """Gives every tensor a part in the outputs, so that none can be mistaken for another."""
    torch.manual_seed(1)
    for name, tensor in model.state_dict().items():
        if name.endswith('running_var'):
            tensor.uniform_(0.5, 1.5)
        elif name.endswith(('bn.weight', 'bn1.weight', 'bn2.weight', 'bn3.weight')):
            tensor.uniform_(0.3, 0.5)  # D7x adds up so much that rounding errors would grow
        elif name.endswith('edge_weights'):
            tensor.uniform_(-0.2, 1.0)
        elif name.endswith(('bias', 'running_mean')):
            tensor.normal_(0.0, 0.1)


def outputs(model, images):
    """{'classes': [B, A, classes], 'boxes': [B, A, 4]} of images [B, H, W, 3]."""
    with torch.no_grad():
        by_output = model(torch.from_numpy(images.transpose(0, 3, 1, 2)).contiguous())
    widths = {'classes': model.config.num_classes, 'boxes': 4}
    found = {}
    for (name, width), levels in zip(widths.items(), by_output, strict=True):
        rows = [level.permute(0, 2, 3, 1).reshape(len(images), -1, width) for level in levels]
        found[name] = torch.cat(rows, 1).numpy()
    return found


def make(name, size, classes, folder):
    model = model_of(name, size, classes)
    randomise(model)
    weights = model.state_dict()
    torch.save(weights, folder / 'weights.pth')
    torch.save(weights, folder / 'series.pth', _use_new_zipfile_serialization=False)
    safetensors.torch.save_file(weights, folder / 'weights.safetensors')
    wrapped = {f'module.{key}': tensor for key, tensor in weights.items()}
    training = {'epoch': 3, 'args': argparse.Namespace(lr=0.1), 'state_dict': wrapped}
    torch.save(training, folder / 'checkpoint.pth')
    images = np.random.default_rng(0).normal(size=(2, size, size, 3)).astype(np.float32)
    np.savez(folder / 'outputs.npz', images=images, **outputs(model, images))


def run(name, size, classes, folder, file):
    model = model_of(name, size, classes)
    if file.endswith('.safetensors'):
        weights = safetensors.torch.load_file(file)
    else:
        weights = torch.load(file, weights_only=True)
    model.load_state_dict(weights, strict=True)
    np.savez(folder / 'ours.npz', **outputs(model, np.load(folder / 'outputs.npz')['images']))


def goldens(folder):
    whole = torch.arange(24, dtype=torch.float32).reshape(2, 3, 4)
    weights = {
        'whole': whole,
        'transposed': whole.permute(2, 0, 1),
        'half': whole[1, :2].half(),
        'count': torch.tensor(7),
    }
    torch.save(weights, folder / 'weights.pth')
    torch.save(weights, folder / 'series.pth', _use_new_zipfile_serialization=False)
    training = {'epoch': 3, 'args': argparse.Namespace(lr=0.1)}
    torch.save({**training, 'state_dict': weights}, folder / 'checkpoint.pth')
    averages = {'state_dict_ema': {'whole': torch.full([2], 5.0)}}
    torch.save({**training, 'state_dict': weights, **averages}, folder / 'averages.pth')
    torch.save({'epoch': 3}, folder / 'nothing.pth')
    flat = {name: tensor.contiguous() for name, tensor in weights.items()}
    safetensors.torch.save_file(flat, folder / 'weights.safetensors')
    names = {}
    for size in ('d0', 'd1', 'lite0', 'd7x'):
        name = f'tf_efficientdet_{size}'
        model = effdet.EfficientDet(effdet.get_efficientdet_config(name), pretrained_backbone=False)
        names[name] = {key: list(tensor.shape) for key, tensor in model.state_dict().items()}
    content = json.dumps(names).encode()
    (folder / 'effdet_names.json.gz').write_bytes(gzip.compress(content, mtime=0))


if __name__ == '__main__':
    if sys.argv[1] == 'goldens':
        goldens(pathlib.Path(sys.argv[2]))
        sys.exit()
    what, name, size, classes, folder, *file = sys.argv[1:]
    {'make': make, 'run': run}[what](name, int(size), int(classes), pathlib.Path(folder), *file)
