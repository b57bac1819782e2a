"""The application as a graph of MONAI Deploy operators: the SDK's loader and selector, then one operator a step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from monai.deploy.conditions import CountCondition
from monai.deploy.core import Application, Operator, OperatorSpec
from monai.deploy.core.domain.dicom_series_selection import SelectedSeries, StudySelectedSeries
from monai.deploy.operators import DICOMDataLoaderOperator, DICOMSeriesSelectorOperator

from radkit.deploy.pipeline import RULES, STEPS, Case, attempt, choose_series, deliver
from radkit.model import Bundle


class ChestCTSelector(DICOMSeriesSelectorOperator):
    """The SDK's selector with rules of our own, so that a series is refused with a reason."""

    def __init__(self, fragment: Any, *args: Any, case: Case, **kwargs: Any):
        self.case = case
        super().__init__(fragment, *args, rules='{"selections": []}', **kwargs)

    def filter(self, selection_rules: Any, dicom_study_list: Any, *args: Any) -> list[StudySelectedSeries]:
        """Choose one series of all studies (called by the SDK's ``compute``)."""
        pairs = [(study, series) for study in dicom_study_list for series in study.get_all_series()]
        pairs.sort(key=lambda pair: pair[1].SeriesInstanceUID)
        groups = [[sop.get_native_sop_instance() for sop in series.get_sop_instances()] for _, series in pairs]
        chosen = attempt(self.case, "choosing the series", lambda case: choose_series(case, groups))
        selected = []
        for (study, series), group in zip(pairs, groups, strict=True):
            if chosen and group[0] is chosen[0]:
                selected.append(StudySelectedSeries(study))
                selected[0].add_selected_series(SelectedSeries("chest CT", series))
        return selected


class StartCase(Operator):
    """From the SDK's selected series to the case."""

    def __init__(self, fragment: Any, *args: Any, case: Case, **kwargs: Any):
        self.case = case
        super().__init__(fragment, *args, **kwargs)

    def setup(self, spec: OperatorSpec) -> None:
        """Declare the ports."""
        spec.input("study_selected_series_list")
        spec.output("case")

    def compute(self, op_input: Any, op_output: Any, context: Any) -> None:
        """Take the images of the series that was selected."""
        for study in op_input.receive("study_selected_series_list") or []:
            sops = study.selected_series[0].series.get_sop_instances()
            self.case.images = [sop.get_native_sop_instance() for sop in sops]
        op_output.emit(self.case, "case")


class Step(Operator):
    """One step of the pipeline."""

    def __init__(self, fragment: Any, *args: Any, saying: str, **kwargs: Any):
        self.saying = saying
        super().__init__(fragment, *args, **kwargs)

    def setup(self, spec: OperatorSpec) -> None:
        """Declare the ports."""
        spec.input("case")
        spec.output("case")

    def compute(self, op_input: Any, op_output: Any, context: Any) -> None:
        """Take the step, unless an earlier one ended the case."""
        case = op_input.receive("case")
        attempt(case, self.saying, STEPS[self.saying])
        op_output.emit(case, "case")


class Deliver(Operator):
    """The last step: the files, all or none."""

    def __init__(self, fragment: Any, *args: Any, output: Path, **kwargs: Any):
        self.folder = output
        super().__init__(fragment, *args, **kwargs)

    def setup(self, spec: OperatorSpec) -> None:
        """Declare the port."""
        spec.input("case")

    def compute(self, op_input: Any, op_output: Any, context: Any) -> None:
        """Write."""
        deliver(op_input.receive("case"), self.folder)


class NoduleApp(Application):
    """Load, select, find, measure, write SEG, write SR, deliver."""

    def __init__(self, input_folder: Path, output: Path, case: Case):
        self.input_folder, self.output, self.case = input_folder, output, case
        super().__init__()

    def compose(self) -> None:
        """Connect the operators (called by the SDK)."""
        once = CountCondition(self, 1)  # a source without a count runs for ever
        loader = DICOMDataLoaderOperator(self, once, name="load", input_folder=self.input_folder, must_load=False)
        selector = ChestCTSelector(self, name="select", case=self.case)
        last: Operator = StartCase(self, name="start", case=self.case)
        self.add_flow(loader, selector, {("dicom_study_list", "dicom_study_list")})
        self.add_flow(selector, last, {("study_selected_series_list", "study_selected_series_list")})
        for saying in STEPS:
            step = Step(self, name=saying.replace(" ", "_"), saying=saying)
            self.add_flow(last, step, {("case", "case")})
            last = step
        self.add_flow(last, Deliver(self, name="deliver", output=self.output), {("case", "case")})


def run_with_sdk(input_folder: Path, output: Path, bundle: Bundle, rules: dict[str, Any], runner: str) -> None:
    """Run the graph on one input folder."""
    NoduleApp(input_folder, output, Case(bundle, rules={**RULES, **rules}, runner=runner)).run()
