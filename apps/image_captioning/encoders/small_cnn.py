"""A small convolutional network that is trained with the decoder."""

import keras

from shared.layers.seeds import derive_seeds


def small_cnn(image_size, filters, seed=None):
    """Builds the network: in each stage, a 3x3 convolution of stride 2, then one of stride 1.

        x = relu(norm(conv(x)))          for both convolutions of each stage

    Args:
        image_size: height and width of the images.
        filters: number of filters of each stage; each stage halves the height and the width.
        seed: seed of the weights.

    Returns:
        An uncompiled `keras.Model` from images, (batch, image_size, image_size, 3), RGB from 0 to 255, to a
        grid of features, (batch, height, width, filters[-1]).
    """
    seeds = derive_seeds(seed, step=1000)
    images = keras.Input((image_size, image_size, 3), name="images")
    x = keras.layers.Rescaling(1 / 127.5, -1, name="scaling")(images)
    for i, count in enumerate(filters):
        for j, stride in enumerate((2, 1)):
            name = f"stage_{i}_{j}"
            x = keras.layers.Conv2D(
                count, 3, stride, "same", use_bias=False, name=f"{name}_convolution",
                kernel_initializer=keras.initializers.HeNormal(next(seeds)),
            )(x)  # fmt: skip
            # Averages over 1 / (1 - 0.9) steps: a training has few of them.
            x = keras.layers.BatchNormalization(momentum=0.9, name=f"{name}_normalization")(x)
            x = keras.layers.ReLU(name=f"{name}_relu")(x)
    return keras.Model(images, x, name="small_cnn")
