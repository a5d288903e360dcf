"""Write the `keras2_*` files: ``python write_keras_2.py OUT``."""

import sys
from pathlib import Path

import numpy as np
import tf_keras as keras
from tf_keras import Input, Model, Sequential
from tf_keras import layers as L

OUT = Path(sys.argv[1])
RNG = np.random.default_rng(0)


def nested():
    """A model inside a model, called twice, one layer of it kept from being trained."""
    image = Input((8, 8, 2))
    x = L.Conv2D(2, 3, padding="same", activation="swish", name="inner_convolution")(image)
    inner = Model(image, L.BatchNormalization(name="inner_norm")(x), name="inner")
    inner.layers[1].trainable = False
    image = Input((8, 8, 2))
    y = L.Concatenate()([inner(inner(image)), inner(image)])
    return Model(image, L.Dense(3)(L.Flatten()(y)))


def row_in_model():
    block = [
        L.Conv2D(2, 3, padding="same", input_shape=(8, 8, 2)),
        L.BatchNormalization(),
        L.ReLU(6.0),
    ]
    row = Sequential(block, name="block")
    image = Input((8, 8, 2))
    return Model(image, L.Dense(3)(L.Flatten()(L.Add()([row(row(image)), row(image)]))))


def activated():
    """Activations that are layers, or that Keras 3 computes otherwise."""
    image = Input((10, 10, 1))
    shared = L.Conv2D(1, 3, padding="same", activation="hard_sigmoid")
    x = L.Concatenate()([shared(shared(image)), image])
    x = L.PReLU(shared_axes=[1, 2])(L.LeakyReLU(0.2)(x))
    x = L.SeparableConv2D(4, 3, depth_multiplier=2, activation=L.LeakyReLU(alpha=0.1))(x)
    return Model(image, L.Dense(2, activation="softmax")(L.Flatten()(L.Add()([x, x]))))


def not_begun():
    """A row of layers that is told its image when it is called."""
    model = Sequential(
        [L.Conv2D(4, 3, activation="relu"), L.MaxPooling2D(), L.Flatten(), L.Dense(3)]
    )
    model(np.zeros((1, 8, 8, 3), np.float32))
    return model


def many_layers():
    normalization = L.Normalization()
    normalization.adapt(RNG.uniform(0, 1, (8, 12, 12, 3)).astype(np.float32))
    return Sequential(
        [
            Input((12, 12, 3)),
            L.Rescaling(1 / 255.0),
            normalization,
            L.RandomFlip("horizontal"),
            L.Conv2D(4, 3, strides=2, padding="same"),
            L.LayerNormalization(),
            L.ELU(),
            L.ThresholdedReLU(0.1),
            L.UpSampling2D(),
            L.ZeroPadding2D(1),
            L.DepthwiseConv2D(3, depth_multiplier=2),
            L.SpatialDropout2D(0.2),
            L.GaussianNoise(0.1),
            L.Conv2DTranspose(3, 3, strides=2),
            L.AveragePooling2D(),
            L.GlobalMaxPooling2D(),
            L.Dense(2),
        ]
    )


def over_one_axis():
    return Sequential(
        [
            L.Conv1D(4, 5, padding="causal", input_shape=(30, 2), activation="elu"),
            L.MaxPooling1D(),
            L.BatchNormalization(),
            L.SeparableConv1D(3, 3),
            L.TimeDistributed(L.Dense(3)),
            L.LSTM(4),
            L.Dense(2),
        ]
    )


def prepared(prepare):
    """A model that prepares its pixels: operators of TensorFlow, stored as layers."""
    image = Input((8, 8, 3))
    x = L.Conv2D(3, 3)(prepare(image))
    return Model(image, L.Dense(2)(L.GlobalAveragePooling2D()(x)))


def gated():
    image = Input((8, 8, 3))
    x = L.Conv2D(4, 3)(image)
    gate = L.GlobalAveragePooling2D(keepdims=True)(x)
    x = L.Multiply()([x, L.Conv2D(4, 1, activation="hard_sigmoid")(gate)])
    x = L.Permute((2, 1))(L.Reshape((-1, 4))(x))
    return Model(image, L.Dense(2)(L.Flatten()(x)))


def attended():
    image = Input((8, 8, 3))
    x = L.Reshape((4, 8))(L.Conv2D(8, 4, strides=4)(image))
    x = L.Add()([x, L.MultiHeadAttention(2, 4)(x, x)])
    return Model(image, L.Dense(2)(L.GlobalAveragePooling1D()(x)))


applications = keras.applications
MODELS = {
    "nested": nested,
    "row_in_model": row_in_model,
    "activated": activated,
    "not_begun": not_begun,
    "many_layers": many_layers,
    "over_one_axis": over_one_axis,
    "prepared_tf": lambda: prepared(applications.mobilenet_v2.preprocess_input),
    "prepared_caffe": lambda: prepared(applications.resnet50.preprocess_input),
    "prepared_torch": lambda: prepared(applications.densenet.preprocess_input),
    "gated": gated,
    "attended": attended,
}

ALSO_ZIPPED = ("nested", "row_in_model", "many_layers", "over_one_axis")
"""Models that are also saved as the ``.keras`` files of Keras 2.12 and later."""

for name, build in MODELS.items():
    model = build()
    for variable in model.weights:
        if variable.name.partition(":")[0] not in ("mean", "variance", "count"):  # what adapt() set
            low = 0.5 if "variance" in variable.name else -0.5
            variable.assign(RNG.uniform(low, low + 1, variable.shape))
    high = 255 if name.startswith("prepared") else 1
    x = RNG.uniform(-1, high, (2, *model.input_shape[1:])).astype(np.float32)
    for ending in (".h5", ".keras") if name in ALSO_ZIPPED else (".h5",):
        model.save(OUT / f"keras2_{name}{ending}")
    np.savez(OUT / f"keras2_{name}.npz", x=x, y=model.predict(x, verbose=0))
