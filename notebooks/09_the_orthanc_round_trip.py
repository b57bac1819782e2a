# %% [markdown]
# # 09 · The Orthanc round trip
#
# **For whom:** radiology residents who have wondered where a study *is*, and everyone who has to connect an AI to a PACS. You need
# not have programmed: press ▶ (or Shift + Enter), cell by cell, predict, and look. Informaticists may read the code.
#
# **Goals.** At the end you can
# 1. say who talks to whom between scanner, archive, AI and reading room, and read an AE title and a port;
# 2. ask an archive a question, and say what its answer holds and what it does not;
# 3. let results come back without anyone clicking "send", and say what happens to the study that fails;
# 4. recognise a loop that feeds itself, and the rule that stops it;
# 5. say what is lost when the archive dies in mid-transfer, what to do then, and who may talk to it at all.
#
# **Minutes:** 35 to read, predict and look; one or two for the computer.
#
# *Nothing here is for clinical use. The first patient is the one of the course; the others are grown by code: nobody was scanned.*

# %% [markdown]
# ## The clinical question
#
# At Guy's and St Thomas' in London an AI for bone age ran on a node of its vendor, and studies had to be *sent* there by hand. After
# about three months no significant saving was seen (Gupta 2024). Nothing in that sentence is about how well the AI reads a bone.
#
# > **The scanner has sent a CT. Where is it now, who has a copy, and how does the AI's answer reach the radiologist's screen
# > without anybody clicking anything?**
#
# Leave the next line as it is.

# %% tags=["parameters"]
stand_in, archive_kind = None, "auto"  # None: the real CTs, if they can be had; "auto": Orthanc, if it is installed

# %%
import ssl
import threading
import time
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import matplotlib.pyplot as plt
import psutil
import pydicom
import pynetdicom
from IPython.display import display
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind, Verification

import radkit as rk

plt.rcParams.update({"font.size": 16, "figure.figsize": (13, 4.8)})

# %% [markdown]
# ## 1 · An archive, and who talks to it
#
# We start an archive on this machine: [Orthanc](https://www.orthanc-server.com), a small one that hospitals use too; where it is
# not installed, a smaller one of radkit's own. Each program in a DICOM network has an **AE title**, a name of up to 16 characters,
# and an address: host and port. An archive keeps a list of those it lets in. Ours knows two besides us (`RADKIT`).

# %%
home = TemporaryDirectory()
Path(home.name).chmod(0o711)  # the archive runs under an account of its own, and has to pass
known = {"CT-SCANNER": ("127.0.0.1", 11112), "READING-ROOM": ("127.0.0.1", 11113)}
archive = rk.pacs.open_archive(archive_kind, folder=f"{home.name}/pacs", peers=known)
archive

# %% [markdown]
# ```text
#  CT-SCANNER                      RADKIT-ARCHIVE                      READING-ROOM
#  the scanner  ──── C-STORE ───▶  the archive    ◀── C-FIND, C-GET ──  a workstation
#                                       ▲
#         C-FIND, C-GET: the images     │     C-STORE: the answer
#                                       │
#                                       RADKIT
#                                       the AI
# ```
#
# An arrow points from the one who calls to the one who is called. The line above it says what ours speaks: **DIMSE** is the classic
# language of the words on the arrows; **DICOMweb** says the same in the language of web pages.
#
# Every call begins with an *association*. The two agree on who calls whom, which kind of object will come, and how it is encoded. The
# shortest call has one question, *are you there, and do you talk to me?* That is the **C-ECHO**, DICOM's ping. Here it is with
# [pynetdicom](https://pydicom.github.io/pynetdicom/), nothing hidden. *Predict: which status says "all is well"?*


# %%
def call(me, context, syntax=None, *, to=archive, tls=None):
    entity = pynetdicom.AE(me)
    entity.add_requested_context(context, syntax)
    return entity.associate(to.host, to.dicom_port, ae_title=to.ae_title, tls_args=tls)


association = call("CT-SCANNER", Verification)
print(association.send_c_echo())
association.release()

# %% [markdown]
# 0 means success. Now the scanner sends **one** slice by **C-STORE**, and one only:

# %%
story = rk.data.story(stand_in=stand_in)
first = pydicom.dcmread(story.files[0])
association = call("CT-SCANNER", first.SOPClassUID, first.file_meta.TransferSyntaxUID)
print(f"{first.SOPClassUID.name}: status 0x{association.send_c_store(first).Status:04X}")
association.release()
print(f"{len(archive.find('instance'))} of {len(story.files)} slices are there")

# %% [markdown]
# And the rest. `archive.send` does the same for every file, with a bar, by the quickest way that the archive offers. We hand it the
# **whole** folder. *Predict: will the first slice be there twice?*

# %%
archive.send(story.files)
held = [one.SOPInstanceUID for one in archive.find("instance")]
print(f"{len(held)} instances, {len(set(held))} of them different")

# %% [markdown]
# Every instance has a worldwide unique number, its `SOPInstanceUID`. An archive keeps each once (if it comes again, some keep the
# first, others the last); and before it sends, radkit asks what is there already.
#
# ## 2 · Ask, then fetch
#
# A workstation that shows you a list has sent a **C-FIND**. It looks like an empty form: what is filled in must match, what is left
# empty is asked for. `*` stands for anything, `?` for one character, and a date may be a range.


# %%
form = pydicom.Dataset()
form.QueryRetrieveLevel, form.PatientName, form.StudyDate = "STUDY", "RADKIT^ST*", "20240101-20241231"
form.StudyDescription = form.StudyInstanceUID = form.NumberOfStudyRelatedInstances = ""
association = call("READING-ROOM", StudyRootQueryRetrieveInformationModelFind)
for status, answer in association.send_c_find(form, StudyRootQueryRetrieveInformationModelFind):
    print(f"status 0x{status.Status:04X}", answer or "that was all", sep="\n")
association.release()

# %% [markdown]
# `0xFF00` means *pending*: here is a match, and more may come. The line with `0x0000` ends the list.
#
# *Are there pixels in that answer? Does it say whether there is a nodule?* A query answers from the archive's index: who, when, what
# kind, how many. What is *in* the images no archive knows, unless somebody has stored it as a result.
#
# Now two more patients arrive, of six that code has grown. We ask four questions by `archive.find`, which fills in the form for
# you. *Predict each number before you run the cell. The new numbers are CHEST-0000 and CHEST-0001.*

# %%
knobs = {"anatomies": ["chest-ct"], "stand_in": stand_in, "seed": 9, "progress": False}
cohort = rk.data.cohort("chest-nodules", 6, thickness_mm=5, **knobs)
for one in cohort:
    one.write(f"{home.name}/{one.patient}")
rk.data.cohort("chest-nodules", 3, thickness_mm=8, **knobs)[2].write(f"{home.name}/CHEST-0002, 8 mm")
archive.send([f"{home.name}/CHEST-0000/ct", f"{home.name}/CHEST-0001/ct"])
for wanted in ("*", "CHEST-*", "CHEST-?", "chest-*"):
    print(f"PatientID={wanted:<9} {len(archive.find('study', PatientID=wanted))} studies")

# %% [markdown]
# One `?` is one character, and their numbers have four digits. Capitals count in a Patient ID. A study list that "has lost a patient" has
# often only been asked the wrong question.
#
# Fetch the first study and look at it, as the reading room would. **Scroll to the nodule** in the left lower lobe. By now there are three copies: the
# scanner's, which it will delete some day to make room; the archive's, which is the one that counts; and the one on this screen.
#
# Two words of DICOM bring images. With **C-GET** they come back on the association that you have opened. With **C-MOVE**, which many a
# PACS prefers, the archive opens a new one, to an AE title on its list. Over DICOMweb it is a download. `archive.fetch` picks a way.

# %%
archive.fetch(study=first.StudyInstanceUID, folder=f"{home.name}/screen", progress=False)
ct, sent = rk.dicom.read_series(f"{home.name}/screen"), rk.dicom.read_series(story.folder)
print("voxel for voxel what the scanner sent:", bool((ct.array == sent.array).all()))
rk.view.show(ct, title=f"Fetched from the archive · {story.title}", preset="lung")

# %% [markdown]
# ## 3 · The answer comes by itself
#
# Nobody should have to send. So a **watcher** asks the archive every second what has changed, and waits until a study is *stable*:
# nothing more has arrived for a while (here 2 s; Orthanc waits 60 s unless told otherwise). Then it fetches the study, runs an
# application, and stores what the application has written into the same study.
#
# Our application today is quick and knows everything: it looks up the outlines that the code kept when it grew the nodules. What we
# test is the road, not the driver. It writes a real SEG (the outlines) and a real SR (the measurements; notebook 07). It is made for
# slices of at most 5 mm, and **refuses** thicker ones.


# %%
def application(images, output):
    """Outline and measure the nodules of a study: from a folder of images to a folder of results."""
    header, ct = pydicom.dcmread(next(images.iterdir())), rk.dicom.read_series(images)
    if ct.spacing[0] > 5:
        raise rk.errors.InputRefused(f"The application refused its input: slices of {ct.spacing[0]:g} mm")
    mask = {one.patient: one.truth for one in cohort}[header.PatientID]
    seg = rk.results.write_segmentation(mask, images)
    sizes = [rk.results.measure(mask, label=label) for label in range(1, mask.array.max() + 1)]
    seg.save_as(output / "seg.dcm")
    rk.results.write_report(sizes, images, seg).save_as(output / "sr.dcm")


# %% [markdown]
# The package of notebook 08 goes in the same place: `lambda images, output: rk.deploy.run_map(map_folder, images, output)`.
#
# The watcher has a **rule**: CT only, and only from the scanner that is called RADKIT-A. It keeps a journal on disk, so that it
# knows after a power cut what it has done. Here it works on two studies at once.

# %%
events, start, rule = [], time.monotonic(), {"Modality": "CT", "StationName": "RADKIT-A"}
options = {"where": rule, "journal": f"{home.name}/journal", "workers": 2, "retries": 1, "backoff_s": 1}
options["progress"] = lambda study: events.append((time.monotonic() - start, study.uid, study.state))
watcher = rk.pacs.watch(archive, application, **options).start()

# %% [markdown]
# Three studies lie in the archive, one of them from another scanner. Now four more arrive in a burst: three with slices of
# 5 mm, and a second one of CHEST-0002 with slices of 8 mm. Of CHEST-0004 **one slice is missing**, from the middle: it got lost on the
# way. *Predict for each of the seven: answered, refused, failed, or not touched?*

# %%
names = [*(f"CHEST-000{number}" for number in range(5)), "CHEST-0002, 8 mm"]
scans, sending = {name: sorted(Path(home.name, name, "ct").iterdir()) for name in names}, {}
lost = scans["CHEST-0004"].pop(10)
for number, files in enumerate(scans.values()):
    began = time.monotonic() - start
    if number > 1:  # the first two are there
        archive.send(files, progress=False)
    sending[pydicom.dcmread(files[0]).StudyInstanceUID] = (began, time.monotonic() - start)
screen, ended = display(watcher, display_id=True), ("stored", "refused", "parked")
while sum(one.state in ended for one in watcher.studies) < len(scans) and time.monotonic() < start + 90:
    time.sleep(0.5)
    screen.update(watcher)

# %% [markdown]
# (No patient's name is in this table, on purpose: whoever may ask the archive finds the study by its UID.) Four are answered; two of them had been
# lying there before, and were not forgotten. The one of 8 mm is **refused** by the application, with its reason: that is an
# answer, and nobody tries again. The one with the gap **failed**, was tried once more, and is **parked** for a person to look
# at; the others did not wait for it. And the study of the other scanner does not match the rule: it is not in the table at all.
#
# The picture shows each study from left to right. *Predict: where did the seconds go? Sending, waiting, or the application?*

# %%
figure, axis = plt.subplots(layout="constrained")
for row, (uid, (began, ended)) in enumerate(sending.items()):
    steps = [(at, state) for at, one, state in events if one == uid]
    runs = [(at, after - at) for (at, state), (after, _) in pairwise(steps) if state == "running"]
    sent, waited = [(began, ended - began)], [(ended, steps[0][0] - ended)]
    for parts, colour in (sent, "#0072B2"), (waited, "#B9BEC4"), (runs, "#E69F00"):
        axis.broken_barh(parts, (-row - 0.4, 0.8), color=colour)
    axis.text(steps[-1][0], -row, f" {steps[-1][1]}", va="center")
axis.set(yticks=[-row for row in range(len(names))], yticklabels=names, xlabel="seconds", xmargin=0.12)
axis.set_title("Blue: sending.  Grey: waiting, until stable.  Orange: fetch, application, store.")
plt.show()

# %% [markdown]
# Between the scanner and the answer somebody always waits to be sure that nothing more comes. A stable age of 60 s puts a minute on
# every turnaround, so for a stroke it is made short. Too short, and the application gets half a study: that is the bargain.
#
# (CHEST-0000 and CHEST-0001 had come earlier, so their wait was shorter; but theirs were the first runs, and those also load the
# programs that write SEG and SR, which takes seconds. An archive that does not
# say itself what is stable, as radkit's small one, is asked again and again until its count rests: more grey. What is white was spent in the queue, or between two tries.)
#
# And the parked one? Somebody notices, and the scanner sends the missing slice. *Predict: must anybody tell the watcher?*

# %%
archive.send(lost)
holed = pydicom.dcmread(lost).StudyInstanceUID
archive.wait_stable(holed, instances=len(scans["CHEST-0004"]) + 3)  # the slice, the SEG, the SR
watcher.stop()
watcher

# %% [markdown]
# The study has new images, so it is a new question, and it has been answered. Nobody clicked. Here it is as the reading room
# sees it, images and answer both fetched from the archive. (The coloured outlines are the SEG; slices of 5 mm make them coarse. The
# patient is a piece of a chest, with nodules grown by code. Not all of them cut these three planes: scroll.)

# %%
found = {one.Modality: one.SeriesInstanceUID for one in archive.find("series", StudyInstanceUID=holed)}
archive.fetch(series=found["CT"], folder=f"{home.name}/holed", progress=False)
[seg], ct = archive.fetch(series=found["SEG"]), rk.dicom.read_series(f"{home.name}/holed")
marks, title = rk.results.read_segmentation(seg, like=ct), f"Grown in: {cohort[4].made_from.split('.')[0]} (CHEST-0004)"
nodules = {label: f"nodule {label}" for label in range(1, marks.array.max() + 1)}
rk.view.show(ct, marks, names=nodules, title=title, preset="lung", at=rk.results.measure(marks, label=1).centroid)

# %% [markdown]
# ## 4 · The loop that feeds itself
#
# An answer is stored **into** the study. So something new has arrived, and after a while the study is stable a second time. Now
# take a home-made router with the rule "*whenever a study is stable, run the AI and store what comes back*". Like most programs, it
# gives each result a new UID. *Predict: 20 slices came from the scanner. How many instances does the study hold after three rounds?*

# %%
later, output = sorted(Path(home.name, "CHEST-0005", "ct").iterdir()), Path(home.name)
study, held = pydicom.dcmread(later[0]).StudyInstanceUID, [len(later)]
archive.send(later, progress=False)
for _ in range(3):
    archive.wait_stable(study, instances=held[-1])
    application(later[0].parent, output)
    results = [pydicom.dcmread(output / name) for name in ("seg.dcm", "sr.dcm")]
    for one in results:
        one.SOPInstanceUID = one.file_meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
    held.append(held[-1] + len(archive.send(results, progress=False)))
print(held, "instances; the archive counts", archive.wait_stable(study))

# %% [markdown]
# Nothing has failed, and no light is red. With a stable age of 60 s and a quick AI that is about one round a minute, two objects a
# round: in a night of twelve hours 12 × 60 × 2 = 1,440 results, of one patient. Every other study does the same.
#
# What stops it? Two things, and the watcher has both. Its **rule** asks for CT, so a SEG or an SR starts nothing. And its **journal** knows
# by UID what it has made itself, for applications whose results are images. Here are its studies of step 3; all but the refused one
# have been stable a second time. *Predict: how many attempts, and how many instances in each?*

# %%
for one in watcher.studies:
    [now] = archive.find("study", StudyInstanceUID=one.uid)
    print(f"{one.state:<8} attempts: {one.attempts}, instances: {now.NumberOfStudyRelatedInstances}")

# %% [markdown]
# One attempt each; two results with the 20 slices, none with the refused ones; then silence. (The one with the gap began to count
# anew when its slice came.) Two systems can also feed *each other*: A answers whatever B stores, and B whatever A stores. So each needs such a rule.
#
# ## 5 · Pull the plug
#
# A second archive receives the first patient. In the middle of it we kill its process: no goodbye, no tidying up. (A power cut is
# harsher still: it also takes what the computer has not yet written to its disk. So these archives confirm a slice only when its file
# is written through to the disk.) *Predict: what is lost?*

# %%
target, missing = rk.pacs.open_archive(archive_kind, folder=f"{home.name}/plug"), ()


def pull_the_plug():
    while sum(path.is_file() for path in Path(home.name, "plug").rglob("*")) < 60:
        time.sleep(0.002)
    psutil.Process(target.server.pid).kill()


threading.Thread(target=pull_the_plug, daemon=True).start()
try:
    target.send(story.files, retries=0, progress=False)
except rk.RadkitError as error:
    missing = error.missing
    print(error)

# %% [markdown]
# (`retries=0` is for today: else `send` goes on trying for a while.) An error with a list is a good error: `error.missing`
# says which slices have not been confirmed. We start the archive again and ask what it holds. *Predict: exactly what it had
# confirmed, less, or more?*

# %%
target.restart()
uids = [pydicom.dcmread(file, stop_before_pixels=True).SOPInstanceUID for file in story.files]
there = {one.SOPInstanceUID for one in target.find("instance")}
print(f"confirmed: {len(uids) - len(missing)}; of them gone: {len(set(uids) - set(missing) - there)}")
print(f"not confirmed: {len(missing)}; of them there all the same: {len(set(missing) & there)}")

# %% [markdown]
# None that was confirmed is gone: that is what a confirmation is worth here. Now and then a slice is there although nobody was told, because
# the receipt died on the way (run it a few times). So whoever resumes must **ask** the archive, and not believe a list of his own.
#
# Send the same folder again. In the picture each square is one slice, in the order of the folder; blue ones were there after the
# restart. *Predict: how many will be sent now?*

# %%
target.send(story.files)
after = [one.SOPInstanceUID for one in target.find("instance")]
for number, uid in ((uids.index(uid), uid) for uid in after):
    plt.scatter(number % 19, -(number // 19), s=800, marker="s", clip_on=False, color="C0" if uid in there else "C1")
plt.title(f"{len(uids)} sent; {len(after)} there, {len(set(after))} different.  Orange: in the second try", y=1.06)
plt.axis("off")
plt.show()

# %% [markdown]
# A hole in this picture would be a missing slice, and a nodule may lie in it.
#
# What if the *sender* dies? The same: send again, and only the rest goes. And before a scanner deletes its own copy, it should ask the
# archive to answer for the images from now on. DICOM calls that *storage commitment*; here it is `archive.commit`.
#
# ## 6 · Who may talk to it?
#
# *Predict: which of these three does the archive let in? Look back to where we opened it.*

# %%
for me in ("CT-SCANNER", "RADKIT", "STRANGER"):
    association = call(me, Verification)
    print(f"{me:<12} {'let in' if association.is_established else association.acceptor.primitive.reason_str}")
    association.release()

# %% [markdown]
# Many an AI project begins with this message, *calling AE title not recognised*. Nothing is broken: the archive's administrator has not
# entered you yet. Hand in three things: AE title, host and port; and ask for those of the archive.
#
# But an AE title is no password: anyone can claim to be CT-SCANNER. So ours also checks the address it comes from, and serves
# this machine only. **TLS**, which your bank uses too, protects against those who listen on the wire. We start a small archive that speaks nothing else (when the cell ends, all three are closed). *Predict: who gets in?*

# %%
with rk.pacs.open_archive("embedded", folder=f"{home.name}/tls", peers=known, tls=True) as secure, archive, target:
    for tls in (None, (ssl.create_default_context(cafile=secure.certificate), secure.host)):
        association = call("CT-SCANNER", Verification, to=secure, tls=tls)
        print("TLS:  " if tls else "plain:", "let in" if association.is_established else "no association")
        association.release()

# %% [markdown]
# TLS keeps listeners out, and the archive's certificate shows that you talk to the right one. As it is used here it does not decide who
# may ask: that is still the list. An archive can demand a certificate of the caller, too; then a borrowed name is not enough.
#
# | | Orthanc as it comes (1.10.1) | as radkit starts it |
# |---|---|---|
# | an unknown AE title sends images (C-STORE) | it may | association rejected |
# | an unknown AE title retrieves (C-MOVE) | no valid response | association rejected |
# | a caller addresses the archive by a wrong AE title | not checked | not checked |
# | web interface, from this machine | no password | a random one, kept in memory, never printed |
# | web interface opened to the network without a user | `orthanc` / `orthanc` | answers this machine only |
#
# ## Recap
#
# - An AE title, a host and a port: that is an address. C-ECHO asks whether someone is there, C-STORE sends, C-FIND asks, C-GET and
#   C-MOVE fetch.
# - A query returns who and what, no pixels.
# - Let a rule and a journal send, never a person. Refused is an answer; failed is tried again and then parked; the rest goes on.
# - The wait until a study is stable is part of the turnaround time, often most of it.
# - Results make a study stable again: a rule must say what starts nothing.
# - What a careful archive has confirmed is there, after a crash too. Resume by asking what is missing; each instance exactly once.
# - An AE title is no password.
#
# ## Try next
#
# - The exercise that belongs to this notebook: [exercise 09](../exercises/09_round_trip_ex.ipynb).
# - In step 5 leave out `retries=0`, and let `pull_the_plug` call `target.restart()` after the kill. Does `send` come to its end?
# - Set `stable_age=1` where the archive is opened, and send a study in two halves with 3 s between. How often is it answered?
# - In a terminal: `radkit pacs start`, `radkit pacs send FOLDER`, `radkit pacs find PatientID=CHEST-*`, `radkit pacs watch MAP --where Modality=CT`.
# - Ask your PACS administrator for the stable age (or "auto-routing delay") of your own house.
#
# ## Sources
#
# - The images: `print(story.source.attribution)`, `print(cohort[0].made_from)`; licences in `data/catalog.yaml`.
# - Bone age in routine: Gupta V, et al. Current State of Community-Driven Radiological AI Deployment in Medical Imaging. *JMIR AI*
#   2024;3:e55833, doi:10.2196/55833.
# - DICOM PS3.4, annex B (storage), C (query and retrieve), J (storage commitment); PS3.7, 9.1.5 (C-ECHO); PS3.8 (associations);
#   PS3.15, annex B (TLS), [dicomstandard.org](https://www.dicomstandard.org).
# - Orthanc's defaults: measured by us, version 1.10.1 as Debian ships it. [The Orthanc Book](https://orthanc.uclouvain.be/book/).
