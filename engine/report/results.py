"""Verdicts in a notebook or at a prompt: what `engine.verify` and `engine.load` give."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, overload

from engine.errors import UsageError, explain, say_count
from engine.records import CriterionRecord, Record, find_headline, read_records
from engine.text import format_interval

if TYPE_CHECKING:
    import pandas as pd

RECORDS = "records.jsonl"
SHORT_TEXT = 160
MOST_SHOWN = 30
"""Items that a notebook shows of one result."""


@dataclass(frozen=True, kw_only=True)
class Judged:
    """An estimate as it was judged: its value and its interval, None where nothing was measured. n: of its units."""

    value: float | None
    low: float | None
    high: float | None
    n: float | None

    def __repr__(self) -> str:
        return "not measured" if self.value is None else format_interval(self.value, self.low, self.high)


@dataclass(frozen=True, repr=False)
class Result:
    """One claim on one model under one protocol. record: everything that is known of it."""

    record: Record

    @property
    def verdict(self) -> str:
        """'supported', 'partly supported', 'refuted' or 'inconclusive', or why there is none ('skipped' …)."""
        return self.record.ruling or self.record.outcome

    @property
    def sentence(self) -> str:
        """The verdict in a sentence, or the reason why there is none."""
        return self.record.sentence

    @property
    def estimates(self) -> dict[str, Judged]:
        """The estimates that criteria ask for, by name."""
        return {c.estimate: Judged(value=c.value, low=c.low, high=c.high, n=c.n) for c in self.record.criteria}

    @property
    def tables(self) -> dict[str, pd.DataFrame]:
        """The tables behind the verdict, by title."""
        import pandas as pd

        return {one.title: pd.DataFrame(one.rows, columns=pd.Index(one.columns)) for one in self.record.tables}

    def to_frame(self) -> pd.DataFrame:
        """One row for each criterion."""
        return Results((self.record,)).to_frame()

    def __repr__(self) -> str:
        return f"{_name(self.record)}: {self.verdict}\n{shorten_line(self.sentence)}"

    def _repr_html_(self) -> str:
        return write_html_table((self.record,))


@dataclass(frozen=True, repr=False)
class Results(Sequence[Result]):
    """Claims on models, in the order of the records. `results["C16"]` are those of one claim."""

    records: tuple[Record, ...]

    @property
    def verdict(self) -> str:
        """The verdict of the only item. Raises UsageError where there are several."""
        return self._only("verdict").verdict

    @property
    def estimates(self) -> dict[str, Judged]:
        """The estimates of the only item, by name. Raises UsageError where there are several."""
        return self._only("estimates").estimates

    @property
    def verdicts(self) -> dict[tuple[str, str, str], str]:
        """The verdict of each claim, subject and protocol."""
        return {(r.claim, r.subject, r.protocol): Result(r).verdict for r in self.records}

    def to_frame(self, rows: str = "estimates") -> pd.DataFrame:
        """A table with a row for each criterion ('estimates'), each item ('items') or each cell of tables ('runs').

        Its columns are those of `lm-claims report export`. Raises UsageError for another kind of rows.
        """
        import pandas as pd

        from engine.report.export import SHEETS

        if rows not in SHEETS:
            expected = " or ".join(map(repr, SHEETS))
            raise UsageError(explain(who="to_frame", got=f"rows={rows!r}", expected=expected, remedy="name one"))
        sheet = SHEETS[rows](self.records)
        return pd.DataFrame(list(sheet.rows), columns=pd.Index(list(sheet.columns)))

    def _only(self, what: str) -> Result:
        if len(self.records) == 1:
            return self[0]
        got, expected = say_count(len(self.records), "item"), f"one, to have a single {what}"
        remedy = "take one by its number, as in results[0], or all by results.verdicts or results.to_frame()"
        raise UsageError(explain(who="results", got=got, expected=expected, remedy=remedy))

    @overload
    def __getitem__(self, key: int) -> Result: ...
    @overload
    def __getitem__(self, key: slice | str) -> Results: ...
    def __getitem__(self, key: int | slice | str) -> Result | Results:
        if isinstance(key, str):
            found = tuple(r for r in self.records if r.claim.lower() == key.lower())
            if not found:
                raise KeyError(key)
            return Results(found)
        return Results(self.records[key]) if isinstance(key, slice) else Result(self.records[key])

    def __len__(self) -> int:
        return len(self.records)

    def __iter__(self) -> Iterator[Result]:
        return map(Result, self.records)

    def __repr__(self) -> str:
        if len(self.records) == 1:
            return repr(self[0])
        claims = say_count(len({r.claim for r in self.records}), "claim")
        names = ", ".join(dict.fromkeys(r.subject for r in self.records))
        verdicts = [Result(r).verdict for r in self.records]
        counts = ", ".join(f"{verdicts.count(word)} {word}" for word in dict.fromkeys(verdicts))
        return f"{claims} on {shorten_line(names)}: {say_count(len(self.records), 'item')}\n{counts}"

    def _repr_html_(self) -> str:
        return write_html_table(self.records)


def write_html_table(records: Sequence[Record]) -> str:
    """A row for each item: its verdict, and its first interval over the region that the criterion asks for."""
    from engine.report.intervals import arrange_interval, fit_axis
    from engine.report.templates import load_template
    from engine.report.words import find_record_symbol, write_headline

    # What has no verdict is counted, and shown only where there is nothing else.
    judged = [r for r in records if r.ruling or r.outcome == "error"]
    others = [r for r in records if not r.ruling and r.outcome != "error"]
    first, then = (judged, others) if judged else (others, [])
    shown, left = first[:MOST_SHOWN], [*first[MOST_SHOWN:], *then]
    rows = [
        (r, symbol, write_headline(r), criteria, arrange_interval(criteria, fit_axis(criteria), symbol.css_class))
        for r in shown
        for symbol, criteria in [(find_record_symbol(r), _criteria_of_headline(r))]
    ]
    rest = [Result(r).verdict for r in left]
    counts = ", ".join(f"{rest.count(word)} {word}" for word in dict.fromkeys(rest))
    return load_template("results.html.j2").render(rows=rows, counts=counts)


def _criteria_of_headline(record: Record) -> tuple[CriterionRecord, ...]:
    """All criteria that ask for the estimate that decides most."""
    head = find_headline(record)
    return () if head is None else tuple(c for c in record.criteria if c.estimate == head.estimate)


def load(records: str | Path | Iterable[Record]) -> Results:
    """The results in a `records.jsonl`, in a folder that holds one (as `reports/latest`), or of records themselves.

    Raises LedgerError for a file that is missing or holds no records.
    """
    if not isinstance(records, str | Path):
        return Results(tuple(records))
    path = Path(records)
    return Results(tuple(read_records(path / RECORDS if path.is_dir() else path)))


def shorten_line(text: str) -> str:
    """A text on one line, cut where it is long."""
    line = " ".join(text.split())
    return line if len(line) <= SHORT_TEXT else f"{line[: SHORT_TEXT - 1]}…"


def _name(record: Record) -> str:
    protocol = "" if record.protocol == "direct" else f", {record.protocol}"
    return f"{record.claim} on {shorten_line(record.subject)}{protocol}"
