"""jopt: optimizers as data, and sweeps of many trainings in one compiled program."""

from jopt._version import __version__ as __version__
from jopt.compress import *
from jopt.core import (
    Buckets as Buckets,
    Chain as Chain,
    EmptyState as EmptyState,
    GradientTransformation as GradientTransformation,
    apply_updates as apply_updates,
    chain as chain,
    check as check,
    field as field,
    global_norm as global_norm,
    hyperparameters as hyperparameters,
    late as _late,
    named_chain as named_chain,
    pack as pack,
    pack_like as pack_like,
    pytree as pytree,
    replace as replace,
    static as static,
    unpack as unpack,
)
from jopt.interop import *
from jopt.interop import OPTAX_NAMES as _OPTAX_NAMES, find_in_optax as _find_in_optax
from jopt.optimizers import *
from jopt.schedules import *
from jopt.training import *
from jopt.transforms import *
from jopt.wrappers import *

from jopt import contrib as contrib  # isort: skip

__getattr__, __dir__ = _late(__name__, _OPTAX_NAMES, _find_in_optax)
