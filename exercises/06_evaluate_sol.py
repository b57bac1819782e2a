# %% [markdown]
# # Exercise 06 · Evaluate like a clinician
#
# It belongs to [notebook 06](../notebooks/06_evaluate_like_a_clinician.ipynb). Run the cells from the top. Where you see `...`, put your answer in its place and run the cell: you
# are told at once whether it is right and, if not, what is wrong with it clinically. `check.solution("name")` shows a solution.
#
# **Minutes:** 20. *Nothing here is for clinical use. Patients and figures are made up, by the rule in the first cell.*

# %%
import numpy as np

import radkit as rk

# 200 patients with suspected lung nodules, 80 of them with one to three. Large nodules are found more often than small ones.
rng = np.random.default_rng(6)
ill = np.arange(200) < 80
patient = np.repeat(np.arange(80), rng.integers(1, 4, 80))  # to whom each nodule belongs
diameter = rng.uniform(4, 20, len(patient)).round(1)  # mm
found = rng.random(len(patient)) < np.clip((diameter - 2) / 14, 0.1, 0.97)  # one answer for each nodule
dice = np.array([rng.uniform(0.3, 0.9) * found[patient == who].any() for who in range(80)])
score = np.where(ill, rng.beta(4, 2, 200), rng.beta(2, 4, 200)).round(3)  # of the patient, 0 to 1
a = np.clip(rng.normal(0.68, 0.16, 60), 0, 1)  # Dice of model A in 60 other patients, and of B in the same ones
b = np.clip(a + rng.normal(0.025, 0.05, 60), 0, 1)
check = rk.check.Exercise("06_evaluate", ill=ill, patient=patient, found=found, dice=dice, score=score, a=a, b=b)
check.progress()

# %% [markdown]
# ## 1 · Patients who were missed
#
# `patient` says to whom each nodule belongs, `found` whether the program marked it, `dice` is the Dice of each of the 80 patients
# with nodules. **In how many patients with a nodule did the program mark none at all?**

# %% tags=["question"]
missed_nodules = int((~found).sum())
any_missed = len(set(patient[~found].tolist()))
rk.check.Number(
    "missed patients",
    80 - len(set(patient[found].tolist())),
    unit="patients",
    wrong={
        missed_nodules: "That counts nodules. A patient of whose three nodules two were seen is not sent home as healthy.",
        any_missed: "Those are the patients of whom at least one nodule was missed. Asked for are those of whom none was found.",
        int(
            (dice < 0.5).sum()
        ): "That counts a Dice below 0.5. A poor outline is not a miss: somebody will look there.",
        len(set(patient[found].tolist())): "Those are the patients who were noticed. Asked for are the others.",
    },
    hint="Count patients, not nodules: one who has a single mark on a nodule is noticed.",
    way="`set(patient[found])` are those with a nodule that was found. How many of the 80 are not among them?",
    right="That is the number for the head of department. A mean Dice does not tell it, nor does the share of nodules found.",
)

# %%
missed_patients = 80 - len(set(patient[found]))  # SOLUTION
check("missed patients", missed_patients)

# %% [markdown]
# ## 2 · What does 99.9 % say? (no code)
#
# A flyer reads: *Our program calls 99.9 % of all voxels right.* **What follows for the nodules?**

# %% tags=["question"]
rk.check.Pick(
    "accuracy",
    "Nothing: ask how many nodules and patients were missed",
    wrong={
        "It misses one nodule in a thousand": "Voxels are not nodules. Nearly all voxels are healthy lung, and to be right there is easy.",
        "It is right in 999 of 1,000 patients": "Not one patient was counted for this number, only voxels: a patient has millions of them.",
        "It outlines nodules almost perfectly": "A program that marks nothing at all reaches the same: nodules are a thousandth of the voxels.",
    },
    hint="What would a program reach that never marks anything?",
    way="A nodule of 8 mm has 0.3 ml, and a chest several litres. Which voxels decide such a mean?",
    right="Where the healthy part is huge, accuracy measures its size. Count what the patient has: nodules.",
)

# %%
check("accuracy", "Nothing: ask how many nodules and patients were missed")  # SOLUTION: check("accuracy")

# %% [markdown]
# ## 3 · A threshold for the tumour board
#
# `ill` says who of the 200 patients has a nodule, `score` what the program gives. At your tumour board **a false alarm is as bad as
# 5 misses**, and 40 % have a nodule, as here. At your screening clinic one miss is as bad as 20 false alarms. **Which threshold has
# the least cost at the tumour board?** `rk.evaluate.classification(ill, score)` can tell.

# %% tags=["question"]
judged = rk.evaluate.classification(ill, score)
swapped = judged.operating_point(cost_of_miss=5, cost_of_false_alarm=1).threshold
clinic = judged.operating_point(cost_of_miss=20, cost_of_false_alarm=1).threshold
equal = judged.operating_point(cost_of_miss=1, cost_of_false_alarm=1).threshold
rk.check.Number(
    "threshold",
    judged.operating_point(cost_of_miss=1, cost_of_false_alarm=5).threshold,
    tolerance=0.0005,
    wrong={
        0.5: "That is habit. 0.5 would be right if a miss were as bad as a false alarm and the score a true probability.",
        clinic: "That is the one for the screening clinic. On the tumour board it would deny operations to healthy people.",
        swapped: "The two costs are swapped: here the false alarm is the dear one, so the threshold must be high.",
        equal: "That takes both mistakes for equally bad. The board has said that they are not.",
    },
    hint="First say which mistake is the dearer one here. Does that call for a high threshold or for a low one?",
    way="`rk.evaluate.classification(ill, score).operating_point(cost_of_miss=..., cost_of_false_alarm=...).threshold`",
    right="The same program, another clinic, another threshold: the costs come from you, the rest is arithmetic.",
)

# %%
threshold = (
    rk.evaluate.classification(ill, score).operating_point(cost_of_miss=1, cost_of_false_alarm=5).threshold
)  # SOLUTION
check("threshold", threshold)

# %% [markdown]
# ## 4 · A positive result, elsewhere
#
# At a threshold of 0.4 the program goes to a practice where **2 in 100** have a nodule. Sensitivity and specificity stay. **Of those
# whom it calls there, which share has a nodule (PPV, from 0 to 1)?**

# %% tags=["question"]
at = rk.evaluate.classification(ill, score).at(0.4)
there = at.predictive_values(0.02)
rk.check.Number(
    "PPV",
    there.ppv.value,
    tolerance=0.003,
    wrong={
        at.ppv.value: "That is the PPV here, where 40 % have a nodule. In the practice healthy people are far more, and so are false alarms.",
        at.sensitivity.value: "That is the sensitivity: of those with a nodule, who is called. Asked is the reverse.",
        there.npv.value: "That is the NPV: of those who are not called, who has none.",
        0.02: "That is the share with a nodule before anybody was called. A call should raise it, at least.",
    },
    hint="Think of 1,000 people there: 20 have a nodule. How many of these are called, and how many of the other 980?",
    way="`rk.evaluate.classification(ill, score).at(0.4).predictive_values(0.02)` has it, and `.words` says it in people.",
    right="The test is the same, its meaning is not: where disease is rare, most calls are false alarms.",
)

# %%
ppv = rk.evaluate.classification(ill, score).at(0.4).predictive_values(0.02).ppv.value  # SOLUTION
check("PPV", ppv)

# %% [markdown]
# ## 5 · Is B better? (no code)
#
# Two models outlined the nodules of the same 60 patients. **What can be said of B?** Look at all that is printed.

# %%
print("Dice of A:", rk.evaluate.interval(a))
print("Dice of B:", rk.evaluate.interval(b))
print("B minus A, patient by patient:", rk.evaluate.interval(b - a))

# %% tags=["question"]
rk.check.Pick(
    "is B better",
    "B's outlines are better, by little; whether it matters is a clinical question",
    wrong={
        "Nothing: the intervals of A and B overlap": "By eye that misleads: both read the same patients. Look at the interval of the difference, and whether 0 is in it.",
        "B is better in every patient": "That is said of the mean. In single patients B may well be worse: print `(b < a).sum()`.",
        "B finds more nodules": "Dice says how well outlines fit. Who finds more must be counted, nodule by nodule.",
    },
    hint="Both models read the same patients: which of the three lines asks what B changed in each of them?",
    way="Look at the third line. Is 0 inside its interval? And how large is the difference at most?",
    right="A paired difference can be clear where two intervals overlap. Clear is not large: the margin is set by you.",
)

# %%
check(
    "is B better", "B's outlines are better, by little; whether it matters is a clinical question"
)  # SOLUTION: check("is B better")

# %%
check.progress()
