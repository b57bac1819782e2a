# %% [markdown]
# # Exercise 02 · From slices to a volume
#
# It belongs to [notebook 02](../notebooks/02_from_slices_to_a_volume.ipynb). Run the cells from the top. Where you see `...`, put your answer in its place and run the cell: you
# are told at once whether it is right and, if not, what is wrong with it clinically. `check.solution("name")` shows a solution.
#
# **Minutes:** 15. *Nothing here is for clinical use.* The images: attribution and licence in `data/catalog.yaml`.

# %%
import numpy as np

import radkit as rk

abdomen = rk.dicom.read_headers(rk.data.fetch("abdomen-ct-dicom").files["series"])
story = rk.data.story()
ct = rk.dicom.read_series(story.folder)
nodule = (68, 62, -120) if story.stand_in else (56.6, 86.3, -115.4)
corner = ct[70:112, 260:440, 230:410]
grid = np.indices(corner.array.shape).reshape(3, -1).T @ corner.affine[:3, :3].T + corner.affine[:3, 3]
ball = (np.linalg.norm(grid - nodule, axis=1) <= 14).reshape(corner.array.shape)
mask = corner.with_array((ball & (corner.array > -378)).astype(np.uint8))  # the nodule as notebook 02 measures it
heights = sorted(float(header.ImagePositionPatient[2]) for header in abdomen)
gap = [header for header in abdomen if float(header.ImagePositionPatient[2]) not in heights[11:13]]
check = rk.check.Exercise("02_slices_and_volumes", abdomen=abdomen, heights=heights, nodule=nodule, mask=mask)
check.progress()

# %% [markdown]
# ## 1 · How far apart?
#
# The headers of the abdominal CT are in `abdomen`, one for each slice. **How far is it from one slice to the next, in mm?**
# `abdomen[0].ImagePositionPatient` is where the first one lies: x, y, z.

# %% tags=["question"]
rk.check.Number(
    "slice distance",
    heights[1] - heights[0],
    unit="mm",
    tolerance=0.05,
    wrong={
        float(
            abdomen[0].SliceThickness
        ): "That is how thick each slice is. These overlap: with that number a liver lesion would come out half as large again.",
        heights[-1]
        - heights[0]: "That is the whole stack, from the lowest slice to the highest. One step is asked for.",
        float(
            abdomen[0].PixelSpacing[0]
        ): "That is the distance of two pixels within a slice. Asked for is the step from slice to slice.",
    },
    hint="Compare where two neighbours lie: the z, the third number, of `ImagePositionPatient`.",
    way="Sort the z of all slices, then subtract the first from the second: `z[1] - z[0]`.",
    right="A volume is counted with the distance of the slices, never with their thickness.",
)

# %%
z = sorted(float(header.ImagePositionPatient[2]) for header in abdomen)  # SOLUTION:
slice_distance = z[1] - z[0]  # SOLUTION
check("slice distance", slice_distance)

# %% [markdown]
# ## 2 · Set a window (no code)
#
# You look for a metastasis in the liver: it differs from it by 20 to 40 HU. **Set the window for it**, with the right mouse
# button or with the keys 1 to 9, then press *Check*.

# %%
view = rk.view.show(ct, title=story.title, preset="bone", at=(-60, 0, -260))  # in the liver

# %% tags=["question"]
rk.check.Window(
    "liver window",
    (70, 160),
    tolerance=0.3,
    wrong=[
        ((-600, 1500), "That is a window for the lung: the whole liver is nearly white in it, and so is every lesion."),
        (
            (50, 400),
            "That is the window for all of the belly: 30 HU are one thirteenth of it. Here a narrower one shows more.",
        ),
        ((400, 1800), "That is a window for bone: 30 HU are one sixtieth of it, a step that is easily missed."),
        (
            (40, 80),
            "That is a window for the brain without contrast: this liver lies at its white end, and a bright lesion is lost.",
        ),
    ],
    hint="How many HU lie between black and white now? A step of 30 HU should be a good part of that.",
    way="Put the center near the liver's own HU (point at it and read), and make the width about 160.",
    right="A narrow window round the organ's own density shows small differences; everything else turns black or white.",
)

# %%
view.window = (60, 160)  # SOLUTION
check("liver window", view)

# %% [markdown]
# ## 3 · Click on it (no code)
#
# **Put the crosshair into the middle of the nodule in the left lower lobe.** Scroll with the wheel, click to move the crosshair.

# %%
lungs = rk.view.show(ct, title=story.title, preset="lung")

# %% tags=["question"]
x, y, z = nodule
rk.check.Point(
    "the nodule",
    nodule,
    tolerance=9.0,
    wrong=[
        (
            (-x, y, z),
            "That is the same place in the right lung. The patient's left is on the right of your screen: look at the letters.",
        ),
        (
            (x, -y, z),
            "That is as far to the front as the nodule lies to the back. The back (P) is at the bottom of the axial picture.",
        ),
        (
            (x, y, z - 60),
            "That is 6 cm too low. It is the same lobe, but nearer to the diaphragm: scroll towards the head.",
        ),
    ],
    hint="It lies at the back of the left lower lobe, as large as a cherry, and touches or nearly touches the chest wall.",
    way="Scroll up to the height of the pulmonary arteries, and look in the lung on the right of the screen, at the back.",
    right="LPS: x grows to the left, y to the back, z to the head. The nodule's x and y are both positive.",
)

# %%
lungs.voxel = [round(i) for i in np.linalg.solve(ct.affine[:3, :3], np.array(nodule) - ct.affine[:3, 3])]  # SOLUTION
check("the nodule", lungs)

# %% [markdown]
# ## 4 · From voxels to millilitres
#
# `mask` marks the nodule: `mask.array.sum()` voxels. `mask.spacing` says how large a voxel is, in mm. **What is its volume in ml?**

# %% tags=["question"]
count, (thick, high, wide) = float(mask.array.sum()), mask.spacing
rk.check.Number(
    "volume",
    count * thick * high * wide / 1000,
    unit="ml",
    tolerance=0.05,
    wrong={
        count
        / 1000: "That counts voxels as if each were one cubic millimetre. These are not cubes: multiply by all three sides.",
        count * high * wide / 1000: "That is an area, not a volume: the distance of the slices is missing.",
        count
        * thick**3
        / 1000: "That takes the slice distance for all three sides. In the plane a voxel is much smaller.",
        count * high**3 / 1000: "That takes the pixel spacing for all three sides. From slice to slice it is further.",
    },
    hint="The volume of one voxel is the product of its three sides.",
    way="`mask.array.sum() * np.prod(mask.spacing)` is in mm³; 1000 mm³ are one ml.",
    right="Count times voxel volume. It is also how a segmentation in the PACS gets its number.",
)

# %%
volume = mask.array.sum() * np.prod(mask.spacing) / 1000  # SOLUTION
check("volume", volume)

# %% [markdown]
# ## 5 · What is wrong with this stack?
#
# `gap` holds the headers of a series as it came from elsewhere. **From which height to which is something missing?** Answer with
# two numbers, the heights (z, in mm) of the slices just below and just above the gap.

# %% tags=["question"]
rk.check.Number(
    "gap",
    (heights[10], heights[13]),
    unit="mm",
    tolerance=0.1,
    wrong=[
        (
            (heights[13], heights[10]),
            "Those are the right slices, the upper one first. Below comes first: the smaller z is nearer to the feet.",
        ),
        (
            (heights[11], heights[12]),
            "Those are the slices that are missing. Asked for are the two that are there, below and above them.",
        ),
        ((heights[0], heights[-1]), "That is the whole stack, from the lowest slice to the highest."),
    ],
    hint="Sort the heights and look where the step from one to the next is larger than elsewhere.",
    way="`z = np.sort([h.ImagePositionPatient[2] for h in gap])`, then `np.diff(z)` shows the steps.",
    right="`rk.dicom.scan` says the same of every series in a folder, in words.",
)

# %%
z = np.sort([float(header.ImagePositionPatient[2]) for header in gap])  # SOLUTION:
widest = np.argmax(np.diff(z))  # SOLUTION:
below_and_above = (z[widest], z[widest + 1])  # SOLUTION
check("gap", below_and_above)

# %%
check.progress()
