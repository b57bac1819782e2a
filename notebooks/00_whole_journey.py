# %% [markdown]
# # 00 · The whole journey in five minutes
#
# **For whom:** a radiology resident who has never programmed. You only press ▶ (or Shift + Enter), cell by cell, and look.
# Nobody needs to understand the code: it is there so that you see how little it takes.
#
# **Goals.** At the end you have
# 1. looked at a real chest CT the way you do at work, in a notebook;
# 2. let a small neural network look for nodules, and judged whether to believe it;
# 3. measured a nodule and read what the guideline would do with that number;
# 4. written the result in the two forms that a PACS understands, a segmentation and a structured report;
# 5. sent the study to an archive, let an application answer, and found the answer in the archive.
#
# **Minutes:** five to read and look; one for the computer, and one more the first time, for fetching the images.
#
# *Nothing here is for clinical use.*

# %% [markdown]
# ## The clinical question
#
# A 65-year-old man has had a chest CT with contrast for another reason. Nobody has measured anything yet. (The images are
# a real patient's; the name, the age, the dates and the story are invented.)
#
# > **Is there a lung nodule, how large is it, and does that change what happens to the patient next?**
#
# Size comes first, then density, shape, growth, and the patient's risk. A solid nodule below 6 mm needs no routine
# follow-up; above 8 mm, work-up is considered. So the size must be right, it must arrive where the report is written, and
# it must belong to *this* patient. All the steps below serve that.
#
# Leave the next two lines as they are.

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
print(f"{story.title}: {len(story.files)} slices\n")
for keyword in ("PatientID", "StudyDate", "Modality", "SliceThickness", "PixelSpacing", "StudyInstanceUID"):
    print(f"{keyword:>18}  {header[keyword].value}")
print("\nThanks to:", story.source.attribution)

# %% [markdown]
# `StudyInstanceUID` is the study's worldwide unique number. **Remember how it ends**: whatever we produce below must carry
# the same one, or no workstation will show it beside these images.
#
# ## 2 · Look
#
# Scroll with the wheel or the arrow keys, click to move the crosshair in all three planes, drag with the right mouse
# button to change the window; + and − zoom. The line under the images lists the other keys. **Go through the lungs now,
# before you read on.**

# %%
with steps("Read the slices"):
    ct = rk.dicom.read_series(story.folder)
rk.view.show(ct, title=story.title, preset="lung")

# %% [markdown]
# ### Predict, then run
#
# Have you found a nodule? In which lobe? How long is it, by eye? (The white bar is the scale.) Set the slider to your guess.

# %%
from ipywidgets import IntSlider

guess = IntSlider(value=10, min=2, max=40, description="My guess, mm", style={"description_width": "initial"})
guess

# %% [markdown]
# ## 3 · Find the nodule
#
# The network is a small U-Net, the usual kind for outlining things in images, built with [MONAI](https://monai.io). It was
# trained on *other* people's CTs, into which a program had put nodules of known shape. It has never seen this patient.

# %%
with steps("Find the nodule"):
    nodules = rk.model.find_nodules(ct)
print(f"places inside the lungs that look like a nodule to the network: {nodules.array.max()}")

# %%
nodule = rk.results.measure(nodules, label=1)
names = {number: f"candidate {number}" for number in range(1, nodules.array.max() + 1)}
rk.view.show(ct, nodules, names=names, title=story.title, preset="lung", at=nodule.centroid, zoom=2, opacity=0.15)

# %% [markdown]
# The largest one is number 1. **Do you believe it?** Press M to take the overlay away and back.
#
# If there are others, they are for you to judge: a vessel where it branches, a scar, the dome of the diaphragm. And if
# there are none, that says little: when its recipe was tested on a CT held out, this network missed seven of nine nodules
# below 12 mm. It finds what resembles its training examples.
#
# ## 4 · Measure
#
# *Predict first: will the number change what you do? Below 6, 6 to 8, or above 8 mm?*
#
# The long diameter is measured as you would with calipers, in the axial slice where it is longest, and the short one at a
# right angle to it. The guideline wants their mean, rounded to the millimetre, or the volume. (It also
# allows the coronal and the sagittal plane, and asks for slices of 1.5 mm or less; these have 2.5 mm.)

# %%
print(f"long diameter   {nodule.long_axis_mm:6.1f} mm   (your slider said {guess.value} mm)")
print(f"short diameter  {nodule.short_axis_mm:6.1f} mm")
print(f"mean diameter   {nodule.mean_diameter_mm:6.0f} mm")
print(f"volume          {nodule.volume_mm3:6.0f} mm³ = {nodule.volume_mm3 / 1000:.1f} ml\n")
advice = nodule.fleischner(risk="high")
print(advice.text, advice.limits, sep="\n\n")

# %% [markdown]
# That is the Fleischner Society's guideline of 2017. What the computer did *not* decide: that the nodule is single, that it
# is solid, and that the risk is high. Those three are **your** judgement, here from the age and the spiculated margin.
#
# A list of options is no plan either. At this size and shape few would wait three months: compare with earlier CTs, then
# PET/CT, tissue, and the tumour board.
#
# ## 5 · Write it down so that a PACS understands
#
# A picture with a coloured blob is not a result: no one can measure in it, sort by it or follow it next year. DICOM has two
# objects that do. A **segmentation** (SEG) says which voxels; a **structured report** (SR) says the numbers, with units
# and codes. [highdicom](https://highdicom.readthedocs.io) writes both. Only number 1 goes into yours.

# %%
with steps("Write SEG and SR"):
    seg = rk.results.write_segmentation(nodules, story.files, label=1)
    report = rk.results.write_report(nodule, story.files, seg)
for result in (seg, report):
    print(f"{result.Modality:>4}  {result.SOPClassUID.name}, study …{result.StudyInstanceUID[-8:]}")

# %% [markdown]
# The report says that software measured and that nobody has verified it: to sign is for a person.
#
# ## 6 · Package it
#
# Routine work does not run in notebooks. It runs as a package that starts, takes a study, leaves a result and stops. One
# open form of it is the *MAP*, MONAI Deploy's application package. This one holds the same network and the same steps as
# above, with one difference: nobody has judged yet, so it reports **every** place that the network found, as candidates.

# %%
with steps("Build the package"):
    package = rk.deploy.build_map("../build/map/lung_nodule", overwrite=True)
parts = {
    "etc/holoscan": "says what it needs and gives",
    "opt/holoscan/app": "the steps",
    "opt/holoscan/models": "the network",
}
for part, meaning in parts.items():
    print(f"{part:<20} {meaning:<29} {sum(path.is_file() for path in (package / part).rglob('*')):>3} files")

# %% [markdown]
# ## 7 · Send, wait, answer
#
# Now as it runs in a hospital. We start an archive on this machine ([Orthanc](https://www.orthanc-server.com), where it is
# installed), send it the study, and wait until nothing more arrives: then it calls the study *stable*. The package fetches
# the study from the archive, and what it writes goes back there.

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
print(f"{answer.result['status']}, by {answer.result['runner']}; candidates: {len(answer.result['findings'])}")
print("it wrote:", ", ".join(path.name for path in answer.outputs))

# %% [markdown]
# ## 8 · Is it there, and does it fit?
#
# *Predict: will the overlay from the archive lie exactly on the nodule?*
#
# Ask the archive, as a workstation would, for everything in this study. Then check what can go wrong and often does: the
# wrong patient, another frame of reference (the scanner's coordinate system), an overlay that is shifted or upside down.
# `assert` stops here if anything is wrong.

# %%
with steps("Query and check"):
    series = archive.find("series", StudyInstanceUID=header.StudyInstanceUID)
    found = {entry.Modality: archive.fetch(series=entry.SeriesInstanceUID) for entry in series}
    problems = [text for kind in ("SEG", "SR") for text in rk.results.check(found[kind][0], found["CT"])]
print(sorted(found), "in study", header.StudyInstanceUID[-8:])
assert problems == [], problems

# %%
back = rk.results.read_segmentation(found["SEG"][0], like=ct)
assert {images[0].StudyInstanceUID for images in found.values()} == {header.StudyInstanceUID}
assert found["SEG"][0].FrameOfReferenceUID == found["CT"][0].FrameOfReferenceUID
assert back.geometry_equal(ct, tol=1e-3)
assert (back.array == nodules.array).all()
print("The segmentation in the archive lies on the CT, voxel for voxel as the network drew it in step 3.")

# %%
title = f"From the archive · {story.title}"
rk.view.show(ct, back, names=names, title=title, preset="lung", at=nodule.centroid, zoom=2, opacity=0.15)

# %% [markdown]
# This is the overlay that came **back from the archive**, not the one from above.
#
# ## 9 · Where did the time go?

# %%
archive.close()
steps.chart()

# %% [markdown]
# ## Recap
#
# - The header ties everything together: same study, same frame of reference, same patient, from the scanner to the result.
# - A network finds what resembles its training examples, and misses what does not. Judging it is the reader's work.
# - A size needs its definition: which diameter, in which plane and window, on slices of what thickness.
# - SEG and SR are results that an archive can find, sort and give back. A screenshot is not.
# - A package does in the hospital what the notebook does here, and the same voxels come out: we checked.
#
# ## Try next
#
# - In a new cell: `from dataclasses import replace`, then
#   `print(replace(nodule, long_axis_mm=7, short_axis_mm=7, volume_mm3=180).fleischner(risk="low"))`. A ball of 5 mm has
#   65 mm³, one of 6 mm 113, of 8 mm 268, of 9 mm 382. Try them, and the other risk. Where does it change?
# - Press 1 in the viewer for the soft-tissue window. Is the nodule longer or shorter there? Which would you report?
# - Set `stand_in = True` at the top and choose *Run ▸ Restart Kernel and Run All Cells*: a generated patient whose nodule
#   has 6144 mm³, because a program drew it. How far off is the network, and what else does it take for a nodule?
#
# ## Sources
#
# - The images: attribution in step 1; licence and checksums in `data/catalog.yaml`.
# - MacMahon H, et al. Guidelines for Management of Incidental Pulmonary Nodules Detected on CT Images: From the Fleischner
#   Society 2017. *Radiology* 2017;284:228–243, doi:10.1148/radiol.2017161659.
# - Bankier AA, et al. Recommendations for Measuring Pulmonary Nodules at CT: A Statement from the Fleischner Society.
#   *Radiology* 2017;285:584–600, doi:10.1148/radiol.2017162894.
# - DICOM PS3.3 A.51 (Segmentation) and PS3.16 TID 1500 (Measurement Report), [dicomstandard.org](https://www.dicomstandard.org).
# - MONAI Deploy: *MONAI Application Package*, version 1.0.
# - How the network was trained, what it is worth and where it fails: its
#   [model card](../data/bundles/lung_nodule/docs/README.md).
