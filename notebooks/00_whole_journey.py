# %% [markdown]
# # 00 · The whole journey in five minutes
#
# **For whom:** a radiology resident who has never programmed. You only press ▶ (or Shift + Enter), cell by cell, and look.
#
# **Goals.** At the end you have
# 1. looked at a real chest CT the way you do at work, in a notebook;
# 2. let a small neural network find a nodule, and seen what else it took for one;
# 3. measured the nodule and read what the guideline would do with that number;
# 4. written the result in the two forms that a PACS understands, a segmentation and a structured report;
# 5. sent the study to an archive, let an application answer, and found the answer in the archive.
#
# **Minutes:** five to read; one to two for the computer.

# %% [markdown]
# ## The clinical question
#
# A 65-year-old man has had a chest CT with contrast for another reason. The archive holds the study, nobody has measured anything.
#
# > **Is there a lung nodule, how large is it, and does that change what happens to the patient next?**
#
# The size decides: below 6 mm a nodule is usually left alone, above 8 mm someone has to act. So the size must be right,
# it must arrive where the report is written, and it must belong to *this* patient. All of today's steps serve that.

# %% tags=["parameters"]
stand_in = None  # None: the real CT, and a generated stand-in where it cannot be had
archive_kind = "auto"  # "orthanc", "embedded", or whichever this machine has

# %%
import pydicom

import radkit as rk

steps = rk.view.Stopwatch()

# %% [markdown]
# ## 1 · The patient
#
# The CT comes as a scanner writes it: one DICOM file for each slice. Every file carries, beside its pixels, who and what
# and where: that is its *header*. Here is a part of one, read with [pydicom](https://pydicom.github.io).

# %%
with steps("Get the CT"):
    story = rk.data.story(stand_in=stand_in)
    header = pydicom.dcmread(story.files[0], stop_before_pixels=True)
print(f"{story.title}: {len(story.files)} slices\n\n{story.source.attribution}\n")
for keyword in ("PatientID", "StudyDate", "Modality", "SliceThickness", "PixelSpacing", "StudyInstanceUID"):
    print(f"{keyword:>18}  {header[keyword].value}")

# %% [markdown]
# `StudyInstanceUID` is the study's name among all the studies of the world. **Remember how it ends**: whatever we produce
# below must carry the same one, or no workstation will show it beside these images.
#
# ## 2 · Look
#
# Scroll with the wheel or the arrow keys, click to move the crosshair in all three planes, drag with the right mouse
# button to change the window. Under the images it says what else there is. **Go through the lungs now, before you read
# on.**

# %%
with steps("Read the slices"):
    ct = rk.dicom.read_series(story.folder)
rk.view.show(ct, title=story.title, preset="lung")

# %% [markdown]
# ### Predict, then run
#
# Have you found a nodule? In which lobe? How long is it, by eye, in millimetres? Set the slider to your guess first.

# %%
from ipywidgets import IntSlider

guess = IntSlider(value=10, min=2, max=40, description="My guess, mm", style={"description_width": "initial"})
guess

# %% [markdown]
# ## 3 · Find the nodule
#
# The network is a small U-Net built with [MONAI](https://monai.io). It was trained on *other* people's CTs, into which
# nodules of known shape had been put by a program. It has never seen this patient.

# %%
with steps("Find the nodule"):
    nodules = rk.model.find_nodules(ct)
print(f"places inside the lungs that look like a nodule to the network: {nodules.array.max()}")

# %%
nodule = rk.results.measure(nodules, label=1)
names = {number: f"candidate {number}" for number in range(1, nodules.array.max() + 1)}
rk.view.show(ct, nodules, names=names, title=story.title, preset="lung", at=nodule.centroid)

# %% [markdown]
# The largest one is number 1. If there are others, **they are for you to judge**: scroll to them. A vessel where it
# branches, a scar, the edge of the diaphragm: a network reports what resembles its lessons, and does not know what a
# vessel is. And if there is only one, ask yourself what it may have missed: nobody has shown it every nodule there is.
#
# ## 4 · Measure
#
# The longest diameter is measured as you would with calipers: in the axial slice where it is longest, and at a right
# angle to it the short one. The guideline wants their mean, rounded to the millimetre.

# %%
print(f"volume          {nodule.volume_mm3 / 1000:6.1f} ml")
print(f"long diameter   {nodule.long_axis_mm:6.1f} mm   (you guessed {guess.value} mm)")
print(f"short diameter  {nodule.short_axis_mm:6.1f} mm")
print(f"mean diameter   {nodule.mean_diameter_mm:6.0f} mm\n")
advice = rk.results.fleischner(nodule.mean_diameter_mm, risk="high")
print(advice.text)

# %% [markdown]
# That is the Fleischner Society's guideline of 2017 (see *Sources*). It speaks of a nodule found by chance in an adult of
# 35 or more who has neither a known cancer nor a weakened immune system. Whether this is such a patient, no network can
# tell you: **the decision remains yours.**
#
# ## 5 · Write it down so that a PACS understands
#
# A picture with a red blob is not a result: no one can measure in it, sort by it or follow it next year. DICOM has two
# forms that hold. A **segmentation** (SEG) says which voxels; a **structured report** (SR, template TID 1500) says the
# numbers, with units and codes. [highdicom](https://highdicom.readthedocs.io) writes both.
#
# You are the reader, and you have judged: only number 1 goes into your result.

# %%
with steps("Write SEG and SR"):
    accepted = nodules.with_array((nodules.array == 1).astype("uint8"))
    seg = rk.results.write_segmentation(accepted, story.files)
    report = rk.results.write_report(nodule, story.files, seg)
for result in (seg, report):
    print(f"{result.Modality:>4}  {result.SOPClassUID.name}, study …{result.StudyInstanceUID[-8:]}")

# %% [markdown]
# ## 6 · Package it
#
# A hospital does not run notebooks. It runs packages that start, take a study, leave a result and stop. The standard form
# is a *MAP*, an application package by MONAI Deploy. This one holds the same network and the same steps as above, with
# one difference: nobody has judged yet, so it reports **every** place the network found, as candidates for a reader.

# %%
with steps("Build the package"):
    package = rk.deploy.build_map("../build/map/lung_nodule", overwrite=True)
parts = {"etc": "what it is and needs", "opt/holoscan/app": "the steps", "opt/holoscan/models": "the network"}
for part, meaning in parts.items():
    print(f"{part}: {meaning}")
    print(*(f"    {path.name}" for path in sorted((package / part).rglob("*.*"))[:6]), sep="\n")

# %% [markdown]
# ## 7 · Send, wait, answer
#
# Now as in the hospital. We start an archive on this machine ([Orthanc](https://www.orthanc-server.com), where it is
# installed), send it the study, wait until it calls the study complete, fetch the study from it, let the package work,
# and send back what it wrote.

# %%
archive = rk.pacs.open_archive(archive_kind)
print(f"{archive.kind}: speaks {' and '.join(archive.speaks)}")
with steps("Send the study"):
    archive.send(story.files)
with steps("Wait until it is stable"):
    archive.wait_stable(header.StudyInstanceUID, instances=len(story.files))

# %%
from tempfile import TemporaryDirectory

with TemporaryDirectory() as folder:
    with steps("Fetch the study"):
        archive.fetch(study=header.StudyInstanceUID, folder=f"{folder}/in")
    with steps("Run the package"):
        answer = rk.deploy.run_map(package, f"{folder}/in", f"{folder}/out")
    with steps("Send the result"):
        archive.send([path for path in answer.outputs if path.suffix == ".dcm"])
print(
    f"status: {answer.result['status']}, run by {answer.result['runner']}, {len(answer.result['findings'])} candidates"
)
print("files: ", ", ".join(path.name for path in answer.outputs))

# %% [markdown]
# ## 8 · Is it there, and does it fit?
#
# Ask the archive, as a workstation would, for everything in this study. Then check what can go wrong and often does: the
# wrong patient, another frame of reference, a segmentation that is shifted or upside down.

# %%
with steps("Query and check"):
    series = archive.find("series", StudyInstanceUID=header.StudyInstanceUID)
    found = {entry.Modality: archive.fetch(series=entry.SeriesInstanceUID) for entry in series}
    problems = [text for kind in ("SEG", "SR") for text in rk.results.check(found[kind][0], found["CT"])]
print(sorted(found), "in study", header.StudyInstanceUID[-8:])
assert problems == [], problems

# %%
back = rk.results.read_segmentation(found["SEG"][0], like=ct)
same_voxels = bool((back.array == nodules.array).all())
assert {images[0].StudyInstanceUID for images in found.values()} == {header.StudyInstanceUID}
assert found["SEG"][0].FrameOfReferenceUID == found["CT"][0].FrameOfReferenceUID
assert back.geometry_equal(ct, tol=1e-3) and same_voxels
print("The segmentation in the archive lies on the CT, voxel for voxel as the network drew it above.")

# %%
rk.view.show(ct, back, names=names, title=f"From the archive · {story.title}", preset="lung", at=nodule.centroid)

# %% [markdown]
# This is the overlay that came **back from the archive**, not the one from above.
#
# ## 9 · Where did the time go?

# %% tags=["seconds"]
archive.close()
steps.chart()

# %% [markdown]
# ## Recap
#
# - The header ties everything together: same study, same frame of reference, same patient, from the scanner to the result.
# - A network finds what resembles its training, no more and no less. Judging what it found is the reader's work.
# - A number is only as good as its definition: longest axial diameter, mean of two, or volume lead to different rules.
# - SEG and SR are results that an archive can find, sort and give back. A screenshot is not.
# - A package does in the hospital what the notebook does here, and the same voxels come out: we checked.
#
# ## Try next
#
# - Set `risk="low"` in step 4 and run it again. What changes, and at which size would it change?
# - Set `stand_in = True` at the top: a generated patient whose nodule is known exactly. How far off is the network?
# - Look at the nodule in a soft-tissue window. Is it longer or shorter there, and which would you report?
# - Notebook 01 opens one of these DICOM files byte by byte.
#
# ## Sources
#
# - The images: the attribution is printed in step 1; licence and checksums are in `data/catalog.yaml`.
# - MacMahon H, et al. Guidelines for Management of Incidental Pulmonary Nodules Detected on CT Images: From the Fleischner
#   Society 2017. *Radiology* 2017;284:228–243.
# - DICOM PS3.3 A.51 (Segmentation) and PS3.16 TID 1500 (Measurement Report), [dicomstandard.org](https://www.dicomstandard.org).
# - MONAI Deploy: *MONAI Application Package*, version 1.0.
# - How the network was trained, and where it fails: `data/bundles/lung_nodule/docs/README.md`.
#
# *Nothing here is for clinical use.*
