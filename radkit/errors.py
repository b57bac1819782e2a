"""The errors radkit raises: one tree, so that ``except RadkitError`` catches what a learner can do something about.

A message says what was expected, what came, and what to do next. It names tags and files, never a patient's values.
"""

from __future__ import annotations


class RadkitError(Exception):
    """The root of every error that radkit raises on purpose."""


class MissingDependency(RadkitError, ImportError):
    """An optional package is not installed; the message holds the command that installs it."""


class DataError(RadkitError):
    """A source of the catalog cannot be had or is not what it should be."""


class ChecksumError(DataError):
    """A file's sha256 is not the one that the catalog promises."""


class SourceUnreachable(DataError):
    """The package index does not answer, or does not hold the pinned file."""


class DicomError(RadkitError):
    """A DICOM object or series cannot be read as what it claims to be."""


class ViewError(RadkitError):
    """A picture was asked for of things that do not fit together, such as a mask on another grid."""


class ResultError(RadkitError):
    """A result (SEG, SR) does not fit the images it belongs to."""


class ModelError(RadkitError):
    """A bundle is incomplete, or a model was fed what it was not made for."""


class EvaluationError(RadkitError):
    """Truth and prediction do not fit together, or do not hold what the figure asked for needs."""


class CheckError(RadkitError):
    """An exercise, or the answer to one of its questions, is not written as it should be."""


class ArchiveError(RadkitError):
    """An archive did not do what it was asked to."""


class ArchiveUnavailable(ArchiveError):
    """No archive could be started or reached."""


class TransferError(ArchiveError):
    """A transfer ended before every instance had arrived; ``missing`` holds the SOP Instance UIDs that did not."""

    def __init__(self, message: str, missing: tuple[str, ...] = ()):
        super().__init__(message)
        self.missing = missing


class DeployError(RadkitError):
    """A MAP could not be built or run; ``returncode`` is the exit status as a shell tells it, None if nothing ran."""

    def __init__(self, message: str, returncode: int | None = None):
        super().__init__(message)
        self.returncode = returncode


class InputRefused(DeployError):
    """The application ran, and refused its input: to try again is no use."""
