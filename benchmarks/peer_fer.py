"""Label frames with the package fer, in its own environment; benchmarks/peers.py runs it.

python peer_fer.py FRAMES COUNT HEIGHT WIDTH   (FRAMES: raw RGB of 8 bits)

Prints JSON: frames, frames with a face, seconds and CPU seconds. Neither loading nor the first
frame, which compiles the network, counts.
"""

import json
import sys
import time

import numpy as np
from fer.fer import FER


def main() -> None:
    """Label the frames and print what it took."""
    path, (count, height, width) = sys.argv[1], map(int, sys.argv[2:5])
    frames = np.memmap(path, np.uint8, "r", shape=(count, height, width, 3))
    detector = FER(mtcnn=False)  # the Haar cascade of OpenCV
    faces = 0
    for k in range(count):
        if k == 1:
            start, cpu = time.perf_counter(), time.process_time()
        found = detector.detect_emotions(np.ascontiguousarray(frames[k, ..., ::-1]))  # BGR
        if k:
            faces += bool(found)
    seconds, used = time.perf_counter() - start, time.process_time() - cpu
    print(json.dumps({"frames": count - 1, "faces": faces, "seconds": seconds, "cpu": used}))


if __name__ == "__main__":
    main()
