// The viewer in the browser: three planes that follow one crosshair, or one image. Before this file come the others; what
// it needs to know of the scene comes with the widget's state, the voxels by message.

const PAGE = 10; // slices that PageUp and PageDown go
const NAMES = 24; // structures named under the planes
const PATIENCE = 1500; // milliseconds without voxels, after which the picture saved with the notebook is shown
const HELP =
  "scroll: wheel, ↑ ↓ · crosshair: click, drag · window: right-drag, Shift-drag, Shift-arrows, 1 to 9 · zoom: + −";
const HELP_ON = [ // what else there is, where there is something for it
  ["play, stop: P", (scene) => scene.planes.length === 1 && scene.shape[0] > 1],
  ["one plane: F, double-click", (scene) => scene.planes.length > 1],
  ["mask on, off: M · next structure: N", (scene) => scene.structures.length],
  ["measure: D, then drag, or arrows and Enter; Delete", () => true],
  ["contour: C, then drag around it, or Enter at each corner, Shift-Enter at the last; Delete", () => true],
  ["patient: H", (scene) => scene.has_banner],
];

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
    [this.distances, this.contours, this.tool] = [new Distances(this), new Contours(this), null]; // what is in use
    this.build(el);
    this.abort = new AbortController();
    this.planes.forEach((plane) => this.listen(plane));
    const options = { capture: true, passive: true, signal: this.abort.signal };
    const outside = (event) => { if (!event.target.closest?.(".radkit-plane")) pageScrolled = event.timeStamp; };
    document.addEventListener("wheel", outside, options);
    for (const name of ["voxel", "window", "zoom", "opacity", "distances", "contours", "banner"])
      model.on(`change:${name}`, () => this.refresh());
    data.views.add(this);
    data.ask();
    this.resizing = new ResizeObserver(() => this.refresh());
    this.resizing.observe(this.root);
    this.waiting = setTimeout(() => this.wait(), PATIENCE);
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
    this.root.setAttribute("aria-label", scene.title || (scene.planes.length > 1 ? "three planes of a volume" : "image"));
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
    this.bar.append(this.distances.button, this.contours.button);
    const playable = scene.planes.length === 1 && scene.shape[0] > 1;
    if (playable) this.player = this.toggle(make, "P play", "play the frames (key P)", () => this.play());
    if (scene.has_banner)
      this.bannerButton = this.toggle(make, "H patient", "show or hide the patient (key H)", () => this.flipBanner());
    if (scene.structures.length) this.bar.append(this.opacityControl(make));
    this.windowText = make("span", "radkit-window");
    this.bar.append(this.windowText);
    this.probeText = make("div", "radkit-probe");
    const title = make("div", scene.stand_in ? "radkit-title radkit-stand-in" : "radkit-title", scene.title);
    if (scene.title) this.root.append(title);
    this.banner = make("div", "radkit-banner");
    const help = [HELP, ...HELP_ON.filter(([, useful]) => useful(scene)).map(([text]) => text)].join(" · ");
    this.root.append(this.banner, this.rows, this.bar, this.probeText, this.distances.row);
    this.root.append(this.contours.row, this.legend(make), make("div", "radkit-help", help));
    el.append(this.root);
  }

  toggle(make, text, title, onclick) {
    const button = Object.assign(make("button", "", text), { title, onclick });
    this.bar.append(button);
    return button;
  }

  /** The names of the structures; a click goes to where one is largest. */
  legend(make) {
    const legend = make("div", "radkit-legend");
    const { structures } = this.scene;
    for (const [label, name, colour] of structures.slice(0, NAMES)) {
      const swatch = make("i", "");
      swatch.style.background = colour;
      const entry = Object.assign(make("button", "", name), { title: `go to ${name}`, onclick: () => this.jump(label) });
      entry.prepend(swatch);
      legend.append(entry);
    }
    if (structures.length > NAMES) legend.append(make("span", "", `and ${structures.length - NAMES} more`));
    return legend;
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
    for (const name of ["pointerdown", "pointermove", "pointerup", "pointercancel"]) // a second finger does nothing
      canvas.addEventListener(name, (event) => { if (!event.isPrimary) event.stopImmediatePropagation(); });
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
      if (windowing) return;
      if (this.tool) this.tool.start(plane, plane.spot(plane.under(event)));
      else this.goTo(plane.voxelAt(plane.under(event)));
    });
    canvas.addEventListener("pointermove", (event) => {
      if (drag?.windowing) this.windowBy(drag.window, event.clientX - drag.x, event.clientY - drag.y);
      else if (drag && this.tool) trail(event).forEach((one) => this.tool.follow(plane.spot(plane.under(one))));
      else if (drag) this.goTo(plane.voxelAt(plane.under(event)));
      else this.hover(plane.voxelAt(plane.under(event)));
    });
    for (const end of ["pointerup", "pointercancel"]) {
      canvas.addEventListener(end, () => {
        if (drag && !drag.windowing) this.tool?.finish();
        drag = null;
      });
    }
    canvas.addEventListener("pointerleave", () => this.hover(null));
    canvas.addEventListener("dblclick", () => { if (!this.tool) this.enlarge(plane); });
    canvas.addEventListener("contextmenu", (event) => { event.preventDefault(); event.stopPropagation(); });
    canvas.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || !this.press(plane, event)) return;
      event.preventDefault();
      event.stopPropagation();
    });
  }

  /** Do what a key asks for; false if it asks for nothing. */
  press(plane, event) {
    const { key, shiftKey } = event;
    if ([this.tool, this.distances, this.contours].some((tool) => tool?.press(plane, event))) return true;
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
    else if (key === "n" || key === "N") this.jump();
    else if ((key === "p" || key === "P") && this.player) this.play();
    else if ((key === "h" || key === "H") && this.bannerButton) this.flipBanner();
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

  /** Go to where a structure's axial section is largest; without a label, to the structure that comes next. */
  jump(label) {
    const { structures, planes } = this.scene;
    if (!this.data.labels || !structures.length) return;
    const now = structures.findIndex(([number]) => number === this.structure);
    this.structure = label ?? structures[(now + 1) % structures.length][0];
    const voxel = this.data.middle(this.structure, planes[0].through[0]);
    if (voxel) this.goTo(voxel);
  }

  play() {
    if (this.playing) clearInterval(this.playing);
    const next = () => this.goTo([(this.voxel[0] + 1) % this.scene.shape[0], ...this.voxel.slice(1)]);
    this.playing = this.playing ? null : setInterval(next, this.scene.frame_ms);
    this.player.setAttribute("aria-pressed", Boolean(this.playing));
  }

  flipBanner() { this.set("banner", !this.model.get("banner")); }

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

  /** Voxel coordinates in LPS mm; those of an image stay frame, row and column. */
  point(voxel) {
    return this.scene.affine.slice(0, 3).map((row) => row[3] + voxel.reduce((sum, at, i) => sum + row[i] * at, 0));
  }

  /** The inverse of `point`: the axes of a volume are at right angles. */
  place(point) {
    const { affine } = this.scene;
    return [0, 1, 2].map((axis) => {
      const [along, off] = [affine.slice(0, 3).map((row) => row[axis]), point.map((at, i) => at - affine[i][3])];
      return along.reduce((sum, a, i) => sum + a * off[i], 0) / along.reduce((sum, a) => sum + a * a, 0);
    });
  }

  /** The value at a voxel in words, with where it is in the patient. */
  probe(voxel) {
    const { unit, structures, padding, planes } = this.scene;
    const label = this.data.label(voxel);
    const value = [this.data.value(voxel) ?? []].flat().map(format).join(", ");
    const text = label && label === padding ? "padding" : `${value} ${unit}`.trim();
    const name = label && label !== padding ? ` · ${structures.find(([number]) => number === label)?.[1] ?? label}` : "";
    if (planes.length === 1) return { text: `${text} at row ${voxel[1] + 1}, column ${voxel[2] + 1}${name}`, index: "" };
    const point = this.point(voxel).map((mm) => mm.toFixed(1));
    return { text: `${text} at LPS (${point.join(", ")}) mm${name}`, index: ` · voxel (${voxel.join(", ")})` };
  }

  /** Show the picture that was saved with the notebook until there are voxels: the kernel is busy, or long gone. */
  wait() {
    const { picture, text } = this.model.get("saved");
    if (this.data.come) return;
    this.saved = Object.assign(new Image(), { className: "radkit-saved", src: picture ?? "", alt: text ?? "" });
    if (picture) this.rows.replaceWith(this.saved);
    this.refresh();
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
    const limit = Math.max(240, shown.length === 1 ? innerHeight - 340 : innerHeight * 0.6) / tallest;
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
    if (data.come && this.saved?.isConnected) this.saved.replaceWith(this.rows);
    const shown = this.saved?.isConnected ? [] : this.arrange();
    shown.forEach((plane) => plane.layOut());
    if (!shown.every((plane) => plane.holdsCrosshair())) this.focus = this.voxel;
    shown.forEach((plane) => plane.draw());
    const [center, width] = this.window;
    this.windowText.textContent = scene.colour ? "" : `W ${format(width)} L ${format(center)} ${scene.unit}`;
    this.buttons.forEach((button, i) =>
      button.setAttribute("aria-pressed", scene.presets[i][1] === center && scene.presets[i][2] === width));
    [this.distances, this.contours].forEach((tool) => tool.show());
    if (this.slider) this.slider.value = this.opacity;
    const banner = this.model.get("banner");
    this.bannerButton?.setAttribute("aria-pressed", banner);
    this.banner.hidden = !banner || !data.banner.length;
    this.banner.textContent = data.banner.join(" · ");
    this.root.dataset.state = data.complete ? "ready" : data.come ? "loading" : this.saved?.isConnected ? "saved" : "waiting";
    const { text, index } = this.probe(this.pointed ?? this.voxel);
    this.probeText.textContent = data.complete ? text + index
      : data.come ? `loading: ${Math.round((100 * data.come) / scene.shape[0])} %`
      : "The voxels have not come yet: the kernel is busy, or gone. To look through them, run this cell again.";
  }

  remove() {
    this.data.views.delete(this);
    this.resizing.disconnect();
    this.abort.abort();
    clearTimeout(this.waiting);
    clearInterval(this.playing);
    cancelAnimationFrame(this.frame);
    this.root.remove();
  }
}

export default () => {
  let data; // one copy of the voxels, for every view of this widget
  return {
    initialize({ model }) { data = new Voxels(model); },
    render({ model, el }) {
      const view = new View(model, el, data);
      return () => view.remove();
    },
  };
};
