"""A made-up body from the neck to the kidneys, drawn on a `Canvas`: no patient, only known shapes (`bodyplan`)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from .bodyplan import BODY, FALSE_LUMEN, FAT, LUNGS, OTHER, along, cavity, diaphragm, oval, spine_front
from .canvas import EVERYWHERE, Canvas, Point, Shape
from .skeleton import draw_ribs, draw_shoulder, draw_spine, draw_sternum


def draw(canvas: Canvas, *, blood: float = 280.0, dissected: bool = False) -> None:
    """Draw the whole body: what is drawn later lies on top."""
    for k in range(len(canvas.z)):
        _trunk(canvas, k)
    _abdomen(canvas, blood)
    _mediastinum(canvas, blood)
    _great_vessels(canvas, blood, dissected)
    _airways(canvas)
    for side, first in ((1, 92), (-1, 104)):
        _tree(canvas, side, blood)
        draw_ribs(canvas, side, first)
        draw_shoulder(canvas, side)
    draw_sternum(canvas)
    for k in range(len(canvas.z)):
        draw_spine(canvas, k)


def finish(canvas: Canvas, *, noise: float = 14.0, seed: int = 1, field_of_view: bool = True) -> None:
    """Put the body on its table, add the scanner's noise, cut to the round field of view, clear the helper labels."""
    rng = np.random.default_rng(seed)
    x, y = canvas.x[0], canvas.y[0]
    table = np.abs(np.sqrt(np.square(x - 14) + np.square(y + 440)) - 600) - 1.6
    radius = float(canvas.x.max() - canvas.x.min()) / 2
    off = np.square(x - canvas.x.mean()) + np.square(y - canvas.y.mean()) > (radius + 0.5) ** 2
    for k, picture in enumerate(canvas.hu):
        picture += np.clip(0.5 - table / canvas.edge, 0, 1) * np.where(np.abs(x - 14) < 190, 400 - 0.4 * picture, 0)
        grain = rng.standard_normal((picture.shape[0] + 1, picture.shape[1] + 1), np.float32)
        picture += noise / 2 * (grain[1:, 1:] + grain[:-1, 1:] + grain[1:, :-1] + grain[:-1, :-1])
        np.clip(picture, -1024, 3071, out=picture)
        if field_of_view:
            picture[off] = -2048
        canvas.labels[k][canvas.labels[k] > 200] = 0


def _slice(canvas: Canvas, k: int, distance: NDArray) -> Shape:
    return (slice(k, k + 1), *EVERYWHERE[1:]), distance[None]


def _trunk(canvas: Canvas, k: int) -> None:
    """Draw skin, fat, muscle and the lungs of one slice."""
    x, y, z = canvas.x[0], canvas.y[0], float(canvas.z[k, 0, 0])
    wide = along(z, (-340, 143), (-235, 145), (-170, 150), (-120, 160), (-90, 172), (-50, 184), (-22, 178), (-8, 150))
    deep = along(z, (-340, 114), (-200, 119), (-120, 116), (-80, 106), (-50, 94), (-20, 84), (-8, 76))
    middle = along(z, (-340, 0), (-200, 16), (-120, 20), (-50, 26), (-8, 20))
    skin = oval(x, y - np.float32(middle), wide, deep, boxy=0.25)
    canvas.paint(_slice(canvas, k, skin), 10, BODY)
    canvas.paint(_slice(canvas, k, skin + 2), -105)
    canvas.paint(_slice(canvas, k, skin + along(z, (-340, 22), (-230, 13), (-100, 12), (-40, 20)) + x * x / 4000), 52)
    half, depth, centre = cavity(z)
    if z > -175:  # the planes of fat between the muscles of shoulder and chest wall
        for depth_in, thick in ((26, 0.9), (40, 1.6)):
            plane = np.abs(skin + depth_in + 5 * np.sin(x / 23) + 4 * np.cos(y / 17)) - thick
            canvas.paint(_slice(canvas, k, np.maximum(plane, np.float32(half - 2) * (half > 8) - np.abs(x))), -80)
    if half < 8:
        return
    inside = oval(x, y - np.float32(centre), half, depth, boxy=0.3)
    canvas.paint(_slice(canvas, k, inside), -95, FAT)
    _lungs(canvas, k, inside)


def _lungs(canvas: Canvas, k: int, inside: NDArray) -> None:
    """Draw both lungs of one slice and divide them into lobes by their fissures."""
    x, y, z = canvas.x[0], canvas.y[0], np.float32(canvas.z[k, 0, 0])
    # The mediastinum is narrow in front, wider at the hila, and as wide as the spine behind.
    behind = y.ravel() - np.float32(spine_front(float(z)))
    medial = np.interp(behind, [-140, -105, -70, -25, 5, 25, 50], [9, 6, 14, 18, 15, 19, 31]).astype(np.float32)
    for side, lobes in ((1, (10, 11, 10)), (-1, (12, 14, 13))):
        lung = np.maximum(np.maximum(inside + 1.5, medial[:, None] - side * x), 0.65 * (diaphragm(x, y, side) - z))
        if not (lung < 0).any():
            continue
        shape = _slice(canvas, k, lung)
        # The oblique fissure falls forwards: below and behind it lies the lower lobe.
        oblique = z + 138 - 0.95 * (y - 5) + 0.004 * np.square(side * x - 60)
        lobe = np.where(oblique < 0, lobes[1], lobes[2] if z < -136 else lobes[0])
        canvas.paint(shape, -872 + 0.33 * (y - 10))
        inner = lung < 0
        canvas.labels[k][inner] = lobe[inner]
        fissure = np.maximum(np.abs(oblique) / 1.38 - 0.3, lung + 2)
        canvas.paint(_slice(canvas, k, fissure), -760)


def _abdomen(canvas: Canvas, blood: float) -> None:
    """Draw what lies below the diaphragm; the domes themselves are the lower face of the lungs."""
    for k in range(len(canvas.z)):
        z = float(canvas.z[k, 0, 0])
        if z < -165:
            _belly(canvas, k, z)
    inside = (FAT,)
    organs = [
        (canvas.ellipsoid((88, 42, -243), (30, 46, 42)), 125, 1),
        (canvas.ellipsoid((52, -22, -262), (42, 46, 56)), 25, 6),
        (canvas.ellipsoid((-32, -62, -300), (14, 20, 24)), 8, 4),
        (canvas.tube([(-26, -20, -306), (0, -34, -298), (40, -16, -286), (76, 22, -266)], [13, 9, 10, 8]), 95, 7),
    ]
    for shape, hu, label in organs:
        canvas.paint(shape, hu, label, only=inside)
    canvas.paint(canvas.ellipsoid((50, -52, -250), (27, 16, 30)), -950, only=(6,))
    colon = [(-98, -10, -345), (-96, -22, -322), (-60, -82, -318), (0, -90, -326), (62, -82, -306), (104, -18, -262)]
    canvas.paint(canvas.tube([*colon, (106, 10, -300), (104, 12, -345)], 19), 30, 20, only=inside)
    canvas.paint(canvas.tube([(x, y - 5, z) for x, y, z in colon[1:]], 12), -900, only=(20,))
    loops = [(38 + 34 * np.sin(1.3 * i), -42 + 26 * np.cos(2.1 * i), -300 - 2.2 * i) for i in range(22)]
    canvas.paint(canvas.tube(loops, 10), 45, only=inside)
    for side, label in ((1, 3), (-1, 2)):
        canvas.paint(canvas.ellipsoid((side * 60, 36, -314), (27, 24, 46)), 0.55 * blood + 40, label, only=(FAT, 5))
        canvas.paint(canvas.ellipsoid((side * 47, 31, -314), (15, 10, 24)), -60, only=(2, 3))


def _belly(canvas: Canvas, k: int, z: float) -> None:
    """Draw diaphragm, wall and fat of the abdomen, and the liver under the right dome, in one slice."""
    x, y = canvas.x[0], canvas.y[0]
    free = np.isin(canvas.labels[k], (BODY, FAT))
    above = 0.65 * (z - np.maximum(diaphragm(x, y, 1), diaphragm(x, y, -1)))
    wide, deep = along(z, (-345, 112), (-230, 121)), along(z, (-345, 85), (-230, 91))
    wall = oval(x, y - np.float32(along(z, (-345, -10), (-230, 12))), wide, deep, boxy=0.3)
    canvas.paint(_slice(canvas, k, np.where(free, np.maximum(wall, above), 9)), 60, BODY)
    inside = np.where(free, np.maximum(wall + 1, above + 2.5), 9)
    canvas.paint(_slice(canvas, k, inside), -98, FAT)
    crus = oval(np.abs(x) - 30, y - np.float32(spine_front(z) + 14), 15, 15)
    canvas.paint(_slice(canvas, k, np.maximum(inside, crus)), 58, BODY)
    lobes = np.sqrt(np.square((x + 50) / 104) + np.square((y + 8) / 98) + ((z + 232) / 98) ** 2) * 90 - 90
    tapering = 0.55 * x + 0.45 * y - 0.6 * (z + 245) + 0.003 * np.square(0.45 * x - 0.55 * y)
    liver = np.where(free, np.maximum(np.maximum(wall + 3, above + 1.5), np.maximum(lobes, 0.8 * tapering - 6)), 9)
    canvas.paint(_slice(canvas, k, liver), 108, 5)


def _mediastinum(canvas: Canvas, blood: float) -> None:
    """Draw the heart: a muscular left ventricle, thin-walled other chambers, in a rim of fat."""
    chambers = [  # centre, half-axes, wall
        ((34, -26, -182), (46, 38, 36), 9.0),
        ((0, -44, -178), (38, 26, 36), 3.0),
        ((-32, -20, -172), (24, 28, 33), 2.0),
        ((6, 14, -156), (34, 20, 20), 2.0),
    ]
    for centre, axes, _ in chambers:
        box, distance = canvas.ellipsoid(centre, [a + 5 for a in axes])
        canvas.paint((box, distance), -90, FAT, only=(*LUNGS, FAT))
    place = (*LUNGS, FAT, 51)
    for centre, axes, _ in chambers:
        canvas.paint(canvas.ellipsoid(centre, axes), 115, 51, only=place)
    for centre, axes, wall in chambers:
        canvas.paint(canvas.ellipsoid(centre, [a - wall for a in axes]), blood, only=(51,))
    septum = [(-8, -66, -176), (14, -30, -182), (30, 4, -186)]
    canvas.paint(canvas.tube(septum, 4, squash=(1, 1, 0.16)), 118, only=(51,))


def _great_vessels(canvas: Canvas, blood: float, dissected: bool) -> None:
    """Draw aorta, its branches, the pulmonary trunk and the caval veins."""
    root = [(8, -18, -168), (-4, -24, -140), (-6, -22, -108), (2, -10, -88)]
    arch = [(12, 8, -80), (24, 30, -88), (29, 45, -108)]
    down = [(29, 47, -150), (24, 42, -200), (14, 28, -245), (6, 6, -290), (4, -8, -345)]
    aorta = canvas.tube([*root, *arch, *down], [17, 17, 17, 16, 15, 14, 13, 13, 12, 11, 10, 9])
    tubes = [
        (canvas.tube([(18, -40, -165), (24, -34, -140), (24, -12, -122)], [16, 15, 14]), OTHER),
        (canvas.tube([(20, -10, -122), (-12, 2, -130), (-38, 8, -134)], [13, 11, 10]), OTHER),
        (canvas.tube([(24, -12, -122), (38, 12, -120), (44, 18, -128)], [13, 11, 9]), OTHER),
        (canvas.tube([(-24, 12, -160), (-44, 8, -164)], [8, 6]), 53),
        (canvas.tube([(30, 16, -156), (46, 16, -158)], [8, 6]), 53),
        (canvas.tube([(-26, -18, -62), (-26, -14, -100), (-26, -14, -165)], [9, 10, 11]), 62),
        (canvas.tube([(34, -28, -52), (6, -30, -66), (-26, -18, -80)], [7, 7, 8]), 62),
        (canvas.tube([(-6, -14, -84), (-14, -16, -60), (-24, -14, -34)], [7, 6, 5]), 54),
        (canvas.tube([(8, 0, -80), (14, -8, -50), (18, -12, -5)], [5, 4, 4]), 58),
        (canvas.tube([(16, 10, -80), (24, 4, -52), (52, 0, -38), (95, 4, -46)], [6, 5, 5, 4]), 56),
        (canvas.tube([(95, 4, -46), (112, -8, -72), (124, 0, -112)], 3.5), OTHER),
        (canvas.tube([(-60, -4, -46), (-95, 4, -46), (-112, -8, -72), (-124, 0, -112)], 4), OTHER),
    ]
    for (box, distance), label in [(aorta, 52), *tubes]:
        canvas.paint((box, distance - 3), -70, FAT, only=LUNGS)
        canvas.paint((box, distance), blood, label)
    canvas.paint(canvas.tube([(-20, -8, -185), (-18, 2, -230), (-18, -2, -345)], 11), 0.35 * blood + 40, 63)
    portal = canvas.tube([(-70, -20, -232), (-40, -22, -250), (-8, -28, -275)], [5, 7, 8])
    canvas.paint(portal, 0.5 * blood + 30)
    if dissected:
        _flap(canvas, aorta, blood)


def _flap(canvas: Canvas, aorta: Shape, blood: float) -> None:
    """Part the descending aorta into a bright true lumen (label 52) and a greyer false one behind it."""
    box, distance = aorta
    x, y, z = canvas.places(box)
    behind = (x - 26) * np.float32(0.6) + (y - 45 + np.maximum(-z - 200, 0) * np.float32(0.36)) * np.float32(0.8)
    false = np.where(z < -84, np.maximum(distance + 1, -behind), 9)
    canvas.paint((box, false), 0.6 * blood, None)
    canvas.paint((box, np.where(z < -84, np.maximum(distance + 1, np.abs(behind) - 0.9), 9)), 70)
    canvas.labels[box][(false < 0) & (canvas.labels[box] == 52)] = FALSE_LUMEN


def _airways(canvas: Canvas) -> None:
    """Draw trachea, main and first bronchi with their walls, the gullet and the thyroid."""
    carina: Point = (-2, 26, -122)
    trachea: list[Point] = [(0, -2, -5), (0, 8, -45), (0, 18, -85), carina]
    pipes: list[tuple[list[Point], list[float]]] = [
        (trachea, [8.5, 8.5, 8.5, 8.5]),
        ([carina, (-22, 26, -136), (-38, 24, -150)], [8, 7, 5.5]),
        ([carina, (22, 30, -140), (42, 28, -152)], [7, 6.5, 5]),
    ]
    for side in (1, -1):
        hilum = (side * 40, 26, -151)
        for end in ((62, 20, -112), (78, -12, -140), (66, 42, -190), (76, 24, -172)):
            pipes.append(([hilum, (side * end[0], *end[1:])], [4.2, 1.8]))
    for points, radii in pipes:
        canvas.paint(canvas.tube(points, [r + 1.5 for r in radii]), 20)
    for points, radii in pipes:
        canvas.paint(canvas.tube(points, radii), -975, 16 if points[-1][2] > -153 and radii[-1] > 4.5 else None)
    gullet = canvas.tube([(6, 10, -5), (8, 30, -60), (6, 44, -130), (12, 30, -190), (24, 8, -236)], 7.5)
    canvas.paint(gullet, 45, 15, only=(BODY, FAT, *LUNGS))
    for side in (1, -1):
        canvas.paint(canvas.ellipsoid((side * 15, -8, -32), (8, 10, 18)), 160, 17)


def _tree(canvas: Canvas, side: int, blood: float) -> None:
    """Draw the vessels of one lung: from the hilum outwards, parting until each reaches its own end point."""
    rng = np.random.default_rng(20 + side)
    ends = rng.uniform((6, -90, -285), (118, 108, -35), (1500, 3)) * (side, 1, 1)
    index = np.rint((ends - canvas.affine[:3, 3]) / np.diag(canvas.affine[:3, 2::-1])).astype(int)[:, ::-1]
    fits = ((index >= 0) & (index < canvas.labels.shape)).all(axis=1)
    ends, index = ends[fits], index[fits]
    ends = ends[np.isin(canvas.labels[tuple(index.T)], LUNGS)][:420]
    if not len(ends):
        return
    for start, end, wide, narrow in _branches(np.array([side * 42.0, 16.0, -138.0]), ends, 8.5):
        canvas.paint(canvas.tube([start.tolist(), end.tolist()], [wide, narrow]), blood - 30, only=LUNGS)


def _branches(start: NDArray, ends: NDArray, radius: float) -> Iterator[tuple[NDArray, NDArray, float, float]]:
    """Yield pieces (from, to, radius, radius); the cross-sections of two daughters make up that of the parent."""
    if len(ends) == 1:
        yield start, ends[0], radius, 0.5
        return
    fork = start + (0.25 if len(ends) > 8 else 0.4) * (ends.mean(axis=0) - start)
    yield start, fork, radius, radius
    axis = int(np.argmax(np.ptp(ends, axis=0)))
    order = np.argsort(ends[:, axis], kind="stable")
    for part in np.array_split(order, 2):
        yield from _branches(fork, ends[part], max(0.75, radius * (len(part) / len(ends)) ** 0.4))
