"""The server over the loopback interface: right answers, or errors that name the fault.

Needs the extra `serve`; `make test-serve` installs it and runs the long tests too.
"""

import asyncio
import io
import json
import subprocess
import sys
import time
import urllib.request

import numpy as np
import pytest
from little import TINY
from PIL import Image
from server import ROOT, ask, encoded, memory, of_array, of_bytes, running

from keras_efficientdet import Detector, efficientdet, export_savedmodel, load_config

pytest.importorskip(
    'mlserver', reason='the extra `serve` is not installed; `make test-serve` installs it'
)


@pytest.fixture(scope='module')
def folder(small_model, tmp_path_factory):
    path = tmp_path_factory.mktemp('served') / 'cells'
    export_savedmodel(small_model, path)
    return path


@pytest.fixture(scope='module')
def server(folder):
    with running(
        folder, folder.parent / 'log.txt', '--max_pixels=100000', '--max_batch_time=0.05'
    ) as found:
        yield found


def arrays(answer):
    return {row['name']: np.array(row['data']).reshape(row['shape']) for row in answer['outputs']}


def same(answer, expected):
    """Every picture of an answer holds what Detector finds in it."""
    found = arrays(answer)
    assert len(found['count']) == len(expected)
    for i, one in enumerate(expected):
        n = found['count'][i]
        assert n == len(one) > 0
        np.testing.assert_allclose(found['scores'][i, :n], one.scores, atol=1e-4)
        np.testing.assert_allclose(found['boxes'][i, :n], one.boxes, atol=1e-2)
        np.testing.assert_array_equal(found['classes'][i, :n], one.classes)


def animated(side, count):
    """Bytes of a GIF of `count` frames, of which each alone is no more than the server takes."""
    frames, file = (
        [Image.new('RGB', (side, side), (i, 0, 0)) for i in range(0, 255, 255 // count)][:count],
        io.BytesIO(),
    )
    frames[0].save(file, 'GIF', save_all=True, append_images=frames[1:])
    return file.getvalue()


def faulty(picture):
    """{what is wrong: (request, what the error says)}"""
    jpeg, png = encoded(picture, 'JPEG'), encoded(picture)
    good = of_bytes(png)['inputs'][0]
    return {
        'broken jpeg': (
            of_bytes(jpeg[: len(jpeg) // 2]),
            'image 0 of image_bytes cannot be read',
        ),
        'one of two is broken': (of_bytes(png, jpeg[:300]), 'image 1 of image_bytes'),
        'no picture': (of_bytes(b'hello'), 'not a readable JPEG, PNG'),
        'empty picture': (of_bytes(b''), 'not a readable JPEG, PNG'),
        'no base64': ({'inputs': [{**good, 'data': ['*']}]}, 'expected base64 text'),
        'a number': ({'inputs': [{**good, 'data': [1]}]}, 'expected base64 text'),
        'huge': (
            of_bytes(encoded(np.zeros((400, 400, 3), np.uint8))),
            'at least 160000 pixels; this server accepts 100000',
        ),
        'huge with its frames': (of_bytes(animated(200, 3)), 'at least 120000 pixels'),
        'huge together': (
            of_bytes(*[encoded(np.zeros((250, 250, 3), np.uint8))] * 2),
            'at least 125000 pixels',
        ),
        'huge array': (
            of_array(np.zeros((1, 1, 1, 3), np.uint8), shape=[1, 400, 400, 3]),
            '160000 pixels',
        ),
        'wrong dtype': (
            of_array(picture[None], datatype='FP32'),
            'images: expected datatype UINT8, found FP32',
        ),
        'unknown dtype': (of_array(picture[None], datatype='HALF'), 'HALF'),
        'values': (of_array(picture[None].astype(int) + 300), 'whole numbers from 0 to 255'),
        'fractions': (of_array(picture[None] / 255), 'whole numbers from 0 to 255'),
        'wrong shape': (of_array(picture), 'expected shape [batch, height, width, 3]'),
        'shape and data': (
            of_array(picture[None], shape=[2, *picture.shape]),
            'does not fit the data',
        ),
        'none': ({'inputs': []}, 'expected one input'),
        'no input': ({}, 'inputs'),
        'empty batch': ({'inputs': [{**good, 'shape': [0], 'data': []}]}, 'holds no image'),
        'other name': ({'inputs': [{**good, 'name': 'image'}]}, "found ['image']"),
        'two inputs': ({'inputs': [good, good]}, 'expected one input'),
    }


def test_right_answers_of_bytes_and_arrays(server, small_detector, pictures):
    files = [encoded(picture) for picture in pictures]
    requests = [
        of_bytes(*files),
        of_bytes(files[1]),
        of_array(np.stack([pictures[0], pictures[2]])),
        of_bytes(files[2]),
    ]
    expected = small_detector(pictures)
    answers = ask(server[1], requests, 4)
    for (status, answer), wanted in zip(answers, ([0, 1, 2], [1], [0, 2], [2]), strict=True):
        assert status == 200, answer
        same(answer, [expected[i] for i in wanted])


HEADS = {
    'classification': ('efficientnet-lite0', {'backbone_name': TINY['backbone_name']}),
    'anchor+segmentation': ('efficientdet-lite0', {**TINY, 'head': 'anchor+segmentation'}),
    'points': ('efficientdet-lite0', {**TINY, 'head': 'points'}),
    'center': (
        'centernet-lite0',
        {'backbone_name': TINY['backbone_name'], 'fpn_num_filters': 8, 'score_thresh': 0.0},
    ),
}


@pytest.mark.parametrize('head', HEADS)
def test_other_heads_are_served(head, pictures, tmp_path):
    name, settings = HEADS[head]
    short = {'image_size': 128, 'num_classes': 5, 'max_output_size': 4}
    model = efficientdet(load_config(name, [settings, short]))
    export_savedmodel(model, tmp_path / 'cells')
    expected = Detector(model)(pictures)
    with running(tmp_path / 'cells', tmp_path / 'log.txt') as (_, port, *_):
        ((status, answer),) = ask(port, [of_bytes(*map(encoded, pictures))], 1)
    assert status == 200, answer
    same(answer, expected)
    found = arrays(answer)
    assert ('mask' in found) == ('segmentation' in head)
    for one, mask in zip(expected, found.get('mask', ()), strict=False):
        height, width = one.mask.shape
        np.testing.assert_array_equal(mask[:height, :width], one.mask)


def test_a_bad_request_is_told_what_is_wrong_and_fails_no_other(server, small_detector, pictures):
    good, cases = of_bytes(encoded(pictures[0])), faulty(pictures[0])
    answers = ask(server[1], [request for bad, _ in cases.values() for request in (good, bad)], 40)
    for status, answer in answers[::2]:
        assert status == 200, answer
        same(answer, small_detector(pictures[0]))
    for (name, (_, message)), (status, answer) in zip(cases.items(), answers[1::2], strict=True):
        assert 400 <= status < 500 and message in json.dumps(answer).replace('\\"', '"'), (
            name,
            status,
            answer,
        )


def test_the_photo_is_turned_by_its_exif(server, small_detector, pictures):
    exif = Image.Exif()
    exif[0x0112] = 6
    ((status, answer),) = ask(
        server[1], [of_bytes(encoded(np.rot90(pictures[1]), 'JPEG', exif=exif, quality=100))], 1
    )
    assert status == 200
    upright = arrays(answer)
    ((_, plain),) = ask(server[1], [of_bytes(encoded(pictures[1], 'JPEG', quality=100))], 1)
    assert abs(upright['scores'][0, 0] - arrays(plain)['scores'][0, 0]) < 0.05
    assert upright['boxes'][0, :, 2].max() > 70  # taller than wide again


def test_health_labels_and_metrics(server):
    _, port, _, metrics = server
    ask(port, [of_bytes(b'')], 1)

    def get(where, at=port):
        return urllib.request.urlopen(f'http://127.0.0.1:{at}{where}').read().decode()

    for where in (
        '/v2/health/live',
        '/v2/health/ready',
        '/v2/models/cells/ready',
        '/v2/models/cells/versions/1/ready',
    ):
        get(where)
    model = json.loads(get('/v2/models/cells'))
    assert json.loads(model['parameters']['labels'])['ids'] == [1, 18, 400]
    assert {row['name']: row['shape'] for row in model['inputs']} == {
        'image_bytes': [-1],
        'images': [-1, -1, -1, 3],
    }
    said = get('/metrics', metrics)
    counted = [
        line for line in said.splitlines() if line.startswith('model_infer_request_failure_total')
    ]
    assert counted and 'cells' in counted[0] and float(counted[0].split()[-1]) >= 1, said


def test_grpc_of_kserve(server, small_detector, pictures):
    import grpc
    from mlserver.grpc import dataplane_pb2, dataplane_pb2_grpc

    async def infer(*files):
        contents = dataplane_pb2.InferTensorContents(bytes_contents=files)
        tensor = dataplane_pb2.ModelInferRequest.InferInputTensor(
            name='image_bytes', datatype='BYTES', shape=[len(files)], contents=contents
        )
        async with grpc.aio.insecure_channel(f'127.0.0.1:{server[2]}') as channel:
            stub = dataplane_pb2_grpc.GRPCInferenceServiceStub(channel)
            return await stub.ModelInfer(
                dataplane_pb2.ModelInferRequest(model_name='cells', inputs=[tensor])
            )

    outputs = {row.name: row for row in asyncio.run(infer(*map(encoded, pictures))).outputs}
    expected = small_detector(pictures)
    assert list(outputs['count'].contents.int_contents) == [len(one) for one in expected]
    scores = np.array(outputs['scores'].contents.fp32_contents).reshape(outputs['scores'].shape)
    np.testing.assert_allclose(scores[1, : len(expected[1])], expected[1].scores, atol=1e-4)
    with pytest.raises(grpc.aio.AioRpcError, match='not a readable JPEG') as raised:
        asyncio.run(infer(b'hello'))
    assert raised.value.code() == grpc.StatusCode.INVALID_ARGUMENT


def test_the_example_client(server, small_detector, pictures, tmp_path):
    Image.fromarray(pictures[0]).save(tmp_path / 'photo.png')
    command = [
        sys.executable,
        ROOT / 'examples' / 'ask_server.py',
        f'http://127.0.0.1:{server[1]}/v2/models/cells',
        'photo.png',
    ]
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    rows, (expected,) = (
        [line.split() for line in done.stdout.splitlines()],
        small_detector(pictures[0]),
    )
    assert len(rows) == len(expected) and rows[0][1] == expected.names[expected.classes[0]]
    np.testing.assert_allclose([float(row[2]) for row in rows], expected.scores, atol=2e-4)
    np.testing.assert_allclose(
        [[float(x) for x in row[3:]] for row in rows], expected.boxes, atol=2e-2
    )


def test_a_wrong_folder_is_refused_before_anything_listens(tmp_path):
    done = subprocess.run(
        [sys.executable, str(ROOT / 'tools' / 'serve.py'), f'--model={tmp_path}/nowhere'],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (
        done.returncode == 1
        and 'nowhere: no such export' in done.stderr
        and 'Traceback' not in done.stderr
    )


# TensorFlow and the allocator keep the memory of the busiest moment, so the server grows at first:
# in 75 rounds by 10 MB after the 25th (results/serving_memory.csv).
ROUNDS, WARM = 30, 15  # of 200 requests
GROWTH = 25  # megabytes that it may grow after the first WARM rounds: 8 KB a request


@pytest.mark.slow
def test_two_hundred_mixed_requests_at_once_without_growth(server, small_detector, pictures):
    process, port, *_ = server
    names = ('broken jpeg', 'wrong dtype', 'huge', 'none')
    bad, expected = faulty(pictures[0]), small_detector(pictures)
    requests = [
        of_bytes(encoded(pictures[i % 3])) if i % 2 else bad[names[i // 2 % 4]][0]
        for i in range(200)
    ]
    started, after = time.perf_counter(), []
    for _ in range(ROUNDS):
        for i, (status, answer) in enumerate(ask(port, requests, 200)):
            if i % 2:
                assert status == 200, answer
                same(answer, [expected[i % 3]])
            else:
                assert 400 <= status < 500 and bad[names[i // 2 % 4]][1] in json.dumps(answer), (
                    status,
                    answer,
                )
        after.append(memory(process))
    print(
        f'\n{ROUNDS * 200} mixed requests, 200 at once: {time.perf_counter() - started:.1f} s; '
        f'resident MB after each 200: {[round(megabytes) for megabytes in after]}'
    )
    assert after[-1] - after[WARM - 1] < GROWTH


@pytest.mark.slow
def test_batching_pays(folder, pictures):
    files, rates = [encoded(picture) for picture in pictures], {}
    for size in (1, 16):
        flags = f'--max_batch_size={size}', '--max_batch_time=0.02'
        with running(folder, folder.parent / f'log-{size}.txt', *flags) as (_, port, *_):
            requests = [of_bytes(files[i % 3]) for i in range(300)]
            ask(port, requests[:60], 32)
            started = time.perf_counter()
            assert all(status == 200 for status, _ in ask(port, requests, 32))
            rates[size] = len(requests) / (time.perf_counter() - started)
    print(
        f'\nrequests per second, 32 at once: {rates[1]:.1f} alone, '
        f'{rates[16]:.1f} in batches of up to 16'
    )
    assert rates[16] > rates[1]  # by how much: results/serving.csv, from a machine that is alone
