// Label frames with face-api.js in Node, with the WebAssembly backend; benchmarks/peers.py runs it.
//
//   node peer_face_api.cjs FRAMES COUNT HEIGHT WIDTH   (FRAMES: raw RGB of 8 bits)
//
// Prints JSON: frames, frames with a face, seconds and CPU seconds of detection by the tiny detector
// and of the expression network. Loading, reading and the first frame do not count.
const fs = require("fs");
const path = require("path");
const { createRequire } = require("module");

const load = createRequire(path.join(process.cwd(), "package.json")); // packages of the folder it runs in
const tf = load("@tensorflow/tfjs");
const wasm = load("@tensorflow/tfjs-backend-wasm");
const faceapi = load("@vladmandic/face-api/dist/face-api.node-wasm.js");

async function label(pixels, height, width) {
  const image = tf.tensor3d(pixels, [height, width, 3], "int32");
  const options = new faceapi.TinyFaceDetectorOptions();
  const face = await faceapi.detectSingleFace(image, options).withFaceExpressions();
  image.dispose();
  return face !== undefined;
}

async function main() {
  const [file, ...sizes] = process.argv.slice(2);
  const [count, height, width] = sizes.map(Number);
  const modules = path.dirname(load.resolve("@tensorflow/tfjs-backend-wasm/package.json"));
  wasm.setWasmPaths(path.join(modules, "dist") + path.sep);
  await tf.setBackend("wasm");
  await tf.ready();
  const models = path.join(path.dirname(load.resolve("@vladmandic/face-api/package.json")), "model");
  await faceapi.nets.tinyFaceDetector.loadFromDisk(models);
  await faceapi.nets.faceExpressionNet.loadFromDisk(models);
  const source = fs.openSync(file, "r");
  const pixels = new Uint8Array(height * width * 3);
  let [faces, seconds, cpu] = [0, 0, 0];
  for (let k = 0; k < count; k++) {
    fs.readSync(source, pixels, 0, pixels.length, k * pixels.length);
    const [start, before] = [process.hrtime.bigint(), process.cpuUsage()];
    const found = await label(pixels, height, width);
    if (k === 0) continue;
    seconds += Number(process.hrtime.bigint() - start) / 1e9;
    const used = process.cpuUsage(before);
    cpu += (used.user + used.system) / 1e6;
    faces += found;
  }
  console.log(JSON.stringify({ frames: count - 1, faces, seconds, cpu }));
}

main();
