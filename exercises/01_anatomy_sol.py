# %% [markdown]
# # Exercise 01 · Anatomy of a DICOM object
#
# **For whom:** whoever has worked through [notebook 01](../notebooks/01_anatomy_of_a_dicom_object.ipynb). Five questions.
#
# **Minutes:** 15.
#
# Replace each `...` by your answer and run the cell (Shift + Enter): it says at once whether that is right, or what is
# wrong with it. A second wrong answer brings a second hint; `check.solution("first element")` in a new cell shows a
# solution. What you have solved is remembered, also when you close the notebook.
#
# *Nothing here is for clinical use.*

# %%
import numpy as np
import pydicom
from PIL import Image

import radkit as rk

story = rk.data.story()  # the patient of the course
content = story.files[0].read_bytes()
radiograph = rk.data.fetch("chest-radiograph")
ct, film = pydicom.dcmread(story.files[0], stop_before_pixels=True), pydicom.dcmread(radiograph.files["image"])

check = rk.check.Exercise("01_anatomy", ct=ct, film=film)
check.progress()

# %% [markdown]
# ## 1 · Where does the file begin to say something?
#
# `content` holds the bytes of one CT slice, and `content[0]` is the first of them. **At which byte does the first data
# element begin?** (`content[:140]` in a cell of its own shows the first 140.)

# %% tags=["question"]
rk.check.Number(
    "first element",
    132,
    unit="bytes from the start",
    wrong={
        0: "There begins the preamble: 128 bytes that DICOM leaves to others. Nothing of the patient is in it.",
        128: "There stand the four letters DICM. They say that this is DICOM; what the object says begins after them.",
        4: "That counts from the letters DICM on. A reader counts from the start of the file.",
        131: "That is the M of DICM, its last letter.",
        133: "One too many: the first byte has the number 0, not 1.",
    },
    hint="Look for the letters DICM among the first bytes. What comes before them, and how many bytes is it?",
    way='`content.index(b"DICM")` is where the four letters begin. The first element begins right behind them.',
    right="128 bytes of preamble and four letters. A file without them may still be DICOM, as old modalities wrote it.",
)

# %%
start = content.index(b"DICM") + 4  # SOLUTION
check("first element", start)

# %% [markdown]
# ## 2 · The lungs are white
#
# These are the numbers of a chest radiograph as they are stored, small ones dark and large ones bright. **Which element
# of the header says that it has to be shown the other way round?** Pick one, and press *Check*.

# %%
low, high = np.percentile(film.pixel_array, (1, 99))
grey = np.clip((film.pixel_array - low) / (high - low), 0, 1)
small = Image.fromarray((255 * grey).astype(np.uint8)).resize((420, 420 * film.Rows // film.Columns))
print(radiograph.title)
rk.view.Still(small, f"{radiograph.title}: the lungs are white and the bones are dark.")

# %% tags=["question"]
rk.check.Pick(
    "inverted",
    "PhotometricInterpretation",
    wrong={
        "BitsStored": "That is how many bits a number has: how finely grey is graded, not which end of it is black.",
        "PixelRepresentation": "That says whether numbers below zero occur. A CT has them without being inverted.",
        "WindowCenter": "Moving the window makes everything darker or brighter. Bone would still be darker than lung.",
        "ViewPosition": "PA or AP is which way the beam went through. It says something of heart size, nothing of grey.",
    },
    hint="It is the element that says what the lowest number looks like.",
    way="Its value here is `MONOCHROME1`; in a CT it is `MONOCHROME2`. Try `film` in a new cell and search for that.",
    right="MONOCHROME1: the lowest number is white. A network that was trained on MONOCHROME2 sees this film inverted.",
)

# %%
check("inverted", "PhotometricInterpretation")  # SOLUTION: check("inverted")

# %% [markdown]
# ## 3 · Black in the operating theatre
#
# The old viewer in the theatre shows only pixels that are **not compressed**; the others stay black. **Which of these
# images will it show?** Answer with their names: `{"mammogram", "angiogram"}`.

# %%
syntax = {
    "CT": "1.2.840.10008.1.2.1",
    "mammogram": "1.2.840.10008.1.2.4.90",
    "ultrasound": "1.2.840.10008.1.2.4.50",
    "old MR": "1.2.840.10008.1.2",
    "angiogram": "1.2.840.10008.1.2.4.70",
}

# %% tags=["question"]
rk.check.Words(
    "transfer syntax",
    {"CT", "old MR"},
    wrong=[
        ({"CT"}, "One is missing: implicit VR leaves out the names of the types, and compresses nothing."),
        ({"old MR"}, "One is missing: explicit VR writes the type beside each tag, and compresses nothing."),
        (
            {"CT", "old MR", "angiogram"},
            "The angiogram is lossless: no grey value is lost, and it is compressed all the same. It would stay black.",
        ),
        (
            {"mammogram", "ultrasound", "angiogram"},
            "Those are the three that stay black: JPEG 2000, JPEG, lossless JPEG. Asked for are the others.",
        ),
    ],
    hint="Each number is the UID of a transfer syntax: how the bytes are written. What does each of them stand for?",
    way='`pydicom.uid.UID("1.2.840.10008.1.2.4.90").name` says it in words, `.is_compressed` in one.',
    right="Lossless is not uncompressed. Whoever sends images asks first which transfer syntaxes the other side takes.",
)

# %%
shown = {name for name, uid in syntax.items() if not pydicom.uid.UID(uid).is_compressed}  # SOLUTION
check("transfer syntax", shown)

# %% [markdown]
# ## 4 · What may be laid over what?
#
# Three more series carry this patient's name. **Which of them may a workstation lay over the CT by their coordinates**,
# without registering them first? `series["PET"]` is a header, and so is `ct`. Answer with their names, in quotation marks.

# %%
series = {name: pydicom.Dataset() for name in ("PET", "late phase", "planning CT")}
same, another = ct.FrameOfReferenceUID, pydicom.uid.generate_uid(entropy_srcs=["after the break"])
for name, header in series.items():
    header.PatientID, header.PatientName = ct.PatientID, ct.PatientName
    header.StudyInstanceUID = another if name == "planning CT" else ct.StudyInstanceUID
    header.FrameOfReferenceUID = same if name == "PET" else another

# %% tags=["question"]
rk.check.Words(
    "same space",
    {"PET"},
    wrong=[
        (
            {"PET", "late phase"},
            "The late phase is of the same study, but the patient got up in between: another frame of reference. "
            "Laid over by coordinates, a lesion of the liver can come to lie in the lung.",
        ),
        (
            {"late phase"},
            "It shares the study, not the space. Same day and same order do not mean same place on the table.",
        ),
        (
            {"PET", "late phase", "planning CT"},
            "They all carry the patient's name, as films of twenty years ago do. A name says nothing of coordinates.",
        ),
        ({"late phase", "planning CT"}, "Those two share a space with each other, and not with this CT."),
    ],
    hint="Which UID names the coordinate system that the positions are measured in?",
    way="Compare `FrameOfReferenceUID` of each with that of `ct`, not `StudyInstanceUID`.",
    right="Same FrameOfReferenceUID, same coordinates. It says nothing of whether the patient has breathed in between.",
)

# %%
fits = {name for name, header in series.items() if header.FrameOfReferenceUID == ct.FrameOfReferenceUID}  # SOLUTION
check("same space", fits)

# %% [markdown]
# ## 5 · One wrong tag
#
# `ImagePositionPatient` is where the first pixel of a slice lies, in mm: x grows to the left, y to the back, z to the
# head of the patient. A program has lost the minus sign of its first number. **By how many mm, (x, y, z), is a tumour
# that is outlined on the wrong images displaced from where it is?**

# %%
right = np.array(ct.ImagePositionPatient, float)
wrong = right * (-1, 1, 1)
print(f"right {right.tolist()}\nwrong {wrong.tolist()}")

# %% tags=["question"]
x = float(ct.ImagePositionPatient[0])
rk.check.Point(
    "displaced",
    (-2 * x, 0, 0),
    tolerance=0.5,
    wrong=[
        (
            (2 * x, 0, 0),
            "That is the way back, from the wrong place to the right one. Corrected so, the error doubles.",
        ),
        ((-x, 0, 0), "That is how far the first pixel is from the middle. From one side of zero to the other is more."),
        (
            tuple(float(value) for value in np.array(ct.ImagePositionPatient, float) * (-1, 1, 1)),
            "That is the place where the first pixel now is. Asked for is how far everything has moved.",
        ),
        (
            (0, 0, 0),
            "Every picture looks as before, and that is the danger: what has moved is its place in the patient.",
        ),
    ],
    hint="The picture itself is the same: every pixel, and the tumour with them, moves as the first pixel does.",
    way="From where to where does the first pixel move? Subtract: `wrong - right`.",
    right="Nobody sees it on the slices. Fused, planned or biopsied by coordinates, the tumour is beside the patient.",
)

# %%
displaced = wrong - right  # SOLUTION
check("displaced", displaced)

# %% [markdown]
# ## Recap
#
# Solved all five? Then you know where a file begins, which elements decide what is seen and where it lies, and why a
# name is no proof of either. On to [notebook 02](../notebooks/02_from_slices_to_a_volume.ipynb), where slices become a volume.
#
# **Sources:** DICOM PS3.10 7.1 (the first 132 bytes), PS3.3 C.7.6.3.1.2 (PhotometricInterpretation), C.7.4.1
# (FrameOfReferenceUID) and C.7.6.2.1.1 (ImagePositionPatient), PS3.5 annex A (transfer syntaxes). The images:
# attribution and licence in `data/catalog.yaml`.

# %%
check.progress()
