"""Fill docs/accuracy.md with numbers: ``python -m benchmarks.accuracy_page [--curves N]``.

Everything is measured anew, in twenty minutes on two cores; what stands between two marks of the
same name is replaced, the rest of the page is left as it is.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa

from benchmarks import accuracy, calibration, measured, perfect_lines, robustness
from benchmarks.known_answers import answers, groups
from gpusaxs.pipeline import Pipeline

PAGE = Path(__file__).parents[1] / "docs" / "accuracy.md"
PUBLISHED_SEED = 91000
"""Of the numbers in docs/accuracy.md; nobody looks at its curves to make anything better."""


def fill(page: str, parts: Mapping[str, str]) -> str:
    """Replace what stands between ``<!-- NAME -->`` and ``<!-- /NAME -->`` for each part.

    Raises
    ------
    ValueError
        If the page has no such marks.
    """
    for name, part in parts.items():
        marks = re.compile(
            f"(<!-- {re.escape(name)} -->).*?(<!-- /{re.escape(name)} -->)", re.DOTALL
        )
        page, count = marks.subn(
            lambda found, part=part: f"{found[1]}\n\n{part}\n\n{found[2]}", page
        )
        if count != 1:
            raise ValueError(
                f"Expected the page to have one place for {name!r}. Got {count}. Write "
                f"<!-- {name} --> and <!-- /{name} --> where it belongs."
            )
    return page


def main() -> None:
    """Measure, and write the page and its picture."""
    options = accuracy.parser(__doc__, "python -m benchmarks.accuracy_page")
    options.set_defaults(seed=PUBLISHED_SEED)
    options.add_argument("--page", type=Path, default=PAGE, help="to be filled")
    options.add_argument("--recipes", type=int, default=200, help="curves for the pulls")
    options.add_argument("--noises", type=int, default=50, help="how often their noise is drawn")
    options.add_argument(
        "--others", type=int, default=200, help="curves a group for perfect lines and robustness"
    )
    asked = options.parse_args()
    page = asked.page.read_text("utf-8")
    pipeline = Pipeline.load(asked.pipeline).with_settings(asked.settings)
    rows = pa.concat_tables(answers(groups(asked.curves, asked.seed), pipeline, asked.workers))
    found = accuracy.Answers(rows)
    pulls = calibration.measure_pulls(asked.recipes, asked.noises, asked.seed, pipeline)
    bins = calibration.diagrams(found)
    perfect = perfect_lines.measure(asked.others, asked.seed, pipeline, asked.workers)
    sizes, changes = robustness.measure(groups(asked.others, asked.seed), pipeline, asked.workers)
    parts = {
        "made": f"Measured on {datetime.date.today().isoformat()}: {rows.num_rows:,} curves, "
        f"{asked.curves:,} a phase and exposure, seed {asked.seed}; pulls of {asked.recipes} "
        f"curves with {asked.noises} noises each; robustness of {sum(sizes.values()):,} curves.",
        **accuracy.parts(found),
        "perfect lines": perfect_lines.goal_table(perfect),
        **calibration.parts(*pulls, bins),
        "robustness": robustness.summary_table(sizes, changes),
    }
    if measured.FOLDER.is_dir():
        known = [*measured.known_curves(pipeline), *measured.gould_curves(pipeline)]
        parts |= measured.parts([one for one, _ in known])
    asked.page.write_text(fill(page, parts), "utf-8")
    if bins:
        pictures = asked.page.parent / "pictures"
        pictures.mkdir(exist_ok=True)
        calibration.draw(bins, pictures / "reliability.svg")


if __name__ == "__main__":
    main()
