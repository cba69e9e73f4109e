/** Files that arrive in pieces: levels, progress, cuts, servers that don't answer. */

import assert from "node:assert/strict";
import { createServer } from "node:http";
import { test } from "node:test";
import { ArgumentError, HeaderError, NotAContainerError, open, ReadFailedError, TruncatedError } from "../index.js";
import { bytesOf, sha256, told } from "./vectors.js";

const NAME = "refined_context"; // three levels, each with sections of its own

/** A stream that is given its bytes piece by piece. */
function handed() {
  let controller;
  const stream = new ReadableStream({ start: (given) => (controller = given) });
  return { stream, give: (bytes) => controller.enqueue(bytes), end: () => controller.close(), fail: (e) => controller.error(e) };
}

const settled = () => new Promise((resolve) => setTimeout(resolve, 2));

test("a level is read as soon as its bytes are there", async () => {
  const data = bytesOf(NAME);
  const expected = told(NAME).tensors;
  const { stream, give, end } = handed();
  const heard = [];
  const opening = open(stream, { progressive: true, onProgress: (progress) => heard.push(progress) });
  give(data.slice(0, 20));
  await settled();
  let at = 32 + new DataView(data.buffer).getUint32(8, true); // the end of the header
  give(data.slice(20, at));
  const file = await opening;
  assert.equal(file.level, -1);
  assert.throws(() => file.tensor("a"), TruncatedError);
  for (let level = 0; level < file.levels; level++) {
    const stop = file.bytesUpTo(level);
    const waiting = file.ready(level);
    give(data.slice(at, stop));
    at = stop;
    assert.equal(await waiting, file);
    assert.equal(file.level, level);
    for (const { name, sha256: digests } of expected) {
      assert.equal(sha256(file.tensor(name).data), digests[Math.min(level, digests.length - 1)]);
    }
    if (level + 1 < file.levels) assert.throws(() => file.tensor("a", { level: level + 1 }), /have arrived/);
  }
  end();
  await file.ready();
  assert.equal(file.check(), file);
  assert.deepEqual(heard.at(-1), { received: data.length, size: data.length, level: 2 });
  assert.deepEqual(heard.map(({ received }) => received), heard.map(({ received }) => received).sort((a, b) => a - b));
});

test("a stream that is cut off gives its complete levels when they are asked for", async () => {
  const data = bytesOf(NAME);
  const cut = new Blob([data.slice(0, data.length - 1)]);
  await assert.rejects(open(cut), TruncatedError);
  const file = await open(cut, { progressive: true });
  await file.ready(1);
  await assert.rejects(file.ready(2), TruncatedError);
  assert.equal(file.level, 1);
  assert.equal(sha256(file.tensor("a").data), told(NAME).tensors[0].sha256[1]);
  const none = await open(data.slice(0, 400), { progressive: true }).catch((error) => error);
  assert.ok(none instanceof TruncatedError);
});

test("a stream that fails, is too long or is stopped ends with that error", async () => {
  const data = bytesOf(NAME);
  const failing = handed();
  failing.give(data.slice(0, 100));
  const opening = open(failing.stream, { name: "x.qac" });
  failing.fail(new Error("no route"));
  await assert.rejects(opening, (error) => error instanceof ReadFailedError && /^x.qac: .*no route/.test(error.message));
  await assert.rejects(open(new Blob([data, "more"])), HeaderError);
  const stopped = new AbortController();
  const endless = handed();
  endless.give(data.slice(0, 100));
  const waiting = open(endless.stream, { signal: stopped.signal });
  stopped.abort();
  endless.give(data.slice(100, 101));
  await assert.rejects(waiting, { name: "AbortError" });
});

test("a URL is fetched, and a bad answer is one clear line", async (t) => {
  const data = bytesOf(NAME);
  const server = createServer((request, response) => {
    response.statusCode = request.url === "/model.qac" ? 200 : 404;
    response.end(request.url === "/model.qac" ? data : "no such page");
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(() => server.close());
  const base = `http://127.0.0.1:${server.address().port}`;
  const file = await open(`${base}/model.qac`);
  assert.equal(file.names.length, told(NAME).tensors.length);
  await assert.rejects(open(new URL(`${base}/other`)), /404; is the address right/);
  const page = await fetch(`${base}/other`).then((answer) => answer.text());
  await assert.rejects(open(new Blob([page])), NotAContainerError);
  await assert.rejects(open("http://127.0.0.1:1/model.qac"), ReadFailedError);
});

test("other things aren't sources, other levels aren't levels", async () => {
  await assert.rejects(open(7), ArgumentError);
  await assert.rejects(open(bytesOf(NAME), { engine: "abacus" }), ArgumentError);
  const file = await open(bytesOf(NAME));
  for (const level of [-1, 3, 0.5, "0"]) assert.throws(() => file.tensor("a", { level }), ArgumentError);
});
