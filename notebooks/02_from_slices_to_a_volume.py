# %% [markdown]
# # 02 · From slices to a volume
#
# **For whom:** a radiology resident who has never programmed, and anyone who has to feed a stack of slices to a program.
# You press ▶ (or Shift + Enter), cell by cell, predict, and look.
#
# **Goals.** At the end you can
# 1. say what puts the slices of a series in order, and recognise a stack that was put together wrongly;
# 2. read a Hounsfield number, and turn a window's center and width into black and white by yourself;
# 3. say where a voxel lies in the patient, in millimetres, and which side is left;
# 4. find a missing slice, a tilted gantry and a stray localizer before they reach a measurement;
# 5. say how far a nodule's volume can be trusted at a given slice thickness.
#
# **Minutes:** 30 to read, predict and look; one for the computer.
#
# *Nothing here is for clinical use.*

# %% [markdown]
# ## The clinical question
#
# A chest CT from another hospital is to be compared with yours. It arrives as an *export*: a folder with one file for each
# slice, and names such as `1.2.826.0.1.3680043.8.498.79468….dcm`. You ask a program how large the nodule in the left lower lobe is.
#
# > **Can you trust the number?** Only if the slices were stacked in the right order and at the right distance, left is
# > left, and they were thin enough.
#
# None of that shows in a single slice. Leave the next line as it is.

# %% tags=["parameters"]
stand_in = None  # None: the real CT, and a generated stand-in where it cannot be had

# %%
import matplotlib.pyplot as plt
import numpy as np
import pydicom

import radkit as rk

plt.rcParams.update({"font.size": 14, "axes.titlesize": 15})
story = rk.data.story(stand_in=stand_in)
slices = [pydicom.dcmread(path) for path in story.files]
print(f"{story.title}: {len(slices)} slices of {slices[0].Rows} × {slices[0].Columns} pixels")

# %% [markdown]
# ## 1 · In which order?
#
# Three orders suggest themselves: by **file name**, by **InstanceNumber** (the counter that a scanner writes), or by
# **ImagePositionPatient** (where the slice lies in the patient, in mm). Here are the first slices of the export by name:

# %%
by_name = sorted(slices, key=lambda s: s.SOPInstanceUID)  # an export names each file by its unique number
by_number = sorted(slices, key=lambda s: s.InstanceNumber)
by_position = sorted(slices, key=lambda s: s.ImagePositionPatient[2])
for one in by_name[:4]:
    uid, height = one.SOPInstanceUID, one.ImagePositionPatient[2]
    print(f"…{uid[-8:]}.dcm   InstanceNumber {one.InstanceNumber:>3}   z = {height:7.1f} mm")

# %% [markdown]
# ### Predict, then run
#
# We stack the slices in each of the three orders, the first one at the bottom, and look from the front (a coronal cut).
# **Which of the three will look right? What will be wrong with the others?**

# %%
orders = {"by file name": by_name, "by InstanceNumber": by_number, "by position": by_position}
figure, axes = plt.subplots(1, 3, figsize=(13, 4.6), layout="constrained")
figure.suptitle(story.title)
for axis, (name, order) in zip(axes, orders.items(), strict=True):
    coronal = np.stack([one.pixel_array[one.Rows // 2] for one in order])
    axis.imshow(coronal, cmap="gray", vmin=0, vmax=1500, origin="lower", aspect=2.5 / 0.703)
    axis.set_title(name)
    axis.axis("off")

# %% [markdown]
# By name the patient is confetti: the names are random numbers. By `InstanceNumber` everything looks fine, **and the patient
# stands on his head**, because this scanner counted from the head down. Nobody notices that while scrolling through axial
# slices. A program that takes the last slice for the highest finds the nodule more than 10 cm too low.
#
# The standard promises nothing about file names, and nothing about the order of `InstanceNumber`. It does promise where each
# slice lies: `ImagePositionPatient` is the centre of its first voxel, `ImageOrientationPatient` the direction of its rows and
# columns. A slice's place in the stack is its position *along the normal*, the direction in which the stack grows:

# %%
row, column = np.split(np.array(slices[0].ImageOrientationPatient, float), 2)
normal = np.cross(row, column)
heights = np.sort([np.dot(one.ImagePositionPatient, normal) for one in slices])
print("rows run along   ", row, " columns run along", column, " the stack grows along", normal)
steps = np.unique(np.diff(heights).round(3))
print(f"from {heights[0]:.1f} to {heights[-1]:.1f} mm; distances between neighbours: {steps} mm")

# %% [markdown]
# One distance everywhere: no slice is missing. Note that this is *not* `SliceThickness`. A scanner may well reconstruct
# slices that are 3 mm thick, every 2 mm. **Who multiplies by the thickness there gets a volume that is half as large again.**
#
# Libraries do the sorting for you. [highdicom](https://highdicom.readthedocs.io) returns a `Volume`: an array of slice, row
# and column, and the matrix that says where it lies. `rk.dicom.read_series` returns the same, always from feet to head for
# axial slices, and refuses a series that does not stack.

# %%
import highdicom

theirs = highdicom.get_volume_from_series(slices)
ct = rk.dicom.read_series(story.folder)
print("highdicom:", theirs.array.shape, theirs.array.dtype, " radkit:", ct.array.shape, ct.array.dtype)
print("the same voxels, from the other end:", np.array_equal(theirs.array[::-1], ct.array))

# %% [markdown]
# ## 2 · What a voxel says
#
# CT numbers are measured against water: **0 HU is water, −1000 HU is air.** The file stores other numbers; `RescaleSlope` and
# `RescaleIntercept` turn them into HU.
#
# *Predict: order these by HU, from the lowest to the highest: liver, aorta (with contrast), lung, back muscle, trachea,
# vertebra.* The outlines below come with the images (they were drawn by a program); the numbers are medians inside them.

# %%
source = rk.data.fetch("chest-ct", stand_in=stand_in)
labels, structures = rk.data.read_labels(source), rk.data.read_names(source)
wanted = {"lung_lower_lobe_left": "lung", "autochthon_left": "back muscle", "vertebrae_T8": "vertebra"}
wanted |= {name: name for name in ("trachea", "liver", "aorta")}
number_of = {name: number for number, name in structures.items()}
medians = {wanted[name]: np.median(ct.array[labels.array == number_of[name]]) for name in wanted}
for name, value in sorted(medians.items(), key=lambda pair: pair[1]):
    print(f"{value:7.0f} HU   {name}")

# %% [markdown]
# Fat is missing from the list. It lies near −100 HU: between lung and water, and that is why a window for the mediastinum
# shows it dark grey.
#
# ### Window and level
#
# A common screen shows 256 greys, and a CT has thousands of numbers. A **window** chooses which of them get a grey of their own:
# `center` is the number that becomes mid-grey (the *level*), `width` the range from black to white. (The standard's own formula,
# PS3.3 C.11.2.1.2, differs from the line below by half a HU.)

# %%
slice_number = 90
windows = {"lung": (-600, 1500), "soft tissue": (50, 400), "bone": (400, 1800)}
figure, axes = plt.subplots(1, 3, figsize=(13, 4.6), layout="constrained")
figure.suptitle(story.title)
for axis, (name, (center, width)) in zip(axes, windows.items(), strict=True):
    grey = (ct.array[slice_number] - (center - width / 2)) / width  # 0 is black, 1 is white
    axis.imshow(np.clip(grey, 0, 1), cmap="gray")
    axis.set_title(f"{name}: center {center}, width {width} HU", fontsize=14)
    axis.axis("off")

# %% [markdown]
# Same numbers, three pictures. Now with your own hand: drag with the **right mouse button** (across: width; up and down:
# center). Keys 1 to 9 are the presets. **Find a window in which the nodule is white and its lung is black, and one in which
# the nodule disappears.** Which of the two would you measure in?

# %%
nodule = (56.6, 86.3, -115.4) if not story.stand_in else (68, 62, -120)  # where it lies, LPS in mm
rk.view.show(ct, title=story.title, preset="lung", at=nodule, zoom=2)

# %% [markdown]
# In neither. The edge of the nodule is a slope of several voxels, and on the screen it lies where you put the center: lower that,
# and the nodule grows by millimetres, though no number has changed. So two measurements compare only in the same window; for
# nodules the guideline takes a lung window.
#
# ## 3 · Where a voxel lies
#
# DICOM counts in millimetres, in a frame tied to the patient: **x grows to the patient's Left, y to the back (Posterior), z
# to the head (Superior)**: LPS. Other software uses RAS, with two of the three signs turned round. *Predict: what happens if
# one program writes LPS and the next one reads RAS?*
#
# The volume's matrix (its *affine*) takes slice, row and column to LPS. Once by hand:

# %%
print(ct.affine.round(3), "\n")
index = np.array([slice_number, 360, 320])
by_hand = ct.affine[:3, :3] @ index + ct.affine[:3, 3]
print(f"slice, row, column {index} lies at LPS {by_hand.round(1)} mm")
flipped = by_hand * (-1, -1, 1)
there = np.linalg.solve(ct.affine[:3, :3], flipped - ct.affine[:3, 3]).round().astype(int)
print(f"read as RAS it would lie at LPS {flipped.round(1)} mm, where the CT has {ct.array[tuple(there)]} HU: fat")

# %% [markdown]
# That is the most expensive sign in radiology AI: left becomes right, and front becomes back. A place at the back of the left lung
# is now in front, in the fat of the right chest wall. Both at once is a rotation by half a turn, so the chest still looks like a
# chest. **The letters at the border of the picture are computed from the affine: believe them, not the look.**
#
# Here is the whole volume in space, each voxel where the affine puts it, seen from the front. Turn it with the mouse. *On which
# side of the screen is the liver and, in the real CT, which arm was injected?* (The viewer is that of itkwidgets; without a
# graphics card each turn takes a second or two.)

# %%
rk.view.render(ct, title=story.title)

# %% [markdown]
# Slices need not lie straight across the body. This brain MR was tilted to follow the anatomy, as is usual, and the angle stands
# in its `ImageOrientationPatient`. A voxel that is one slice higher lies a little further to the front, too: a program that takes
# "slice" for "z" misplaces everything in it.
#
# *Predict: the real one's header gives 5 mm as `SliceThickness`, and 2 mm as `SpacingBetweenSlices`. How far is it from one slice
# to the next?*

# %%
mr_source = rk.data.fetch("brain-mr-dicom", stand_in=stand_in)
mr = rk.dicom.read_series(mr_source.files["series"])
normal = mr.affine[:3, 0] / mr.spacing[0]
print(f"one slice up is {mr.affine[:3, 0].round(2)} mm: tilted by {np.degrees(np.arccos(normal[2])):.0f} degrees")
print(f"from slice to slice, by their positions: {mr.spacing[0]:.1f} mm")
rk.view.show(mr, title=mr_source.title, modality="MR")

# %% [markdown]
# Seven: this scanner wrote the *gap* between two slices, and the standard means the distance from centre to centre. Of every 7 mm
# it saw 5. Positions do not need such words.
#
# ## 4 · Three series that came by post
#
# Below, three stacks are cut out of the same chest, and something is wrong with each. We look at each as a naive program
# would stack it, assuming even distances. **What is wrong with A, B and C? Decide before you read on.**

# %%
# How the three were made: look at the pictures first.
from copy import deepcopy

part = by_position[40:124]
a = [one for k, one in enumerate(part) if not 40 <= k < 48]
b = deepcopy(part)
for k, one in enumerate(b):
    x, y, z = one.ImagePositionPatient
    one.ImagePositionPatient = [x, y - k * 0.703125, z]
    one.PixelData = np.pad(one.pixel_array, ((k, 0), (0, 0)))[: one.Rows].tobytes()
scout = deepcopy(part[0])
scout.ImageOrientationPatient, scout.SOPInstanceUID = [1, 0, 0, 0, 0, -1], pydicom.uid.generate_uid()
from_the_front = np.repeat([one.pixel_array.mean(axis=0) for one in by_position[::-1]], 4, axis=0)
scout.PixelData = from_the_front[:512].astype(np.int16).tobytes()
c = [scout, *part]

# %%
figure, axes = plt.subplots(1, 3, figsize=(13, 4), layout="constrained")
figure.suptitle(story.title)
for axis, (name, stack) in zip(axes, {"A": a, "B": b, "C": c}.items(), strict=True):
    sagittal = np.stack([one.pixel_array[:, 320] for one in stack])
    axis.imshow(sagittal, cmap="gray", vmin=0, vmax=1500, origin="lower", aspect=2.5 / 0.703)
    axis.set_title(f"{name}: {len(stack)} slices")
    axis.axis("off")

# %% [markdown]
# **A** has a step, at the nodule of all places. **B** leans. And **C**? One slice of 85 does not
# belong, the thin line at the lower edge: in a stack of hundreds nobody sees it.
#
# Save them as files, as they would come, and let `rk.dicom.scan` read the headers. It reads no pixels: what is wrong with a
# stack stands in its headers.

# %%
from pathlib import Path
from tempfile import TemporaryDirectory

post = TemporaryDirectory()
for name, stack in {"A": a, "B": b, "C": c}.items():
    series_uid = pydicom.uid.generate_uid()
    Path(post.name, name).mkdir()
    for k, one in enumerate(stack):
        one.SeriesInstanceUID, one.SeriesDescription = series_uid, f"Chest, series {name}"
        one.save_as(Path(post.name, name, f"{k:03}.dcm"))
rk.dicom.scan(post.name)

# %% [markdown]
# `read_series` refuses all three, with the numbers. That is a kindness: a measurement on B or A would be wrong, and nobody
# would see it.

# %%
for name in "ABC":
    try:
        rk.dicom.read_series(Path(post.name, name))
    except rk.RadkitError as error:
        print(f"{name}: {error}\n")

# %% [markdown]
# What one does about them differs. **C:** take the localizer out. **B:** a tilted gantry is honest geometry; the slices can be
# resampled to an upright stack, and one asks for that by name. **A:** what was not imaged cannot be computed. Ask for the
# slices; fill the gap only for looking, never for measuring.

# %%
upright = rk.dicom.read_series(Path(post.name, "B"), resample="tilt")
rk.view.still(upright, title=f"B, resampled to an upright stack · {story.title}", preset="soft tissue")

# %% [markdown]
# ## 5 · How large is the nodule?
#
# *Predict: its volume in ml, if it is a ball of 22 mm across? (A ball of 10 mm has half a millilitre.)*
#
# The plainest measurement: within a ball that we draw round the nodule by hand (14 mm radius), every voxel counts that is
# brighter than the threshold half-way between nodule and lung. **Predict also: what does the same nodule measure on slices of
# 5, 7.5 and 10 mm?** We make them as a scanner would: by averaging neighbours.


# %%
def nodule_volume(ct, radius=14, threshold=-378):
    """Return the volume in ml of what is brighter than the threshold in the ball round the nodule."""
    grid = np.indices(ct.array.shape).reshape(3, -1).T
    inside = np.linalg.norm(grid @ ct.affine[:3, :3].T + ct.affine[:3, 3] - nodule, axis=1) <= radius
    return np.sum(ct.array.ravel()[inside] > threshold) * np.prod(ct.spacing) / 1000


def thicker(ct, n, first=0):
    """Return the CT with every n slices averaged into one, counted from slice ``first``."""
    whole = (len(ct.array) - first) // n * n + first
    array = ct.array[first:whole].reshape(-1, n, *ct.array.shape[1:]).mean(axis=1)
    affine = ct.affine @ np.array([[n, 0, 0, first + (n - 1) / 2], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    return highdicom.Volume(array, affine, coordinate_system="PATIENT")


near = ct[70:112, 280:440, 240:400]  # a corner of the chest, to be quick
print(f"{nodule_volume(near):.1f} ml on slices of 2.5 mm")

# %%
measured = {2.5 * n: [nodule_volume(thicker(near, n, first)) for first in range(n)] for n in (1, 2, 3, 4)}
for thickness, volumes in measured.items():
    spread = max(volumes) / min(volumes) - 1
    print(f"{thickness:4.1f} mm:  {'  '.join(f'{volume:.1f} ml' for volume in volumes):<34}  spread {spread:.0%}")

# %% [markdown]
# A ball of 22 mm has 5.6 ml, and by hand we measured 5.7 (the stand-in's nodule was drawn with 6.1). Each line holds one number for
# each place at which the first slice may begin: the patient breathes in a little more, and the slices cut the nodule elsewhere. **At 10 mm the same nodule seems to grow or shrink without having changed.** Compare the
# spread with the 25 % from which the NELSON screening trial spoke of growth.
#
# ### And a small one?
#
# For a nodule of 6 mm, where the guideline begins to ask for follow-up, no hand measurement is exact enough to be the truth.
# So we compute a perfect ball, and a scanner that does nothing wrong but average along z. True volume: 113 mm³.
#
# *Predict: how small can it come out on slices of 5 mm?*


# %%
def ball(diameter, thickness, first, fine=0.1):
    """Return the volume (mm³) that a perfect ball measures on slices of ``thickness``, one of which begins at ``first`` mm."""
    across = np.arange(-diameter, diameter, fine) + fine / 2
    squares = across[:, None] ** 2 + across**2
    top = np.sqrt(np.clip((diameter / 2) ** 2 - squares, 0, None))  # of the ball, at each pixel
    voxels = 0
    for low in np.arange(first - 10 * thickness, diameter, thickness):
        inside = np.minimum(top, low + thickness) - np.maximum(-top, low)  # how many mm of this slice are nodule
        voxels += np.sum(inside > thickness / 2)
    return voxels * thickness * fine**2


# %%
plt.figure(figsize=(10, 4.5), layout="constrained")
for place, thickness in enumerate((1, 2.5, 5)):
    volumes = [ball(6, thickness, first) for first in np.linspace(0, thickness, 20, endpoint=False)]
    plt.plot(np.full(len(volumes), place), volumes, "o", markersize=10, alpha=0.5)
    plt.text(place, 50, f"{min(volumes):.0f} to {max(volumes):.0f} mm³", ha="center")
plt.axhline(np.pi / 6 * 6**3, color="black", linestyle="--", label="true volume")
plt.xticks(range(3), [f"{thickness} mm slices" for thickness in (1, 2.5, 5)])
plt.ylabel("measured volume, mm³")
plt.xlim(-0.5, 2.5), plt.ylim(0, 130)
plt.legend(loc="lower left")
plt.show()

# %% [markdown]
# Each point is one place at which the first slice may begin. On slices of 5 mm the 6 mm nodule can lose almost a third of its volume
# by bad luck alone, and "grow" by half of that until the next scan, by good luck. One reason why the guideline wants slices of
# 1.5 mm or less.

# %%
post.cleanup()

# %% [markdown]
# ## Recap
#
# - Position orders slices; file names and counters do not.
# - A window chooses what you see, the HU stay. Measure in the window that the guideline names, and compare in the same one.
# - LPS: x to the left, y to the back, z to the head. One wrong sign moves a tumour to the other side.
# - A missing slice, a tilt, a localizer: they stand in the headers, and a program that does not look measures nonsense.
# - A volume belongs to its slice thickness. Compare two only if both were thin, and made alike.
#
# ## Try next
#
# - The exercise that belongs to this notebook: [exercise 02](../exercises/02_slices_and_volumes_ex.ipynb). Then
#   [notebook 03](03_deidentify_trust_but_verify.ipynb): before images leave the house.
# - Change `threshold=-378` to −600 and to −200. How much does the volume change, and which choice would you defend?
# - `rk.dicom.scan("a/folder/of/yours")` says what is in it, and what is wrong with it. Nothing leaves your machine.
# - In the viewer press D and drag across the nodule. How far are you from the guideline's 8 mm?
#
# ## Sources
#
# - The images: `print(story.source.attribution)` and `print(mr_source.attribution)`; licences in `data/catalog.yaml`.
# - DICOM PS3.3 C.7.6.2 (Image Plane Module: position, orientation, spacing), C.11.2 (window), C.11.1 (rescale),
#   [dicomstandard.org](https://www.dicomstandard.org).
# - The nodule's reference volume, by hand: [5.70 ml](../data/bundles/lung_nodule/docs/reference_measurement.md).
# - Growth as 25 % of volume: van Klaveren RJ, et al. Management of Lung Nodules Detected by Volume CT Scanning. *N Engl J Med*
#   2009;361:2221–2229, doi:10.1056/NEJMoa0906085.
# - Bankier AA, et al. Recommendations for Measuring Pulmonary Nodules at CT: A Statement from the Fleischner Society.
#   *Radiology* 2017;285:584–600, doi:10.1148/radiol.2017162894.
