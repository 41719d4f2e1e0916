"""What a user could bring by import path."""

from typing import Any

import keras


def convolutional(row_shape: tuple[int, ...], n_components: int) -> keras.Model:
    """Images, scaled inside the encoder, through a convolution."""
    return keras.Sequential(
        [
            keras.Input(row_shape),
            keras.layers.Rescaling(1 / 16),
            keras.layers.Reshape((*row_shape, 1)),
            keras.layers.Conv2D(8, 3, strides=2, activation="relu"),
            keras.layers.Flatten(),
            keras.layers.Dense(n_components),
        ]
    )


def too_wide(row_shape: tuple[int, ...], n_components: int) -> keras.Model:
    """Gives one coordinate too many."""
    return keras.Sequential([keras.Input(row_shape), keras.layers.Flatten(), keras.layers.Dense(n_components + 1)])


def of_other_rows(row_shape: tuple[int, ...], n_components: int) -> keras.Model:
    """Takes rows of three values."""
    return keras.Sequential([keras.Input((3,)), keras.layers.Dense(n_components)])


def not_finite(row_shape: tuple[int, ...], n_components: int) -> keras.Model:
    """Divides by zero."""
    inputs = keras.Input(row_shape)
    places = keras.layers.Dense(n_components)(keras.layers.Flatten()(inputs))
    return keras.Model(inputs, keras.layers.Rescaling(float("inf"))(places))


def no_network(row_shape: tuple[int, ...], n_components: int) -> str:
    """Gives text."""
    return "network"


def of_images(row_shape: tuple[int, ...], n_components: int) -> keras.Model:
    """Takes images with channels only."""
    height, width, channels = row_shape
    return keras.Sequential([keras.Input((height, width, channels)), keras.layers.Flatten(), keras.layers.Dense(2)])


class Subclassed(keras.Model):
    """A model of one's own class."""

    def __init__(self, row_shape: tuple[int, ...], n_components: int) -> None:
        super().__init__()
        self.dense = keras.layers.Dense(n_components)

    def call(self, rows: Any) -> Any:
        return self.dense(rows)


@keras.saving.register_keras_serializable("brought")
class Halved(keras.layers.Layer):
    """A layer that only who imports this module knows."""

    def call(self, rows: Any) -> Any:
        return rows / 2


def of_a_layer_of_ones_own(row_shape: tuple[int, ...], n_components: int) -> keras.Model:
    """Has a registered layer."""
    return keras.Sequential([keras.Input(row_shape), Halved(), keras.layers.Dense(n_components)])


def of_images_of_any_size(row_shape: tuple[int, ...], n_components: int) -> keras.Model:
    """Takes images of one channel."""
    layers = [keras.layers.Conv2D(4, 3), keras.layers.GlobalMaxPooling2D(), keras.layers.Dense(n_components)]
    return keras.Sequential([keras.Input((None, None, row_shape[-1])), *layers])


def slow_adam() -> keras.optimizers.Optimizer:
    """An optimizer of one's own."""
    return keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(1e-3, 1000))


def squared(wanted: Any, placed: Any) -> Any:
    """A landmark loss."""
    return keras.ops.sum(keras.ops.square(wanted - placed), axis=-1)


class Nanning(keras.callbacks.Callback):
    """Ruins a weight when a report begins, the third one by default."""

    def __init__(self, report: int = 2) -> None:
        super().__init__()
        self.report = report

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if epoch == self.report:
            weights = self.model.encoder.get_weights()
            weights[-1][:] = float("nan")
            self.model.encoder.set_weights(weights)


class StopAfter(keras.callbacks.Callback):
    """Stops after some reports."""

    def __init__(self, reports: int) -> None:
        super().__init__()
        self.reports = reports

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self.model.stop_training = epoch + 1 >= self.reports


class BreakInSecondReport(keras.callbacks.Callback):  # type: ignore[misc]
    """Ends the process's work in the middle of the second report, as a fault would."""

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self.report = epoch

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        if self.report == 1 and batch > 0.6 * self.params["steps"]:
            raise RuntimeError("broken")


class BreakInValidation(keras.callbacks.Callback):  # type: ignore[misc]
    """Ends the process's work when the second report's steps are done, and it is not yet told."""

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self.report = epoch

    def on_test_begin(self, logs: dict[str, Any] | None = None) -> None:
        if self.report == 1:
            raise RuntimeError("broken")
