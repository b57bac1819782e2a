// One plane of the volume on its canvas: its voxels through the window, the mask, the crosshair, letters and scale bar.

const clamp = (value, low, high) => Math.max(low, Math.min(high, value));
const format = (value) => (Number.isInteger(value) ? value : Number(value.toPrecision(4)));

const LINEAR = Array.from({ length: 256 }, (_, level) => level);

class Plane {
  constructor(view, description) {
    Object.assign(this, description); // name, letters; across, down, through: [array axis, direction]
    this.view = view;
    this.flat = view.scene.planes.length === 1; // an image, whose slices are its frames
    const { shape } = view.scene;
    this.count = [this.across, this.down, this.through].map(([axis]) => shape[axis]);
    this.mm = [this.across, this.down].map(([axis]) => view.scene.spacing[axis]);
    this.extent = this.mm.map((mm, i) => mm * this.count[i]);
    this.picture = new OffscreenCanvas(this.count[0], this.count[1]);
    this.overlay = new OffscreenCanvas(this.count[0], this.count[1]);
    this.canvas = document.createElement("canvas");
    this.canvas.className = `radkit-plane radkit-${this.name}`;
    this.canvas.tabIndex = 0;
    const spoken = { label: this.flat ? "image" : `${this.name} plane`, valuemin: 1, valuemax: this.count[2] };
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

  /** The voxel coordinates, between voxels too, of a column, row and slice of this plane; the inverse of `onScreen`. */
  spot(position) {
    const voxel = [0, 0, 0];
    [this.across, this.down].forEach(([axis, step], i) => {
      const at = clamp(position[i], 0, this.count[i]) - 0.5;
      voxel[axis] = step > 0 ? at : this.count[i] - 1 - at;
    });
    voxel[this.through[0]] = this.view.voxel[this.through[0]];
    return voxel;
  }

  /** Where on the canvas voxel coordinates are, in CSS pixels. */
  onScreen(voxel) {
    return this.place(voxel).slice(0, 2).map((at, i) =>
      this.corner[i] + ((at + 0.5 - this.start[i]) / this.seen[i]) * this.used[i]);
  }

  /** Call `paint(slice, row, column, out, length, step, next)` for each line of the picture that lies in one slice of
   * the array: a row or, where the slices run across the screen, a column. `step` is within the slice, `next` within
   * the picture. */
  lines(paint) {
    const [width, height] = this.count;
    const upright = this.across[0] === 0;
    const [axis, direction] = upright ? this.down : this.across;
    const step = direction * (axis === 1 ? this.view.scene.shape[2] : 1);
    for (let line = 0; line < (upright ? width : height); line++) {
      const [slice, row, column] = this.voxelAt(upright ? [line, 0, this.position[2]] : [0, line, this.position[2]]);
      const at = row * this.view.scene.shape[2] + column;
      if (upright) paint(slice, at, line, height, step, width);
      else paint(slice, at, line * width, width, step, 1);
    }
  }

  /** Paint the slice through the window, and the mask, at one pixel a voxel; nothing to do if neither has changed. */
  render() {
    const { data, scene, window, opacity, version } = this.view;
    const slice = this.view.voxel[this.through[0]];
    const fresh = this.through[0] === 0 ? data.slices[slice] !== undefined : version;
    const key = [slice, ...window, fresh].join();
    const maskKey = [slice, opacity, version].join();
    if (key !== this.key) this.renderGray(data.slices, scene, window);
    if (data.labels && maskKey !== this.maskKey) this.renderMask(data.labels, scene, opacity);
    [this.key, this.maskKey] = [key, maskKey];
  }

  renderGray(slices, { colour, levels = LINEAR, reach, inverted }, [center, width]) {
    const image = new ImageData(this.count[0], this.count[1]); // clear, that is, black, where no voxels have come
    const pixels = new Uint32Array(image.data.buffer);
    const gray = Uint32Array.from(levels, (level) => 0xff000000 | ((inverted ? 255 - level : level) * 0x010101));
    const last = gray.length - 1;
    const low = center + reach[0] * width;
    const gain = gray.length / ((reach[1] - reach[0]) * width);
    this.lines((slice, at, out, length, step, next) => {
      const values = slices[slice];
      if (!values) return;
      if (colour) {
        for (let i = 0; i < length; i++, at += step, out += next)
          pixels[out] = 0xff000000 | (values[3 * at + 2] << 16) | (values[3 * at + 1] << 8) | values[3 * at];
        return;
      }
      for (let i = 0; i < length; i++, at += step, out += next) {
        const level = (values[at] - low) * gain;
        if (level === level) pixels[out] = gray[level < 0 ? 0 : level > last ? last : level | 0]; // NaN stays black
      }
    });
    this.picture.getContext("2d").putImageData(image, 0, 0);
  }

  /** Paint each structure in its colour, its edge opaque; what is padding is black, whether the mask is seen or not. */
  renderMask(labels, { shape, padding }, opacity) {
    const [width, height] = this.count;
    const { colours } = this.view;
    const cut = new Uint16Array(width * height);
    this.lines((slice, at, out, length, step, next) => {
      at += slice * shape[1] * shape[2];
      for (let i = 0; i < length; i++, at += step, out += next) cut[out] = labels[at];
    });
    const image = new ImageData(width, height);
    const pixels = new Uint32Array(image.data.buffer);
    const inside = Math.round(255 * opacity) << 24;
    const edge = 255 << 24;
    for (let row = 0, out = 0; row < height; row++) {
      for (let column = 0; column < width; column++, out++) {
        const label = cut[out];
        if (label === 0) continue;
        if (label === padding) pixels[out] = edge;
        else if (opacity) {
          const inner = column > 0 && column < width - 1 && cut[out - 1] === label && cut[out + 1] === label
            && cut[out - width] === label && cut[out + width] === label; // outside of the picture it is undefined
          pixels[out] = colours[label] | (inner ? inside : edge);
        }
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
    if (this.view.data.labels) pen.drawImage(overlay, ...from, ...this.corner, ...this.used);
    pen.imageSmoothingEnabled = true;
    this.annotate(pen, width, height);
    const { text } = this.view.probe(this.view.voxel);
    canvas.setAttribute("aria-valuenow", this.position[2] + 1);
    canvas.setAttribute("aria-valuetext", `${this.flat ? "frame" : "slice"} ${this.position[2] + 1} of ${this.count[2]}, ${text}`);
  }

  annotate(pen, width, height) {
    const [x, y] = this.onScreen(this.view.voxel);
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
    const [left, right, top, bottom] = this.letters;
    this.write(pen, left, 8, height / 2, "left", "middle", 20, "bold");
    this.write(pen, right, width - 8, height / 2, "right", "middle", 20, "bold");
    this.write(pen, top, width / 2, 8, "center", "top", 20, "bold");
    this.write(pen, bottom, width / 2, height - 7, "center", "bottom", 20, "bold");
    const name = width < 250 ? "" : `${this.flat ? "frame" : this.name} `; // else it would run into the letter
    if (this.count[2] > 1 || !this.flat)
      this.write(pen, `${name}${this.position[2] + 1}/${this.count[2]}`, 8, 8, "left", "top", 15);
    this.view.distances.draw(this, pen);
    this.view.contours.draw(this, pen);
    this.scaleBar(pen, width, height);
  }

  scaleBar(pen, width, height) {
    const { scale: worth } = this.view.scene;
    if (worth === "not calibrated") {
      this.write(pen, worth, width - 9, height - 9, "right", "bottom", 15);
      return;
    }
    const scale = this.view.scale * this.view.zoom;
    const bar = [200, 100, 50, 20, 10, 5, 2, 1].find((mm) => mm * scale < width * 0.3) ?? 1;
    for (const [colour, extra] of [["#000", 1], ["#f2f5f8", 0]]) {
      pen.fillStyle = colour;
      pen.fillRect(width - 9 - bar * scale - extra, height - 10 - extra, bar * scale + 2 * extra, 3 + 2 * extra);
    }
    if (worth) this.write(pen, `${bar} mm ${worth}`, width - 9, height - 15, "right", "bottom", 15);
    else this.write(pen, `${bar} mm`, width - 9 - (bar * scale) / 2, height - 15, "center", "bottom", 15);
  }

  /** Write on a pad, to be read on bone as on air. */
  write(pen, text, x, y, align, baseline, size, weight = "", ink = "#f2f5f8") {
    if (!text) return;
    Object.assign(pen, { textAlign: align, textBaseline: baseline, font: `${weight} ${size}px sans-serif`, fillStyle: "#000" });
    const box = pen.measureText(text);
    const [left, top] = [x - box.actualBoundingBoxLeft - 3, y - box.actualBoundingBoxAscent - 3];
    pen.fillRect(left, top, x + box.actualBoundingBoxRight + 3 - left, y + box.actualBoundingBoxDescent + 3 - top);
    pen.fillStyle = ink;
    pen.fillText(text, x, y);
  }
}
