# %% [markdown]
# # Exercise 07 · Results a PACS understands
#
# It belongs to [notebook 07](../notebooks/07_results_a_pacs_understands.ipynb). Run the cells from the top. Where you see `...`, put your answer in its place and run the cell: you
# are told at once whether it is right and, if not, what is wrong with it clinically. `check.solution("name")` shows a solution.
#
# **Minutes:** 20. *Nothing here is for clinical use. The patient is grown by code: nobody was scanned.*
#
# The first cell writes what you are given: a brain MR of January and one of July, what was reported at each date, and some objects that somebody
# has spoilt. To read it would give the answers away.

# %%
from copy import deepcopy
from tempfile import TemporaryDirectory

import numpy as np

import radkit as rk

folder = TemporaryDirectory()
told = {"kind": "lesion of brain", "site": "brain"}


def reported(study, mask, tracking=None):
    """Write SEG and SR of a mask; return the files of the date, the SEG and the SR."""
    files = [file for file in study.write(f"{folder.name}/{study.time}") if file.parent.name == "flair"]
    segmentation = rk.results.write_segmentation(mask, files, tracking=tracking, **told)
    sizes = [rk.results.measure(mask, label=number + 1) for number in range(mask.array.max())]
    return files, segmentation, rk.results.write_report(sizes, files, segmentation)


def item(report, name):
    """Return what a report says under a name, of its first lesion."""
    group = report.ContentSequence[-1].ContentSequence[0].ContentSequence
    return next(one for one in group if one.ConceptNameCodeSequence[0].CodeMeaning == name)


first, second = rk.data.cohort("brain-lesions", 1, seed=4, times=2, progress=False)
files, segmentation, january = reported(first, first.truth)
flair = rk.dicom.read_series(files)
turned = (second.truth.array.max() + 1 - second.truth.array) * (second.truth.array > 0)
tracking = {number: one.tracking for number, one in enumerate(reversed(rk.results.read_report(january)), start=1)}
_, _, july = reported(second, second.truth.with_array(turned.astype(np.uint8)), tracking)

reports = {letter: deepcopy(january) for letter in "ABCD"}
item(reports["B"], "Volume").MeasuredValueSequence[0].MeasurementUnitsCodeSequence = []
code = item(reports["D"], "Long axis").ConceptNameCodeSequence[0]
code.CodeValue, code.CodingSchemeDesignator = "4711", "99OURS"

segs = {letter: deepcopy(segmentation) for letter in "ABCD"}
segs["C"] = rk.results.write_segmentation(first.truth.with_array(first.truth.array[:, :, ::-1]), files, **told)
segs["D"].FrameOfReferenceUID = july.SOPInstanceUID
for frame in segs["A"].PerFrameFunctionalGroupsSequence:
    frame.PlanePositionSequence[0].ImagePositionPatient[2] += 4

check = rk.check.Exercise(
    "07_results", files=files, flair=flair, january=january, july=july, reports=reports, segs=segs
)
check.progress()

# %% [markdown]
# ## 1 · Which object? (no code)
#
# The oncologists' database is to draw the growth curve of each lesion, by itself, from what comes out of your department: the volume with its unit,
# who measured, and which lesion it is. **Which object has to arrive?**

# %% tags=["question"]
rk.check.Pick(
    "which object",
    "A structured report (SR, TID 1500)",
    wrong={
        "A segmentation (SEG)": "It says which voxels, and a volume could be counted from them. But it does not say which numbers were reported.",
        "A secondary capture": "People can look at it. To a database it is a grid of colours: no number, no unit, no lesion.",
        "An encapsulated PDF": "A number that is printed in a PDF has to be copied out by somebody, every time, with typing errors.",
        "A key object note": "It points at images worth seeing, for a conference for instance. It holds no measurement.",
    },
    hint="What is wanted are numbers, each with a unit and a code, for one lesion that has a name.",
    way="Go through the table of AIR in notebook 07, row by row: who has measurements, who has tracking identifiers?",
    right="The numbers go as an SR. It refers to the SEG, so send both: one to calculate with, one to see what was measured.",
)

# %%
check("which object", "A structured report (SR, TID 1500)")  # SOLUTION: check("which object")

# %% [markdown]
# ## 2 · The same lesion in July
#
# `january` and `july` are the two reports. `rk.results.read_report(january)` gives the lesions of one, each with `.volume_mm3`, `.long_axis_mm` and
# `.tracking_uid`. **By how many per cent has the volume of January's first lesion changed by July?** (A loss has a minus.)

# %% tags=["question"]
was, *_ = rk.results.read_report(january)
then = rk.results.read_report(july)
now = next(one for one in then if one.tracking_uid == was.tracking_uid)
rk.check.Number(
    "change",
    100 * (now.volume_mm3 / was.volume_mm3 - 1),
    unit="%",
    tolerance=0.6,
    wrong={
        100 * (then[0].volume_mm3 / was.volume_mm3 - 1): "That compares the first of January with the first of July: "
        "two different lesions. A number in a list is no name.",
        100
        * (1 - was.volume_mm3 / now.volume_mm3): "That is the share of July's volume. A change is told from where it "
        "began: divide by January's.",
        100
        * (now.long_axis_mm / was.long_axis_mm - 1): "That is the long axis. A volume grows by about the third power "
        "of it, so one looks small where the other does not.",
        now.volume_mm3
        - was.volume_mm3: "That is the change in mm³. The question asks for per cent of January's volume.",
    },
    hint="First find January's first lesion in July's report: by what is it the same?",
    way="`next(one for one in rk.results.read_report(july) if one.tracking_uid == ...)` finds it. Then divide.",
    right="The program had an update between the dates and numbers its findings the other way. The tracking UID does not care.",
)

# %%
before = rk.results.read_report(january)[0]  # SOLUTION:
after = next(one for one in rk.results.read_report(july) if one.tracking_uid == before.tracking_uid)  # SOLUTION:
change = 100 * (after.volume_mm3 / before.volume_mm3 - 1)  # SOLUTION
check("change", change)

# %% [markdown]
# ## 3 · Two reports that should not be filed
#
# Four versions of January's report are in `reports`, under "A" to "D". None of them is signed. **Which two should not be filed as they are?** Give
# their letters: `{"X", "Y"}`. `rk.results.check(reports["A"], files)` says what is wrong with one.

# %% tags=["question"]
rk.check.Words(
    "bad reports",
    {"B", "D"},
    wrong=[
        (
            {"B"},
            "That is one. In the other, what was measured bears a code that only its maker knows: nobody else can read it.",
        ),
        ({"D"}, "That is one. The other gives a volume without its unit: a number of what, ml or mm³?"),
        (
            {"A", "C"},
            "These two are as they should be. The question asks for the others: what does `check` say of them?",
        ),
        (
            {"A", "B", "C", "D"},
            "None is signed, and that is right: a program reports, and to verify is for a person. Look for other faults.",
        ),
    ],
    hint="Ask `rk.results.check` of each of the four. An empty list means that it found nothing.",
    way='`for letter in "ABCD": print(letter, rk.results.check(reports[letter], files))`',
    right="A number without a unit is a trap, and a private code is a number without a name. A viewer need not show you either of them.",
)

# %%
bad = {letter for letter in reports if rk.results.check(reports[letter], files)}  # SOLUTION
check("bad reports", bad)

# %% [markdown]
# ## 4 · The flip that no header shows
#
# `segs` holds four segmentations of January, "A" to "D", `flair` is the volume they belong on. In one, the mask was mirrored **before** it was written.
# **Which?** Lesions are bright on FLAIR. `rk.results.read_segmentation(segs["A"], like=flair)` lays a mask on the images, `rk.view.show(flair, mask,
# modality="MR")` shows it.

# %% tags=["question"]
rk.check.Words(
    "flipped",
    "C",
    wrong={
        "A": "Its frames lie one or more slices away from the images that they name: its header was spoilt later, and `check` sees it.",
        "B": "This one lies where it should: look, or take the median of FLAIR under the mask. It is bright there.",
        "D": "It claims to belong to another frame of reference: a wrong header, which `check` finds. The mask itself is not mirrored.",
    },
    hint="`rk.results.check` finds two of the four. The one that you look for agrees with itself; only the anatomy contradicts.",
    way="Of those that `check` does not object to, under which mask is `flair` dark: `np.median(flair.array[mask.array > 0])`?",
    right="Its headers are perfect, and it marks the healthy side. Numbers in the header do not replace a look, or a test letter.",
)

# %%
quiet = [letter for letter in segs if not rk.results.check(segs[letter], files)]  # SOLUTION:
masks = {letter: rk.results.read_segmentation(segs[letter], like=flair) for letter in quiet}  # SOLUTION:
flipped = min(quiet, key=lambda letter: np.median(flair.array[masks[letter].array > 0]))  # SOLUTION
check("flipped", flipped)

# %% [markdown]
# ## 5 · Has it grown? (no code)
#
# Another patient. Outlined again on the same images, a lesion of this kind varies by ±20 % in volume (95 % of the time). In July its volume is
# **22 % larger** than in January; the tracking UID is the same. **What do you report?**

# %% tags=["question"]
rk.check.Pick(
    "growth",
    "22 % more, within what two outlines may differ by: growth is not shown",
    wrong={
        "It has grown, for 22 % is more than 20 %": "The 20 % are of one outline. A change has two of them, one at each date: √(20² + 20²) = 28 %.",
        "It is stable": "That is not shown either. The change is within the noise, and real growth may well hide in it.",
        "It has grown, for the tracking UID is the same": "The UID says that it is the same lesion. It says nothing of how well either volume is known.",
        "Nothing: the two cannot be compared": "They can: same lesion, same unit, two dates. Say what was found, and how well it is known.",
    },
    hint="How many measurements are in a difference, and how uncertain is each of them?",
    way="Uncertainties that are independent add by their squares: √(20² + 20²). Is the change larger than that?",
    right="Report the number with its uncertainty, and follow up earlier if it matters: a third date tells more than another decimal.",
)

# %%
check("growth", "22 % more, within what two outlines may differ by: growth is not shown")  # SOLUTION: check("growth")

# %%
check.progress()
