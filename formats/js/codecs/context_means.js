/** The codec context: means of the magnitudes of a stream, of its filters and of its input channels. */

import { FROM_THIRD, LOG_9, logarithm, magnitude } from "./context_settings.js";

/** Sums of magnitudes, one for each filter or channel, and the logarithm of each mean less that of the stream. */
class Means {
  constructor(count) {
    this.sums = new Float64Array(count);
    this.counts = new Uint32Array(count);
    this.logs = new Int32Array(count);
  }

  add(number, size) {
    this.sums[number] += size;
    this.counts[number] += 1;
  }

  refresh(mean, log) {
    for (let i = 0; i < this.sums.length; i++) {
      this.logs[i] = logarithm(Math.floor((16 * this.sums[i] + 4 * mean) / (this.counts[i] + 4))) - log;
    }
  }
}

/** What is known of a stream: where its filters and channels are, and the means so far. */
export class StreamMeans {
  constructor(stream, setting, centre, way = 0) {
    const { start, count, axis1, deep } = stream;
    this.setting = setting;
    this.centre = centre;
    this.way = way;
    this.inner = deep;
    this.size = axis1 * deep;
    this.firstFilter = Math.floor(start / this.size);
    this.firstChannel = Math.floor(start / deep);
    this.channelCount = Math.min(axis1, Math.floor((count - 1) / deep) + 2);
    const filterCount = Math.floor((start + count - 1) / this.size) - this.firstFilter + 1;
    this.filters = setting.filter ? new Means(filterCount) : null;
    this.channels = setting.channel ? new Means(this.channelCount) : null;
    this.sum = 0;
    this.count = 0;
    this.mean = 0;
    this.log = 0;
  }

  /** Note a magnitude at the place of a lane. */
  add(lane, size) {
    this.sum += size;
    this.count += 1;
    this.filters?.add(lane.filter, size);
    this.channels?.add(lane.channel, size);
  }

  /** Calculate the means; start: the alphabet, or the size of the coarser codebook. */
  refresh(start) {
    this.mean = Math.floor((16 * (this.sum + start)) / (this.count + 1));
    this.log = logarithm(this.mean);
    this.filters?.refresh(this.mean, this.log);
    this.channels?.refresh(this.mean, this.log);
  }

  /** The cell of an expected magnitude; recent: the number under the logarithm that stands for the neighbours. */
  cell(lane, recent) {
    const { setting } = this;
    let z = 2048;
    if (this.filters) z += setting.filter * this.filters.logs[lane.filter];
    if (this.channels) z += setting.channel * this.channels.logs[lane.channel];
    if (setting.recent) z += setting.recent * (logarithm(recent) - this.log - LOG_9);
    return (z < 0 ? 0 : z >= 4096 ? 15 : z >> 8) >> setting.coarse;
  }
}

/** A lane of the codec: the place of its next symbol, and the symbols before it. */
export class Lane {
  constructor() {
    this.stream = 0;
    this.history = [1, 1, 1, 1, 1, 1]; // magnitudes, the last one first
    this.side = 0;
    this.trail = 0; // the state on a trellis
  }

  /** Move to a position in a stream. */
  moveTo(number, means, stream, at) {
    const place = stream.start + at;
    const channel = Math.floor(place / means.inner);
    this.stream = number;
    this.at = at;
    this.trail = 0;
    this.filter = Math.floor(place / means.size) - means.firstFilter;
    this.channel = (channel - means.firstChannel) % means.channelCount;
    this.leftInChannel = means.inner - (place % means.inner);
    this.leftInFilter = means.size - (place % means.size);
  }

  /** Move to the next symbol, perhaps that of the next stream that isn't empty. */
  step(streams, all) {
    this.at += 1;
    if (this.at === streams[this.stream].count) {
      let next = this.stream + 1;
      while (next < streams.length && !streams[next].count) next += 1;
      if (next < streams.length) this.moveTo(next, all[next], streams[next], 0);
      return;
    }
    const means = all[this.stream];
    this.leftInChannel -= 1;
    if (!this.leftInChannel) {
      this.leftInChannel = means.inner;
      this.channel = this.channel + 1 === means.channelCount ? 0 : this.channel + 1;
      if (means.way === FROM_THIRD) this.trail = 0;
    }
    this.leftInFilter -= 1;
    if (!this.leftInFilter) {
      this.leftInFilter = means.size;
      this.filter += 1;
      this.trail = 0;
    }
  }

  /** Sum the last magnitudes, weighted. */
  recent(weights) {
    let sum = 0;
    for (let i = 0; i < weights.length; i++) sum += weights[i] * this.history[i];
    return sum;
  }

  /** Note the symbol that was decoded. */
  note(symbol, size, means, alphabet) {
    const { history } = this;
    for (let i = 5; i > 0; i--) history[i] = history[i - 1];
    history[0] = size;
    this.side = 0;
    if (!means.setting.sides) return;
    const slack = alphabet >> 4;
    if (symbol < means.centre - slack) this.side = 1;
    else if (symbol > means.centre + slack) this.side = 2;
  }
}

/** Return the means of a refinement, which follow from all its parents. */
export function refinementMeans(stream, setting) {
  const { parents, count } = stream;
  const entries = stream.children.length;
  const histogram = new Float64Array(entries);
  for (let i = 0; i < count; i++) histogram[parents[i]] += 1;
  let centre = 0;
  for (let below = histogram[0]; centre + 1 < entries && 2 * below < count; below += histogram[centre]) centre += 1;
  const means = new StreamMeans(stream, setting, centre);
  const lane = new Lane();
  lane.moveTo(0, means, stream, 0);
  for (let i = 0; i < count; i++) {
    means.add(lane, magnitude(parents[i], centre));
    lane.step([stream], [means]);
  }
  means.refresh(entries);
  return means;
}
