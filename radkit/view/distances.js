// Distances: drawn with the mouse or, from crosshair to crosshair, with the keys; kept in the state of the widget.

/** The voxel to which an arrow key goes in a plane, with Shift ten times as far; undefined for any other key. */
function stepped(plane, { key, shiftKey }) {
  const arrow = { ArrowUp: [0, -1], ArrowRight: [1, 0], ArrowDown: [0, 1], ArrowLeft: [-1, 0] }[key];
  const [column, row, slice] = plane.position;
  const far = shiftKey ? 10 : 1;
  return arrow && plane.voxelAt([column + far * arrow[0], row + far * arrow[1], slice]);
}

/** Show in a row what was drawn: a click on its text goes there, a click on its cross or Delete takes it away. */
function listUnder(row, entries) {
  const shown = entries.map(({ text }) => text).join();
  if (shown === row.shown) return;
  row.shown = shown;
  row.replaceChildren(...entries.map(({ text, go, remove }) => {
    const entry = document.createElement("span");
    const add = (what) => entry.append(Object.assign(document.createElement("button"), what));
    add({ textContent: text, title: "go there", onclick: go });
    if (!remove) return entry;
    add({ textContent: "×", title: `remove ${text}`, ariaLabel: `remove ${text}`, onclick: remove });
    entry.addEventListener("keydown", (event) => { if (event.key === "Delete") remove(); });
    return entry;
  }));
}

class Distances {
  constructor(view) {
    this.view = view;
    this.drawing = null; // { plane, from, to }: one end is set, the other still moves
    this.button = document.createElement("button");
    this.button.textContent = "D distance";
    this.button.title = "measure: drag from end to end or, with the keys, arrows and Enter at each end (key D)";
    this.button.onclick = () => this.toggle();
    this.row = document.createElement("div");
    this.row.className = "radkit-distances";
    this.row.setAttribute("aria-live", "polite");
  }

  get list() { return this.view.model.get("distances"); }
  get on() { return this.view.tool === this; }

  toggle(on = !this.on) {
    [this.view.tool, this.drawing] = [on ? this : null, null];
    this.view.refresh();
  }

  /** The two ends, as places between voxels, as what Python gets: millimetres, or pixels where nobody knows them. */
  measured({ from, to }) {
    const { spacing, scale } = this.view.scene;
    const length = Math.hypot(...spacing.map((mm, i) => (to[i] - from[i]) * mm));
    const ends = { from: this.view.point(from), to: this.view.point(to) };
    return scale === "not calibrated" ? { ...ends, mm: null, pixels: length } : { ...ends, mm: length };
  }

  words({ mm, pixels }) {
    const { scale } = this.view.scene;
    return mm === null ? `${pixels.toFixed(1)} pixels` : `${mm.toFixed(1)} mm${scale && ` ${scale}`}`;
  }

  start(plane, place) { this.drawing = { plane, from: place, to: place }; }

  /** Let the open end follow the mouse or the crosshair. */
  follow(place) {
    if (!this.drawing) return;
    this.drawing.to = place;
    this.view.refresh();
  }

  finish() {
    const distance = this.drawing && this.measured(this.drawing);
    this.drawing = null;
    if (distance && (distance.mm ?? distance.pixels) > 0) this.view.set("distances", [...this.list, distance]);
    this.view.refresh();
  }

  remove(index = this.list.length - 1) {
    this.view.set("distances", this.list.filter((_, i) => i !== index));
    this.view.refresh();
  }

  /** Do what a key on a plane asks for; false if it asks for nothing here. */
  press(plane, event) {
    const { key } = event;
    const next = stepped(plane, event);
    if (key === "d" || key === "D") this.toggle();
    else if ((key === "Delete" || key === "Backspace") && this.list.length) this.remove();
    else if (!this.on) return false;
    else if (key === "Escape") this.toggle(false);
    else if (key === "Enter" && this.drawing) this.finish();
    else if (key === "Enter") this.start(plane, this.view.voxel);
    else if (next) {
      this.view.goTo(next);
      this.follow(this.view.voxel);
    } else return false;
    return true;
  }

  /** Draw those that lie in the plane as it stands. */
  draw(plane, pen) {
    const [axis] = plane.through;
    const kept = this.list.map((d) => ({ ...d, from: this.view.place(d.from), to: this.view.place(d.to) }));
    const open = this.drawing?.plane === plane ? [{ ...this.measured(this.drawing), ...this.drawing }] : [];
    for (const { from, to, ...length } of [...kept, ...open]) {
      if ([from, to].some((end) => Math.abs(end[axis] - this.view.voxel[axis]) > 0.5)) continue;
      const [a, b] = [plane.onScreen(from), plane.onScreen(to)];
      for (const [colour, thick] of [["#000", 5], ["#f0e442", 2]]) {
        pen.beginPath();
        pen.moveTo(...a);
        pen.lineTo(...b);
        for (const [x, y] of [a, b]) {
          pen.moveTo(x + 6, y);
          pen.arc(x, y, 6, 0, 2 * Math.PI);
        }
        Object.assign(pen, { strokeStyle: colour, lineWidth: thick });
        pen.stroke();
      }
      pen.font = "16px sans-serif";
      const right = b[0] >= a[0];
      const words = this.words(length);
      const room = (right ? plane.canvas.clientWidth - b[0] : b[0]) - pen.measureText(words).width - 18; // beyond the end
      const [x, y] = room > 0 ? [b[0] + (right ? 12 : -12), b[1]] : [b[0], b[1] + (b[1] >= a[1] ? 22 : -22)];
      plane.write(pen, words, x, y, right === room > 0 ? "left" : "right", "middle", 16);
    }
  }

  /** List them under the planes. */
  show() {
    this.button.setAttribute("aria-pressed", this.on);
    listUnder(this.row, this.list.map((distance, index) => ({
      text: this.words(distance),
      go: () => this.view.goTo(this.view.place(distance.to).map(Math.round)),
      remove: () => this.remove(index),
    })));
  }
}
