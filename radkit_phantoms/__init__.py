"""Bodies made by code: drawn from known shapes on a canvas in mm, with exact truth, and of no patient.

They are what radkit's lessons and tests use where the real images cannot be had (`radkit.data.standins`). The package
stands beside radkit because it knows nothing of it: it needs numpy and highdicom's volume.
"""
