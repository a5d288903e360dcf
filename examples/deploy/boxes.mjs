// Dresses in a photo, in Node: the boxes of boxes.py, and of `fullconv detect`.
//
//     npm install && node boxes.mjs dress-bytes.onnx photo.png

import { readFileSync } from "node:fs";
import { InferenceSession, Tensor } from "onnxruntime-node";
import { PNG } from "pngjs";

// As `fullconv convert` has printed them: Node's ONNX Runtime does not show what else a file says.
const [WIDTH, HEIGHT] = [64, 128];
const [ACROSS, DOWN] = [8, 16];
const [DRESS, THRESHOLD, IOU] = [1, 0.5, 0.3];

function overlap(a, b) {
  const [w, h] = [0, 1].map((i) => Math.max(0, Math.min(a[i + 2], b[i + 2]) - Math.max(a[i], b[i])));
  return (w * h) / (2 * WIDTH * HEIGHT - w * h);
}

const [model, photo] = process.argv.slice(2);
const png = PNG.sync.read(readFileSync(photo)); // always RGBA
const rgb = new Uint8Array(png.width * png.height * 3);
for (let i = 0; i < png.width * png.height; i++) {
  rgb.set(png.data.subarray(4 * i, 4 * i + 3), 3 * i);
}

const session = await InferenceSession.create(model);
const images = new Tensor("uint8", rgb, [1, png.height, png.width, 3]);
const scores = (await session.run({ [session.inputNames[0]]: images }))[session.outputNames[0]];

const [, rows, columns, classes] = scores.dims;
const at = (y, x) =>
  y < 0 || x < 0 || y >= rows || x >= columns ? -1 : scores.data[(y * columns + x) * classes + DRESS];
const around = [-1, 0, 1].flatMap((y) => [-1, 0, 1].map((x) => [y, x]));

const best = [];
for (let y = 0; y < rows; y++) {
  for (let x = 0; x < columns; x++) {
    const score = at(y, x);
    if (score >= THRESHOLD && around.every(([dy, dx]) => at(y + dy, x + dx) <= score)) {
      const [left, top] = [x * ACROSS, y * DOWN];
      best.push({ box: [left, top, left + WIDTH, top + HEIGHT], score });
    }
  }
}

const kept = [];
for (const one of best.sort((a, b) => b.score - a.score)) {
  if (kept.every((other) => overlap(one.box, other.box) <= IOU)) {
    kept.push(one);
    console.log(JSON.stringify({ box: one.box, score: Math.round(one.score * 1e4) / 1e4 }));
  }
}
