"""Short runs of `fit`, in this process and in one that is killed."""

import os
import signal

import jax
from classifiers import BATCH, plain_loss, plain_model

import jopt
from jopt.training import TrainState, fit, train_step

STEP = train_step(plain_loss)
BATCHES = [(BATCH[0][i : i + 4], BATCH[1][i : i + 4]) for i in range(0, 16, 4)]


def created(rate=0.1, model=plain_model):
    return TrainState.create(model(), jopt.adam(rate), 3)


def evaluate(state):
    return {"loss": plain_loss(state.eval_params, BATCH, None)}


def kept(directory, kill_in=None):
    """Train for 6 epochs, kept in `directory`; kill this process in one of them."""

    def batches(epoch):
        key = jax.random.fold_in(jax.random.key(0), epoch)
        order = jax.random.permutation(key, len(BATCHES)).tolist()
        yield from (BATCHES[number] for number in order)
        if epoch == kill_in:
            os.kill(os.getpid(), signal.SIGKILL)

    return fit(
        created(), STEP, batches, epochs=6, evaluate=evaluate, checkpoint=directory
    )
