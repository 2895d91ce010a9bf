// The stage of the picture editor: shows a picture and a layer over it, zoomed and moved, and turns the pointer's and
// the fingers' movements into strokes. The layer is painted at the picture's resolution; the canvas on the screen only
// shows it, and only what changed is drawn again, so that large pictures do not lag.

import { make } from "./dom.js";
import { t } from "./page.js";
import { View } from "./view.js";

const MARGIN = 2; // pixels drawn again around what changed: scaling blurs over them

export class Editor {
  view = new View();
  layer = null; // what can be painted on and is shown; null: nothing
  brush = { size: 40, colour: "#000000", erase: false, picks: false };
  pointers = new Map(); // those that are down: id → [x, y] on the stage
  pans = false; // whether the pointer that is down moves the picture
  holdsSpace = false;
  stale = null; // the box of the picture to be drawn again

  /** `on` has handlers: painted(), picked(colour), moved(). */
  constructor(on) {
    this.on = on;
    this.picture = make("img", { alt: t("The picture to begin with"), draggable: false });
    this.canvas = make("canvas", { className: "mask-canvas", width: 1, height: 1, "aria-label": t("Paint here") });
    this.ring = make("div", { className: "brush-ring" });
    this.grown = make("div", { className: "grown", hidden: true });
    this.stage = make("div", { className: "mask-stage" }, this.grown, this.picture, this.canvas, this.ring);
    new ResizeObserver(() => this.measure()).observe(this.stage);
    this.listen();
  }

  get size() {
    return [this.picture.naturalWidth, this.picture.naturalHeight];
  }

  // Showing

  async show(address) {
    this.picture.src = address;
    await this.picture.decode();
    this.view.isWhole = true;
    this.grow({});
  }

  /** Show the picture with so many pixels more at its sides. */
  grow({ left = 0, right = 0, up = 0, down = 0 }) {
    const [width, height] = this.size;
    this.view.box = [-left, -up, width + right, height + down];
    this.grown.hidden = !(left || right || up || down);
    this.stage.style.setProperty("--shape", (width + left + right) / (height + up + down));
    this.measure();
  }

  measure() {
    const { clientWidth, clientHeight } = this.stage;
    if (!clientWidth || !clientHeight) return;
    this.view.stage = [clientWidth, clientHeight];
    const ratio = window.devicePixelRatio || 1;
    this.canvas.width = Math.round(clientWidth * ratio);
    this.canvas.height = Math.round(clientHeight * ratio);
    if (this.view.isWhole || this.view.scale < this.view.fitting) this.view.fit();
    this.move();
  }

  fit() {
    this.view.fit();
    this.move();
  }

  zoom(factor, x = this.view.stage[0] / 2, y = this.view.stage[1] / 2) {
    this.view.zoom(factor, x, y);
    this.move();
  }

  /** Put everything where the view says it is. */
  move() {
    const { left, top, scale, box } = this.view;
    this.picture.style.width = `${this.size[0]}px`;
    this.picture.style.transform = `translate(${left}px, ${top}px) scale(${scale})`;
    this.picture.style.imageRendering = scale >= 3 ? "pixelated" : "auto";
    const [x, y] = this.view.toStage(box[0], box[1]);
    Object.assign(this.grown.style, { left: `${x}px`, top: `${y}px`, width: `${(box[2] - box[0]) * scale}px`, height: `${(box[3] - box[1]) * scale}px` });
    this.draw();
    this.on.moved();
  }

  /** Draw the layer (or the part of it in `box`) on the next frame. */
  draw(box = [-1e9, -1e9, 1e9, 1e9]) {
    const isAsked = this.stale !== null;
    const [left, top, right, bottom] = this.stale ?? box;
    this.stale = [Math.min(left, box[0]), Math.min(top, box[1]), Math.max(right, box[2]), Math.max(bottom, box[3])];
    if (!isAsked) requestAnimationFrame(() => this.drawNow());
  }

  drawNow() {
    const box = this.stale;
    this.stale = null;
    const context = this.canvas.getContext("2d");
    const ratio = this.canvas.width / this.view.stage[0];
    const device = (x, y, round) => this.view.toStage(x, y).map((value) => round(value * ratio));
    const corner = device(box[0], box[1], Math.floor).map((value) => Math.max(value - MARGIN, 0));
    const end = device(box[2], box[3], Math.ceil).map((value, axis) => Math.min(value + MARGIN, [this.canvas.width, this.canvas.height][axis]));
    const [width, height] = [end[0] - corner[0], end[1] - corner[1]];
    if (width <= 0 || height <= 0) return;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(...corner, width, height);
    if (this.layer) this.drawPart(context, ratio, corner, width, height);
  }

  drawPart(context, ratio, corner, width, height) {
    const scale = this.view.scale * ratio;
    const clip = (value, most) => Math.min(Math.max(value, 0), most);
    const { width: wide, height: high } = this.layer.canvas;
    const begin = this.view.toPicture(corner[0] / ratio, corner[1] / ratio);
    const end = this.view.toPicture((corner[0] + width) / ratio, (corner[1] + height) / ratio);
    const [left, top] = [clip(Math.floor(begin[0]) - MARGIN, wide), clip(Math.floor(begin[1]) - MARGIN, high)];
    const [right, bottom] = [clip(Math.ceil(end[0]) + MARGIN, wide), clip(Math.ceil(end[1]) + MARGIN, high)];
    if (right <= left || bottom <= top) return;
    context.save();
    context.beginPath();
    context.rect(...corner, width, height);
    context.clip();
    context.imageSmoothingEnabled = scale < 3;
    context.setTransform(scale, 0, 0, scale, this.view.left * ratio, this.view.top * ratio);
    context.drawImage(this.layer.canvas, left, top, right - left, bottom - top, left, top, right - left, bottom - top);
    context.restore();
  }

  // The colour under a point of the picture

  colourAt([x, y]) {
    const one = make("canvas", { width: 1, height: 1 }).getContext("2d");
    const from = [Math.floor(x), Math.floor(y), 1, 1];
    for (const source of [this.picture, this.layer?.canvas]) if (source) one.drawImage(source, ...from, 0, 0, 1, 1);
    const [red, green, blue] = one.getImageData(0, 0, 1, 1).data;
    return `#${[red, green, blue].map((value) => value.toString(16).padStart(2, "0")).join("")}`;
  }

  // Pointers

  listen() {
    const { canvas } = this;
    canvas.addEventListener("pointerdown", (event) => this.down(event));
    canvas.addEventListener("pointermove", (event) => this.moving(event));
    for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, (event) => this.up(event));
    canvas.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    canvas.addEventListener("auxclick", (event) => event.preventDefault());
  }

  get canPaint() {
    return this.layer !== null && this.stage.dataset.paints === "yes";
  }

  place(event) {
    const box = this.canvas.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  }

  down(event) {
    const place = this.place(event);
    this.pointers.set(event.pointerId, place);
    if (this.pointers.size > 1) {
      this.layer?.cancel(); // the first finger had begun a stroke
      this.draw();
      return;
    }
    if (event.button === 2) return;
    this.pans = event.button === 1 || this.holdsSpace || (!this.canPaint && event.pointerType !== "touch");
    if (this.pans || this.canPaint) {
      event.preventDefault();
      this.canvas.setPointerCapture(event.pointerId);
    }
    if (this.pans || !this.canPaint) return;
    const point = this.view.toPicture(...place);
    if (this.brush.picks || event.altKey) this.on.picked(this.colourAt(point));
    else this.begin(point);
  }

  begin(point) {
    const { erase, colour, size } = this.brush;
    this.draw(this.layer.begin({ erase, colour, size: size / this.view.scale }, point));
  }

  moving(event) {
    const place = this.place(event);
    this.moveRing(place);
    const before = this.pointers.get(event.pointerId);
    if (!before) return;
    if (this.pointers.size === 2) this.pinch(event.pointerId, before, place);
    this.pointers.set(event.pointerId, place);
    if (this.pointers.size > 1) return;
    if (this.pans) {
      this.view.pan(place[0] - before[0], place[1] - before[1]);
      this.move();
    } else if (this.layer?.stroke) this.go(event);
  }

  go(event) {
    const events = event.getCoalescedEvents?.() ?? [];
    for (const each of events.length ? events : [event]) {
      const changed = this.layer.extend(this.view.toPicture(...this.place(each)));
      if (changed) this.draw(changed);
    }
  }

  up(event) {
    this.pointers.delete(event.pointerId);
    this.pans = false;
    if (this.layer?.stroke && this.layer.finish()) this.on.painted();
  }

  /** Two fingers: what is between them follows them. */
  pinch(id, before, place) {
    const [other] = [...this.pointers].filter(([each]) => each !== id).map(([, at]) => at);
    const middle = (one) => [(one[0] + other[0]) / 2, (one[1] + other[1]) / 2];
    const distance = (one) => Math.hypot(one[0] - other[0], one[1] - other[1]);
    const [from, to] = [middle(before), middle(place)];
    this.view.zoom(distance(place) / Math.max(distance(before), 1), ...from);
    if (!this.view.isWhole) this.view.pan(to[0] - from[0], to[1] - from[1]);
    this.move();
  }

  wheel(event) {
    const isMeant = this.canPaint || event.ctrlKey || this.stage.closest(".fullscreen");
    if (!isMeant) return; // the page scrolls
    event.preventDefault();
    this.zoom(1.0015 ** -(event.deltaMode ? event.deltaY * 30 : event.deltaY), ...this.place(event));
  }

  moveRing([x, y]) {
    Object.assign(this.ring.style, { left: `${x}px`, top: `${y}px`, width: `${this.brush.size}px`, height: `${this.brush.size}px` });
  }
}
