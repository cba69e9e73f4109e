/** Pixels to a network's input, as the container's metadata say and `qacomp eval` does it. */

const LUMA = [0.299, 0.587, 0.114]; // ITU-R BT.601
const MOST_SIDE = 4096; // pixels; a larger input would fill the memory of a phone

/** Check the metadata's preprocessing: {size: [height, width], channels, mean, std}; null if it is missing or malformed. */
export function readPreprocessing(metadata) {
  const told = metadata?.preprocessing;
  const numbers = (list, count) => Array.isArray(list) && list.length === count && list.every(Number.isFinite);
  if (!told || ![1, 3].includes(told.channels) || !numbers(told.size, 2)) return null;
  const { size, channels, mean, std } = told;
  if (!size.every((side) => Number.isInteger(side) && side >= 1 && side <= MOST_SIDE)) return null;
  if (!numbers(mean, channels) || !numbers(std, channels) || std.some((value) => value <= 0)) return null;
  return { size, channels, mean, std };
}

/** Turn {width, height, data}, RGBA bytes, into {dims: [1, channels, height, width], data}; no colour lies under white. */
export function preprocess({ width, height, data }, { size, channels, mean, std }) {
  const [rows, columns] = size;
  const out = new Float32Array(channels * rows * columns);
  const down = triangleFilter(height, rows);
  const across = triangleFilter(width, columns);
  for (let channel = 0; channel < channels; channel++) {
    const plane = resize(planeOf(data, width * height, channel, channels === 1), width, across, down);
    for (let i = 0; i < plane.length; i++) out[channel * plane.length + i] = (plane[i] - mean[channel]) / std[channel];
  }
  return { dims: [1, channels, rows, columns], data: out };
}

/** One channel, or the grey value, of each pixel, between 0 and 1, laid over white. */
function planeOf(data, pixels, channel, grey) {
  const plane = new Float32Array(pixels);
  for (let i = 0, at = 0; i < pixels; i++, at += 4) {
    const value = grey ? LUMA[0] * data[at] + LUMA[1] * data[at + 1] + LUMA[2] * data[at + 2] : data[at + channel];
    const alpha = data[at + 3] / 255;
    plane[i] = (value / 255) * alpha + 1 - alpha;
  }
  return plane;
}

function resize(plane, width, across, down) {
  const height = plane.length / width;
  const narrow = new Float32Array(height * across.length);
  for (let y = 0; y < height; y++) {
    across.forEach(({ first, weights }, x) => {
      let sum = 0;
      for (let i = 0; i < weights.length; i++) sum += weights[i] * plane[y * width + first + i];
      narrow[y * across.length + x] = sum;
    });
  }
  const out = new Float32Array(down.length * across.length);
  down.forEach(({ first, weights }, y) => {
    for (let x = 0; x < across.length; x++) {
      let sum = 0;
      for (let i = 0; i < weights.length; i++) sum += weights[i] * narrow[(first + i) * across.length + x];
      out[y * across.length + x] = sum;
    }
  });
  return out;
}

/** For each wanted place the weights of the stored ones: bilinear at half-pixel centres, wider when shrinking. */
function triangleFilter(stored, wanted) {
  const scale = stored / wanted;
  const support = Math.max(scale, 1);
  return Array.from({ length: wanted }, (_, place) => {
    const centre = (place + 0.5) * scale;
    const first = Math.max(0, Math.floor(centre - support - 0.5));
    const last = Math.min(stored - 1, Math.ceil(centre + support - 0.5));
    const weights = [];
    for (let i = first; i <= last; i++) weights.push(Math.max(0, 1 - Math.abs(i + 0.5 - centre) / support));
    const sum = weights.reduce((a, b) => a + b, 0);
    return { first, weights: weights.map((weight) => weight / sum) };
  });
}
