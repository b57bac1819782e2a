// The viewer in the browser: three planes (plane.js, which comes before this file) that follow one crosshair.
// What it needs to know of the scene comes with the widget's state; the voxels come by message, once it asks for them.

const PAGE = 10; // slices that PageUp and PageDown go
const NAMES = 24; // structures named under the planes
const TYPES = { int16: Int16Array, float32: Float32Array, uint8: Uint8Array, uint16: Uint16Array };
const HELP =
  "scroll: wheel, ↑ ↓ · crosshair: click, drag · window: right-drag, Shift-drag, Shift-arrows, 1 to 9 · " +
  "zoom: + − · one plane: F, double-click · mask on, off: M";

/** Ask for the voxels and collect them as they come; `changed` is called with each part. */
function receive(model) {
  const { shape, kind, labels } = model.get("description");
  const [slices, rows, columns] = shape;
  const values = new TYPES[kind](slices * rows * columns).fill(-32768); // black until they come
  const data = { values, labels: null, slices: 0, views: new Set() };
  const changed = () => data.views.forEach((view) => view.refresh(true));
  model.on("msg:custom", async (message, buffers) => {
    const bytes = buffers?.[0] && new Uint8Array(buffers[0].buffer, buffers[0].byteOffset, buffers[0].byteLength);
    if (message.radkit === "voxels") {
      const start = message.slice * rows * columns * values.BYTES_PER_ELEMENT;
      new Uint8Array(values.buffer).set(bytes, start);
      data.slices = Math.min(slices, data.slices + message.slices);
      changed();
    } else if (message.radkit === "labels") {
      const plain = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
      data.labels = new TYPES[labels](await new Response(plain).arrayBuffer());
      changed();
    }
  });
  // The first message can come before JupyterLab has opened a subshell of the kernel, and would then wait for every
  // cell of a "Run All": ask again until the voxels come. The kernel answers one number once.
  const ask = Math.random();
  const request = (pause) => {
    if (data.slices || pause > 60_000) return;
    model.send({ radkit: "voxels, please", ask });
    setTimeout(request, pause, 2 * pause);
  };
  request(200);
  return data;
}

let pageScrolled = 0; // when the wheel last moved the page: a gesture that began outside goes on scrolling the page

/** One view of a scene: the panel with its planes, presets, probe and legend, and what the reader does to it. */
class View {
  constructor(model, el, data) {
    this.model = model;
    this.data = data;
    this.scene = model.get("description");
    this.version = 0;
    this.focus = model.get("voxel"); // what a zoomed plane is centred on
    this.colours = {};
    for (const [label, , colour] of this.scene.structures) {
      const rgb = parseInt(colour.slice(1), 16);
      this.colours[label] = ((rgb & 255) << 16) | (rgb & 0xff00) | (rgb >> 16); // ABGR without its alpha
    }
    this.build(el);
    this.abort = new AbortController();
    this.planes.forEach((plane) => this.listen(plane));
    const options = { capture: true, passive: true, signal: this.abort.signal };
    const outside = (event) => { if (!event.target.closest?.(".radkit-plane")) pageScrolled = event.timeStamp; };
    document.addEventListener("wheel", outside, options);
    for (const name of ["voxel", "window", "zoom", "opacity"]) model.on(`change:${name}`, () => this.refresh());
    data.views.add(this);
    this.resizing = new ResizeObserver(() => this.refresh());
    this.resizing.observe(this.root);
    this.waiting = setTimeout(() => this.refresh(), 8000);
  }

  get voxel() { return this.model.get("voxel"); }
  get window() { return this.model.get("window"); }
  get zoom() { return this.model.get("zoom"); }
  get opacity() { return this.hidden ? 0 : this.model.get("opacity"); }

  set(name, value) {
    this.model.set(name, value);
    clearTimeout(this.saving);
    this.saving = setTimeout(() => this.model.save_changes(), 120); // Python hears of the end of a gesture
  }

  build(el) {
    const make = (tag, className, text = "") =>
      Object.assign(document.createElement(tag), { className, textContent: text });
    const { scene } = this;
    this.root = make("div", "radkit-view");
    this.root.dataset.lmSuppressShortcuts = "true"; // JupyterLab's own keys (1 makes a heading) stay out of here
    this.root.setAttribute("role", "group");
    this.root.setAttribute("aria-label", scene.title || "three planes of a volume");
    this.planes = scene.planes.map((plane) => new Plane(this, plane));
    this.rows = make("div", "radkit-planes");
    this.rows.append(...this.planes.map((plane) => plane.canvas));
    this.bar = make("div", "radkit-bar");
    this.buttons = scene.presets.map(([name, center, width], i) => {
      const button = make("button", "", `${i + 1} ${name}`);
      button.title = `window ${format(width)}, level ${format(center)} (key ${i + 1})`;
      button.onclick = () => this.set("window", [center, width]);
      return button;
    });
    this.bar.append(...this.buttons);
    if (scene.structures.length) this.bar.append(this.opacityControl(make));
    this.windowText = make("span", "radkit-window");
    this.bar.append(this.windowText);
    this.probeText = make("div", "radkit-probe");
    const legend = make("div", "radkit-legend");
    for (const [, name, colour] of scene.structures.slice(0, NAMES)) {
      const swatch = make("i", "");
      swatch.style.background = colour;
      const entry = make("span", "", name);
      entry.prepend(swatch);
      legend.append(entry);
    }
    if (scene.structures.length > NAMES) legend.append(make("span", "", `and ${scene.structures.length - NAMES} more`));
    const banner = make("div", scene.stand_in ? "radkit-title radkit-stand-in" : "radkit-title", scene.title);
    if (scene.title) this.root.append(banner);
    this.root.append(this.rows, this.bar, this.probeText, legend, make("div", "radkit-help", HELP));
    el.append(this.root);
  }

  opacityControl(make) {
    const label = make("label", "", "mask ");
    this.slider = Object.assign(make("input", ""), { type: "range", min: 0, max: 1, step: 0.05 });
    this.slider.setAttribute("aria-label", "opacity of the mask");
    this.slider.oninput = () => { this.hidden = false; this.set("opacity", Number(this.slider.value)); };
    label.append(this.slider);
    return label;
  }

  listen(plane) {
    const { canvas } = plane;
    let drag = null;
    canvas.addEventListener("wheel", (event) => {
      if (event.timeStamp - pageScrolled < 250) return void (pageScrolled = event.timeStamp);
      event.preventDefault();
      if (event.ctrlKey) this.zoomBy(event.deltaY < 0 ? 1.15 : 1 / 1.15);
      else this.scroll(plane, event.deltaY < 0 ? 1 : -1);
    }, { passive: false });
    canvas.addEventListener("pointerdown", (event) => {
      canvas.focus({ preventScroll: true });
      canvas.setPointerCapture(event.pointerId);
      const windowing = event.button === 2 || event.shiftKey;
      drag = { windowing, x: event.clientX, y: event.clientY, window: this.window };
      if (!windowing) this.goTo(plane.voxelAt(plane.under(event)));
    });
    canvas.addEventListener("pointermove", (event) => {
      if (drag?.windowing) this.windowBy(drag.window, event.clientX - drag.x, event.clientY - drag.y);
      else if (drag) this.goTo(plane.voxelAt(plane.under(event)));
      else this.hover(plane.voxelAt(plane.under(event)));
    });
    for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => { drag = null; });
    canvas.addEventListener("pointerleave", () => this.hover(null));
    canvas.addEventListener("dblclick", () => this.enlarge(plane));
    canvas.addEventListener("contextmenu", (event) => { event.preventDefault(); event.stopPropagation(); });
    canvas.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || !this.press(plane, event)) return;
      event.preventDefault();
      event.stopPropagation();
    });
  }

  /** Do what a key asks for; false if it asks for nothing. */
  press(plane, { key, shiftKey }) {
    const preset = this.scene.presets[Number(key) - 1];
    const arrow = { ArrowUp: [0, 1], ArrowRight: [1, 0], ArrowDown: [0, -1], ArrowLeft: [-1, 0] }[key];
    const jump = { PageUp: PAGE, PageDown: -PAGE, Home: Infinity, End: -Infinity }[key];
    const steps = jump ?? (arrow && arrow[0] + arrow[1]);
    if (shiftKey && arrow) this.windowBy(this.window, 10 * arrow[0], 10 * arrow[1]);
    else if (steps) this.scroll(plane, steps);
    else if (preset) this.set("window", preset.slice(1));
    else if (key === "+" || key === "=") this.zoomBy(1.25);
    else if (key === "-") this.zoomBy(0.8);
    else if (key === "f" || key === "F") this.enlarge(plane);
    else if (key === "m" || key === "M") { this.hidden = !this.hidden; this.refresh(); }
    else return false;
    return true;
  }

  /** Up goes to the head, to the front, or to the left of the patient. */
  scroll(plane, steps) {
    const [axis, direction] = plane.through;
    const up = plane.name === "coronal" ? -steps : steps; // the coronal plane is counted from front to back
    const voxel = [...this.voxel];
    voxel[axis] = clamp(voxel[axis] + up * direction, 0, this.scene.shape[axis] - 1);
    this.goTo(voxel);
  }

  goTo(voxel) {
    this.pointed = null;
    if (voxel.join() !== this.voxel.join()) this.set("voxel", voxel);
  }

  hover(voxel) {
    this.pointed = voxel;
    this.refresh();
  }

  zoomBy(factor) {
    this.focus = this.voxel;
    this.set("zoom", clamp(this.zoom * factor, 1, 20));
  }

  /** A pixel to the right widens the window, a pixel down raises its center (the picture gets darker). */
  windowBy([center, width], x, y) {
    const step = Math.max(width, 1e-6) / 250;
    const round = (value) => (width > 20 ? Math.round(value) : Number(value.toPrecision(4)));
    this.set("window", [round(center + y * step), Math.max(round(width + x * step), width > 20 ? 1 : width / 100)]);
  }

  enlarge(plane) {
    this.alone = this.alone ? null : plane;
    this.refresh();
    plane.canvas.focus({ preventScroll: true });
  }

  /** The value at a voxel in words, with where it is in the patient. */
  probe(voxel) {
    const { affine, shape, unit, structures } = this.scene;
    const at = (voxel[0] * shape[1] + voxel[1]) * shape[2] + voxel[2];
    const point = [0, 1, 2].map((i) =>
      affine[i].reduce((sum, factor, j) => sum + factor * (j < 3 ? voxel[j] : 1), 0).toFixed(1));
    const label = this.data.labels?.[at];
    const name = label ? ` · ${structures.find(([number]) => number === label)?.[1] ?? label}` : "";
    const text = `${format(this.data.values[at])} ${unit}`.trim() + ` at LPS (${point.join(", ")}) mm${name}`;
    return { text, index: `voxel (${voxel.join(", ")})` };
  }

  refresh(newData = false) {
    if (newData) this.version++;
    this.frame ??= requestAnimationFrame(() => { this.frame = null; this.draw(); });
  }

  /** Give each plane its size: one scale for all, three in a row or, in a narrow place, two. */
  arrange() {
    const gap = 8;
    const room = this.root.clientWidth - 2 * gap;
    const shown = this.planes.filter((plane) => !this.alone || plane === this.alone);
    const narrow = room < 560 && !this.alone;
    const row = shown.map((plane) => plane.extent[0]).sort((a, b) => b - a).slice(0, narrow ? 2 : 3);
    const tallest = Math.max(...shown.map((plane) => plane.extent[1]));
    const limit = Math.max(240, innerHeight * (this.alone ? 0.7 : 0.6)) / tallest;
    this.scale = Math.min((room - gap * (row.length - 1)) / row.reduce((a, b) => a + b), limit);
    for (const plane of this.planes) {
      plane.canvas.style.display = shown.includes(plane) ? "" : "none";
      plane.canvas.style.width = `${Math.floor(Math.max(plane.extent[0] * this.scale, 110))}px`;
      plane.canvas.style.height = `${Math.floor(Math.max(tallest * this.scale, 110))}px`;
    }
    return shown;
  }

  draw() {
    if (!this.root.clientWidth) return;
    const { data, scene } = this;
    const shown = this.arrange();
    shown.forEach((plane) => plane.layOut());
    if (!shown.every((plane) => plane.holdsCrosshair())) this.focus = this.voxel;
    shown.forEach((plane) => plane.draw());
    const [center, width] = this.window;
    this.windowText.textContent = `W ${format(width)} L ${format(center)} ${scene.unit}`;
    this.buttons.forEach((button, i) =>
      button.setAttribute("aria-pressed", scene.presets[i][1] === center && scene.presets[i][2] === width));
    if (this.slider) this.slider.value = this.opacity;
    const loaded = data.slices / scene.shape[0];
    const complete = loaded === 1 && (!scene.labels || data.labels);
    this.root.dataset.state = complete ? "ready" : "loading";
    const { text, index } = this.probe(this.pointed ?? this.voxel);
    this.probeText.textContent = complete ? `${text} · ${index}`
      : loaded ? `loading: ${Math.round(100 * loaded)} %`
      : "The voxels are on their way. If they do not come, the kernel is busy or gone: run this cell again.";
  }

  remove() {
    this.data.views.delete(this);
    this.resizing.disconnect();
    this.abort.abort();
    clearTimeout(this.waiting);
    cancelAnimationFrame(this.frame);
    this.root.remove();
  }
}

export default () => {
  let data; // one copy of the voxels, for every view of this widget
  return {
    initialize({ model }) { data = receive(model); },
    render({ model, el }) {
      const view = new View(model, el, data);
      return () => view.remove();
    },
  };
};
