"""What the usual mistakes of re-implementations cost: docs/PITFALLS.md.

Each is a mutation of `mutations.py`. A detector that was trained without it is evaluated with it,
by the same weights as far as the broken network has a place for them; and class logits of D0 with
the weights of the golden d0_128_sum are compared. What only changes a training is trained with:
`make demo`, in a broken copy.

Run: python tests/pitfalls.py RUN VALID [OUTPUT.csv], where RUN is a folder of `efficientdet train`
and VALID its validation data: those of `make demo` are demo_output/run and demo_output/data/val.
Or: python tests/pitfalls.py --train OUTPUT, which takes as long as a demo for each of two mistakes.
"""

import csv
import json
import pathlib
import subprocess
import sys
import tempfile

import mutations
import numpy as np

PITFALLS = (
    'batch norm momentum turned round',
    'bias after a depthwise convolution',
    'pool with a window of 2',
    'no batch norm after a 1x1 convolution',
    'backbone tapped one block early',
    'padding on both sides before a stride',
    'one P4 for both paths',
)
# Of these, what a trained detector finds does not depend on them.
OF_TRAINING = PITFALLS[:2]
COLUMNS = ('pitfall', 'AP', 'AP50', 'difference', 'missing', 'unused')


def main(run, valid, output=None):
    right = mutations.MUTATIONS[0]
    right = right._replace(name='none', new=right.old)
    chosen = [right, *(m for name in PITFALLS for m in mutations.MUTATIONS if m.name == name)]
    with tempfile.TemporaryDirectory() as folder:
        rows = [measured(mutation, run, valid, pathlib.Path(folder)) for mutation in chosen]
    print(table(rows))
    if output:
        with open(output, 'w', newline='', encoding='utf-8') as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(rows)


def train(output):
    """Runs the demo with each mistake of OF_TRAINING; its output says what the detector reaches."""
    output = pathlib.Path(output).resolve()
    output.mkdir(parents=True, exist_ok=True)
    for mutation in mutations.MUTATIONS:
        if mutation.name in OF_TRAINING:
            with mutations.broken_copy(mutation) as (copy, environment):
                folder = output / mutation.name.replace(' ', '_')
                command = [sys.executable, 'tools/demo.py', f'--output={folder}']
                print(f'== {mutation.name}', flush=True)
                # The demo ends with 1 where AP50 stays below 0.8.
                subprocess.run(command, cwd=copy, env=environment, check=False)


def measured(mutation, run, valid, folder):
    """The row of one mutation; the logits of 'none', the first, are those to compare with."""
    print(f'{mutation.name} ...', file=sys.stderr)
    with mutations.broken_copy(mutation) as (copy, environment):
        arguments = [str(pathlib.Path(path).resolve()) for path in (run, valid, folder)]
        done = subprocess.run(
            [sys.executable, __file__, '--measure', *arguments],
            cwd=copy,
            env=environment,
            check=True,
            stdout=subprocess.PIPE,
        )
    return {'pitfall': mutation.name, **json.loads(done.stdout.splitlines()[-1])}


def measure(run, valid, folder):
    """In a broken copy: prints AP of a trained detector, and the change of a golden's logits."""
    import official

    from keras_efficientdet import dataset, efficientdet, evaluate, load_config
    from keras_efficientdet.weights.official import official_shapes, official_weights

    run, folder = pathlib.Path(run), pathlib.Path(folder)
    model = efficientdet(load_config(run / 'config.yaml'))
    trained = folder / 'trained.npz'
    if not trained.exists():  # the first call, without a mutation
        model.load_weights(str(run / 'best.weights.h5'))
        np.savez(trained, **official_weights(model))
    counts = take(model, dict(np.load(trained)))
    data = dataset(valid, model.detection_config, training=False)
    metrics = evaluate(model, data, progress=False)

    entry = official.index('forward/d0_128_sum.npz')
    overrides = entry['rule']['config_overrides']
    golden = efficientdet(load_config('efficientdet-d0', [overrides, {'image_size': 128}]))
    seeded = folder / 'seeded.npz'
    if not seeded.exists():
        np.savez(seeded, **official.seeded_weights(official_shapes(golden), entry['rule']))
    take(golden, dict(np.load(seeded)))
    logits = golden(official.rule_input(entry['rule']))['classes'].numpy()
    expected = folder / 'logits.npy'
    if not expected.exists():
        np.save(expected, logits)
    right = np.load(expected)
    difference = float(np.sqrt(np.mean((logits - right) ** 2)) / np.std(right))
    print(
        json.dumps(
            {key: metrics[key] for key in ('AP', 'AP50')} | counts | {'difference': difference}
        )
    )


def take(model, values):
    """Gives a model the values that it has a place for; how many do not fit in either direction."""
    from keras_efficientdet.weights.official import load_official, official_weights

    own = official_weights(model)
    fitting = {
        name: value
        for name, value in values.items()
        if name in own and value.shape == own[name].shape
    }
    load_official(model, {**own, **fitting})
    return {'missing': len(own) - len(fitting), 'unused': len(values) - len(fitting)}


def table(rows):
    lines = ['| mistake | AP | AP50 | change of the logits |', '|---|---|---|---|']
    for row in rows:
        lines.append(
            f'| {row["pitfall"]} | {row["AP"]:.3f} | {row["AP50"]:.3f} | {row["difference"]:.3f} |'
        )
    return '\n'.join(lines)


if __name__ == '__main__':
    if sys.argv[1] == '--measure':
        measure(*sys.argv[2:])
    elif sys.argv[1] == '--train':
        train(*sys.argv[2:])
    else:
        main(*sys.argv[1:])
