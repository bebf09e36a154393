"use strict";
// A timeline: rows as arrays, a canvas of the part that is shown, and a cursor that is a frame.
const decode = (text, Kind) => new Kind(Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)).buffer);

class Track {
  constructor(subject) {
    const units = decode(subject.start, Uint32Array);
    const read = (name) => subject[name] && decode(subject[name], Int8Array);
    [this.name, this.label, this.source, this.annotation] =
      [subject.name, read("label"), read("source"), read("annotation")];
    this.start = Float64Array.from(units, (unit) => subject.zero_s + unit / UNITS_PER_S);
    this.end = Float64Array.from(this.start, (_, k) =>
      k in subject.ends ? subject.zero_s + subject.ends[k] : this.start[k + 1]);
    this.p = decode(subject.p, Uint8Array);
    this.last = this.start.length - 1;
    this.number = subject.frame ? decode(subject.frame, Uint32Array) : this.start.map((_, k) => k + 1);
  }

  at(time) { // index of the last frame that has begun
    let low = 0, high = this.last;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.start[middle] <= time) low = middle; else high = middle - 1;
    }
    return low;
  }

  describe(k) {
    const label = this.label[k];
    if (label < 0) return "no label";
    const p = Math.round(100 * this.p[8 * k + label] / LEVELS);
    const said = this.annotation && this.annotation[k] >= 0 ? `, annotated ${CLASSES[this.annotation[k]]}` : "";
    return `${CLASSES[label]} ${p} %, from ${SOURCES[this.source[k]].text}${said}`;
  }
}

const KEYS = {
  ArrowLeft: "frame-", ArrowDown: "frame-", ArrowRight: "frame+", ArrowUp: "frame+", PageDown: "page-",
  PageUp: "page+", Home: "first", End: "last", " ": "play", "+": "zoom+", "=": "zoom+", "-": "zoom-",
};

class Timeline {
  constructor(section) {
    this.section = section;
    this.tracks = readData(section).subjects.map((subject) => new Track(subject));
    [this.main] = this.tracks;
    this.from = this.first = Math.min(...this.tracks.map(({ start }) => start[0]));
    this.to = this.until = Math.max(...this.tracks.map(({ end, last }) => end[last]), this.first + 0.001);
    for (const part of ["time", "cursor", "pan", "readout", "names"]) this[part] = find(`.${part}`, section);
    [this.canvas, this.video] = [find("canvas", section), find("video", section)];
    this.listen();
    if (this.video) this.follow();
    this.move(0);
  }

  listen() {
    const point = (event) => {
      if (!(event.buttons & 1)) return;
      const box = this.time.getBoundingClientRect();
      this.seekTime(this.from + (this.to - this.from) * clamp((event.clientX - box.left) / box.width, 0, 1));
    };
    this.time.addEventListener("pointerdown", (event) => {
      this.time.setPointerCapture(event.pointerId);
      point(event);
    });
    this.time.addEventListener("pointermove", point);
    document.addEventListener("keydown", (event) => {
      const loose = /Left|Right/.test(event.key) && !this.section.hidden && event.target.matches("body, h1");
      const here = event.target === this.time || loose;
      if (!here || !(event.key in KEYS) || event.ctrlKey || event.altKey || event.metaKey) return;
      event.preventDefault();
      this.act(KEYS[event.key].replace("frame", event.shiftKey ? "second" : "frame"));
    });
    this.section.addEventListener("click", ({ target }) => {
      const { do: action, time } = target.closest("button")?.dataset ?? {};
      if (action) this.act(action);
      if (time) this.seekTime(Number(time) + 1 / UNITS_PER_S);
    });
    this.pan.addEventListener("input", () => {
      const span = this.to - this.from;
      const from = this.first + (this.until - this.first - span) * this.pan.value / 1000;
      this.show(from, from + span);
    });
    new ResizeObserver(() => this.draw()).observe(this.time);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
  }

  follow() { // the video
    const button = find("[data-do=play]", this.section);
    this.video.preload = "auto"; // of the videos in a page only those that are looked at
    const catchUp = () => {
      if (!this.video.seeking) this.move(this.main.at(this.video.currentTime + 1 / UNITS_PER_S));
      cancelAnimationFrame(this.next); // there may be one already
      if (!this.video.paused) this.next = requestAnimationFrame(catchUp);
    };
    const fail = () => { this.video.hidden = button.hidden = !(find(".broken", this.section).hidden = false); };
    const name = () => { button.textContent = this.video.paused ? "Play" : "Pause"; };
    // A file whose picture begins late is taken for shorter than it is until its end is read. The
    // second seek goes a little later: Chromium skips one to its own current time.
    const again = () => { if (this.video.duration > this.reach && this.video.paused) this.seek(this.wanted, 0.0005); };
    const look = (_, picture) => { this.shown = picture.mediaTime; this.video.requestVideoFrameCallback(look); };
    this.video.requestVideoFrameCallback?.(look);
    // A busy browser may show another picture. It is looked at when no seek has ended for a while.
    const check = () => { clearTimeout(this.checking); this.checking = setTimeout(() => this.check(), 250); };
    const reactions = [["play", name], ["pause", name], ["playing", catchUp], ["seeked", catchUp],
      ["seeked", again], ["seeked", check], ["durationchange", again], ["error", fail]];
    for (const [event, react] of reactions) this.video.addEventListener(event, react);
    if (this.video.error) fail();
  }

  act(what) {
    const { main, frame } = this, now = main.start[frame];
    ({
      play: () => this.play(), whole: () => this.show(this.first, this.until),
      "frame-": () => this.seek(frame - 1), "frame+": () => this.seek(frame + 1),
      "change-": () => this.change(-1), "change+": () => this.change(1),
      "second-": () => this.seekTime(now - 1), "second+": () => this.seekTime(now + 1),
      "page-": () => this.seekTime(now - 10), "page+": () => this.seekTime(now + 10),
      first: () => this.seek(0), last: () => this.seek(main.last),
      "zoom+": () => this.zoom(0.5), "zoom-": () => this.zoom(2),
    })[what]();
  }

  play() { if (this.video?.paused) this.video.play().catch(() => {}); else this.video?.pause(); }

  change(direction) { // to the first frame of the next run, or of this one, or of the one before
    const { label, last } = this.main;
    let k = clamp(this.frame + direction, 0, last);
    while (k > 0 && k < last && label[k] === label[k - 1]) k += direction;
    this.seek(k);
  }

  seekTime(time) { this.seek(this.main.at(time)); }

  seek(frame, later = 0) { // to the middle of the frame, where no rounding shows its neighbour
    frame = this.wanted = clamp(frame, 0, this.main.last);
    this.move(frame);
    if (!this.video) return;
    this.reach = this.video.duration; // the picture may stop there, whatever currentTime says
    this.video.currentTime = (this.main.start[frame] + this.main.end[frame]) / 2 + later;
  }

  check() { // seeks again, a little later and 8 times at most, if the picture is not that of the chosen frame
    const { video, wanted, shown } = this;
    if (!video.paused || video.seeking || shown === undefined || wanted !== this.frame) return;
    if (this.main.at(shown + 1 / UNITS_PER_S) !== wanted && this.checks++ < 8) this.seek(wanted, 0.0005 * (this.checks % 4));
  }

  move(frame) {
    if (frame !== this.frame) this.checks = 0;
    this.frame = frame;
    const time = this.main.start[frame];
    if (time < this.from || time >= this.to) {
      const span = this.to - this.from;
      this.show(time - span / 10, time + span * 0.9);
    }
    this.place();
    const many = this.tracks.length > 1;
    const texts = this.tracks.map((track) => (many ? `${track.name}: ` : "") + track.describe(track.at(time + 1e-6)));
    const number = `frame ${this.main.number[frame]} of ${this.main.number[this.main.last]}`;
    this.readout.textContent = [`${formatTime(time, 2)}, ${number}`, ...texts].join("\n");
    this.time.setAttribute("aria-valuenow", time.toFixed(3));
    this.time.setAttribute("aria-valuetext", `${formatTime(time, 2)}, ${texts.join(", ")}`);
  }

  place() {
    const share = (this.main.start[this.frame] - this.from) / (this.to - this.from);
    this.cursor.style.left = `${100 * share}%`;
    this.cursor.hidden = share < 0 || share > 1;
  }

  zoom(factor) { // around the cursor, to a second at the least
    const span = (this.to - this.from) * factor, time = this.main.start[this.frame];
    if (factor < 1 && span < Math.min(1, this.until - this.first)) return;
    this.show(time - (time - this.from) * factor, time + (this.to - time) * factor);
  }

  show(from, to) { // that part, moved inside and not longer than the whole
    const span = Math.min(to - from, this.until - this.first);
    this.from = clamp(from, this.first, this.until - span);
    this.to = this.from + span;
    const free = this.until - this.first - span;
    this.pan.hidden = free < 1e-6;
    this.pan.value = 1000 * (this.from - this.first) / Math.max(free, 1e-6);
    this.place();
    this.draw();
  }

  layOut() { // what is drawn, from top to bottom, and how high it is
    const lanes = [];
    let top = 0;
    const add = (height, lane) => { lanes.push({ height, top, ...lane }); top += height + GAP; };
    for (const track of this.tracks) {
      if (this.tracks.length > 1) add(HEAD, { name: track.name });
      add(PLOT, { name: "probability", track });
      add(BAND, { name: "label", track, values: track.label, colours: COLOURS });
      if (track.annotation) add(BAND, { name: "annotation", track, values: track.annotation, colours: COLOURS });
      add(THIN, { name: "source", track, values: track.source, colours: SOURCES.map((each) => each.colour) });
    }
    return [lanes, top];
  }

  draw() {
    const width = this.time.clientWidth, ratio = window.devicePixelRatio || 1, [lanes, bottom] = this.layOut();
    if (!width) return;
    const height = bottom + AXIS, brush = this.canvas.getContext("2d");
    Object.assign(this.canvas, { width: Math.round(width * ratio), height: Math.round(height * ratio) });
    this.canvas.style.height = `${height}px`;
    brush.scale(ratio, ratio);
    const tile = make("canvas", null, { width: 8, height: 8 }), pen = tile.getContext("2d");
    pen.strokeStyle = this.ink("hatch");
    pen.stroke(new Path2D("M-1 1 L1 -1 M0 8 L8 0 M7 9 L9 7"));
    this.hatch = brush.createPattern(tile, "repeat"); // of time without a label
    for (const lane of lanes.filter((each) => each.track)) {
      if (lane.values) this.drawBand(brush, lane, width); else this.drawProbabilities(brush, lane, width);
      brush.strokeStyle = this.ink("pale");
      brush.strokeRect(0.5, lane.top + 0.5, width - 1, lane.height - 1);
    }
    this.drawAxis(brush, bottom, width);
    this.names.replaceChildren(...lanes.map(({ name, track, top, height: high }) =>
      make(track ? "span" : "b", name, { style: `top:${top + high / 2}px` })));
  }

  ink(name) { return getComputedStyle(this.time).getPropertyValue(`--${name}`); }

  x(time, width) { return (time - this.from) / (this.to - this.from) * width; }

  drawBand(brush, { track, values, colours, top, height }, width) {
    const { start, end, last } = track;
    for (let k = track.at(this.from), next; k <= last && start[k] < this.to; k = next) {
      next = k + 1; // after the run of one value whose frames touch
      while (next <= last && values[next] === values[k] && start[next] - end[next - 1] < 1e-3) next += 1;
      const left = Math.max(0, this.x(start[k], width)), right = Math.min(width, this.x(end[next - 1], width));
      brush.fillStyle = (values[k] >= 0 && colours[values[k]]) || this.hatch;
      brush.fillRect(left, top, Math.max(right - left, 0.5), height);
    }
  }

  drawProbabilities(brush, { track, top }, width) { // means over the frames of each pixel
    brush.fillStyle = this.hatch;
    brush.fillRect(0, top, width, PLOT);
    const sums = new Float64Array(CLASSES.length), pixel = (this.to - this.from) / width;
    for (let x = 0, k = track.at(this.from); x < width; x += 1) {
      const begin = this.from + pixel * x;
      while (k < track.last && track.start[k + 1] <= begin) k += 1;
      sums.fill(0);
      for (let j = k; j <= track.last && track.start[j] < begin + pixel; j += 1) {
        if (track.p[8 * j] === UNKNOWN || track.end[j] <= begin) continue;
        sums.forEach((_, c) => { sums[c] += track.p[8 * j + c]; });
      }
      const total = sums.reduce((a, b) => a + b, 0);
      let bottom = top + PLOT;
      for (let c = 0; total && c < sums.length; c += 1) {
        brush.fillStyle = COLOURS[c];
        brush.fillRect(x, bottom -= PLOT * sums[c] / total, 1, PLOT * sums[c] / total);
      }
    }
  }

  drawAxis(brush, top, width) {
    const steps = [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1200, 1800, 3600];
    const step = steps.find((each) => (this.to - this.from) / each <= width / 80) ?? 7200;
    Object.assign(brush, { fillStyle: this.ink("ink"), font: "12px system-ui, sans-serif", textAlign: "center" });
    for (let time = Math.ceil(this.from / step - 1e-9) * step; time <= this.to; time += step) {
      const x = this.x(time, width);
      brush.fillRect(x - 0.5, top - GAP, 1, 4);
      if (x > 14 && x < width - 14) brush.fillText(formatTime(time, step < 1 ? 1 : 0), x, top + 12);
    }
  }
}
