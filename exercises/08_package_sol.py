# %% [markdown]
# # Exercise 08 · Package it
#
# It belongs to [notebook 08](../notebooks/08_package_it.ipynb). Run the cells from the top. Where you see `...`, put your answer in its
# place and run the cell: you are told at once whether it is right and, if not, what it would do to a patient or to the people on
# call. `check.solution("name")` shows a solution.
#
# **Minutes:** 20. *Nothing here is for clinical use. Patients, series and nights are made up, by the first cell.*

# %%
import json
from tempfile import TemporaryDirectory

import numpy as np

import radkit as rk

room = TemporaryDirectory()
package = rk.deploy.build_map(f"{room.name}/map")
environment = json.loads((package / "etc/holoscan/app.json").read_text())["environment"]
manifest = {
    "apiVersion": "1.0.0",
    "command": "python3 -u /opt/holoscan/app/app.py",
    "environment": {**environment, "UPLOAD_PASSWORD": "letmein"},
    "input": {"formats": ["file"], "path": "input"},
    "output": {"formats": ["file"], "path": "output"},
    "sdk": "monai-deploy-app-sdk",
    "timeout": "600",
    "version": rk.__version__,
    "workingDirectory": "/var/holoscan/",
}
(package / "etc/holoscan/app.json").write_text(json.dumps(manifest))
resources = {"cpu": 2, "gpu": 0, "memory": "6Gi"}  # of another package
what = ("number", "modality", "body part", "plane", "images", "thickness in mm")
study = [
    dict(zip(what, row, strict=True))
    for row in (
        (1, "CT", "CHEST", "scout", 2, 0.6),
        (2, "CT", "CHEST", "axial", 68, 5.0),
        (3, "CT", "CHEST", "axial", 12, 1.0),
        (4, "CT", "CHEST", "axial", 340, 1.5),
        (5, "CT", "CHEST", "coronal", 260, 1.0),
        (6, "CT", "HEAD", "axial", 240, 0.6),
    )
]
# 300 runs: exit status, what result.json says (None: there is none), findings in it.
kinds = [(0, "done", 2), (0, "done", 0), (0, None, 0), (0, "failed", 0), (2, "refused", 0), (1, "failed", 0)]
order = np.random.default_rng(8).choice(len(kinds), 300, p=(0.2, 0.55, 0.08, 0.04, 0.08, 0.05))
runs = [dict(zip(("exit", "result", "findings"), kinds[kind], strict=True)) for kind in order]
check = rk.check.Exercise("08_package", package=package, study=study, runs=runs, resources=resources)
check.progress()

# %% [markdown]
# ## 1 · Does it fit into the machine?
#
# The manifest of a package asks for memory like this:

# %%
print(resources)

# %% [markdown]
# **How many bytes must be free before it may start?**

# %% tags=["question"]
asked = int(resources["memory"].removesuffix("Gi"))
gb, mi, half = asked * 10**9, asked * 1024**2, asked * 1000 * 1024**2
rk.check.Number(
    "memory",
    asked * 1024**3,
    unit="bytes",
    wrong={
        gb: "Those are 6 GB. `Gi` counts by 1024: a box cut to 6 GB ends the application too early, and in the largest studies first.",
        mi: "Those are 6 Mi. With that not even Python starts, and every patient of the night is read without it.",
        half: "Half by 1000 and half by 1024: `Gi` is 1024 three times.",
        asked: "That is the number without its unit. Write out what `Gi` stands for.",
    },
    hint="What does the i in `Gi` change, against a plain G?",
    way="`G` is 1000 × 1000 × 1000, `Gi` is 1024 × 1024 × 1024.",
    right="Some seven per cent more than 6 GB. Who gives it less loses the largest studies first: the trauma, the whole body.",
)

# %%
memory = 6 * 1024**3  # SOLUTION
check("memory", memory)

# %% [markdown]
# ## 2 · A manifest that somebody edited (no code)
#
# MAP 1.0 wants in `app.json`: a `type`, application or service; a `command` as a line for a shell; `formats` under `input` and one
# `format` under `output`; a `timeout` as a number of seconds. Here is a manifest (its environment shortened):

# %%
last = dict(list(manifest["environment"].items())[-2:])
print(json.dumps(manifest | {"environment": last}, indent=1))

# %% [markdown]
# **Which entries break the specification?** Give their names, like this: `version, sdk`. (For one inside another, the inner name.)

# %% tags=["question"]
wrong = [note.path for note in rk.deploy.lint_map(package) if note.level == "error"]
errors = {path.rpartition("#")[2].rpartition(".")[2] for path in wrong}
rk.check.Words(
    "errors",
    errors,
    wrong=[
        (errors - {"type"}, "One more, and it is easy to miss: something is not there at all."),
        (errors - {"timeout"}, "One more: look at what stands in quotation marks. A scheduler may wait all night."),
        (errors - {"format"}, "One more: compare what stands under `input` and under `output`, letter by letter."),
        (
            errors - {"format"} | {"formats"},
            "Two of three, and nearly the third: `formats` is right under `input`. Under `output` another name is asked for; give that one.",
        ),
        (errors | {"environment"}, "The password in it is bad: anybody can read it. But no clause forbids it."),
        (errors | {"UPLOAD_PASSWORD"}, "Anybody can read that password. The linter warns, but no clause forbids it."),
        (errors | {"command"}, "The command is as it should be: a line that a shell can run."),
    ],
    hint="Go through the specification above word by word, and tick off. Is everything there? Is everything of the right kind?",
    way="`rk.deploy.lint_map(package)` does it for you, with the clauses. Count its errors only.",
    right="Three small things, invisible on a screen. The linter also warns of the password: change it, it is known now.",
)

# %%
check("errors", {"type", "timeout", "format"})  # SOLUTION: check("errors")

# %% [markdown]
# ## 3 · Six series arrive
#
# The rules of a nodule application: *axial CT of the chest, at least 16 images, slices of at most 5 mm; of those that fit, the
# thinnest.* **Which number does it take?**

# %%
for series in study:
    print(series)

# %% tags=["question"]
rk.check.Number(
    "series",
    4,
    wrong={
        1: "That is the scout: two flat views. A nodule of 8 mm is hardly seen in it, and cannot be measured.",
        2: "It fits, but another one that fits is thinner. In slices of 5 mm a small nodule is a pale smear, if it shows at all.",
        3: "Twelve images of 1 mm do not fill a chest: most of the lung lies between or beyond them, and *no finding* would be said of it all.",
        5: "That one is coronal, most likely made from axial slices that are here too. The rules say axial: for those its makers answer.",
        6: "Thin, and a head. *No lung nodule* in a head is true, and worth nothing.",
    },
    hint="Strike out what does not fit, and write beside each why. What is left?",
    way="Plane and body part leave three. One of them has too few images.",
    right="And a good application tells of each of the other five why it was left aside.",
)

# %%
number = 4  # SOLUTION
check("series", number)

# %% [markdown]
# ## 4 · Who may be called "no finding"?
#
# `runs` holds the 300 patients of a month: for each the exit status, what `result.json` says (`None`: there is no such file), and how many
# findings are in it. One of each kind:

# %%
for run in [run for number, run in enumerate(runs) if run not in runs[:number]]:
    print(run)

# %% [markdown]
# The worklist may say *AI: no finding* only of a patient who **was really looked at**, to the end, and where nothing was found. **How many
# are these?**

# %% tags=["question"]
empty = [run for run in runs if run["findings"] == 0]
silent, status, ended = len(empty), sum(run["exit"] == 0 for run in empty), sum(run["exit"] == 0 for run in runs)
looked = sum(run["result"] == "done" for run in runs)
some = sum(run["exit"] == 0 and run["result"] is not None for run in empty)
rk.check.Number(
    "no finding",
    sum(run["exit"] == 0 and run["result"] == "done" for run in empty),
    unit="patients",
    wrong={
        silent: "That counts everybody without a finding, also those who were refused, and those on whom the program died.",
        status: "The exit status alone is not enough: some ended with 0 and left no result, or one that says *failed*. They would be read as normal.",
        ended: "Those all ended with 0. Some of them have findings, and some were never looked at.",
        looked: "Those were looked at. Some of them have findings.",
        some: "A `result.json` must be opened, not only be there: a few of these say *failed*.",
    },
    hint="Three things must be true at once. Which?",
    way='`sum(run["exit"] == 0 and run["result"] == ... and run["findings"] == ... for run in runs)`',
    right="All others belong on another list: read without the AI, and somebody looks into the log in the morning.",
)

# %%
no_finding = sum(run["exit"] == 0 and run["result"] == "done" and run["findings"] == 0 for run in runs)  # SOLUTION
check("no finding", no_finding)

# %% [markdown]
# ## 5 · Exit status 2 (no code)
#
# 4 a.m. The order says *CT chest*. The application ends with exit status 2, and `result.json` says: *body part HEAD, not the chest*.
# **What should happen?**

# %% tags=["question"]
rk.check.Pick(
    "refused",
    "Read it without the AI, and check whose images these are",
    wrong={
        "The worklist says: AI, no finding": "Nothing was looked at. The words would lie in the worst place, at the end of a night.",
        "It is started again until it ends with 0": "The same images are refused again, all night. To start again is for a failure (1), which may pass.",
        "The tag is changed to CHEST, and it is started again": "If it is a head, the AI will now find no nodule in a brain. First find out why order and header differ.",
        "The study waits until the vendor has answered": "The patient is in the emergency department. An AI that is silent must never hold up a reading.",
    },
    hint="What does the program tell you with that, apart from the fact that it will not work?",
    way="A refusal is about the images, not about the program. Who has to know, and who must not wait?",
    right="A wrong tag, a wrong protocol, or the wrong patient: the guard has just done you a favour.",
)

# %%
check("refused", "Read it without the AI, and check whose images these are")  # SOLUTION: check("refused")

# %%
check.progress()
