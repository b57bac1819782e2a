"""Bodies made by code, with exact truth: drawn from known shapes, or grown from real anatomy, into people of nowhere.

The drawn ones stand in where the real images cannot be had (`radkit.data.standins`); the grown ones, chests with
nodules and brains with lesions, are the cohorts of `radkit.data.cohort`. The package stands beside radkit because it
knows nothing of it: it needs numpy, scipy and highdicom's volume.
"""
