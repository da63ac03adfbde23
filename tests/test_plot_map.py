import numpy as np
import pytest

from gpusaxs.phases import PHASE_BY_NAME
from gpusaxs.plot import save
from gpusaxs.plot_map import plot_map
from gpusaxs.sample import Sample
from gpusaxs.tracking import track

VERDICTS = ("none", "unindexed", "ambiguous", "failed")


def curve(name, temperature, *phases, verdict="identified", **more):
    """A curve with the phases, all with a lattice parameter of 8 nm."""
    lines = [float(q) for phase in phases for q in PHASE_BY_NAME[phase].q(8.0)[:3]]
    return {
        "id": name,
        "verdict": verdict,
        "meta.temperature": float(temperature),
        "phases": [(phase, 8.0) for phase in phases],
        "lines": lines,
    } | more


@pytest.fixture
def one(tables_of_curves):
    """A series with phases that coexist, every verdict, and a wide gap."""
    curves = [
        curve("a", 10, "hexagonal"),
        curve("b", 12, "hexagonal"),
        curve("c", 14, "hexagonal", "lamellar"),
        curve("d", 16, "hexagonal", "lamellar", "Pn-3m"),
        *(curve(word, 18 + 2 * k, verdict=word) for k, word in enumerate(VERDICTS)),
        curve("e", 60, "Pn-3m"),
        curve("f", 60, "Pn-3m"),
    ]
    return track(tables_of_curves(curves), "temperature")


def drawn(series, *, reduced, value=1.0):
    """Curves of a series; each has another constant intensity."""
    rows = [row for row in series.curves.to_pylist() if row["verdict"] != "failed"]
    q = np.linspace(0.1, 3.0, 50)
    return [
        Sample(
            row["id"],
            q,
            np.full(50, value * (1.0 + place)),
            np.full(50, 0.1),
            background=np.zeros(50) if reduced else None,
        )
        for place, row in enumerate(rows)
    ]


def texts(figure):
    [legend] = figure.legends
    return [text.get_text() for text in legend.get_texts()]


@pytest.mark.parametrize("reduced", [True, False])
def test_one_series_is_drawn_with_image_strip_and_lattices(one, tmp_path, reduced):
    figure = plot_map(one, drawn(one, reduced=reduced))
    save(figure, tmp_path / "map.png")
    assert (tmp_path / "map.png").stat().st_size > 10_000
    image, strip, lattice, bar = figure.axes
    assert image.get_ylabel() == "temperature (°C)"
    assert lattice.get_xlabel() == "lattice parameter (nm)"
    assert bar.get_xlabel() == f"{'reduced' if reduced else 'measured'} intensity (a.u.)"
    assert image.get_ylim() == strip.get_ylim()
    low, high = image.get_ylim()
    assert low < 10.0
    assert high > 60.0


def test_every_curve_is_a_row_of_the_image_at_its_coordinate(one):
    curves = drawn(one, reduced=False)
    figure = plot_map(one, curves)
    [mesh] = figure.axes[0].collections[:1]
    corners = mesh.get_coordinates()[:, 0, 1]
    values = np.ma.filled(mesh.get_array(), np.nan)[:, 25]
    coordinate = {row["id"]: row["coordinate"] for row in one.curves.to_pylist()}
    shown = {}
    for sample in curves:
        shown.setdefault(coordinate[sample.id], sample.intensity[0])
    for place, expected in shown.items():
        [row] = np.flatnonzero((corners[:-1] < place) & (place < corners[1:]))
        assert values[row] == expected
    [gap] = np.flatnonzero((corners[:-1] < 40.0) & (corners[1:] > 40.0))
    assert np.isnan(values[gap])


def test_tracked_peaks_lie_over_the_image_and_branches_are_not_joined(one):
    [line] = plot_map(one, drawn(one, reduced=True)).axes[0].lines
    q, coordinate = line.get_data()
    broken = np.isnan(q)
    assert sorted(q[~broken]) == sorted(one.peaks["q"].to_pylist())
    assert np.count_nonzero(broken) == one.branches["kind"].to_pylist().count("peak")
    for piece in np.split(coordinate, np.flatnonzero(broken)):
        assert (np.diff(piece[np.isfinite(piece)]) >= 0).all()


def test_the_strip_has_as_many_colours_side_by_side_as_there_are_phases(one):
    [mesh] = plot_map(one).axes[0].collections
    corners = mesh.get_coordinates()[:, 0, 1]
    shares = {}
    for place in (10.0, 14.0, 16.0, 18.0, 60.0):
        [row] = np.flatnonzero((corners[:-1] < place) & (place < corners[1:]))
        colors = [tuple(color) for color in np.reshape(mesh.get_array(), (-1, 12, 4))[row]]
        shares[place] = [colors.count(color) for color in dict.fromkeys(colors)]
    assert shares == {10.0: [12], 14.0: [6, 6], 16.0: [4, 4, 4], 18.0: [12], 60.0: [12]}


def test_without_phases_there_are_no_lattices_and_without_curves_no_image(one, tables_of_curves):
    assert len(plot_map(one).axes) == 2
    plain = track(tables_of_curves([{}, {}, {}]), "order")
    assert len(plot_map(plain).axes) == 1
    assert len(plot_map(plain, drawn(plain, reduced=False)).axes) == 3


def test_the_legend_explains_what_is_there_and_nothing_else(one, tables_of_curves):
    assert texts(plot_map(one)) == [
        "hexagonal",
        "lamellar",
        "$Pn\\bar{3}m$",
        "no Bragg line",
        "unindexed",
        "ambiguous",
        "failed",
        "transition",
    ]
    plain = track(tables_of_curves([{}, {}, {}]), "order")
    assert texts(plot_map(plain)) == ["no Bragg line"]


@pytest.fixture
def several(tables_of_curves):
    curves = [
        curve("w70_T10", 10, "hexagonal"),
        curve("w70_T50", 50, verdict="none"),
        curve("w80_T10", 10, "hexagonal", "lamellar"),
        curve("w80_T30", 30, verdict="unindexed"),
        curve("w80_T50", 50, verdict="ambiguous"),
        curve("w85_T50", 50, verdict="failed"),
    ]
    return tables_of_curves(curves)


def test_several_series_are_a_map_with_their_transitions(several, tmp_path):
    series = track(several, "temperature", "w (wt%)", from_name=r"w(?P<w>\d+)")
    figure = plot_map(series)
    save(figure, tmp_path / "map.png")
    [ax] = figure.axes
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("w (wt%)", "temperature (°C)")
    [transition] = [line for line in ax.lines if line.get_linestyle() == "-"]
    assert transition.get_xydata().tolist() == [[70.0, 10.0], [70.0, 50.0]]
    marks = [line for line in ax.lines if line is not transition]
    places = sorted(tuple(place) for line in marks for place in line.get_xydata().tolist())
    assert places == [(70, 10), (70, 50), (80, 10), (80, 30), (80, 50), (85, 50)]
    assert len({line.get_marker() for line in marks}) == 4
    assert "hexagonal + lamellar" in texts(figure)


def test_series_with_names_stand_side_by_side(several):
    series = track(several, "temperature", "who", from_name=r"(?P<who>w\d+)")
    [ax] = plot_map(series).axes
    assert [label.get_text() for label in ax.get_xticklabels()] == ["w70", "w80", "w85"]


def test_a_phase_of_a_user_has_a_colour_and_a_name(tables_of_curves):
    own = {"phase": "my rods", "lattice": 8.0, "lattice_sigma": 0.1}
    curves = [curve("a", 10, "hexagonal"), curve("b", 20) | {"phases": [own], "lines": [1.0]}]
    figure = plot_map(track(tables_of_curves(curves), "temperature"))
    assert "my rods" in texts(figure)


@pytest.mark.parametrize("value", [0.0, -1.0])
@pytest.mark.parametrize("reduced", [True, False])
def test_curves_without_anything_above_zero_can_be_drawn(one, reduced, value):
    plot_map(one, drawn(one, reduced=reduced, value=value)).draw_without_rendering()


def test_curves_of_one_coordinate_can_be_drawn(tables_of_curves):
    series = track(tables_of_curves([curve(n, 25, "hexagonal") for n in "abc"]), "temperature")
    plot_map(series, drawn(series, reduced=True)).draw_without_rendering()
