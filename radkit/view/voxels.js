// The voxels in the browser: a typed array for each slice, as it came, and one for the labels of the mask.

const TYPES = { int16: Int16Array, uint16: Uint16Array, int32: Int32Array, float32: Float32Array, uint8: Uint8Array };

class Voxels {
  constructor(model) {
    this.scene = model.get("description");
    this.slices = new Array(this.scene.shape[0]); // undefined until they come
    this.come = 0;
    this.labels = null;
    this.banner = [];
    this.model = model;
    this.views = new Set();
    model.on("msg:custom", (message, buffers) => this.receive(message, buffers?.[0]));
  }

  /** Ask for the voxels, once there is a view: asked before, they would come before what is to show them. */
  ask() {
    if (this.asked) return;
    this.asked = Math.random(); // the kernel answers one number once
    // The first message can come before JupyterLab has opened a subshell of the kernel, and would then wait for every
    // cell of a "Run All": ask again until the voxels come.
    const request = (pause) => {
      if (this.come || pause > 60_000) return;
      this.model.send({ radkit: "voxels, please", ask: this.asked });
      setTimeout(request, pause, 2 * pause);
    };
    request(200);
  }

  get complete() {
    return this.come === this.slices.length && (!this.scene.labels || this.labels !== null);
  }

  async receive(message, buffer) {
    if (message.radkit === "voxels") this.keep(message, buffer);
    else if (message.radkit === "labels") {
      const plain = new Blob([buffer]).stream().pipeThrough(new DecompressionStream("deflate"));
      this.labels = new TYPES[this.scene.labels](await new Response(plain).arrayBuffer());
    } else return;
    // To paint the planes that cross all slices anew for each message would take longer than the messages.
    if (!this.complete && performance.now() - this.told < 200) return;
    this.told = performance.now();
    this.views.forEach((view) => view.refresh(true));
  }

  /** Keep the slices where they came, without a copy, wherever they lie as a typed array must. */
  keep({ slice, slices, banner }, { buffer, byteOffset, byteLength }) {
    const Type = TYPES[this.scene.kind];
    const aligned = byteOffset % Type.BYTES_PER_ELEMENT === 0;
    const start = aligned ? byteOffset : 0;
    const bytes = aligned ? buffer : buffer.slice(byteOffset, byteOffset + byteLength);
    const size = byteLength / slices;
    for (let i = 0; i < slices; i++) {
      if (!this.slices[slice + i]) this.come++;
      this.slices[slice + i] = new Type(bytes, start + i * size, size / Type.BYTES_PER_ELEMENT);
    }
    if (banner) this.banner = banner;
  }

  /** The value at a voxel, a list of three for a colour, or undefined if it has not come. */
  value([slice, row, column]) {
    const { shape, colour } = this.scene;
    const at = row * shape[2] + column;
    const values = this.slices[slice];
    return colour ? values && [...values.subarray(3 * at, 3 * at + 3)] : values?.[at];
  }

  label([slice, row, column]) {
    const { shape } = this.scene;
    return this.labels?.[(slice * shape[1] + row) * shape[2] + column] ?? 0;
  }

  /** The voxel in the middle of a structure's largest section, cut across an axis of the array; null if there is none. */
  middle(label, axis) {
    const { shape } = this.scene;
    const inside = new Map(); // number of the section: how many voxels, and the sums of their indices
    for (let k = 0, at = 0; k < shape[0]; k++) {
      for (let r = 0; r < shape[1]; r++) {
        for (let c = 0; c < shape[2]; c++, at++) {
          if (this.labels[at] !== label) continue;
          const section = [k, r, c][axis];
          const sum = inside.get(section) ?? inside.set(section, [0, 0, 0, 0]).get(section);
          sum[0]++; sum[1] += k; sum[2] += r; sum[3] += c;
        }
      }
    }
    const largest = [...inside.values()].reduce((best, sum) => (sum[0] > best[0] ? sum : best), [0]);
    if (!largest[0]) return null;
    const mean = largest.slice(1).map((sum) => sum / largest[0]);
    return this.nearest(label, axis, mean);
  }

  /** The voxel of a structure that is nearest to a place within one section. */
  nearest(label, axis, mean) {
    const { shape } = this.scene;
    const [from, to] = [[0, 0, 0], [...shape]];
    [from[axis], to[axis]] = [Math.round(mean[axis]), Math.round(mean[axis]) + 1];
    let [best, least] = [null, Infinity];
    for (let k = from[0]; k < to[0]; k++)
      for (let r = from[1]; r < to[1]; r++)
        for (let c = from[2]; c < to[2]; c++) {
          if (this.label([k, r, c]) !== label) continue;
          const far = (k - mean[0]) ** 2 + (r - mean[1]) ** 2 + (c - mean[2]) ** 2;
          if (far < least) [best, least] = [[k, r, c], far];
        }
    return best;
  }
}
