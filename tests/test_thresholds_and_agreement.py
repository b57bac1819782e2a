"""Classification, agreement, drift and the report: every figure against another implementation or worked by hand."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn import calibration, metrics
from torchmetrics import classification as torch_metrics

import radkit as rk
from radkit.errors import EvaluationError
from radkit.evaluate.page import CLAIM
from radkit.evaluate.readers import icc

RNG = np.random.default_rng(4)
TRUTH = RNG.random(240) < 0.3
SCORE = np.round(np.clip(RNG.beta(1.5, 3, 240) + 0.25 * TRUTH, 0, 1), 2)  # with ties
JUDGED = rk.evaluate.classification(TRUTH, SCORE)
# Bland and Altman's own example, peak flow by two meters (Lancet 1986;i:307): bias -2.1, SD 38.8, CI -22.0 to 17.8.
WRIGHT = [494, 395, 516, 434, 476, 557, 413, 442, 650, 433, 417, 656, 267, 478, 178, 423, 427]
MINI = [512, 430, 520, 428, 500, 600, 364, 380, 658, 445, 432, 626, 260, 477, 259, 350, 451]


@pytest.fixture
def rng():
    return np.random.default_rng(7)


def test_areas_are_those_of_scikit_learn_and_torchmetrics():
    assert JUDGED.auc.value == pytest.approx(metrics.roc_auc_score(TRUTH, SCORE))
    assert JUDGED.average_precision.value == pytest.approx(metrics.average_precision_score(TRUTH, SCORE))
    score, truth = torch.tensor(SCORE), torch.tensor(TRUTH.astype(int))
    assert JUDGED.auc.value == pytest.approx(float(torch_metrics.BinaryAUROC()(score, truth)), abs=1e-6)
    by_pairs = np.sign(SCORE[TRUTH][:, None] - SCORE[~TRUTH]).mean() / 2 + 0.5
    assert JUDGED.auc.value == pytest.approx(by_pairs)


def test_the_interval_of_the_auc_is_about_that_of_hanley_and_mcneil():
    a, ill, well = JUDGED.auc.value, TRUTH.sum(), (~TRUTH).sum()
    q1, q2 = a / (2 - a), 2 * a * a / (1 + a)
    error = np.sqrt((a * (1 - a) + (ill - 1) * (q1 - a * a) + (well - 1) * (q2 - a * a)) / (ill * well))
    assert JUDGED.auc.high - JUDGED.auc.low == pytest.approx(2 * 1.96 * error, rel=0.25)


def test_four_cases_by_hand():
    point = rk.evaluate.classification([1, 1, 0, 0, 0], [0.9, 0.4, 0.6, 0.2, 0.1]).at(0.4)
    assert (point.tp, point.fp, point.fn, point.tn) == (2, 1, 0, 2)
    assert point.sensitivity.value == 1 and point.specificity.value == pytest.approx(2 / 3)
    assert point.ppv.value == pytest.approx(2 / 3) and point.npv.value == 1
    wilson = stats.binomtest(2, 2).proportion_ci(method="wilson")
    assert point.sensitivity.low == pytest.approx(wilson.low) and point.sensitivity.low < 0.5


def test_figures_at_a_threshold_are_those_of_scikit_learn():
    point, called = JUDGED.at(0.4), SCORE >= 0.4
    assert point.sensitivity.value == pytest.approx(metrics.recall_score(TRUTH, called))
    assert point.specificity.value == pytest.approx(metrics.recall_score(~TRUTH, ~called))
    assert point.ppv.value == pytest.approx(metrics.precision_score(TRUTH, called))
    assert [point.tn, point.fp, point.fn, point.tp] == metrics.confusion_matrix(TRUTH, called).ravel().tolist()


def test_several_cases_of_one_patient_widen_the_interval():
    twice = rk.evaluate.classification(np.repeat(TRUTH, 2), np.repeat(SCORE, 2), patient=np.repeat(np.arange(240), 2))
    assert twice.auc.n == 240 and twice.auc.low == pytest.approx(JUDGED.auc.low, abs=0.02)
    alone = rk.evaluate.classification(np.repeat(TRUTH, 2), np.repeat(SCORE, 2))
    assert alone.auc.high - alone.auc.low < 0.85 * (twice.auc.high - twice.auc.low)


@pytest.mark.parametrize(("ratio", "prevalence"), [(20, 0.01), (1, 0.3), (5, None), (0.2, 0.9)])
def test_no_threshold_costs_less_than_the_one_chosen(ratio, prevalence):
    ill = TRUTH.mean() if prevalence is None else prevalence

    def cost(threshold):
        called = threshold <= SCORE
        return ill * ratio * (~called)[TRUTH].mean() + (1 - ill) * called[~TRUTH].mean()

    point = JUDGED.operating_point(cost_of_miss=ratio, cost_of_false_alarm=1, prevalence=prevalence)
    assert cost(point.threshold) == pytest.approx(min(cost(t) for t in [*SCORE, np.inf]))
    assert f"as much as {ratio:g} false alarms" in point.chosen and "flatters" in repr(point)


def test_prevalence_moves_the_predictive_value_as_bayes_says():
    truth, called = np.repeat([1, 0], 100), np.r_[np.ones(90), np.zeros(10), np.ones(5), np.zeros(95)]
    there = rk.evaluate.classification(truth, called).at(0.5).predictive_values(0.01)
    assert there.ppv.value == pytest.approx(0.009 / (0.009 + 0.0495)) and there.npv.value == pytest.approx(
        0.9405 / (0.9405 + 0.001)
    )
    assert there.words.startswith("Of 1,000 people 10 have the disease: 9 of them called, 1 missed")
    assert there.ppv.low < there.ppv.value < there.ppv.high
    same = rk.evaluate.classification(truth, called).at(0.5)
    assert same.predictive_values(0.5).ppv.value == pytest.approx(same.ppv.value)
    with pytest.raises(EvaluationError, match=r"Did you mean 0\.05"):
        same.predictive_values(5)


def test_calibration_is_that_of_torchmetrics_and_scikit_learn():
    truth, score = TRUTH.astype(int), SCORE * 0.98 + 0.0013  # no score on an edge, where the bins differ
    found = rk.evaluate.classification(truth, score).calibration(bins=10)
    ece = torch_metrics.BinaryCalibrationError(n_bins=10)(torch.tensor(score), torch.tensor(truth))
    assert found.ece.value == pytest.approx(float(ece), abs=1e-6)
    observed, promised = calibration.calibration_curve(truth, score, n_bins=10)
    assert [one.value for one in found.observed] == pytest.approx(observed)
    assert found.promised == pytest.approx(promised) and sum(found.cases) == 240


def test_a_calibrated_model_is_not_blamed_for_chance_and_an_overconfident_one_is(rng):
    p = rng.random(300)
    truth = rng.random(300) < 0.3 + 0.4 * p
    fair, bold = (rk.evaluate.classification(truth, s).calibration() for s in (0.3 + 0.4 * p, p))
    assert fair.ece.low == 0 and fair.ece.value < fair.chance and "no more than chance" in repr(fair)
    assert bold.ece.value > bold.chance and 0 < bold.ece.low < 0.15 < bold.ece.high  # 0.6 * mean |p - 0.5| = 0.15


def test_calibration_refuses_logits_and_says_how_to_go_on():
    with pytest.raises(EvaluationError, match=r"1 / \(1 \+ exp"):
        rk.evaluate.classification([0, 1], [-3.0, 4.0]).calibration()


def test_abstention_refers_the_doubtful_cases():
    gone = JUDGED.abstention(0.4)
    assert gone.sensitivity[0].value == JUDGED.at(0.4).sensitivity.value
    assert gone.sensitivity[-1].value > gone.sensitivity[0].value
    assert list(gone.missed) == sorted(gone.missed, reverse=True)


def test_subgroups_show_their_n_and_mark_what_is_small():
    sites = np.where(np.arange(240) < 220, "A", "B")
    site_a, site_b = JUDGED.by({"site": sites}, threshold=0.4).rows
    assert site_a[3].value == pytest.approx(metrics.roc_auc_score(TRUTH[:220], SCORE[:220]))
    assert site_a[4].value == pytest.approx(metrics.recall_score(TRUTH[:220], SCORE[:220] >= 0.4))
    ill = TRUTH[220:].sum()
    assert (*site_a[:2], *site_b[:3]) == ("site A", 220, "site B", 20, f"{ill} / {20 - ill}")
    assert (site_a[-1], site_b[-1]) == ("", "too few to tell")
    assert "–" in repr(JUDGED.by(np.where(TRUTH, "ill", "well")))  # one class a group: no AUC


@pytest.mark.parametrize(
    ("truth", "score", "words"),
    [
        ([0, 1, 1], [0.1, 0.2], "shapes"), ([0, 1], [0.1, np.nan], "missing"), (["no", "yes"], [1, 2], "malignant"),
        ([0, 1], ["a", "b"], "finite number"), ([0, 1], [0.1, np.inf], "finite number"),
        ([0, 3], [0.1, 0.2], "0 or 1"), ([], [], "shape"), ([[0, 1]], [[0.1, 0.2]], "shape"),
    ],
)  # fmt: skip
def test_what_cannot_be_judged_is_refused_in_words(truth, score, words):
    with pytest.raises(EvaluationError, match=words):
        rk.evaluate.classification(truth, score)


def test_one_class_only_says_what_is_still_possible():
    healthy = rk.evaluate.classification([0, 0, 0, 0], [0.1, 0.9, 0.2, 0.3])
    with pytest.raises(EvaluationError, match=r"\.at\(threshold\)\.specificity"):
        _ = healthy.auc
    assert healthy.at(0.5).specificity.value == 0.75 and np.isnan(healthy.at(0.5).sensitivity.value)
    assert "One class only" in repr(healthy) and "cannot be said" in healthy.at(0.5).predictive_values(0.1).words


def test_constant_scores_guess_and_one_patient_has_no_interval():
    assert rk.evaluate.classification([0, 1, 1, 0], [0.5] * 4).auc.value == 0.5
    alone = rk.evaluate.classification([0, 1], [0.1, 0.9], patient=["P", "P"])
    assert alone.auc.value == 1 and np.isnan(alone.auc.low) and "no interval" in repr(alone)


def test_bland_and_altman_find_what_bland_and_altman_found():
    found = rk.evaluate.agreement(WRIGHT, MINI, names=("Wright", "mini"))
    assert (found.bias.value, found.bias.low, found.bias.high) == pytest.approx((-2.1, -22.0, 17.8), abs=0.06)
    sd = np.std(np.subtract(WRIGHT, MINI), ddof=1)
    assert sd == pytest.approx(38.8, abs=0.05) and found.high.value - found.low.value == pytest.approx(2 * 1.96 * sd)
    half = stats.t.ppf(0.975, 16) * sd * np.sqrt(1 / 17 + 1.96**2 / 32)
    assert found.low.high - found.low.value == pytest.approx(half)
    assert found.slope_p > 0.05


def test_a_difference_that_grows_with_the_size_is_seen(rng):
    size = np.linspace(10, 40, 30)
    assert "depends on the size" in repr(rk.evaluate.agreement(size * 1.2 + rng.normal(size=30), size))


def test_icc_is_that_of_shrout_and_fleiss():
    ratings = [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]]
    assert icc(*np.transpose(ratings).astype(float)) == pytest.approx(0.29, abs=0.005)
    a, b = (np.array(x, float) for x in (WRIGHT, MINI))
    assert rk.evaluate.agreement(a, a).icc.value == 1 and rk.evaluate.agreement(a, b).icc.low < icc(a, b) < 1


def test_kappa_is_that_of_scikit_learn(rng):
    a = rng.integers(1, 6, 80)
    b = np.clip(a + rng.integers(-1, 2, 80), 1, 5)
    grades = rk.evaluate.agreement(a, b, kind="grades")
    assert grades.kappa.value == pytest.approx(metrics.cohen_kappa_score(a, b, weights="quadratic"))
    words = rk.evaluate.agreement([f"BI-RADS {x}" for x in a], [f"BI-RADS {x}" for x in b])
    assert words.kappa.value == pytest.approx(metrics.cohen_kappa_score(a, b))
    assert words.agreed.value == pytest.approx((a == b).mean())
    assert (words.counts == metrics.confusion_matrix(a, b)).all()
    assert np.isnan(rk.evaluate.agreement(["no"] * 5, ["no"] * 5).kappa.value)


def test_readers_that_draw_are_compared_by_dice():
    a, b = np.zeros((2, 4, 8, 8), bool)
    a[1:3, 2:6, 2:6], b[1:3, 2:6, 3:7] = True, True
    found = rk.evaluate.agreement(a, b)
    assert found.values("dice") == pytest.approx([0.75])


@pytest.mark.parametrize(
    ("a", "b", "options", "words"),
    [
        ([1, 2], [1, 2, 3], {}, "came"), ([1, 2], [1, 2], {}, "at least 3"), ([1, 2, np.nan], [1, 2, 3], {}, "missing"),
        ([1, 2, 3], [1, 2, 3], {"kind": "masses"}, "kind is one of"), ("abc", "abc", {}, "came"), (3, 4, {}, "came"),
        (["a", "b", "c"], ["a", "b", "c"], {"kind": "grades"}, "finite numbers"),
    ],
)  # fmt: skip
def test_readings_that_do_not_fit_are_refused_in_words(a, b, options, words):
    with pytest.raises(EvaluationError, match=words):
        rk.evaluate.agreement(a, b, **options)


def test_psi_and_ks_by_brute_force(rng):
    x, y = rng.normal(size=(100, 2)), rng.normal((0, 1.5), size=(80, 2))
    same, moved = rk.evaluate.drift(*({"age": a[:, 0], "HU": a[:, 1]} for a in (x, y))).features
    assert (same.name, moved.name) == ("age", "HU")
    cuts = np.r_[-np.inf, np.quantile(x[:, 1], np.arange(1, 10) / 10), np.inf]
    p, q = ((np.histogram(side[:, 1], cuts)[0] + 0.5) / (len(side) + 5) for side in (x, y))
    assert moved.psi == pytest.approx(sum((q - p) * np.log(q / p)))
    every = np.r_[x[:, 1], y[:, 1]]
    assert moved.ks == pytest.approx(max(abs((x[:, 1] <= v).mean() - (y[:, 1] <= v).mean()) for v in every))
    assert (same.verdict, moved.verdict) == ("none seen", "much drift")
    ps = [stats.ks_2samp(x[:, i], y[:, i]).pvalue for i in (0, 1)]
    assert moved.p == pytest.approx(min(2 * ps[1], max(ps)))


def test_mmd_by_brute_force_sees_what_no_single_feature_shows(rng):
    x = rng.normal(size=(60, 2))
    y = rng.multivariate_normal([0, 0], [[1, 0.95], [0.95, 1]], 50)
    found = rk.evaluate.drift(x, y)
    a, b = x / x.std(axis=0), y / x.std(axis=0)
    both = np.concatenate([a, b])
    width = np.median([((both[i] - both[j]) ** 2).sum() for i in range(110) for j in range(i)])
    k = [[np.exp(-((u - v) ** 2).sum(axis=-1) / width) for u in both] for v in both]
    k = np.array(k) - np.eye(110)
    expected = k[:60, :60].sum() / (60 * 59) + k[60:, 60:].sum() / (50 * 49) - 2 * k[:60, 60:].mean()
    assert found.mmd == pytest.approx(expected) and found.mmd_p < 0.01
    assert all(f.verdict == "none seen" for f in found.features)
    same = [rk.evaluate.drift(*rng.normal(size=(2, 20, 2))).mmd_p for _ in range(60)]
    assert 0.25 < np.mean(same) < 0.75 and np.mean(np.array(same) < 0.05) < 0.15  # p is even where nothing differs


def test_drift_refuses_what_cannot_be_compared():
    for x, y in [(np.zeros((20, 2)), np.zeros((20, 3))), (np.zeros(5), np.zeros(20)), ([np.nan] * 20, np.zeros(20))]:
        with pytest.raises(EvaluationError):
            rk.evaluate.drift(x, y)
    with pytest.raises(EvaluationError, match="same features"):
        rk.evaluate.drift({"age": [1] * 20}, {"sex": [1] * 20})
    assert rk.evaluate.drift(np.ones(20), np.ones(20)).features[0].verdict == "none seen"


class Page(HTMLParser):
    """Collects the tags and the words of a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.words = [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.words += data


def test_the_report_answers_or_leaves_blank_and_needs_nothing_from_elsewhere(tmp_path, rng):
    point = JUDGED.operating_point(cost_of_miss=20, cost_of_false_alarm=1, prevalence=0.01)
    drifted = rk.evaluate.drift(rng.normal(size=(20, 2)), rng.normal(size=(20, 2)))
    made = rk.evaluate.report(
        "Nodules <script>alert(1)</script> | CT", JUDGED, point, rk.evaluate.agreement(WRIGHT, MINI), drifted,
        study={"model": "a<b>"}, answers={"design": "looking <i>back</i> | a year"}, folder=tmp_path / "new",
    )  # fmt: skip
    page = Page((tmp_path / "new" / "report.html").read_text())
    assert "script" not in [tag for tag, _ in page.tags] and "i" not in [tag for tag, _ in page.tags]
    images = [attrs for tag, attrs in page.tags if tag == "img"]
    assert len(images) == 3 and all(i["src"].startswith("data:image/svg") and i["alt"] for i in images)
    assert not re.search(r'(src|href)="(?!data:)', made.html)
    for text in (page.words, made.markdown):
        assert all(item.replace("-", "") in text.replace("-", "") for item in CLAIM)
        assert f"{text.count('left blank') - 1} of {len(CLAIM)} items" in text and "20 false alarms" in text
    rows = [line for line in made.markdown.splitlines() if line.startswith("| design")]
    assert rows == [r"| design | Planned ahead, or looking back? | looking &lt;i&gt;back&lt;/i&gt; \| a year |"]
    assert sorted(p.name for p in (tmp_path / "new").iterdir()) == ["report.html", "report.md"]


def test_a_report_refuses_unknown_items_and_what_is_no_result(tmp_path):
    for results, answers, words in (((), {}, "none came"), ((3,), {}, "int came"), ((JUDGED,), {"age": ""}, "'age'")):
        with pytest.raises(EvaluationError, match=words):
            rk.evaluate.report("R", *results, answers=answers)
    (tmp_path / "file").write_text("")
    with pytest.raises(EvaluationError, match="cannot be written"):
        rk.evaluate.report("R", JUDGED, folder=tmp_path / "file")


def test_plots_are_read_from_the_back_of_a_room():
    plots = [
        JUDGED, JUDGED.at(0.4), JUDGED.calibration(), JUDGED.abstention(0.4),
        rk.evaluate.agreement(WRIGHT, MINI),
    ]  # fmt: skip
    for result in plots:
        figure = result.plot()
        figure.canvas.draw()
        sizes = [
            text.get_fontsize() for text in figure.findobj(lambda a: hasattr(a, "get_fontsize")) if text.get_text()
        ]
        assert min(sizes) >= 14 and figure._suptitle.get_text()


def test_where_alarms_cost_more_than_misses_nobody_is_called():
    judged = rk.evaluate.classification([1, 0, 0, 1], [0.5, 0.9, 0.2, 0.1])
    point = judged.operating_point(cost_of_miss=1, cost_of_false_alarm=1000, prevalence=0.001)
    assert point.tp + point.fp == 0 and np.isnan(point.ppv.value) and "Nobody is called" in repr(point)
