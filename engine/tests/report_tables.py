"""Invented tables of every kind that the report draws, with the columns that the procedures give them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from numpy.random import Generator

from engine.experiments.tables import film_rows, film_table
from engine.records import Table

Row = tuple[str | int | float | None, ...]


@dataclass(frozen=True, kw_only=True)
class Cast:
    """The names in a record's tables.

    tokens: at least six, of which the first `length` make the target of every run.
    """

    arms: tuple[str, ...] = ("trained", "untrained")
    prompts: tuple[str, ...] = ("The sky is blue.", "A cat sat on the mat.", "Two and two are four.", "It rains.")
    tokens: tuple[str, ...] = ("The", " sky", " is", " blue", ".", " the", "\n", " of", "estead", "�", " and")
    length: int = 5
    reads: tuple[int, ...] = (0, 10, 100, 300, 1000)


def make_tables(cast: Cast, dice: Generator, kinds: Sequence[str] | None = None) -> tuple[Table, ...]:
    """A table of each kind, or of those named."""
    return tuple(KINDS[kind](cast, dice) for kind in (KINDS if kinds is None else kinds))


def distort_table(table: Table, text: str) -> Table:
    """The table with `text` for its title, note and column names, and a last row that is one cell short."""
    columns = tuple(f"{text}{k}" for k in range(len(table.columns)))
    return replace(table, title=text, note=text, columns=columns, rows=(*table.rows, *(r[:-1] for r in table.rows[:1])))


def _approach(dice: Generator, n: int, goal: float) -> float:
    """A share that rises to its goal with the iterations, unevenly."""
    return round(min(1.0, max(0.0, goal * n / (n + 80) + 0.05 * dice.standard_normal())), 4)


def _size(dice: Generator, around: float, spread: float = 0.5) -> float:
    """A positive number whose logarithm is normal."""
    return float(f"{around * 10 ** (spread * dice.standard_normal()):.6g}")


def _runs(cast: Cast) -> list[tuple[str, str]]:
    return [(arm, prompt) for arm in cast.arms for prompt in cast.prompts]


def _hit(dice: Generator) -> int | None:
    return int(dice.integers(20, 2000)) if dice.random() < 0.8 else None


def _recovery(cast: Cast, dice: Generator) -> Table:
    n = len(cast.prompts)
    return Table(
        title="Recovery by iteration",
        columns=(
            *("arm", "iteration", "mean recovery", "exact rate", "n", "mean ‖e − eₙ‖₂", "mean output distance", "runs"),
        ),
        rows=tuple(
            (arm, k, _approach(dice, k, 0.9), _approach(dice, k, 0.5), n, _size(dice, 30), _size(dice, 900), n)
            for arm in cast.arms
            for k in cast.reads
        ),
        kind="recovery",
    )


def _film(cast: Cast, dice: Generator) -> Table:
    texts = dict(enumerate(cast.tokens))
    target = range(cast.length)
    rows: list[Row] = []
    for arm in cast.arms:
        for number in range(1, min(3, len(cast.prompts)) + 1):
            frames = [(k, [dice.permutation(len(texts)).tolist()[:5] for _ in target]) for k in cast.reads[:-1]]
            done = [[i, *(j for j in range(5) if j != i)][:5] for i in target]
            rows += film_rows(arm, number, 10 + number, target, [*frames, (cast.reads[-1], done)], texts)
    return film_table(rows)


def _run_ends(cast: Cast, dice: Generator) -> Table:
    rows: list[Row] = []
    for k, (arm, prompt) in enumerate(_runs(cast)):
        hit = _hit(dice)
        start, bound = _size(dice, 5000, 0.1), 420.0
        rows.append(
            (
                *(arm, prompt, k, 0, hit, "hit" if hit else "cap", hit or 2000, 2000, "hit", start, bound),
                *(400.0 if hit else _size(dice, 900, 0.1), _approach(dice, hit or 2000, 0.6)),
            )
        )
    return Table(
        title="Runs",
        columns=(
            *("arm", "prompt", "start seed", "model seed", "hit", "stop", "ended at", "N", "read at"),
            *("start distance", "bound", "final distance", "recovery at the end"),
        ),
        rows=tuple(rows),
        kind="runs",
    )


def _curves(cast: Cast, dice: Generator) -> Table:
    rows: list[Row] = []
    for arm in cast.arms:
        for number in range(1, len(cast.prompts) + 1):
            hit, rate = _hit(dice), _size(dice, 0.004, 0.2)
            steps = (0, 1, 3, 10, 30, 100, 300, 1000)
            rows += [(arm, number, n, float(f"{12 / (1 + rate * n) ** 2:.4g}"), hit) for n in steps]
    columns = ("arm", "run", "iteration", "distance / bound", "hit")
    return Table(title="Curves", columns=columns, rows=tuple(rows), kind="curves")


def _tuning(cast: Cast, dice: Generator) -> Table:
    return Table(
        title="Tuning of the step size η",
        columns=("arm", "η", "chosen", "tuning units that hit", "first hit", "median distance when stopped"),
        rows=tuple(
            (arm, eta, "chosen" if eta == 0.1 else "", int(eta == 0.1), 140 if eta == 0.1 else None, _size(dice, 700))
            for arm in cast.arms
            for eta in (0.01, 0.03, 0.1, 0.3, 1.0)
        ),
        kind="tuning",
    )


def _repetition(cast: Cast, dice: Generator) -> Table:
    return Table(
        title="Repetition of the five decoded rows",
        columns=("arm", "prompt", "at the start", "at the end"),
        rows=tuple((*run, round(dice.random(), 4), round(dice.random(), 4)) for run in _runs(cast)),
        kind="repetition",
    )


def _frequency(cast: Cast, dice: Generator) -> Table:
    return Table(
        title="Frequency of the decoded words",
        columns=("arm", "prompt", "mean log₁₀ frequency"),
        rows=tuple((*run, round(-4 + dice.standard_normal(), 4)) for run in _runs(cast)),
        kind="frequency",
    )


def _agreement(cast: Cast, dice: Generator) -> Table:
    said = cast.tokens[:5]
    inputs = ("e_N", "e₀", "shift", "decoded")
    return Table(
        title="Next tokens",
        columns=(
            *("arm", "prompt", "after e", "after e_N", "after e₀", "after an equal shift", "after the decoded tokens"),
            *("recovery", "last position recovered", "the same as after e"),
        ),
        rows=tuple(
            (*run, *said, round(dice.random(), 4), "no", ", ".join(n for n in inputs if dice.random() < 0.5))
            for run in _runs(cast)
        ),
        kind="agreement",
    )


def _leverage(cast: Cast, dice: Generator) -> Table:
    columns = ("model seed", "id", "token", "decoded as id", "decoded as", "leverage", "leverage of the winner")
    pairs = zip(cast.tokens, cast.tokens[1:], strict=False)
    rows = tuple(
        (None, k, a, k + 1, b, round(0.2 * dice.random(), 6), round(0.5 + 0.2 * dice.random(), 6))
        for k, (a, b) in enumerate(pairs)
    )
    return Table(title="Tokens that do not come back", columns=columns, rows=rows, kind="leverage")


def _kept(cast: Cast, dice: Generator) -> Table:
    return Table(
        title="Next token of each prompt, and after its shifts",
        columns=("prompt", "seed", "next token", "probability", "kept", "what else came"),
        rows=tuple(
            (p, k, cast.tokens[3], round(dice.random(), 4), round(dice.random(), 2), cast.tokens[5])
            for k, p in enumerate(cast.prompts)
        ),
        kind="kept",
    )


def _likeliest(cast: Cast, dice: Generator) -> Table:
    rows = tuple((k, token, round(0.4 / k, 4)) for k, token in enumerate(cast.tokens[:5], 1))
    return Table(title="Likeliest tokens", columns=("rank", "token", "probability"), rows=rows, kind="likeliest")


def _decoding(cast: Cast, dice: Generator) -> Table:
    rows = tuple((p, round(dice.random(), 4), round(0.5 * dice.random(), 4)) for p in cast.prompts)
    columns = ("prompt", *cast.arms, "beam")[:3]
    return Table(title="Repetition by prompt", columns=columns, rows=rows, kind="decoding")


def _singular(cast: Cast, dice: Generator) -> Table:
    rows = tuple(
        (arm, run, k, float(f"{50 * k**-1.5:.4g}")) for arm in cast.arms for run in (1, 2) for k in range(1, 13)
    )
    return Table(
        title="All singular values of a few first gradients",
        columns=("walk", "run", "index", "singular value"),
        rows=rows,
        kind="singular",
    )


def _walks(cast: Cast, dice: Generator) -> Table:
    return Table(
        title="Walks",
        columns=(
            *("walk", "model seed", "prompt", "start seed", "outer steps", "‖e − e_N‖₁ / ‖e‖₁", "‖ΔO‖₁"),
            *("‖ΔO‖₁ of a random step", "r", "r of a random step", "gain", "largest ‖ΔO‖₁ / m", "recovery", "ceiling"),
        ),
        rows=tuple(
            (arm, 0, prompt, k, 30, 0.1, *(_size(dice, 20) for _ in range(6)), round(dice.random(), 3), 1.0)
            for k, (arm, prompt) in enumerate(_runs(cast))
        ),
        kind="walks",
    )


def _searches(cast: Cast, dice: Generator) -> Table:
    return Table(
        title="Searches side by side",
        columns=(
            *("group", "search", "exact rate", "low", "high", "prompts"),
            *("mean recovery", "recovery low", "recovery high", "determined"),
            *("seconds a token", "descent steps a token", "median checks a token", "mean checks a token"),
        ),
        rows=tuple(
            (
                *("1 block", arm, k / 4, max(0.0, k / 4 - 0.2), min(1.0, k / 4 + 0.2), 4),
                *(k / 4, 0.1, 0.9, k, 0.3, 100.0, 32.0, round(200 * dice.random(), 1)),
            )
            for k, arm in enumerate((*cast.arms, *cast.prompts[:2]))
        ),
        kind="searches",
    )


def _margins(cast: Cast, dice: Generator) -> Table:
    return Table(
        title="Margins over the whole vocabulary",
        columns=("search", "prompt", "position", "token", "ε", "nearest other", "its distance"),
        rows=tuple(
            (arm, prompt, 2, cast.tokens[2], 2e-6, cast.tokens[3], _size(dice, 0.1)) for arm, prompt in _runs(cast)
        ),
        kind="margins",
    )


KINDS: dict[str, Callable[[Cast, Generator], Table]] = {
    "searches": _searches,
    "margins": _margins,
    "recovery": _recovery,
    "film": _film,
    "runs": _run_ends,
    "curves": _curves,
    "tuning": _tuning,
    "repetition": _repetition,
    "frequency": _frequency,
    "agreement": _agreement,
    "leverage": _leverage,
    "kept": _kept,
    "likeliest": _likeliest,
    "decoding": _decoding,
    "singular": _singular,
    "walks": _walks,
}
