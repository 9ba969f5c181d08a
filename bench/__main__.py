"""`python -m bench`: measures, prints the page, and with `--write` writes it to docs/explanation/performance.md.

What was measured whole goes into the README's table too.
"""

from __future__ import annotations

import argparse
import logging
import os
import resource
from collections import defaultdict

from bench.processes import BenchError
from bench.readme import with_figures
from bench.report import Results, Rounds, report
from bench.scenarios import SCENARIOS, Figures, Scenario, measure, shrunk, warm_up
from bench.servers import LOAD_CORE, ROOT, SERVER_CORE, TARGETS, Target, serving, upstream

PAGE = ROOT / "docs" / "explanation" / "performance.md"
README = ROOT / "README.md"
log = logging.getLogger("bench")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    scenarios = [scenario.name for scenario in SCENARIOS]
    parser.add_argument("--rounds", type=int, default=3, help="how often each server meets each scenario")
    parser.add_argument("--server", nargs="+", choices=[target.name for target in TARGETS], help="only these")
    parser.add_argument("--scenario", nargs="+", choices=scenarios, help="only these")
    parser.add_argument("--quick", action="store_true", help="one round of a fifth of the load")
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.relative_to(ROOT)}")
    return parser.parse_args()


def own_the_load_core() -> None:
    """Moves this process, and with it the upstream and the clients, to the core that no server runs on."""
    if not {SERVER_CORE, LOAD_CORE} <= os.sched_getaffinity(0):
        raise BenchError(f"the benchmark needs cores {SERVER_CORE} and {LOAD_CORE}")
    os.sched_setaffinity(0, {LOAD_CORE})
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def run_server(target: Target, scenarios: list[Scenario]) -> dict[str, Figures]:
    """One start of one server: a warm-up, then the scenarios in turn."""
    taken = {}
    with upstream() as upstream_port, serving(target, upstream_port) as running:
        warm_up(running)
        for scenario in scenarios:
            taken[scenario.name] = measure(running, scenario)
            figures = " ".join(f"{name}={value:.4g}" for name, value in taken[scenario.name].items())
            log.info("%s %s: %s", target.name, scenario.name, figures)
    return taken


def run_rounds(rounds: int, targets: list[Target], scenarios: list[Scenario]) -> Rounds:
    """All servers in turn, round by round, so that what changes on the machine meets all of them."""
    results: Rounds = defaultdict(list)
    for target in targets * rounds:
        for scenario, figures in run_server(target, scenarios).items():
            results[target.name, scenario].append(figures)
    return results


def measured(options: argparse.Namespace) -> Results:
    targets = [target for target in TARGETS if not options.server or target.name in options.server]
    scenarios = [each for each in SCENARIOS if not options.scenario or each.name in options.scenario]
    if options.quick:
        scenarios = [shrunk(each) for each in scenarios]
    rounds = run_rounds(1 if options.quick else options.rounds, targets, scenarios)
    return Results(rounds, tuple(scenarios), options.quick)


def main() -> None:
    """Prints nothing, writes nothing and ends with status 1 if any run was not as it must be."""
    options = arguments()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    try:
        own_the_load_core()
        page = report(measured(options))
    except BenchError as error:
        raise SystemExit(f"bench: {error}") from error
    print(page, end="")
    if options.write:
        write(page, is_whole=not (options.server or options.scenario))


def write(page: str, is_whole: bool) -> None:
    PAGE.write_text(page, encoding="utf-8")
    if is_whole:
        README.write_text(with_figures(README.read_text(encoding="utf-8"), page), encoding="utf-8")


if __name__ == "__main__":
    main()
