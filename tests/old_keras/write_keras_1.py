# ruff: noqa: F403, F405, the way in which Keras 1 was used
"""Write the `keras1_*` files: ``python write_keras_1.py FOLDER_WITH_KERAS_1 OUT``."""

import collections
import collections.abc
import inspect
import os
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, sys.argv[1])  # TensorFlow imports a Keras of its own where it finds no other
import tensorflow.compat.v1 as tf

# What Python and NumPy had when Keras 1 was written.
collections.Iterable = collections.abc.Iterable
ArgSpec = collections.namedtuple("ArgSpec", "args varargs keywords defaults")
inspect.getargspec = lambda function: ArgSpec(*inspect.getfullargspec(function)[:4])
os.environ["KERAS_BACKEND"] = "tensorflow"
tf.disable_v2_behavior()
OUT = Path(sys.argv[2])

from keras import backend  # noqa: E402
from keras.layers import *  # noqa: E402
from keras.models import Model, Sequential  # noqa: E402

backend.set_learning_phase(0)
RNG = np.random.RandomState(0)


def row(*layers, name=None):
    model = Sequential(name=name)
    for layer in layers:
        model.add(layer)
    return model


def padded(order):
    """What Keras 1 stores the order of channels of, and what it does not."""
    backend.set_image_dim_ordering(order)
    first = order == "th"
    return row(
        ZeroPadding2D((1, 1), input_shape=(3, 12, 12) if first else (12, 12, 3)),
        Convolution2D(4, 3, 2, activation="relu"),
        BatchNormalization(axis=1 if first else -1),
        MaxPooling2D((2, 2), strides=(2, 2)),
        AtrousConvolution2D(3, 3, 3, atrous_rate=(2, 2), border_mode="same"),
        LeakyReLU(0.1),
        SpatialDropout2D(0.2),
        UpSampling2D((2, 2)),
        Cropping2D(((1, 1), (0, 2))),
        AveragePooling2D((2, 2), border_mode="same"),
        Flatten(),
        Dense(5, activation="hard_sigmoid"),
        Dropout(0.5),
        Dense(3),
        Activation("softmax"),
    )


def separable():
    backend.set_image_dim_ordering("tf")
    return row(
        SeparableConvolution2D(4, 3, 3, depth_multiplier=2, input_shape=(8, 8, 3)),
        PReLU(),
        Deconvolution2D(3, 3, 2, output_shape=(None, 13, 12, 3), subsample=(2, 2)),
        PReLU(shared_axes=[1, 2]),
        ELU(0.5),
        ThresholdedReLU(0.1),
        GlobalAveragePooling2D(),
        Dense(2, activation="sigmoid"),
    )


def transposed_first():
    backend.set_image_dim_ordering("th")
    return row(
        Convolution2D(4, 3, 2, input_shape=(2, 8, 8), bias=False),
        Deconvolution2D(3, 3, 2, output_shape=(None, 3, 13, 14), subsample=(2, 2)),
        Flatten(),
        Dense(2),
    )


def merged():
    """Layers that are called twice, and every merge."""
    backend.set_image_dim_ordering("tf")
    image = Input((8, 8, 2))
    shared = Convolution2D(2, 3, 3, border_mode="same")
    x = shared(shared(image))
    joined = merge([x, image], mode="concat", concat_axis=-1)
    z = merge([merge([x, image], mode="sum"), x], mode="mul")
    y = merge([joined, merge([z, z], mode="concat")], mode="max")
    y = Flatten()(Permute((2, 1))(Reshape((-1, 4))(y)))
    return Model(image, Dense(3)(y))


def nested():
    """A model inside a model, called twice, one layer of it kept from being trained."""
    backend.set_image_dim_ordering("tf")
    image = Input((8, 8, 2))
    x = Convolution2D(2, 3, 3, border_mode="same", name="inner_convolution")(image)
    inner = Model(image, BatchNormalization(name="inner_norm")(x), name="inner")
    inner.layers[1].trainable = False
    image = Input((8, 8, 2))
    y = merge([inner(image), inner(inner(image))], mode="ave")
    return Model(image, Dense(3)(Flatten()(y)))


def row_of_models():
    backend.set_image_dim_ordering("tf")
    image = Input((8, 8, 2))
    base = Model(image, Activation("tanh")(Convolution2D(2, 3, 3)(image)), name="base")
    top = row(Flatten(input_shape=base.output_shape[1:]), Dense(4), name="top")
    return row(base, top)


def over_one_axis():
    return row(
        ZeroPadding1D(2, input_shape=(30, 3)),
        Convolution1D(4, 5, subsample_length=2, activation="relu"),
        MaxPooling1D(2),
        AtrousConvolution1D(3, 3, atrous_rate=2),
        UpSampling1D(2),
        Cropping1D((1, 0)),
        AveragePooling1D(pool_length=3, stride=2),
        TimeDistributed(Dense(3, activation="relu")),
        Flatten(),
        Dense(2),
    )


def over_three_axes(order):
    backend.set_image_dim_ordering(order)
    return row(
        Convolution3D(3, 3, 2, 3, input_shape=(6, 6, 6, 1) if order == "tf" else (1, 6, 6, 6)),
        MaxPooling3D((2, 2, 2)),
        ZeroPadding3D((1, 1, 1)),
        Flatten(),
        Dense(2),
    )


MODELS = {
    "padded_first": lambda: padded("th"),
    "padded_last": lambda: padded("tf"),
    "separable": separable,
    "transposed_first": transposed_first,
    "merged": merged,
    "nested": nested,
    "row_of_models": row_of_models,
    "over_one_axis": over_one_axis,
    "over_three_axes_first": lambda: over_three_axes("th"),
    "over_three_axes_last": lambda: over_three_axes("tf"),
    "of_features": lambda: row(
        Dense(6, input_dim=4, activation="softplus"), Dense(2, activation="softsign")
    ),
}

for name, build in MODELS.items():
    model = build()
    for layer in model.layers:
        low = [0.5 if "running_std" in v.name else -0.5 for v in layer.weights]
        shapes = [w.shape for w in layer.get_weights()]
        layer.set_weights([RNG.uniform(a, a + 1, s) for a, s in zip(low, shapes, strict=True)])
    x = RNG.uniform(-1, 1, (2, *model.input_shape[1:])).astype(np.float32)
    model.save(str(OUT / f"keras1_{name}.h5"))
    np.savez(OUT / f"keras1_{name}.npz", x=x, y=model.predict(x))
