"""Tables of a claim on searches: rates and costs side by side, margins, prompts, equal rows of W, and tuning."""

from __future__ import annotations

import math

from engine.experiments.recovery.arm import LATER_STARTS, RecoveryRun
from engine.experiments.recovery.searches import RunsByName
from engine.experiments.tables import Growth, Row, growth_table, tuning_table
from engine.experiments.tuning.choose_step import StepChoice
from engine.models import find_subject
from engine.records import Table
from engine.statistics import median, paired_mean, proportion


def search_table(found: RunsByName) -> Table:
    """Exact rate and recovery of each search with their intervals, and the cost of a token."""
    rows: list[Row] = []
    for name, searched in found.items():
        group, _, label = name.partition(": ")
        search, runs, clusters = searched.search, searched.recoveries.runs, searched.recoveries.clusters
        if not runs:  # its margins alone were measured
            continue
        exact = proportion("exact", [run.exact for run in runs], clusters=clusters)
        shares = [run.recovery for run in runs]
        recovery = paired_mean("recovery", shares, bounds=(0.0, 1.0), clusters=clusters, seed=0)
        # Only a check can tell whether one token alone matched.
        determined = sum(run.determined for run in runs) if search.how.method.verify else None
        steps = 0
        for run in runs:
            # Descents of one position move one token each; a joint descent moves all of them.
            descents = [1 + LATER_STARTS * (one.guesses - 1) for one in run.found]
            moved = sum(descents) if search.how.method.token_by_token else max(descents) * len(run.target)
            steps += search.iterations * moved
        tokens = sum(len(run.target) for run in runs)
        checks = [one.checks for run in runs for one in run.found]
        rows.append(
            (
                *(group, label or group, exact.value, exact.low, exact.high, len(runs)),
                *(recovery.value, recovery.low, recovery.high, determined),
                *(searched.elapsed_s / tokens, steps / tokens),
                *(median("checks", checks, counts="tokens").value, sum(checks) / len(checks)),
            )
        )
    return Table(
        title="Searches side by side",
        columns=(
            *("group", "search", "exact rate", "low", "high", "prompts"),
            *("mean recovery", "recovery low", "recovery high", "determined"),
            *("seconds a token", "descent steps a token", "median checks a token", "mean checks a token"),
        ),
        rows=tuple(rows),
        note="A descent step is one token's forward and backward pass; a check is one candidate's forward pass. "
        "Seconds include loading the model; other searches may have run at the same time.",
        kind="searches",
    )


def margin_table(found: RunsByName) -> Table:
    """The nearest other token at each position that was compared with the whole vocabulary, beside the noise."""
    rows: list[Row] = []
    for name, searched in found.items():
        for result in searched.margin_results:
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
        note="Distances are ‖h − h*‖₂ / ‖h*‖₂; for activations rounded to 8 bits, the largest |h − h*| in steps of the "
        "rounding. Noise is the largest distance between equal inputs in several batch layouts, before rounding. ε is "
        "the limit that all but a millionth of such noise stays below: one for all positions, or for 8 bits one for "
        "each position, plus half a step.",
        kind="margins",
    )


def equal_row_table(found: RunsByName) -> Table:
    """Tokens that share a row of W, which limit what any method can find."""
    rows: dict[tuple[int, ...], Row] = {}
    for searched in found.values():
        for result in searched.results:
            for group in result.equal_rows:
                texts = ", ".join(repr(result.texts[i]) for i in group)
                rows.setdefault(group, (searched.settings.subject, ", ".join(map(str, group)), texts))
    return Table(
        title="Tokens with equal rows of W",
        columns=("subject", "ids", "tokens"),
        rows=tuple(rows.values()),
        note="The tokens of one line have the same embedding, so no activation distinguishes them.",
    )


def search_run_table(found: RunsByName) -> Table:
    """What was found of each prompt, and the first position where it failed."""
    rows: list[Row] = []
    for name, searched in found.items():
        for run, seed in zip(searched.recoveries.runs, searched.recoveries.clusters, strict=True):
            determined = "yes" if run.determined else "no"
            distances = [one.distance for one in run.found if one.token is not None and one.checks]
            rows.append(
                (
                    *(name, seed, run.prompt, len(run.target), run.recovery),
                    *(determined if searched.search.how.method.verify else "", run.ceiling),
                    *(sum(one.checks for one in run.found), sum(one.guesses for one in run.found)),
                    *(max(distances, default=None), min((one.runner_up for one in run.found), default=None)),
                    _explain_failure(run, searched.texts),
                )
            )
    return Table(
        title="Recovery by prompt",
        columns=(
            *("search", "model seed", "prompt", "tokens", "recovery", "determined", "ceiling"),
            *("checks", "guesses", "largest distance", "nearest checked other", "first position that failed"),
        ),
        rows=tuple(rows),
    )


def _explain_failure(run: RecoveryRun, texts: dict[int, str]) -> str:
    """What happened at the first position that was not recovered; '' if all were."""
    for at, (one, target) in enumerate(zip(run.found, run.target, strict=False)):
        wanted = f"{at}: {texts[target]!r}"
        if one.token is None:
            return f"{wanted}, none of {one.checks:,} candidates matched"
        if one.same:
            others = ", ".join(repr(texts[i]) for i in one.named)
            return f"{wanted}, {one.same + 1:,} tokens match: {texts[one.token]!r}, {others}"
        if one.token != target:
            return f"{wanted}, found {texts[one.token]!r} instead"
    return ""


def search_tuning_table(found: RunsByName) -> Table:
    """Every step size that was tried and its outcome on the tuning prompts. Searches with one tuning show it once."""
    seen: set[tuple[str, ...]] = set()
    choices: list[tuple[str, StepChoice]] = []
    for name, searched in found.items():
        if searched.tuned is None:
            continue
        arms = tuple(m.digest for m in searched.tuned.measurements)
        if arms not in seen:
            seen.add(arms)
            choices.append((name, searched.tuned))
    return tuning_table(
        choices,
        named="search",
        note="On separate prompts: whole where all positions move together, their 4th tokens where one moves alone.",
    )


def margin_growth_table(found: RunsByName) -> Table:
    """Relative margins at checkpoints, seed by seed; empty where no search is of one."""
    points: list[Growth] = []
    if any(searched.search.checkpoint is not None for searched in found.values()):
        for name, searched in found.items():
            depth, subject = name.partition(": ")[0], find_subject(searched.settings.subject)
            margins = searched.margins
            for seed in sorted(set(margins.clusters)):
                pairs = zip(searched.relative_margins, margins.clusters, strict=True)
                own = [math.log(value) for value, cluster in pairs if cluster == seed]
                points.append((f"relative margin, {depth}", subject, seed, math.exp(sum(own) / len(own))))
    return growth_table(points)
