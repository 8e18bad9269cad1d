"""An export answers what a client of TensorFlow Serving sends, in the messages of its protocol.

The server itself is not on any package index, so a servicer of a few lines takes its place. Needs
`tensorflow-serving-api`.
"""

from concurrent import futures

import numpy as np
import pytest
import tensorflow as tf
from server import encoded

from keras_efficientdet import export_savedmodel

grpc = pytest.importorskip('grpc', reason='grpcio is not installed; `make test-serve` installs it')
pytest.importorskip(
    'tensorflow_serving',
    reason='tensorflow-serving-api is not installed; `make test-serve` installs it',
)

from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc  # noqa: E402


class Servicer(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Predict of TensorFlow Serving: a signature by name, tensors in, tensors out."""

    def __init__(self, folder):
        self.loaded = tf.saved_model.load(str(folder))

    def Predict(self, request, context):
        signature = self.loaded.signatures[request.model_spec.signature_name or 'serving_default']
        try:
            found = signature(
                **{
                    name: tf.constant(tf.make_ndarray(tensor))
                    for name, tensor in request.inputs.items()
                }
            )
        except tf.errors.InvalidArgumentError as error:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, error.message)
        outputs = {name: tf.make_tensor_proto(value.numpy()) for name, value in found.items()}
        return predict_pb2.PredictResponse(model_spec=request.model_spec, outputs=outputs)


@pytest.fixture(scope='module')
def predict(small_model, tmp_path_factory):
    """The function (signature, inputs) -> {name: array}, through a channel."""
    server = grpc.server(futures.ThreadPoolExecutor(2))
    folder = export_savedmodel(small_model, tmp_path_factory.mktemp('tf_serving'))
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(Servicer(folder), server)
    port = server.add_insecure_port('127.0.0.1:0')
    server.start()
    with grpc.insecure_channel(f'127.0.0.1:{port}') as channel:
        yield lambda signature, **inputs: _ask(
            prediction_service_pb2_grpc.PredictionServiceStub(channel), signature, **inputs
        )
    server.stop(None)


def _ask(stub, signature, **inputs):
    request = predict_pb2.PredictRequest(
        inputs={name: tf.make_tensor_proto(value) for name, value in inputs.items()}
    )
    request.model_spec.name, request.model_spec.signature_name = 'cells', signature
    return {
        name: tf.make_ndarray(tensor)
        for name, tensor in stub.Predict(request, timeout=120).outputs.items()
    }


def _same(found, expected):
    assert list(found['count']) == [len(one) for one in expected] and min(found['count']) > 10
    for i, one in enumerate(expected):
        np.testing.assert_allclose(found['scores'][i, : len(one)], one.scores, atol=1e-4)
        np.testing.assert_allclose(found['boxes'][i, : len(one)], one.boxes, atol=1e-2)
        np.testing.assert_array_equal(found['classes'][i, : len(one)], one.classes)


def test_arrays_and_bytes(predict, small_detector, pictures):
    expected = small_detector(pictures)
    _same(predict('', images=np.stack([pictures[0], pictures[2]])), [expected[0], expected[2]])
    _same(
        predict('serving_bytes', image_bytes=[encoded(picture) for picture in pictures]), expected
    )


def test_labels(predict):
    found = predict('labels')
    assert list(found['ids']) == [1, 18, 400] and list(found['names']) == [b'cat', b'dog', b'van']


def test_a_broken_picture_is_an_invalid_argument(predict):
    with pytest.raises(grpc.RpcError) as raised:
        predict('serving_bytes', image_bytes=[b'hello'])
    assert raised.value.code() == grpc.StatusCode.INVALID_ARGUMENT
