# %% [markdown]
# # 03 · De-identify: trust, but verify
#
# **For whom:** anyone who has ever been asked "can you send us a few anonymous cases?" No code background needed: press ▶ (or
# Shift + Enter), cell by cell, predict, and look.
#
# **Goals.** At the end you can
# 1. name what a DICOM header gives away beyond the name;
# 2. find a person in a study that someone has "anonymised" by hand;
# 3. de-identify a study by the standard's profile, choose among its options, and read its report;
# 4. prove that nothing you know of is left, instead of hoping so;
# 5. say what no profile can remove.
#
# **Minutes:** 30 to read, predict and look; one for the computer.
#
# *Nothing here is for clinical use, and nothing here is legal advice. The images are a real patient's, published for research; the
# person in the header, the hospital and everyone on its worklist are invented.*

# %% [markdown]
# ## The clinical question
#
# A company would like to test its nodule software on cases of your hospital. Your head of department says: "Take the names
# out and send them." You open the header, blank the name and the number, and attach the files.
#
# > **Could someone who receives them find out who the patient is?** And how would you know?
#
# Leave the next line as it is.

# %% tags=["parameters"]
stand_in = None  # None: the real CT, and a generated stand-in where it cannot be had

# %%
from pathlib import Path
from tempfile import TemporaryDirectory

import matplotlib.pyplot as plt
import numpy as np
import pydicom
from pydicom.dataset import Dataset

import radkit as rk

work = TemporaryDirectory()
story = rk.data.story(stand_in=stand_in)

# %% [markdown]
# ## 1 · A patient from real life
#
# Published images come with an empty header, so we invent what a hospital would have written there: a patient, her doctors, and
# remarks where people like to leave them. We keep a list of every identifying word, `planted`, to look for later.

# %%
words = {
    "PatientName": "EXAMPLE^ANNA MARIA",
    "PatientID": "4711-0815",
    "PatientBirthDate": "19530417",
    "OtherPatientNames": "VORBILD^ANNA",
    "PatientTelephoneNumbers": "+41 00 555 01 23",
    "ReferringPhysicianName": "FAMILYDOCTOR^FRANZ",
    "InstitutionName": "LAKESIDE CLINIC NEVERTOWN",
    "StationName": "CTLAKESIDE2",
    "AccessionNumber": "ACC20240115-77",
    "StudyDescription": "CT chest, Mayor Example, follow-up",
    "ImageComments": "Opera singer, hoarse since her last performance",
}

# %%
hospital = Path(work.name, "hospital")
hospital.mkdir()
for path in story.files[36:56:4]:
    image = pydicom.dcmread(path)
    for keyword, word in words.items():
        setattr(image, keyword, word)
    image.PatientSex, image.PatientAge, image.StudyTime = "F", "070Y", "101512"
    request = Dataset()
    request.RequestingPhysician = "LETTERWRITER^LENA"
    request.RequestedProcedureDescription = "CT, see letter of DR LETTERWRITER"
    image.RequestAttributesSequence = [request]
    private = image.private_block(0x0029, "RADKIT PRIVATE EXAMPLE", create=True)
    private.add_new(0x10, "LO", "CONSOLE USER TECHNICIAN TINA")
    image.save_as(hospital / path.name)
planted = [*words.values(), "LETTERWRITER", "TECHNICIAN TINA", image.StudyInstanceUID, image.SOPInstanceUID]

# %% [markdown]
# *Predict: how many elements of this header help to identify the patient?* The standard has a list: Table E.1-1 of DICOM
# PS3.15. What is on it has a word in the column "Basic Profile" below, of which more in step 4. Type `physician` into the
# search box, then `UID`, then `date`.

# %%
tags = rk.dicom.inspect(hospital / "CT0037.dcm")
print(f"{sum(tag.identifying != '' for tag in tags.rows)} of {len(tags.rows)} elements are on the list")
tags

# %% [markdown]
# ## 2 · "Take the names out"
#
# This is how it is often done, with [pydicom](https://pydicom.github.io): blank what one thinks of, drop the private elements,
# save.

# %%
by_hand = Path(work.name, "by_hand")
by_hand.mkdir()
for path in sorted(hospital.iterdir()):
    image = pydicom.dcmread(path)
    image.PatientName, image.PatientID, image.PatientBirthDate = "ANONYMOUS", "", ""
    image.ReferringPhysicianName, image.InstitutionName, image.AccessionNumber = "", "", ""
    image.remove_private_tags()
    image.save_as(by_hand / path.name)

# %% [markdown]
# *Predict: how many of the planted words are still in there?* We look for their letters in the bytes of the file, not in the
# tags that we happen to think of:


# %%
def left_in(folder):
    """Return which of the planted words stand in any byte of any file of a folder."""
    everything = b"".join(path.read_bytes() for path in Path(folder).rglob("*") if path.is_file())
    return [word for word in planted if word.encode() in everything]


for word in left_in(by_hand):
    print("still there:", word)

# %% [markdown]
# ## 3 · Find her
#
# Suppose that names, remarks and numbers had been caught, too. What remains is what nobody thinks of as a name: **the day,
# the scanner, age and sex.** Someone in the hospital, or who sat in the waiting room, knows the day's list:

# %%
worklist = [
    ("08:40", "CTLAKESIDE1", "M", 61, "a carpenter"), ("09:05", "CTLAKESIDE2", "F", 44, "a nurse"),
    ("09:30", "CTLAKESIDE2", "M", 70, "a retired judge"), ("09:55", "CTLAKESIDE1", "F", 70, "a gardener"),
    ("10:15", "CTLAKESIDE2", "F", 70, "an opera singer, once mayor"), ("10:20", "CTLAKESIDE1", "F", 71, "a teacher"),
    ("10:40", "CTLAKESIDE2", "F", 38, "a baker"), ("11:10", "CTLAKESIDE2", "M", 55, "a farmer"),
]  # fmt: skip
left = pydicom.dcmread(by_hand / "CT0037.dcm", stop_before_pixels=True)
clues = {"sex": (2, left.PatientSex), "age": (3, int(left.PatientAge[:3])), "scanner": (1, left.StationName)}
people = worklist
print(f"{len(people)} people on the list of {left.StudyDate}")
for clue, (place, value) in clues.items():
    people = [person for person in people if person[place] == value]
    print(f"{len(people)} left, knowing the {clue}")
print("It was", people[0][-1], "at", people[0][0])

# %% [markdown]
# Four harmless entries, one person. Nobody needed a name.
#
# ## 4 · By the standard
#
# The **Basic Application Level Confidentiality Profile** (PS3.15, Annex E) says for each of more than six hundred elements what is to
# be done: remove it, empty it, put a dummy in its place, replace a UID by another one, the same wherever it occurs. It holds inside
# sequences too, and for private elements. Dates go; whoever needs them chooses an *option* by name.

# %%
out = Path(work.name, "by_profile")
report = rk.dicom.deidentify(hospital, out)
report

# %% [markdown]
# *Predict: what is left now?*

# %%
print("planted words left:", left_in(out))
rk.dicom.compare(sorted(hospital.iterdir())[0], sorted(out.rglob("*.dcm"))[0])

# %% [markdown]
# An empty list: of the words that we know of, none is in any byte. (It proves no more than that. So the more you plant, the
# more it is worth.)
#
# Is it still a study that one can work with? The voxels must be the same, and the series must hang together under its new UIDs.

# %%
before, after = rk.dicom.read_series(hospital), rk.dicom.read_series(out)
print("same voxels:", np.array_equal(before.array, after.array), " same place:", before.geometry_equal(after))
clean = pydicom.dcmread(sorted(out.rglob("*.dcm"))[0], stop_before_pixels=True)
print("identity removed:", clean.PatientIdentityRemoved)
for method in clean.DeidentificationMethodCodeSequence:
    print("by the book:", method.CodeValue, method.CodeMeaning)

# %% [markdown]
# ## 5 · The pattern of the dates
#
# To measure growth one needs the time *between* two scans. The option *Retain Longitudinal Temporal Information With Modified
# Dates* moves all dates of a patient by one secret offset: the dates are wrong, the intervals right. Two studies, 91 days apart:

# %%
from datetime import date, timedelta

two = Path(work.name, "two_dates")
two.mkdir()
for number, days in enumerate((0, 91)):
    image = pydicom.dcmread(hospital / "CT0037.dcm")
    image.StudyDate = (date(2024, 1, 15) + timedelta(days)).strftime("%Y%m%d")
    image.StudyInstanceUID, image.SOPInstanceUID = pydicom.uid.generate_uid(), pydicom.uid.generate_uid()
    image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
    image.save_as(two / f"{number}.dcm")
rk.dicom.deidentify(two, Path(work.name, "moved"), options=["modified-dates"])
moved = sorted(pydicom.dcmread(path).StudyDate for path in Path(work.name, "moved").rglob("*.dcm"))
dates = [date(int(d[:4]), int(d[4:6]), int(d[6:])) for d in moved]
print(f"StudyDate is now {moved}: {(dates[1] - dates[0]).days} days apart, as before")

# %% [markdown]
# Is that safe? *Predict: of 10,000 patients who each had three scans within a year on random days, how many can be told from all
# the others by the two intervals alone?*

# %%
days = np.sort(np.random.default_rng(0).integers(0, 365, (10_000, 3)), axis=1)
_, count = np.unique(np.diff(days, axis=1), axis=0, return_counts=True)
print(f"{np.sum(count == 1):,} of 10,000 have intervals that no one else has")

# %% [markdown]
# Whoever knows *when* somebody was scanned (from invoices, a calendar, a post in a social network) recognises the pattern, though
# every date is wrong. (Real follow-ups come after three or six months, which makes it harder; a fourth scan makes it easier.)
# So keep the intervals only where the question needs them.
#
# Both studies went through in one run, and then the offset and all new numbers were forgotten. For the study that comes next
# year, give each run the same `secret="…"` and keep it apart. Whoever has it can lead the numbers back.
#
# ## 6 · What stands in the pixels
#
# Ultrasound machines, secondary captures and old films write the name **into the picture**. No table of tags removes that. We
# write one into a slice, as a workstation does when somebody saves a screenshot:

# %%
from PIL import Image, ImageDraw

capture = pydicom.dcmread(hospital / "CT0037.dcm")
grey = Image.fromarray(rk.dicom.read_image(hospital / "CT0037.dcm").shown(window=(50, 400)))
ImageDraw.Draw(grey).text((12, 12), "EXAMPLE, ANNA MARIA\n*17.04.1953  4711-0815", fill=255, font_size=18, spacing=14)
capture.SOPClassUID = capture.file_meta.MediaStorageSOPClassUID = pydicom.uid.SecondaryCaptureImageStorage
capture.Modality, capture.ConversionType = "OT", "WSD"
capture.BitsAllocated, capture.BitsStored, capture.HighBit, capture.PixelRepresentation = 8, 8, 7, 0
capture.RescaleIntercept, capture.WindowCenter, capture.WindowWidth = 0, 128, 256
del capture.PixelPaddingValue, capture.RescaleType, capture.WindowCenterWidthExplanation
capture.PixelData = np.asarray(grey).tobytes()
screenshots = Path(work.name, "screenshots")
screenshots.mkdir()
capture.save_as(screenshots / "capture.dcm")

# %%
picture = rk.dicom.read_image(screenshots / "capture.dcm").shown()
plt.figure(figsize=(7, 7))
plt.imshow(picture, cmap="gray")
plt.title(story.title)
for top, left, bottom, right in rk.dicom.find_text(screenshots / "capture.dcm"):
    plt.plot([left, right, right, left, left], [top, top, bottom, bottom, top], color="#E69F00", linewidth=3)
plt.axis("off")
plt.show()

# %% [markdown]
# A small network finds the text. `deidentify` looks at the pixels too, and **refuses** such a picture unless it is told to mask it:
# a screenshot that slips through is worse than one that is missing. (Of a series whose headers warn of nothing it looks at one
# image in ten, and at all of them once one shows text. Told to mask, it looks at every image.)

# %%
refused = rk.dicom.deidentify(screenshots, Path(work.name, "refused"))
masked = rk.dicom.deidentify(screenshots, Path(work.name, "masked"), burned_in="mask")
print("left out:", *refused.left_out.values())
print("told to mask, with text blacked out:", masked.pixels["text blacked out"])

# %%
(path,) = Path(work.name, "masked").rglob("*.dcm")
rk.view.show(path, title=f"Masked · {story.title}")

# %% [markdown]
# Look closely before you send it: the network finds most text, not all, and it does not know a tattoo, a ring with an
# engraving, or the serial number on an implant.
#
# ## 7 · A study that was published as anonymous
#
# The course's abdominal CT is a real one. It was de-identified by people who know their trade, and published. Which elements of
# the standard's list still hold something? We print their names, and not one value.

# %%
source = rk.data.fetch("abdomen-ct-dicom", stand_in=stand_in)
tags = rk.dicom.inspect(sorted(Path(source.files["series"]).iterdir())[0])
left = [tag for tag in tags.rows if tag.identifying and tag.value]
private = [tag for tag in left if not tag.keyword.isalpha()]
print(f"{len(left)} elements of the list still hold a value; {len(private)} of them are private. The others:")
print(", ".join(sorted({tag.keyword for tag in left if tag not in private})))

# %% [markdown]
# Neither name nor number of the patient is among them. But an address of the hospital is, the scanner, the day and the minute,
# and a UID under which the hospital's archive may know the image: together, like the four entries of step 3. **We stop here.**
# To follow such a trail to a person would be wrong, and in some countries an offence: the point is that *you* look before you
# send. (Of a stand-in everything is listed; it is nobody's.)
#
# ## 8 · What no profile can remove
#
# - **The face.** From a head CT or MR a face can be rendered. Among the photographs of 84 volunteers, face recognition chose the
#   right one for 70 of them (83 %), from their brain MR alone (Schwarz 2019). Defacing helps, and can spoil what one wants to measure.
# - **The rare.** A rare disease, a rare implant, a very old patient, a famous accident: the content is the identifier.
# - **Free text.** The option *Clean Descriptors* keeps what can be kept; only a person can judge what a sentence gives away.
# - **The other data.** Each table that is published later can be joined with yours. De-identified is a promise about today.
#
# So beside the profile it takes a contract, as few data as the question needs, and somebody who answers for it.
#
# The law has words of its own. In the European Union, data that a key can lead back to a person are *pseudonymised*, and to
# whoever holds the key they are personal data; *anonymous* are only those that nobody can lead back by means reasonably likely to
# be used (GDPR, Art. 4(5) and recital 26). In the United States, Safe Harbor names eighteen kinds of identifiers, among them every
# date but the year; who keeps more, moved dates for instance, usually asks for an expert's determination (HIPAA, 45 CFR 164.514(b)).
#
# ## Recap
#
# - Names are a small part of what identifies. Day, scanner, age and sex found the singer.
# - The profile acts on every element, nested and private ones too, and keeps the study together under new UIDs.
# - Options keep what a question needs (intervals, patient characteristics, device). Choose as few as possible, by name.
# - Text in the pixels needs eyes: a detector first, yours after.
# - Proof beats trust: plant words, and look for them in the bytes.
#
# ## Try next
#
# - The exercise that belongs to this notebook: [exercise 03](../exercises/03_deidentify_ex.ipynb).
# - In step 4 add `options=["retain-patient-characteristics", "retain-device-identity"]` and choose *Run ▸ Restart Kernel and Run
#   All Cells*. What is kept now? Could you still find the singer, without the day?
# - On a folder of your own: `radkit deid IN OUT` in a terminal. Nothing leaves your machine, and IN is not touched.
#
# ## Sources
#
# - DICOM PS3.15 Annex E, *Attribute Confidentiality Profiles*, Table E.1-1; PS3.16 CID 7050 (the codes of the method),
#   [dicomstandard.org](https://www.dicomstandard.org). The table is the one that
#   [dicom-anonymizer](https://github.com/KitwareMedical/dicom-anonymizer) keeps.
# - Schwarz CG, et al. Identification of Anonymous MRI Research Participants with Face-Recognition Software. *N Engl J Med*
#   2019;381:1684–1686, doi:10.1056/NEJMc1908881.
# - The images: `print(story.source.attribution)` and `print(source.attribution)`; licences in `data/catalog.yaml`.
# - Text in pixels: the detection model of PaddleOCR (Apache-2.0), as the package rapidocr ships it.
