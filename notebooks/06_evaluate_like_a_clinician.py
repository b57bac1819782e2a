# %% [markdown]
# # 06 · Evaluate like a clinician
#
# **For whom:** radiology residents, and everyone who is asked "shall we buy it?". You know what sensitivity is; you need not have
# programmed. Press ▶ (or Shift + Enter), cell by cell, predict, and look. Whoever trained a model in notebook 05 can put it here.
#
# **Goals.** At the end you can
# 1. say what a mean Dice and a voxel accuracy hide, and ask for the patients and the lesions behind them;
# 2. choose a threshold by what a miss and a false alarm cost in *your* clinic, and say what a positive result means there;
# 3. read a calibration curve, a subgroup table and an abstention curve, each with its interval and its n;
# 4. say whether model B is better than model A, and when the data cannot tell;
# 5. write half a page that your head of department can decide on.
#
# **Minutes:** 40 to read, predict and look; two for the computer.
#
# *Nothing here is for clinical use. Nobody was scanned for the patients below: their nodules are grown by code into a real chest.*

# %% [markdown]
# ## The clinical question
#
# A company offers your department a program that finds lung nodules. The flyer says *99.9 % accurate*. Your head of department has
# ten minutes on Thursday, and a question:
#
# > **Does it find what we must not miss, and what does it cost us to use it?**
#
# You have a test set of your own. Leave the next line as it is.

# %% tags=["parameters"]
stand_in, patients = None, 40  # None: nodules in a real CT, and in a generated stand-in where that cannot be had

# %%
import matplotlib.pyplot as plt
import numpy as np

import radkit as rk

plt.rcParams.update({"font.size": 16, "axes.titlesize": 18})
bundle = rk.model.load_bundle()
print(bundle.metadata["name"], bundle.metadata["task"], bundle.metadata["intended_use"], sep="\n")

# %% [markdown]
# Read the second line again: *solid* nodules. That is what the makers say. A test set should hold what the **clinic** meets,
# solid or not, and nothing of what the program has learnt from. This network was taught on three chest CTs; we take a fourth
# (or, where that cannot be had, a drawn chest: then expect worse figures). Into blocks of it, each 10 cm wide and each bent to another shape, code has grown nodules of known kind. Sixty of a hundred patients
# have one or more, far more than in life: otherwise forty patients would hold a handful. Half were imaged on scanner A (soft
# kernel), half on B (sharp kernel, noisier).

# %%
knobs = {"seed": 6, "prevalence": 0.6, "anatomies": ["chest-ct"], "stand_in": stand_in}
cohort = rk.data.cohort("chest-nodules", patients, scanner=("A", "B"), **knobs)
cohort

# %% [markdown]
# Now the program reads them all: half a minute. For every voxel it returns a number from 0 to 1, which its makers call the
# probability of a nodule.


# %%
def ask(ct):
    """Return what the network says of each voxel, 0 to 1."""
    return rk.model.predict(ct, bundle, probability=True, progress=False)


truth, who = [study.truth for study in cohort], [study.patient for study in cohort]
ill = [study.has_lesion for study in cohort]
said = [ask(study.images["ct"]) for study in cohort]
marked = [p.with_array((p.array >= 0.5).astype(np.uint8)) for p in said]

# %% [markdown]
# ## 1 · A mean that hides the misses
#
# First the flyer's number: the share of voxels that are called right. *Predict: what does a program reach that marks nothing,
# ever?*

# %%
right = [np.mean((t.array > 0) == (m.array > 0)) for t, m in zip(truth, marked, strict=True)]
nothing = [np.mean(t.array == 0) for t in truth]
print(f"voxels called right, the program:       {rk.evaluate.interval(right):.4f}")
print(f"voxels called right, a blank page:      {rk.evaluate.interval(nothing):.4f}")

# %% [markdown]
# The flyer is right, and it says nothing: almost every voxel is no nodule, and to be silent about it is easy. **Voxel accuracy
# measures how small nodules are.**
#
# Better is **Dice**: twice the overlap, divided by the two volumes together; 1 is the same outline, 0 is no overlap. Behind each
# figure stands its 95 % confidence interval: how far it may be off because these patients came, and not others. *Predict: which mean
# Dice would you accept, and would you know from it how many patients were missed?*

# %%
overlap = rk.evaluate.segmentation(truth, marked, patient=who)
overlap

# %%
overlap.plot()

# %% [markdown]
# How many patients lie near the mean? There are those where the outline fits, and those at 0. At 0 lie three kinds: a nodule without
# any mark (✕), a mark in a patient without a nodule (▲), and a nodule with a mark elsewhere (●); the mean counts them all as 0. And a
# patient with three nodules, one of them outlined well and two not
# seen, has a Dice that looks like a poor outline. **Ask for the worst cases before you ask for the mean:**

# %%
overlap.worst(8)

# %% [markdown]
# Who computes that? MONAI does; `rk.evaluate` takes its figures case by case and puts patients and intervals beside them. The
# library's own call, for the best case:

# %%
import torch
from monai.metrics import compute_dice

best = int(np.nanargmax(overlap.values("dice")))
theirs = compute_dice(*(torch.from_numpy(one[best].array > 0)[None, None] for one in (marked, truth)))
print(f"MONAI: {theirs.item():.4f}   radkit: {overlap.cases[best].dice:.4f}")

# %% [markdown]
# ## 2 · Lesions, not voxels
#
# A nodule of 25 mm has seventy times the volume of one of 6 mm, so it decides the Dice. Your report counts nodules. A finding
# *hits* a nodule here if the two share at least a tenth of the voxels that they cover together (an intersection over union of 0.1:
# lenient on purpose, for a mark only has to point). *Predict the sensitivity below 8 mm, and from 12 mm on.*

# %%
lesions = rk.evaluate.detection(truth, said, patient=who)
lesions.by("size", threshold=0.5, edges_mm=(8, 12))

# %% [markdown]
# Why patients? Two nodules of one patient share scanner, noise and anatomy: they are less than two witnesses. So the intervals are
# drawn by patient. (With fewer than some twenty even these promise too much.) *Predict the same by density; think of what the
# makers wrote.*

# %%
kind = [cohort[one.scan].lesions[one.number - 1].attributes["density"] for one in lesions.lesions]
for density in ("solid", "part-solid", "ground glass"):
    of = [one for one, its in zip(lesions.lesions, kind, strict=True) if its == density]
    share = rk.evaluate.interval([one.score >= 0.5 for one in of], patient=[one.patient for one in of])
    print(f"{density:<13} {sum(one.score >= 0.5 for one in of):>2} of {len(of):>2} found: {share}")

# %% [markdown]
# A program is good at what it was taught. Subsolid nodules that persist often turn out to be adenocarcinoma, slow as they grow: to
# miss them is no detail. Here is the largest nodule that no finding hit; the colour is the truth. **Would you have seen it?**
# Scroll; the keys 1 to 9 change the window.

# %%
lost = lesions.missed(threshold=0.5).rows[0]
study = cohort[lost.scan]
it = study.lesions[lost.number - 1]
title = f"{study.patient} missed: {it.attributes['density']}, {it.diameter_mm:.0f} mm · {study.made_from.split('.')[0]}"
rk.view.show(study.images["ct"], study.truth, title=title, preset="lung", at=it.centre, zoom=1.5, opacity=0.25)

# %% [markdown]
# Sensitivity has a price. The **FROC** curve shows it: to the right, the marks at wrong places that a reader has to look at in each
# scan; upwards, the nodules found. *Predict: how far does the curve climb if you accept ever more false alarms?*

# %%
lesions.plot()

# %% [markdown]
# Where it runs flat, more false alarms buy no more nodules: what has no mark at any threshold stays lost. Note the unit: false alarms *per block of 10 cm*. A whole chest holds
# several of those.
#
# ## 3 · Which threshold?
#
# For some questions the patient counts: is there a nodule or not? So each patient gets one score. We take the **highest
# number anywhere in the block**, because one nodule is enough to make a patient positive. (The mean would drown it in lung.) How
# well does it tell those with a nodule from those without, at *all* thresholds?

# %%
from sklearn.metrics import roc_auc_score

score = [float(p.array.max()) for p in said]
reading = rk.evaluate.classification(ill, score, patient=who)
print(f"scikit-learn: {roc_auc_score(ill, score):.4f}   radkit: {reading.auc:.4f}")
reading.plot()

# %% [markdown]
# AUC needs no threshold. Your clinic does, and which one is no question of statistics:
#
# - **Screening clinic.** The program reads first, about one participant in four has a nodule, and a missed one comes back in a year
#   at best. A false alarm costs a radiologist a look. Say: *one miss is as bad as 20 false alarms.*
# - **Tumour board.** Every scan has been read by two people. One more "metastasis" may cost a patient the operation that would
#   have cured. Say: *one false alarm is as bad as 4 misses*, and six in ten have a nodule.
#
# *Predict: which of the two takes the lower threshold? Where will 0.5 lie, which nobody has chosen?*

# %%
screening = reading.operating_point(cost_of_miss=20, cost_of_false_alarm=1, prevalence=0.25)
board = reading.operating_point(cost_of_miss=1, cost_of_false_alarm=4, prevalence=0.6)
points = {"screening": screening, "0.5 by habit": reading.at(0.5), "tumour board": board}
for name, at in points.items():
    print(
        f"{name:<13} from {at.threshold:.3f} on: {at.fn:>2} of {at.tp + at.fn} missed, {at.fp:>2} of {at.fp + at.tn} false alarms"
    )
    print(f"              sensitivity {at.sensitivity}\n              specificity {at.specificity}")

# %%
figure, axis = plt.subplots(figsize=(12, 4.6), layout="constrained")
up = np.random.default_rng(0).uniform(-0.25, 0.25, len(ill)) + ill
for has, look, colour in ((False, "o", "#0072B2"), (True, "X", "#D55E00")):
    of = np.array(ill) == has
    axis.plot(np.clip(score, 0.01, 0.999)[of], up[of], look, color=colour, ms=11, alpha=0.7, clip_on=False)
for height, (name, at) in zip((2.1, 2.5, 1.7), points.items(), strict=True):
    axis.plot([at.threshold] * 2, [-0.5, height], "k--")
    axis.text(at.threshold, height, f"{name} ", ha="right", va="center", backgroundcolor="w")
ticks = (0.01, 0.1, 0.5, 0.9, 0.99, 0.999)
axis.set(xscale="logit", xlim=(0.01, 0.999), ylim=(-0.5, 2.8), xlabel="score (the scale is stretched at its ends)")
axis.set_xticks(ticks, [*map(str, ticks[:-1]), "above"])
axis.set_yticks((0, 1), ("no nodule", "nodule"))
axis.minorticks_off()
plt.show()

# %% [markdown]
# Every cross to the left of a line is missed there, every dot to its right is a false alarm. The same program, the same patients,
# and another answer for each clinic: a threshold is a **clinical decision**, to be made with stated costs before the program goes
# live. 0.5 is what is left when nobody decides.
#
# Two doubts. The lines were drawn on the patients whom they are judged on: that flatters, and one patient more may move a line
# far. (In life, choose on one set and check on another.) And is a "true positive" called for the right reason?

# %%
hit = {one.patient for one in lesions.lesions if one.score >= 0.5}
called = {name for name, s, i in zip(who, score, ill, strict=True) if i and s >= 0.5}
print(
    f"{len(called)} patients with a nodule are called at 0.5; {len(called - hit)} of them only for a place without one"
)

# %% [markdown]
# ## 4 · Prevalence moves the PPV
#
# The screening threshold goes live. The trauma surgeons want it too, for the CTs of young people after accidents: perhaps two in
# a hundred have such a nodule. Sensitivity and specificity may stay. *Predict: of ten people who are called there, how many have a nodule?*

# %%
print(screening.predictive_values(0.02).words)
screening.plot(prevalence=0.02)

# %% [markdown]
# In whole people it can be said to a patient; "PPV" cannot. The band holds what our few patients leave open. Now move
# the slider: where would *you* still use it?

# %%
from ipywidgets import HTML, FloatLogSlider, Image, VBox

slider = FloatLogSlider(0.02, min=-3, max=-0.3, readout_format=".3f", description="have it")
words, picture = HTML(), Image(width=900)


def move(_=None):
    words.value = screening.predictive_values(slider.value).words
    picture.value = screening.plot(slider.value)._repr_png_()


slider.observe(move, "value")
move()
VBox([slider, words, picture])

# %% [markdown]
# The PPV of a study is that of its prevalence, here six in ten. **Never carry it into another clinic.**
#
# ## 5 · Does 0.9 mean 90 %?
#
# A score that is shown to a doctor is read as a probability. *Predict: of the patients with a score near 1, how many have a
# nodule? And of those near 0.1?*

# %%
promise = reading.calibration(bins=5)
promise

# %%
promise.plot()

# %% [markdown]
# On the dotted line, promises come true. **ECE** is the mean distance from it. The sentence beside it says what a perfect program
# could show by chance: with few patients a good one can look bad. There is a reason for doubt as well: the network was taught
# voxels, and the highest of more than half a million is no probability of a *patient*. Write "score" on the screen, not "%".
#
# ## 6 · For whom does it work?

# %%
groups = {"scanner": [study.scanner for study in cohort], "sex": [study.sex for study in cohort]}
groups["age"] = ["below 70" if study.age < 70 else "70 and over" for study in cohort]
table = reading.by(groups, threshold=0.5)
table

# %% [markdown]
# *Which row worries you?* Look at the counts before you answer: where fewer than ten have, or do not have, a nodule, the table says
# *too few to tell*. **That is not "no difference", it is "we did not look".** And whoever looks at twenty groups finds a bad one by
# chance. So name the groups before, and ask for as many patients as they need.
#
# Next year the department will get scanner C: slices of 5 mm, and we would like a quarter of the dose. Grown patients can be imaged
# twice. *Predict: what happens to the Dice of the same patients, the first twenty, on C?*

# %%
again = rk.data.cohort("chest-nodules", 20, scanner="C", dose=0.25, progress=False, **knobs)
sick = [i for i in range(20) if ill[i]]
seen = [ask(again[i].images["ct"]) for i in sick]
marks = [p.with_array((p.array >= 0.5).astype(np.uint8)) for p in seen]
there = rk.evaluate.segmentation([again[i].truth for i in sick], marks)
names = ("now", "scanner C")
rk.evaluate.compare(overlap.values()[sick], there.values(), names=names).plot()

# %% [markdown]
# Read the sentence above the picture, with its interval. A dozen patients with nodules can show a disaster, and overlook a loss that
# matters. And what you expected may be wrong either way: two of the three CTs that this network learnt from had slices of 5 mm. Would
# you let the program move to the new scanner without a larger test *there*?
#
# ## 7 · When should it keep silent?
#
# A program could pass on the cases next to its threshold: "please read this one yourself". *Predict: how many missed patients are
# saved, if a fifth of all cases goes to a human?*

# %%
doubt = reading.abstention(0.5)
doubt

# %%
doubt.plot()

# %% [markdown]
# If the curves climb, the program knows when it does not know. Look at *missed in the rest*: what it overlooks with confidence,
# no abstention brings back. The price stands on the axis, it is your reading time.
#
# ## 8 · Is model B really better?
#
# The company has an update. *B looks at each scan twice, once mirrored, and takes the mean: fewer false alarms!* We settle
# the question before we look: **false alarms per scan at 0.5.** Half a minute.

# %%
mirrored = [ask(s.images["ct"].with_array(s.images["ct"].array[:, :, ::-1])) for s in cohort]
said_b = [a.with_array((a.array + m.array[:, :, ::-1]) / 2) for a, m in zip(said, mirrored, strict=True)]
lesions_b = rk.evaluate.detection(truth, said_b, patient=who)
alarms = [[int((scores >= 0.5).sum()) for scores in found.false_alarms] for found in (lesions, lesions_b)]
for name, one in zip("AB", alarms, strict=True):
    print(f"{name}: {rk.evaluate.interval(one, patient=who)} false alarms a scan")

# %% [markdown]
# *Look: do these two intervals overlap? Predict: if they do, is B no better?*

# %%
fewer = rk.evaluate.compare(*alarms, patient=who, higher_is_better=False)
fewer.plot()

# %% [markdown]
# Each interval alone also holds what makes a patient hard for *both*. A and B read the same patients, so ask of each patient
# what B changed, and give **that** an interval: it says more, and may be clear where the two overlap. (Where two intervals do not
# touch, there usually is a difference.)
#
# So B is better? It may only have become quieter. A mean lowers every peak that the two looks do not share, and whoever calls less
# has fewer false alarms: A could do that too, at a higher threshold. So we ask what does not depend on it, and compare A at a
# threshold where it has no more false alarms than B:

# %%
score_b = [float(p.array.max()) for p in said_b]
print(rk.evaluate.compare(score, score_b, truth=ill, statistic="auc", patient=who).verdict)
quiet, b = lesions.at(fp_per_scan=np.mean(alarms[1])), lesions_b.at(threshold=0.5)
print(f"A from {quiet.threshold:.2f} on: sensitivity {quiet.sensitivity}, {quiet.fp_per_scan} false alarms")
print(f"B from 0.50 on: sensitivity {b.sensitivity}, {b.fp_per_scan} false alarms")

# %% [markdown]
# *Cannot tell them apart* is an answer, and not the same as *equal*. To show that B is not worse takes a margin, settled before
# (`margin=0.05`), and usually more patients.
#
# ## 9 · The half page for Thursday
#
# The first table below is the half page. `rk.evaluate.report` puts behind it the results and the questions of CLAIM, the checklist
# for studies of AI in imaging. What nobody has answered stays openly blank: the reader sees what you do not know. **The three
# sentences are yours. Write them, and run both cells again.**

# %%
consequence = ""  # What should the department do, and what not yet?
limits = ""  # Why might it be otherwise in our own patients?
failures = ""  # What does it miss, and is there a pattern?

# %%
page = {"we asked": "Does it find what we must not miss, and what does it cost us?"}
page["program"] = f"{bundle.metadata['name']}, version {bundle.metadata['version']}; made for solid nodules"
page["tested on"] = (
    f"{patients} patients, {sum(ill)} with nodules, grown by code into one chest that it was not taught on"
)
page["patients called, as first reader"] = f"{screening.tp} of {sum(ill)}: sensitivity {screening.sensitivity}"
page["patients spared"] = f"{screening.tn} of {screening.tn + screening.fp}: specificity {screening.specificity}"
page["mind"] = "That threshold was chosen on these patients, which flatters; some are called for a wrong place."
page["nodules found at 0.5"] = str(lesions.at(threshold=0.5).sensitivity)
page |= {"what it misses": failures, "what may differ here": limits, "we propose": consequence}
answers = {"consequence": consequence, "limits": limits, "failures": failures, "question": page["we asked"]}
answers |= {"truth": "Exact: the nodules were drawn by code.", "external": "Not tried.", "funding": "Nobody paid."}
answers |= {"model": page["program"], "split": "The network was taught on other chests."}
page = {key: line or "left blank" for key, line in page.items()}
rk.evaluate.report("A nodule finder for us?", lesions, screening, table, fewer, study=page, answers=answers)

# %% [markdown]
# What no interval on this page covers: all forty patients come from **one** anatomy, their nodules from one piece of code, and none
# from your waiting room. An interval says how the figures would move with other patients *of the same kind*. Whether yours are of
# that kind, only a test on yours can say. A fair sentence for Thursday ends with it.
#
# ## Recap
#
# - Voxel accuracy praises silence. Mean Dice hides the misses: ask for the worst cases, and count lesions, by size and kind.
# - A threshold is chosen by stated costs, clinic by clinic. 0.5 is no choice.
# - PPV belongs to a prevalence. Say it in people.
# - A score is no probability until a calibration curve says so. A small group is not a safe one.
# - Two models on the same patients are compared by the paired difference, at the same price, by a figure that was settled before.
#
# ## Try next
#
# - The exercise that belongs to this notebook: [exercise 06](../exercises/06_evaluate_ex.ipynb).
# - State the costs of *your* clinic in step 3, and look where the line moves. Could you defend them to a patient?
# - Put your own model in: in `ask`, give `rk.model.predict` what notebook 05 has trained or saved.
# - Add `thickness_mm=5` to the first cohort, or `dose=0.25`, and run all again. Which figures move first?
# - `rk.evaluate.report(..., folder="report")` writes the page as HTML (for the printer) and Markdown.
#
# ## Sources
#
# - The images: `print(cohort[0].made_from)`; licences in `data/catalog.yaml`. The program:
#   [its model card](../data/bundles/lung_nodule/docs/README.md).
# - Maier-Hein L, et al. Metrics reloaded: recommendations for image analysis validation. *Nat Methods* 2024;21:195–212,
#   doi:10.1038/s41592-023-02151-z.
# - FROC: Setio AAA, et al. (LUNA16). *Med Image Anal* 2017;42:1–13, doi:10.1016/j.media.2017.06.015.
# - One in four in screening: the National Lung Screening Trial (27 % positive in the first round). *N Engl J Med* 2011;365:395–409,
#   doi:10.1056/NEJMoa1102873.
# - Thresholds by cost: Metz CE. Basic principles of ROC analysis. *Semin Nucl Med* 1978;8:283–298. Natural frequencies: Gigerenzer
#   G, Hoffrage U. *Psychol Rev* 1995;102:684–704. Calibration: Guo C, et al. *ICML* 2017.
# - CLAIM: Tejani AS, et al. Checklist for Artificial Intelligence in Medical Imaging: 2024 Update. *Radiol Artif Intell* 2024;6:e240300,
#   doi:10.1148/ryai.240300.
