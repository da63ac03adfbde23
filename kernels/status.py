"""What can be said about a curve and about a fit, as numbers that kernels can write.

The words and explanations that people read are in `gpusaxs.sample`.
"""

# One bit each in a curve's status. Repairs and remarks, in the order in which they arise:
POINTS_DROPPED = 1 << 0
Q_REORDERED = 1 << 1
Q_MERGED = 1 << 2
Q_UNIT_GUESSED = 1 << 3
COLUMNS_GUESSED = 1 << 4
SIGMA_ESTIMATED = 1 << 5
SIGMA_RESCALED = 1 << 6
EDGES_TRIMMED = 1 << 7
BACKGROUND_FAILED = 1 << 8
PEAKS_TRUNCATED = 1 << 9
INSERTION_REFUSED = 1 << 10
REGROUPED = 1 << 11

# Failures: the curve takes no further part. Each is larger than all remarks together.
UNREADABLE = 1 << 16
TOO_FEW_POINTS = 1 << 17
NO_SIGNAL = 1 << 18
NO_SIGMA = 1 << 19
STAGE_FAILED = 1 << 20
BLANK_MISMATCH = 1 << 21
TIMED_OUT = 1 << 22
CANCELLED = 1 << 23
DROPPED = 1 << 24
BLANK_UNSCALED = 1 << 25

FIRST_FAILURE = UNREADABLE
FAILURES = (
    UNREADABLE
    | TOO_FEW_POINTS
    | NO_SIGNAL
    | NO_SIGMA
    | STAGE_FAILED
    | BLANK_MISMATCH
    | TIMED_OUT
    | CANCELLED
    | DROPPED
    | BLANK_UNSCALED
)
# Remarks on the search for peaks: they are made anew when it is.
SEARCH_REMARKS = PEAKS_TRUNCATED | INSERTION_REFUSED
# The curve did not come to the end of the pipeline, for a reason that lies outside it.
UNFINISHED = REGROUPED | STAGE_FAILED | TIMED_OUT | CANCELLED | DROPPED

# One bit each in a peak's remarks.
PEAK_AT_EDGE = 1 << 0
PEAK_SHOULDER = 1 << 1
PEAK_REFINED = 1 << 2

# Whether a peak is a Bragg line, and why it is none.
LINE_NOT_JUDGED = 0
LINE_BRAGG = 1
LINE_NOT_FITTED = 2
LINE_FAINT = 3
LINE_BROAD = 4
LINE_AT_EDGE = 5
LINE_SATELLITE = 6
LINE_LOBE = 7
LINE_ODD_WIDTH = 8
LINE_INSTRUMENT = 9

# How the fit of a peak ended.
FIT_CONVERGED = 0
FIT_BOUND_HIT = 1
FIT_SINGULAR = 2
FIT_TOO_FEW_POINTS = 3
FIT_NOT_CONVERGED = 4
FIT_SHAPE_AT_LIMIT = 5
