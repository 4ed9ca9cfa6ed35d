"""Samplers that learn from the results of trials: Optuna's, with their options."""

import abc
import dataclasses
import importlib.util
import math
from typing import Any, ClassVar

from jopt.core import is_integer, is_real, named_class, shown
from jopt.sweep.space import Choice, Space, is_branching

INSTALL = "pip install 'jopt[search]'"


@dataclasses.dataclass(frozen=True)
class Adaptive(abc.ABC):
    """Propose settings from the values of earlier ones; subclass it for a new sampler.

    A sampler has no memory: it knows only the trials of the study that it is given.
    """

    most_objectives: ClassVar[float] = 1
    chooses: ClassVar[bool] = True  # whether it takes choices and conditional spaces
    ranks_pruned: ClassVar[bool] = False  # False: they count as the worst value
    in_logs: ClassVar[bool] = False  # whether values are passed on a log scale
    packages: ClassVar[tuple[str, ...]] = ()  # packages that it needs besides Optuna
    in_generations: ClassVar[bool] = False  # whether a batch is a generation

    @abc.abstractmethod
    def made(self, space: Space, batch: int, seed: int) -> Any:
        """Return the Optuna sampler.

        Args:
          space: the space to search.
          batch: the number of trials that are asked for together.
          seed: the sampler's seed, below 2^32; each batch has another one.
        """

    def check(self, space: Space, objectives: int) -> None:
        """Raise an error if the sampler cannot search a space for so many objectives.

        Raises:
          ImportError: a package is missing.
          ValueError: it does not support choices, or so many objectives.
        """
        title = type(self).__name__
        for package in ("optuna", *self.packages):
            if importlib.util.find_spec(package) is None:
                raise ImportError(
                    f"The sampler {title} needs the package {package}, which is not "
                    f"installed; {INSTALL.replace('search', _EXTRAS[package])}, or "
                    "search with sweep.Random() or sweep.Sobol()."
                )
        if objectives > self.most_objectives:
            raise ValueError(
                f"The sampler {title} takes one objective, got {objectives}; use "
                "sweep.NSGA2() or sweep.TPE()."
            )
        choices = [n for n, d in space.distributions().items() if isinstance(d, Choice)]
        if choices and not self.chooses:
            raise ValueError(
                f"The sampler {title} takes ranges of numbers alone, and {choices[0]} "
                "is a choice; use sweep.TPE(), or search without it."
            )

    def _check_field(self, name: str, rule: str, fits: bool) -> None:
        if not fits:
            value = shown(getattr(self, name))
            raise ValueError(
                f"{type(self).__name__}: {name} must be {rule}, got {value}."
            )

    def _check_count(self, name: str, least: int) -> None:
        value = getattr(self, name)
        rule = f"an integer of at least {least}"
        self._check_field(name, rule, is_integer(value) and value >= least)


_EXTRAS = {"optuna": "search", "cmaes": "search", "torch": "gp", "scipy": "gp"}


@named_class
@dataclasses.dataclass(frozen=True)
class TPE(Adaptive):
    """Draw from the density of good settings, by Parzen estimators.

        x = argmax over candidates of l(x) / g(x)

    where l is the density of the best tenth of the settings, at most 25, and g that of
    the others. Numbers are drawn jointly, those of a branch of a conditional space too.
    Trials that are still training count as bad (a constant liar), so that a batch
    spreads. Pruned and diverged trials rank behind all others; those that trained
    longer come first.

    Needs Optuna (`pip install 'jopt[search]'`).

    Args:
      n_startup_trials: first settings, drawn at random.
      n_ei_candidates: candidates drawn from l, of which the best is taken.

    Bergstra et al. 2011, Algorithms for Hyper-Parameter Optimization; as Watanabe 2023,
    https://arxiv.org/abs/2304.11127.
    """

    most_objectives = math.inf
    ranks_pruned = True

    n_startup_trials: int = 10
    n_ei_candidates: int = 24

    def __post_init__(self) -> None:
        self._check_count("n_startup_trials", 0)
        self._check_count("n_ei_candidates", 1)

    def made(self, space: Space, batch: int, seed: int) -> Any:
        from optuna.samplers import TPESampler

        choices = space.distributions().values()
        return TPESampler(
            n_startup_trials=self.n_startup_trials,
            n_ei_candidates=self.n_ei_candidates,
            multivariate=True,
            group=any(map(is_branching, choices)),  # slower, so only where it is needed
            constant_liar=True,
            seed=seed,
        )


@named_class
@dataclasses.dataclass(frozen=True)
class GP(Adaptive):
    """Maximize the expected improvement of a Gaussian process on the log of the values.

    An ask is slow: it takes seconds once there are some hundred trials. Use it for few
    trials that take minutes each. Needs Optuna, PyTorch and SciPy
    (`pip install 'jopt[gp]'`).

    Args:
      n_startup_trials: first settings, drawn at random.

    Optuna's `GPSampler`; log EI: Ament et al. 2023, https://arxiv.org/abs/2310.20708.
    """

    packages = ("torch", "scipy")
    in_logs = True

    n_startup_trials: int = 10

    def __post_init__(self) -> None:
        self._check_count("n_startup_trials", 0)

    def made(self, space: Space, batch: int, seed: int) -> Any:
        from optuna.samplers import GPSampler

        return GPSampler(
            n_startup_trials=self.n_startup_trials,
            seed=seed,
            warn_independent_sampling=False,
        )


@named_class
@dataclasses.dataclass(frozen=True)
class CMAES(Adaptive):
    """Move a normal distribution towards the best half of each batch.

    The space must consist of at least two ranges of numbers. A batch is a generation.
    Needs Optuna and cmaes (`pip install 'jopt[search]'`).

    Args:
      sigma0: the first standard deviation, as a share of the ranges; by default a
        sixth of the shortest.

    Hansen 2016, https://arxiv.org/abs/1604.00772.
    """

    packages = ("cmaes",)
    chooses = False
    in_generations = True

    sigma0: float | None = None

    def __post_init__(self) -> None:
        sigma: Any = self.sigma0
        fits = sigma is None or (is_real(sigma) and sigma > 0)
        self._check_field("sigma0", "a number above 0, or None", fits)

    def check(self, space: Space, objectives: int) -> None:
        super().check(space, objectives)
        if len(space.distributions()) < 2:
            raise ValueError(
                "The sampler CMAES takes at least two ranges of numbers, got "
                f"{len(space.distributions())}; use sweep.TPE()."
            )

    def made(self, space: Space, batch: int, seed: int) -> Any:
        from optuna.samplers import CmaEsSampler

        return CmaEsSampler(
            sigma0=self.sigma0,
            popsize=max(batch, 5),
            seed=seed,
            warn_independent_sampling=False,
        )


@named_class
@dataclasses.dataclass(frozen=True)
class NSGA2(Adaptive):
    """Cross and mutate the settings that no other dominates, for several objectives.

    A batch is a generation. Needs Optuna (`pip install 'jopt[search]'`).

    Args:
      crossover_prob: probability that two parents are crossed, in [0, 1]; otherwise the
        child is a copy of one.
      mutation_prob: probability that a number mutates, in [0, 1]; by default 1 over the
        count of numbers.

    Deb et al. 2002, https://doi.org/10.1109/4235.996017.
    """

    most_objectives = math.inf
    in_generations = True

    crossover_prob: float = 0.9
    mutation_prob: float | None = None

    def __post_init__(self) -> None:
        for name in ("crossover_prob", "mutation_prob"):
            value: Any = getattr(self, name)
            fits: bool = is_real(value) and 0 <= value <= 1
            fits |= value is None and name == "mutation_prob"
            self._check_field(name, "a number in [0, 1]", fits)

    def made(self, space: Space, batch: int, seed: int) -> Any:
        from optuna.samplers import NSGAIISampler

        return NSGAIISampler(
            population_size=max(batch, 2),
            crossover_prob=self.crossover_prob,
            mutation_prob=self.mutation_prob,
            seed=seed,
        )
