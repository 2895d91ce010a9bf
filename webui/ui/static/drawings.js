// The layers over the picture of img2img, and what the server calls what was painted on them.

import { Layer } from "./layer.js";
import { asBlackAndWhite, asTouched, flatten, toPng } from "./pixels.js";
import { upload } from "./server.js";

export class Drawings {
  layers = { mask: new Layer(), colours: new Layer(), uploaded: new Layer() };
  stored = {}; // drawing → {key, reference}: it is uploaded once for each version

  constructor(editor) {
    this.editor = editor;
  }

  /** Return a layer. It has the picture's size from the moment it is needed. */
  layer(name) {
    const each = this.layers[name];
    const [width, height] = this.editor.size;
    if (each.canvas.width !== width || each.canvas.height !== height) each.reset(width, height);
    return each;
  }

  /** Forget everything, because there is another picture or none. */
  empty() {
    for (const each of Object.values(this.layers)) each.reset(1, 1);
  }

  isPainted(name) {
    return this.layers[name].canvas.width > 1 && this.layers[name].isPainted;
  }

  async send(name, key, draw) {
    if (this.stored[name]?.key !== key) {
      const { id } = await upload("api/v2/inputs", await toPng(draw()));
      this.stored[name] = { key, reference: id };
    }
    return this.stored[name].reference;
  }

  /** Return the reference of picture `base` with the colours on it, so opaque (0 to 1). */
  picture(base, share) {
    const { version, canvas } = this.layers.colours;
    return this.send("picture", `${base} ${version} ${share}`, () => flatten(this.editor.picture, canvas, share));
  }

  /** Return the reference of the painted mask, black and white. */
  mask(base) {
    const { version, canvas } = this.layers.mask;
    return this.send("mask", `${base} ${version}`, () => asBlackAndWhite(canvas));
  }

  /** Return the reference of a mask of everything that has a colour on it. */
  touched(base) {
    const { version, canvas } = this.layers.colours;
    return this.send("touched", `${base} ${version}`, () => asTouched(canvas));
  }

  /** Return the reference of the colours alone, from which they come back after a reload. */
  paint(base) {
    const { version, canvas } = this.layers.colours;
    return this.send("paint", `${base} ${version}`, () => canvas);
  }
}
