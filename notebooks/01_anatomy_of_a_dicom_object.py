# %% [markdown]
# # 01 · Anatomy of a DICOM object
#
# **For whom:** a radiology resident who has never programmed, and whoever has to make images and programs meet. You press ▶
# (or Shift + Enter), cell by cell; predict before you run, and look. Reading the code is optional, and rewarding.
#
# **Goals.** At the end you can
# 1. say what a DICOM file is, from its first byte to its last pixel, and whose it is;
# 2. read a header: tag, VR, value, a sequence inside it, and what only the vendor understands;
# 3. say what hangs on each UID, and what falls apart when one changes;
# 4. explain why one picture can be stored in many ways, and which of them cost you Hounsfield units;
# 5. tell when a header lies about black and white, about left and right, or about size.
#
# **Minutes:** 30 to read, predict and look; one for the computer.
#
# *Nothing here is for clinical use.*

# %% [markdown]
# ## The clinical question
#
# An hour before the tumour board a colleague brings a CD: *"65-year-old man, nodule in the left lower lobe. An old
# radiograph and a CT from outside are on it, too."* The CD has no viewer, and its files have names like `IM000042`.
#
# > **What is each of these files, whose is it, to which study does it belong, and may you trust the side and the size that
# > you read from it?**
#
# Every answer is in the files. Leave the next line as it is.

# %% tags=["parameters"]
stand_in = None  # None: the real images, and generated stand-ins where they cannot be had

# %%
import matplotlib.pyplot as plt
import numpy as np
import pydicom

import radkit as rk

plt.rcParams.update({"font.size": 14, "axes.titlesize": 16})
story = rk.data.story(stand_in=stand_in)  # the CT
outside = rk.data.fetch("abdomen-ct-dicom", stand_in=stand_in)  # the CT from outside
film = rk.data.fetch("chest-radiograph", stand_in=stand_in)
file, row, column = (story.files[44], 324, 353) if story.stand_in else (story.files[42], 364, 318)  # in the nodule
for images in (story.source, outside, film):
    print(f"{images.title}\n    Thanks to: {images.attribution}")

# %% [markdown]
# ## 1 · The first 132 bytes
#
# A file is a row of *bytes*, numbers from 0 to 255. They are usually written in *hex*, two characters each, from `00` to
# `FF`. Here are the first 132 of one file. No library is needed: Python opens it as it would open anything.
#
# *Predict: how many of the 132 say something?*

# %%
data = file.read_bytes()
for at in range(0, 132, 16):
    part = data[at : min(at + 16, 132)]
    letters = "".join(chr(byte) if 32 <= byte < 127 else "·" for byte in part)
    print(f"byte {at:>3}   {part.hex(' ').upper():<47}   {letters}")

# %% [markdown]
# **Four.** They are the letters `DICM`, and they alone tell a program that this is DICOM: the file's name does not
# matter, and neither does an ending such as `.dcm`. The 128 bytes before them mean nothing to DICOM. They are left free
# so that a file can be two things at once: a DICOM object and a TIFF picture in digital pathology, for instance.
#
# ## 2 · Data elements: tag, VR, length, value
#
# What follows `DICM` is a plain list. Each entry, a *data element*, has four parts:
#
# | part | bytes | says |
# |---|---|---|
# | **tag** | 2 + 2 | which attribute this is: a group and an element number, `(0010,0020)` |
# | **VR**, value representation | 2 | of what kind the value is: two letters, such as `DA` for a date |
# | **length** | 2 or 4 | how many bytes of value follow |
# | **value** | as many | |
#
# That is all one needs to read a header by hand. `unpack_from` is Python's own and turns bytes into numbers.

# %%
from struct import unpack_from


def read_element(data, at):
    """Return the tag, the VR, where the value starts, and how many bytes it has."""
    group, element, vr, length = unpack_from("<HH2sH", data, at)
    if group == 0xFFFE:  # an item of a sequence, see below: no VR, four bytes of length
        return (group, element), "--", at + 8, unpack_from("<I", data, at + 4)[0]
    if vr in (b"OB", b"OW", b"SQ", b"UN", b"UT"):  # these, and a few more: two bytes of nothing, four of length
        return (group, element), vr.decode(), at + 12, unpack_from("<I", data, at + 8)[0]
    return (group, element), vr.decode(), at + 8, length


# %%
at = 132
for _ in range(12):
    (group, element), vr, start, length = read_element(data, at)
    print(f"byte {at:>3}  ({group:04X},{element:04X})  {vr}  {length:>2} bytes  {data[start : start + length]}")
    at = start + length

# %% [markdown]
# The length is what carries you from one element to the next: nobody needs to understand a value in order to step over
# it. (Python writes a byte that is no letter as `\x00`, and a backslash twice. A backslash divides several values of one
# element; a zero or a blank at the end is there because every value has an even number of bytes.)
#
# Here is one element drawn to scale, the patient's number. *Predict: the tag is (0010,0020). Why does the file have `10
# 00 20 00`?*

# %%
at = data.find(bytes.fromhex("10 00 20 00") + b"LO")
length = read_element(data, at)[3]
axis = plt.figure(figsize=(13, 1.5)).add_axes((0, 0, 1, 1), xlim=(0, 8 + length))
for number, byte in enumerate(data[at : at + 8 + length]):
    axis.axvspan(number, number + 1, ymax=0.75, color=plt.cm.Set2(min(number // 2, 4)))
    text = f"{byte:02X}\n{chr(byte) if 32 <= byte < 127 else '·'}"
    axis.text(number + 0.5, 0.38, text, ha="center", va="center", fontsize=16, family="monospace")
for part, name in enumerate(("group", "element", "VR", "length", "value")):
    axis.text(2 * part, 0.82, name, fontsize=15)
axis.set_axis_off()

# %% [markdown]
# Numbers are written with their *low* byte first, "little endian": 0010 becomes `10 00`, a length of twelve `0C 00`.
#
# `radkit` reads the first bytes of any file in the same way and says what they mean:

# %%
rk.dicom.inspect(file).first_bytes

# %% [markdown]
# When `radkit` reads a whole CD, it does what you did above: it steps from length to length and takes only what it needs.
# The code is `radkit/dicom/walker.py`. Where the bytes are of any kind that it does not know for certain, it says so, and
# [pydicom](https://pydicom.github.io), the library that knows every corner of the standard, is asked. Do the two agree?

# %%
from inspect import getsource

from radkit.dicom import walker

tag = 0x00200032  # ImagePositionPatient
headers = [pydicom.dcmread(path, stop_before_pixels=True) for path in story.files]
walks = [walker.walk_file(path, [tag]) for path in story.files]
same = sum(walk.values[tag] == header.get_item(tag).value for walk, header in zip(walks, headers, strict=True))
print(f"walker.py: {len(getsource(walker).splitlines())} lines; same as pydicom: {same} of {len(headers)} files")

# %% [markdown]
# ## 3 · The same header, with names
#
# Nobody reads headers in hex. pydicom gives each tag its *keyword* from the standard's dictionary (PS3.6), and turns each
# value into what its VR says. `header.Rows`, `header["Rows"].value` and `header[0x0028, 0x0010].value` are the same thing.
#
# *Predict: the slice thickness is 2.5 mm, the image has 512 rows. One of the two is in the file as typed characters.
# Which?*

# %%
header = pydicom.dcmread(file, stop_before_pixels=True)
for keyword in ("PatientName", "PatientAge", "StudyDate", "SliceThickness", "Rows"):
    written = header.get_item(keyword).value  # before pydicom turns it into what it means
    print(f"{header[keyword].tag}  {header[keyword].VR}  {keyword:<15} {written!s:<20} {header[keyword].value}")

# %% [markdown]
# The thickness: a `DS`, *decimal string*, is typed. A program that reads it as text may find that "10" is less than "9".
# `Rows` is a `US`, *unsigned short*, two bytes: `00 02` is 2 × 256. `PN`, a person's name, has its parts divided by `^`,
# the family name first; `DA` is year, month, day. The age has a unit, because "65" may be days.
#
# ## 4 · Lists within lists, and what only the vendor understands
#
# Next file: the CT from outside, as its scanner wrote it (without the real images, a test file that comes with pydicom).
# Some attributes are a list of small headers: a *sequence*, `SQ`. A code, for instance, is one: its value, the coding
# scheme that it comes from, and its meaning in words. By hand there is one new rule: at an element, step *over* the
# value; at a sequence and its items, step *in*.

# %%
other = pydicom.examples.get_path("ct") if outside.stand_in else min(outside.files["series"].iterdir())
data, at, vr = other.read_bytes(), 132, ""
while vr != "SQ":  # over everything, up to the first sequence
    here, (_, vr, start, length) = at, read_element(data, at)
    at = start + length
end, at = at, here
while at < end:
    (group, element), vr, start, length = read_element(data, at)
    inside = vr in ("SQ", "--")
    print(f"({group:04X},{element:04X})  {vr}  {length:>2} bytes  {'' if inside else data[start : start + length]}")
    at = start if inside else start + length

# %% [markdown]
# `(FFFE,E000)` is the mark of an item. Elsewhere it can be harder: a sequence may leave its length open and end at a
# mark, and in *implicit* VR the two letters are left out, so that the reader must know them by the tag.
#
# Now the whole header. The box searches it: try `dose`, `kernel` or `private`.

# %%
rk.dicom.inspect(other)

# %% [markdown]
# Tags with an **odd** group number are *private* (PS3.5, 7.8): the standard says nothing about them. The vendor first
# signs for a block of numbers, as its *private creator*; only with that name does a number mean anything.
#
# *Predict: what is (0019,100C)?* pydicom knows the signatures of many vendors:

# %%
for creator in ("SIEMENS MR HEADER", "SIEMENS MED SMS USG S2000", "GEMS_PETD_01", "TOSHIBA_MEC_CT_1.0"):
    meaning = pydicom.datadict.private_dictionary_description(0x0019100C, creator)
    print(f"(0019,100C) signed by {creator:<26} {meaning}")

# %% [markdown]
# It depends on the signature. In one vendor's MR it is the *b-value*: with it the images are a diffusion series, without
# it no ADC map can be made. Whoever removes all private tags, to be safe, may remove that (notebook 03 comes back to it).
#
# ## 5 · UIDs, and what hangs on them
#
# A UID is a number that no one else in the world uses: digits and dots, no more than 64 of them (PS3.5, 9). Names,
# dates and folders play no part in what belongs together: **below the patient's number, an archive goes by UIDs alone.**
# Here is what they make of the CD. (The frame of reference is the scanner's coordinate system. To the standard it is no
# level of its own; it is drawn above the series because several of them can share it.)

# %%
from collections import Counter

LEVELS = ("PatientID", "StudyInstanceUID", "FrameOfReferenceUID", "SeriesInstanceUID", "Modality")


def tree(headers):
    """Print what hangs on what; of a UID the last twelve characters."""
    branches, last = Counter(tuple(str(h.get(level) or "(empty)")[-12:] for level in LEVELS) for h in headers), ()
    for branch, count in sorted(branches.items()):
        for depth, (level, name) in enumerate(zip(LEVELS, branch, strict=True)):
            if branch[: depth + 1] != last[: depth + 1]:
                print("   " * depth + f"└─ {level} {name}" + f": {count} objects" * (level == "Modality"))
        last = branch


# %%
tree(headers + rk.dicom.read_headers(outside.files["series"]) + rk.dicom.read_headers(film.files["image"]))

# %% [markdown]
# *Before you read on: which of the three may you show at the tumour board as this patient's?* Another number alone proves
# nothing, for every hospital gives its own. What else does the radiograph say of its patient?

# %%
rk.dicom.inspect(film.files["image"], search="patient")

# %% [markdown]
# On the real CD, **one**: the 65-year-old man's. The radiograph has another name and another date of birth, and is a
# woman's; CDs do carry the wrong patient. In the CT from outside, somebody who blanked the name blanked the UIDs as well.
# The standard requires them; without them no archive can say where it belongs. (Stand-ins are all drawn from one body,
# under one name, and have all their UIDs.)
#
# `radkit` scans a whole CD or folder and says in words what is wrong with it. Here, the CT from outside:

# %%
rk.dicom.scan(outside.files["series"], progress=False)

# %% [markdown]
# *Predict: a program that converts files stops half-way, is started again, and gives the second half a new*
# `StudyInstanceUID`. *What will the archive show?*

# %%
new_uid = pydicom.uid.generate_uid()
for changed in headers[66:]:  # in memory only
    changed.StudyInstanceUID = new_uid
tree(headers)

# %% [markdown]
# Two studies where there was one, each with half a chest. The nodule is in one of them; the report may hang on the other.
#
# | UID | says | when it changes |
# |---|---|---|
# | `StudyInstanceUID` | which examination | one study becomes two; results and report point to one of them |
# | `SeriesInstanceUID` | which stack of images | slices are missing from a volume, and nothing says so |
# | `SOPInstanceUID` | which single object | what refers to it (a segmentation, a report, a key image) points into the void |
# | `FrameOfReferenceUID` | which coordinate system | no linked scrolling, no fusion, no overlay: mm no longer mean the same place |
# | `SOPClassUID` | what kind of object: "CT Image" | programs refuse it, or read it as something else |
# | `TransferSyntaxUID` | how the bytes are written | see step 7 |
#
# ## 6 · The pixel
#
# Back to the CT. The last element is `PixelData`, (7FE0,0010): the rows from top to bottom, two bytes a pixel. They are
# not yet Hounsfield units: `RescaleSlope` and `RescaleIntercept` make them so (PS3.3, C.11.1).
#
# *Predict: this pixel lies in the nodule. What would a program that forgets the two tags take it for?*

# %%
data = file.read_bytes()
at = walker.walk_file(file, []).pixels + 2 * (row * header.Columns + column)
(stored,) = unpack_from("<h", data, at)
slope, intercept = header.RescaleSlope, header.RescaleIntercept
print(f"bytes {at:,} and {at + 1:,} of {len(data):,}: {data[at : at + 2].hex(' ').upper()} = {stored}")
print(f"{stored} × {slope:g} {intercept:+g} = {stored * slope + intercept:g} HU")

# %% [markdown]
# For dense bone. **Hounsfield units are made, not stored.** And where in the patient is it? Three tags and two products
# answer (PS3.3, C.7.6.2.1.1): the position of the first pixel, the direction of the rows and of the columns, and the
# distance between pixels. The result is in mm, in the patient's own axes, **L**eft, **P**osterior, **S**uperior: x grows
# to the patient's left, y to the back, z to the head (H on the screen).


# %%
def place(header, row, column):
    """Return where a pixel lies in the patient: LPS, mm."""
    along_row, down_column = np.split(np.array(header.ImageOrientationPatient, float), 2)
    between_rows, between_columns = header.PixelSpacing
    return header.ImagePositionPatient + along_row * between_columns * column + down_column * between_rows * row


nodule = place(header, row, column)
print("left {:.1f}, posterior {:.1f}, superior {:.1f} mm".format(*nodule))
rk.view.show(rk.dicom.read_series(story.folder), at=nodule, title=story.title, preset="lung")

# %% [markdown]
# The crosshair is where the arithmetic says, and there is the nodule. (Notebook 02 goes on from here, from slices to a
# volume.)
#
# ## 7 · One picture, many ways to write it
#
# The *transfer syntax* says how the bytes are written: plainly, or compressed in one of several ways. pydicom can rewrite
# an object. Here is the same slice in four of them.
#
# *Predict: which of these change a pixel?*

# %%
from pydicom.uid import JPEG2000, JPEG2000Lossless, JPEGLSLossless, RLELossless

plain = pydicom.dcmread(file)
print(f"{len(plain.PixelData) / 1000:4.0f} kB  {plain.file_meta.TransferSyntaxUID.name}")
for syntax, options in ((RLELossless, {}), (JPEGLSLossless, {}), (JPEG2000Lossless, {}), (JPEG2000, {"j2k_cr": [20]})):
    packed = pydicom.dcmread(file)
    packed.compress(syntax, **options)
    error = np.abs(packed.pixel_array.astype(int) - plain.pixel_array).max() * slope
    print(f"{len(packed.PixelData) / 1000:4.0f} kB  {syntax.name:<50} largest error {error:3.0f} HU")


# %%
def close_up(axis, picture, title, by=1, **look):
    """Draw 100 × 100 pixels around the nodule, in the lung window if not told otherwise."""
    look = {"cmap": "gray", "vmin": -1350, "vmax": 150, "interpolation": "bicubic"} | look
    axis.imshow(picture[::by, ::by], **look)
    axis.set(title=title, xlim=((column - 50) / by, (column + 50) / by), ylim=((row + 50) / by, (row - 50) / by))
    axis.set_axis_off()


hu, lossy = (one.pixel_array * slope + intercept for one in (plain, packed))
figure, axes = plt.subplots(1, 3, figsize=(13, 4.4), layout="constrained")
figure.suptitle(story.title)
close_up(axes[2], lossy - hu, "the difference", cmap="RdBu_r", vmin=-60, vmax=60, interpolation="nearest")
figure.colorbar(axes[2].images[0], label="HU")
close_up(axes[0], hu, "as stored")
close_up(axes[1], lossy, "JPEG 2000, 20 : 1")

# %%
roi = np.s_[row - 5 : row + 6, column - 5 : column + 6]  # 11 × 11 pixels in the nodule
print(f"mean in the nodule: {hu[roi].mean():.0f} HU before, {lossy[roi].mean():.0f} HU after")
print("LossyImageCompression, as the object itself says:", packed.LossyImageCompression)

# %% [markdown]
# The first three are *lossless*: a third to a half of the bytes, and not one pixel differs. The last is *lossy*: a
# twentieth of the bytes, the picture looks the same, and what is gone is the finest detail. Single pixels are off by tens
# of HU. A mean over many pixels moves by a few; texture, or a small calcification, is another matter.
#
# `00` claims that nothing was ever lost. The standard wants `01` from then on, for good (PS3.3, C.7.6.1.1.5), and a new
# `SOPInstanceUID`. pydicom gave the object the UID; the rest it leaves to whoever calls it, and not everybody knows.
#
# ## 8 · The radiograph that comes out inverted
#
# The last file on the CD. Two programs show the same bytes.
#
# *Predict: which of the two is what the standard asks for? What would a program that looks for a pneumothorax, or for
# masses, make of the other?*

# %%
naive = pydicom.dcmread(film.files["image"]).pixel_array
image = rk.dicom.read_image(film.files["image"])
figure, axes = plt.subplots(1, 2, figsize=(13, 6.8), layout="constrained")
figure.suptitle(film.title)
for axis, picture, name in zip(axes, (naive, image.shown()), "AB", strict=True):
    axis.imshow(picture, cmap="gray")
    axis.set(title=name, xticks=[], yticks=[])

# %% [markdown]
# **Air is dark, bone and masses are bright: B.** (Many like to press the invert key while looking for a rib fracture. But
# then they know that they did.) What made the difference is a single word in the header:

# %%
rk.dicom.inspect(film.files["image"], search="photometric")

# %% [markdown]
# `MONOCHROME1` means that the *lowest* value is shown *white*, `MONOCHROME2` that it is black (PS3.3, C.7.6.3.1.2).
# Radiographs come as either: a detector that counts photons gives air a high number. A script that plots `pixel_array`
# ignores the word, and a network that was trained on one kind sees the negative of the other.
#
# `rk.dicom.read_image` keeps to the standard's order: the rescale, then the window, then the inversion. Which side is
# left is written, too: `PatientOrientation` is `L\F`, along a row to the patient's left, down a column to the feet.
# (The real film's own window leaves it pale: drag with the right mouse button, to the left and a little up.)

# %%
rk.view.show(image, title=film.title)

# %% [markdown]
# Remember step 5: on the real CD this is **not his**. Shown as his "old radiograph", those round shadows in both lungs
# would have made him a man with metastases.
#
# And note what you cannot read here: millimetres. The real film gives its pixels a size of zero. Where a radiograph does
# have one, `ImagerPixelSpacing`, it holds at the detector; the patient stands in front of it, so everything is magnified.
#
# ## 9 · One wrong tag that moves a tumour
#
# A **second CD** with the same CT arrives. On its way *one number in one tag* was changed; no pixel was touched.
#
# *Predict nothing this time. Read it, as you would at work: in which lobe is the nodule? What else is unusual?*

# %%
second = [pydicom.dcmread(path) for path in story.files]
for one in second:
    one[0x0020, 0x0037].value[0] *= -1
copy = second[story.files.index(file)]
moved, wrong = place(copy, row, column), rk.dicom.read_series(second)
rk.view.show(wrong, at=moved, title=f"Second CD · {story.title}", preset="lung")

# %% [markdown]
# The nodule is in the **right** lower lobe. What else? Go through it once more, further down and in the soft-tissue window.

# %%
rk.view.still(wrong, at=place(second[88], 245, 256), title=f"Second CD · {story.title}", preset="soft tissue")

# %% [markdown]
# The heart points to the right, the aorta descends on the right, the liver lies on the left and the spleen on the right:
# *situs inversus totalis*, if you believe the header. Would you? Step 6 showed the same patient. Which tag was it?

# %%
rk.dicom.compare(file, copy)

# %% [markdown]
# `ImageOrientationPatient` begins with the direction of the rows: `1\0\0` is to the patient's left, `-1\0\0` to his
# right. The letters R and L on the screen are computed from it, so they are wrong *together* with the picture, and no
# validator can object: both are valid headers. Only anatomy speaks against it. How far has the tumour moved, for a
# program that trusts millimetres?

# %%
print(f"first CD {nodule.round(1)}, second CD {moved.round(1)}: {np.linalg.norm(moved - nodule):.0f} mm apart")

# %% [markdown]
# A segmentation that was made on one copy does not even touch the patient on the other.
#
# That was easy to see. **Now one that is not.** Calipers count pixels and multiply by `PixelSpacing`, the mm from one
# pixel to the next. Here is the nodule, and beside it what arrives three months later, with the calipers on the same two
# points.
#
# *Predict: growth, no change, or response?*

# %%
ends = np.array([[324, 336], [324, 370]] if story.stand_in else [[348, 315], [385, 310]])  # two clicks: row, column
figure, axes = plt.subplots(1, 2, figsize=(11, 5.8), layout="constrained")
figure.suptitle(story.title)
for axis, name, by in zip(axes, ("first CT", "follow-up"), (1, 2), strict=True):
    pixels, spacing = np.linalg.norm(ends[1] - ends[0]) / by, header.PixelSpacing[0]
    close_up(axis, hu, f"{name}: {pixels:.1f} pixels × {spacing:.3f} mm = {pixels * spacing:.0f} mm", by)
    axis.plot(ends[:, 1] / by, ends[:, 0] / by, "+-", color="#D55E00", markersize=14)

# %% [markdown]
# "Half as large: partial response." By RECIST a decrease of 30 % in the sum of diameters is enough for that. But look
# again: every vessel is where it was. It *is* the same image. An export left out every other row and column, to save
# space, and did not correct `PixelSpacing`. Nothing happened to the patient.
#
# How could you have known? Measure something else:

# %%
body = np.ptp(np.flatnonzero(hu[row] > -300))  # from skin to skin, in pixels
print(f"the body at this height: {body * spacing:.0f} mm wide, and in the follow-up {body / 2 * spacing:.0f} mm")

# %% [markdown]
# **The patient is a ruler**, and no adult is as narrow as that. Measure one thing that you know before you trust one that
# you do not.
#
# ## Recap
#
# - Four bytes, `DICM`, make a DICOM file; after them come elements of tag, VR, length and value, and nothing else.
# - A private tag means something only together with its creator's name.
# - Archives go by UIDs. One that changes tears a study apart; one that is blank leaves it without a place.
# - `RescaleSlope` and `RescaleIntercept` make HU of stored numbers; orientation, position and spacing make mm of rows and
#   columns.
# - Lossless compression costs nothing; lossy costs HU, and the header may not admit it.
# - `MONOCHROME1` is white where the number is low.
# - A header can be valid and wrong. Letters and calipers repeat what it says; only anatomy contradicts.
#
# ## Try next
#
# - The exercise that belongs to this notebook: [exercise 01](../exercises/01_anatomy_ex.ipynb). Then
#   [notebook 02](02_from_slices_to_a_volume.ipynb), from slices to a volume.
# - In a new cell: `rk.dicom.inspect(story.files[0], search="patient")`. The column "Basic Profile" is what
#   de-identification does with each (notebook 03).
# - In step 9, change `[0x0020, 0x0037].value[0]` to `[0x0020, 0x0032].value[0]`. What does the picture show now, and what
#   has moved?
# - In step 7, set `"j2k_cr": [5]`, then 60. From which ratio on can *you* see it?
# - Have a CD of your own? In a terminal: `radkit scan FOLDER` lists what is on it; `radkit show FILE` shows one header.
#
# ## Sources
#
# - DICOM, [dicomstandard.org](https://www.dicomstandard.org): PS3.10, 7.1 (preamble and file meta information); PS3.5,
#   6.2 (VR), 7.1 (data elements), 7.5 (sequences), 7.8 (private elements), 9 (UIDs), 10 (transfer syntaxes); PS3.6
#   (dictionary); PS3.3, C.7.6.1.1.5, C.7.6.2.1.1, C.7.6.3.1.2 and C.11.1, as named above.
# - The preamble in digital pathology: Clunie DA. Dual-Personality DICOM-TIFF for Whole Slide Images. *J Pathol Inform*
#   2019;10:12, doi:10.4103/jpi.jpi_93_18.
# - RECIST 1.1: Eisenhauer EA, et al. *Eur J Cancer* 2009;45:228–247, doi:10.1016/j.ejca.2008.10.026.
# - Private dictionaries: as pydicom ships them. The images: attribution at the top; licences in `data/catalog.yaml`.
