"""BioXTAS RAW's .ift: the data are read, neither P(r) nor the fit, however long those are."""

import numpy as np
import pytest

from gpusaxs.errors import ReadError
from gpusaxs.io import read

DISTANCES = "# BIFT\n#      R             P(R)           Error     \n" + "".join(
    f"{2.0 * k:.8E}  2.1E-06  4.7E-08\n" for k in range(30)
)
DATA = [(0.01 * k, 5.0 / k, 0.01 * k, 4.9) for k in range(1, 6)]
ROWS = "".join("  ".join(f"{x:.8E}" for x in row) + "\n" for row in DATA)
TABLE = "\n\n#      Q             I(Q)           Error            Fit      \n" + ROWS
FIT = "\n\n#  Q_extrap       Fit_extrap  \n" + "".join(f"{0.01 * k:.8E}  5.0\n" for k in range(50))
FOOTER = '\n\n### HEADER:\n#\n#{\n#    "algorithm": "BIFT"\n#}\n'


def read_ift(tmp_path, text):
    path = tmp_path / "a.txt"
    path.write_text(text, encoding="utf-8")
    return read(path)


@pytest.mark.parametrize("behind", ["", FIT, FIT + FOOTER, FOOTER])
def test_the_data_are_read_where_the_other_tables_are_longer(tmp_path, behind):
    (sample,) = read_ift(tmp_path, DISTANCES + TABLE + behind)
    expected = np.array(DATA)
    assert np.allclose(sample.q, 10.0 * expected[:, 0])
    assert np.allclose(sample.intensity, expected[:, 1])
    assert np.allclose(sample.sigma, expected[:, 2])
    assert sample.origin.format == "bift"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (DISTANCES + FIT, "without its table of data"),
        (DISTANCES + TABLE.replace(ROWS, "1.5 2.5 3.5\n2.5 3.5 4.5\n"), "has 3 columns of data"),
        (DISTANCES + TABLE.replace(ROWS, ""), "text without numbers"),
    ],
)
def test_a_file_without_data_is_refused(tmp_path, text, reason):
    with pytest.raises(ReadError, match=reason):
        read_ift(tmp_path, text)
