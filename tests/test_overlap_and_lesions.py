"""Figures of overlap, lesions, intervals and comparison against other implementations and values worked by hand."""

import warnings

import numpy as np
import pytest
import SimpleITK as sitk
from highdicom import Volume
from scipy import ndimage
from scipy.spatial.distance import cdist

import radkit as rk
from radkit.errors import EvaluationError
from radkit.evaluate.figures import drawing
from radkit.evaluate.paired import auc

SPACING = (3.0, 1.0, 0.5)
RNG = np.random.default_rng(3)


def blob(radius, centre=(30, 12, 9), shape=(20, 24, 36), label=1):
    """A ball in mm, on a grid that is finer in one direction than in another."""
    at = np.indices(shape) * np.reshape(SPACING, (3, 1, 1, 1))
    return (((at - np.reshape(centre, (3, 1, 1, 1))) ** 2).sum(axis=0) <= radius**2).astype(np.uint8) * label


def volume(array, spacing=SPACING, x=0.0):
    affine = np.diag([*spacing, 1.0])[[2, 1, 0, 3]]
    affine[0, 3] = x
    return Volume(array, affine, coordinate_system="PATIENT")


PAIRS = [(blob(8), blob(7, (31, 13, 9))), (blob(5), blob(9)), (blob(6, (12, 8, 6)), blob(6, (20, 9, 7)))]


@pytest.mark.parametrize("truth, found", PAIRS)
def test_dice_is_that_of_simpleitk_and_distances_are_those_of_brute_force(truth, found):
    (case,) = rk.evaluate.segmentation(volume(truth), volume(found), tolerance_mm=1.5).cases
    peer = sitk.LabelOverlapMeasuresImageFilter()
    peer.Execute(sitk.GetImageFromArray(truth), sitk.GetImageFromArray(found))
    assert case.dice == pytest.approx(peer.GetDiceCoefficient(), abs=1e-6)
    edges = [np.argwhere(mask & ~ndimage.binary_erosion(mask)) * SPACING for mask in (truth > 0, found > 0)]
    apart = cdist(*edges)
    there, back = apart.min(axis=1), apart.min(axis=0)
    assert case.hd95_mm == pytest.approx(max(np.percentile(there, 95), np.percentile(back, 95)), abs=1e-4)
    assert case.nsd == pytest.approx((np.append(there, back) <= 1.5).mean(), abs=1e-6)
    assert case.truth_ml == pytest.approx(truth.sum() * 1.5 / 1000)
    assert case.error_ml == pytest.approx((int(found.sum()) - int(truth.sum())) * 1.5 / 1000)


def test_every_label_counts_and_an_array_needs_its_spacing_for_distances():
    truth = blob(6, label=2) | blob(3, (50, 5, 5))
    (case,) = rk.evaluate.segmentation(truth, truth > 0).cases
    assert case.dice == 1 and np.isnan([case.nsd, case.hd95_mm, case.truth_ml]).all()
    (case,) = rk.evaluate.segmentation(truth, truth > 0, spacing=SPACING).cases
    assert (case.dice, case.nsd, case.hd95_mm) == (1, 1, 0)


def test_empty_masks_are_counted_apart_and_said():
    none, ball = np.zeros_like(blob(5)), blob(5)
    found = rk.evaluate.segmentation([ball, ball, none, none], [ball, none, ball, none], spacing=SPACING)
    assert [case.state for case in found.cases] == ["both", "missed", "false alarm", "empty"]
    np.testing.assert_equal(found.values("dice"), [1, 0, 0, np.nan])
    np.testing.assert_equal(found.values("nsd"), [1, 0, 0, np.nan])
    np.testing.assert_equal(found.values("hd95_mm"), [0, np.nan, np.nan, np.nan])
    assert (found.mean().value, found.mean().n, found.mean("hd95_mm").n) == (pytest.approx(1 / 3), 3, 1)
    text = repr(found)
    assert "3 of 4" in text and "1 of 4" in text and "missed 1" in text and "nan" not in text.lower()
    assert "empty 1" in repr(rk.evaluate.segmentation(none, none))
    with pytest.raises(EvaluationError, match="empty in every case"):
        rk.evaluate.segmentation(none, none).plot()


def test_groups_have_their_n_and_the_worst_comes_first():
    truths = [blob(6)] * 6
    found = rk.evaluate.segmentation(
        truths, [blob(r) for r in (6, 6, 5, 5, 3, 2)], spacing=SPACING, patient=[*"abcdef"]
    )
    assert [row[0] for row in found.worst(2).rows] == ["f", "e"]
    table = found.by(["new", "old", "new", "old", "new", "old"])
    assert [row[:2] for row in table.rows] == [("new", 3), ("old", 3)]
    assert table.rows[0][2].value == pytest.approx(found.values()[[0, 2, 4]].mean())
    with pytest.raises(EvaluationError, match="6 groups"):
        found.by(["new"])


@pytest.mark.parametrize(
    "truth, found, words",
    [
        (blob(5), blob(5)[:-1], r"\(20, 24, 36\).*\(19, 24, 36\)"),
        (volume(blob(5)), volume(blob(5), x=9), r"one grid.*9\.0"),
        (blob(5), blob(5) * np.nan, "nan"),
        (blob(5), blob(5) * 0.5, "fractions"),
        ([blob(5)] * 2, [blob(5)], "2, 1 and 2"),
        ([], [], "0, 0 and 0"),
        (blob(5)[0, 0], blob(5)[0, 0], "slice, row, column"),
    ],
)
def test_masks_that_do_not_fit_are_refused_with_what_came(truth, found, words):
    with pytest.raises(EvaluationError, match=words):
        rk.evaluate.segmentation(truth, found)


def test_a_spacing_that_is_none_is_refused():
    with pytest.raises(EvaluationError, match="each of 3 axes"):
        rk.evaluate.segmentation(blob(5), blob(5), spacing=(1, 1))
    with pytest.raises(EvaluationError, match="above 0"):
        rk.evaluate.segmentation(blob(5), blob(5), spacing=(1, 1, 0))


# Lesions, by hand: three scans of two patients, five lesions, and findings whose fate is known.


def scans():
    truth, p = np.zeros((3, 8, 40, 40), np.uint8), np.zeros((3, 8, 40, 40), np.float32)
    boxes = [(0, 1, 2, 6), (0, 2, 20, 24), (1, 1, 2, 4), (1, 2, 20, 30), (1, 3, 34, 36)]
    for scan, label, start, stop in boxes:
        truth[scan, 2:6, start:stop, 5:9] = label
    for scan, start, stop, column, chance in [
        (0, 2, 6, 5, 0.9),  # finds lesion 1 of scan 0
        (0, 20, 24, 30, 0.8),  # a false alarm
        (1, 2, 4, 5, 0.4),  # finds lesion 1 of scan 1
        (1, 20, 30, 5, 0.6),  # finds lesion 2 of scan 1 ...
        (2, 10, 12, 10, 0.5),  # a false alarm in the scan without lesions
        (2, 20, 22, 10, 0.3),  # and another
    ]:
        p[scan, 2:6, start:stop, column : column + 4] = chance
    p[1, 4, 25, 6] = 0.7  # ... with this as its highest
    return truth, p


def test_the_froc_curve_is_the_one_worked_by_hand():
    truth, p = scans()
    found = rk.evaluate.detection(list(truth), list(p), spacing=SPACING, patient=["a", "b", "b"])
    np.testing.assert_allclose([x.score for x in found.lesions], [0.9, -np.inf, 0.4, 0.7, -np.inf], rtol=1e-6)
    thresholds, alarms, sensitivity = found.curve
    np.testing.assert_allclose(thresholds, [np.inf, 0.9, 0.8, 0.7, 0.5, 0.4, 0.3], rtol=1e-6)
    np.testing.assert_allclose(alarms, np.array([0, 0, 1, 1, 2, 2, 3]) / 3)
    np.testing.assert_allclose(sensitivity, np.array([0, 1, 1, 2, 2, 3, 3]) / 5)
    point = found.at(fp_per_scan=0.5)
    assert point.threshold == pytest.approx(0.7) and point.sensitivity.value == 0.4 and point.sensitivity.n == 2
    assert point.fp_per_scan.value == pytest.approx(1 / 3)
    assert found.at(threshold=0.45).fp_per_scan.value == pytest.approx(2 / 3)


def test_froc_is_that_of_monai():
    from radkit._optional import optional

    monai = optional("monai.metrics")
    truth, p = scans()
    found = rk.evaluate.detection(list(truth), list(p), spacing=SPACING)
    false, hits = np.concatenate(found.false_alarms), np.array([max(x.score, 0) for x in found.lesions])
    alarms, sensitivity = monai.compute_froc_curve_data(false, hits, len(hits), 3)
    np.testing.assert_allclose(found.curve[1][::-1], alarms)
    np.testing.assert_allclose(found.curve[2][::-1], sensitivity)


def test_size_classes_and_missed_lesions_name_what_was_missed():
    truth, p = scans()
    found = rk.evaluate.detection(list(truth), list(p), spacing=SPACING, patient=["a", "b", "b"])
    voxels = np.array([64, 64, 32, 160, 32])
    np.testing.assert_allclose([x.diameter_mm for x in found.lesions], (6 / np.pi * voxels * 1.5) ** (1 / 3))
    assert [row[:2] for row in found.by(edges_mm=(5, 7)).rows] == [
        ("under 5 mm", "1 of 2"), ("5 to under 7 mm", "1 of 2"), ("7 mm and over", "1 of 1"),
    ]  # fmt: skip
    assert [row[:2] for row in found.by(["x", "y", "y"], threshold=0.5).rows] == [("x", "1 of 2"), ("y", "1 of 3")]
    assert [row[:3] for row in found.missed().rows] == [("a", 0, 2), ("b", 1, 3)]
    assert found.missed().rows[0].centre == (4, 22, 6)


def test_one_huge_finding_hits_nothing_unless_a_voxel_is_enough():
    truth, p = scans()
    huge = np.ones_like(p[0])
    assert rk.evaluate.detection(truth[0], huge, spacing=SPACING).at().sensitivity.value == 0
    assert rk.evaluate.detection(truth[0], huge, spacing=SPACING, iou=0).at().sensitivity.value == 1


def test_parts_of_a_mask_without_labels_are_lesions():
    truth, p = scans()
    plain = [(mask > 0).astype(np.uint8) for mask in truth]
    binary = [(chance > 0.1).astype(np.uint8) for chance in p]
    assert len(rk.evaluate.detection(plain, list(p), spacing=SPACING).lesions) == 5
    assert rk.evaluate.detection(plain, binary, spacing=SPACING).at(threshold=1).sensitivity.value == 0.6


def test_scans_without_lesions_or_findings_have_an_answer():
    none = np.zeros((4, 9, 9))
    found = rk.evaluate.detection([none] * 2, [none] * 2, spacing=SPACING)
    assert np.isnan(found.at().sensitivity.value) and found.at().fp_per_scan.value == 0
    assert "0 lesions in 2 scans" in repr(found)
    with pytest.raises(EvaluationError, match="holds none"):
        found.plot()
    with pytest.raises(EvaluationError, match="spacing"):
        rk.evaluate.detection(none, none)
    with pytest.raises(EvaluationError, match="0 to 1"):
        rk.evaluate.detection(none, none - 3, spacing=SPACING)


# Intervals


def test_an_interval_covers_the_truth_about_as_often_as_it_promises():
    covered = 0
    for seed in range(200):
        patients = np.random.default_rng(seed).normal(0, 1, 30)  # each has four lesions that are much alike
        values = np.repeat(patients, 4) + np.random.default_rng(seed + 999).normal(0, 0.1, 120)
        found = rk.evaluate.interval(values, patient=np.repeat(np.arange(30), 4), n=300)
        covered += found.low <= 0 <= found.high
        assert found.n == 30
    assert 0.89 <= covered / 200 <= 0.98  # binomial: 0.94 ± 0.04


def test_lesions_drawn_as_if_they_were_patients_would_promise_too_much():
    values, patient = np.repeat(RNG.normal(size=20), 5), np.repeat(np.arange(20), 5)
    by_patient, by_lesion = rk.evaluate.interval(values, patient=patient), rk.evaluate.interval(values)
    assert by_patient.high - by_patient.low > 1.8 * (by_lesion.high - by_lesion.low)


def test_the_interval_is_that_of_scipy_and_the_same_for_the_same_seed():
    from scipy.stats import bootstrap

    values = RNG.random(25)
    low, high = bootstrap(
        (values,), np.mean, n_resamples=2000, random_state=np.random.default_rng(0)
    ).confidence_interval
    found = rk.evaluate.interval(values)
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))
    assert found == rk.evaluate.interval(values) != rk.evaluate.interval(values, seed=1)
    assert str(found) == f"{values.mean():.2f} (95 % CI {low:.2f} to {high:.2f}, n = 25)"


def test_a_share_of_hits_has_wilsons_interval():
    z, p, n = 1.959964, 48 / 50, 50
    middle, half = p + z**2 / (2 * n), z * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    found = rk.evaluate.interval([1] * 48 + [0] * 2)
    assert found.low == pytest.approx((middle - half) / (1 + z**2 / n), abs=1e-6)
    assert found.high == pytest.approx((middle + half) / (1 + z**2 / n), abs=1e-6)
    assert rk.evaluate.interval([True] * 20).low == pytest.approx(1 / (1 + z**2 / 20))


def test_a_statistic_may_take_several_arrays_and_be_undefined_in_a_draw():
    truth, score = np.array([0] * 12 + [1] * 2), np.arange(14.0)
    score[[3, 12]] = score[[12, 3]]
    found = rk.evaluate.interval((truth, score), auc)
    assert found.value == auc(truth, score) and 0 <= found.low < found.value <= found.high <= 1


@pytest.mark.parametrize(
    "values, words",
    [([0.8], "at least 2, and 1 came"), ([], "0 came"), ([0.8, np.nan], "1 of 2 values are missing"),
     (([0, 1], [0, 1, 1]), r"\[\(2,\), \(3,\), \(2,\)\]")],
)  # fmt: skip
def test_no_interval_is_made_up(values, words):
    with pytest.raises(EvaluationError, match=words):
        rk.evaluate.interval(values, auc if isinstance(values, tuple) else np.mean)


def test_values_that_are_all_alike_have_no_interval():
    assert str(rk.evaluate.interval([0.8] * 9)) == "0.80 (no interval, n = 9)"


# Two models


def test_auc_is_that_of_scikit_learn():
    from sklearn.metrics import roc_auc_score

    truth, score = RNG.random(60) < 0.4, RNG.normal(size=60).round(1)
    assert auc(truth, score) == pytest.approx(roc_auc_score(truth, score))
    assert np.isnan(auc([1, 1], [0.2, 0.3]))


def test_a_clear_difference_behind_overlapping_intervals_is_seen():
    a = RNG.uniform(0.6, 0.95, 30)
    found = rk.evaluate.compare(a, a + 0.03 + RNG.normal(0, 0.02, 30))
    assert found.a.high > found.b.low and found.gain.low > 0 and found.p < 0.01
    assert "B is better than A by 0.03" in found.verdict and "clear all the same" in repr(found)


def test_p_is_that_of_every_flip_of_signs():
    gains = np.array([0.3, 0.1, -0.05, 0.2, 0.15, -0.1, 0.25])
    flips = np.array(np.meshgrid(*[[-1, 1]] * 7)).reshape(7, -1)
    sums = gains @ flips
    found = rk.evaluate.compare(np.zeros(7), gains)
    assert found.p == pytest.approx((abs(sums) >= gains.sum() - 1e-12).mean())


def test_a_difference_that_may_be_none_is_called_so_and_the_margin_is_asked_apart():
    a = np.linspace(0.6, 0.9, 20)
    b = a + np.tile([0.02, -0.018], 10)
    found = rk.evaluate.compare(a, b, margin=0.02, names=("old", "new"))
    assert "cannot tell them apart" in found.verdict and "It is shown that new is not worse by 0.02" in found.verdict
    assert "It is not shown" in rk.evaluate.compare(a, b, margin=0.001).verdict
    swapped = rk.evaluate.compare(a, b, higher_is_better=False)
    assert swapped.gain.value == pytest.approx(-found.gain.value) and "B seems worse than A by 0.00" in swapped.verdict
    assert "better than A by 0.00" in rk.evaluate.compare([1, 0, 2, 1], [0, 1, 1, 2], higher_is_better=False).verdict


def test_each_patient_counts_once_in_a_mean():
    a, b = np.zeros(6), np.array([1, 1, 1, 1, -1, -2.0])
    found = rk.evaluate.compare(a, b, patient=["x", "x", "x", "x", "y", "z"])
    assert found.gain.value == pytest.approx(-2 / 3) and found.gain.n == 3 and len(found.gains) == 3
    assert "1, 0, 2 patients" in repr(found)


def test_two_aucs_are_compared_on_the_same_patients():
    truth = np.arange(60) % 3 == 0
    poor = RNG.normal(size=60) + truth
    found = rk.evaluate.compare(poor, poor + 2 * truth, truth=truth, statistic="auc")
    assert found.a.value == auc(truth, poor) and found.gain.value == pytest.approx(found.b.value - found.a.value)
    assert found.gain.low > 0 and found.p < 0.01
    with pytest.raises(EvaluationError, match="both classes"):
        rk.evaluate.compare(poor, poor, truth=np.ones(60), statistic="auc")


def test_one_patient_or_the_same_model_twice_is_said_plainly():
    assert "nothing can be said of other patients" in rk.evaluate.compare([0.8], [0.9]).verdict
    alone = rk.evaluate.compare(
        [0.8, 0.2], [0.9, 0.2], truth=[1, 0], statistic=lambda t, s: s[t > 0].mean(), patient=["p", "p"]
    )
    assert alone.p == 1 and np.isnan(alone.gain.low)
    assert "A and B do the same" in rk.evaluate.compare([0.8, 0.7], [0.8, 0.7]).verdict
    with pytest.raises(EvaluationError, match="missing"):
        rk.evaluate.compare([0.8, np.nan], [0.8, 0.7])
    with pytest.raises(EvaluationError, match="one length"):
        rk.evaluate.compare([0.8, 0.7], [0.8])


# What is shown


def test_results_show_themselves_large_and_without_a_warning():
    truth, p = scans()
    gains = RNG.normal(0.02, 0.05, 12)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for result in (
            rk.evaluate.segmentation([blob(6)] * 3, [blob(5), blob(6), 0 * blob(5)], spacing=SPACING, patient=[*"<b>"]),
            rk.evaluate.detection(list(truth), list(p), spacing=SPACING),
            rk.evaluate.compare(gains * 0, gains, margin=0.01),
        ):
            page, figure = result._repr_html_(), result.plot()
            assert "16px" in page and "<table>" in page and "nan" not in page
            assert figure._repr_png_().startswith(b"\x89PNG")
            sizes = [
                text.get_fontsize() for text in figure.findobj(lambda x: hasattr(x, "get_fontsize")) if text.get_text()
            ]
            assert min(sizes) >= 14
    assert "&lt;" in rk.evaluate.segmentation(0 * blob(5), blob(5), patient=["<b>"])._repr_html_()


def test_curves_of_one_plot_differ_in_more_than_colour():
    with drawing("two curves") as (_, axes):
        lines = [axes.plot([0, 1], [0, i])[0] for i in range(4)]
    assert len({line.get_linestyle() for line in lines}) == len({line.get_color() for line in lines}) == 4
