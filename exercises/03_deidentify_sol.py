# %% [markdown]
# # Exercise 03 · De-identify: trust, but verify
#
# It belongs to [notebook 03](../notebooks/03_deidentify_trust_but_verify.ipynb). Run the cells from the top. Where you see `...`, put your answer in its place and run the cell: you
# are told at once whether it is right and, if not, what is wrong with it. `check.solution("name")` shows a solution.
#
# The patient and the hospital are invented; the images: attribution and licence in `data/catalog.yaml`.
#
# **Minutes:** 15. *Nothing here is for clinical use, nor legal advice.*

# %%
from copy import deepcopy
from pathlib import Path
from tempfile import TemporaryDirectory

import pydicom

import radkit as rk

work = TemporaryDirectory()
story = rk.data.story()
first = pydicom.dcmread(story.files[40])
first.PatientName, first.PatientID, first.InstitutionName = "EXAMPLE^ANNA", "4711-0815", "LAKESIDE CLINIC NEVERTOWN"
first.SeriesDescription, first.PatientAddress = "Control for Dr Vorbild", "1 Harbour Street"
second = deepcopy(first)
second.StudyDate, second.StudyInstanceUID = "20240418", pydicom.uid.generate_uid()
second.SeriesInstanceUID, second.SOPInstanceUID = pydicom.uid.generate_uid(), pydicom.uid.generate_uid()
second.file_meta.MediaStorageSOPInstanceUID = second.SOPInstanceUID
for name, image in {"first": first, "second": second}.items():
    Path(work.name, "in").mkdir(exist_ok=True)
    image.save_as(Path(work.name, "in", f"{name}.dcm"))
check = rk.check.Exercise("03_deidentify", first=first, second=second, work=work.name)
check.progress()

# %% [markdown]
# ## 1 · Which of these give somebody away?
#
# A part of the header is printed below. **Name the keywords that must not leave the hospital as they are**: a set of words in
# quotation marks, such as `{"Modality", "Rows"}`.

# %%
for keyword in ("PatientName", "PatientAddress", "StudyDate", "InstitutionName", "SeriesDescription", "StudyInstanceUID",
                "Modality", "Rows", "PixelSpacing", "PhotometricInterpretation"):  # fmt: skip
    print(f"{keyword:>26}  {first[keyword].value}")

# %% tags=["question"]
identifying = {"PatientName", "PatientAddress", "StudyDate", "InstitutionName", "SeriesDescription", "StudyInstanceUID"}
rk.check.Words(
    "identifying",
    identifying,
    wrong=[
        (
            {"PatientName", "PatientAddress"},
            "Those name her directly. But a date and a hospital are enough for whoever knows the day's list.",
        ),
        (
            identifying - {"StudyInstanceUID"},
            "One is missing: a number that is worldwide unique leads straight back to the study in the archive.",
        ),
        (identifying - {"SeriesDescription"}, "One is missing: read the free text. Somebody wrote a name into it."),
        (
            identifying | {"PixelSpacing"},
            "One too many: without the pixel spacing nobody can measure anything, and it identifies no one.",
        ),
    ],
    hint="Go through the list and ask of each: who could find her with it, alone or together with the day's worklist?",
    way="Six of the ten. Beside the obvious: a date, a place, a free text, and a worldwide unique number.",
    right="All six stand in the standard's table E.1-1, and are removed, emptied or replaced by its basic profile.",
)

# %%
must_go = {
    "PatientName",
    "PatientAddress",
    "StudyDate",
    "InstitutionName",
    "SeriesDescription",
    "StudyInstanceUID",
}  # SOLUTION
check("identifying", must_go)

# %% [markdown]
# ## 2 · What no table finds (no code)
#
# A colleague has de-identified four objects by the basic profile, **headers only**. Which of them can still show the patient's name?

# %% tags=["question"]
rk.check.Pick(
    "still there",
    "an ultrasound clip with a caption",
    wrong={
        "a CT slice, 512 × 512": "A CT slice holds densities; scanners write the name into its header, and that was cleaned.",
        "an MR series, sagittal knee": "MR pixels carry no text, and a knee has no face. Its header was cleaned.",
        "a segmentation (SEG)": "Its pixels are yes or no for each voxel. Names stand in its header alone, which was cleaned.",
    },
    hint="Where does the machine write the name as light and dark, not as a tag?",
    way="Think of what you see at the top of the screen in each of the four.",
    right="Text in pixels survives every profile that looks at headers only. Hence the option Clean Pixel Data, and your eyes.",
)

# %%
check("still there", "an ultrasound clip with a caption")  # SOLUTION: check("still there")

# %% [markdown]
# ## 3 · Keep the interval
#
# `in` holds two studies of the same patient. A tumour's growth is to be measured: the days between the two must stay right, the
# dates themselves must not. **Which option does `rk.dicom.deidentify` need?** (`help(rk.dicom.deidentify)` lists them.)

# %% tags=["question"]
rk.check.Words(
    "option",
    "modified-dates",
    wrong={
        "retain-uids": "That keeps the worldwide unique numbers: everyone with access to the archive finds her at once, and the dates are gone all the same.",
        "retain-longitudinal-temporal-information-with-full-dates": "That keeps the dates as they are: the interval is right, and so is every date.",
        "retain-longitudinal-temporal-information-with-modified-dates": "Right by its full name, and `deidentify` takes it. There is a short name for it, too: give that one.",
        "retain-patient-characteristics": "That keeps age, sex, size and weight. Good for dose and body composition; the interval is lost.",
        "clean-descriptors": "That keeps the harmless part of the free texts. It has nothing to do with time.",
    },
    hint="The standard calls it longitudinal temporal information.",
    way="Of the two longitudinal options it is the one that moves all dates by the same secret number of days.",
    right="All dates of a patient are moved by one offset: each is wrong, the intervals are right.",
)

# %%
option = "modified-dates"  # SOLUTION
check("option", option)

# %% [markdown]
# ## 4 · Prove it
#
# De-identify the folder `in` with that option, read the two files that come out, and answer: **how many days lie between them?**
# The cell shows how; put the option in.

# %% tags=["question"]
rk.check.Number(
    "interval",
    94,
    unit="days",
    tolerance=0,
    wrong={
        0: "No interval: without the option the dates are emptied, and nobody can tell which scan came first.",
        303: "That is what you get when dates are subtracted as if they were plain numbers: 20240418 − 20240115.",
        93: "Not every month has 30 days, and 2024 had a 29 February. Let Python count.",
    },
    hint="Read the `StudyDate` of both new files, turn them into dates, subtract.",
    way="`date(int(d[:4]), int(d[4:6]), int(d[6:]))` makes a date of eight digits; the difference of two has `.days`.",
    right="The growth rate is the same as with the true dates, and no date is true.",
)

# %%
from datetime import date

rk.dicom.deidentify(Path(work.name, "in"), Path(work.name, "out"), options=["modified-dates"])  # SOLUTION:
new = sorted(pydicom.dcmread(path).StudyDate for path in Path(work.name, "out").rglob("*.dcm"))  # SOLUTION:
earlier, later = (date(int(d[:4]), int(d[4:6]), int(d[6:])) for d in new)  # SOLUTION:
days = (later - earlier).days  # SOLUTION
check("interval", days)

# %%
check.progress()
