// A volume in space: itk-vtk-viewer in a frame of its own. Its program, the voxels and the labels come by message from
// the kernel, so that no server has to be set up and no other host is asked.

const VIEWS = { // what the viewer calls it, and the letters left, right, top and bottom, where they cannot turn
  volume: ["Volume", ""],
  planes: ["Volume", ""],
  axial: ["ZPlane", "RLAP"],
  coronal: ["YPlane", "RLHF"],
  sagittal: ["XPlane", "APHF"],
};
const FROM = { volume: [0, -1, 0], planes: [0.5, -1, 0.45] }; // where one looks from, in LPS: the front
const TYPES = { int16: "Int16Array", float32: "Float32Array", uint8: "Uint8Array", uint16: "Uint16Array" };
const HELP = "turn: drag · zoom: wheel · move: Shift-drag";
const SOFTWARE = /swiftshader|llvmpipe|softpipe|software|basic render/i;

const make = (tag, className, text = "") =>
  Object.assign(document.createElement(tag), { className, textContent: text });
const painted = () => new Promise((done) => setTimeout(done, 50)); // what was said is on the screen before work begins

/** Ask the kernel for what this view needs; resolves to its parts by name, each as an ArrayBuffer. */
function ask(model, tell, signal) {
  const ask = Math.random();
  const wanted = ["voxels", ...(model.get("description").labels ? ["labels"] : [])];
  if (!globalThis.radkitItkVtkViewer) wanted.push("program");
  return new Promise((resolve) => {
    const parts = {};
    let heard = false;
    model.on("msg:custom", async (message, buffers) => {
      if (message.ask !== ask || signal.aborted) return;
      heard = true;
      if (message.problem) return tell(message.problem, true);
      const plain = new Blob([buffers[0]]).stream().pipeThrough(new DecompressionStream("deflate"));
      parts[message.part] = await new Response(plain).arrayBuffer();
      tell(`${Object.keys(parts).length} of ${wanted.length} parts are here`);
      if (wanted.every((part) => parts[part])) resolve(parts);
    });
    // The first message can come before JupyterLab has opened a subshell of the kernel, and would then wait for every
    // cell of a "Run All": ask again until something comes. The kernel answers one number once.
    const request = (pause) => {
      if (heard || signal.aborted || pause > 60_000) return;
      model.send({ radkit: "parts, please", ask, wanted });
      setTimeout(request, pause, 2 * pause);
    };
    request(200);
  });
}

class Rendering {
  constructor(model, el) {
    this.scene = model.get("description");
    this.model = model;
    this.abort = new AbortController();
    this.build(el);
    // A notebook can hold many: each starts when it is first seen.
    this.seen = new IntersectionObserver((entries) => {
      if (!entries.some((entry) => entry.isIntersecting)) return;
      this.seen.disconnect();
      this.start().catch((error) => this.tell(`the viewer could not start: ${error.message ?? error}`, true));
    });
    this.seen.observe(this.root);
  }

  build(el) {
    const { scene } = this;
    this.root = make("div", "radkit-rendering");
    this.root.dataset.lmSuppressShortcuts = "true"; // JupyterLab's own keys stay out of here
    this.root.setAttribute("role", "group");
    this.root.setAttribute("aria-label", scene.text);
    if (scene.title) {
      this.root.append(make("div", scene.stand_in ? "radkit-title radkit-stand-in" : "radkit-title", scene.title));
    }
    this.bar = make("div", "radkit-bar");
    this.buttons = Object.keys(VIEWS).map((name) => {
      const button = make("button", "", name === "planes" ? "three planes" : name);
      button.onclick = () => this.atOnce(() => this.show(name));
      return button;
    });
    const controls = make("button", "", "all controls");
    controls.onclick = () => this.viewer.setUICollapsed(!this.viewer.getUICollapsed());
    this.bar.append(...this.buttons, controls);
    this.place = make("div", "radkit-space");
    this.picture = Object.assign(make("img", ""), { src: scene.picture, alt: scene.text }); // until there is more
    this.place.append(this.picture);
    this.letters = [..."lrtb"].map((side) => make("span", `radkit-letter radkit-letter-${side}`));
    this.place.append(...this.letters);
    this.status = make("div", "radkit-status", "waiting for the kernel");
    this.status.setAttribute("role", "status");
    const legend = make("div", "radkit-legend");
    for (const [, name, colour] of scene.structures) {
      const entry = make("span", "", name);
      entry.prepend(Object.assign(make("i", ""), { style: `background: ${colour}` }));
      legend.append(entry);
    }
    this.root.append(this.bar, this.place, this.status, legend);
    el.append(this.root);
    this.enable(false);
  }

  enable(on) {
    for (const button of this.bar.children) button.disabled = !on;
  }

  tell(text, failed = false) {
    this.status.textContent = text;
    if (failed) this.root.dataset.state = "failed";
  }

  async start() {
    const gl = document.createElement("canvas").getContext("webgl2");
    if (!gl) throw new Error("this browser has no WebGL 2");
    const info = gl.getExtension("WEBGL_debug_renderer_info");
    this.slow = SOFTWARE.test(gl.getParameter(info ? info.UNMASKED_RENDERER_WEBGL : gl.RENDERER));
    gl.getExtension("WEBGL_lose_context")?.loseContext(); // a page may have few at a time
    const parts = await ask(this.model, (...said) => this.tell(...said), this.abort.signal);
    if (this.abort.signal.aborted) return;
    this.tell("drawing; without a graphics card this takes some seconds");
    await painted();
    globalThis.radkitItkVtkViewer ??= URL.createObjectURL(new Blob([parts.program], { type: "text/javascript" }));
    const program = await this.frame();
    const image = await this.image(program, "image", this.scene.kind, parts.voxels);
    const labels = parts.labels && (await this.image(program, "structures", this.scene.labels, parts.labels));
    const config = { uiCollapsed: true, main: { backgroundColor: [0, 0, 0], units: "mm" } };
    this.viewer = await program.createViewer(this.page.querySelector("div"), { rotate: false, config });
    this.proxy = this.viewer.getViewProxy();
    this.window.viewer = this.viewer; // for whoever wants more of it, from the browser's console
    await this.atOnce(async () => {
      this.viewer.setViewMode("ZPlane"); // with the viewer's own settings, a volume takes a processor a minute
      this.viewer.on("renderedImageAssigned", () => queueMicrotask(() => this.settle())); // at its own, each time
      this.viewer.setImage(image, "image");
      await this.drawn(1);
      this.viewer.setImageScale(0); // there is one: to measure how fast it draws, to choose another, would be for nothing
      if (labels) {
        this.viewer.setLabelImage(labels, "image");
        await this.drawn(2);
      }
      this.paint();
      this.settle();
      this.show(this.scene.mode);
    });
    this.enable(true);
    this.tell([HELP, this.scene.note].filter(Boolean).join(" · "));
    this.picture.remove();
    this.root.dataset.state = "ready";
  }

  /** Open the frame and run the viewer's program in it: what it leaves in its window and its styles stays there. */
  async frame() {
    const frame = Object.assign(document.createElement("iframe"), { title: this.scene.title || "volume rendering" });
    // Its scale bar is hidden: it rounds to one digit, and would call 124 mm "100 mm".
    frame.srcdoc = `<!DOCTYPE html><style>canvas[style*="width: 100px"] { visibility: hidden }</style>
      <body style="margin:0"><div style="position:absolute;inset:0;overflow:hidden"></div>`;
    if (this.slow) frame.className = "radkit-slow"; // fewer pixels, enlarged
    const loaded = new Promise((done) => { frame.onload = done; });
    this.place.prepend(frame);
    await loaded;
    this.window = frame.contentWindow;
    this.page = frame.contentDocument;
    const script = this.page.createElement("script");
    script.src = globalThis.radkitItkVtkViewer;
    await new Promise((done, fail) => {
      Object.assign(script, { onload: done, onerror: () => fail("its program was refused by the browser") });
      this.page.head.append(script);
    });
    return this.window.itkVtkViewer;
  }

  /** Do something and draw what came of it, not each step: while an animation runs, the viewer leaves that to it. */
  async atOnce(work) {
    this.proxy.getInteractor().requestAnimation(work);
    try {
      await work();
    } finally {
      this.proxy.getInteractor().cancelAnimation(work);
    }
  }

  /** Wait until the viewer has taken over the image, its structures too. */
  async drawn(components) {
    const wanted = [...this.scene.size, components].join();
    for (let taken = ""; taken !== wanted; await painted()) {
      const data = this.representation?.getDataArray() && this.representation.getInputDataSet();
      taken = [...(data?.getDimensions() ?? []), data?.getPointData().getScalars().getNumberOfComponents()].join();
    }
  }

  /** Make an image of the viewer, in one piece and one size: cut up or made smaller, it would need more programs. */
  async image(program, name, kind, buffer) {
    const { size, spacing, origin, direction } = this.scene;
    const geometry = { origin, spacing, direction: new this.window.Float64Array(direction), metadata: new this.window.Map() };
    const imageType = { dimension: 3, componentType: kind, pixelType: "Scalar", components: 1 };
    const whole = { ...geometry, imageType, name, size, data: new this.window[TYPES[kind]](buffer) };
    const one = await program.utils.toMultiscaleSpatialImage({ ...whole, size: [1, 1, 1], data: whole.data.slice(0, 1) });
    const { pyramid, scaleInfo } = await one.constructor.buildPyramid(whole, size);
    return new one.constructor(pyramid, scaleInfo, imageType, name);
  }

  paint() {
    const { viewer, scene } = this;
    viewer.setUICollapsed(true);
    viewer.setImageColorMap(scene.colours, 0, "image");
    viewer.setImageColorRange(scene.range, 0, "image");
    const [low, high] = viewer.getImageColorRangeBounds(0, "image");
    const points = scene.opacity.map(([value, y]) => [(value - low) / (high - low), y]);
    viewer.setImagePiecewiseFunctionPoints(points.filter(([x]) => x >= 0 && x <= 1), 0, "image");
    const middle = this.middle();
    ["X", "Y", "Z"].forEach((axis, i) => viewer[`set${axis}Slice`](middle[i]));
  }

  /** What the viewer forgets: quality, planes that nothing shines through, the colours and opacity of structures. */
  settle() {
    const { structures } = this.scene;
    const data = this.representation?.getInputDataSet()?.getPointData().getScalars();
    if (!data) return;
    this.viewer.setImageGradientOpacity(0, "image");
    this.viewer.setImageShadowEnabled(!this.slow, "image");
    this.viewer.setImageVolumeSampleDistance(this.slow ? 0.7 : 0.2, "image");
    const whole = this.representation.getActors()[0].getProperty().getPiecewiseFunction(0); // one for all three
    whole.removeAllPoints();
    whole.addPoint(0, 1);
    this.reveal();
    if (data.getNumberOfComponents() === 1) return;
    this.viewer.setLabelImageBlend(0.7, "image");
    this.viewer.setLabelImageLabelNames(new this.window.Map(structures.map(([label, name]) => [label, name])), "image");
    const property = this.representation.getVolumes()[0].getProperty();
    const [colours, opacity] = [property.getRGBTransferFunction(1), property.getScalarOpacity(1)];
    property.setOpacityMode(1, 0); // fractional: structures are seen in air, too
    if (structures.length > 1) property.setInterpolationTypeToNearest(); // or there were a label 1 between 0 and 2
    const onPlane = this.window.itkVtkViewer.utils.vtk({ vtkClass: "vtkPiecewiseFunction" });
    for (const actor of this.representation.getActors()) actor.getProperty().setPiecewiseFunction(1, onPlane);
    for (const map of [colours, opacity, onPlane]) map.removeAllPoints();
    for (const [label, , colour] of [[0, "", "#000000"], ...structures]) {
      const rgb = [1, 3, 5].map((i) => parseInt(colour.slice(i, i + 2), 16) / 255);
      colours.addRGBPointLong(label, ...rgb, 0.5, 1);
      opacity.addPointLong(label, label ? 0.3 : 0, 0.5, 1);
      onPlane.addPointLong(label, label ? 1 : 0, 0.5, 1);
    }
  }

  get representation() {
    return this.proxy.getRepresentations()[0];
  }

  middle() {
    const bounds = this.representation.getBounds();
    return [0, 2, 4].map((i) => (bounds[i] + bounds[i + 1]) / 2);
  }

  /** Look from the front, the head up: the patient's right is on the left of the screen. */
  face() {
    const middle = this.middle();
    const camera = this.proxy.getCamera();
    camera.setFocalPoint(...middle);
    camera.setPosition(...FROM[this.shown].map((part, i) => middle[i] + part));
    camera.setViewUp(0, 0, 1);
    this.proxy.resetCamera();
  }

  /** Choose between the volume and its planes in space; and cut nothing off: the viewer misplaces its box if oblique. */
  reveal() {
    if (VIEWS[this.shown]?.[0] === "Volume") {
      this.representation.setVolumeVisibility(this.shown === "volume");
      for (const axis of "XYZ") this.representation[`set${axis}SliceVisibility`](this.shown === "planes");
    }
    if (this.scene.direction.every((part) => Math.abs(part - Math.round(part)) < 1e-6)) return;
    for (const actor of [...this.representation.getVolumes(), ...this.representation.getActors()]) {
      actor.getMapper().removeAllClippingPlanes();
    }
  }

  show(name) {
    const [mode, letters] = VIEWS[name];
    this.shown = name;
    this.viewer.setViewMode(mode);
    this.reveal();
    if (mode === "Volume") this.face();
    this.proxy.getCamera().zoom(1.5); // the viewer leaves room for every turn
    this.letters.forEach((letter, i) => { letter.textContent = letters[i] ?? ""; });
    this.buttons.forEach((button, i) => button.setAttribute("aria-pressed", Object.keys(VIEWS)[i] === name));
  }

  close() {
    this.abort.abort();
    this.seen.disconnect();
    this.root.remove();
  }
}

export default {
  render({ model, el }) {
    const rendering = new Rendering(model, el);
    return () => rendering.close();
  },
};
