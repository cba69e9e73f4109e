/** Runs ONNX models in onnxruntime-web, on one thread, so that the server needs no special headers. */

/** The smallest module with a SIMD instruction: i32x4.splat of nothing, as feature tests write it. */
const SIMD = [0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 10, 1, 8, 0, 65, 0, 253, 15, 253, 98, 11];

/** An ONNX model of one Identity, in base64. */
const SMALLEST = "CAc6NwoQCgF4EgF5IghJZGVudGl0eRIBZ1oPCgF4EgoKCAgBEgQKAggBYg8KAXkSCgoICAESBAoCCAFCBAoAEA0=";

export class Runner {
  #ort;
  #session;

  constructor(ort, session = null) {
    this.#ort = ort;
    this.#session = session;
  }

  /** Load onnxruntime-web, all of it. Raises an Error where the browser can't run it. */
  static async load() {
    if (typeof WebAssembly === "undefined" || !WebAssembly.validate(Uint8Array.from(SIMD))) {
      throw new Error("this browser has no WebAssembly with SIMD, so it can't run models; update it");
    }
    const ort = await import("./ort/ort.wasm.bundle.min.mjs");
    ort.env.wasm.numThreads = 1;
    ort.env.logLevel = "error";
    const smallest = Uint8Array.from(atob(SMALLEST), (c) => c.charCodeAt(0));
    await (await new Runner(ort).withModel(smallest)).release(); // the first session fetches and compiles WebAssembly
    return new Runner(ort);
  }

  /** Return a runner of a model, its ONNX bytes. */
  async withModel(bytes) {
    const options = { executionProviders: ["wasm"], logSeverityLevel: 3 };
    return new Runner(this.#ort, await this.#ort.InferenceSession.create(bytes, options));
  }

  /** Name, type and shape of each input; a dimension that may have any size is null. */
  get inputs() {
    const sides = (shape) => shape.map((side) => (Number.isInteger(side) && side >= 0 ? side : null));
    return this.#session.inputMetadata.map(({ name, type, shape }) => ({ name, dtype: type, shape: sides(shape) }));
  }

  /** Run once. feeds: [{name, dtype, dims, data}]; returns the outputs in that form too, and milliseconds. */
  async run(feeds) {
    const named = {};
    for (const { name, dtype, dims, data } of feeds) named[name] = new this.#ort.Tensor(dtype, data, dims);
    const began = performance.now();
    const found = await this.#session.run(named);
    const ms = performance.now() - began;
    const outputs = this.#session.outputNames.map((name) => {
      const { type, dims, data } = found[name];
      return { name, dtype: type, dims: [...dims], data: data.slice() };
    });
    return { outputs, ms };
  }

  release() {
    return this.#session.release();
  }
}
