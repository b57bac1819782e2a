# %% [markdown]
# # Exercise 05 · Train a segmentation model
#
# It belongs to [notebook 05](../notebooks/05_train_a_segmentation_model.ipynb). Run the cells from the top. Where you see `...`, put your answer in its place and run the cell: you
# are told at once whether it is right and, if not, what is wrong with it clinically. `check.solution("name")` shows a solution.
#
# **Minutes:** 15. *Nothing here is for clinical use.* The people are grown by code: `print(people[0].made_from)` says from what.

# %%
import matplotlib.pyplot as plt
import numpy as np
from sklearn.ensemble import GradientBoostingClassifier

import radkit as rk

people = rk.data.cohort("brain-lesions", 6, seed=11, times=2, progress=False)  # six patients, two visits each
study = max(people, key=lambda one: sum(lesion.volume_mm3 for lesion in one.lesions))
largest = max(study.lesions, key=lambda lesion: lesion.volume_mm3)
k = int((study.truth.array == largest.number).sum(axis=(1, 2)).argmax())
image = study.images["flair"].array[k]
mask = (study.truth.array[k] == largest.number).astype(np.uint8)  # the truth, one lesion on one slice
found = np.roll(mask, 1, axis=0) | np.roll(mask, 3, axis=0)  # what a program says of it


def voxels(studies, reader=None):
    """Return T1, T2 and FLAIR of each voxel of the brain, on slices with a lesion, and whether it is marked."""
    values, marked = [], []
    for one in studies:
        label = one.truth if reader is None else one.drawn_by(reader, wander_mm=1.5)
        some = one.truth.array.any(axis=(1, 2))
        images = np.stack([volume.array[some] for volume in one.images.values()], axis=-1)
        brain = images[..., 2] > 0
        values, marked = [*values, images[brain]], [*marked, label.array[some][brain] > 0]
    return np.concatenate(values).astype(float), np.concatenate(marked)


# For question 3: a program that learns from two patients, outlined roughly, and is tried on four others.
visit = people.where(time=0)
(x, y), (new_x, new_y) = voxels(visit[:2], reader=3), voxels(visit[2:])
few = y | (np.arange(len(y)) % 20 == 0)  # of the healthy voxels every twentieth is enough
trees = GradientBoostingClassifier(n_estimators=200, max_depth=4, learning_rate=0.05, random_state=0).fit(
    x[few], y[few]
)
history = []  # step, loss, Dice (learnt from), Dice (held out)
for step, (old, new) in enumerate(zip(trees.staged_predict(x[few]), trees.staged_predict(new_x), strict=True), 1):
    if step in (5, 10, 20, 50, 100, 200):
        dices = [2 * (p & t).sum() / (p.sum() + t.sum()) for p, t in ((old > 0, y[few]), (new > 0, new_y))]
        history.append((step, trees.train_score_[step - 1], *dices))
check = rk.check.Exercise("05_train", people=people, mask=mask, found=found, history=history)
check.progress()

# %% [markdown]
# ## 1 · Dice by hand
#
# `mask` is the truth on one slice and `found` what a program says, arrays of 0 and 1. **What is their Dice?**

# %%
plt.imshow(image, cmap="gray")
plt.contour(mask, [0.5], colors="#e69f00", linewidths=2)
plt.contour(found, [0.5], colors="#56b4e9", linewidths=2)
plt.title("orange: the truth    blue: the program")
plt.axis("off")
plt.show()

# %% tags=["question"]
shared, sizes = float((mask & found).sum()), float(mask.sum() + found.sum())
rk.check.Number(
    "dice",
    2 * shared / sizes,
    tolerance=0.005,
    wrong={
        float((mask == found).mean()): "That is the share of pixels that are right. A program that finds nothing at "
        "all comes close to 1 with it, because nearly everything is background.",
        shared / (sizes - shared): "That is the common part divided by the union: IoU, or Jaccard. It is always lower "
        "than Dice; compare it with a Dice from a paper, and your program looks worse than it is.",
        shared / float(mask.sum()): "That is the share of the lesion that was found (sensitivity). A program that "
        "marks the whole brain has 1 of it: what was marked too much does not count.",
        shared / float(found.sum()): "That is the share of the marking that is right (positive predictive value). A "
        "program that marks one safe pixel has 1 of it: what was missed does not count.",
    },
    hint="Twice what both share, divided by the sum of both. Count the pixels of each.",
    way="`2 * (mask & found).sum() / (mask.sum() + found.sum())`",
    right="Dice counts what is missed and what is made up alike, and leaves the background out.",
)

# %%
dice = 2 * (mask & found).sum() / (mask.sum() + found.sum())  # SOLUTION
check("dice", dice)

# %% [markdown]
# ## 2 · The mask moves along
#
# For augmentation the slice was mirrored, left to right: `image[:, ::-1]`. **Which mask belongs to the mirrored slice?** It is
# drawn on it when you run the cell.

# %% tags=["question"]
rk.check.Mask(
    "mirrored mask",
    mask[:, ::-1],
    wrong=[
        (
            mask,
            "The mask was left behind. The network would be taught that a lesion lies in the healthy half, and that the "
            "bright spot is none. Nothing crashes; it only learns badly.",
        ),
        (
            mask[::-1],
            "That is turned upside down, front to back. The image was mirrored left to right: the other axis.",
        ),
        (
            mask[::-1, ::-1],
            "That is turned along both axes, which is half a rotation. The image was mirrored along one.",
        ),
    ],
    hint="Whatever moves the anatomy must move its outline in the same way.",
    way="Index the mask exactly as the image was indexed: the rows stay, `:`, and the columns run backwards.",
    right="In MONAI: one transform with keys=['image', 'mask'], so that both get the same throw of the dice.",
)

# %%
mirrored_mask = mask[:, ::-1]  # SOLUTION
plt.imshow(image[:, ::-1], cmap="gray")
if isinstance(mirrored_mask, np.ndarray):
    plt.contour(mirrored_mask, [0.5], colors="#e69f00", linewidths=2)
plt.axis("off")
plt.show()
check("mirrored mask", mirrored_mask)

# %% [markdown]
# ## 3 · Which step would you keep? (no code)
#
# A small program learns from two patients, whose lesions one reader has outlined roughly. (It is no network: at each step it adds one
# small decision tree. That takes a second, and its curves are like those of a network.) Four other patients are held out. **The
# program of which step would you keep?** Type the number of the step.

# %%
print(f"{'step':>4} {'loss':>6} {'Dice, learnt from':>18} {'Dice, held out':>15}")
for step, loss, known, held_out in history:
    print(f"{step:>4} {loss:6.2f} {known:18.2f} {held_out:15.2f}")

# %% tags=["question"]
kept, last = max(history, key=lambda row: row[3]), history[-1]
rk.check.Number(
    "step to keep",
    kept[0],
    wrong={
        last[
            0
        ]: "That step has the lowest loss and the highest Dice, on the patients it learnt from: it has learnt them by "
        "heart, with the slips of the reader. On new patients it is worse than an earlier step.",
        history[-2][0]: "Its Dice on the patients it learnt from is high, and still rising. The Dice of the others has "
        "long been falling: it is learning by heart.",
        kept[3]: "That is the Dice at that step. Asked for is the step itself, the first column.",
    },
    hint="Which column says how the program does with patients it has not learnt from?",
    way="Look for the highest number in the last column, and read the step at the beginning of that row.",
    right="Keep the best on held-out people. Having chosen by them, test on others: as a score, this one is too good.",
)

# %%
check("step to keep", max(history, key=lambda row: row[3])[0])  # SOLUTION: check("step to keep")

# %% [markdown]
# ## 4 · The colleague's split
#
# `people` holds 12 studies: six patients, two visits each. A colleague takes every second one to learn from, and tests on the others.
# **How many patients are on both sides?** `one.patient` is the number of the patient of a study.

# %%
learn, test = people[::2], people[1::2]
print("to learn from:", len(learn), "studies", "    to test on:", len(test), "studies")

# %% tags=["question"]
of_learn, of_test = ({one.patient for one in half} for half in (people[::2], people[1::2]))
rk.check.Number(
    "shared patients",
    len(of_learn & of_test),
    wrong={
        0: "No *study* is on both sides. But the same brain, half a year later, is nearly the same image: the program "
        "has seen these patients, with the answer.",
        len(people): "That is the number of studies. A patient with two visits is still one patient.",
        len(of_learn) // 2: "Half of them would be shared if whole patients had been drawn. Every second *study* was: "
        "look at which visit each one is.",
    },
    hint="Collect the patients of each side in a set, and see which ones are in both.",
    way="`{one.patient for one in learn} & {one.patient for one in test}`, and count them with `len`.",
    right="An honest test shares none: `people.split(by='patient')` keeps all visits of a patient on one side.",
)

# %%
both = {one.patient for one in learn} & {one.patient for one in test}  # SOLUTION:
shared_patients = len(both)  # SOLUTION
check("shared patients", shared_patients)

# %% [markdown]
# ## 5 · A healthy patient (no code)
#
# A patient has no lesion, and the program marks nothing. **What is the Dice of this patient, and what goes into the mean?**

# %% tags=["question"]
rk.check.Pick(
    "healthy",
    "It is not defined: leave it out of the mean and report healthy patients apart",
    wrong={
        "It is 0 as nothing was found": "0 is the mark for a miss. Here nothing was there to be found, and the program "
        "did what it should: a clinic full of healthy people would make the best program look bad.",
        "It is 1 as both agree": "Some papers do so. Then each healthy patient lifts the mean, and a program that "
        "never marks anything gets a fine Dice in a screening clinic.",
        "It is 0.5 as half is right": "Nothing is halved here: twice nothing is divided by nothing, and that is no "
        "number at all.",
    },
    hint="Put the numbers of pixels into the formula: twice the common part, divided by the sum of both.",
    way="0 divided by 0. `rk.evaluate.segmentation` calls such a case 'empty': look at what it does with it.",
    right="For healthy patients one counts false alarms instead. Say in your report how many they were.",
)

# %%
check(
    "healthy", "It is not defined: leave it out of the mean and report healthy patients apart"
)  # SOLUTION: check("healthy")

# %%
check.progress()
