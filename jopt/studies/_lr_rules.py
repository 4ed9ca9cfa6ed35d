"""What learning rate a curve of losses against rates suggests: rules, each a function.

A curve is `rates`, ascending, float64[rates], and `losses`, finite, float64[rates]: of
constant rates, those below the divergence edge; of a ramp, the steps before it stops.
Each rule returns one of the rates, as a float.
"""

import numpy as np


def nearly_least(
    rates: np.ndarray, losses: np.ndarray, first: float, share: float = 0.95
) -> float:
    """Return the least rate that gains nearly as much as the best one.

        the least rate with  loss <= first - share (first - least loss)
                        and  rate >= best rate / 10

    Near its least a curve is flat and noisy, and of rates that do alike in a short
    test the smaller ones are safer in a long training. It is the idea of the one
    standard error rule (Breiman et al. 1984, Classification and Regression Trees,
    section 3.4.3) with a share of the gain in place of the error: the same for losses
    scaled or shifted. Where a test is so long that the loss all but vanishes, rates far
    too small reach the share too; hence the tenth.

    Measured with adamw, sgd with and without momentum, and lion, on `digits` and an MLP
    of MNIST's images: tests of 100 steps, then trainings of 500. Their validation loss
    was this many times that of the best rate (geometric means of all eight):

                           constant rate    cosine decay
        nearly least            1.33            1.23
        a tenth of least        1.26            1.58
        least                   1.84            1.43
        steepest                1.85            3.04
        ramp's valley           1.61            1.66

    first: the loss before training. share: of what the best rate gains, in (0, 1].
    """
    losses = smoothed(losses)
    near = losses <= first - share * (first - losses.min())
    near &= rates >= rates[np.argmin(losses)] / 10
    return float(rates[np.argmax(near)])


def steepest(rates: np.ndarray, losses: np.ndarray) -> float:
    """Return the rate where the loss falls fastest with the logarithm of the rate.

    Of a ramp's curve it was fastai's first suggestion (Gugger 2018,
    https://sgugger.github.io/how-do-you-find-a-good-learning-rate.html).
    """
    if len(rates) < 2:
        return float(rates[0])
    return float(rates[np.argmin(np.gradient(smoothed(losses), np.log(rates)))])


def tenth_of_least(rates: np.ndarray, losses: np.ndarray) -> float:
    """Return a tenth of the rate with the least loss, one order of magnitude back.

    It need not be among the rates. From the same page as `steepest`.
    """
    return float(rates[np.argmin(smoothed(losses))] / 10)


def valley(rates: np.ndarray, losses: np.ndarray) -> float:
    """Return the rate half the length of the longest descent before its end.

    A descent is a sequence of rates, not all in a row, each with a lower loss than the
    one before. fastai's suggestion since 2021 (https://github.com/fastai/fastai/pull/3377).
    Made for a ramp's curve, which is flat and noisy at small rates; constant rates have
    a curve so smooth that it descends from the first of them on, and the middle
    says no more than where the range began.
    """
    lengths = np.ones(len(losses), int)
    for here in range(1, len(losses)):
        higher = lengths[:here][losses[:here] > losses[here]]
        lengths[here] += higher.max(initial=0)
    end = int(np.argmax(lengths))
    return float(rates[end - lengths[end] // 2])


def smoothed(losses: np.ndarray) -> np.ndarray:
    """Return means over each loss and its two neighbours, which count half."""
    around = np.pad(losses, 1, mode="edge")
    return (around[:-2] + 2 * around[1:-1] + around[2:]) / 4
