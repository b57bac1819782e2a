# %% [markdown]
# # Exercise 04 · Curate a cohort
#
# It belongs to [notebook 04](../notebooks/04_curate_a_cohort.ipynb). Run the cells from the top. Where you see `...`, put your answer in its place and run the cell: you
# are told at once whether it is right and, if not, what is wrong with it clinically. `check.solution("name")` shows a solution.
#
# **Minutes:** 20. *Nothing here is for clinical use. The patients are grown by radkit; the anatomy: attribution and licence in
# `data/catalog.yaml`.*

# %%
import numpy as np

import radkit as rk

cohort = rk.data.cohort("brain-lesions", 20, seed=12, prevalence=0.5, shortcut=0.9)
largest, study = max(
    ((lesion, one) for one in cohort for lesion in one.lesions), key=lambda pair: pair[0].volume_mm3
)  # the largest lesion of all, and whose it is
flair, lesion = study.images["flair"], study.truth.array == largest.number
level = int(lesion.sum(axis=(1, 2)).argmax())  # the slice that shows most of it
height = float(flair.affine[2] @ [level, 0, 0, 1])  # of that slice, in mm
title, bright = f"{study.patient}, FLAIR, grown by radkit", int(flair.array.max())
reader_a, reader_b = (study.drawn_by(number, wander_mm=0.8).array > 0 for number in (3, 7))
shuffled = np.random.default_rng(4).permutation(np.repeat(list(cohort.patients), 6))  # six slices of each, by name
learning, testing = shuffled[24:], shuffled[:24]
check = rk.check.Exercise(
    "04_curate",
    **{"cohort": cohort, "study": study, "largest": largest, "lesion": lesion, "level": level, "flair": flair},
    **{"reader_a": reader_a, "reader_b": reader_b, "learning": learning, "testing": testing},
)
check.progress()

# %% [markdown]
# ## 1 · Outline it (no code)
#
# You label for a study of white matter lesions. **Outline the largest lesion in the axial slice at which the view opens.** Press **C**,
# hold the left mouse button, draw once around it, let go; then press *Check*. To draw again, click on the picture and press Delete.

# %%
view = rk.view.show(flair, title=title, modality="MR", window=(bright / 2, bright), at=(0, 0, height), zoom=1.5)

# %% tags=["question"]
rows, columns = np.indices(lesion.shape[1:])
middle = np.argwhere(lesion[level]).mean(axis=0)
away = np.hypot(rows - middle[0], columns - middle[1])  # from the middle of the lesion, in voxels
radius = float(np.sqrt(lesion[level].sum() / np.pi))
only, coronal = np.zeros((3, *lesion.shape), bool), np.zeros(lesion.shape, bool)
only[:, level] = lesion[level], away < 1.6 * radius, away < 0.65 * radius
across = int(lesion.sum(axis=(0, 2)).argmax())
coronal[:, across] = lesion[:, across]
rk.check.Mask(
    "outline",
    flair.with_array(only[0].astype(np.uint8)),
    dice=0.75,
    wrong=[
        (
            np.flip(only[0], 2),
            "That is the same place in the other hemisphere, where the white matter is healthy. Draw where you see it bright.",
        ),
        (
            only[1],
            "Too generous: much of what you outlined is healthy white matter. A model would learn to call that disease.",
        ),
        (only[2], "Too close: you took only the bright middle. The edge belongs to it, as far as it is brighter than its surroundings."),
        (coronal, "That is the right lesion, in the coronal plane. Asked for is the axial slice, so that all readers outline the same."),
    ],
    hint="It is the one bright spot as large as a cherry, in the axial picture. Did you scroll? Go back to the slice it opened at.",
    way="Run along the edge, where bright turns to grey: what is more lesion than not is inside. A millimetre more or less is allowed.",
    right="That outline is a label: an opinion, with you as its author. The next reader will draw it a little differently.",
)  # fmt: skip

# %%
turn = np.linspace(0, 2 * np.pi, 36, endpoint=False)[:, None]  # SOLUTION:
area = np.argwhere(lesion[level])  # SOLUTION:
edge = area.mean(axis=0) + np.sqrt(len(area) / np.pi) * np.hstack([np.sin(turn), np.cos(turn)])  # SOLUTION:
points = [(flair.affine @ [level, row, column, 1])[:3].tolist() for row, column in edge]  # SOLUTION:
view.contours = [{"plane": "axial", "slice": level, "points": points}]  # SOLUTION
check("outline", view)

# %% [markdown]
# ## 2 · Two readers
#
# `reader_a` and `reader_b` are the masks of two readers of that patient, all lesions, every slice: `True` where the reader sees lesion.
# **What is the Dice between them?** Twice what they have in common, divided by the sum of both.

# %% tags=["question"]
common, either = float((reader_a & reader_b).sum()), float((reader_a | reader_b).sum())
a, b = float(reader_a.sum()), float(reader_b.sum())
rk.check.Number(
    "two readers",
    2 * common / (a + b),
    tolerance=0.005,
    wrong={
        float((reader_a == reader_b).mean()): "That is the share of voxels on which they agree. Nearly all are air or healthy brain: two readers who saw no lesion in common would reach 0.99, too.",
        common / either: "That is the Jaccard index (IoU): the common part of what either outlined. The same overlap gives a smaller number, so never compare it with a Dice.",
        common / a: "That is how much of reader A's lesions reader B outlined, too. Whoever outlines half of the brain gets 1 so: both sizes must count.",
        common / b: "That is how much of reader B's lesions reader A outlined, too. It hides that A outlines far more.",
        common / (a + b): "Only half of it: the common part counts twice, as it is in both masks. The same mask twice must give 1.",
    },
    hint="Count only voxels that a reader calls lesion: those of A, those of B, and those of both.",
    way="`(reader_a & reader_b).sum()` is the common part, `reader_a.sum()` what A outlined.",
    right="Two careful readers, the same lesions. A model that agrees better with A than B does has learned A's habit.",
)  # fmt: skip

# %%
dice = 2 * (reader_a & reader_b).sum() / (reader_a.sum() + reader_b.sum())  # SOLUTION
check("two readers", dice)

# %% [markdown]
# ## 3 · A split that leaks
#
# A student took six slices of each of the 20 patients, shuffled all 120, and kept 24 of them to test on. `learning` and `testing`
# say whose each slice is. No slice is in both. **How many patients are in both?**

# %%
print("the first slices to learn from are of:", *learning[:5])
print("the first slices to test on are of:   ", *testing[:5])

# %% tags=["question"]
on_both_sides = set(learning.tolist()) & set(testing.tolist())
rk.check.Number(
    "leak",
    len(on_both_sides),
    unit="patients",
    wrong={
        0: "No slice is in both, but neighbouring slices of one patient are nearly the same picture. Count patients.",
        len(testing): "Those are slices, some of the same patient. A patient is one observation, however many slices there are.",
        len(set(learning.tolist()) | set(testing.tolist())): "Those are all the patients. Some of them are in one half only.",
        len(set(learning.tolist()) ^ set(testing.tolist())): "Those are the patients who are in one half only, as all should be. The others leak.",
    },
    hint="Make a list of the patients in each half, each named once. Who is on both lists?",
    way="`set(learning)` has each patient once; `set(learning) & set(testing)` are those in both.",
    right="A score from this test says how well the program recognises these people. First split the patients, then cut slices.",
)  # fmt: skip

# %%
in_both = len(set(learning) & set(testing))  # SOLUTION
check("leak", in_both)

# %% [markdown]
# ## 4 · What would a model rather learn? (no code)
#
# About half of the patients were sent by hospital South, as this one. **Put the crosshair on what tells "lesions" from "none" more easily than
# the lesions do.** Scroll with the wheel, click to move the crosshair, then press *Check*.

# %%
south = rk.view.show(
    flair, title=f"{title}, hospital {study.site}", modality="MR", window=(bright / 2, bright), zoom=0.8
)

# %% tags=["question"]
burned = np.argwhere((flair.array == flair.array.max()).all(axis=0))  # the same in every slice: (row, column)
x, y, z = (flair.affine @ [level, *(burned.min(axis=0) + burned.max(axis=0)) / 2, 1])[:3]
rk.check.Point(
    "shortcut",
    (x, y, z),
    tolerance=(12, 14, 200),  # at whatever height
    wrong=[
        (largest.centre, "That is the disease: what a model should look at. But it is small, and elsewhere in each patient; something else is easier."),
        ((0, 10, z), "That is the middle of the brain. Here all have it alike, ill or healthy. The ventricles widen with age, not with hospital South."),
        ((x, -y, z), "Outside of the brain is the right idea, but there is nothing at the back. Look at the front of the picture."),
    ],
    hint="It has nothing to do with the patient. Look outside of the brain, in every slice.",
    way="A hospital burns it into a corner of its images. Most of those whom it sends are ill.",
    right="The S of South: in every slice, at the same place, brighter than all else. A model learns it first.",
)  # fmt: skip

# %%
letter = np.argwhere(flair.array[0] == bright).mean(axis=0)  # SOLUTION:
south.voxel = (level, *(round(place) for place in letter))  # SOLUTION
check("shortcut", south)

# %% [markdown]
# ## 5 · A program that sees no brain
#
# It looks for the S, and calls everybody who has it *ill* and everybody else *healthy*. `one.marked` says whether the S is there,
# `one.has_lesion` who is ill. **In how many of the 20 patients is it right?**

# %% tags=["question"]
marked, ill = (np.array([getattr(one, what) for one in cohort]) for what in ("marked", "has_lesion"))
rk.check.Number(
    "no brain",
    int((marked == ill).sum()),
    unit="patients",
    wrong={
        int((marked & ill).sum()): "Those are the ill whom it calls ill. It is right about the healthy without an S, too.",
        int((~marked & ~ill).sum()): "Those are the healthy whom it calls healthy. It is right about the ill with an S, too.",
        int(marked.sum()): "Those are all whom it calls ill. How many of them are? And is it right about the others?",
        int((marked != ill).sum()): "Those are the patients in whom it is wrong.",
    },
    hint="It is right in two ways: S and lesions, or no S and no lesions.",
    way="`sum(one.marked == one.has_lesion for one in cohort)` counts both ways.",
    right="That is the score to beat before anybody believes that a model saw a lesion. Test where the S means nothing.",
)  # fmt: skip

# %%
right_in = sum(one.marked == one.has_lesion for one in cohort)  # SOLUTION
check("no brain", right_in)

# %%
check.progress()
