# %% [markdown]
# # Exercise 09 · The Orthanc round trip
#
# It belongs to [notebook 09](../notebooks/09_the_orthanc_round_trip.ipynb). Run the cells from the top. Where you see `...`, put your answer in its place and run the cell: you
# are told at once whether it is right and, if not, what is wrong with it in practice. `check.solution("name")` shows a solution.
#
# **Minutes:** 20. *Nothing here is for clinical use. The patients are made up, and have a header but no pixels.*

# %%
from copy import deepcopy

import pydicom
from pydicom.uid import generate_uid

import radkit as rk

template = pydicom.dcmread(rk.data.story().files[0], stop_before_pixels=True)


def scan(patient, date, modality, uids):
    """Make a study of one series: a header for each UID."""
    study, series, made = generate_uid(), generate_uid(), []
    for uid in uids:
        one = deepcopy(template)
        one.StudyInstanceUID, one.SeriesInstanceUID, one.SOPInstanceUID = study, series, uid
        one.file_meta.MediaStorageSOPInstanceUID = uid
        one.PatientID, one.StudyDate, one.Modality = patient, date, modality
        made.append(one)
    return made


archive = rk.pacs.open_archive("embedded")
done = [
    ("20231220", "CT", 3),
    ("20240105", "CT", 4),
    ("20240211", "MR", 2),
    ("20240229", "CT", 5),
    ("20240331", "CT", 2),
]
done += [("20240402", "CT", 3), ("20240610", "MR", 4), ("20240901", "CT", 2), ("20250110", "CT", 3)]
for number, (date, modality, slices) in enumerate(done):
    made = scan(f"OLD-{number:02}", date, modality, [generate_uid() for _ in range(slices)])
    archive.send(made, progress=False)

# A transfer that was cut off: what the scanner says it has sent (one slice twice), and what has reached the archive.
sent = [generate_uid() for _ in range(40)]
arrived = scan("CUT-OFF", "20250301", "CT", sent[:20] + sent[25:32])
archive.send(arrived, progress=False)
sent.append(sent[3])
check = rk.check.Exercise("09_round_trip", archive=archive, sent=sent)
check.progress()

# %% [markdown]
# ## 1 · Ask the archive
#
# For an audit you need all **CT** studies of the **first three months of 2024**, the first and the last day included. The archive is
# `archive`. **How many are there?** `archive.find("study", ...)` returns a list of answers; a range of dates is written
# `"20240101-20240131"`, and the modalities of a study are in `ModalitiesInStudy`.

# %% tags=["question"]
quarter = {"StudyDate": "20240101-20240331"}
rk.check.Number(
    "audit",
    len(archive.find("study", **quarter, ModalitiesInStudy="CT")),
    unit="studies",
    wrong={
        len(archive.find("study", **quarter)): "An MR is among them: you have asked for the dates only.",
        len(archive.find("study", ModalitiesInStudy="CT")): "Those are the CTs of all years: the dates are missing.",
        len(
            archive.find("study", StudyDate="20240101-20240330", ModalitiesInStudy="CT")
        ): "The last day of March is missing: a range takes in both its ends.",
        len(
            archive.find("study", StudyDate="20240101-20241231", ModalitiesInStudy="CT")
        ): "That is the whole year 2024. The audit ends with March.",
        len(
            archive.find("instance", **quarter, Modality="CT")
        ): "Those are single slices. At the level of the study each patient's visit counts once.",
    },
    hint="Two conditions in one question: the range of dates, and the modality. All that is filled in must match.",
    way='`archive.find("study", StudyDate="20240101-20240331", ModalitiesInStudy="CT")`, and `len(...)` of it.',
    right="The archive answers from its index: no pixel was read, and no image moved.",
)

# %%
found = archive.find("study", StudyDate="20240101-20240331", ModalitiesInStudy="CT")  # SOLUTION:
audit = len(found)  # SOLUTION
check("audit", audit)

# %% [markdown]
# ## 2 · After the power cut
#
# The archive died in the middle of a transfer, and runs again. `sent` is the scanner's list of SOP Instance UIDs; the patient's number is
# `CUT-OFF`. `archive.find("instance", PatientID="CUT-OFF")` says what the archive holds. **How many instances must be sent again?**

# %% tags=["question"]
there = {str(one.SOPInstanceUID) for one in archive.find("instance", PatientID="CUT-OFF")}
rk.check.Number(
    "missing",
    len(set(sent) - there),
    unit="instances",
    wrong={
        len(sent) - len(there): "The scanner's list names one slice twice. Count different UIDs: a set does.",
        len(
            set(sent)
        ): "That is the whole study. What is there need not come again, and on a slow line that costs minutes.",
        len(there): "Those are the ones that did arrive.",
        8: "That is what comes after the last one that arrived. But there is a hole in the middle, too: compare UIDs, not positions.",
    },
    hint="Which UIDs are in the one list and not in the other? Compare sets, not lengths.",
    way='`there = {one.SOPInstanceUID for one in archive.find("instance", PatientID="CUT-OFF")}`, then `set(sent) - there`.',
    right="So `archive.send` works: ask, compare by UID, send the rest. A count alone would have missed the hole in the middle.",
)

# %%
there = {one.SOPInstanceUID for one in archive.find("instance", PatientID="CUT-OFF")}  # SOLUTION:
missing = len(set(sent) - there)  # SOLUTION
check("missing", missing)

# %% [markdown]
# ## 3 · Which rule? (no code)
#
# An AI outlines nodules on chest CT and stores a SEG and an SR into the same study. **Which rule for the router is safe from feeding
# itself, and misses no patient?**

# %% tags=["question"]
rk.check.Pick(
    "rule",
    "Each set of CT images once; SEG and SR start nothing",
    wrong={
        "Every study that has become stable": "Each answer makes the study stable again, and so starts the next round: the loop of step 4.",
        "Every study that has no SEG yet": "It stops the loop. But a colleague's SEG of the liver, or another AI's, in the same study keeps the nodules from being looked for.",
        "Each study once, whatever comes later": "It stops the loop. But a slice or a series that arrives late is never looked at: think of the one with the gap.",
        "Every study with a CT in it, at each new instance": "The CT is still in it when the SEG comes: that instance starts the next round too.",
    },
    hint="Ask of each rule: what happens when the answer arrives? And what when the rest of the images arrives, an hour late?",
    way="The rule must look at the images it would read, not at the study as a whole.",
    right="The watcher does so: it remembers which images it has answered, and its own results by UID.",
)

# %%
check("rule", "Each set of CT images once; SEG and SR start nothing")  # SOLUTION: check("rule")

# %% [markdown]
# ## 4 · The images do not come (no code)
#
# Your new AI node can query the archive: C-FIND lists every study. Then it asks by **C-MOVE** for one of them, "send it to `AI-NODE`". The
# archive answers *move destination unknown*; no image comes. (C-GET returns the images on the association that you have opened. With
# C-MOVE the archive opens a *new* one, to the AE title that you name.) **What is to be done?**

# %% tags=["question"]
rk.check.Pick(
    "move",
    "The archive's administrator enters AI-NODE with host and port",
    wrong={
        "Nothing: the association was rejected, so the node is blocked for good": "It was not: C-FIND works. Who is rejected cannot even ask. And an entry in a list can be made.",
        "Ask for another study: this one is not in the archive": "C-FIND has just listed it. The destination is unknown, not the study.",
        "Take care: C-MOVE has moved the study, and it is gone from the archive": "The name misleads. C-MOVE copies; nothing has left the archive, and none was sent.",
        "Open the firewall from the node to the archive": "That way is open, C-FIND goes through it. It is the way *back* that the archive does not know.",
    },
    hint="Who calls whom when the images are sent? What must the caller know of the one who is called?",
    way="C-FIND needs that the archive knows *your name*. C-MOVE needs that it knows *where you live*, and that you listen there.",
    right="AE title, host, port, in both directions. Then see that the node listens, and that a firewall lets the archive in.",
)

# %%
check("move", "The archive's administrator enters AI-NODE with host and port")  # SOLUTION: check("move")

# %% [markdown]
# ## 5 · How long does the stroke wait?
#
# The last slice of a head CT reaches the archive. It calls a study stable after **60 s**. The application takes **25 s**, storing its
# answer **2 s**. The AI works on one study at a time. When ours becomes stable, it is idle, but **two** others, just as long, have become stable in
# the same second and go first. **How many seconds after the last slice is the answer in the archive?**

# %% tags=["question"]
rk.check.Number(
    "seconds",
    60 + 3 * (25 + 2),
    unit="s",
    wrong={
        25: "That is what the vendor's leaflet says. The patient waits from the last slice on.",
        25 + 2: "That is the AI alone. Before it comes the stable age, and the queue.",
        60 + 25 + 2: "You are not alone: two studies are in front of yours.",
        3 * (25 + 2): "The archive first waits whether more slices come: the stable age counts too.",
        60 + 3 * 25: "Each answer has to be stored as well, before the next study has its turn.",
        60 + 2 * (25 + 2): "Then the two others are done. Now comes yours.",
        3
        * (60 + 25 + 2): "The stable age runs for all studies at the same time; only the AI takes one after the other.",
    },
    hint="Follow the study: when is it stable, when is it its turn, when is its answer stored?",
    way="Stable age + two others (application and storing) + your own.",
    right="The application is about a sixth of it. A shorter stable age for head CTs, and a second worker, gain more than a quicker network.",
)

# %%
seconds = 60 + 3 * (25 + 2)  # SOLUTION
check("seconds", seconds)

# %%
check.progress()
