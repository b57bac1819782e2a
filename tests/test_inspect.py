"""One object's tags as a table, its first bytes explained, and two objects compared."""

from __future__ import annotations

import re
import shutil

import pytest
from pydicom import Dataset, dcmread
from pydicom.data import get_testdata_file
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

import radkit as rk
from radkit.errors import DicomError

HOSTILE = '<script>alert("x")</script>\x1b[31m\u202eevil'


def by_keyword(table):
    return {row.keyword: row for row in table.rows}


def test_a_tag_says_what_it_is_and_whether_it_identifies(small_ct):
    tags = by_keyword(rk.dicom.inspect(small_ct.files[0]))
    assert tags["PatientID"] == ("(0010,0020)", "LO", "PatientID", "RADKIT-TEST", "replace", "Patient ID")
    assert tags["TransferSyntaxUID"].value == "1.2.840.10008.1.2.1 (Explicit VR Little Endian)"
    assert tags["StudyInstanceUID"].identifying == "new UID" and tags["Rows"].identifying == ""
    assert tags["PixelData"].value == "32,768 bytes: 128 × 128 pixels of 16 bits"


def test_private_tags_are_named_by_their_creator_and_nested_ones_by_their_depth():
    tags = rk.dicom.inspect(get_testdata_file("CT_small.dcm")).rows
    assert ("(0009,1002)", "SH", "[GEMS_IDEN_01]", "CT01", "remove", "Suite id") in tags
    report = rk.dicom.inspect(get_testdata_file("reportsi.dcm"), search="codemeaning").rows
    assert ">>(0008,0104)" in {row.tag for row in report} and report[0].vr == "SQ"


def test_a_search_keeps_hits_and_the_sequences_around_them():
    dataset = Dataset()
    dataset.PatientName, item = "Someone", Dataset()
    item.CodeValue, item.CodeMeaning, dataset.ProcedureCodeSequence = "1", "needle", [Dataset(), item]
    assert [row.keyword for row in rk.dicom.inspect(dataset, search="NEEDLE").rows] == [
        "ProcedureCodeSequence", "Item 2", "CodeMeaning",
    ]  # fmt: skip
    assert rk.dicom.inspect(dataset, search="patient's name").rows[0].value == "Someone"


def test_a_hostile_header_harms_neither_a_terminal_nor_a_notebook():
    dataset = Dataset()
    dataset.PatientComments, dataset.TextValue = HOSTILE, "long " * 1000
    tags, changes = rk.dicom.inspect(dataset), rk.dicom.compare(dataset, Dataset())
    for table in (tags, changes):
        assert "<script>alert" not in table._repr_html_() and "&lt;script&gt;alert" in table._repr_html_()
        assert not set("\x1b\u202e") & set(str(table) + table._repr_html_())
    assert len(by_keyword(tags)["TextValue"].value) == 200


@pytest.mark.parametrize("columns", [60, 80, 200])
def test_the_table_is_as_wide_as_the_terminal(small_ct, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    lines = str(rk.dicom.inspect(small_ct.files[0])).splitlines()
    assert max(map(len, lines)) <= columns and "RADKIT-TEST" in str(rk.dicom.inspect(small_ct.files[0]))


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_the_first_bytes_are_those_of_the_file_in_order(small_ct, tmp_path, syntax):
    dataset = dcmread(small_ct.files[0])
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.save_as(tmp_path / "one", implicit_vr=syntax.is_implicit_VR)
    data, rows = (tmp_path / "one").read_bytes(), rk.dicom.inspect(tmp_path / "one").first_bytes.rows
    for offset, shown, _ in rows[1:]:
        parts = [bytes.fromhex(part.replace("…", "")) for part in shown.split("|")]
        assert data[int(offset) :].startswith(parts[0]) and all(part in data for part in parts)
    text = " ".join(row[2] for row in rows)
    assert "(0008,0060) Modality" not in text and "(0002,0010) TransferSyntaxUID · UI" in text
    assert re.search(r"\(0008,0016\) SOPClassUID · UI · 26 bytes · 1\.2\.\S+ \(CT Image Storage\)", text)


def test_the_first_bytes_end_where_plain_little_endian_ends(small_ct, tmp_path):
    dataset = dcmread(small_ct.files[0])
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    dataset.save_as(tmp_path / "deflated")
    assert "Deflated" in rk.dicom.inspect(tmp_path / "deflated").first_bytes.rows[-1]
    with pytest.raises(DicomError, match="made in memory"):
        _ = rk.dicom.inspect(Dataset()).first_bytes


def test_two_objects_differ_in_what_was_changed_and_in_nothing_else(small_ct):
    first, second = dcmread(small_ct.files[0]), dcmread(small_ct.files[0])
    assert rk.dicom.compare(first, second).rows == [] == rk.dicom.compare(small_ct.files[0], first).rows
    second.PatientName, second.RescaleSlope = "Another", "1.0"
    second.PixelData = bytes(len(first.PixelData))
    second.ReferencedImageSequence = [Dataset(), Dataset()]
    second.ReferencedImageSequence[1].ReferencedSOPInstanceUID = "1.2.3"
    del second.StudyDate
    found = {row.keyword: (row.change, row.first, row.second) for row in rk.dicom.compare(first, second).rows}
    assert found["PatientName"] == ("changed", "RADKIT^TEST", "Another")
    assert found["ReferencedSOPInstanceUID"] == ("added", "", "1.2.3") and found["StudyDate"][0] == "removed"
    assert found["PixelData"] == ("changed", "32,768 bytes", "32,768 bytes, of another content or VR")
    assert found.keys() == {"PatientName", "StudyDate", "PixelData", "ReferencedImageSequence", "Item 1", "Item 2",
                            "ReferencedSOPInstanceUID"}  # fmt: skip


def test_a_change_inside_a_sequence_shows_the_sequence_around_it():
    datasets = [Dataset(), Dataset()]
    for number, dataset in enumerate(datasets):
        dataset.ProcedureCodeSequence = [Dataset()]
        dataset.ProcedureCodeSequence[0].CodeValue = str(number)
    rows = rk.dicom.compare(*datasets).rows
    assert [(row.keyword, row.change) for row in rows] == [
        ("ProcedureCodeSequence", ""), ("Item 1", ""), ("CodeValue", "changed"),
    ]  # fmt: skip


def test_damage_is_shown_as_far_as_it_goes(small_ct, tmp_path):
    (tmp_path / "cut").write_bytes(small_ct.files[0].read_bytes()[:-1000])
    tags = rk.dicom.inspect(tmp_path / "cut")
    assert "lacks 1000 bytes" in tags.title and by_keyword(tags)["PatientID"].value == "RADKIT-TEST"
    dataset = Dataset()
    dataset[0x00280010] = RawDataElement(Tag(0x00280010), "US", 3, b"abc", 0, False, True)
    assert rk.dicom.inspect(dataset).rows[0].value == "not readable as US: 3 bytes"
    with pytest.raises(DicomError, match="cannot be read as DICOM"):
        rk.dicom.inspect(tmp_path)


def test_an_object_without_end_is_listed_up_to_a_bound():
    dataset = Dataset()
    dataset.ProcedureCodeSequence = [Dataset() for _ in range(30_000)]
    tags = rk.dicom.inspect(dataset)
    assert len(tags.rows) == 10_000 and tags.title.endswith("and more") and len(tags._repr_html_()) < 1_000_000


@pytest.mark.browser
def test_the_table_is_searchable_in_a_browser_and_plain_without_scripts(small_ct, tmp_path):
    from browser import FLAGS, driver

    page = tmp_path / "page.html"
    page.write_text(rk.dicom.inspect(small_ct.files[0])._repr_html_() * 2, encoding="utf-8")
    browser = driver().chromium.launch(executable_path=shutil.which("chromium"), args=[*FLAGS, "--no-sandbox"])
    try:
        for scripts in (True, False):
            tab = browser.new_context(java_script_enabled=scripts).new_page()
            tab.goto(page.as_uri())
            assert tab.locator("input").count() == 2 * scripts
            assert tab.get_by_text("RADKIT^TEST").first.is_visible()
            if scripts:
                tab.locator("input").first.fill("patient's name")
                rows = tab.locator(".radkit-table").first.locator("tbody tr:visible")
                assert rows.count() == 1 and "RADKIT^TEST" in rows.inner_text()
    finally:
        browser.close()
