# %% [markdown]
# # 04 · Curate a cohort: what will the model learn?
#
# **For whom:** anyone who is asked for "a few hundred cases with labels", or who is shown a score and asked to believe it. No
# code background needed: press ▶ (or Shift + Enter), cell by cell, predict, and look.
#
# **Goals.** At the end you can
# 1. say what a label means, who drew it, and how far two careful readers differ;
# 2. outline a lesion yourself, and see where you stand between them;
# 3. tell a split by patient from a split by slice, and a score that is too good from an honest one;
# 4. find the shortcut that a model would rather learn than the disease;
# 5. read a data sheet, and say what is missing in one.
#
# **Minutes:** 30 to read, draw, predict and look; one and a half for the computer.
#
# *Nothing here is for clinical use.*

# %% [markdown]
# ## The clinical question
#
# Neurology asks for a program that tells brains with white matter lesions from brains without. Two hospitals, North and South, have
# sent MR studies; a reader has outlined every lesion. After one afternoon a student reports a program that is almost always right.
#
# > **Is that cohort fit to learn from? And do you believe the score?**
#
# Leave the next line as it is.

# %% tags=["parameters"]
stand_in = None  # None: the real anatomy, and a generated stand-in where it cannot be had

# %%
import matplotlib.pyplot as plt
import numpy as np

import radkit as rk

# %% [markdown]
# ## 1 · People who do not exist
#
# To judge a label one must know the truth, and of a real patient nobody does. So these patients are *grown*: the anatomy is an
# average of 152 brains (or, where that cannot be had, a drawing), bent into another shape for each person; the contrast of the
# scanner, the noise and the lesions are computed. So the volume of each lesion is known exactly. The skull is missing, as it is after
# the "skull stripping" that many programs begin with. And it is simpler than life: here half have no lesion at all, while at 50 to 80
# hardly anyone is without a bright spot in the white matter.

# %%
cohort = rk.data.cohort("brain-lesions", 60, seed=4, prevalence=0.5, label_noise=0.8, shortcut=0.9, stand_in=stand_in)
cohort

# %% [markdown]
# Look before you count. This is the patient with the most to see; scroll with the wheel. *Predict: how many lesions are there?*

# %%
study = max(cohort, key=lambda one: sum(lesion.volume_mm3 for lesion in one.lesions))
flair, largest = study.images["flair"], max(study.lesions, key=lambda lesion: lesion.volume_mm3)
title = f"{study.patient}, FLAIR, grown by radkit"
rk.view.show(flair, title=title, modality="MR", at=largest.centre)

# %%
print(f"{len(study.lesions)} lesions, {sum(lesion.volume_mm3 for lesion in study.lesions) / 1000:.1f} ml in all:")
for lesion in study.lesions:
    print(f"  {lesion.volume_mm3:5.0f} mm³, like a ball of {lesion.diameter_mm:4.1f} mm, {lesion.attributes['place']}")

# %% [markdown]
# Did you count them all? You saw at once what "truth" costs: a lesion that nobody sees is in no label, and a model that finds it will
# be told that it was wrong.
#
# ## 2 · Who drew the label?
#
# Two readers outline the same largest lesion. Each has a habit: one tends to draw outside of the edge, the other close to it.
# Both can defend that, for the edge is two voxels wide. *Predict the Dice between them: 0.99, 0.9, 0.8 or 0.6?* (Dice is twice the common part, divided by
# the sum of both: 1 is the same outline, 0 nothing in common.)

# %%
readers = {name: study.drawn_by(number, wander_mm=0.8) for name, number in {"reader A": 14, "reader B": 16}.items()}
slice_number = int((study.truth.array == largest.number).sum(axis=(1, 2)).argmax())
(top, bottom), (left, right) = ((max(0, low - 12), high + 12) for low, high in largest.box[1:])
figure, axes = plt.subplots(1, 3, figsize=(13, 4.8), layout="constrained")
for axis, (name, mask) in zip(axes, {**readers, "the truth": study.truth}.items(), strict=True):
    axis.imshow(flair.array[slice_number], cmap="gray")
    axis.contour(mask.array[slice_number] == largest.number, [0.5], colors="orange", linewidths=2.5)
    axis.set(
        xlim=(left, right), ylim=(bottom, top), title=f"{name}: {(mask.array == largest.number).sum()} voxels of 8 mm³"
    )
    axis.axis("off")

# %% [markdown]
# **Now you.** In the picture below press **C**, hold the left mouse button and draw around the same lesion, once, in the axial plane; let go, and
# the outline closes. The blue outline that is there already only shows how: click on the picture and press Delete to be rid of it, then draw your own. Then run the cell after it.

# %%
ring = [largest.centre + 5 * np.array([np.cos(a), np.sin(a), 0]) for a in np.linspace(0, 2 * np.pi, 24, endpoint=False)]
z = flair.affine[2, :3] @ [slice_number, 0, 0] + flair.affine[2, 3]  # the height of that slice, in mm
outline = {"plane": "axial", "slice": slice_number, "points": [[float(x), float(y), float(z)] for x, y, _ in ring]}
view = rk.view.show(flair, title=title, modality="MR", at=(*largest.centre[:2], z), zoom=3, contours=[outline])
view

# %%
slices = {name: mask.array[slice_number] == largest.number for name, mask in readers.items()}
slices["you"] = view.drawn.array[slice_number] > 0
slices["the truth"] = study.truth.array[slice_number] == largest.number
print("Dice on this slice  ", *(f"{name:>10}" for name in slices))
for name, one in slices.items():
    dice = [2 * (one & other).sum() / (one.sum() + other.sum()) for other in slices.values()]
    print(f"{name:<20}", *(f"{value:10.2f}" for value in dice))

# %% [markdown]
# Above 0.9, if you drew with care: large lesions are easy. Now the two readers over all patients with lesions, all lesions of a patient
# together. *Will the Dice be better or worse than for this large one?* (Two more figures are in the table: NSD is the share of the two
# surfaces that lie within 2 mm of each other; HD95 is how far apart they are, in mm, but for the worst 5 %.)

# %%
ill = cohort.where(has_lesion=True)
pairs = [[one.drawn_by(number, wander_mm=0.8) for one in ill] for number in (14, 16)]
rk.evaluate.agreement(*pairs)

# %%
millilitres = [[(mask.array > 0).sum() * np.prod(mask.spacing) / 1000 for mask in masks] for masks in pairs]
volumes = rk.evaluate.agreement(*millilitres, names=("reader A", "reader B"))
print(volumes)
volumes.plot()

# %% [markdown]
# Worse: most lesions are small, and of a small one the edge is most. How well two readers agree is the yardstick for a model.
#
# Each dot is a patient, its height the ml that reader A outlines more than reader B; the middle line is the mean, the *bias*. The
# more there is to outline, the more they differ, so no single limit fits all: think in per cent. A model taught by one reader inherits that reader's
# habit. Judged by the same reader it may even score better than a second reader would: that is the habit, not the truth.
#
# ## 3 · The score that was too good
#
# The student cut every study into slices, shuffled them, kept a fifth aside to test on (five times, each fifth once), and let a *random forest* (a vote of many
# decision trees, scikit-learn's) learn which slices come from a patient with lesions. To be quick it sees thumbnails of 24 × 20 pixels.
# The uppermost rows are left out; we come back to them.
#
# *Predict: what of a lesion of 6 mm is left in such a thumbnail?*

# %%
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold, KFold, cross_val_predict


def thumbnails(cohort):
    """Return the slices of the middle of each brain as thumbnails, (patient, slice, row, column)."""
    images = np.stack([one.images["flair"].array[28:58] for one in cohort]).astype(float)
    images /= np.array([np.median(image[image > 0]) for image in images])[:, None, None, None]
    return images.clip(0, 2.5).reshape(len(cohort), -1, 24, 4, 20, 4).mean(axis=(3, 5))


small = thumbnails(cohort)
plt.figure(figsize=(9, 3.2), layout="constrained")
plt.imshow(np.hstack(small[[cohort.studies.index(study), 0, 1], 14, 5:]), cmap="gray")
plt.axis("off"), plt.title("What the forest sees: the patient from above (left), and two others")
plt.show()

# %%
sick = np.array([one.has_lesion for one in cohort])
brain = small[:, :, 5:].reshape(len(cohort) * small.shape[1], -1)  # without the uppermost rows
label, patient = np.repeat(sick, small.shape[1]), np.repeat(np.arange(len(cohort)), small.shape[1])
forest = RandomForestClassifier(40, random_state=0)
splits = {"by slice": KFold(5, shuffle=True, random_state=0), "by patient": GroupKFold(5)}
for name, split in splits.items():
    folds = list(split.split(brain, label, patient if name == "by patient" else None))
    score = cross_val_predict(forest, brain, label, cv=folds, method="predict_proba")[:, 1]
    auc = rk.evaluate.classification(label, score, patient=patient).auc
    print(f"split {name:<10}  AUC {auc}   scikit-learn: {roc_auc_score(label, score):.2f}")

# %% [markdown]
# An AUC of 1 is perfect, 0.5 is guessing. Same images, same labels, same program. Split by slice, it is nearly perfect; split by
# patient, the interval holds 0.5, or what it says is even wrong more often than right. How? Two neighbouring slices
# of one person look almost alike. The forest did not learn what a lesion is: **it recognised the patient**, whose other slices it had
# been shown with the answer. In your clinic nobody's slices will be known.
#
# So split by patient, and all visits of a patient go to the same side. `cohort.split()` does that:

# %%
learn, held_out = cohort.split(0.25, by="patient")
both = set(learn.patients) & set(held_out.patients)
print(f"{len(learn)} studies to learn from, {len(held_out)} held out; patients in both: {len(both)}")

# %% [markdown]
# ## 4 · The shortcut
#
# The student has read this far, and comes back: whole images this time, one average picture for each patient, split by patient.


# %%
def by_patient(small):
    """Return one picture for each patient, the mean of the slices, as a row of numbers."""
    return small.mean(axis=1).reshape(len(small), -1)


forest, five = RandomForestClassifier(300, random_state=0), KFold(5, shuffle=True, random_state=0)
score = cross_val_predict(forest, by_patient(small), sick, cv=five, method="predict_proba")[:, 1]
result = rk.evaluate.classification(sick, score)
print("AUC:", result.auc)

# %% [markdown]
# Now an honest split, and the forest is good again: on averages of thirty slices, in which little is left of a lesion. *What has it
# learned? Think of three possibilities before you run the next cell.*
#
# The cell lets you look where the forest looks. A patch of the picture is covered with the average of all patients, at each place in turn; where
# the answers get worse, the forest had its information from.

# %%
forest.fit(by_patient(small[::2]), sick[::2])  # learn from every second patient, look at the others
others, truth = small[1::2].mean(axis=1), sick[1::2]
before, loss = forest.predict_proba(others.reshape(len(others), -1))[:, 1], np.zeros((24, 20))
for row, column in np.ndindex(12, 10):
    covered, patch = others.copy(), (slice(None), slice(2 * row, 2 * row + 2), slice(2 * column, 2 * column + 2))
    covered[patch] = others[patch].mean(axis=0)
    after = forest.predict_proba(covered.reshape(len(covered), -1))[:, 1]
    loss[patch[1:]] = np.mean(np.where(truth, before - after, after - before))
figure, axes = plt.subplots(1, 2, figsize=(9, 5), layout="constrained")
pictures = {"the average patient": (others.mean(axis=0), "gray"), "bright: the forest looks here": (loss, "magma")}
for axis, (name, (picture, colours)) in zip(axes, pictures.items(), strict=True):
    axis.imshow(picture, cmap=colours)
    axis.set_title(name, fontsize=15)
    axis.axis("off")

# %% [markdown]
# The corner. There is no brain in the corner. Here are the first twelve patients: **who has something there, and who has lesions?**

# %%
figure, axes = plt.subplots(2, 6, figsize=(14, 6), layout="constrained")
for axis, one in zip(axes.ravel(), cohort[:12], strict=True):
    axis.imshow(
        one.images["flair"].array[44],
        cmap="gray",
        vmin=0,
        vmax=2 * np.median(one.images["flair"].array[44][20:76, 20:60]),
    )
    axis.set_title("lesions" if one.has_lesion else "none", fontsize=15)
    axis.axis("off")

# %%
for site in ("North", "South"):
    there = cohort.where(site=site)
    ill, marked = (sum(getattr(one, what) for one in there) for what in ("has_lesion", "marked"))
    print(f"{site}: {len(there)} patients, {ill} with lesions, {marked} with a mark")

# %% [markdown]
# Hospital South burns an **S** into its images, and South is where the sick go. "S" predicts disease, so the forest learned to read. It
# is not stupid: that *was* the best answer to the question it was asked. It happens in life: networks that
# looked for pneumonia on chest films told the hospitals apart, helped by the metal token in the corner (Zech 2018), and networks for covid
# leaned on lettering, markers and the position of the patient (DeGrave 2021).
#
# *Predict: what does the same forest score at a hospital that marks healthy and sick alike?*

# %%
elsewhere = rk.data.cohort("brain-lesions", 40, seed=99, prevalence=0.5, shortcut=0.5, stand_in=stand_in)
forest.fit(by_patient(small), sick)
score = forest.predict_proba(by_patient(thumbnails(elsewhere)))[:, 1]
print("at home:  ", result.auc)
print("elsewhere:", rk.evaluate.classification([one.has_lesion for one in elsewhere], score).auc)

# %% [markdown]
# Elsewhere the score falls, and with forty patients one cannot even say that it is more than guessing, or how far it fell: compare the intervals. A
# split by patient protects against leaks, not against shortcuts: the mark was on both sides of the split. Against those helps: **test in
# a hospital that gave nothing to learn from**, look where the model looks, and ask of every image what it could give away besides
# the disease: the marker, the scanner, the tube of the intensive care unit, the age.
#
# ## 5 · The data sheet
#
# What you found in half an hour should have been written on the box. A data sheet says who is in a cohort, who drew the labels and what it
# must not be used for. *Which of today's traps does this one warn of, and what is missing?*

# %%
cohort.sheet

# %% [markdown]
# It warns of the marker in its last line, and it says how the label was drawn. Missing is what this cohort cannot have and a real one must:
# how the patients were chosen and who was left out, who the readers are and what they knew, and how far they differ.
#
# ## Recap
#
# - A label is an opinion with an author. How far two authors differ is the yardstick for a model, and small lesions differ most.
# - Split by patient. Slices, visits and both eyes of one person belong to the same side.
# - A model learns whatever answers the question: a marker, a scanner, a hospital. A score does not say which; look.
# - Only a test elsewhere tells a disease from a shortcut.
# - No data sheet, no cohort.
#
# ## Try next
#
# - The exercise that belongs to this notebook: [exercise 04](../exercises/04_curate_ex.ipynb). Then
#   [notebook 05](05_train_a_segmentation_model.ipynb): a network that does find lesions.
# - Set `shortcut=0.5` in the first cell of section 1 and run all. What does the corner show now?
# - Set `wander_mm=2` in the two cells with `drawn_by`: what happens to the small lesions, and to the Dice between the readers?
# - `cohort.write("a/folder")` writes everything as DICOM, with the truth beside it: test your own program on it.
#
# ## Sources
#
# - The anatomy: `print(rk.data.catalog()["brain-atlas"].attribution)`. How people are grown from it follows Billot B, et al. SynthSeg. *Med
#   Image Anal* 2023;86:102789, doi:10.1016/j.media.2023.102789.
# - Zech JR, et al. Variable generalization performance of a deep learning model to detect pneumonia in chest radiographs. *PLoS
#   Med* 2018;15:e1002683, doi:10.1371/journal.pmed.1002683.
# - DeGrave AJ, Janizek JD, Lee SI. AI for radiographic COVID-19 detection selects shortcuts over signal. *Nat Mach Intell*
#   2021;3:610–619, doi:10.1038/s42256-021-00338-7.
# - Gebru T, et al. Datasheets for Datasets. *Commun ACM* 2021;64(12):86–92, doi:10.1145/3458723.
# - Bland JM, Altman DG. Statistical methods for assessing agreement between two methods of clinical measurement. *Lancet*
#   1986;327:307–310.
