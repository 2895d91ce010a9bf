// What is painted over a picture, at the picture's own resolution, with undo and redo.

import { make } from "./dom.js";

const KEPT = 60; // things that can be undone; older ones become part of the ground

const canvas = () => make("canvas", { width: 1, height: 1 });

/** Draw a piece of a stroke: from one point to the next, or a dot. Pieces are drawn one by one, so that a stroke looks
 * the same while it is painted and when it is drawn again. */
function drawPiece(context, { erase, size, colour }, from, to) {
  context.globalCompositeOperation = erase ? "destination-out" : "source-over";
  context.fillStyle = context.strokeStyle = colour;
  context.beginPath();
  if (from === to) {
    context.arc(...from, size / 2, 0, 2 * Math.PI);
    context.fill();
    return;
  }
  context.lineCap = "round";
  context.lineWidth = size;
  context.moveTo(...from);
  context.lineTo(...to);
  context.stroke();
}

/** Return [left, top, right, bottom] around a piece of a stroke. */
const around = (from, to, size) => [
  Math.min(from[0], to[0]) - size / 2 - 2,
  Math.min(from[1], to[1]) - size / 2 - 2,
  Math.max(from[0], to[0]) + size / 2 + 2,
  Math.max(from[1], to[1]) + size / 2 + 2,
];

const ACTS = {
  stroke(context, { points, ...stroke }) {
    drawPiece(context, stroke, points[0], points[0]);
    for (let place = 1; place < points.length; place += 1) drawPiece(context, stroke, points[place - 1], points[place]);
  },
  clear(context) {
    context.clearRect(0, 0, context.canvas.width, context.canvas.height);
  },
  image(context, { image }) {
    ACTS.clear(context);
    context.globalCompositeOperation = "source-over";
    context.drawImage(image, 0, 0, context.canvas.width, context.canvas.height);
  },
};

export class Layer {
  canvas = canvas();
  ground = canvas();
  groundIsEmpty = true;
  done = [];
  undone = [];
  stroke = null; // the one being painted
  version = 0; // grows with each change

  get context() {
    return this.canvas.getContext("2d");
  }

  /** Begin anew for a picture of this size. */
  reset(width, height) {
    for (const each of [this.canvas, this.ground]) [each.width, each.height] = [width, height];
    this.groundIsEmpty = true;
    this.done = [];
    this.undone = [];
    this.stroke = null;
    this.version += 1;
  }

  /** Begin a stroke {erase, size, colour} at a point; return the box that changed. */
  begin(stroke, point) {
    this.stroke = { kind: "stroke", ...stroke, points: [point] };
    drawPiece(this.context, stroke, point, point);
    return around(point, point, stroke.size);
  }

  extend(point) {
    const last = this.stroke.points.at(-1);
    if (point[0] === last[0] && point[1] === last[1]) return null;
    this.stroke.points.push(point);
    drawPiece(this.context, this.stroke, last, point);
    return around(last, point, this.stroke.size);
  }

  /** End the stroke; return whether it touched the picture. */
  finish() {
    const { stroke } = this;
    this.stroke = null;
    const { width, height } = this.canvas;
    const reach = stroke.size / 2;
    const touches = stroke.points.some(([x, y]) => x > -reach && y > -reach && x < width + reach && y < height + reach);
    if (touches) this.add(stroke);
    return touches;
  }

  /** Forget the stroke being painted. */
  cancel() {
    if (!this.stroke) return;
    this.stroke = null;
    this.redraw();
  }

  add(act) {
    this.done.push(act);
    this.undone = [];
    this.version += 1;
    if (this.done.length <= KEPT) return;
    const oldest = this.done.shift();
    ACTS[oldest.kind](this.ground.getContext("2d"), oldest);
    this.groundIsEmpty = oldest.kind === "clear" || (this.groundIsEmpty && oldest.erase === true);
  }

  clear() {
    ACTS.clear(this.context);
    this.add({ kind: "clear" });
  }

  /** Show an image instead of everything painted so far. */
  put(image) {
    ACTS.image(this.context, { image });
    this.add({ kind: "image", image });
  }

  /** Begin with an image that cannot be undone. */
  restore(image) {
    ACTS.image(this.ground.getContext("2d"), { image });
    this.groundIsEmpty = false;
    this.redraw();
  }

  undo() {
    if (!this.done.length) return;
    this.undone.push(this.done.pop());
    this.redraw();
  }

  redo() {
    if (!this.undone.length) return;
    this.done.push(this.undone.pop());
    this.redraw();
  }

  redraw() {
    ACTS.image(this.context, { image: this.ground });
    for (const act of this.done) ACTS[act.kind](this.context, act);
    this.version += 1;
  }

  /** Return whether anything can be seen. Pixels are looked at only where something was erased. */
  get isPainted() {
    const cleared = this.done.findLastIndex((act) => act.kind === "clear");
    const acts = this.done.slice(cleared + 1);
    const hasGround = cleared < 0 && !this.groundIsEmpty;
    if (!hasGround && !acts.some((act) => !act.erase)) return false;
    const isCertain = acts.length > 0 && acts.every((act) => act.kind === "stroke" && !act.erase);
    return isCertain || this.hasOpaquePixel();
  }

  hasOpaquePixel() {
    const pixels = this.context.getImageData(0, 0, this.canvas.width, this.canvas.height).data;
    for (let place = 3; place < pixels.length; place += 4) if (pixels[place] > 127) return true;
    return false;
  }
}
