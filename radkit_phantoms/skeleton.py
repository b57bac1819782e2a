"""The bones of the made-up body of `bodyplan`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .bodyplan import BODY, DISCS, FAT, RIB_DROP, RIB_SWEEP, along, cavity, oval, spine_front
from .canvas import Box, Canvas


def draw_ribs(canvas: Canvas, side: int, first: int) -> None:
    """Draw the ribs of one side: a firm shell around marrow, from the spine round to the cartilage."""
    for i, (top, drop, sweep) in enumerate(zip(DISCS, RIB_DROP, RIB_SWEEP, strict=False)):
        points = []
        for share in np.linspace(0, 1, 24):
            angle, z = np.radians(10 + share * (sweep - 10)), top - drop * (1 - np.cos(np.pi * share)) / 2
            half, depth, centre = cavity(min(z, -44.0))
            points.append((side * (half + 5) * np.sin(angle), centre + (depth + 5) * np.cos(angle), z))
        points = [(side * 20.0, spine_front(top) + 24, float(top)), *points[2:]]
        box, distance = canvas.tube(points, 3.6, squash=(1, 1, 0.62))
        canvas.paint((box, distance), 620, first + i)
        canvas.paint((box, distance + 1.8), 230)
        if i < 10:
            x, y, z = points[-1]
            low = max(along(i, (0, -58), (6, -186), (9, -205)), -188.0)
            target = (side * 17.0, along(low, (-188, -86), (-150, -82), (-90, -63), (-52, -35)), low)
            bend = ((x + target[0]) / 2, min(y, target[1]) - 1, min(z, low) + 4)
            canvas.paint(canvas.tube([(x, y, z), bend, target], 4.5), 105, 118)


def draw_shoulder(canvas: Canvas, side: int) -> None:
    """Draw collar bone, shoulder blade and the head of the humerus."""
    armpit = [(side * 112, -18, -58), (side * 122, 4, -84), (side * 118, 22, -116)]
    canvas.paint(canvas.tube(armpit, [10, 13, 8], squash=(1, 0.7, 1)), -95, only=(BODY,))
    bones = [
        (canvas.tube([(side * 16, -36, -50), (side * 58, -44, -38), (side * 112, 0, -18)], [7, 5.5, 6]), 73),
        (canvas.ellipsoid((side * 142, 18, -30), (24, 23, 25)), 69),
        (canvas.tube([(side * 142, 16, -30), (side * 164, 8, -4)], [17, 12]), 69),
    ]
    blade = [(side * 120, 34, -40), (side * 104, 82, -70), (side * 92, 106, -110), (side * 90, 108, -158)]
    bones.append((canvas.tube(blade, [6, 4, 3, 3], squash=(0.5, 1, 0.4)), 71))
    bones.append((canvas.tube([(side * 118, 30, -36), (side * 62, 88, -56)], [7, 4]), 71))
    for (box, distance), label in bones:
        inside = canvas.labels[box]
        kept = np.where(np.isin(inside, (BODY, label)) | (inside == 0), distance, 9)
        canvas.paint((box, kept), 560, label if side > 0 else label + 1)
        canvas.paint((box, kept + 2), 190)


def draw_sternum(canvas: Canvas) -> None:
    """Draw the breastbone."""
    shape = canvas.tube(
        [(0, -35, -52), (0, -64, -90), (0, -83, -150), (0, -87, -188)], [6, 5, 5, 4], squash=(0.3, 1, 0.8)
    )
    canvas.paint(shape, 420, 116)
    canvas.paint((shape[0], shape[1] + 2), 130)


def draw_spine(canvas: Canvas, k: int) -> None:
    """Draw one slice of the spine: body or disc, canal with the cord, arch, processes, and the muscles beside it."""
    z = float(canvas.z[k, 0, 0])
    front = spine_front(z)
    level = int(np.searchsorted(-np.array(DISCS), -z, side="right")) - 1  # -1 above T1
    tops = (0, *DISCS, -375)
    share = (tops[level + 1] - z) / (tops[level + 1] - tops[level + 2])  # 0 at the disc above, 1 at the one below
    label = 43 - level
    box = canvas.box((-60, front - 6, z - 0.01), (60, front + 90, z + 0.01))
    x, y, _ = canvas.places(box)
    y = y - np.float32(front)
    wide, deep = along(z, (-10, 13), (-150, 16), (-345, 24)), along(z, (-10, 9), (-150, 15), (-345, 17))
    canal = 2 * deep + 8
    for side, muscle in ((1, 86), (-1, 87)):
        canvas.paint((box, oval(x - side * 26, y - canal - 20, 23, 17)), 54, muscle, only=(BODY, FAT))
    body = oval(x, y - deep, wide, deep, boxy=0.2)
    near_disc = min(share, 1 - share) * (tops[level + 1] - tops[level + 2])
    if near_disc < 2.5:
        canvas.paint((box, body), 95)
    else:
        canvas.paint((box, body), 430, label)
        canvas.paint((box, body + 1.8), 330 if near_disc < 4.5 else 185)
    _arch(canvas, box, (x, y - np.float32(canal)), share, label)


def _arch(canvas: Canvas, box: Box, place: tuple[NDArray, NDArray], share: float, label: int) -> None:
    """Draw what lies behind a vertebral body; `place` is measured from the middle of the canal."""
    x, y = place
    ring = np.abs(oval(x, y, 14, 11)) - 3
    parts = [ring if share < 0.7 else np.where(y > 2, ring, np.float32(9))]
    parts.append(np.maximum(np.abs(x) - 2.8, np.abs(y - 24) - (14 if share > 0.35 else 8)))
    if share < 0.45:
        slope = np.abs(y - 8 - (np.abs(x) - 14) * 0.45) - 4.5
        parts.append(np.maximum(slope, np.maximum(np.abs(x) - 33, 12 - np.abs(x))))
    bone = np.minimum.reduce(np.broadcast_arrays(*parts))
    canvas.paint((box, bone), 480, label)
    canvas.paint((box, bone + 1.8), 240)
    canvas.paint((box, oval(x, y, 10.5, 8.5)), 15, 79)
    canvas.paint((box, oval(x, y, 6, 4.8)), 42)
