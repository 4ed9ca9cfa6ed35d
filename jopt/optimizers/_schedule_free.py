"""Schedule-Free SGD and AdamW."""

from typing import Literal

from jopt.core import DType, Number, ScalarOrSchedule, chain, checked, error_about
from jopt.optimizers._rmsprop import scale_by_rms
from jopt.schedules import warmup_constant_schedule
from jopt.transforms import add_decayed_weights, identity
from jopt.wrappers import ScheduleFree, schedule_free


@checked
def schedule_free_sgd(
    learning_rate: ScalarOrSchedule = 1.0,
    warmup_steps: Number | None = None,
    b1: Number = 0.9,
    weight_decay: ScalarOrSchedule | None = None,
    weight_lr_power: Number = 2.0,
    state_dtype: DType = None,
    *,
    lag: Literal[0, 1] = 1,
) -> ScheduleFree:
    """Descend without a schedule: by the average of the iterates.

        z <- z - rate (g + weight_decay y),  y and x of `schedule_free`
        rate = learning_rate min(1, (t - lag) / warmup_steps),  t = 1 for the first

    Evaluate at `schedule_free_eval_params(state, params)`, not at the params.

        tx = jopt.schedule_free_sgd(1.0, warmup_steps=500)

    Args:
      learning_rate: step size, at least 0, in units of params squared per unit of loss;
        a number, or a schedule without warmup.
      warmup_steps: length of a linear warmup in steps, above 0. None is no warmup.
      b1, weight_lr_power, state_dtype: see `schedule_free`.
      weight_decay: at least 0, multiplied by the learning rate; a number or a schedule.
        None is off.
      lag: 1 as in optax, whose first step of a warmup has rate 0; 0 as in the paper and
        its authors' package, see `schedule_free`.

    Raises:
      ValueError: `warmup_steps` is given with a schedule, or is not above 0.

    Defazio et al. 2024, https://arxiv.org/abs/2405.15682, Algorithm 1.
    """
    decay = identity() if weight_decay is None else add_decayed_weights(weight_decay)
    rate = _warmed(learning_rate, warmup_steps)
    return schedule_free(decay, rate, b1, weight_lr_power, state_dtype, lag=lag)


@checked
def schedule_free_adamw(
    learning_rate: ScalarOrSchedule = 0.0025,
    warmup_steps: Number | None = None,
    b1: Number = 0.9,
    b2: Number = 0.999,
    eps: Number = 1e-8,
    weight_decay: ScalarOrSchedule = 0.0,
    weight_lr_power: Number = 2.0,
    state_dtype: DType = None,
    *,
    lag: Literal[0, 1] = 1,
) -> ScheduleFree:
    """Step as AdamW does, with an average of the iterates for momentum and schedule.

        z <- z - rate (u + weight_decay y),  y and x of `schedule_free`
        u = g / (sqrt(v / (1 - b2^t)) + eps)        v <- b2 v + (1 - b2) |g|^2

    Evaluate at `schedule_free_eval_params(state, params)`, not at the params.

        tx = jopt.schedule_free_adamw(2.5e-3, warmup_steps=500)

    Args:
      learning_rate: step size, at least 0, in units of params, 1 to 10 times AdamW's; a
        number, or a schedule without warmup.
      warmup_steps, lag: see `schedule_free_sgd`.
      b1, weight_lr_power, state_dtype: see `schedule_free`.
      b2: share of v that a step keeps, in [0, 1).
      eps: added outside the root, at least 0, in units of the gradients.
      weight_decay: at least 0, multiplied by the learning rate; a number or a schedule.

    Raises:
      ValueError: `warmup_steps` is given with a schedule, or is not above 0.

    Defazio et al. 2024, https://arxiv.org/abs/2405.15682, Algorithm 1; the bias of v is
    corrected in u, as in the authors' package, not in the learning rate.
    """
    direction = chain(
        scale_by_rms(b2, eps, eps_in_sqrt=False, bias_correction=True),
        add_decayed_weights(weight_decay),
    )
    rate = _warmed(learning_rate, warmup_steps)
    return schedule_free(direction, rate, b1, weight_lr_power, state_dtype, lag=lag)


def _warmed(
    learning_rate: ScalarOrSchedule, warmup_steps: Number | None
) -> ScalarOrSchedule:
    """Return the learning rate with a linear warmup, if there is one."""
    if warmup_steps is None:
        return learning_rate
    if callable(learning_rate):
        raise ValueError(
            "schedule_free: warmup_steps needs a learning rate that is a number, got "
            f"{learning_rate!r}; put the warmup into the schedule."
        )
    if isinstance(warmup_steps, (int, float)) and not warmup_steps > 0:
        with error_about(warmup_steps):
            raise ValueError(
                f"schedule_free: warmup_steps must be above 0, got {warmup_steps}; "
                "None is no warmup."
            )
    return warmup_constant_schedule(0.0, learning_rate, warmup_steps)
