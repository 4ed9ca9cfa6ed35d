# %% [markdown]
# # Linear regression by every optimizer
#
# Least squares has a closed form. It tells what an optimizer should reach, and how far
# from it a badly chosen rate ends. The data are scikit-learn's: ten measurements of 442
# patients, and how far their diabetes had progressed a year later.

# %%
import jax.numpy as jnp
import numpy as np
from sklearn.datasets import load_diabetes

import jopt
from jopt import sweep

inputs, answers = load_diabetes(return_X_y=True)
order = np.random.default_rng(0).permutation(len(inputs))
inputs, answers = inputs[order], answers[order] / 100
train, valid = slice(0, 342), slice(342, None)

# Statistics of the training part alone: the rest is as unknown as new patients.
inputs = (inputs - inputs[train].mean(axis=0)) / inputs[train].std(axis=0)
inputs, answers = inputs.astype("float32"), answers.astype("float32")

# %% [markdown]
# ## The closed form
#
# The weights that make the mean square of the errors least solve a linear system.


# %%
def with_constant(inputs):
    return np.column_stack([inputs, np.ones(len(inputs))]).astype("float64")


weights, *_ = np.linalg.lstsq(with_constant(inputs[train]), answers[train], rcond=None)
least = np.mean((with_constant(inputs[train]) @ weights - answers[train]) ** 2)
print(f"least mean square of the training errors: {least:.5f}")

# %% [markdown]
# ## One task, ten optimizers, nine rates each
#
# A step sees all patients, so that nothing but the optimizer and its rate decides. The
# rate falls to zero along a cosine: methods that step by the sign of the gradient never
# come to rest at a constant rate. A name is no number: each optimizer gets a program of
# its own, which trains its nine rates at once.


# %%
def squares(params, inputs, answers):
    return (inputs @ params["slopes"] + params["constant"] - answers) ** 2


task = sweep.Task.from_model(
    "least squares",
    make=lambda key: {"slopes": jnp.zeros(10), "constant": jnp.zeros(())},
    loss_fn=lambda params, batch, key: squares(params, *batch).mean(),
    evaluate=lambda params, batch: {"loss": squares(params, *batch)},
    train=(inputs[train], answers[train]),
    valid=(inputs[valid], answers[valid]),
    batch_size=len(answers[train]),
)

STEPS = 1000
OPTIMIZERS = {
    "gradient descent": jopt.sgd,
    "momentum": lambda rate: jopt.sgd(rate, momentum=0.9),
    "Nesterov": lambda rate: jopt.sgd(rate, momentum=0.9, nesterov=True),
    "Adagrad": jopt.adagrad,
    "RMSprop": jopt.rmsprop,
    "Adam": jopt.adam,
    "NAdam": jopt.nadam,
    "Adan": lambda rate: jopt.adan(rate, weight_decay=0.0),
    "Lion": lambda rate: jopt.lion(rate, weight_decay=0.0),
    "Schedule-Free": lambda rate: jopt.schedule_free_adamw(rate, warmup_steps=50),
}


def factory(optimizer, rate):
    constant = optimizer == "Schedule-Free"  # it averages in place of a schedule
    schedule = rate if constant else jopt.cosine_decay_schedule(rate, STEPS)
    return OPTIMIZERS[optimizer](schedule)


rates = np.geomspace(1e-3, 10, 9)
trials = sweep.grid(factory, optimizer=list(OPTIMIZERS), rate=rates)
result = sweep.run(task, trials, steps=STEPS, segments=1)

# %% [markdown]
# At its best rate, each comes to the closed form. The column *rates* counts the rates
# that end within 1 % of it: the more they are, the less the choice of a rate matters.

# %%
final = result.curves[:, -1]  # training loss at the last step
names = result.table["optimizer"]
print(f"{'optimizer':18} {'best rate':>9} {'loss - least':>13} {'rates':>6}")
for name in OPTIMIZERS:
    mine = np.where((names == name) & np.isfinite(final), final, np.inf)
    best, close = int(mine.argmin()), int((mine < 1.01 * least).sum())
    rate = result.table["rate"][best]
    print(f"{name:18} {rate:9.3g} {final[best] - least:13.2e} {close:6}")
    assert final[best] - least < 1e-3, "the closed form is not reached"

# %% [markdown]
# ## A sum of gradients is not momentum
#
# Momentum forgets: `v <- 0.9 v + g`. Without forgetting, `v <- v + g`,
# the step grows as long as gradients keep their sign, overshoots, and swings without an
# end. A rate that falls as `0.9^t` hides this: after 50 steps it is 0.005 of what it
# was, and the parameters stand still wherever they are.


# %%
def summed(rate, forgetting, decay):
    schedule = jopt.exponential_decay(rate, 1, decay)
    return jopt.chain(jopt.trace(forgetting), jopt.scale_by_learning_rate(schedule))


settings = {
    "momentum": (0.9, 1.0),
    "a sum": (1.0, 1.0),
    "a sum, at a rate that falls": (1.0, 0.9),
}
trials = [
    trial
    for forgetting, decay in settings.values()
    for trial in sweep.grid(summed, rate=[0.01], forgetting=[forgetting], decay=[decay])
]
result = sweep.run(task, trials, steps=STEPS, segments=1)
for name, losses in zip(settings, result.curves, strict=True):
    at = ", ".join(f"{losses[step] - least:.4f}" for step in (50, 200, 999))
    print(f"{name:28} loss - least after 50, 200 and 1000 steps: {at}")

# %% [markdown]
# ## What the weights say
#
# A penalty on the absolute size of the weights sets some of them to zero: it chooses
# among the measurements. `proximal_l1` makes exact zeros; its strength is a number, and
# all strengths train in one program.


# %%
def lasso(strength):
    schedule = jopt.cosine_decay_schedule(0.1, STEPS)
    only_slopes = {"slopes": True, "constant": False}
    return jopt.chain(
        jopt.sgd(schedule),
        jopt.masked(jopt.proximal_l1(strength, schedule), only_slopes),
    )


result = sweep.run(
    task, sweep.grid(lasso, strength=[0.0, 0.01, 0.1, 0.3]), steps=STEPS, segments=1
)
for trial, strength in enumerate(result.table["strength"]):
    slopes = np.asarray(result.params(trial)["slopes"])
    error = result.table["valid_loss"][trial]
    print(f"strength {strength:g}: {np.sum(slopes != 0)} of 10 weights, {error:.4f}")
