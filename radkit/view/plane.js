// One plane of the volume on its canvas: its voxels through the window, the mask, the crosshair, letters and scale bar.

const clamp = (value, low, high) => Math.max(low, Math.min(high, value));
const format = (value) => (Number.isInteger(value) ? value : Number(value.toPrecision(4)));

class Plane {
  constructor(view, description) {
    Object.assign(this, description); // name, letters; across, down, through: [array axis, direction]
    this.view = view;
    const { shape } = view.scene;
    this.count = [this.across, this.down, this.through].map(([axis]) => shape[axis]);
    this.mm = [this.across, this.down].map(([axis]) => view.scene.spacing[axis]);
    this.extent = this.mm.map((mm, i) => mm * this.count[i]);
    this.picture = new OffscreenCanvas(this.count[0], this.count[1]);
    this.overlay = new OffscreenCanvas(this.count[0], this.count[1]);
    this.canvas = document.createElement("canvas");
    this.canvas.className = `radkit-plane radkit-${this.name}`;
    this.canvas.tabIndex = 0;
    const spoken = { label: `${this.name} plane`, valuemin: 1, valuemax: this.count[2] };
    this.canvas.setAttribute("role", "slider");
    for (const [name, value] of Object.entries(spoken)) this.canvas.setAttribute(`aria-${name}`, value);
  }

  /** The crosshair as column, row and slice of this plane. */
  get position() {
    return this.place(this.view.voxel);
  }

  place(voxel) {
    return [this.across, this.down, this.through].map(([axis, step], i) =>
      step > 0 ? voxel[axis] : this.count[i] - 1 - voxel[axis]);
  }

  /** The voxel (slice, row, column) at a column, row and slice of this plane. */
  voxelAt(position) {
    const voxel = [0, 0, 0];
    [this.across, this.down, this.through].forEach(([axis, step], i) => {
      const n = clamp(Math.floor(position[i]), 0, this.count[i] - 1);
      voxel[axis] = step > 0 ? n : this.count[i] - 1 - n;
    });
    return voxel;
  }

  /** Paint the slice through the window, and the mask, at one pixel a voxel; nothing to do if neither has changed. */
  render() {
    const { data, scene, window, opacity, version } = this.view;
    const slice = this.view.voxel[this.through[0]];
    const key = [slice, ...window, version, opacity].join();
    if (key === this.key) return;
    this.key = key;
    const strides = [scene.shape[1] * scene.shape[2], scene.shape[2], 1];
    const [width, height] = this.count;
    const dx = strides[this.across[0]] * this.across[1];
    const dy = strides[this.down[0]] * this.down[1];
    let start = slice * strides[this.through[0]];
    if (dx < 0) start -= dx * (width - 1);
    if (dy < 0) start -= dy * (height - 1);
    const image = new ImageData(width, height);
    const pixels = new Uint32Array(image.data.buffer);
    const { values } = data;
    const low = window[0] - window[1] / 2;
    const gain = 256 / window[1];
    for (let row = 0, out = 0; row < height; row++) {
      for (let column = 0, at = start + row * dy; column < width; column++, at += dx) {
        const gray = (values[at] - low) * gain;
        pixels[out++] = 0xff000000 | ((gray < 0 ? 0 : gray > 255 ? 255 : gray | 0) * 0x010101);
      }
    }
    this.picture.getContext("2d").putImageData(image, 0, 0);
    if (data.labels) this.renderMask(data.labels, start, dx, dy);
  }

  /** Paint each structure in its colour, its edge opaque. */
  renderMask(labels, start, dx, dy) {
    const [width, height] = this.count;
    const { opacity, colours } = this.view;
    const image = new ImageData(width, height);
    const pixels = new Uint32Array(image.data.buffer);
    const inside = Math.round(255 * opacity) << 24;
    const edge = 255 << 24;
    for (let row = 0, out = 0; row < height; row++) {
      for (let column = 0, at = start + row * dy; column < width; column++, at += dx, out++) {
        const label = labels[at];
        if (!label) continue;
        const border = column === 0 || column === width - 1 || row === 0 || row === height - 1;
        const inner = !border && [at - dx, at + dx, at - dy, at + dy].every((next) => labels[next] === label);
        pixels[out] = colours[label] | (inner ? inside : edge);
      }
    }
    this.overlay.getContext("2d").putImageData(image, 0, 0);
  }

  /** What of the plane is seen, in its columns and rows: all of it or, zoomed in, a part with the crosshair inside. */
  layOut() {
    const { canvas, view } = this;
    const scale = view.scale * view.zoom; // CSS pixels per mm
    const size = [canvas.clientWidth, canvas.clientHeight];
    const focus = this.place(view.focus);
    this.seen = size.map((pixels, i) => Math.min(this.count[i], pixels / (scale * this.mm[i])));
    this.start = this.seen.map((n, i) => clamp(focus[i] + 0.5 - n / 2, 0, this.count[i] - n));
    this.used = this.seen.map((n, i) => n * scale * this.mm[i]);
    this.corner = size.map((pixels, i) => (pixels - this.used[i]) / 2);
  }

  holdsCrosshair() {
    return this.position.slice(0, 2).every((at, i) => at >= this.start[i] && at < this.start[i] + this.seen[i]);
  }

  /** Column, row and slice under the pointer. */
  under(event) {
    const box = this.canvas.getBoundingClientRect();
    const at = [event.clientX - box.left, event.clientY - box.top];
    const [column, row] = at.map((p, i) => this.start[i] + ((p - this.corner[i]) / this.used[i]) * this.seen[i]);
    return [column, row, this.position[2]];
  }

  draw() {
    this.render();
    this.layOut();
    const { canvas, picture, overlay } = this;
    const ratio = globalThis.devicePixelRatio || 1;
    const [width, height] = [canvas.clientWidth, canvas.clientHeight];
    if (canvas.width !== Math.round(width * ratio)) canvas.width = Math.round(width * ratio);
    if (canvas.height !== Math.round(height * ratio)) canvas.height = Math.round(height * ratio);
    const pen = canvas.getContext("2d");
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.fillStyle = "#000";
    pen.fillRect(0, 0, width, height);
    pen.imageSmoothingQuality = "high";
    const from = [...this.start, ...this.seen];
    pen.drawImage(picture, ...from, ...this.corner, ...this.used);
    pen.imageSmoothingEnabled = this.used[0] < this.seen[0]; // enlarged, a mask shows its voxels as they are
    if (this.view.data.labels && this.view.opacity) pen.drawImage(overlay, ...from, ...this.corner, ...this.used);
    pen.imageSmoothingEnabled = true;
    this.annotate(pen, width, height);
    const { text } = this.view.probe(this.view.voxel);
    canvas.setAttribute("aria-valuenow", this.position[2] + 1);
    canvas.setAttribute("aria-valuetext", `slice ${this.position[2] + 1} of ${this.count[2]}, ${text}`);
  }

  annotate(pen, width, height) {
    const [x, y] = [0, 1].map((i) =>
      this.corner[i] + ((this.position[i] + 0.5 - this.start[i]) / this.seen[i]) * this.used[i]);
    pen.beginPath();
    const across = [[0, y, x - 12, y], [x + 12, y, width, y]];
    const down = [[x, 0, x, y - 12], [x, y + 12, x, height]];
    for (const [x0, y0, x1, y1] of [...across, ...down]) {
      if (x1 < x0 || y1 < y0) continue;
      pen.moveTo(x0, y0);
      pen.lineTo(x1, y1);
    }
    for (const [colour, thick] of [["rgba(0, 0, 0, 0.3)", 3], ["rgba(255, 255, 255, 0.6)", 1]]) {
      Object.assign(pen, { strokeStyle: colour, lineWidth: thick });
      pen.stroke();
    }
    const write = (text, at, down, align, baseline, font) => {
      Object.assign(pen, { textAlign: align, textBaseline: baseline, font, fillStyle: "#000" });
      const box = pen.measureText(text); // on a pad, to be read on bone as on air
      const [left, top] = [at - box.actualBoundingBoxLeft - 3, down - box.actualBoundingBoxAscent - 3];
      pen.fillRect(left, top, at + box.actualBoundingBoxRight + 3 - left, down + box.actualBoundingBoxDescent + 3 - top);
      pen.fillStyle = "#f2f5f8";
      pen.fillText(text, at, down);
    };
    const [left, right, top, bottom] = this.letters;
    write(left, 7, height / 2, "left", "middle", "bold 18px sans-serif");
    write(right, width - 7, height / 2, "right", "middle", "bold 18px sans-serif");
    write(top, width / 2, 7, "center", "top", "bold 18px sans-serif");
    write(bottom, width / 2, height - 6, "center", "bottom", "bold 18px sans-serif");
    const name = width < 250 ? "" : `${this.name} `; // in a narrow place it would run into the letter
    write(`${name}${this.position[2] + 1}/${this.count[2]}`, 7, 7, "left", "top", "14px sans-serif");
    const scale = this.view.scale * this.view.zoom;
    const bar = [200, 100, 50, 20, 10, 5, 2, 1].find((mm) => mm * scale < width * 0.3) ?? 1;
    for (const [colour, extra] of [["#000", 1], ["#f2f5f8", 0]]) {
      pen.fillStyle = colour;
      pen.fillRect(width - 9 - bar * scale - extra, height - 10 - extra, bar * scale + 2 * extra, 3 + 2 * extra);
    }
    write(`${bar} mm`, width - 9 - (bar * scale) / 2, height - 13, "center", "bottom", "14px sans-serif");
  }
}
