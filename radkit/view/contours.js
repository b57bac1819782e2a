// Contours: drawn freehand with mouse, pen or finger, or corner by corner with the keys; kept in the widget's state.

const [OWN, READER] = ["#56b4e9", "#cc79a7"]; // of whoever draws, and of another reader: one with a name
const PACE = 2; // CSS pixels between the points of a line drawn freehand

/** Every place the pointer has been at since the last event, which comes only once for each picture on the screen. */
function trail(event) {
  const passed = event.getCoalescedEvents?.() ?? [];
  return passed.length ? passed : [event];
}

class Contours {
  constructor(view) {
    this.view = view;
    this.drawing = null; // { plane, places, byKeys }: an open one, by its places between voxels
    this.known = new WeakMap(); // of a contour that is kept: its places, their middle, and its size in words
    this.button = document.createElement("button");
    this.button.textContent = "C contour";
    this.button.title = "draw: drag around it or, with the keys, Enter at each corner, Shift-Enter at the last (key C)";
    this.button.onclick = () => this.toggle();
    this.row = document.createElement("div");
    this.row.className = "radkit-contours";
    this.row.setAttribute("aria-live", "polite");
  }

  get list() { return this.view.model.get("contours"); }
  get on() { return this.view.tool === this; }

  toggle(on = !this.on) {
    [this.view.tool, this.drawing] = [on ? this : null, null];
    this.view.refresh();
  }

  start(plane, place, byKeys = false) { this.drawing = { plane, places: [place], byKeys }; }

  /** Add a place to the open contour, in the slice where it was begun. */
  follow(place) {
    if (!this.drawing) return;
    const { plane, places, byKeys } = this.drawing;
    place = place.with(plane.through[0], places[0][plane.through[0]]);
    const [[x, y], [x0, y0]] = [plane.onScreen(place), plane.onScreen(places.at(-1))];
    if (byKeys || Math.hypot(x - x0, y - y0) >= PACE) places.push(place);
    this.view.refresh();
  }

  finish() {
    const { plane, places } = this.drawing ?? { places: [] };
    this.drawing = null;
    this.view.refresh();
    if (places.length < 3 || !this.measured(plane, places)[0]) return;
    const points = places.map((place) => this.view.point(place).map((mm) => Math.round(1000 * mm) / 1000));
    this.view.set("contours", [...this.list, { plane: plane.name, slice: places[0][plane.through[0]], points }]);
  }

  remove(index) {
    this.view.set("contours", this.list.filter((_, i) => i !== index));
    this.view.refresh();
  }

  /** Do what a key on a plane asks for; false if it asks for nothing here. */
  press(plane, event) {
    const { key, shiftKey } = event;
    const open = this.drawing?.plane === plane;
    const next = open && this.drawing.byKeys && stepped(plane, event);
    if (key === "c" || key === "C") this.toggle();
    else if (!this.on) return false;
    else if (key === "Escape") this.toggle(open);
    else if (key === "Delete" || key === "Backspace")
      this.remove(this.list.findLastIndex((one) => !one.name && this.isHere(one, plane)));
    else if (key === "Enter" && open) {
      this.follow(this.view.voxel);
      if (shiftKey) this.finish();
    } else if (key === "Enter") this.start(plane, this.view.voxel, true);
    else if (next) this.view.goTo(next);
    else return false;
    return true;
  }

  isHere({ plane, slice }, { name, through }) { return plane === name && slice === this.view.voxel[through[0]]; }

  /** Area (shoelace formula) and longest diameter, in mm. */
  measured(plane, places) {
    const mm = places.map((place) => [plane.across, plane.down].map(([axis], i) => place[axis] * plane.mm[i]));
    let [twice, farthest] = [0, 0];
    mm.forEach(([x, y], i) => {
      const [x1, y1] = mm[(i + 1) % mm.length];
      twice += x * y1 - x1 * y;
      for (let j = 0; j < i; j++) farthest = Math.max(farthest, (x - mm[j][0]) ** 2 + (y - mm[j][1]) ** 2);
    });
    return [Math.abs(twice) / 2, Math.sqrt(farthest)];
  }

  words(plane, places, name) {
    const { scale } = this.view.scene;
    const [area, longest] = this.measured(plane, places).map((size) => size.toFixed(1));
    const [unit, worth] = scale === "not calibrated" ? ["pixels", ""] : ["mm", scale];
    return `${name ? `${name}: ` : ""}${area} ${unit}², longest ${longest} ${unit} ${worth}`.trim();
  }

  /** What is known of a contour of the list: worked out once, since the list is looked at for each picture. */
  about(contour) {
    if (!this.known.has(contour)) {
      const plane = this.view.planes.find(({ name }) => name === contour.plane);
      const places = contour.points.map((point) => this.view.place(point));
      const mean = [0, 1, 2].map((i) => places.reduce((sum, place) => sum + place[i], 0) / places.length);
      const middle = mean.map((at, i) => clamp(Math.round(at), 0, this.view.scene.shape[i] - 1));
      middle[plane.through[0]] = contour.slice;
      const { name } = contour;
      this.known.set(contour, { plane, places, middle, name, words: this.words(plane, places, name) });
    }
    return this.known.get(contour);
  }

  /** Draw those of the plane's slice; their sizes stand in the corner, where they cover none. */
  draw(plane, pen) {
    const here = this.list.filter((contour) => this.isHere(contour, plane)).map((contour) => this.about(contour));
    if (this.drawing?.plane === plane) {
      const places = [...this.drawing.places, ...(this.drawing.byKeys ? [this.view.voxel] : [])];
      if (this.isHere({ plane: plane.name, slice: places[0][plane.through[0]] }, plane))
        here.push({ places, words: this.words(plane, places) });
    }
    here.forEach(({ places, words, name }, number) => {
      const path = new Path2D();
      places.forEach((place) => path.lineTo(...plane.onScreen(place)));
      path.closePath();
      pen.lineJoin = "round";
      for (const [strokeStyle, lineWidth] of [["#000", 5], [name ? READER : OWN, 2]]) {
        Object.assign(pen, { strokeStyle, lineWidth });
        pen.stroke(path);
      }
      plane.write(pen, words, 8, 34 + 23 * number, "left", "top", 15, "", name ? READER : OWN);
    });
  }

  /** List them under the planes: a click goes there; one's own can be taken away. */
  show() {
    this.button.setAttribute("aria-pressed", this.on);
    listUnder(this.row, this.list.map((contour, index) => {
      const { plane, middle, name, words } = this.about(contour);
      const slice = `${plane.flat ? "frame" : plane.name} ${plane.place(middle)[2] + 1}: `;
      const text = plane.count[2] > 1 ? slice + words : words;
      return { text, go: () => this.view.goTo(middle), remove: !name && (() => this.remove(index)) };
    }));
  }
}
