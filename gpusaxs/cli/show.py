"""`gpusaxs show`: a run, or one curve of it, in words."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gpusaxs.metadata import FIELDS, META

if TYPE_CHECKING:
    from gpusaxs.api import Result

Line = dict[str, Any]


def show(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run directory.")],
    curve: Annotated[
        str | None,
        typer.Argument(metavar="CURVE", help="An id, or a unique part of one."),
    ] = None,
) -> None:
    """Show what a run came to; or the peaks and the phase of one curve."""
    from gpusaxs.archive.directory import read_description
    from gpusaxs.archive.opened import open_run
    from gpusaxs.cli.find import find_curve
    from gpusaxs.cli.report import print_summary

    result = open_run(run)
    description = read_description(run)
    if curve is not None:
        _print_curve(result, find_curve(result, curve), description.get("numbers", {}))
        return
    typer.echo(
        f"{run}: pipeline {description['pipeline']['name']}, backend {description['backend']}, "
        f"gpusaxs {description['versions']['gpusaxs']}, started {description['started']}"
    )
    if description["state"] != "complete":
        typer.echo("The run did not come to its end: it was stopped, or is still going on.")
    typer.echo()
    print_summary(result.samples)


def _print_curve(result: Result, number: int, numbers: Mapping[str, Line]) -> None:
    """Print a curve; `numbers` says what the columns are that stages left."""
    import pyarrow.compute as pc

    curve = result.samples.slice(number, 1).to_pylist()[0]
    mine = pc.field("id") == curve["id"]
    phases = result.phases.filter(mine).to_pylist()
    peaks = result.peaks.filter(mine).to_pylist()
    _print_answer(curve)
    _print_numbers(curve, numbers)
    _print_candidates(phases)
    _print_peaks(peaks, phases)
    _print_notes(phases)


def _print_answer(curve: Line) -> None:
    from gpusaxs.labels import with_uncertainty
    from gpusaxs.sample import CurveStatus

    typer.echo(curve["id"])
    answer = {"verdict": curve["verdict"], "phase": curve["phase"]}
    if curve["lattice"] is not None:
        value = with_uncertainty(curve["lattice"], curve["lattice_sigma"])
        answer["lattice parameter"] = f"{value} nm"
    if curve["d_spacing"] is not None:
        answer["d of strongest line"] = f"{curve['d_spacing']:.4g} nm"
    if curve["probability"] is not None:
        answer["probability"] = f"{curve['probability']:.3f}"
    if curve["margin"] is not None:
        answer["margin"] = f"{curve['margin']:.1f} in log Bayes factor, over the next best answer"
    status = CurveStatus.parse(curve["status"])
    answer["status"] = (curve["reason"] if status.failed else status.explanation) or "ok"
    if curve["points"]:
        answer["curve"] = (
            f"{curve['points']} points, {curve['q_min']:.4g} to {curve['q_max']:.4g} nm⁻¹"
        )
    if curve["source"]:
        answer["file"] = curve["source"]
    if curve["q_unit"]:
        answer["q unit"] = f"{curve['q_unit']} (from: {curve['q_unit_from']})"
    for name, value in curve.items():
        if name.startswith(META):
            answer[name.removeprefix(META)] = value if value is None else _told(name, value)
    for name, words in answer.items():
        if words is not None:
            typer.echo(f"  {name:20s} {words}")
    typer.echo()


def _print_numbers(curve: Line, numbers: Mapping[str, Line]) -> None:
    """Print what stages found beside peaks and phases, each with its uncertainty."""
    from gpusaxs.cli.report import print_table
    from gpusaxs.labels import with_uncertainty

    rows = []
    for column, known in numbers.items():
        value = curve[column]
        if value is None or column.removesuffix("_sigma") in numbers.keys() - {column}:
            continue
        sigma = curve.get(f"{column}_sigma")
        if known["is_text"]:
            told = value
        else:
            told = f"{value:.5g}" if sigma is None else with_uncertainty(value, sigma)
        rows.append((column, told, known["unit"], known["meaning"]))
    if rows:
        print_table(("number", "value", "unit", "meaning"), rows, left=4)


def _told(name: str, value: str | float) -> str:
    """What is known of a curve beside its numbers, with its unit."""
    if isinstance(value, str):
        return value
    known = FIELDS.get(name.removeprefix(META))
    return f"{value:g}" if known is None else known.with_unit(f"{value:g}")


def _print_candidates(phases: list[Line]) -> None:
    from gpusaxs.cli.report import print_table
    from gpusaxs.labels import reflection_label, with_uncertainty

    if len(phases) < 2:
        return
    rows = [
        (
            f"{line['candidate'] + 1}",
            line["phase"],
            with_uncertainty(line["lattice"], line["lattice_sigma"]),
            f"{line['score']:.1f}",
            " ".join(reflection_label(line["phase"], n) for n in line["matched"]),
        )
        for line in phases
    ]
    print_table(("answer", "phase", "lattice/nm", "score", "reflections"), rows)


def _print_peaks(peaks: list[Line], phases: list[Line]) -> None:
    from gpusaxs.cli.report import print_table
    from gpusaxs.labels import assigned, reflection_label, with_uncertainty

    if not peaks:
        typer.echo("No peaks.")
        return
    q = [peak["q"] if peak["bragg"] else math.nan for peak in peaks]
    best = [line for line in phases if line["candidate"] == 0]
    names: dict[int, str] = {}
    for line in best:
        prefix = f"{line['phase']} " if len(best) > 1 else ""
        for place, n in assigned(q, line["matched"], line["matched_q"]).items():
            names[place] = prefix + reflection_label(line["phase"], n)
    rows = [
        (
            with_uncertainty(peak["q"], peak["q_sigma"]),
            with_uncertainty(peak["fwhm"], peak["fwhm_sigma"]),
            with_uncertainty(peak["height"], peak["height_sigma"]),
            f"{2.0 * math.pi / peak['q']:.4g}" if peak["q"] > 0.0 else "-",
            names.get(place, "not indexed" if peak["bragg"] else _why_not(peak)),
            peak["status"],
        )
        for place, peak in sorted(enumerate(peaks), key=_by_q)
    ]
    print_table(("q/nm⁻¹", "FWHM/nm⁻¹", "height", "d/nm", "reflection", "fit"), rows, left=0)


def _why_not(peak: Line) -> str:
    kind: str = peak["kind"].replace("_", " ")
    return "-" if kind == "not judged" else f"no Bragg line: {kind}"


def _by_q(entry: tuple[int, Line]) -> tuple[bool, float]:
    q = entry[1]["q"]
    return math.isnan(q), q


def _print_notes(phases: list[Line]) -> None:
    """What the phases of the best answer lack, and what else they say."""
    from gpusaxs.labels import reflection_label, with_uncertainty

    for best in phases:
        if best["candidate"] != 0:
            continue
        words = [
            f"{reflection_label(best['phase'], n)} at {q:.4g} nm⁻¹"
            for n, q in zip(best["missing"], best["missing_q"], strict=True)
        ]
        if words:
            typer.echo(f"Missing reflections of {best['phase']}: {', '.join(words)}")
        if best["ratio"] is not None:
            value = with_uncertainty(best["ratio"], best["ratio_sigma"])
            typer.echo(f"Ratio of the axes of {best['phase']}: {value}")
        if best["offset"] is not None:
            value = with_uncertainty(best["offset"], best["offset_sigma"])
            typer.echo(f"The lines of {best['phase']} show an offset of q: {value} nm⁻¹")
        if best["partner"]:
            typer.echo(
                f"Bonnet partner of {best['phase']}: {best['partner']} at "
                f"{best['partner_lattice']:.4g} nm"
            )
