# %% [markdown]
# # 08 · Package it
#
# **For whom:** radiology residents, and the people in IT who are asked to install "an AI" in the hospital. You need not have
# programmed: press ▶ (or Shift + Enter), cell by cell, predict, and look. Whoever knows code may read it.
#
# **Goals.** At the end you can
# 1. say what a model lacks before a hospital can let it run unattended;
# 2. read an application as a chain of operators, and a MAP by its two manifests;
# 3. check a package with a linter, run it on a study, and read what it says of itself;
# 4. say what a locked box forbids, and what a refusal does and does not protect from;
# 5. explain to a colleague how a hidden exit status turns a failure into *no finding*.
#
# **Minutes:** 35 to read, predict and look; one to three for the computer.
#
# *Nothing here is for clinical use.*

# %% [markdown]
# ## The clinical question
#
# Monday, 3 a.m. The emergency department has sent a man through the CT. His images reach the archive; the one radiologist on
# call is busy with a stroke. In the daytime somebody would open a notebook, choose the right series, look whether it is a chest,
# press ▶, and raise an eyebrow at the answer. At 3 a.m. nobody presses ▶.
#
# > **What must be packed with a model, so that it can run without you, and you can trust what it did?**
#
# Leave the next line as it is.

# %% tags=["parameters"]
stand_in = None  # None: the real images, and generated stand-ins where they cannot be had

# %%
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pydicom
from IPython.display import HTML

import radkit as rk

here = Path("../build/08").resolve()  # all that is written below goes there
shutil.rmtree(here, ignore_errors=True)

# %% [markdown]
# ## 1 · What a bundle holds
#
# A trained model comes as a **bundle**: MONAI's way to keep a network together with what one must know of it. This is the lung nodule
# network of notebook 00 (your own of notebook 05 looks the same):

# %%
bundle = rk.model.load_bundle()
for path in sorted(path for path in bundle.folder.rglob("*") if path.is_file()):
    print(f"{path.stat().st_size / 1000:>8.0f} kB  {path.relative_to(bundle.folder).as_posix()}")
print("", bundle.metadata["task"], bundle.metadata["intended_use"], sep="\n")

# %% [markdown]
# The network (`.pt`: its weights alone; `.ts`: weights and wiring in one file), how to prepare an image, how to run the network on
# it, a model card, a licence. With that, *you* find nodules:

# %%
story = rk.data.story(stand_in=stand_in)
ct = rk.dicom.read_series(story.folder)
by_hand = rk.model.find_nodules(ct, bundle, progress=False)
print(f"{story.title}; candidates: {by_hand.array.max()}")

# %% [markdown]
# How much of that was you? You took *this* series and not another, you knew that it is a chest, and you would have noticed nonsense.
# `find_nodules` helped: it looks for lungs first. The bundle itself does not; `predict` runs it alone.
# *Predict: what does the bundle do if it is given the MR of a brain?* (An average brain with drawn lesions: nobody was scanned today.)

# %%
head = rk.data.cohort("brain-lesions", 1, stand_in=stand_in, progress=False)[0]
marked = rk.model.predict(head.images["t1"], bundle, progress=False).array
print(f"{marked.size:,} voxels of a brain read; marked as lung nodule: {int(marked.sum()):,}")

# %% [markdown]
# It read the brain without a word of complaint. A network has an answer to everything; **"this is not for me" is not among its
# answers**, and an empty mask looks the same whether the lungs are clean or there are no lungs. So somebody has to add:
#
# - **which images**: of all the series of a study, which one;
# - **what to give back**: a result that belongs to this patient and lands where it is read (notebook 07);
# - **when to say no**, and how to say so to a machine.
#
# That is the application.
#
# ## 2 · The application: a chain of operators
#
# [MONAI Deploy](https://monai.io/deploy.html) builds an application from **operators**. Each does one thing, takes what the one before
# gives, and hands on. Loading DICOM, selecting a series, making a volume and running a bundle come with its SDK (the maker's box of
# parts for programmers); ours are for what follows. Below, the real application is put together by the SDK's own `compose` (not run yet), and drawn
# from its `graph`. The SDK exists for Linux only; elsewhere the picture shows the steps alone, and the package takes the same steps without it.


# %%
from contextlib import redirect_stderr
from importlib.util import find_spec

from radkit.deploy.pipeline import STEPS, Case

source = Path(rk.deploy.__file__).with_name("nodule_app") / "operators.py"
header = pydicom.dcmread(story.files[0], stop_before_pixels=True)
operators = []
if find_spec("holoscan"):
    sys.path.insert(0, str(source.parent))
    with redirect_stderr(Path(os.devnull).open("w")):  # it misses NVIDIA's decoders, and says so
        from operators import NoduleApp

        app = NoduleApp(Case(bundle, images=[header]))
        app.compose()
        operators = app.graph.get_nodes()

# %%
chain = [] if operators else [(saying, "radkit", "then") for saying in STEPS]
for operator in operators:
    theirs = [kind.__name__ for kind in type(operator).__mro__ if kind.__module__.startswith("monai.deploy")]
    name = theirs[0].removesuffix("Operator") if theirs else operator.name.replace("_", " ")
    chain.append((name, "MONAI Deploy" if theirs else "radkit", *operator.spec.outputs))
boxes, flex, colours = "", "display: flex; gap: 10px", {"MONAI Deploy": "#BFD9EA", "radkit": "#F6D9B8"}
for name, whose, gives in [("choose the series", "before the graph", "its files"), *chain, ("deliver", "after it", "")]:
    look = f"background: {colours.get(whose, '#DDDDDD')}; color: #000; padding: 8px 12px; border-radius: 6px"
    arrow = f"→<br><small><i>{gives}</i></small>" * bool(gives)
    boxes += f"<div style='{flex}'><div style='{look}'>{name}<br><small>{whose}</small></div><div>{arrow}</div></div>"
HTML(f"<div style='{flex}; flex-wrap: wrap; max-width: 900px'>{boxes}</div>")

# %% [markdown]
# Under the arrows: what an operator hands on (`out` of ours only says "your turn"). The first box is the **guard**: it reads headers
# only, chooses one series and may end everything there. The last is the **delivery**: results are written aside and moved into
# place whole, `result.json` last. So whoever finds `result.json` knows that all the rest is there.
#
# What does such an operator look like? Here is ours, as it stands in `operators.py`: one class serves for all the orange boxes.

# %%
print("class Step" + source.read_text("utf-8").split("class Step")[1].split("class NoduleApp")[0].rstrip())

# %% [markdown]
# `setup` names the ports, where something comes in and goes out; `compute` is called when something arrives. That is the whole
# trick of the SDK: small parts that can be tested, replaced, and drawn.
#
# ## 3 · The MAP: everything in one folder
#
# A **MAP** (MONAI Application Package) says where each part lies, so that a hospital can run a program that it has never seen. In the
# end it is an **image**: no picture here, but a program, packed with all that it needs to run (section 5). First it is a folder,
# laid out as it will lie in the image; `holoscan` is the name of the platform below MONAI Deploy. *Predict: which part is the largest: the network, the code, or the papers?*


# %%
def table(head, rows):
    lines = ["".join(f"<td style='text-align: left'>{cell}</td>" for cell in row) for row in rows]
    names = "".join(f"<th style='text-align: left'>{name}</th>" for name in head)
    return HTML(f"<table style='font-size: 15px'><tr>{names}</tr><tr>{'</tr><tr>'.join(lines)}</tr></table>")


# %%
package = rk.deploy.build_map(here / "map")
parts = {"etc/holoscan": "the manifests: what it needs, what it gives", "opt/holoscan/app": "the application's code"}
parts |= {"opt/holoscan/models": "the network: the .ts file", "opt/holoscan/docs": "model card and licence"}
parts |= {"var/holoscan": "settings (which series it takes), entry point", "": "with the recipe of the image"}
sizes = {part: [p.stat().st_size for p in (package / part).rglob("*") if p.is_file()] for part in parts}
table(("in", "files", "kB", "holds"), [(k or "all", len(v), round(sum(v) / 1e3), parts[k]) for k, v in sizes.items()])

# %% [markdown]
# The libraries are not in the folder: their exact versions are named, and the image brings them. The network lies apart from the
# code, because it has another life: a retrained one should be exchanged, checked and licensed without touching a line of code.
#
# Two **manifests** are for machines. `app.json` is what a hospital's **scheduler** reads, the program that starts an AI when a study
# arrives: what to start, where, for how long. `pkg.json` says what the machine must have before. Line by line (`4Gi` are 4 × 1024³ bytes, a little more than 4 GB):

# %%
app_json, pkg_json = (json.loads((package / f"etc/holoscan/{name}.json").read_text()) for name in ("app", "pkg"))
means = {"environment": "variables: where input, output and model are", "apiVersion": "the version of these rules"}
means |= {"timeout": "seconds until it should be stopped; 0: never", "workingDirectory": "where it is started"}
means |= {"type": "runs once and stops; a service waits for calls", "applicationRoot": "where the code lies"}
means |= {"version": "of the application: quote it in complaints", "input": "files, in this folder"}
means |= {"sdkVersion": "and which of it", "modelRoot": "where models lie", "resources": "cores and memory"}
means |= {"command": "what is started", "models": "their names", "output": "files too", "sdk": "built with"}
lines = [("app", *line) for line in app_json.items()] + [("pkg", *line) for line in pkg_json.items()]
lines = [(file, key, f"{len(says)} of them" if key == "environment" else says, means[key]) for file, key, says in lines]
table(("manifest", "entry", "says", "which means"), lines)

# %% [markdown]
# What the manifests do *not* say: for which patients, how good, how it fails. That is the model card under `docs`, and it is for you
# to read.
#
# ### A linter, for what nobody reads
#
# A **linter** is a program that reads the papers of another one and names what is wrong. Does the folder keep to the specification,
# clause by clause?

# %%
rk.deploy.lint_map(package)

# %% [markdown]
# Nothing to complain of. Now a copy, with the manifests as the *official* packager (holoscan-cli 4.2) writes them. *Predict: does the
# official tool keep to the official text?*

# %%
broken = Path(shutil.copytree(package, here / "broken"))
theirs = {"command": json.dumps(app_json["command"].split()), "output": {"formats": ["file"], "path": "output"}}
(broken / "etc/holoscan/app.json").write_text(json.dumps({k: v for k, v in (app_json | theirs).items() if k != "type"}))
(broken / "etc/holoscan/pkg.json").write_text(json.dumps(pkg_json | {"models": {bundle.name: bundle.name}}))
rk.deploy.lint_map(broken)

# %% [markdown]
# Four small differences: no `type`, the command as a list written out as text, `formats` for `format`, and the models under their
# names. The official tools read their own form without trouble. The package may fail at the *next* hospital, whose scheduler keeps
# to the text and starts a command that no shell can run. That is what a clause in a finding is good for: you can send it to
# the vendor.
#
# ## 4 · Run it on a study
#
# From the scanner comes a study, not a series. Ours gets three: the slices of the story's patient; every second of them again, in
# place of a thick series (a real one is averaged, not thinned out); and one coronal slice that calls itself the scout view (a real
# one is a projection). To the guard, which reads headers, they look as the real ones do.

# %%
study = here / "study"
same = {word: header[word].value for word in ("StudyInstanceUID", "FrameOfReferenceUID", "PatientID", "PatientName")}
shutil.copytree(story.folder, study / "thin")
thick = rk.data.write_ct_series(ct[::2], study / "thick", header=same)
flat = ct.permute_spatial_axes((1, 0, 2))[250:251, ::-1]
scout = rk.data.write_ct_series(flat, study / "scout", header=same | {"ImageType": ["DERIVED", "PRIMARY", "LOCALIZER"]})


# %% [markdown]
# *Predict: which series will it take, how many seconds will it need, and will it find what the notebook found in section 1?*

# %%
run = rk.deploy.run_map(package, study, here / "out")
print(f"exit status {run.returncode}, {run.seconds:.0f} s, by {run.result['runner']}")
print("it wrote:", ", ".join(path.name for path in run.outputs))
taken = [(one["modality"], one["images"], "yes" * one["chosen"], one["reason"]) for one in run.result["series"]]
table(("modality", "images", "taken", "why not"), taken)

# %% [markdown]
# `result.json` is made for machines, and reads well enough for people: what was looked at, what was left aside *and why*, each
# candidate's place and size. It holds nobody's name; but its UIDs lead back to the patient, so it is patient data all the same.
# Everything the SDK muttered is in `out.log` beside the output folder, for the day when something goes wrong. Does the result fit,
# and is it the same as by hand?

# %%
seg, report = (pydicom.dcmread(here / "out" / name) for name in ("segmentation.dcm", "report.dcm"))
back = rk.results.read_segmentation(seg, like=ct)
print("what radkit's check objects to:", rk.results.check([seg, report], story.files) or "nothing")
print("voxels that differ from those by hand:", int((back.array != by_hand.array).sum()))
spot = run.result["findings"][0]["centroid_lps_mm"]
rk.view.show(ct, back, title=story.title, names={1: "largest candidate"}, preset="lung", at=spot, zoom=2, opacity=0.15)

# %% [markdown]
# The same voxels, without anybody at the keyboard. Note what the package did *not* do: judge. It reports every candidate; the
# report says that no person has verified it.
#
# ## 5 · The locked box
#
# Would you let a program from a vendor run on the hospital's network, with read access to everybody's images? A folder runs with all
# that its user may do. An **image** runs in a container, and there radkit takes away all that it does not need:

# %%
from radkit.deploy.box import LOCK, USER

why = {"--network": "it has none: no patient's image leaves that way", "--read-only": "it cannot change itself"}
why |= {"--tmpfs": "scratch paper, gone afterwards", "--cap-drop": "no rights over the machine"}
why |= {"--security-opt": "and no way to get any", "--memory": "if it wants more it is ended, not its neighbours"}
why |= {"--pids-limit": "no flood of processes", "--pull": "fetches nothing from elsewhere", "--user": "not as root"}
rows = [option.partition("=")[::2] for option in (*LOCK, f"--user={USER}")]
table(("option", "value", "why"), [(name, value, why[name]) for name, value in rows if name in why])

# %% [markdown]
# (The patient's images come in read-only; the output folder is the one place that lasts.) To build the image takes docker, podman or
# buildah, and minutes the first time, so this notebook does not. In a terminal, in this folder:
#
# ```
# radkit map image ../build/08/map
# radkit map run localhost/map:VERSION ../build/08/study ../build/08/boxed
# ```
#
# or here, with `image = rk.deploy.build_image(package)` and `rk.deploy.run_map(image, ...)`. `radkit map image` says the name to use.
#
# One lock works for folders as well: **time**. An application that never ends would keep every later patient waiting. Here is one: it
# begins to write a report, and hangs. Its limit is four seconds. *Predict: what is left in the output folder?*


# %%
def pack(name, code):  # the MAP of an application of a few lines
    (here / f"{name}_app").mkdir()
    (here / f"{name}_app" / "app.py").write_text(code)
    (here / f"{name}_app" / "app.yaml").write_text("resources: {cpu: 1, memory: 1Gi}")
    return rk.deploy.build_map(here / name, app=here / f"{name}_app", bundle=bundle)


try:
    code = "import os\nprint('writing')\nopen(os.environ['HOLOSCAN_OUTPUT_PATH'] + '/report.dcm', 'w')\nwhile 1: pass"
    rk.deploy.run_map(pack("never", code), study, here / "out_never", timeout=4)
except rk.RadkitError as error:
    print(str(error).replace(str(here), "…"))
print("left in the output folder:", [path.name for path in (here / "out_never").iterdir()])

# %% [markdown]
# It was stopped, together with whatever it had started, and you were told. But half a report lies there, and its name looks like a
# whole one. Our own application writes aside and moves its files into place at the end, `result.json` last. Of any other: no
# `result.json`, no result.
#
# ## 6 · The wrong series
#
# Now as a scheduler sees it: it starts a command, waits, and gets one number back, the **exit status**. By old custom 0 is "all
# went well". Our application promises: 0 done, 1 failed, 2 refused.
#
# We send the MR of the brain from section 1 (as *head*), and a CT of an upper abdomen. *Predict the two numbers.*

# %%
head.write(here / "head")
abdomen = rk.dicom.read_series(rk.data.fetch("abdomen-ct-dicom", stand_in=stand_in).files["series"])
rk.data.write_ct_series(abdomen, here / "abdomen", header={"BodyPartExamined": "ABDOMEN"})


def order(source):  # start the package as a scheduler does: the exit status, and what result.json says
    words = [sys.executable, "-m", "radkit.cli", "map", "run", package, here / source, here / f"out_{source}"]
    status = subprocess.run(words, capture_output=True).returncode
    result = json.loads((here / f"out_{source}" / "result.json").read_text())
    reasons = "; ".join(sorted({one["reason"] for one in result["series"] if one["reason"]}))
    found = len(result["findings"]) if result["status"] == "done" else "not looked for"
    return source, status, result["status"], found, reasons


titles = ("study", "exit status", "result.json says", "nodules", "why not")
table(titles, map(order, ("head", "abdomen")))

# %% [markdown]
# Refused, with the reason, and with a number that is not 0. Nobody will read "no nodule" under the brain.
#
# A good guard? It believes what the header says. At the scanner somebody has picked the wrong protocol, and the same abdomen now
# calls itself a chest: one tag, not a pixel, has changed. *Predict: refused, failed or done?*

# %%
rk.data.write_ct_series(abdomen, here / "mislabelled", header={"BodyPartExamined": "CHEST"})
table(titles, [order("mislabelled")])

# %% [markdown]
# *Done, no nodule*, in a few slices of upper abdomen. The next step, which reads the volume, does look for lungs; but the lung bases
# are there. **A refusal protects from what its makers thought of**, and *no finding* means: none in what it was given. So the
# archive must be able to show what that was. Silence cannot: an empty folder looks the same whether nothing was found, or nothing
# was looked at. So our application writes a report where it looked and found nothing; where it refused or failed it writes none.

# %%
absent = pydicom.dcmread(here / "out_mislabelled" / "report.dcm")
(said,) = rk.results.read_report(absent)
(series,) = absent.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
print(f"{said.kind}, {said.site}:", *said.qualities.values(), f"in {len(series.ReferencedSOPSequence)} images")

# %% [markdown]
# *Absent* is DICOM's word, and more than a network can know. Read it as *none marked, in these images, by this network*: by its model
# card it misses most nodules under 12 mm. And compare the number of images with that of our patient's chest in section 4. The list
# on your screen should give it too: *no nodule* alone sounds like the whole chest.
#
# ## 7 · Hide an exit status
#
# A package has an *entry point*, a little script that starts the application. Its author may want to be tidy: start it, and close
# with a friendly word. The script below does that. (The entry script of the official packager, holoscan-cli 4.2, has the same effect,
# measured: an application that ends with 7 leaves it with 0.)

# %%
tidy = """import json, os, shlex, subprocess
command = json.load(open(os.environ["HOLOSCAN_APP_MANIFEST_PATH"]))["command"]
subprocess.run(shlex.split(command))
print("Application finished. Thank you.")"""
hungry = """import os, sys
images = sum(len(names) for *_, names in os.walk(os.environ["HOLOSCAN_INPUT_PATH"]))
sys.exit(7 if images > 100 else 0)  # 7: not enough memory; else it looked, and found nothing"""
(here / "tidy.py").write_text(tidy)
entries = {"radkit's": pack("starved", hungry) / "var/holoscan/tools", "the tidy one": here / "tidy.py"}

# %% [markdown]
# The application is a toy with one real habit: it dies of large studies, with exit status 7. Where it does not die, take it that it
# looked. It is given the short abdomen, and the chest of our patient with all its slices. The scheduler knows one rule: *0 and no
# result: nothing was found.* **Predict what stands on the worklist of the morning, by each of the two scripts.**

# %%
command = f'"{Path(sys.executable).as_posix()}" "{(here / "starved_app/app.py").as_posix()}"'
(here / "app.json").write_text(json.dumps({"command": command}))
settings = {"HOLOSCAN_APP_MANIFEST_PATH": str(here / "app.json"), "HOLOSCAN_WORKDIR": str(here)}
people = {"abdomen, ward": (here / "abdomen", "nothing known"), "chest, emergency": (story.folder, "a nodule")}
rows = []
for which, entry in entries.items():
    for who, (images, truth) in people.items():
        place = {**os.environ, **settings, "HOLOSCAN_INPUT_PATH": str(images)}
        status = subprocess.run([sys.executable, entry], env=place, capture_output=True).returncode
        line = f"<b>AI FAILED ({status}): read it without</b>" if status else "AI: no finding"
        rows.append((which, who, status, line, truth))
table(("entry point", "patient", "exit status", "on the worklist", "in truth"), rows)

# %% [markdown]
# Look at the last two lines of the table: **the same words for a patient who was looked at and for one who was not.**
# Nobody lied. The application said 7, the script was polite, the scheduler kept its rule. If the AI sorts the list, the man from the
# emergency department sinks to its end; and whoever reads him has been told that there is nothing. Radiologists do follow wrong
# advice of an AI: in a study of mammography the beginners did, and the very experienced too (see Sources). A program that is *down* costs time. A program
# that fails *silently* may cost the patient: it changes your mind and does no work. And it may well fail where it hurts: in the
# large studies, and in those unlike what its makers tried.
#
# A linter can catch that in the act: it puts in an application that only ends with 7, and looks what comes out. We put the tidy
# script into the package and ask. (The tidy script also lacks the two words with which a MAP tells of itself, `show` and `extract`.)

# %%
(here / "starved/var/holoscan/tools").write_text("#!/usr/bin/env python3\n" + tidy)
rk.deploy.lint_map(here / "starved", try_entry=True)

# %% [markdown]
# Look at the levels: two missing words are an *error*, the hidden failure a *warning*. An error breaks a clause of the specification,
# and none speaks of the exit status of the script. The level says what the text says, not what it may cost a patient.
#
# And a scheduler can be less trusting: count as *done* only what has exit status 0 **and** a `result.json` that says `done`. An empty
# output folder never means *no finding*.
#
# ## Recap
#
# - A model answers everything. Choosing the series, writing results and saying no belong to the application around it.
# - A MAP is that application in a known layout: code, model, papers, and two manifests that a machine can read.
# - A linter reads what nobody reads, and names the clause.
# - The box takes from a program what it does not need: network, rights, endless time.
# - A refusal with a reason is a good result. It covers what its makers thought of, and a header can lie to it.
# - *Absent* means: none marked, in the images that were given. Ask how many these were.
# - A hidden failure is worse than a loud one: on a list it looks like a normal study.
#
# ## Try next
#
# - The exercise that belongs to this notebook: [exercise 08](../exercises/08_package_ex.ipynb).
# - Read `../build/08/map/var/holoscan/app.yaml`: the rules of the guard. Set `fewest_slices` to 40, and order the mislabelled
#   abdomen again: `shutil.copytree(here / "mislabelled", here / "again")`, then `table(titles, [order("again")])`. What would that
#   cost, in which patients?
# - Pack your own network of notebook 05: `rk.deploy.build_map(folder, bundle=...)`.
# - Where there is docker, podman or buildah: build the image, and run it on `study`. Are the voxels the same?
# - Ask the next vendor: *What is the exit status if the memory runs out, and who looks at it?*
#
# ## Sources
#
# - *MONAI Application Package*, version 1.0: guidelines/monai-application-package.md of
#   [Project-MONAI/monai-deploy](https://github.com/Project-MONAI/monai-deploy).
# - [MONAI Deploy App SDK](https://github.com/Project-MONAI/monai-deploy-app-sdk), and the packager holoscan-cli 4.2: what its
#   manifests and its entry script do was measured for `radkit.deploy`, and is held by `tests/test_map.py`.
# - Automation bias: Dratsch et al., Automation Bias in Mammography, *Radiology* 2023;307(4):e222176: 27 radiologists, 50 mammograms,
#   with suggestions that were said to be an AI's.
# - The images: `story.source.attribution`, `head.made_from`; licences in `data/catalog.yaml`.
# - How the network was trained, and where it fails: its [model card](../data/bundles/lung_nodule/docs/README.md).
