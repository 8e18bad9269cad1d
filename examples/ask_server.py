"""Asks a server of `tools/serve.py` with nothing but Python: boxes on photos over the KServe V2 protocol.

Example:
  python examples/ask_server.py http://127.0.0.1:8080/v2/models/cells photo.jpg
"""

import base64
import json
import pathlib
import sys
import urllib.request

url, *photos = sys.argv[1:]
names = json.loads(json.load(urllib.request.urlopen(url))['parameters']['labels'])['names']
data = [base64.b64encode(pathlib.Path(photo).read_bytes()).decode() for photo in photos]
request = {
    'inputs': [{'name': 'image_bytes', 'datatype': 'BYTES', 'shape': [len(data)], 'data': data}]
}
post = urllib.request.Request(
    f'{url}/infer', json.dumps(request).encode(), {'Content-Type': 'application/json'}
)
answer = json.load(urllib.request.urlopen(post))
found = {output['name']: output['data'] for output in answer['outputs']}
rows = len(found['scores']) // len(photos)
for i, photo in enumerate(photos):
    for k in range(i * rows, i * rows + found['count'][i]):
        box = [round(x, 3) for x in found['boxes'][4 * k : 4 * k + 4]]
        print(photo, names[found['classes'][k]], f'{found["scores"][k]:.5f}', *box)
