"""Workers of a distributed training, each in a process of its own."""

import json
import os
import pathlib
import socket
import subprocess
import sys


def run(program, strategy, output, *arguments):
    """Runs the file `program` of this folder to its end, as `program STRATEGY OUTPUT arguments`;
    what it prints is in
    OUTPUT.txt. With the strategy multi_worker as two workers over the loopback interface, whose
    outputs end in 0 and 1.

    Returns {name: path of the output}.
    """
    workers = (0, 1) if strategy == 'multi_worker' else ('',)
    addresses = _free_addresses(len(workers))
    outputs = {f'{output.name}{i}': output.with_name(f'{output.name}{i}') for i in workers}
    clusters = [
        {'cluster': {'worker': addresses}, 'task': {'type': 'worker', 'index': i}} for i in workers
    ]
    _finish(
        [
            _start(
                program, [strategy, path, *arguments], path, cluster if len(workers) > 1 else None
            )
            for path, cluster in zip(outputs.values(), clusters, strict=True)
        ],
        outputs.values(),
    )
    return outputs


def _free_addresses(count):
    sockets = [socket.socket() for _ in range(count)]
    for s in sockets:
        s.bind(('127.0.0.1', 0))
    addresses = [f'127.0.0.1:{s.getsockname()[1]}' for s in sockets]
    for s in sockets:
        s.close()
    return addresses


def _start(program, arguments, output, cluster):
    environment = {k: v for k, v in os.environ.items() if k != 'TF_CONFIG'} | {
        'CUDA_VISIBLE_DEVICES': ''
    }
    if cluster:
        environment['TF_CONFIG'] = json.dumps(cluster)
    command = [sys.executable, pathlib.Path(__file__).with_name(program), *arguments]
    with open(f'{output}.txt', 'w') as said:
        return subprocess.Popen(
            [str(c) for c in command], stdout=said, stderr=subprocess.STDOUT, env=environment
        )


def _finish(processes, outputs):
    try:
        for process, output in zip(processes, outputs, strict=True):
            assert process.wait(1500) == 0, pathlib.Path(f'{output}.txt').read_text()[-3000:]
    finally:
        for process in processes:
            process.kill()
