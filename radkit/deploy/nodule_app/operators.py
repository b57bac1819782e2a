"""The application as a graph of MONAI Deploy operators: the SDK's load, select, convert and infer, then radkit's.

Two of the SDK's are mended. Its loader drops one of two images at one place without a word, and keeps every series in
memory: it is given the files of the series that radkit's guard has passed. Its conversion swaps the two pixel spacings,
gives all slices the number type of the first and closes gaps: radkit's reader puts in the voxels and the affine.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from monai.deploy.conditions import CountCondition
from monai.deploy.core import AppContext, Application, ConditionType, Image, IOType, Operator, OperatorSpec
from monai.deploy.operators import DICOMDataLoaderOperator, DICOMSeriesSelectorOperator, DICOMSeriesToVolumeOperator
from monai.deploy.operators.monai_bundle_inference_operator import (
    IOMapping,
    MonaiBundleInferenceOperator,
    filter_compose,
)

from radkit._optional import optional
from radkit.deploy.pipeline import STEPS, Case, attempt, read
from radkit.model.inference import TO_RAS


class _OfCase:
    """What every operator is given beside its ports."""

    def __init__(self, fragment: Any, *args: Any, case: Case, **kwargs: Any):
        self.case = case
        super().__init__(fragment, *args, **kwargs)  # type: ignore[call-arg]


class Load(_OfCase, DICOMDataLoaderOperator):
    """The SDK's loader, of the files that the guard has passed."""

    def _list_files(self, path: Any, files: list[str]) -> None:
        files += [str(image.filename) for image in self.case.images]


class ToVolume(_OfCase, DICOMSeriesToVolumeOperator):
    """The SDK's conversion, with the voxels and the affine of radkit's reader."""

    def compute(self, op_input: Any, op_output: Any, context: Any) -> None:
        """Convert, unless the series cannot be read as a volume with lungs: then nothing flows on."""
        attempt(self.case, "reading the volume", read)
        if self.case.status == "running":
            super().compute(op_input, op_output, context)
        else:
            op_input.receive(self.input_name_series)  # what is not taken is offered again, for ever

    def generate_voxel_data(self, series: Any) -> np.ndarray:
        """(slice, row, column) in HU, slices ascending along the normal: the order of the SDK too."""
        return self.case.volume.array

    def compute_affine_transform(self, s_1: Any, s_n: Any, n: int, series: Any) -> None:
        """From (column, row, slice) to mm, LPS and RAS."""
        series.dicom_affine_transform = self.case.volume.affine[:, [2, 1, 0, 3]]
        series.nifti_affine_transform = TO_RAS @ series.dicom_affine_transform


class Infer(_OfCase, MonaiBundleInferenceOperator):
    """The SDK's inference, with a bundle whose weights lie apart and whose configuration is read as data."""

    def compute(self, op_input: Any, op_output: Any, context: Any) -> None:
        """Look for nodules; an error ends the case, and nothing flows on."""
        attempt(self.case, "finding nodules", lambda _: super(Infer, self).compute(op_input, op_output, context))
        if self.case.status != "running":
            op_input.receive("image")  # which a model that cannot be loaded has not taken, see above

    def _init_config(self, config_names: Any) -> None:
        torch, form = optional("torch"), self.case.bundle.metadata["network_data_format"]
        before, self._inferer, self._postproc = self.case.bundle.steps()
        self._preproc = filter_compose(before, ["Identity"])  # it stands for LoadImaged, which the SDK leaves out too
        self._inputs, self._outputs = form["inputs"], form["outputs"]
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")


class Step(_OfCase, Operator):
    """One step of radkit's; the first takes the mask that the SDK's inference made."""

    def __init__(self, fragment: Any, *args: Any, saying: str, **kwargs: Any):
        self.saying = saying
        super().__init__(fragment, *args, **kwargs)

    def setup(self, spec: OperatorSpec) -> None:
        """Declare the ports."""
        spec.input("in")
        spec.output("out").condition(ConditionType.NONE)  # nobody need listen to the last

    def compute(self, op_input: Any, op_output: Any, context: Any) -> None:
        """Take the step, unless an earlier one ended the case."""
        if isinstance(image := op_input.receive("in"), Image):
            self.case.mask = self.case.volume.with_array(image.asnumpy())
        attempt(self.case, self.saying, STEPS[self.saying])
        op_output.emit(True, "out")


class NoduleApp(Application):
    """Load, select, convert, infer; keep what lies in the lungs, measure, write SEG, write SR."""

    def __init__(self, case: Case):
        self.case = case
        super().__init__()

    def compose(self) -> None:
        """Connect the operators (called by the SDK)."""
        case, once = self.case, CountCondition(self, 1)  # a source without a count runs for ever
        wanted = {"Modality": "CT", "SeriesInstanceUID": str(case.images[0].SeriesInstanceUID)}
        rules = json.dumps({"selections": [{"name": "chest CT", "conditions": wanted}]})
        loader = Load(self, once, name="load", case=case)
        selector = DICOMSeriesSelectorOperator(self, name="select", rules=rules)
        volume = ToVolume(self, name="convert", case=case)
        last: Operator = Infer(
            self,
            name="infer",
            case=case,
            app_context=AppContext({"model": str(case.bundle.model.parents[1])}),
            input_mapping=[IOMapping("image", Image, IOType.IN_MEMORY)],
            output_mapping=[IOMapping("pred", Image, IOType.IN_MEMORY)],
            model_name=case.bundle.name,
        )
        self.add_flow(loader, selector, {("dicom_study_list", "dicom_study_list")})
        self.add_flow(selector, volume, {("study_selected_series_list", "study_selected_series_list")})
        self.add_flow(volume, last, {("image", "image")})
        port = "pred"
        for saying in list(STEPS)[2:]:  # the first two are taken by now
            step = Step(self, name=saying.replace(" ", "_"), saying=saying, case=case)
            self.add_flow(last, step, {(port, "in")})
            last, port = step, "out"
