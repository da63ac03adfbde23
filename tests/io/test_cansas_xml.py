import logging
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpusaxs.errors import ReadError
from gpusaxs.io import Extent, Source, cansas_xml, extent, read
from gpusaxs.sample import CurveStatus

FORMATS = Path(__file__).parents[3] / "shared" / "data" / "formats"
HEAD = '<?xml version="1.0"?>\n<?xml-stylesheet type="text/xsl" href="example.xsl" ?>\n'
NAMESPACES = {
    "1.0": '<SASroot version="1.0" xmlns="cansas1d/1.0">',
    "1.1": '<SASroot version="1.1" xmlns="urn:cansas1d:1.1">',
    "none": "<SASroot>",
}
NO_UNITS = {"Q": None, "I": None, "Idev": None}
UNITS = {"Q": "1/A", "I": "1/cm", "Idev": "1/cm"}


def value(name, number, unit):
    stated = "" if unit is None else f' unit="{unit}"'
    return f"<{name}{stated}>{number}</{name}>"


def row(q="0.1", intensity="2.5", sigma="0.5", units=UNITS, more=""):
    """Give an Idata; what is None is left out."""
    numbers = {"Q": q, "I": intensity, "Idev": sigma}
    kept = [value(name, n, units[name]) for name, n in numbers.items() if n is not None]
    return f"<Idata>{''.join(kept)}{more}</Idata>\n"


ROWS = row() + row("0.2", "1.5", "0.25")


def data(*rows, name=None):
    named = "" if name is None else f' name="{name}"'
    return f"<SASdata{named}>\n{''.join(rows)}</SASdata>\n"


def entry(*members, title="a title", name=None):
    named = "" if name is None else f' name="{name}"'
    titled = "" if title is None else f"<Title>{title}</Title>"
    return f"<SASentry{named}>{titled}<Run/>{''.join(members)}</SASentry>\n"


def document(*entries, version="1.0", head=HEAD):
    return f"{head}{NAMESPACES[version]}\n{''.join(entries)}</SASroot>\n"


def read_text(tmp_path, text, q_unit=None, frames=None):
    path = tmp_path / "curve.xml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8"))
    return read(path, q_unit, frames)


def bits(values):
    return None if values is None else values.tobytes()


def described(samples):
    return [
        (s.id, s.origin, s.status, bits(s.q), bits(s.intensity), bits(s.sigma)) for s in samples
    ]


def check_two_rows(sample):
    assert np.array_equal(sample.q, [1.0, 2.0])
    assert np.array_equal(sample.intensity, [2.5, 1.5])
    assert np.array_equal(sample.sigma, [0.5, 0.25])


# Files that programs have written.


def files():
    found = [*FORMATS.glob("cansas_xml/*.xml"), *FORMATS.glob("sasdata/*.xml")]
    found += FORMATS.glob("sasdata/TestExtensions.asc")
    return sorted(path.relative_to(FORMATS).as_posix() for path in found)


needs_files = pytest.mark.skipif(
    not FORMATS.is_dir(), reason="the measured data are not there: ../shared/data"
)
CURVES_OF = {
    "cansas_xml/ISIS_GLASSYC_C4G8G9.xml": 6,
    "cansas_xml/ISIS_GLASSYC_C4G8G9_withTL.xml": 6,
    "sasdata/cansas_xml_multisasentry_multisasdata.xml": 19,
    "sasdata/latex_smeared.xml": 2,
}
# These two give I in 1/nm, which sasdata converts to 1/cm.
IN_INVERSE_NM = {"sasdata/cansas1d_units.xml", "sasdata/cansas1d_badunits.xml"}


def reading_of_sasdata(path):
    """q in 1/nm, intensity and sigma of each curve, as another program reads them."""
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from sasdata.dataloader.loader import Loader

            return [(d.x * 10.0, d.y, d.dy, d.title) for d in Loader().load(str(path))]
    finally:
        logging.disable(logging.NOTSET)


@needs_files
def test_no_file_is_missed():
    assert len(files()) == 49
    assert set(files()) > CURVES_OF.keys() | IN_INVERSE_NM


@needs_files
@pytest.mark.parametrize("name", files())
def test_a_file_gives_the_numbers_that_another_program_reads(name):
    samples, expected = read(FORMATS / name), reading_of_sasdata(FORMATS / name)
    assert len(samples) == len(expected) == CURVES_OF.get(name, 1)
    in_file = 1e-7 if name in IN_INVERSE_NM else 1.0
    for sample, (q, intensity, sigma, title) in zip(samples, expected, strict=True):
        # sasdata leaves out points with q = 0, sorts the others, and shuffles those of the same q.
        order, theirs = np.lexsort((sample.intensity, sample.q)), np.lexsort((intensity, q))
        order = order[sample.q[order] > 0]
        assert np.allclose(sample.q[order], q[theirs], rtol=1e-14, atol=0)
        expected_intensity = intensity[theirs] * in_file
        assert np.allclose(sample.intensity[order], expected_intensity, rtol=1e-14, atol=0)
        if sample.sigma is None:
            # It has zeros where a file gives no Idev.
            assert not sigma.any()
        else:
            assert np.allclose(sample.sigma[order], sigma[theirs] * in_file, rtol=1e-14, atol=0)
        assert str(sample.origin.metadata.get("title", "")).startswith(" ".join(title.split()))
        assert sample.origin.q_unit == ("1/nm" if name in IN_INVERSE_NM else "1/angstrom")
        assert sample.origin.q_unit_from == "metadata"
        assert sample.status == CurveStatus.OK


@needs_files
@pytest.mark.parametrize("name", files())
def test_the_extent_of_a_file_is_what_it_holds(name):
    samples = read(FORMATS / name)
    curves, longest = len(samples), max(len(sample.q) for sample in samples)
    assert extent(FORMATS / name) == Extent(curves, longest, together=curves)


@needs_files
def test_curves_of_one_title_have_titles_that_tell_them_apart():
    for name, curves in CURVES_OF.items():
        titles = {sample.origin.metadata["title"] for sample in read(FORMATS / name)}
        assert len(titles) == curves, name
    steel = read(FORMATS / "sasdata/cansas_xml_multisasentry_multisasdata.xml")
    first = steel[0].origin.metadata
    assert first["title"] == "AF1410-10 (AF1410 steel aged 10 h) / AF1410-a10"
    assert first["sample"] == "AF1410-10 (AF1410 steel aged 10 h)"
    assert steel[1].id == "cansas_xml_multisasentry_multisasdata.xml#1"
    glass = read(FORMATS / "cansas_xml/ISIS_GLASSYC_C4G8G9.xml")
    assert glass[3].origin.metadata["title"] == "G8_SANS / Workspace_6"


@needs_files
def test_what_a_file_says_of_its_sample_is_kept():
    (sample,) = read(FORMATS / "sasdata/cansas1d_units.xml")
    assert sample.origin.metadata == {
        "title": "Test title",
        "sample": "my sample",
        "thickness": pytest.approx(1.03),
        "transmission": 0.327,
        "temperature": 0.0,
        "resolution": 0.0,
        "relative_resolution": pytest.approx(1.283, rel=1e-3),
    }
    (bad,) = read(FORMATS / "sasdata/cansas1d_badunits.xml")
    assert "thickness" not in bad.origin.metadata


# How the file is written.


@pytest.mark.parametrize("version", NAMESPACES)
def test_both_versions_are_read_with_any_namespace(tmp_path, version):
    (sample,) = read_text(tmp_path, document(entry(data(ROWS)), version=version))
    check_two_rows(sample)
    assert sample.id == "curve.xml"
    assert (sample.origin.q_unit, sample.origin.q_unit_from) == ("1/angstrom", "metadata")
    assert sample.origin.format == "cansas_xml"
    assert sample.status == CurveStatus.OK


def test_a_prefix_of_the_names_is_no_part_of_them(tmp_path):
    text = document(entry(data(ROWS))).replace("xmlns=", "xmlns:c=")
    text = text.replace("</", "<//").replace("<", "<c:").replace("<c://", "</c:")
    text = text.replace("<c:?", "<?")
    assert "<c:SASroot" in text
    assert "</c:Idata>" in text
    check_two_rows(*read_text(tmp_path, text))
    assert extent(tmp_path / "curve.xml") == Extent(1, 2)


@pytest.mark.parametrize(
    "encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "latin-1", "ascii"]
)
def test_a_file_is_read_in_its_encoding(tmp_path, encoding):
    named = encoding.removesuffix("-sig").removesuffix("-le").removesuffix("-be")
    title = "plain" if encoding == "ascii" else "5 µm"
    head = f'<?xml version="1.0" encoding="{named}"?>'
    text = document(entry(data(ROWS), title=title), head=head)
    (sample,) = read_text(tmp_path, text.encode(encoding))
    check_two_rows(sample)
    assert sample.origin.metadata["title"] == title
    assert extent(tmp_path / "curve.xml") == Extent(1, 2)


@pytest.mark.parametrize("before", [0, 100, 400, 470, 512, 3990, 4060, 4096, 9000])
def test_a_comment_of_any_length_may_stand_first(tmp_path, before):
    text = document(entry(data(ROWS), data(ROWS)), head=f"\n<!-- {'<a>' * (before // 3)} -->\n")
    assert len(read_text(tmp_path, text)) == 2
    assert extent(tmp_path / "curve.xml") == Extent(2, 2, together=2)


@pytest.mark.parametrize("cut", range(500, 560))
def test_a_root_across_the_end_of_the_first_bytes_is_found(tmp_path, cut):
    text = document(entry(data(ROWS), data(ROWS)), head="<?a " + "x" * (cut - 20) + "?>")
    (tmp_path / "curve.xml").write_text(text, encoding="utf-8")
    assert extent(tmp_path / "curve.xml").curves == 2


def test_comments_and_other_elements_between_and_within_values_are_left_out(tmp_path):
    odd = row("<!-- q -->0.<!-- and -->1 ", "\n 2.5 <note>7</note>", "<![CDATA[0.5]]>")
    other = "<!-- <Idata><Q>9</Q><I>9</I></Idata> --><SASother><Idata><Q>9</Q></Idata></SASother>"
    more = "<Qdev unit='1/A'>9</Qdev><Qmean/><Shadowfactor>1</Shadowfactor><dQw>3</dQw><dQl/>"
    text = document(entry(data(odd, other, row("0.2", "1.5", "0.25", more=more))))
    check_two_rows(*read_text(tmp_path, text))
    assert extent(tmp_path / "curve.xml").curves == 1


def test_digits_before_and_behind_a_child_are_not_joined(tmp_path):
    (sample,) = read_text(tmp_path, document(entry(data(row("0.<x/>1"), ROWS))))
    assert np.array_equal(sample.q, [np.nan, 1.0, 2.0], equal_nan=True)


def test_transmission_spectra_and_notes_are_no_curves(tmp_path):
    spectrum = (
        '<SAStransmission_spectrum name="s"><Tdata><T>1</T></Tdata></SAStransmission_spectrum>'
    )
    note = f"<SASprocess><SASprocessnote>{data(ROWS)}</SASprocessnote></SASprocess>"
    check_two_rows(*read_text(tmp_path, document(entry(data(ROWS), spectrum, note))))
    assert extent(tmp_path / "curve.xml").curves == 1


# Several curves.


def several():
    return document(
        entry(data(row("0.1")), data(row("0.2"), row("0.3")), title="one"),
        entry(title="none"),
        entry(data(name="empty"), data(row("0.4", sigma=None)), title="two"),
        version="1.1",
    )


def test_every_sasdata_with_points_is_a_curve_in_the_order_of_the_file(tmp_path):
    samples = read_text(tmp_path, several())
    assert [sample.id for sample in samples] == [f"curve.xml#{k}" for k in range(3)]
    assert [sample.origin.frame for sample in samples] == [0, 1, 2]
    assert [sample.q.tolist() for sample in samples] == [[1.0], [2.0, 3.0], [4.0]]
    assert [sample.sigma is None for sample in samples] == [False, False, True]
    assert extent(Source(tmp_path / "curve.xml", "any")) == Extent(3, 2, together=3)


def test_any_slice_is_that_part_of_the_whole(tmp_path):
    whole = described(read_text(tmp_path, several()))
    for start in range(4):
        for stop in range(start, 4):
            assert (
                described(read(tmp_path / "curve.xml", frames=range(start, stop)))
                == (whole[start:stop])
            )
    with pytest.raises(ReadError, match="holds 3 curves, expected frames 2 to 3"):
        read(tmp_path / "curve.xml", frames=range(2, 4))


def test_a_bad_curve_spoils_no_other(tmp_path):
    bad = row(units=UNITS | {"Q": "furlong"})
    text = document(entry(data(ROWS), data(bad), data(row("0.7"))))
    with pytest.raises(ReadError, match=r"gives q in 'furlong': .* \(in its curve #1\)"):
        read_text(tmp_path, text)
    path = tmp_path / "curve.xml"
    assert extent(path).curves == 3
    check_two_rows(*read(path, frames=range(1)))
    assert read(path, frames=range(2, 3))[0].q.tolist() == [7.0]
    with pytest.raises(ReadError, match="furlong"):
        read(path, frames=range(1, 2))


def test_the_unit_of_each_curve_is_its_own(tmp_path):
    in_nm = row("0.5", units=UNITS | {"Q": "1/nm"})
    samples = read_text(tmp_path, document(entry(data(in_nm), data(row("0.5")))))
    assert [sample.q.tolist() for sample in samples] == [[0.5], [5.0]]


def test_a_changed_file_is_read_again(tmp_path):
    assert len(read_text(tmp_path, several())) == 3
    assert len(read_text(tmp_path, document(entry(data(ROWS))))) == 1


def test_samples_share_no_memory_with_those_of_another_reading(tmp_path):
    first = read_text(tmp_path, several())
    first[0].intensity[:] = 0.0
    assert read(tmp_path / "curve.xml")[0].intensity.tolist() == [2.5]


# Units.


def test_a_missing_unit_is_guessed_and_said_to_be(tmp_path):
    for stated in (None, "", " "):
        units = NO_UNITS | {"Q": stated}
        (sample,) = read_text(tmp_path, document(entry(data(row("0.1", units=units)))))
        assert sample.origin.q_unit_from == "guess"
        assert sample.status == CurveStatus.Q_UNIT_GUESSED
        assert sample.q.tolist() == [1.0]


def test_one_unit_may_be_spelled_in_several_ways(tmp_path):
    units = ["1/A", "1/angstrom", "A^-1", "Å⁻¹", "Q|1/A", " 1/A "]
    rows = [row(units=UNITS | {"Q": unit}) for unit in units]
    (sample,) = read_text(tmp_path, document(entry(data(*rows))))
    assert sample.q.tolist() == [1.0] * len(units)


@pytest.mark.parametrize("q_unit", [None, "1/nm"])
def test_two_units_of_q_in_one_curve_are_refused_whatever_the_caller_says(tmp_path, q_unit):
    text = document(entry(data(row(), row(units=UNITS | {"Q": "1/nm"}))))
    with pytest.raises(ReadError, match="gives q in '1/A' and in '1/nm': expected one unit"):
        read_text(tmp_path, text, q_unit)


def test_a_unit_in_some_rows_alone_is_refused_unless_the_caller_names_it(tmp_path):
    text = document(entry(data(row(), row("0.2", units=UNITS | {"Q": None}))))
    with pytest.raises(ReadError, match="gives q in '1/A' in some rows and without a unit in oth"):
        read_text(tmp_path, text)
    (sample,) = read_text(tmp_path, text, "1/nm")
    assert sample.q.tolist() == [0.1, 0.2]


def test_an_unknown_unit_of_q_is_refused_unless_the_caller_names_it(tmp_path):
    text = document(entry(data(row(units=UNITS | {"Q": "furlong"}))))
    with pytest.raises(ReadError, match="'furlong': expected 1/nm, 1/angstrom or 1/m; say which"):
        read_text(tmp_path, text)
    (sample,) = read_text(tmp_path, text, "1/nm")
    assert (sample.q.tolist(), sample.origin.q_unit_from) == ([0.1], "argument")


@pytest.mark.parametrize("of_sigma", ["percent", "1/m"])
def test_a_sigma_in_another_unit_than_the_intensity_is_refused(tmp_path, of_sigma):
    text = document(entry(data(row(units=UNITS | {"Idev": of_sigma}))))
    with pytest.raises(ReadError, match=f"gives I in '1/cm' but Idev in '{of_sigma}'"):
        read_text(tmp_path, text)
    text = document(entry(data(row(units=NO_UNITS | {"Idev": of_sigma}))))
    with pytest.raises(ReadError, match=f"gives I in no unit but Idev in '{of_sigma}'"):
        read_text(tmp_path, text)


def test_a_sigma_without_a_unit_is_in_that_of_the_intensity(tmp_path):
    same = {"Idev": None}, {"Idev": "1 / CM"}, {"I": "Intensity|1/cm"}, NO_UNITS
    for units in (UNITS | other for other in same):
        (sample,) = read_text(tmp_path, document(entry(data(row(units=units)))))
        assert sample.sigma.tolist() == [0.5]


def test_the_unit_of_a_sigma_that_is_missing_says_nothing(tmp_path):
    empty = row("0.2", sigma="", units=UNITS | {"Idev": "percent"})
    (sample,) = read_text(tmp_path, document(entry(data(row(), empty))))
    assert np.array_equal(sample.sigma, [0.5, np.nan], equal_nan=True)


def test_intensities_in_several_units_are_refused(tmp_path):
    text = document(entry(data(row(), row(units=UNITS | {"I": "1/m"}))))
    with pytest.raises(ReadError, match="gives I in '1/cm' and in '1/m': expected one unit"):
        read_text(tmp_path, text)


# Numbers.

NUMBERS = st.floats(allow_nan=False) | st.sampled_from([0.0, -0.0, 5e-324, np.nan])


@settings(deadline=None)
@given(st.lists(st.tuples(NUMBERS, NUMBERS, NUMBERS), min_size=1, max_size=8))
def test_numbers_come_back_with_the_same_bits(tmp_path_factory, numbers):
    path = tmp_path_factory.getbasetemp() / "bits.xml"
    rows = [row(*map(repr, point), units=UNITS | {"Q": "1/nm"}) for point in numbers]
    path.write_text(document(entry(data(*rows))), encoding="utf-8")
    expected = np.array(numbers).T
    if np.isnan(expected[:2]).all(axis=1).any():
        with pytest.raises(ReadError, match=r"holds no number as [QI] in any of its"):
            read(path)
        return
    (sample,) = read(path)
    assert bits(sample.q) == bits(expected[0].copy())
    assert bits(sample.intensity) == bits(expected[1].copy())
    if np.isnan(expected[2]).all():
        assert sample.sigma is None
    else:
        assert bits(sample.sigma) == bits(expected[2].copy())


@pytest.mark.parametrize("text", [None, "", "  ", "no", "1_0", "0,5", "1 2", "1.0D+01", "--"])
def test_a_value_that_is_missing_or_no_number_is_nan(tmp_path, text):
    rows = [row(q=text), row(intensity=text), row(sigma=text), row()]
    (sample,) = read_text(tmp_path, document(entry(data(*rows))))
    assert np.array_equal(sample.q, [np.nan, 1.0, 1.0, 1.0], equal_nan=True)
    assert np.array_equal(sample.intensity, [2.5, np.nan, 2.5, 2.5], equal_nan=True)
    assert np.array_equal(sample.sigma, [0.5, 0.5, np.nan, 0.5], equal_nan=True)


def test_numbers_may_be_spelled_as_xml_does(tmp_path):
    rows = [row(q=text) for text in ("+.1", "1.E-1", " 1e-01\n", "INF", "-INF", "NaN")]
    (sample,) = read_text(tmp_path, document(entry(data(*rows))))
    expected = [1.0, 1.0, 1.0, np.inf, -np.inf, np.nan]
    assert np.array_equal(sample.q, expected, equal_nan=True)


@pytest.mark.parametrize("sigma", [None, "", "NaN", "-"])
def test_a_curve_without_any_sigma_has_none(tmp_path, sigma):
    (sample,) = read_text(tmp_path, document(entry(data(row(sigma=sigma), row(sigma=sigma)))))
    assert sample.sigma is None


def test_a_curve_without_any_number_is_refused(tmp_path):
    for rows, name in ((row(q="a"), "Q"), (row(intensity=None), "I"), ("<Idata/>", "Q")):
        with pytest.raises(ReadError, match=f"holds no number as {name} in any of its 2 points"):
            read_text(tmp_path, document(entry(data(rows, rows))))


def test_a_point_with_two_values_is_refused(tmp_path):
    for name in ("Q", "I", "Idev"):
        text = document(entry(data(ROWS, row(more=value(name, "3.0", UNITS[name])))))
        with pytest.raises(ReadError, match=f"holds a point with several {name}"):
            read_text(tmp_path, text)


# What is said beside the numbers.

SAMPLE = (
    '<SASsample name="{name}"><ID>an id</ID><thickness unit="cm">0.1</thickness>'
    '<transmission unit="percent">50</transmission><temperature unit="K">300.15</temperature>'
    "<details><ID>another</ID></details></SASsample>"
)


def said(tmp_path, *entries):
    return [sample.origin.metadata for sample in read_text(tmp_path, document(*entries))]


def test_the_sample_is_told_by_its_name_or_its_id(tmp_path):
    for name, expected in (("a name", "a name"), ("", "an id")):
        (metadata,) = said(tmp_path, entry(data(ROWS), SAMPLE.format(name=name)))
        assert metadata == {
            "title": "a title",
            "sample": expected,
            "thickness": 1.0,
            "transmission": 0.5,
            "temperature": 27.0,
        }


def test_of_several_samples_none_is_told(tmp_path):
    two = SAMPLE.format(name="a") + SAMPLE.format(name="b")
    assert said(tmp_path, entry(data(ROWS), two)) == [{"title": "a title"}]


def test_the_date_of_the_processing_is_not_taken_for_that_of_the_measurement(tmp_path):
    process = "<SASprocess><date>2009-09-18 08:26:57</date></SASprocess>"
    assert said(tmp_path, entry(data(ROWS), process)) == [{"title": "a title"}]


def test_titles_get_the_names_of_sasdata_or_sasentry_where_several_are_the_same(tmp_path):
    entries = [
        entry(data(ROWS, name="x"), data(ROWS, name="y"), title="same"),
        entry(data(ROWS), title=" same ", name="z"),
        entry(data(ROWS, name="v"), title="other", name="w"),
        entry(data(ROWS), "<Title>second</Title>", title="same", name="same"),
        entry(data(ROWS), title=None, name="u"),
        entry(data(ROWS, name="t"), title=None),
    ]
    titles = [metadata.get("title") for metadata in said(tmp_path, *entries)]
    assert titles == ["same / x", "same / y", "same / z", "other", "same", "u", "t"]


def test_a_single_curve_without_a_title_has_none(tmp_path):
    assert said(tmp_path, entry(data(ROWS, name="x"), title=None)) == [{}]


# What is refused.


def refusal(tmp_path, text):
    with pytest.raises(ReadError) as caught:
        read_text(tmp_path, text)
    return str(caught.value)


DTDS = {
    "entities": '<!DOCTYPE SASroot [<!ENTITY a "0.1">]>',
    "laughs": '<!DOCTYPE SASroot [<!ENTITY a "xxxxxxxxxx"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;">]>',
    "external": '<!DOCTYPE SASroot SYSTEM "http://localhost/none.dtd">',
    "file": '<!DOCTYPE SASroot [<!ENTITY a SYSTEM "file:///etc/hostname">]>',
    "parameter": '<!DOCTYPE SASroot [<!ENTITY % a SYSTEM "file:///etc/hostname"> %a;]>',
    "empty": "<!DOCTYPE SASroot>",
}


@pytest.mark.parametrize("kind", DTDS)
def test_a_document_type_is_refused(tmp_path, kind):
    text = document(entry(data(row(q="&a;"))), head=f"<?xml version='1.0'?>{DTDS[kind]}")
    assert "declares a document type or entities" in refusal(tmp_path, text)


def test_an_entity_that_is_not_declared_is_damage(tmp_path):
    text = document(entry(data(row(q="&a;"))))
    assert refusal(tmp_path, text).startswith("is damaged XML: undefined entity")


@pytest.mark.parametrize(
    "text",
    [
        "<html><body>curve</body></html>",
        "<!DOCTYPE html>\n<html/>",
        "<!DOCTYPE other [<!ENTITY a 'b'>]><SASroot/>",
        '<?xml version="1.0"?>\n<fileinfo version="3.80"/>',
        "<SASroots/>",
        "<data><SASroot/></data>",
        "\n<?a?><!-- " + "x" * 5000 + " --><html/>",
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_xml_that_is_not_cansas_is_refused_as_that(tmp_path, text, encoding):
    reason = refusal(tmp_path, text.encode(encoding))
    assert reason.startswith("is an XML ")
    assert "but not canSAS1D: save the curve as text, NXcanSAS or canSAS1D instead" in reason


@pytest.mark.parametrize(
    "text",
    [
        "<SASroot/>",
        document(),
        document(entry()),
        document(entry(data())),
        document(entry(data(), data(name="x"))),
        "<SASroot><SASdata><Idata><Q>1</Q><I>1</I></Idata></SASdata></SASroot>",
    ],
)
def test_a_file_without_a_curve_is_refused(tmp_path, text):
    expected = "is canSAS1D XML without a curve: expected a SASdata with Idata in a SASentry"
    assert refusal(tmp_path, text) == expected


def test_an_image_is_refused(tmp_path):
    image = "<Idata><Qx>0.1,0.2</Qx><Qy>0.1,0.2</Qy><I>1,2</I></Idata>"
    text = document(entry(data(image)), entry(data(ROWS)))
    assert "two-dimensional image I(Qx, Qy): integrate it" in refusal(tmp_path, text)
    check_two_rows(*read(tmp_path / "curve.xml", frames=range(1, 2)))


def test_spin_echo_data_are_refused(tmp_path):
    text = document(entry(data(ROWS), '<Sesans x_unit="A">True</Sesans>'), entry(data(ROWS)))
    assert "spin-echo data over the spin-echo length" in refusal(tmp_path, text)
    check_two_rows(*read(tmp_path / "curve.xml", frames=range(1, 2)))


@pytest.mark.parametrize(
    "head",
    [
        '<?xml version="1.0" encoding="no-such-encoding"?>',
        '<?xml version="1.0" encoding="utf-16"?>',
        '<?xml version="1.0" encoding="shift_jis"?>',
        '<?xml version="1.0" encoding="rot13"?>',
        "<?xml?>",
        "<?xml version='1.0'?><",
    ],
)
def test_a_damaged_head_is_refused(tmp_path, head):
    reason = refusal(tmp_path, document(entry(data(ROWS)), head=head))
    assert reason.startswith(("is damaged XML: ", "is an XML "))


@pytest.mark.parametrize("inner", ["<a>", "<SASentry>", "<Idata>"])
def test_deep_nesting_is_refused(tmp_path, inner):
    text = "<SASroot><SASentry><SASdata>" + inner * 100_000
    assert refusal(tmp_path, text) == "nests more than 200 elements: expected canSAS1D"
    text = text + inner.replace("<", "</") * 100_000 + "</SASdata></SASentry></SASroot>"
    assert refusal(tmp_path, text) == "nests more than 200 elements: expected canSAS1D"


def test_too_many_curves_or_names_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(cansas_xml, "MOST_CURVES", 3)
    assert len(read_text(tmp_path, document(entry(data(ROWS) * 3)))) == 3
    assert "holds more than 3 curves" in refusal(tmp_path, document(entry(data(ROWS) * 4)))
    names = "".join(f"<a{k}/>" for k in range(10_001))
    reason = refusal(tmp_path, document(entry(data(ROWS), names)))
    assert reason == "holds more than 10,000 kinds of elements: expected canSAS1D"


def test_a_file_that_is_too_large_is_refused_before_it_is_read(tmp_path):
    path = tmp_path / "large.xml"
    path.write_text("<SASroot>", encoding="utf-8")
    with path.open("r+b") as file:
        file.truncate(256 * 2**20 + 1)
    for asked in (read, extent):
        with pytest.raises(ReadError, match="is an XML file of more than 256 MiB"):
            asked(path)


def test_messages_are_short_whatever_the_file_holds(tmp_path):
    rows = [row(units=UNITS | {"Q": "x" * 1000 + str(k)}) for k in range(100)]
    assert len(refusal(tmp_path, document(entry(data(*rows))))) < 300
    assert len(refusal(tmp_path, f"<!--{'x' * 5000}--><{'x' * 1000}/>")) < 300


@settings(deadline=None)
@given(st.data())
def test_a_file_that_is_cut_off_anywhere_is_refused(tmp_path_factory, data):
    encoding = data.draw(st.sampled_from(["utf-8", "utf-16"]))
    text = several().encode(encoding)
    cut = data.draw(st.integers(0, len(text)))
    path = tmp_path_factory.getbasetemp() / "cut.xml"
    path.write_bytes(text[:cut])
    # The blank behind the last element is no loss, unless it is half a character.
    if text[:cut].decode(encoding, errors="replace").rstrip("\n") == several().rstrip("\n"):
        assert len(read(path)) == 3
        return
    with pytest.raises(ReadError):
        read(path)


@settings(deadline=None)
@given(st.data())
def test_a_damaged_byte_gives_samples_or_a_reason_and_nothing_else(tmp_path_factory, data):
    content = bytearray(several().encode())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "damaged.xml"
    path.write_bytes(content)
    try:
        samples = read(path)
    except ReadError:
        return
    assert extent(path).curves == len(samples)


# Which files are asked for.


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"0.1 2.5 0.5\n",
        b"# <SASroot>\n",
        b"\xef\xbb\xbf0.1 2.5",
        "0.1 2.5\n".encode("utf-16"),
        b"\x89HDF\r\n\x1a\n<SASroot>",
        b"a <SASroot>",
        b"< 0.1 2.5",
    ],
)
def test_what_is_not_xml_is_left_to_others(head):
    assert not cansas_xml.matches(head)
