"""Columns of the tables in which kernels keep peaks and phases: one row a peak, one a phase."""

# A fitted peak, in a batch's `peaks` (curves, max_peaks, PEAK_COLUMNS).
INDEX = 0
VALUE = 1
PROMINENCE = 2
Q = 3
Q_SIGMA = 4
FWHM = 5
FWHM_SIGMA = 6
HEIGHT = 7
HEIGHT_SIGMA = 8
AREA = 9
AREA_SIGMA = 10
ETA = 11
ETA_SIGMA = 12
LEVEL = 13
SLOPE = 14
REDUCED_CHI2 = 15
# ln of the width above the centre over the width below it; the FWHM is half their sum.
ASYMMETRY = 16
ASYMMETRY_SIGMA = 17
STATUS = 18
# How it was found and fitted: PEAK_... bits of `gpusaxs.kernels.status`.
REMARKS = 19
# 1.0 for a Bragg line; else a LINE_... code of `gpusaxs.kernels.status`.
BRAGG = 20
# What its fit itself says of the asymmetry, and the inverse variance of that; for `process_peak`.
SHOWN = 21
SHOWN_PRECISION = 22
PEAK_COLUMNS = 23

# A peak that the search has found, in a batch's `candidates` (curves, max_candidates,
# CANDIDATE_COLUMNS): its INDEX, VALUE and PROMINENCE, the highest first, and its first REMARKS.
FOUND_AS = 3
CANDIDATE_COLUMNS = 4

# A phase, in a batch's `phases` (curves, MAX_PHASES, PHASE_COLUMNS), the best candidate first.
# Rows with the same CANDIDATE are phases that coexist; they share SCORE and PROBABILITY.
# MATCHED and MISSING hold one bit a reflection of the phase's list, UNEXPLAINED one a row of the
# table of peaks. RATIO is c/a of a lattice with two parameters.
PHASE = 0
LATTICE = 1
LATTICE_SIGMA = 2
SCORE = 3
MATCHED = 4
MISSING = 5
UNEXPLAINED = 6
CANDIDATE = 7
PROBABILITY = 8
RATIO = 9
RATIO_SIGMA = 10
OFFSET = 11
OFFSET_SIGMA = 12
LINES_CHI2 = 13
PHASE_COLUMNS = 14
MAX_PHASES = 6

VERDICT_NONE = 0
VERDICT_UNINDEXED = 1
VERDICT_AMBIGUOUS = 2
VERDICT_IDENTIFIED = 3
