"""What the text around a table says of its curve: with units, or not at all."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpusaxs.io.text_header import metadata_of
from gpusaxs.metadata import FIELDS


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("Sample: lysozyme", {"sample": "lysozyme"}),
        ("# Sample = lysozyme", {"sample": "lysozyme"}),
        ("# BIO_SAMPLE_NAME                 a b", {"sample": "a b"}),
        (
            "Sample: DMPC  c= 1.5 mg/ml  Code: DMPC_water",
            {"sample": "DMPC", "concentration": 1.5},
        ),
        ("Sample description: vesicles", {"title": "vesicles"}),
        ("Exposure time (sec):   15.000", {"exposure": 15.0}),
        ("Exposure time [s]: 0.045", {"exposure": 0.045}),
        ("# exposure_time = 500 ms", {"exposure": 0.5}),
        ("Temperature (K): 298.15", {"temperature": 25.0}),
        ("Temperature: 25 C", {"temperature": 25.0}),
        ("# Temperature\t25 °C", {"temperature": 25.0}),
        ("Thickness [mm]: 1.5", {"thickness": 1.5}),
        ("Concentration: 2 g/l", {"concentration": 2.0}),
        ("Transmission: 0.85", {"transmission": 0.85}),
        ("Transmission: 85 %", {"transmission": 0.85}),
        ("Timestamp (begin): 2018-07-09 03:02:18.883", {"time": "2018-07-09T03:02:18"}),
        ("# Date                            2024-10-11T17:54:52", {"time": "2024-10-11T17:54:52"}),
    ],
)
def test_a_line_of_key_and_value_is_understood(line, expected):
    assert metadata_of(f"something\n{line}\nq I sigma", "") == pytest.approx(expected)
    assert metadata_of("", f"creator: x\n{line}\n") == pytest.approx(expected)


@pytest.mark.parametrize(
    "line",
    [
        "Temperature: 25",
        "# Temperature                     25.14",
        "# BIO_CELL_TEMP                   25.14",
        "SEU Current Temperature: 30.3",
        "# Thickness                       1.637",
        "# ExposureTime                    800",
        "Exposure time: long",
        "Exposure time (s): 5 ms",
        "Exposure Delay [s]: 0.000",
        "Concentration: 5",
        "Concentration: 5 mg/ml and 3 mg/ml",
        "Transmission: 85",
        "Transmission: 0",
        "Filter_transmission: 0.5",
        "Sample thickness: thin",
        "Sample was kept at 25 C",
        "Date: yesterday",
        "the Sample: x",
        "Sample:",
    ],
)
def test_nothing_comes_of_a_number_without_its_unit_or_of_other_words(line):
    assert metadata_of(f"something\n{line}\n", "") == {}


def test_the_exposure_of_an_edf_header_is_in_seconds_as_its_definition_says():
    header = (
        "# EDF_DataBlockID                 0.Image.Psd\n# ExposureTime                    800\n"
    )
    assert metadata_of(header, "") == {"exposure": 800.0}


def test_a_footer_that_contradicts_itself_says_nothing_of_that_and_a_header_goes_before_it():
    footer = "Sample: a  c= 1 mg/ml\nExposure time (sec): 15\nSample: b  c= 0 mg/ml\n"
    assert metadata_of("", footer) == {"exposure": 15.0}
    assert metadata_of("Sample: c\n", footer) == {"sample": "c", "exposure": 15.0}


NIST = """FILE: jan.SA2 \t\t CREATED: Mon, Jan 21, 2008 1:34:58 PM
LABEL: scatt 1m sam1
MON CNT   LAMBDA   DET ANG   DET DIST   TRANS   THICK   AVE   STEP
1e+08  6       25     1     0.5667     0.2C   1
"""
USANS = """COR FILES: SAM14001.bt5,SAM14002.bt5
CREATED: Mon, Nov 30, 2015 at  1:00:40 PM
LABEL: SAM14
Ds = 0.1 cm ; Twide = 0.92765 ; Trock = 0.91404
"""


def test_the_headers_of_nist_give_the_thickness_in_cm():
    assert metadata_of(NIST, "") == {
        "title": "scatt 1m sam1",
        "transmission": 0.5667,
        "thickness": 2.0,
    }
    said = {"title": "SAM14", "thickness": 1.0}
    assert metadata_of(USANS, "") == said
    assert metadata_of(NIST.rsplit("\n", 2)[0], "") == {"title": "scatt 1m sam1"}


@pytest.mark.parametrize(
    ("lines", "title"),
    [
        (" SANS2D Wed 28-AUG-2019 15:35 Workspace: \n Ferritin", "Ferritin"),
        (" LOQ Wed 28-AUG-2019 15:35 SAMPLE: 83404\n Wav 2.20", "SAMPLE: 83404"),
    ],
)
def test_the_first_lines_of_isis_give_time_and_title(lines, title):
    header = f"{lines}\n  9    0    0    0    1  9    0\n 0 0 0 0\n 3 (F12.5,2E16.6)\n"
    assert metadata_of(header, "") == {"time": "2019-08-28T15:35:00", "title": title}


RAW = {
    "Conc": 0.47,
    "counters": {"Seconds": "3", "date": "Sat Nov 14 15:03:25 2015", "Temperature": "20"},
    "imageHeader": {"Exposure_time": "2.0000000 s", "Exposure_date": "2015:11:16 21:19:08"},
}
RAW_SAID = {"concentration": 0.47, "exposure": 2.0, "time": "2015-11-16T21:19:08"}


def raw_text(content, sign=""):
    lines = json.dumps(content, indent=4).splitlines()
    return "### HEADER:\n" + "".join(f"{sign}{line}\n" for line in lines)


@pytest.mark.parametrize("sign", ["", "#", "# "])
def test_the_json_of_raw_is_read_above_and_below_the_data(sign):
    text = raw_text(RAW, sign)
    assert metadata_of("", f"\n\n{text}\n") == RAW_SAID
    assert metadata_of(f"{text}\n### DATA:\n#\n# 474\n#   Q   I(Q)   Error\n", "") == RAW_SAID


def test_the_counters_of_raw_count_where_the_header_of_the_image_is_silent():
    counters = {"Seconds": "3", "date": "Sat Nov 14 15:03:25 2015"}
    said = {"exposure": 3.0, "time": "2015-11-14T15:03:25"}
    assert metadata_of("", raw_text({"counters": counters})) == said
    counters = {"Exposure time/frame (s)": "0.5", "Temperature (C)": 20, "Sample": "x"}
    said = {"exposure": 0.5, "temperature": 20.0}
    assert metadata_of("", raw_text({"counters": counters})) == said


@pytest.mark.parametrize(
    "text",
    [
        "### HEADER:\n{ broken",
        "### HEADER:\n",
        "### HEADER:\n[1, 2]",
        '### HEADER:\n{"imageHeader": 5, "counters": [1], "Conc": {"a": 1}}',
        '### HEADER:\n{"imageHeader": {"Exposure_time": "long", "Exposure_date": null}}',
        "### HEADER:\n" + "[" * 100_000,
    ],
)
def test_json_that_is_damaged_or_says_other_things_says_nothing(text):
    assert metadata_of("", text) == {}


KEYS = ["Sample", "Exposure time (s)", "Temperature", "LABEL", "CREATED", "Date", "c=", "TRANS"]


@given(st.lists(st.tuples(st.sampled_from(KEYS), st.text(max_size=20)), max_size=8))
def test_any_text_gives_fields_that_exist(pairs):
    text = "".join(f"{key}: {value}\n" for key, value in pairs)
    for name, value in metadata_of(text, text).items():
        assert isinstance(value, str) == FIELDS[name].is_text


def test_no_text_says_nothing():
    assert metadata_of("", "\n") == {}
