# %% [markdown]
# # 07 · Results a PACS understands
#
# **For whom:** radiology residents, and whoever connects an AI program to a PACS. You need not have programmed. Press ▶ (or
# Shift + Enter), cell by cell, predict, and look.
#
# **Goals.** At the end you can
# 1. say why a picture with a coloured nodule is not a result, and when it is still better than nothing;
# 2. take a segmentation (SEG) and a structured report (SR) apart, and find in them what a colleague will need next year;
# 3. tell what IHE *AI Results* asks for, and see whether an object has it;
# 4. break the geometry on purpose, see it, and find by numbers what the eye overlooks, and the reverse;
# 5. follow one finding over two dates, and say whether it has grown or was only outlined differently.
#
# **Minutes:** 35 to read, predict and look; one for the computer.
#
# *Nothing here is for clinical use.*

# %% [markdown]
# ## The clinical question
#
# The man of notebook 00 has a nodule in the left lower lobe. On Thursday he is discussed at the tumour board; whatever it
# decides, somebody else will measure again, perhaps in another hospital and with another program.
#
# > **What has to arrive in the archive, so that the board can see it, the surgeon can find it, and whoever measures next can
# > compare?**
#
# Leave the next line as it is. The cell after it lets the network of notebook 00 look for the nodule: some seconds.

# %% tags=["parameters"]
stand_in = None  # None: the real images, and generated stand-ins where they cannot be had

# %%
import io

import highdicom as hd
import matplotlib.pyplot as plt
import numpy as np
import pydicom
from pydicom.sr.codedict import codes

import radkit as rk

plt.rcParams.update({"font.size": 14, "axes.titlesize": 16})
story = rk.data.story(stand_in=stand_in)
images = rk.dicom.read_headers(story.files)
ct = rk.dicom.read_series(story.folder)
mask = rk.model.find_nodules(ct)
mask = mask.with_array((mask.array == 1).astype(np.uint8))  # the largest candidate
nodule = rk.results.measure(mask)
print(f"{story.title}\n{nodule}")

# %% [markdown]
# ## 1 · A picture is not a result
#
# This is what many programs send: the slice, with the nodule in colour, as a *secondary capture*, the DICOM object for
# anything that was copied off a screen. [highdicom](https://highdicom.readthedocs.io) makes one from an array of colours and the header of a slice.

# %%
grey = np.clip((ct.array[nodule.slice_index] + 1350) / 1500, 0, 1)  # the lung window
picture = (255 * np.stack([grey] * 3, axis=-1)).astype(np.uint8)
picture[mask.array[nodule.slice_index] > 0] = (230, 159, 0)
places = {"coordinate_system": "PATIENT", "patient_orientation": ("L", "P")}
new = {"series_instance_uid": hd.UID(), "series_number": 910, "sop_instance_uid": hd.UID(), "instance_number": 1}
capture = hd.sc.SCImage.from_ref_dataset(images[0], picture, "RGB", 8, manufacturer="me", **places, **new)

# %% [markdown]
# *Predict: you want to know how long the nodule is. What will the viewer say?* Press D and draw a line across it.

# %%
rk.view.show(capture, title=f"A secondary capture · {story.title}")

# %% [markdown]
# Pixels. Nobody has said how large one is. A person sees where the nodule is; now ask as a *program* would, one that fills
# a table for the board, or lays last year's nodule over this year's.

# %%
asked = {"whose is it?": "PatientID", "which study?": "StudyInstanceUID", "how large is a pixel?": "PixelSpacing"}
asked |= {"where in the body?": "ImagePositionPatient", "in which coordinates?": "FrameOfReferenceUID"}
asked |= {"from which image?": "SourceImageSequence", "which voxels?": "SegmentSequence"}
for question, keyword in asked.items():
    print(f"{question:<24} {str(capture.get(keyword, '-'))[-20:]}")
print(f"\norange pixels: {(picture == (230, 159, 0)).all(axis=-1).sum()}, of a nodule of {nodule.volume_mm3} mm³")

# %% [markdown]
# It knows whose it is, and the study: that is all that DICOM adds. (The same picture as a PNG would not even know that:
# in a folder of a thousand it belongs to nobody.) The orange pixels are those of one slice. No volume can be had from them.
#
# A PDF fares no better. As an *encapsulated PDF* it can be archived; here is one, with the number printed in large type.

# %%
plt.imshow(picture), plt.axis("off"), plt.title(f"{story.title}\nNodule: {nodule.volume_mm3} mm³")
plt.savefig(paper := io.BytesIO(), format="pdf")
pdf = images[0].group_dataset(0x0010)  # the patient
pdf.SOPClassUID, pdf.SOPInstanceUID = pydicom.uid.EncapsulatedPDFStorage, hd.UID()
pdf.StudyInstanceUID, pdf.Modality, pdf.EncapsulatedDocument = images[0].StudyInstanceUID, "DOC", paper.getvalue()
print("Is the number in there as text?", str(nodule.volume_mm3).encode() in pdf.EncapsulatedDocument)

# %% [markdown]
# So why do they exist? Because practically **every** workstation shows them, and not every one shows a SEG or an SR. As a second copy for
# human eyes they are welcome; as the only result they are a dead end: humans can look, and no program can measure, sort,
# compare or correct. Send the result, and the picture beside it where you must. (The PDF here is only a sketch. A real one needs the rest of
# its header: PS3.3 A.45.1.)
#
# ## 2 · A segmentation, taken apart
#
# A SEG holds *which voxels*, and says what they are. highdicom writes it. First what the segment is, in codes. A code is a number in a
# dictionary: 27925004 is a nodule in SNOMED CT, whatever language the workstation speaks.

# %%
lesion, kind = codes.SCT.MorphologicallyAbnormalStructure, codes.SCT.Nodule  # category and type
software = hd.AlgorithmIdentificationSequence("lung nodule", codes.DCM.ArtificialIntelligence, "1.0")
what = hd.seg.SegmentDescription(1, "Nodule", lesion, kind, "AUTOMATIC", software, hd.UID(), "Nodule 1")

# %% [markdown]
# Then the object. `images` and `array` must run in the same order, slice by slice. Remember that; we come back to it.


# %%
def by_hand(images, array):
    """Return a SEG of an array (slice, row, column): slice 1 on image 1, slice 2 on image 2, and so on."""
    return hd.seg.Segmentation(
        images, array, "BINARY", [what], hd.UID(), 900, hd.UID(), 1, "me", "notebook", "1.0", "no serial number"
    )


mine = by_hand(sorted(images, key=lambda image: image.ImagePositionPatient[2]), mask.array)  # from the feet up

# %% [markdown]
# `rk.results.write_segmentation` is that call and what a PACS trips over when it is forgotten: the order of the slices, the
# series that was read, the site (which you have to tell it), UIDs that stay the same when the same mask is written again. *Predict: the CT has 133
# slices. How many frames will the SEG have? And how large is it, beside the CT?*

# %%
seg = rk.results.write_segmentation(mask, story.files, site="left lower lobe")
compact = rk.results.write_segmentation(mask, story.files, site="left lower lobe", form="labelmap")
print(f"CT         {len(story.files):>4} files   {ct.array.nbytes / 1024:8.0f} KB of pixels")
for name, one in {"SEG": seg, "label map": compact}.items():
    print(f"{name:<10} {one.NumberOfFrames:>4} frames  {len(one.PixelData) / 1024:8.0f} KB")
print("the same voxels as by hand:", (mine.pixel_array == seg.pixel_array).all())

# %% [markdown]
# Slices without a voxel are left out. The ordinary, *binary* form has one bit for each voxel, and a frame for each segment and
# slice. The *label map*, in the standard since 2024, has all segments of a slice in one frame, compressed: much smaller for a
# hundred organs. Older archives may refuse it, so a nodule goes as binary. Now look into the one segment:

# %%
rk.dicom.inspect(seg.SegmentSequence[0])

# %% [markdown]
# Scroll, and read it from the end: *TrackingUID*, by which the nodule is recognised next year; *type*, *category* and *region*, in codes; *algorithm*: who
# drew it, in which version, and that nobody helped. Each of the frames says where it lies and **names the image** it was drawn on:

# %%
rk.dicom.inspect(seg.PerFrameFunctionalGroupsSequence[0])

# %% [markdown]
# ## 3 · A structured report, taken apart
#
# The SR holds the *numbers*. Its form is a tree, and TID 1500 (PS3.16) says which branches there are. The border is for a human to judge: you
# see it in notebook 00, *spiculated*. Unfold what is folded.

# %%
from IPython.display import HTML

report = rk.results.write_report(nodule, story.files, seg, qualitative={"border shape": "spiculated"})


def tree(item):
    """Return an item of a report, and all below it, as HTML; what is said of each image is folded."""
    name = item.name.meaning if item.name else "an image"
    code = f" <small>({item.name.value}, {item.name.scheme_designator})</small>" if item.name else ""
    value = getattr(item, "value", "") if item.ValueType in ("NUM", "CODE", "TEXT", "UIDREF") else ""
    unit = item.unit.value if item.ValueType == "NUM" else ""
    line = f"<code>{item.ValueType}</code> {name}{code} <b>{getattr(value, 'meaning', value)} {unit}</b>"
    below = "".join(tree(child) for child in item.get("ContentSequence", []))
    head = f"<summary>{line}</summary>" if below else f"<div style='margin-left:1em'>{line}</div>"
    state = "open" if item.ValueType == "CONTAINER" and name != "Image Library" else ""
    return f"<details {state} style='margin-left:1.4em'>{head}{below}</details>" if below else head


HTML(tree(hd.sr.Comprehensive3DSR.from_dataset(report).content[0]))

# %% [markdown]
# Each number has a unit, and a code that says what it is. *Long axis* is no matter of taste: SNOMED CT has a number for it. Each
# axis is also a line on its image, so that whoever doubts it can see where it was drawn. The observer is a **device**. And has somebody
# signed? The program that reads it back gets numbers, and need not know how a tree looks:

# %%
print(report.CompletionFlag, "·", report.VerificationFlag, "·", report.PreliminaryFlag)
(finding,) = rk.results.read_report(report)
print(finding.values, finding.qualities, finding.site, finding.tracking, sep="\n")

# %% [markdown]
# *Complete*: the program has said all that it has to say. *Unverified, preliminary*: nobody has signed, and the object says so itself; to
# verify is for a person. (Compare with the PDF, which looks the same before and after.) There is a lesson here too: "spiculated" was **your**
# judgement, and this report gives it to the device. A program that lets a reader edit must name the person as a second observer.
#
# Last, the slip for the board: a *key object note* holds no image and no number. It points at some, with a coded title.

# %%
shown = [image for image in images if image.SOPInstanceUID == finding.regions["Long axis"][0]]
note = rk.results.write_key_objects([*shown, seg, report], title="for conference", description="For the tumour board")
print(rk.results.read_key_objects(note).title, "→", ", ".join(one.Modality for one in [*shown, seg, report]))

# %% [markdown]
# ## 4 · What AIR asks
#
# IHE's profile *AI Results* (AIR) does not name programs. It names **primitives**, the pieces that a result is made of, and the DICOM
# objects that carry them: SEG, SR by TID 1500, parametric map, key object note. A vendor who claims AIR can be asked for each. *Predict the ticks.* They are not typed in:
# the cell looks into our objects.

# %%
primitives = {"qualitative finding": ["Border shape"], "measurement with a unit": ["MeasurementUnitsCodeSequence"]}
primitives |= {"location": ["GraphicData", "ImagePositionPatient"], "region": ["SegmentNumber"]}
primitives |= {"parametric map": ["Parametric Map Storage"], "tracking identifier": ["Tracking U"]}
primitives |= {"reference to an image": ["ReferencedSOPInstanceUID"]}
results = {"capture": capture, "PDF": pdf, "SEG": seg, "SR": report, "key objects": note}
print(" " * 25 + "".join(f"{name:^13}" for name in results))
for primitive, words in primitives.items():
    there = [any(rk.dicom.inspect(one, search=word).rows for word in words) for one in results.values()]
    print(f"{primitive:<25}" + "".join(f"{'✓' if yes else '·':^13}" for yes in there))

# %% [markdown]
# Three objects share the work, and the UIDs tie them together. One row is empty: nobody has made a *parametric map*, a number for each
# voxel, such as an ADC or what the network said. AIR asks for what a product claims to give; nobody needs everything.
#
# ## 5 · Break it
#
# A result in the wrong place is worse than none. Remember `by_hand`: slice 1 on image 1. The array counts slices from the feet
# up, the scanner has numbered its files from the head down. Whoever forgets to sort them gets this. *Predict where the nodule goes.*

# %%
unsorted = by_hand(images, mask.array)
mirrored = rk.results.write_segmentation(mask.with_array(mask.array[:, :, ::-1]), story.files)
marks = mask.array.copy()
for number, one in enumerate((unsorted, mirrored), start=2):
    marks[rk.results.read_segmentation(one, like=ct).array > 0] = number
names = ["the nodule", "files not sorted", "array mirrored"]
rk.view.show(ct, marks, names=names, title=story.title, preset="lung", at=nodule.centroid, opacity=0.7)

# %% [markdown]
# Scroll, or press N for the next one. The second lies as far from the lower end as the nodule from the upper one; the third is in the other lung: left is
# on the right of the screen. Whoever scrolls through the whole chest sees both; who looks at the nodule alone sees neither.
#
# Now damage of another kind: the mask is right, and somebody spoils the header afterwards, as a converter does. Three ways: the frames in reverse, all of them one slice up, and
# in another frame of reference (the scanner's coordinates).
# *Predict: which would you see on the screen?*

# %%
damaged = {name: rk.results.write_segmentation(mask, story.files) for name in ("reversed", "one up", "elsewhere")}
frames = damaged["reversed"].PerFrameFunctionalGroupsSequence
for frame, its_mirror in zip(frames, reversed(seg.PerFrameFunctionalGroupsSequence), strict=True):
    frame.PlanePositionSequence = its_mirror.PlanePositionSequence
for frame in damaged["one up"].PerFrameFunctionalGroupsSequence:
    frame.PlanePositionSequence[0].ImagePositionPatient[2] += ct.spacing[0]
damaged["elsewhere"].FrameOfReferenceUID = hd.UID()

# %%
both = mask.array + 2 * rk.results.read_segmentation(damaged["reversed"], like=ct).array
names = ["only in the right one", "only in the reversed one", "in both"]
rk.view.show(ct, both, names=names, title=story.title, preset="lung", at=nodule.centroid, zoom=4, opacity=0.5)

# %% [markdown]
# The nodule stands on its head, in its own place: only its rim differs. Who would see that in the reading room, without the right one beside it? And yet in a plan for radiotherapy it is an outline that is wrong by
# millimetres. So ask the numbers:
# does each frame lie on the image that it names? `rk.results.check` asks this, and more, of all of them.

# %%
for name, one in {**damaged, "files not sorted": unsorted, "array mirrored": mirrored, "the right one": seg}.items():
    said = [text.partition("fit its images: ")[2] for text in rk.results.check(one, story.files)]
    print(f"{name:<17}" + " ".join(said or ["- no objection"]))

# %% [markdown]
# The three spoilt headers are found. And the two that anyone would see? **No objection.** Their headers agree with each other: each
# frame lies on the image it names, only the picture in it is another's. No header shows that. What does?
#
# **1. The anatomy.** What lies under the mask should be what it claims to be. A solid nodule is soft tissue:

# %%
for name, one in {"the right one": seg, "files not sorted": unsorted, "array mirrored": mirrored}.items():
    print(f"{name:<18} median {np.median(ct.array[rk.results.read_segmentation(one, like=ct).array > 0]):5.0f} HU")

# %% [markdown]
# **2. A letter.** Before a program goes live, send a drawn patient through the *whole* chain, in whom the answer is
# known: an F, which looks like itself in no mirror and no turn, its middle bar in the lower slices only.

# %%
from tempfile import TemporaryDirectory

letter = np.full((12, 64, 64), -900, np.int16)
letter[2:10, 10:54, 14:22] = letter[2:10, 10:18, 14:46] = letter[2:7, 28:36, 14:38] = 700
figure, axes = plt.subplots(1, 2, figsize=(9, 4.6), layout="constrained")
with TemporaryDirectory() as folder:
    rk.data.write_ct_series(hd.Volume(letter, np.eye(4)[[2, 1, 0, 3]], coordinate_system="PATIENT"), folder)
    drawn, headers = rk.dicom.read_series(folder), rk.dicom.read_headers(folder)
orders = {"sorted": sorted(headers, key=lambda image: image.ImagePositionPatient[2]), "not sorted": headers}
for axis, (name, order) in zip(axes, orders.items(), strict=True):
    back = rk.results.read_segmentation(by_hand(order, drawn.array > 0), like=drawn).array
    axis.imshow(drawn.array[4], cmap="gray")
    axis.contourf(back[4], [0.5, 1], colors="orange", alpha=0.6)
    axis.set(title=f"{name}: {back[drawn.array > 0].mean():.0%} of the letter covered", xticks=[], yticks=[])

# %% [markdown]
# If the colour sits on the letter, axial, sagittal, oblique and with the files in any order, after a trip through the archive and in
# *your* viewer, the chain may be trusted. Check by numbers on every study, and by the letter at every change.
#
# ## 6 · The same finding, half a year later
#
# Our man has no second CT. So here is another patient, grown by code, whom nobody scanned: bright lesions in the brain, on FLAIR
# in January and in July. A simulated reader outlines them; SEG and SR are written as above, and read back.

# %%
january, july = rk.data.cohort("brain-lesions", 1, seed=10, times=2, stand_in=stand_in, progress=False)


def filed(study, drawn, tracking=None):
    """Return the findings of one date, as whoever opens the report next year gets them."""
    told = {"kind": "lesion of brain", "site": "brain", "tracking": tracking, "algorithm": "simulated reader"}
    with TemporaryDirectory() as folder:
        files = [file for file in study.write(f"{folder}/mr") if file.parent.name == "flair"]
        outlines = rk.results.write_segmentation(drawn, files, **told)
        sizes = [rk.results.measure(drawn, label=number + 1) for number in range(drawn.array.max())]
        return rk.results.read_report(rk.results.write_report(sizes, files, outlines, algorithm="simulated reader"))


old, new = (study.drawn_by(0, wander_mm=0.5) for study in (january, july))
new = new.with_array((new.array.max() + 1 - new.array) * (new.array > 0))  # an update: it counts from the other end
before = filed(january, old)

# %% [markdown]
# In July the program has had an update, and numbers the lesions from the other end. *Predict: what happens to a table that goes by number?*
#
# To say that two findings are the same is a **judgement**. Here it is made by overlap; in practice, register the two dates first, and let a person look.
# The *tracking UID* is where that judgement is kept: July's result takes over January's. (Below, 0 mm³: there was none.)

# %%
same = {n: np.bincount(old.array[new.array == n]).argmax() for n in range(1, new.array.max() + 1)}
after = filed(july, new, {n: before[was - 1].tracking for n, was in same.items() if was})
first_seen = {one.tracking_uid: one.volume_mm3 for one in before}
for n, one in enumerate(after, start=1):
    by_number, by_uid = before[n - 1].volume_mm3 if n <= len(before) else 0, first_seen.get(one.tracking_uid, 0)
    print(f"July, {n}: {one.volume_mm3:3.0f} mm³   January, same number: {by_number:3.0f}   same UID: {by_uid:3.0f}")

# %% [markdown]
# By number, strangers are compared. By UID, each lesion meets itself, and the one with 0 is new.
#
# **Growth, or noise?** An outline drawn twice is never the same. So ten readers outline both dates. Each point is what the report says; the bar on it is
# 1.96 standard deviations of what the ten draw, and a change counts only if it is larger than that of the two dates together, √(a² + b²).
# *Predict: how many of the six will be called?*

# %%
figure, axis = plt.subplots(figsize=(9, 6), layout="constrained")
drawings = [[study.drawn_by(reader, wander_mm=0.5).array for reader in range(10)] for study in (january, july)]
LOOK = {"grown": "#D55E00", "new": "#8a3d78", "shrunk": "#0072B2", "cannot tell": "#777777"}
for n, one in enumerate(after, start=1):
    number, was, now = len(after) + 1 - n, first_seen.get(one.tracking_uid, 0), one.volume_mm3  # as the readers count
    bars = [1.96 * old.voxel_volume * np.std([(a == number).sum() for a in date], ddof=1) for date in drawings]
    called = "cannot tell" if abs(now - was) <= np.hypot(*bars) else "grown" if now > was else "shrunk"
    called = f"{called}, {now / was - 1:+.0%}" if was else "new"
    look = {"color": LOOK[called.split(",")[0]], "lw": 2.5, "marker": "o", "capsize": 5}
    axis.errorbar([n / 40, 1 + n / 40], [was, now], bars, **look)
    axis.text(*((1.2, now) if was else (0.1, 0)), f"{n}: {called}", va="center", color=look["color"])
axis.set(xlim=(-0.1, 1.7), xticks=(0.09, 1.09), xticklabels=("January", "July"), ylabel="volume, mm³", ylim=(-15, None))
plt.show()

# %% [markdown]
# Look at the grey ones. Changes that one would like to report, and *cannot tell*. These lesions were made by code, so here the truth is known:

# %%
print(*(f"{n}: {one.attributes['change']}" for n, one in enumerate(reversed(july.lesions), start=1)), sep="\n")

# %% [markdown]
# Which of the grey ones had changed in truth? *Cannot tell* is not *stable*: the outlines are too rough to see it. What would help: the same program at both
# dates, thinner slices, a third date. What does not help: another decimal. And note what the report does **not** hold: its numbers come without any
# uncertainty. Whoever compares them has to know it from elsewhere; ask the vendor for it.
#
# ## What has to arrive?
#
# The question from above, answered: the **SEG**, that the surgeon can find it in space; the **SR**, that the board sees numbers with units, and
# whoever measures next finds the UID; the **key objects**, that nobody has to search. All in the patient's study and on its coordinates, and checked:

# %%
assert (problems := rk.results.check([seg, report, note], story.files)) == [], problems
print(", ".join(f"{one.Modality}: study …{one.StudyInstanceUID[-8:]}" for one in (images[0], seg, report, note)))

# %% [markdown]
# ## Recap
#
# - A picture or a PDF is for human eyes. It may go along; it does not replace the result.
# - A SEG says which voxels and what they are, in codes, and each frame names its image. An SR says the numbers, with units, who observed, and that
#   nobody has signed yet.
# - Headers that disagree are found by numbers, even where no eye sees it. A picture on the wrong slice with consistent headers is found by eyes,
#   by what lies under the mask, and by a letter. You need both.
# - A finding is the same because somebody judged so, and its tracking UID keeps that judgement. Its number in a list means nothing.
# - A change smaller than the noise is no change that you can report.
#
# ## Try next
#
# - The exercise that belongs to this notebook: [exercise 07](../exercises/07_results_ex.ipynb).
# - `rk.dicom.compare(mine, seg)` lists all that the plain call leaves out. Which of it would your PACS miss?
# - Give the report the wrong number on purpose: `from dataclasses import replace`, then
#   `rk.results.write_report(replace(nodule, volume_mm3=58.0), story.files, seg)`. Does `check` object? Should it? Who would?
# - In the last picture let the readers' hands be steadier: `wander_mm=0.2` in both places. How many are called then?
# - Spoil a code: `seg.SegmentSequence[0].SegmentedPropertyTypeCodeSequence[0].CodeValue = "nodule"`, and ask `check` again.
#
# ## Sources
#
# - The images: attribution in notebook 00; licences in `data/catalog.yaml`. The brain is grown by code: `print(july.made_from)`.
# - DICOM, [dicomstandard.org](https://www.dicomstandard.org): Segmentation PS3.3 A.51 and C.8.20, Encapsulated PDF A.45.1, Key Object Selection A.35.4;
#   TID 1500 and the context groups PS3.16.
# - IHE Radiology, *AI Results* (AIR), Rev. 1.3, trial implementation, 2025: [ihe.net](https://www.ihe.net).
# - highdicom: Bridge CP, et al. *J Digit Imaging* 2022;35:1719–1737, doi:10.1007/s10278-022-00683-y.
# - Change against the measurement's own noise: Bland JM, Altman DG. Measuring agreement in method comparison studies. *Stat Methods Med Res*
#   1999;8:135–160.
