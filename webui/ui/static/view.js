// How a picture lies on the screen: its scale and place on the stage, zoomed at a point and never lost from sight.

const MOST = 32; // times the size at which the picture fits
const LEAST_SEEN = 40; // pixels of the picture that stay on the stage

const within = (value, least, most) => Math.min(Math.max(value, least), most);

export class View {
  stage = [1, 1]; // its size, CSS pixels
  box = [0, 0, 1, 1]; // what is shown when all is shown, in the picture's pixels: left, top, right, bottom
  scale = 1; // CSS pixels per pixel of the picture
  left = 0; // where the picture's corner is on the stage
  top = 0;
  isWhole = true; // whether everything is shown, as large as it fits

  get fitting() {
    return Math.min(this.stage[0] / (this.box[2] - this.box[0]), this.stage[1] / (this.box[3] - this.box[1]));
  }

  /** Show everything, in the middle. */
  fit() {
    this.isWhole = true;
    this.scale = this.fitting;
    this.left = this.stage[0] / 2 - (this.scale * (this.box[0] + this.box[2])) / 2;
    this.top = this.stage[1] / 2 - (this.scale * (this.box[1] + this.box[3])) / 2;
  }

  /** Zoom so that the point (x, y) of the stage stays where it is. */
  zoom(factor, x, y) {
    const scale = within(this.scale * factor, this.fitting, this.fitting * MOST);
    const real = scale / this.scale;
    this.left = x - (x - this.left) * real;
    this.top = y - (y - this.top) * real;
    this.scale = scale;
    this.isWhole = false;
    if (scale === this.fitting) this.fit();
    else this.pan(0, 0);
  }

  pan(x, y) {
    this.isWhole = false;
    const [left, top, right, bottom] = this.box.map((side) => side * this.scale);
    this.left = within(this.left + x, LEAST_SEEN - right, this.stage[0] - LEAST_SEEN - left);
    this.top = within(this.top + y, LEAST_SEEN - bottom, this.stage[1] - LEAST_SEEN - top);
  }

  /** Return the point of the picture under a point of the stage. */
  toPicture = (x, y) => [(x - this.left) / this.scale, (y - this.top) / this.scale];

  toStage = (x, y) => [x * this.scale + this.left, y * this.scale + this.top];
}
