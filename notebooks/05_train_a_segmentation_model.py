# %% [markdown]
# # 05 · Train a segmentation model: from a volume to a loss, and back to a patient
#
# **For whom:** anyone who wants to know what happens when a network "learns", before trusting one, buying one or ordering one. You
# press ▶ (or Shift + Enter), cell by cell, predict, and look. A few lines of Python are worth reading slowly; none has to be written.
#
# **Goals.** At the end you can
# 1. say what a network sees of a study, and work out by hand the number that it is taught by (its *loss*);
# 2. read one step of a training in plain code, and a learning curve while it grows;
# 3. say what augmentation is for, and recognise a network that learnt its patients by heart;
# 4. test on people who were used for nothing else, and say why the score from the training is too good;
# 5. save the model with a card of what was really done, and measure a patient with it.
#
# **Minutes:** 35 to read, predict and look; one and a half for the computer.
#
# *Nothing here is for clinical use.*

# %% [markdown]
# ## The clinical question
#
# Neurology follows patients with lesions of the white matter. At each visit there is an MR of the brain, and what they would like to
# know is the **lesion load**: how many millilitres, and is it more than last time? A reader would have to outline every lesion on
# some 40 slices, for each patient, at each visit. Nobody does.
#
# > **Can a program outline them? And how would you know when it cannot?**
#
# Leave the next lines as they are. (`seconds` is how long the network may learn in section 3.)

# %% tags=["parameters"]
stand_in = None  # None: the real anatomy, and a generated stand-in where it cannot be had
seconds = 30

# %%
import warnings

warnings.filterwarnings("ignore", "Current stack size")  # of a library for live video, which MONAI looks for

import matplotlib.pyplot as plt
import monai
import numpy as np
import torch
from IPython.display import Markdown

import radkit as rk

plt.rcParams.update({"font.size": 14, "image.cmap": "gray", "figure.constrained_layout.use": True})
ORANGE, BLUE = "#e69f00", "#56b4e9"  # the truth, and what a network says: told apart by the colour-blind too
monai.utils.set_determinism(0)


# %%
def side_by_side(pictures, **grey):
    """Draw slices beside each other: {title: (slice, its truth, and what a network found)}."""
    _, axes = plt.subplots(1, len(pictures), figsize=(14, 17 / len(pictures)))
    for axis, (name, (image, *outlines)) in zip(axes, pictures.items(), strict=True):
        axis.imshow(image, **grey), axis.set_title(name), axis.axis("off")
        for mask, colour in zip(outlines, (ORANGE, BLUE), strict=False):
            if mask.any():
                axis.contour(mask > 0, [0.5], colors=colour, linewidths=2)


# %% [markdown]
# The patients do not exist. Code *grew* them: an average anatomy is bent into another shape for each person, and contrast, noise and
# lesions are computed. So each lesion is known to the voxel, which no reader can offer. ([Notebook 04](04_curate_a_cohort.ipynb)
# looks at such a cohort closely.) The first ten people are put away now, and not looked at before section 6.

# %%
people = rk.data.cohort("brain-lesions", 40, seed=5, stand_in=stand_in)
test, rest = people[:10], people[10:]
learn, held_out = rest.split(0.2, by="patient")
print("to learn from:", learn, "\nheld out:     ", held_out, "\nput away:     ", test)
print("grown from:   ", people[0].made_from)

# %% [markdown]
# ## 1 · From a volume to a loss
#
# One person, three images: T1, T2, FLAIR. *Predict: in which of them is a lesion easiest to see? And is that the one that a network
# should get?* The orange outline is the truth.

# %%
study = max(learn, key=lambda one: sum(lesion.volume_mm3 for lesion in one.lesions))
largest = max(study.lesions, key=lambda lesion: lesion.volume_mm3)
k = int((study.truth.array == largest.number).sum(axis=(1, 2)).argmax())  # the slice with most of it
side_by_side({name.upper(): (volume.array[k], study.truth.array[k]) for name, volume in study.images.items()})

# %% [markdown]
# FLAIR, and the network gets all three: what is bright in FLAIR *and* dark in T1 is more likely a lesion than what is bright alone.
#
# MR has no Hounsfield units: the same tissue is 400 on one scanner and 900 on another. So each image is brought to mean 0 and standard
# deviation 1. Our network works slice by slice, and each slice comes as three layers, its **channels**: no file, no millimetres, no
# name, only a block of numbers. This function does it, with MONAI's own transform:

# %%
scale = monai.transforms.NormalizeIntensity(channel_wise=True)


def as_seen(study):
    """Return what the network sees, (slice, channel, row, column), and what it should say, (slice, 1, row, column)."""
    images = torch.from_numpy(np.stack([volume.array for volume in study.images.values()]).astype(np.float32))
    return scale(images).transpose(0, 1), torch.from_numpy(study.mask.array[:, None] > 0).float()


images, masks = as_seen(study)
print(f"images {tuple(images.shape)}, masks {tuple(masks.shape)}; {100 * masks.mean():.2f} % of the voxels are lesion")

# %% [markdown]
# Remember that last number. It will come back.
#
# A network does not draw an outline. It says for each voxel how sure it is, from 0 to 1: a **probability map**. Here is the largest
# lesion from near, and beside it the map of an imaginary network that is unsure at the edge and off by one voxel to the left.
#
# *How good is that map, in one number?*

# %%
row, column = (sum(sides) // 2 for sides in largest.box[1:])
t = masks[k, 0, row - 6 : row + 6, column - 6 : column + 6]
p = monai.transforms.GaussianSmooth(0.8)(t.roll(-1, 1)[None])[0].clip(0.001, 0.999)
figure, axes = plt.subplots(1, 2, figsize=(12.5, 6.4))
for axis, (name, part) in zip(axes, {"the truth t": t, "the map p": p}.items(), strict=True):
    axis.imshow(part, vmin=0, vmax=1.6), axis.set_title(name), axis.axis("off")
    for (y, x), value in np.ndenumerate(part.numpy()):
        axis.text(x, y, f"{value:.1f}", ha="center", va="center", color="w", fontsize=13)

# %% [markdown]
# **Dice** is twice what both share, divided by the sum of both. With probabilities, "shared" is simply p times t, voxel by voxel. A
# *loss* is to be small where things are good, so one takes 1 − Dice. By hand, and by MONAI (whose second line begins before the *sigmoid*, the function that makes a probability of any number):

# %%
dice, by_monai = 1 - 2 * (p * t).sum() / (p.sum() + t.sum()), monai.losses.DiceLoss()(p[None, None], t[None, None])
print(f"1 − Dice                  by hand {dice:.4f}   MONAI {by_monai:.4f}")
cross_entropy = -(t * p.log() + (1 - t) * (1 - p).log()).mean()
both = monai.losses.DiceCELoss(sigmoid=True)(p.logit()[None, None], t[None, None])
print(f"1 − Dice + cross-entropy  by hand {dice + cross_entropy:.4f}   MONAI {both:.4f}")

# %% [markdown]
# **Cross-entropy**, the second part, asks each voxel on its own: how surprised were you by the truth? Averaged over all voxels.
#
# ### Predict, then run
#
# Three lazy networks look at the whole study. The first says "no lesion anywhere", the second "all of it is lesion" (each 99.9 % sure). The
# third finds every lesion, but outlines each one voxel too wide. **Which is best by the share
# of voxels that are right? By cross-entropy? By Dice?**

# %%
wide = torch.nn.functional.max_pool3d(masks[:, 0][None, None], 3, 1, 1)[0, 0][:, None]
for name, guess in {"nothing": 0 * masks, "everything": 1 + 0 * masks, "one voxel too wide": wide}.items():
    right = 100 * (guess == masks).float().mean()
    entropy = torch.nn.functional.binary_cross_entropy(guess.clip(0.001, 0.999), masks)
    dice = monai.losses.DiceLoss(batch=True)(guess, masks)  # of all slices together
    print(f"{name:<20} voxels right {right:.2f} %   cross-entropy {entropy:.4f}   1 − Dice {dice:.3f}")

# %% [markdown]
# The network that finds nothing is right in nearly all voxels, because nearly all are background: a program that is switched off can
# call itself "almost 100 % accurate". Cross-entropy is an average over the same voxels. It even prefers *nothing* to *a little too much*, and the
# easiest way down is to call everything background. Dice does not count the background at all: it gives both lazy answers the worst
# marks, and "one voxel too wide" a better one. But Dice
# alone says little as long as nothing overlaps. So one adds both, and that sum is our loss.
#
# ## 2 · The network
#
# A **U-Net** (Ronneberger 2015), from MONAI: it halves the picture twice, to see more around each voxel, then doubles it again and
# each time adds what it had seen at that size before. A `Conv2d` looks at 3 × 3 neighbours and multiplies each by a **weight**; with a stride of 2 it makes the picture half as wide
# and half as high, and a `ConvTranspose2d` makes it twice that. *Predict:
# how many weights are there: hundreds, tens of thousands, hundreds of millions?*


# %%
def new_network():
    """Return MONAI's U-Net for slices: three channels in, one number for each pixel out."""
    return monai.networks.nets.UNet(2, 3, 1, channels=(8, 16, 32, 64), strides=(1, 2, 2), norm="BATCH")


network = new_network()
for layer in network.modules():
    if hasattr(layer, "stride"):
        size = f"{layer.in_channels:>3} → {layer.out_channels:>3} channels, {layer.weight.numel():>6,} weights"
        print(f"{type(layer).__name__:<16} {size}   stride {layer.stride[0]}")
print(f"in all {sum(weight.numel() for weight in network.parameters()):,} numbers to be learnt")

# %% [markdown]
# Most weights sit at the bottom, where the picture is 24 × 20 and each number has seen a large piece of brain. How large? A voxel of the
# first level looks at 3 × 3 voxels; the next one adds its own neighbours, and
# after a halving these lie twice as far apart: 3, 5, 9, 17 voxels of 2 mm.

# %%
plt.figure(figsize=(7, 7.6)), plt.title("What one number of each level has seen"), plt.axis("off")
plt.imshow(study.images["flair"].array[k])
for reach, colour in {3: "#f0e442", 5: "#e69f00", 9: "#56b4e9", 17: "#cc79a7"}.items():
    look = {"fill": False, "ec": colour, "lw": 3, "label": f"{2 * reach} mm"}
    plt.gca().add_patch(plt.Rectangle((column - reach / 2, row - reach / 2), reach, reach, **look))
plt.legend(loc="lower left").set_title("width")

# %% [markdown]
# The lowest level sees enough to tell a lesion beside the ventricle from the cortex, the highest still knows where the edge runs. A U-Net joins the two.
#
# ### One step of learning
#
# At first the weights are random. One step is five lines, and they are the same in every network of today. **Read these slowly:** all that
# comes later only does this more often.

# %%
network = new_network()
optimizer = torch.optim.AdamW(network.parameters(), lr=4e-3)
criterion = monai.losses.DiceCELoss(sigmoid=True, batch=True)


def one_step(images, masks):
    """Let the network learn from one batch of slices; return the loss."""
    loss = criterion(network(images), masks)  # forward: what does it say, and how wrong is that?
    optimizer.zero_grad()
    loss.backward()  # backward: for every weight, would the loss fall if it were larger, or smaller?
    optimizer.step()  # and each weight moves a little that way
    return loss.item()


# %%
losses = [one_step(images[k - 8 : k + 8], masks[k - 8 : k + 8]) for number in range(25)]  # 16 slices around the lesion
print("loss at every fourth step:", *(f"{loss:.2f}" for loss in losses[::4]))

# %% [markdown]
# It falls. Has the network learnt what a lesion is? It was shown one patient, 25 times. Keep that question for section 5.
#
# ## 3 · Watch it learn
#
# Now with everybody. `rk.model.train` repeats the five lines, each time on 16 pieces of slices drawn anew (more than half of them
# around a lesion: otherwise the network would see mostly healthy brain), and lowers the size of the steps towards the end. Every so often it stops learning and looks
# at people who are **held out**, of whom it learns nothing; the weights that did best there are kept. It says aloud on which device it works.
#
# *Predict before you run: after how many steps will you see the first blue outline?* The picture is redrawn while you watch: the grey curve
# is the loss, blue is the Dice of the people held out.

# %%
training = rk.model.train(learn, held_out, recipe="brain-lesions", budget_s=seconds, validate_every=50)

# %% [markdown]
# Look at the curve, and at the number above. The Dice rises steeply, then ever more slowly, and the best step need not be the last. (How far it gets in the time depends on your computer; with `seconds = 120` it gets
# further.)
#
# ## 4 · What augmentation is for
#
# There are never enough patients. So each slice is changed a little each time it is shown: mirrored, shifted, noisier. It is still a
# brain with a lesion, but never the same one twice. *Which of these four would you still read? And what must happen to the outline?*

# %%
T, keys = monai.transforms, ["image", "mask"]
ways = {"as it came": T.Identityd(keys), "mirrored": T.Flipd(keys, spatial_axis=1)}
ways["shifted and turned"] = T.Affined(keys, rotate_params=0.2, translate_params=(5, -6), mode=["bilinear", "nearest"])
ways["noisier"] = T.RandGaussianNoised("image", prob=1, std=0.35)  # the mask stays as it is
changed = {name: change({"image": images[k], "mask": masks[k]}) for name, change in ways.items()}
side_by_side({name: (one["image"][2], one["mask"][0]) for name, one in changed.items()}, vmin=-1, vmax=4)
print("The recipe of section 3:", [step["_target_"] for step in training.recipe.augmentation])

# %% [markdown]
# The outline moves along wherever the anatomy moves, and stays where only the grey values change. Forget that once, and the network is taught
# that lesions lie where there are none: nothing crashes, the Dice is only bad ([the exercise](../exercises/05_train_ex.ipynb) has such a case).
#
# An augmentation is also a statement about medicine: *this changes nothing in the diagnosis*. Mirroring says that left and right do not
# matter. That is fair for white matter lesions, and wrong for a network that is to tell the liver from the spleen.
#
# ## 5 · Overfit on purpose
#
# Three people, no augmentation, the five lines of section 2, again and again. Every tenth step we ask for the Dice of the three, and of
# three people held out. *Predict both curves: draw them with a finger.*


# %%
def dice_of(images, masks):
    """Return the Dice of all these slices together."""
    with torch.inference_mode():
        found = network.eval()(images) > 0
    network.train()
    return float(2 * (found * masks).sum() / (found.sum() + masks.sum()))


def with_lesion(cohort):
    """Return all slices of these people that hold some lesion, as the network sees them."""
    images, masks = map(torch.cat, zip(*map(as_seen, cohort), strict=True))
    return images[masks.sum((1, 2, 3)) > 0], masks[masks.sum((1, 2, 3)) > 0]


three, others = with_lesion(learn[:3]), with_lesion(held_out[:3])

# %%
network = new_network()
optimizer, known, new = torch.optim.AdamW(network.parameters(), lr=4e-3), [], []
for step in range(121):
    if step % 10 == 0:
        known, new = [*known, dice_of(*three)], [*new, dice_of(*others)]
    chosen = torch.randperm(len(three[0]))[:16]
    one_step(three[0][chosen], three[1][chosen])
plt.figure(figsize=(10, 4.6)), plt.xlabel("step"), plt.ylabel("Dice, slices with a lesion"), plt.ylim(0, 1)
for curve, look, name in ((new, "o-", "three others"), (known, "s--", "the three it learns from")):
    plt.plot(range(0, 121, 10), curve, look, label=f"{name}: {curve[-1]:.2f} at the end"), plt.legend()

# %% [markdown]
# Look at the two numbers in the picture. The gap between them is **overfitting**: the network has far more weights than these three people
# have voxels with a lesion, and it learnt *these* lesions, voxel by voxel, better than what a lesion is. The upper curve alone would have looked
# like a triumph. So a score on the data that were learnt from says nothing, and no report should contain it.
#
# Against it help: more people, people who differ more, augmentation, and stopping early.
#
# ## 6 · The third part
#
# The people held out were not learnt from. But they *chose*: of all the networks along the way, the one that did best on them was kept.
# **Who chooses is no longer a fair judge.** A small experiment without any images: twenty networks that are all equally good, a true Dice
# of 0.80 for each, measured on six people who differ by 0.10. *Predict: what is the measured Dice of the one that looks best?*

# %%
measured = np.random.default_rng(0).normal(0.80, 0.10, (1000, 20, 6)).mean(axis=2)  # 1000 times: 20 networks, 6 people
print(f"chosen blindly: {measured[:, 0].mean():.2f}   the best of twenty: {measured.max(axis=1).mean():.2f}")

# %% [markdown]
# That much too good, from choosing alone. So there is a third part: the ten people who were put away at the start, used for
# nothing so far. They are looked at once, at the end. (Whoever goes back after that, changes something and tests again, has made held-out
# people of them.)

# %%
found = [rk.model.predict(one.images, training, progress=False) for one in test]
result = rk.evaluate.segmentation([one.truth for one in test], found, patient=[one.patient for one in test])
result

# %%
result.plot()

# %%
print(f"held out, and chosen by: {training.facts['mean_dice']:.2f}     put away, never used: {result.mean()}")

# %% [markdown]
# With so few people the two figures above may fall either way round; the interval says how little ten people prove.
#
# A mean is not a patient. This is the one with the **lowest** Dice. Scroll, and look for what was found, missed, or made up. *Would you have
# noticed, had the program written only "lesion load" into the report?*

# %%
number = int(np.argmin(result.values()))
worst, (t, f) = test[number], (mask.array > 0 for mask in (test[number].truth, found[number]))
verdict = worst.truth.with_array((t + 2 * f).astype(np.uint8))
names, title = {1: "missed", 2: "made up", 3: "found"}, f"{worst.patient}, the lowest Dice of ten (grown by radkit)"
at = max(worst.lesions, key=lambda lesion: lesion.volume_mm3).centre
rk.view.show(worst.images["flair"], verdict, names=names, title=title, modality="MR", at=at, zoom=2)

# %% [markdown]
# Small lesions tend to have a low Dice: of 25 voxels nearly all are edge. [Notebook 06](06_evaluate_like_a_clinician.ipynb) therefore counts lesions,
# not voxels.
#
# ## 7 · Another scanner
#
# Scanner B has 3 tesla instead of 1.5: other contrasts, sharper, an uneven coil. *The same ten people* are imaged on it (that is one word when
# people are grown by code; in life one would have to ask ten volunteers twice). The network has never seen scanner B. **Predict: will the mean
# Dice rise, because the images are better, or fall?**

# %%
abroad = rk.data.cohort("brain-lesions", 10, seed=5, scanner="B", stand_in=stand_in, progress=False)
found_b = [rk.model.predict(one.images, training, progress=False) for one in abroad]
result_b = rk.evaluate.segmentation([one.truth for one in abroad], found_b, patient=[one.patient for one in abroad])
rk.evaluate.compare(result_b.values(), result.values(), names=("scanner B", "scanner A"))

# %%
who = int(np.argmax(result.values() - result_b.values()))  # whom the change of scanner hurts most
k = int((test[who].truth.array > 0).sum(axis=(1, 2)).argmax())
pairs = {"A": (test[who], found[who]), "B": (abroad[who], found_b[who])}
side_by_side({f"{one.patient}, scanner {name}. Orange: truth, blue: network": (one.images["flair"].array[k],
             one.truth.array[k], mask.array[k]) for name, (one, mask) in pairs.items()})  # fmt: skip

# %% [markdown]
# Look at the numbers, and at the verdict below them. Nothing is wrong with either image. If the Dice fell: the network never learnt "lesion"; it learnt "a
# lesion *as scanner A shows it*". It gave no warning either: it does not know what it has not seen. So a model is tested on the scanner
# on which it will work, and it is tested again when that scanner is replaced.
#
# ## 8 · Save it, and say what it is
#
# Weights alone are a file of numbers. A **bundle** (MONAI's format) is a folder that also says what the network is, how images must be prepared
# for it, and what it was taught on; `python -m monai.bundle run` can use it without radkit. Its **card** is filled in from what was really done.

# %%
use = "Teaching: the load of white matter lesions in MR of grown people. Never a patient."
weak = f"Mean Dice {result.mean().value:.2f} on scanner A, {result_b.mean().value:.2f} on B, which it never saw."
answers = {"intended_use": use, "failures": weak, "data_sheet": learn.sheet, "evaluation": repr(result)}
bundle = rk.model.save_bundle(training, "bundles/brain_lesions", name="Brain lesions", overwrite=True, **answers)
Markdown(bundle.card)

# %% [markdown]
# Read it as a buyer would: is there a question that is not answered? Now open the folder again, as a colleague would who got it by mail. It is
# **read as data**: nothing in it is run as a program, unless you say `trust=True`.

# %%
again = rk.model.load_bundle("bundles/brain_lesions")
same = [rk.model.predict(one.images, again, progress=False) for one in test[:3]]
print("the same masks:", all(np.array_equal(a.array, b.array) for a, b in zip(same, found, strict=False)))

# %% [markdown]
# ### Back to neurology
#
# A patient whom nobody here has seen, at four visits, half a year apart. The bundle measures the lesion load of each. (A
# voxel of 2 × 2 × 2 mm is 0.008 ml.)

# %%
visits = rk.data.cohort("brain-lesions", 1, seed=77, times=4, stand_in=stand_in, progress=False)
seen = [rk.model.predict(one.images, again, progress=False) for one in visits]
plt.figure(figsize=(9, 4)), plt.xticks(range(4), [f"visit {n + 1}" for n in range(4)]), plt.ylabel("lesion load, ml")
for name, masks, look in (("the bundle", seen, "o-"), ("the truth", [one.truth for one in visits], "s--")):
    plt.plot([(mask.array > 0).sum() * 0.008 for mask in masks], look, ms=10, label=name), plt.legend()
plt.ylim(0)
plt.show()

# %% [markdown]
# Are the two curves far apart? Do they at least rise and fall together? A load that is always a little low can still tell a change, if it is
# low in the same way each time. Whether it is, that is a question for [notebook 06](06_evaluate_like_a_clinician.ipynb).
#
# ## 9 · A graphics card, and the stop button
#
# - **GPU.** If there is one (NVIDIA, or the chip of a Mac), the same cells use it; the first line of section 3 says so. There are no other cells.
# - **Stop.** Press ■ while section 3 runs: the training ends, and the best network so far is yours.
# - **Resume.** With `rk.model.train(..., folder="bundles/run")` the state is written after each look at the people held out. The same call
#   with `resume=True` goes on from there; without a budget in seconds it ends with the very same weights as if nobody had pressed ■.
#
# ## Recap
#
# - A network sees scaled numbers, and is taught by one number. That number must care about what you care about: background is cheap.
# - One step: say something, see how wrong it was, move every weight a little. A training repeats it.
# - Augmentation says what does not matter, and the mask moves along.
# - A score on people who were learnt from is worth nothing, on people who chose the network it is flattering, on people put away it is honest:
#   for that scanner.
# - Save the card with the weights, and write into it where the model fails.
#
# ## Try next
#
# - The exercise that belongs to this notebook: [exercise 05](../exercises/05_train_ex.ipynb).
# - Set `seconds = 120` and run all. Which of the ten gains most?
# - In section 3 add `channels=("flair",)`: how much do T1 and T2 contribute?
# - In section 5 take `learn[:12]` for `learn[:3]`. What happens to the gap? Then, with three again, give
#   `new_network` the channels `(16, 32, 64, 128)` and the strides `(2, 2, 2)`: it sees 62 mm, and can know each slice by its shape.
# - Let it learn on both scanners: `scanner=("A", "B")` in the first cohort. What does section 7 say now?
#
# ## Sources
#
# - The anatomy: `print(people[0].made_from)`. How people are grown from it follows Billot B, et al. SynthSeg. *Med Image Anal*
#   2023;86:102789, doi:10.1016/j.media.2023.102789.
# - Ronneberger O, Fischer P, Brox T. U-Net. *MICCAI* 2015, doi:10.1007/978-3-319-24574-4_28.
# - Milletari F, Navab N, Ahmadi SA. V-Net (the Dice loss). *3DV* 2016, doi:10.1109/3DV.2016.79.
# - Cardoso MJ, et al. MONAI. arXiv:2211.02701. The bundle: [MONAI Bundle Specification](https://docs.monai.io/en/stable/mb_specification.html).
# - Mitchell M, et al. Model Cards for Model Reporting. *FAT\** 2019, doi:10.1145/3287560.3287596.
