"""Tables behind a verdict on searches: rates and costs side by side, margins, prompts, equal rows, tuning."""

from __future__ import annotations

from engine.experiments.recovery.arm import LATER_STARTS, RecoveryRun
from engine.experiments.recovery.searches import SearchRuns
from engine.experiments.tables import Row, tuning_table
from engine.experiments.tuning.procedure import StepChoice
from engine.records import Table
from engine.statistics import median, paired_mean, proportion

Named = tuple[tuple[str, SearchRuns], ...]


def search_table(named: Named) -> Table:
    """Exact rate and recovery of each search with their intervals, and what a token cost."""
    return Table(
        title="Searches side by side",
        columns=(
            *("group", "search", "exact rate", "low", "high", "prompts"),
            *("mean recovery", "recovery low", "recovery high", "determined"),
            *("seconds a token", "descent steps a token", "median checks a token", "mean checks a token"),
        ),
        rows=tuple(_compare(name, sought) for name, sought in named),
        note="A descent step is a token's forward and backward pass; a check is a candidate's forward pass. "
        "Seconds include loading the model; several searches may have run at once.",
        kind="searches",
    )


def _compare(name: str, sought: SearchRuns) -> Row:
    runs, clusters = sought.found.runs, sought.found.clusters
    group, _, label = name.partition(": ")
    exact = proportion("exact", [run.exact for run in runs], clusters=clusters)
    shares = [run.recovery for run in runs]
    recovery = paired_mean("recovery", shares, bounds=(0.0, 1.0), clusters=clusters, seed=0)
    tokens = sum(len(run.target) for run in runs)
    checks = [one.checks for run in runs for one in run.found]
    return (
        *(group, label or group, exact.value, exact.low, exact.high, len(runs)),
        *(recovery.value, recovery.low, recovery.high, _count_determined(sought)),
        *(sought.elapsed_s / tokens, sum(_count_steps(sought, run) for run in runs) / tokens),
        *(median("checks", checks, counts="tokens").value, sum(checks) / len(checks)),
    )


def _count_determined(sought: SearchRuns) -> int | None:
    """Prompts at each of whose positions one token matched and no other that was checked; None without checks."""
    checked = sought.search.how.method.verify
    return sum(run.determined for run in sought.found.runs) if checked else None


def _count_steps(sought: SearchRuns, run: RecoveryRun) -> int:
    """Steps of descents in tokens: a joint one moves every token, one position's descents that token alone."""
    iterations, length = sought.search.iterations, len(run.target)
    turns = [1 + LATER_STARTS * (one.guesses - 1) for one in run.found]
    return iterations * (sum(turns) if sought.search.how.method.token_by_token else max(turns) * length)


def margin_table(named: Named) -> Table:
    """Positions held against the whole vocabulary: how near the nearest other token comes, and what noise does."""
    rows: list[Row] = []
    for name, sought in named:
        for result in sought.margin_results:
            for run in result.runs:
                epsilon = result.epsilon_at(run.position)
                rows.append(
                    (
                        *(name, run.prompt, run.position, repr(result.texts[run.token]), run.own_distance),
                        *(result.noise[run.position], epsilon, repr(result.texts[run.runner_up])),
                        *(run.runner_up_distance, run.runner_up_distance / epsilon, run.same),
                    )
                )
    return Table(
        title="Margins over the whole vocabulary",
        columns=(
            *("search", "prompt", "position", "token", "its own distance", "noise", "ε", "nearest other"),
            *("its distance", "its distance / ε", "others within ε"),
        ),
        rows=tuple(rows),
        note="Distances are ‖h − h*‖₂ / ‖h*‖₂; of activations rounded to 8 bits the largest |h − h*| in steps of the "
        "rounding. Noise: the largest of equal inputs in several batch layouts, before rounding; ε: the limit that all "
        "but a millionth of such noise stays below, over all positions; for 8 bits by position, and half a step more.",
        kind="margins",
    )


def equal_row_table(named: Named) -> Table:
    """Tokens that share a row of W, which bound what any method can find."""
    groups: dict[tuple[int, ...], Row] = {}
    for _, sought in named:
        for result in sought.results:
            for group in result.equal_rows:
                texts = ", ".join(repr(result.texts[i]) for i in group)
                groups.setdefault(group, (sought.settings.subject, ", ".join(map(str, group)), texts))
    return Table(
        title="Tokens with equal rows of W",
        columns=("subject", "ids", "tokens"),
        rows=tuple(groups.values()),
        note="Nothing behind the embedding tells the tokens of a row apart.",
    )


def search_run_table(named: Named) -> Table:
    """What was found of each prompt, and where it went wrong."""
    return Table(
        title="Prompts sought",
        columns=(
            *("search", "model seed", "prompt", "tokens", "recovery", "determined", "ceiling"),
            *("checks", "guesses", "largest distance", "nearest checked other", "first position that failed"),
        ),
        rows=tuple(
            (
                *(name, seed, run.prompt, len(run.target), run.recovery, _say_determined(sought, run)),
                *(run.ceiling, sum(one.checks for one in run.found), sum(one.guesses for one in run.found)),
                *(_largest_distance(run), min((f.runner_up for f in run.found), default=None)),
                _explain_failure(run, sought.texts),
            )
            for name, sought in named
            for run, seed in zip(sought.found.runs, sought.found.clusters, strict=True)
        ),
    )


def _say_determined(sought: SearchRuns, run: RecoveryRun) -> str:
    if not sought.search.how.method.verify:
        return ""
    return "yes" if run.determined else "no"


def _largest_distance(run: RecoveryRun) -> float | None:
    checked = [one.distance for one in run.found if one.token is not None and one.checks]
    return max(checked, default=None)


def _explain_failure(run: RecoveryRun, texts: dict[int, str]) -> str:
    for at, (one, target) in enumerate(zip(run.found, run.target, strict=False)):
        wanted = f"{at}: {texts[target]!r}"
        if one.token is None:
            return f"{wanted}, nothing of {one.checks:,} matched"
        if one.same:
            others = ", ".join(repr(texts[i]) for i in one.named)
            return f"{wanted}, {one.same + 1:,} tokens give the same: {texts[one.token]!r}, {others}"
        if one.token != target:
            return f"{wanted}, taken for {texts[one.token]!r}"
    return ""


def search_tuning_table(named: Named) -> Table:
    """Every step size that was tried and what it did on the tuning prompts; searches that share a tuning once."""
    seen: set[tuple[str, ...]] = set()
    choices: list[tuple[str, StepChoice]] = []
    for name, sought in named:
        arms = tuple(m.digest for m in sought.tuned.measurements)
        if arms not in seen:
            seen.add(arms)
            choices.append((name, sought.tuned))
    return tuning_table(
        choices,
        named="search",
        note="On prompts of their own, whole where all positions move together, their 4th tokens where one does.",
    )
