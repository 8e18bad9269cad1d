"""Asks a server of `efficientdet serve` for detections, with nothing but Python (KServe V2, REST).

Example:
  python examples/ask_server.py http://127.0.0.1:8080/v2/models/cells photo.jpg
"""

import base64
import json
import pathlib
import sys
import urllib.request

url, *photos = sys.argv[1:]
metadata = json.load(urllib.request.urlopen(url))
names = json.loads(metadata['parameters']['labels'])['names']
data = [base64.b64encode(pathlib.Path(photo).read_bytes()).decode() for photo in photos]
request = {
    'inputs': [{'name': 'image_bytes', 'datatype': 'BYTES', 'shape': [len(data)], 'data': data}]
}
post = urllib.request.Request(
    f'{url}/infer', json.dumps(request).encode(), {'Content-Type': 'application/json'}
)
answer = json.load(urllib.request.urlopen(post))
found = {output['name']: output['data'] for output in answer['outputs']}  # flat lists
rows = len(found['scores']) // len(photos)  # per photo; those from its count on are padding
for i, photo in enumerate(photos):
    first = i * rows
    for k in range(first, first + found['count'][i]):
        name = names[found['classes'][k]]
        box = [round(side, 3) for side in found['boxes'][4 * k : 4 * k + 4]]
        print(photo, name, f'{found["scores"][k]:.5f}', *box)  # box: ymin xmin ymax xmax, pixels
