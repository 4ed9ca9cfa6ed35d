"""A pytest plugin that points optax's own installed tests at jopt's names.

Every function and class of optax that jopt has under the same name, and of its own
making, is put in its place in optax's modules before a test is collected. Nothing of
optax is copied. Run it by `python tests/conformance`.
"""

import inspect
import re
import sys
from collections import Counter
from types import ModuleType
from typing import Any

import jax
import optax
import optax.contrib
import pytest
from conformance.deviations import DEVIATIONS, OWN

import jopt

# The modules through which optax's tests reach what they test.
ROOMS = ("optax._src", "optax.transforms", "optax.schedules", "optax.contrib")

LIFTED = "jopt.interop._optax"  # the module of optax's own transformations, lifted


def substitute() -> dict[str, Any]:
    """Put jopt's names in the place of optax's; return what was replaced by name."""
    modules = [
        module
        for path, module in sys.modules.items()
        if isinstance(module, ModuleType)
        and (path == "optax" or path.startswith(ROOMS))
        and not path.endswith("_test")
    ]
    replaced = {}
    for name in dir(jopt):
        ours = getattr(jopt, name)
        lifted = getattr(ours, "__module__", None) == LIFTED
        if name.startswith("_") or name in OWN or lifted or inspect.ismodule(ours):
            continue
        for module in modules:
            theirs = vars(module).get(name)
            if theirs not in (None, ours) and not inspect.ismodule(theirs):
                replaced[name] = theirs
                setattr(module, name, ours)
    return replaced


def deviation(nodeid: str) -> str | None:
    """The reason why a case differs by decision, if it does."""
    reasons = [why for pattern, why in DEVIATIONS.items() if re.search(pattern, nodeid)]
    return reasons[0] if reasons else None


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--every",
        type=int,
        default=1,
        help="of the cases of one parametrized test keep the first and one in so many",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[Any]) -> None:
    """Keep the cases of the slice; leave out those of what jopt lifts from optax."""
    every: Any = config.getoption("--every")
    seen: Counter[str] = Counter()
    kept = []
    for item in items:
        test = re.sub(r"\d+", "", item.nodeid)
        if "LBFGSTest" not in test and seen[test] % every == 0:
            kept.append(item)
        seen[test] += 1
    items[:] = kept


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Any:
    """Run the tests of sharding, which compare versions as strings and would skip."""
    with pytest.MonkeyPatch.context() as patch:
        if item.path.stem == "sharding_test":
            patch.setattr(jax, "__version__", "9")  # "0.10" < "0.7.2"
        return (yield)


class Count:
    """Which cases passed, failed, deviated and were skipped."""

    def __init__(self, replaced: int) -> None:
        self.replaced = replaced
        self.cases: dict[str, set[str]] = {
            kind: set() for kind in ("passed", "failed", "skipped")
        }

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" or report.outcome != "passed":
            self.cases[report.outcome].add(report.nodeid)

    @property
    def deviating(self) -> dict[str, str]:
        """The failed cases that have a reason."""
        failed = sorted(self.cases["failed"])
        return {case: why for case in failed if (why := deviation(case))}

    @property
    def wrong(self) -> list[str]:
        """The failed cases without a reason, and those that pass in spite of one."""
        passed = self.cases["passed"] - self.cases["failed"] - self.cases["skipped"]
        kept = [case for case in sorted(passed) if deviation(case)]
        return [c for c in sorted(self.cases["failed"]) if not deviation(c)] + kept

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if session.exitstatus in (0, 1):
            session.exitstatus = int(bool(self.wrong))

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        failed, skipped = self.cases["failed"], self.cases["skipped"]
        passed = self.cases["passed"] - failed - skipped
        run = len(passed) + len(failed)
        if not run:
            return
        say = terminalreporter.write_line
        for case, why in self.deviating.items():
            say(f"differs: {case.partition('::')[2]}: {why}")
        for case in self.wrong:
            say(f"WRONG: {case.partition('::')[2]}")
        say(
            f"optax {optax.__version__}'s own tests on jopt, {self.replaced} names in "
            f"optax's place: {len(passed)} of {run} cases pass "
            f"({100 * len(passed) / run:.1f} %), {len(self.deviating)} differ by "
            f"decision, {len(self.wrong)} are wrong; optax skips {len(skipped)}."
        )


def pytest_configure(config: pytest.Config) -> None:
    # Not when imported: whoever only reads this file keeps optax as it is.
    config.pluginmanager.register(Count(replaced=len(substitute())))
