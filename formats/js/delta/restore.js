/** Make a section of the new file from its difference. */

import { Input } from "../bytes.js";
import { arithmeticOf } from "../codecs/codebooks.js";
import { readPlanes, wordsOf } from "../codecs/planes.js";
import { LimitExceededError } from "../errors.js";
import { EXPANSION, SECTION_FLOOR } from "../limits.js";
import { isFloat, widthOf } from "../types.js";
import { checkType } from "./base.js";
import { ChangeDecoder, MOST_SETTING } from "./changes.js";
import { partsOf } from "./parts.js";
import { MOST_FORM, NO_BASE, predict, unfolded } from "./predict.js";
import { rebuildIndices, rebuildValues } from "./rebuild.js";

const FOOTPRINT = 64; // bytes of memory for each symbol, at most

/** Return the stored bytes of a section, given its difference. base, made: the Contents of both files, made in part. */
export function restore(payload, section, base, made) {
  const parts = partsOf(section, made.places);
  const input = new Input(payload);
  if (!parts.length) input.fail("a section without tensors has a difference");
  const owners = parts.map((part) => base.baseOf(part));
  const count = parts.reduce((sum, { start, stop }) => sum + stop - start, 0);
  const known = parts.reduce((sum, { start, stop }, i) => sum + (owners[i] < 0 ? 0 : stop - start), 0);
  if (FOOTPRINT * count > Math.max(SECTION_FLOOR, EXPANSION * (payload.length + known))) {
    throw new LimitExceededError(`it would grow to ${count} values; the file is hostile`);
  }
  const choices = input.sized();
  if (parts[0].stream) return restoreIndices({ input, choices, section, parts, owners, base, made });
  return restoreValues({ input, choices, section, parts, owners, base });
}

function restoreIndices({ input, choices, section, parts, owners, base, made }) {
  const setting = input.uint(MOST_SETTING);
  const forms = parts.map(() => input.uint(MOST_FORM));
  const decoder = new ChangeDecoder(input.part(input.rest), setting);
  const symbols = parts.map((part, i) => {
    const { stream } = part;
    if (part.level) stream.parents = made.indices(part.number, part.level - 1).subarray(part.start, part.stop);
    if (forms[i] === NO_BASE) return decoder.nextAlone(stream);
    return decoder.next(stream, predict(input, part, forms[i], { base, made, number: known(input, owners[i]) }));
  });
  const streams = parts.map(({ stream }) => stream);
  return rebuildIndices(choices, section.codec, streams, symbols, made.sections.spender(section));
}

function restoreValues({ input, choices, section, parts, owners, base }) {
  const { stored } = parts[0].tensor; // that of all
  checkType(parts[0].tensor);
  const width = widthOf(stored);
  const forms = parts.map(() => input.uint(MOST_FORM));
  const total = parts.reduce((sum, { start, stop }) => sum + stop - start, 0);
  const bytes = readPlanes(input.part(input.rest), total, width, false, base.sections.options);
  const words = wordsOf(bytes, width);
  const { unfold, ascend, descend } = arithmeticOf(stored, width);
  let at = 0;
  parts.forEach((part, i) => {
    const own = forms[i] === NO_BASE ? null : ownWords(input, part, known(input, owners[i]), base);
    const shift = own ? unfolded(forms[i] - 1) : 0;
    if (shift && (part.level < 0 || part.tensor.blocks)) input.fail("a shift is only for one codebook");
    for (let k = part.start; k < part.stop; k++, at++) {
      if (own) {
        const word = own[Math.min(Math.max(k + shift, 0), own.length - 1)];
        words[at] = unfold(words[at]) + (ascend ? ascend(word) : word);
      }
      if (descend) words[at] = descend(words[at]);
    }
  });
  return rebuildValues(choices, section.codec, bytes, width, isFloat(stored));
}

function ownWords(input, { level }, number, base) {
  const found = wordsOf(base.stored(number, level), widthOf(base.places.tensors[number].stored));
  if (!found.length) input.fail("the base has no values to predict others by");
  return found;
}

function known(input, number) {
  return number < 0 ? input.fail("the base has nothing that predicts a tensor") : number;
}
