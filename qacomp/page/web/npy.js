/** Read NumPy's .npy files: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html */

const TYPES = {
  "|b1": Uint8Array, "|u1": Uint8Array, "|i1": Int8Array, "<u2": Uint16Array, "<i2": Int16Array, "<u4": Uint32Array,
  "<i4": Int32Array, "<f4": Float32Array, "<f8": Float64Array, "<i8": BigInt64Array, "<u8": BigUint64Array,
};
const MAGIC = "\x93NUMPY";

/** Return {dims, data} of the bytes of a file. Raises an Error whose message is one line. */
export function readNpy(buffer) {
  const view = new DataView(buffer);
  const text = (start, length) => String.fromCharCode(...new Uint8Array(buffer, start, length));
  if (buffer.byteLength < 12 || text(0, 6) !== MAGIC) throw new Error("isn't a .npy file");
  const wide = view.getUint8(6) > 1;
  const start = wide ? 12 : 10;
  const length = wide ? view.getUint32(8, true) : view.getUint16(8, true);
  if (length > 1 << 16 || start + length > buffer.byteLength) throw new Error("has a damaged header");
  const header = text(start, length);
  const type = /'descr':\s*'([^']*)'/.exec(header)?.[1];
  const shape = /'shape':\s*\(([\d,\s]*)\)/.exec(header)?.[1];
  if (type === undefined || shape === undefined) throw new Error("has a damaged header");
  if (!TYPES[type]) throw new Error(`has elements of the type ${type.slice(0, 12)}, which this page doesn't read`);
  if (/'fortran_order':\s*True/.test(header)) throw new Error("is in Fortran order; save numpy.ascontiguousarray(array)");
  const dims = shape.split(",").filter((side) => side.trim()).map(Number);
  const count = dims.reduce((a, b) => a * b, 1);
  const kind = TYPES[type];
  if (count * kind.BYTES_PER_ELEMENT !== buffer.byteLength - start - length) throw new Error("is cut off, or too long");
  return { dims, data: new kind(buffer.slice(start + length)) };
}
