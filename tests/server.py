"""A server of tools/serve.py as a process of its own, and the requests that tests send to it."""

import asyncio
import base64
import contextlib
import io
import pathlib
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

from PIL import Image

ROOT = pathlib.Path(__file__).resolve().parents[1]


@contextlib.contextmanager
def running(folder, log, *flags):
    """(process, port, grpc port, metrics port) of a ready server; it must still run at the end."""
    ports = _free_ports(3)
    named = [
        f'--{name}={port}'
        for name, port in zip(('port', 'grpc_port', 'metrics_port'), ports, strict=True)
    ]
    command = [
        sys.executable,
        str(ROOT / 'tools' / 'serve.py'),
        f'--model={folder}',
        *named,
        *flags,
    ]
    with open(log, 'w') as file:
        process = subprocess.Popen(
            command, stdout=file, stderr=subprocess.STDOUT, cwd=pathlib.Path(log).parent
        )
    try:
        _wait(process, f'http://127.0.0.1:{ports[0]}/v2/health/ready', log)
        yield process, *ports
        assert process.poll() is None, f'the server ended\n{pathlib.Path(log).read_text()[-4000:]}'
    finally:
        process.terminate()
        try:
            process.wait(60)  # it ends by itself when it is told to
        except subprocess.TimeoutExpired:
            process.kill()
            raise


def _free_ports(count):
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(('127.0.0.1', 0))
        return [one.getsockname()[1] for one in sockets]


def _wait(process, url, log, seconds=180):
    for _ in range(seconds * 5):
        with contextlib.suppress(urllib.error.URLError, ConnectionError):
            if urllib.request.urlopen(url).status == 200:
                return
        assert process.poll() is None, pathlib.Path(log).read_text()[-4000:]
        time.sleep(0.2)
    raise TimeoutError(pathlib.Path(log).read_text()[-4000:])


def encoded(picture, kind='PNG', **settings):
    """The bytes of a file of a uint8 picture [H, W, 3]."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, kind, **settings)
    return file.getvalue()


def of_bytes(*files):
    """A V2 request of encoded pictures."""
    data = [base64.b64encode(file).decode() for file in files]
    return {
        'inputs': [
            {'name': 'image_bytes', 'datatype': 'BYTES', 'shape': [len(files)], 'data': data}
        ]
    }


def of_array(batch, **change):
    """A V2 request of uint8 [B, H, W, 3]."""
    given = {
        'name': 'images',
        'datatype': 'UINT8',
        'shape': list(batch.shape),
        'data': batch.ravel().tolist(),
    }
    return {'inputs': [{**given, **change}]}


def ask(port, requests, at_once, model='cells'):
    """[(status, answer)] of V2 requests in their order, at most `at_once` of them on their way."""
    import aiohttp

    async def one(session, gate, request):
        async with (
            gate,
            session.post(
                f'http://127.0.0.1:{port}/v2/models/{model}/infer', json=request
            ) as answer,
        ):
            return answer.status, await answer.json()

    async def every():
        gate, connector = asyncio.Semaphore(at_once), aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(
            connector=connector, timeout=aiohttp.ClientTimeout(280)
        ) as session:
            return await asyncio.gather(*(one(session, gate, request) for request in requests))

    return asyncio.run(every())


def memory(process):
    """Resident megabytes of a process."""
    (line,) = [
        row
        for row in pathlib.Path(f'/proc/{process.pid}/status').read_text().splitlines()
        if row.startswith('VmRSS')
    ]
    return int(line.split()[1]) / 1024
