import importlib.util
from dataclasses import replace

import numpy as np
import pytest

from gpusaxs.errors import GpusaxsError
from gpusaxs.phases import PHASE_BY_NAME, PHASES
from gpusaxs.plot import plot_accuracy, plot_sample, save
from gpusaxs.sample import FitStatus, FlowMetadata, LineKind, Peak, PhaseMatch, Sample, Verdict
from gpusaxs.simulate import simulate


@pytest.fixture
def sample():
    """Im-3m with three of its first four lines, as it comes out of a pipeline."""
    q = np.linspace(0.1, 3.0, 600)
    background = 5.0 + 10.0 / q**2
    lines = PHASE_BY_NAME["Im-3m"].q(14.0)[[0, 1, 3]]
    peaks = [
        Peak(10, 900.0, 900.0, q=line, fwhm=0.03, height=900.0, eta=0.5, kind=LineKind.BRAGG,
             status=FitStatus.CONVERGED)
        for line in lines
    ]  # fmt: skip
    reduced = np.sum([peak.profile(q) for peak in peaks], axis=0)
    reduced += np.random.default_rng(0).standard_normal(q.size)
    return Sample(
        "folder/$curve_1$.dat",
        q[5:],
        reduced[5:],
        np.ones(595),
        metadata=FlowMetadata("curve", peaks),
        verdict=Verdict.IDENTIFIED,
        phases=(
            PhaseMatch("Im-3m", 14.0, 0.02, 30.0, (2, 4, 8), (6, 10), tuple(lines), (1.1, 1.4)),
        ),
        measured_q=q,
        measured_intensity=reduced + background,
        background=background[5:],
    )


def texts(figure):
    return [text.get_text() for text in figure.axes[1].texts]


def test_found_reflections_are_black_and_missing_ones_grey(sample):
    figure = plot_sample(sample)
    colors = {text.get_text(): text.get_color() for text in figure.axes[1].texts}
    assert list(colors) == ["√2", "√4", "√6", "√8", "√10"]
    assert {colors[name] for name in ("√2", "√4", "√8")} == {"k"}
    assert colors["√6"] == colors["√10"] != "k"


def test_the_title_gives_id_phase_and_lattice_parameter(sample):
    [title] = [text.get_text() for text in plot_sample(sample).texts]
    assert "folder/\\$curve_1\\$.dat" in title
    assert "14.00(2) nm" in title
    assert "Im\\bar{3}m" in title


@pytest.mark.parametrize("phase", PHASES, ids=lambda phase: phase.name)
def test_labels_that_would_overlap_are_left_out(sample, tmp_path, phase):
    q = tuple(phase.q(30.0))
    match = PhaseMatch(phase.name, 30.0, 0.1, 30.0, phase.reflections, (), q)
    figure = plot_sample(replace(sample, phases=(match,)))
    figure.canvas.draw()
    boxes = [text.get_window_extent() for text in figure.axes[1].texts]
    assert boxes
    overlaps = [
        (a, b)
        for k, a in enumerate(boxes)
        for b in boxes[:k]
        if a.padded(-2).overlaps(b.padded(-2))
    ]
    assert not overlaps


@pytest.mark.parametrize(
    "change",
    [
        {"verdict": Verdict.NONE, "phases": (), "metadata": FlowMetadata("none")},
        {"verdict": Verdict.UNINDEXED, "phases": ()},
        {"verdict": Verdict.AMBIGUOUS},
        {"verdict": Verdict.FAILED, "phases": (), "reason": "no points"},
        {"verdict": None, "phases": (), "background": None, "sigma": None},
        {"measured_q": None, "measured_intensity": None},
        {"intensity": np.zeros(595), "phases": (), "metadata": FlowMetadata("zero")},
        {"intensity": -np.ones(595), "measured_intensity": -np.ones(600), "phases": ()},
    ],
    ids=["none", "unindexed", "ambiguous", "failed", "raw", "kept", "zero", "negative"],
)
def test_every_kind_of_curve_can_be_drawn(sample, tmp_path, change):
    save(plot_sample(replace(sample, **change)), tmp_path / "curve.png")
    assert (tmp_path / "curve.png").stat().st_size > 10_000


def test_a_sample_draws_itself_into_given_axes(sample):
    from matplotlib.figure import Figure

    ax = Figure().subplots()
    assert sample.plot(ax) is ax
    assert ax.lines


def test_a_sample_draws_itself_into_a_new_figure(sample):
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure = sample.plot().figure
    assert len(figure.axes) == 2
    assert pyplot.get_fignums() == [figure.number]
    pyplot.close(figure)


def test_without_matplotlib_the_error_says_what_to_install(sample, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda *_: None)
    with pytest.raises(GpusaxsError, match=r"gpusaxs\[plot\]"):
        plot_sample(sample)


def test_an_unknown_picture_format_is_refused_with_the_known_ones(sample, tmp_path):
    with pytest.raises(GpusaxsError, match=r"\.png"):
        save(plot_sample(sample), tmp_path / "curve.doc")


def test_accuracy_has_one_bar_a_phase_that_was_drawn(tmp_path):
    truth = simulate(40, seed=1, phases=["lamellar", "Pn-3m"], negatives=0.2).truth
    answers = truth.select(["id", "phase", "lattice"]).append_column(
        "verdict", [["identified" if phase else "none" for phase in truth["phase"].to_pylist()]]
    )
    figure = plot_accuracy(answers, truth)
    names = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert [name.split()[0] for name in names] == ["Pn-3m", "lamellar"]
    assert all(bar.get_width() == 100.0 for bar in figure.axes[0].patches)
