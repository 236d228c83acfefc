"""The result as text: a row a figure, with the ratio of the servers and the target beside it."""

from collections.abc import Iterable, Mapping, Sequence

from bench.figures import Figure
from bench.targets import TARGETS, Target

Key = tuple[str, str]
Results = Mapping[str, Mapping[Key, Figure]]
HEADINGS = ("scenario", "figure")


def render(results: Results, ours: str = "myelin") -> str:
    """The whole table. The server `ours` is held against the targets and against each of the others."""
    servers = list(results)
    others = [name for name in servers if name != ours]
    keys = list(dict.fromkeys(key for figures in results.values() for key in figures))
    compares = ours in results and bool(others)
    rows = [[*HEADINGS, *servers, *(["ratio"] if compares else []), "target", ""]]
    scenario = ""
    for key in keys:
        values = [_value(results[name].get(key)) for name in servers]
        ratio = [_ratio(results, ours, others[0], key)] if compares else []
        targets = [target for target in TARGETS if (target.scenario, target.figure) == key]
        verdicts = [judge(target, results, ours) for target in targets]
        first = "" if key[0] == scenario else key[0]
        scenario = key[0]
        wording = ", ".join(_wording(target, results, key) for target in targets)
        rows.append([first, key[1], *values, *ratio, wording, _summary(verdicts)])
    return _align(rows, right=range(2, 2 + len(servers) + compares))


def judge(target: Target, results: Results, ours: str) -> bool | None:
    """Whether a target is reached; None where something to compare with was not measured."""
    key = (target.scenario, target.figure)
    figure = results.get(ours, {}).get(key)
    if figure is None:
        return None
    if target.at_most is not None:
        return figure.value <= target.at_most
    if target.at_least is not None:
        return figure.value >= target.at_least
    if target.below is not None:
        bound = results[ours].get((target.below, target.figure))
        return None if bound is None else figure.value < bound.value
    theirs = [figures[key].value for name, figures in results.items() if name != ours and key in figures]
    return None if not theirs or target.share is None else figure.value <= theirs[0] * target.share


def count_verdicts(results: Results, ours: str = "myelin") -> tuple[int, int]:
    """How many targets are reached, and how many were judged."""
    verdicts = [verdict for target in TARGETS if (verdict := judge(target, results, ours)) is not None]
    return sum(verdicts), len(verdicts)


def _summary(verdicts: Sequence[bool | None]) -> str:
    judged = [verdict for verdict in verdicts if verdict is not None]
    if not judged:
        return ""
    return "PASS" if all(judged) else "short"


def _wording(target: Target, results: Results, key: Key) -> str:
    unit = next((figures[key].unit for figures in results.values() if key in figures), "")
    if target.at_most is not None:
        return f"<= {_number(target.at_most)} {unit}".rstrip()
    if target.at_least is not None:
        return f">= {_number(target.at_least)} {unit}".rstrip()
    if target.below is not None:
        return f"below {target.below}"
    return f"<= 1/{1 / (target.share or 1):.0f} of theirs"


def _ratio(results: Results, ours: str, other: str, key: Key) -> str:
    mine, theirs = results[ours].get(key), results[other].get(key)
    if mine is None or theirs is None or mine.value <= 0 or theirs.value <= 0:
        return ""
    quotient = theirs.value / mine.value
    return f"1/{quotient:.1f}" if quotient >= 1 else f"{1 / quotient:.1f}"


def _value(figure: Figure | None) -> str:
    return "" if figure is None else f"{_number(figure.value)} {figure.unit}".rstrip()


def _number(value: float) -> str:
    if value == int(value) and abs(value) < 1e9:
        return f"{int(value):,}"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _align(rows: Sequence[Sequence[str]], right: Iterable[int]) -> str:
    right_aligned = set(right)
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [
            cell.rjust(width) if column in right_aligned else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    lines.insert(1, "-" * max(len(line) for line in lines))
    return "\n".join(lines)
