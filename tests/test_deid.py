"""De-identification: no planted byte is left, objects stay valid, references stay whole, nothing is half done."""

from __future__ import annotations

import json
import re
import struct
import zlib
from datetime import date
from pathlib import Path

import pytest
from click.testing import CliRunner
from pydicom import DataElement, Dataset, dcmread, dcmwrite
from pydicom.data import get_testdata_file
from pydicom.datadict import dictionary_VR, keyword_for_tag
from pydicom.encaps import encapsulate
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    EncapsulatedPDFStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
)

import radkit as rk
from radkit.cli import main
from radkit.dicom.mapping import Mapping, cleaned, shifted
from radkit.dicom.profile import _BASIC, action_for, chosen, options_of_the_standard
from radkit.errors import DicomError

SECRET = "a secret for the tests"
DATES = "retain-longitudinal-temporal-information-with-modified-dates"
FORMATS = {"FD": "d", "FL": "f", "UL": "L", "SL": "l", "US": "H", "SS": "h", "OD": "d", "OF": "f", "OL": "L"}


def planted(vr: str, number: int):
    """Return a value for an element of this VR, and the bytes by which it is known again."""
    text = f"Zq{number:04d}kV"
    if vr in FORMATS:
        value = 1.1e5 + number * 1.7 if FORMATS[vr] in "df" else 20011 + number
        packed = struct.pack("<" + FORMATS[vr], value)
        return (packed if vr.startswith("O") else value), (packed if len(packed) == 8 else b"")
    special = {
        "PN": f"{text}^Anna",
        "UI": f"1.2.826.0.77.{number}.3151",
        "DA": f"193{number % 10}0{1 + number % 9}{10 + number % 18}",
        "TM": f"0{number % 10}1203.77{number:04d}",
        "DT": f"19310105081203.77{number:04d}",
        "DS": f"7319.{number:04d}",
        "IS": f"7319{number:04d}",
        "AS": f"{number % 999:03d}D",
        "CS": text.upper(),
        "UR": f"http://{text}.org",
        "OB": text.encode(),
        "OW": text.encode(),
        "UN": text.encode(),
    }
    value = special.get(vr, text)
    known = value if isinstance(value, bytes) else value.encode()
    return value, b"" if vr in ("DA", "AS") else known  # too short to be known again: looked at one by one


def plant_table(dataset: Dataset, needles: dict[str, bytes], options: frozenset[str]) -> None:
    """Fill each attribute of the standard's table that these options do not keep."""
    for number, tag in enumerate(sorted(_BASIC)):
        vr, keyword = (dictionary_VR(tag)[:2] if keyword_for_tag(tag) else "LO"), keyword_for_tag(tag)
        dated = DATES in options and vr in ("DA", "DT", "TM")  # the digits of a time may stay
        if vr == "SQ" or tag >> 16 >= 0x5000 or tag < 0x00080000 or keyword in ("SOPInstanceUID", "SOPClassUID"):
            continue
        if not action_for(tag, vr, options) or dated:
            continue
        value, needle = planted(vr, number)
        dataset[tag] = DataElement(tag, vr, value)
        if needle:
            needles[f"{keyword or hex(tag)}{id(dataset) % 97}"] = needle


def plant_elsewhere(dataset: Dataset, needles: dict[str, bytes]) -> None:
    """Put identifiers where no table looks."""

    def put(items: Dataset, tag: int, vr: str, value: object, known: str) -> None:
        items[tag] = DataElement(tag, vr, value)
        needles[known] = known.encode()

    block = dataset.private_block(0x0029, "Zcreator1", create=True)
    needles["Zcreator1"] = b"Zcreator1"
    for offset, vr in enumerate(("LO", "UN", "OB", "PN", "UT", "ST")):
        value = f"Zprivate{offset}"
        block.add_new(offset, vr, value.encode() if vr in ("UN", "OB") else value)
        needles[value] = value.encode()
    inner = Dataset()
    put(inner, 0x00100010, "PN", "ZnestedInPrivate", "ZnestedInPrivate")
    block.add_new(0x20, "SQ", [inner])
    put(dataset, 0x00082111, "UN", b"Zderivation in UN ", "Zderivation in UN")
    put(dataset, 0x00090999, "UN", b"Zodd and no creator ", "Zodd and no creator")
    put(dataset, 0x00181234, "LO", "Zin no dictionary", "Zin no dictionary")
    put(dataset, 0x60000010, "US", 64, "ZoverlayData")
    put(dataset, 0x60003000, "OW", b"ZoverlayData" * 8, "ZoverlayData")
    put(dataset, 0x60001500, "LO", "ZoverlayLabel", "ZoverlayLabel")
    put(dataset, 0x60024000, "LT", "ZoverlayComment", "ZoverlayComment")
    put(dataset, 0x50003000, "OW", b"ZcurveData", "ZcurveData")
    put(dataset, 0x50002500, "LO", "ZcurveLabel", "ZcurveLabel")
    put(dataset, 0xFFFCFFFC, "OB", b"Zpadding", "Zpadding")
    put(dataset, 0x00280030, "LO", "Zin spacing\\1", "Zin spacing")  # a lying VR
    put(dataset, 0x00180050, "DS", "1.5", "ZsliceThickness")
    dataset[0x00180050] = DataElement(0x00180050, "LO", "ZsliceThickness")
    put(dataset, 0x0040A160, "UT", "ZtextValue", "ZtextValue")
    put(dataset, 0x00081190, "UR", "http://Zurl", "Zurl")
    icon, code, deep = Dataset(), Dataset(), Dataset()
    put(icon, 0x7FE00010, "OB", b"ZiconPixels!", "ZiconPixels!")
    dataset.IconImageSequence = [icon]
    put(code, 0x00080100, "SH", "ZcodeValue", "ZcodeValue")
    put(code, 0x00080104, "LO", "ZcodeMeaning", "ZcodeMeaning")
    dataset.PersonIdentificationCodeSequence = [code]
    put(deep, 0x00100010, "PN", "Zdeep^Anna", "Zdeep")
    for _ in range(6):
        around = Dataset()
        around.ReferencedSeriesSequence = [deep]
        deep = around
    dataset.ReferencedSeriesSequence = [deep]


def raw(path: Path) -> bytes:
    """Return the bytes of a file, inflated where they are deflated."""
    data = path.read_bytes()
    if DeflatedExplicitVRLittleEndian.encode() not in data[:400]:
        return data
    start = 144 + int.from_bytes(data[140:144], "little")
    return data[:start] + zlib.decompress(data[start:], -zlib.MAX_WBITS)


def only_file(folder: Path) -> Path:
    (file,) = (path for path in folder.rglob("*") if path.is_file())
    return file


@pytest.fixture
def base(small_ct) -> Dataset:
    return dcmread(small_ct.files[3])


def write(dataset: Dataset, path: Path, syntax: str = ExplicitVRLittleEndian, tail: bytes = b"") -> Path:
    """Write with identifiers in the preamble, the file meta information and behind the data set."""
    little, implicit = syntax != ExplicitVRBigEndian, syntax == ImplicitVRLittleEndian
    if not little:
        dataset.PixelData = dataset.PixelData  # bytes as they are: only their place matters here
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.file_meta.SourceApplicationEntityTitle = "ZMETAAE"
    dataset.file_meta.ImplementationVersionName = "ZMETAVERSION"
    dataset.file_meta.PrivateInformationCreatorUID = "1.2.826.0.77.88888"
    dataset.file_meta.PrivateInformation = b"Zmetaprivate"
    dataset.preamble = b"Zpreamble!" * 12 + bytes(8)
    path.parent.mkdir(exist_ok=True)
    dcmwrite(path, dataset, implicit_vr=implicit, little_endian=little, enforce_file_format=True)
    path.write_bytes(path.read_bytes() + tail)
    return path


META = (b"ZMETAAE", b"ZMETAVERSION", b"77.88888", b"Zmetaprivate", b"Zpreamble!", b"Zbehind")
EVERYTHING = tuple(sorted(set(options_of_the_standard()) - {"clean-pixel-data"}))
SETS = [(), *((name,) for name in EVERYTHING), ("clean-descriptors", "modified-dates"), EVERYTHING]


@pytest.mark.parametrize("options", SETS, ids=lambda options: "+".join(options)[:60] or "basic")
def test_no_byte_of_any_planted_identifier_is_left(base, tmp_path, options):
    names, needles = chosen(options), {}
    nested = Dataset()
    plant_table(nested, needles, names)
    plant_table(base, needles, names)
    needles.pop(f"DerivationDescription{id(base) % 97}", None)
    plant_elsewhere(base, needles)
    base.SourceInstanceSequence = [nested]
    assert len(needles) > 200
    source = write(base, tmp_path / "in" / "DOE_JOHN.dcm", tail=b"ZZ\x02\x00LO\x08\x00Zbehind ")
    before = source.read_bytes()
    assert not [name for name, needle in needles.items() if needle not in before]  # they were there
    report = rk.dicom.deidentify(
        source, tmp_path / "out", options=options, secret=SECRET, burned_in="keep", progress=False
    )
    assert report.left_out == {}
    written = only_file(tmp_path / "out")
    after = written.read_bytes() + str(written.relative_to(tmp_path)).encode()
    assert [name for name, needle in needles.items() if needle in after] == []
    assert not [needle for needle in (*META, b"DOE", SECRET.encode()) if needle in after]
    assert source.read_bytes() == before
    dcmread(written).decode()


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian])
def test_every_uncompressed_transfer_syntax_is_cleaned_alike(base, tmp_path, syntax):
    needles = {}
    plant_table(base, needles, frozenset())
    needles.pop(f"DerivationDescription{id(base) % 97}")
    plant_elsewhere(base, needles)
    for tag in (0x00181234, 0x00280030, 0x00180050):  # what implicit VR cannot hold as it is
        del base[tag]
        needles = {name: needle for name, needle in needles.items() if not name.startswith(("Zin ", "Zslice"))}
    source = write(base, tmp_path / "in" / "a.dcm", syntax)
    rk.dicom.deidentify(source, tmp_path / "out", secret=SECRET, burned_in="keep", progress=False)
    written = only_file(tmp_path / "out")
    assert dcmread(written).file_meta.TransferSyntaxUID == syntax
    assert [name for name, needle in needles.items() if needle in raw(written) and needle not in META] == []
    assert not [needle for needle in META if needle in raw(written)]


def test_words_of_the_patients_name_go_from_text_that_may_stay(base, tmp_path):
    base.PatientName, base.Manufacturer, base.ManufacturerModelName = "Hollenbeck^Anna", "Scanner of HOLLENBECK", "M1"
    source = write(base, tmp_path / "in" / "a.dcm")
    rk.dicom.deidentify(source, tmp_path / "out", burned_in="keep", progress=False)
    after = dcmread(only_file(tmp_path / "out"))
    assert (after.Manufacturer, after.ManufacturerModelName) == ("REMOVED", "M1")


def test_comments_in_jpeg_streams_are_blanked_and_the_picture_stays(tmp_path):
    dataset = dcmread(get_testdata_file("SC_rgb_jpeg_dcmtk.dcm"))
    stream = dataset.PixelData[dataset.PixelData.index(b"\xff\xd8") :]
    note = b"\xff\xfe" + struct.pack(">H", 2 + 16) + b"Zcomment of 1970"
    dataset.PixelData = encapsulate([stream[:2] + note + stream[2:]])
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "1.2.3", "1.2.4"
    assert dataset.file_meta.TransferSyntaxUID == JPEGBaseline8Bit
    path = tmp_path / "in.dcm"
    dataset.save_as(path)
    rk.dicom.deidentify(path, tmp_path / "out", burned_in="keep", progress=False)
    after = dcmread(only_file(tmp_path / "out"))
    assert b"Zcomment" not in after.PixelData
    assert (after.pixel_array == dataset.pixel_array).all()


def test_overlays_in_unused_bits_and_excess_bytes_go_from_the_pixels(base, tmp_path):
    base.BitsStored, base.HighBit, base.PixelRepresentation = 12, 11, 0
    stored = base.pixel_array & 0x0FFF
    base.PixelData = (stored | 0xA000).astype("<u2").tobytes() + b"Zexcess!"
    for tag, value in ((0x60000010, 64), (0x60000100, 16), (0x60000102, 12)):
        base[tag] = DataElement(tag, "US", value)
    source = write(base, tmp_path / "in" / "a.dcm")
    rk.dicom.deidentify(source, tmp_path / "out", burned_in="keep", progress=False)
    assert dcmread(only_file(tmp_path / "out")).PixelData == stored.astype("<u2").tobytes()


@pytest.fixture
def pdf(base) -> Dataset:
    dataset = Dataset()
    for keyword in ("PatientName", "PatientID", "StudyInstanceUID", "StudyDate", "StudyTime", "SpecificCharacterSet"):
        setattr(dataset, keyword, base.get(keyword, ""))
    dataset.SOPClassUID, dataset.SOPInstanceUID = EncapsulatedPDFStorage, "1.2.826.0.1.9"
    dataset.SeriesInstanceUID, dataset.Modality, dataset.ConversionType = "1.2.826.0.1.8", "DOC", "WSD"
    dataset.PatientBirthDate = dataset.PatientSex = dataset.ReferringPhysicianName = dataset.StudyID = ""
    dataset.AccessionNumber = dataset.AcquisitionDateTime = dataset.ContentDate = dataset.ContentTime = ""
    dataset.SeriesNumber, dataset.InstanceNumber, dataset.Manufacturer, dataset.DocumentTitle = 1, 1, "M", "Zletter"
    dataset.ConceptNameCodeSequence, dataset.BurnedInAnnotation = [], "YES"
    dataset.MIMETypeOfEncapsulatedDocument = "application/pdf"
    dataset.EncapsulatedDocument = b"%PDF-1.4 Zbody of a letter"
    dataset.file_meta = base.file_meta
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    return dataset


def test_an_encapsulated_pdf_becomes_an_empty_page_and_another_document_stays_out(pdf, tmp_path):
    write(pdf, tmp_path / "in" / "a.dcm")
    pdf.MIMETypeOfEncapsulatedDocument, pdf.SOPInstanceUID = "text/xml", "1.2.826.0.1.10"
    write(pdf, tmp_path / "in" / "b.dcm")
    report = rk.dicom.deidentify(tmp_path / "in", tmp_path / "out", progress=False)
    data = only_file(tmp_path / "out").read_bytes()
    assert b"Zbody" not in data and b"Zletter" not in data and b"%%EOF" in data
    assert [path.name for path in report.left_out] == ["b.dcm"]


@pytest.mark.parametrize("options", [(), ("clean-structured-content", "modified-dates")])
@pytest.mark.parametrize("name", ["reportsi.dcm", "test-SR.dcm"])
def test_a_structured_report_loses_its_text_and_names(tmp_path, name, options):
    source = Path(get_testdata_file(name))
    told = [str(item.TextValue) for item in everything(dcmread(source)) if item.get("TextValue")]
    told += [str(item.PersonName) for item in everything(dcmread(source)) if item.get("PersonName")]
    rk.dicom.deidentify(source, tmp_path / "out", options=options, progress=False)
    data = only_file(tmp_path / "out").read_bytes()
    assert told and not [text for text in told if len(text) > 4 and text.encode("latin-1", "replace") in data]


def everything(dataset: Dataset):
    yield dataset
    for element in dataset:
        for item in element.value if element.VR == "SQ" else ():
            yield from everything(item)


OBJECTS = ["CT_small.dcm", "MR_small.dcm", "examples_palette.dcm", "liver_1frame.dcm", "reportsi.dcm", "test-SR.dcm",
           "rtplan.dcm", "rtdose_1frame.dcm", "waveform_ecg.dcm", "eCT_Supplemental.dcm"]  # fmt: skip


@pytest.mark.parametrize("options", [(), EVERYTHING], ids=["basic", "every option"])
@pytest.mark.parametrize("name", OBJECTS)
def test_an_object_is_no_less_valid_than_it_was(name, options, tmp_path, errors_of):
    source = get_testdata_file(name)
    report = rk.dicom.deidentify(source, tmp_path / "out", options=options, burned_in="keep", progress=False)
    assert report.left_out == {}
    known = {without_values(line) for line in errors_of(source)}
    new = [line for line in errors_of(only_file(tmp_path / "out")) if without_values(line) not in known]
    assert new == []


def without_values(line: str) -> str:
    """Return one of dciodvfy's lines without the UIDs and values that it quotes."""
    return re.sub(r"[0-9]+(\.[0-9]+)+|<[^>]*>(?! Module)(?!$)", "", line)


def test_references_between_objects_stay_whole_and_dates_keep_their_distance(small_ct, tmp_path):
    first, second = (dcmread(file) for file in small_ct.files[:2])
    second.SourceImageSequence = [Dataset()]
    second.SourceImageSequence[0].ReferencedSOPClassUID = first.SOPClassUID
    second.SourceImageSequence[0].ReferencedSOPInstanceUID = first.SOPInstanceUID
    first.StudyDate, second.StudyDate, second.AcquisitionDateTime = "20200228", "20200331", "20200331101112.5+0100"
    second.PatientBirthDate = "19600101"
    for number, dataset in enumerate((first, second)):
        write(dataset, tmp_path / "in" / f"{number}.dcm")
    for run in ("one", "two"):
        rk.dicom.deidentify(tmp_path / "in", tmp_path / run, options="modified-dates", secret=SECRET, progress=False)
    names = [
        sorted(str(p.relative_to(tmp_path / run)) for p in (tmp_path / run).rglob("*.dcm")) for run in ("one", "two")
    ]
    assert names[0] == names[1] and len(names[0]) == 2  # the same secret, the same mapping
    after = sorted((dcmread(path) for path in (tmp_path / "one").rglob("*.dcm")), key=lambda d: d.StudyDate)
    assert after[1].SourceImageSequence[0].ReferencedSOPInstanceUID == after[0].SOPInstanceUID
    assert after[0].StudyInstanceUID == after[1].StudyInstanceUID != first.StudyInstanceUID
    days = [date.fromisoformat(dataset.StudyDate) for dataset in after]
    assert (days[1] - days[0]).days == 32 and days[0] < date(2020, 2, 28)
    assert after[1].AcquisitionDateTime == f"{after[1].StudyDate}101112.5+0100"
    assert after[1].PatientBirthDate == "" and after[1].PatientID == after[0].PatientID != second.PatientID
    assert after[0].LongitudinalTemporalInformationModified == "MODIFIED"


def test_without_a_secret_nobody_can_make_the_mapping_again(small_ct, tmp_path):
    for run in ("one", "two"):
        rk.dicom.deidentify(small_ct.files[0], tmp_path / run, progress=False)
    one, two = (dcmread(only_file(tmp_path / run)) for run in ("one", "two"))
    assert len({one.SOPInstanceUID, two.SOPInstanceUID, small_ct.files[0].stem}) == 3
    assert one.PatientID != two.PatientID


def test_a_secret_that_can_be_guessed_is_refused():
    with pytest.raises(DicomError, match="at least 8 characters"):
        Mapping("1234567")


@pytest.mark.parametrize(
    ("value", "expected"),
    [(b"20200301", b"20200229"), (b"2020.03.01 ", b"20200229"), (b"20200101\\20200102", b"20191231\\20200101"),
     (b"202003011200", b"202002291200"), (b"", b""), (b"last May", None), (b"20201399", None), (b"00010101", None)],
)  # fmt: skip
def test_dates_are_shifted_by_days_and_what_is_no_date_is_not_guessed_at(value, expected):
    assert shifted(value, -1) == expected


def test_cleaned_text_keeps_anatomy_and_nothing_that_names_anyone():
    text = b"CT Thorax with contrast, DOE JOHN 1958-03-12, Dr. Miller, T1 axial, Head, tel 0441 12 34 AB12CT"
    assert cleaned(text, frozenset((b"head",))) == b"CT Thorax with contrast T1 axial"


def test_retained_attributes_are_retained_and_the_method_is_recorded(base, tmp_path):
    base.PatientAge, base.PatientWeight, base.DeviceSerialNumber, base.InstitutionName = (
        "061Y",
        70,
        "SN-1",
        "St. Elsewhere",
    )
    base.StudyDescription, base.PatientName = "CT Thorax of Smith", "Smith^Jo"
    block = base.private_block(0x0019, "SIEMENS MR HEADER", create=True)
    block.add_new(0x0C, "IS", "1000")
    block.add_new(0x0D, "CS", "SMITH")
    source = write(base, tmp_path / "in" / "a.dcm")
    rk.dicom.deidentify(source, tmp_path / "out", options=EVERYTHING, progress=False)
    after = dcmread(only_file(tmp_path / "out"))
    assert (after.PatientAge, after.PatientWeight, after.DeviceSerialNumber) == ("061Y", 70, "SN-1")
    assert (after.InstitutionName, after.StudyDescription) == ("St. Elsewhere", "CT Thorax of")
    assert after.SOPInstanceUID == base.SOPInstanceUID and after.StudyDate != base.StudyDate
    private = after.private_block(0x0019, "SIEMENS MR HEADER")
    assert private[0x0C].value == 1000 and 0x0D not in private
    codes = {item.CodeValue for item in after.DeidentificationMethodCodeSequence}
    assert codes == {"113100", "113104", "113105", "113107", "113108", "113109", "113110", "113111", "113112"}
    assert after.PatientIdentityRemoved == "YES"


def test_the_report_names_attributes_and_no_patient(base, tmp_path):
    source = write(base, tmp_path / "in" / "SMITH_JO.dcm")
    (tmp_path / "in" / "notes on Smith.txt").write_text("Smith")
    (tmp_path / "in" / "SMITH_2.dcm").write_bytes(source.read_bytes()[:2000])
    report = rk.dicom.deidentify(tmp_path / "in", tmp_path / "out", progress=False)
    saved = json.loads(report.save(tmp_path / "report.json").read_text())
    assert report.written == saved["written"] == 1 and len(report.left_out) == 2
    assert ["emptied, or a pseudonym", "PatientName", "1"] in saved["attributes"]
    told = str(report) + report._repr_html_() + json.dumps(saved)
    assert "left out" in told and "smith" not in told.lower() and str(base.PatientID) not in told
    assert source.exists() and not [path for path in (tmp_path / "out").rglob("*") if "smith" in path.name.lower()]


def test_folders_that_would_mix_old_and_new_are_refused(small_ct, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "old.dcm").write_text("old")
    for folder in (small_ct.folder, small_ct.folder / "out", tmp_path / "full"):
        with pytest.raises(DicomError, match=r"lies in the input|is not empty"):
            rk.dicom.deidentify(small_ct.folder, folder, progress=False)
    with pytest.raises(DicomError, match="retain-uids"):
        rk.dicom.deidentify(small_ct.folder, tmp_path / "out", options="retain-everything", progress=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["full"]


def test_a_run_that_breaks_off_leaves_nothing_behind(small_ct, tmp_path, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("radkit.dicom.cleaning.Cleaner._record", stop)
    with pytest.raises(KeyboardInterrupt):
        rk.dicom.deidentify(small_ct.folder, tmp_path / "out", burned_in="keep", progress=False)
    assert list(tmp_path.iterdir()) == []


def test_a_uid_that_would_write_elsewhere_is_not_used_as_a_name(base, tmp_path):
    base.SOPInstanceUID, base.SeriesInstanceUID = "1.2.3", "9.9.9.9"
    source = write(base, tmp_path / "in" / "a.dcm")
    source.write_bytes(source.read_bytes().replace(b"9.9.9.9\0", b"../../x "))
    rk.dicom.deidentify(source, tmp_path / "out", options="retain-uids", progress=False)
    assert only_file(tmp_path / "out").name == "1.2.3.dcm"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out"]


def test_the_command_says_what_it_did_and_which_files_it_left_out(small_ct, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.dcm").write_bytes(small_ct.files[0].read_bytes())
    (tmp_path / "in" / "notes.txt").write_text("no DICOM")
    arguments = ["deid", str(tmp_path / "in"), str(tmp_path / "out"), "--option", "modified-dates"]
    done = CliRunner().invoke(main, [*arguments, "--report", str(tmp_path / "report.json")])
    assert done.exit_code == 0 and "1 object de-identified, 1 file left out" in done.output
    assert "notes.txt" in done.output and (tmp_path / "report.json").exists()
    assert CliRunner().invoke(main, arguments).exit_code == 1  # OUT is no longer empty
