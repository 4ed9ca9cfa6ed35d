"""Gradient descent with Gaussian noise."""

from jopt.core import Chain, Key, Number, ScalarOrSchedule, chain, checked
from jopt.transforms import add_noise, scale_by_learning_rate


@checked
def noisy_sgd(
    learning_rate: ScalarOrSchedule,
    eta: Number = 0.01,
    gamma: Number = 0.55,
    key: Key | None = None,
    *,
    seed: int | None = None,
) -> Chain:
    """Step along the negative gradient, with noise that decreases.

        p <- p - learning_rate (g + sqrt(eta / t^gamma) n),  n of variance 1

    Args:
      learning_rate: step size, at least 0, in units of params squared per unit of loss;
        a number or a schedule.
      eta, gamma, key, seed: see `add_noise`.

    Neelakantan et al. 2015, https://arxiv.org/abs/1511.06807.
    """
    return chain(
        add_noise(eta, gamma, key, seed=seed), scale_by_learning_rate(learning_rate)
    )
