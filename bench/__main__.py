"""The command: starts the servers one after the other, runs the scenarios on each, prints the table.

This process is the load generator too. The servers and their databases are processes of their own.
"""

import argparse
import asyncio
import json
import os
import platform
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from dataclasses import asdict
from pathlib import Path
from typing import NoReturn

from bench.cast import Cast
from bench.figures import Figure, Stage
from bench.scenarios import ONLY_OURS, SCENARIOS
from bench.servers import SERVERS, install_synapse
from bench.table import Key, count_verdicts, render

# No scenario takes a tenth of this on a sound server.
SCENARIO_SECONDS = 1800
# Left alone with less, a load generator of some thousand connections fails in ways that look like the server's.
OPEN_FILES = 20_000


def main() -> int:
    """Run what the command line asks for; 0 if every scenario ran, whatever it measured."""
    options = _parser().parse_args()
    unknown = [name for name in options.scenarios if name not in SCENARIOS]
    if unknown:
        print(f"no such scenario: {', '.join(unknown)}; there are {', '.join(SCENARIOS)}", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, _stop)
    _allow_many_files()
    results: dict[str, dict[Key, Figure]] = {}
    failures: list[str] = []
    begin = time.monotonic()
    for name in [options.only] if options.only else ["myelin", *options.against]:
        try:
            results[name] = _bench(name, options, failures)
        except (OSError, RuntimeError, subprocess.SubprocessError) as problem:
            failures.append(f"{name} could not be run: {problem}")
    if options.baseline is not None:
        _add_baseline(options.baseline, results)
    print(_heading(options, time.monotonic() - begin))
    if results:
        print(render(results))
    reached, judged = count_verdicts(results)
    if judged:
        print(f"\n{reached} of {judged} targets reached")
    for failure in failures:
        print(f"FAILED {failure}")
    if options.json is not None:
        _write_json(options.json, options.scale, results, failures)
    return 1 if failures else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="bench", description="Measure what operations cost a Matrix homeserver.")
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help=f"all, or some of: {', '.join(SCENARIOS)}")
    parser.add_argument(
        "--against", action="append", default=[], choices=["synapse"], help="run this server too and compare"
    )
    parser.add_argument("--only", choices=list(SERVERS), help="run this server alone")
    parser.add_argument(
        "--baseline", type=Path, metavar="FILE", help="compare with another server's run, kept by --json"
    )
    parser.add_argument("--scale", type=float, default=1.0, help="how large a run: 0.1 is a quick look (default: 1)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to this file too")
    parser.add_argument(
        "--work-dir", type=Path, default=Path("/var/tmp"), help="a folder on a real disk for the databases"
    )
    parser.add_argument("--keep", action="store_true", help="keep logs and databases")
    return parser


def _bench(name: str, options: argparse.Namespace, failures: list[str]) -> dict[Key, Figure]:
    """Start one server, run the scenarios on it, stop it."""
    if name == "synapse":
        install_synapse()
    folder = Path(tempfile.mkdtemp(prefix="myelin-bench-", dir=options.work_dir))
    folder.chmod(0o755)  # PostgreSQL may run as another user, who must get through to its own folder.
    server = SERVERS[name](folder / name)
    try:
        server.create()
        wanted = options.scenarios or [each for each in SCENARIOS if name == "myelin" or each not in ONLY_OURS]
        return asyncio.run(_run_all(Stage(server, Cast(server), options.scale), wanted, failures))
    finally:
        server.destroy()
        if options.keep:
            print(f"kept: {folder}", file=sys.stderr)
        else:
            shutil.rmtree(folder)


async def _run_all(stage: Stage, names: list[str], failures: list[str]) -> dict[Key, Figure]:
    figures: dict[Key, Figure] = {}
    for name in names:
        title = f"{stage.server.name}: {name}"
        print(title, end=" ", file=sys.stderr, flush=True)
        begin = time.monotonic()
        try:
            if not stage.server.is_running:
                stage.server.start()
            async with asyncio.timeout(SCENARIO_SECONDS):
                measured = await SCENARIOS[name](stage)
        except Exception as problem:  # noqa: BLE001 - one scenario's failure is reported, and the others still run
            traceback.print_exc()
            failures.append(f"{title}: {_cause(problem)}")
        else:
            figures.update({(figure.scenario, figure.name): figure for figure in measured})
        print(f"{time.monotonic() - begin:.0f} s", file=sys.stderr, flush=True)
    return figures


def _cause(problem: BaseException) -> str:
    while isinstance(problem, BaseExceptionGroup):
        problem = problem.exceptions[0]
    return f"{type(problem).__name__}: {problem}"


def _heading(options: argparse.Namespace, seconds: float) -> str:
    memory_gb = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9
    return (
        f"{os.cpu_count()} cores, {memory_gb:.0f} GB, {platform.system()} {platform.release()},"
        f" Python {platform.python_version()}, scale {options.scale:g}, {seconds / 60:.1f} minutes;"
        " CPU is that of server and database together where not said otherwise\n"
    )


def _write_json(file: Path, scale: float, results: dict[str, dict[Key, Figure]], failures: list[str]) -> None:
    content = {
        "scale": scale,
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "results": {name: [asdict(figure) for figure in figures.values()] for name, figures in results.items()},
        "failures": failures,
    }
    file.write_text(json.dumps(content, indent=1) + "\n")


def _add_baseline(file: Path, results: dict[str, dict[Key, Figure]]) -> None:
    for name, figures in json.loads(file.read_text())["results"].items():
        if name not in results:
            results[name] = {(each["scenario"], each["name"]): Figure(**each) for each in figures}


def _allow_many_files() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _stop(number: int, frame: object) -> NoReturn:
    raise SystemExit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
