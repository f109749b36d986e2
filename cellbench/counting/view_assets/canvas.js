"use strict";
// Draws the visible tiles of a picture, and its visible cells above them. Each kind of mark is drawn
// once into a small image that is copied to every cell, which is faster than a path for each.
const TILE = 512;
const MOST_TILES = 300;
class PictureView {
  constructor(canvas, address) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    this.address = address; // of a tile: (level, column, row)
    this.tiles = new Map();
    this.size = [1, 1];
    this.scale = 1;
    this.offset = [0, 0];
    this.layers = []; // {points: [[x, y]], mark: "kept" | "added" | "removed" | "below"}
    this.polygons = [];
    this.line = [];
    this.cross = null;
    this.pending = false;
    this.frames = 0;
    this.marks = {};
    this.failed = () => {};
    new ResizeObserver(() => this.resize()).observe(canvas);
  }
  show(size) {
    this.size = size;
    this.tiles.clear();
    this.cross = [size[0] / 2, size[1] / 2];
    this.resize();
    this.fit();
  }
  resize() {
    const ratio = window.devicePixelRatio || 1;
    const [width, height] = [this.canvas.clientWidth, this.canvas.clientHeight];
    if (this.canvas.width !== Math.round(width * ratio) || this.canvas.height !== Math.round(height * ratio)) {
      this.canvas.width = Math.round(width * ratio);
      this.canvas.height = Math.round(height * ratio);
      this.marks = {};
    }
    this.redraw();
  }
  fit() {
    const [w, h] = [this.canvas.clientWidth, this.canvas.clientHeight];
    this.scale = Math.min(w / this.size[0], h / this.size[1]) * 0.98 || 1;
    this.offset = [(w - this.size[0] * this.scale) / 2, (h - this.size[1] * this.scale) / 2];
    this.redraw();
  }
  toPicture(x, y) { return [(x - this.offset[0]) / this.scale, (y - this.offset[1]) / this.scale]; }
  toScreen([x, y]) { return [x * this.scale + this.offset[0], y * this.scale + this.offset[1]]; }
  zoom(factor, x = this.canvas.clientWidth / 2, y = this.canvas.clientHeight / 2) {
    const scale = Math.min(64, Math.max(this.scale * factor, 0.5 / Math.max(...this.size) * 100));
    const real = scale / this.scale;
    this.offset = [x - (x - this.offset[0]) * real, y - (y - this.offset[1]) * real];
    this.scale = scale;
    this.redraw();
  }
  move(dx, dy) { this.offset = [this.offset[0] + dx, this.offset[1] + dy]; this.redraw(); }
  bringIntoSight([x, y]) {
    const [sx, sy] = this.toScreen([x, y]);
    const [w, h] = [this.canvas.clientWidth, this.canvas.clientHeight];
    const dx = sx < 20 ? 20 - sx : sx > w - 20 ? w - 20 - sx : 0;
    const dy = sy < 20 ? 20 - sy : sy > h - 20 ? h - 20 - sy : 0;
    if (dx || dy) this.move(dx, dy);
  }
  radius() { return Math.min(14, Math.max(3, this.scale * Math.max(...this.size) / 160)); }
  redraw() {
    if (this.pending) return;
    this.pending = true;
    requestAnimationFrame(() => { this.pending = false; this.paint(); });
  }
  paint() {
    const ratio = window.devicePixelRatio || 1;
    const ctx = this.context;
    ctx.setTransform(ratio, 0, 0, ratio, 0, 0);
    ctx.clearRect(0, 0, this.canvas.clientWidth, this.canvas.clientHeight);
    const top = Math.max(0, Math.ceil(Math.log2(Math.max(...this.size) / TILE)));
    const level = Math.min(top, Math.max(0, Math.floor(Math.log2(1 / (this.scale * ratio)))));
    ctx.imageSmoothingEnabled = this.scale < 3;
    if (level !== top) this.paintLevel(top);
    this.paintLevel(level);
    this.paintLines(ctx);
    const size = this.radius();
    for (const layer of this.layers) this.paintMarks(layer, size, ratio);
    if (this.cross && document.activeElement === this.canvas) {
      const [x, y] = this.toScreen(this.cross);
      for (const [colour, width] of [["#18181b", 4], ["#fff", 1.5]]) {
        ctx.strokeStyle = colour;
        ctx.lineWidth = width;
        ctx.beginPath();
        ctx.moveTo(x - 12, y); ctx.lineTo(x + 12, y); ctx.moveTo(x, y - 12); ctx.lineTo(x, y + 12);
        ctx.stroke();
      }
    }
    this.frames += 1;
  }
  paintLevel(level) {
    const across = TILE * 2 ** level;
    const [x0, y0] = this.toPicture(0, 0);
    const [x1, y1] = this.toPicture(this.canvas.clientWidth, this.canvas.clientHeight);
    const last = [Math.ceil(this.size[0] / across) - 1, Math.ceil(this.size[1] / across) - 1];
    for (let row = Math.max(0, Math.floor(y0 / across)); row <= Math.min(last[1], Math.floor(y1 / across)); row++) {
      for (let column = Math.max(0, Math.floor(x0 / across)); column <= Math.min(last[0], Math.floor(x1 / across)); column++) {
        const image = this.tile(level, column, row);
        if (!image.complete || !image.naturalWidth) continue;
        const [x, y] = this.toScreen([column * across, row * across]);
        const width = Math.min(across, this.size[0] - column * across) * this.scale;
        const height = Math.min(across, this.size[1] - row * across) * this.scale;
        this.context.drawImage(image, x, y, width, height);
      }
    }
  }
  tile(level, column, row) {
    const key = level + "/" + column + "/" + row;
    let image = this.tiles.get(key);
    if (image) { this.tiles.delete(key); this.tiles.set(key, image); return image; }
    image = new Image();
    image.onload = () => this.redraw();
    image.onerror = () => this.failed(level, column, row);
    image.src = this.address(level, column, row);
    this.tiles.set(key, image);
    if (this.tiles.size > MOST_TILES) this.tiles.delete(this.tiles.keys().next().value);
    return image;
  }
  paintLines(ctx) {
    const shapes = [...this.polygons.map((p) => [p, true]), [this.line, false]];
    for (const [corners, closed] of shapes) {
      if (corners.length < 2) continue;
      ctx.beginPath();
      corners.map((c) => this.toScreen(c)).forEach(([x, y], i) => (i ? ctx.lineTo(x, y) : ctx.moveTo(x, y)));
      if (closed) ctx.closePath();
      for (const [colour, width] of [["#18181b", 4], ["#f0e442", 2]]) { ctx.strokeStyle = colour; ctx.lineWidth = width; ctx.stroke(); }
    }
  }
  paintMarks({points, mark}, size, ratio) {
    const picture = this.mark(mark, size, ratio);
    const half = picture.width / ratio / 2;
    const [w, h] = [this.canvas.clientWidth + half, this.canvas.clientHeight + half];
    for (let i = 0; i < points.length; i++) {
      const x = points[i][0] * this.scale + this.offset[0];
      const y = points[i][1] * this.scale + this.offset[1];
      if (x > -half && y > -half && x < w && y < h) this.context.drawImage(picture, x - half, y - half, 2 * half, 2 * half);
    }
  }
  // Colours are Okabe and Ito's; every kind of cell also has its own shape.
  mark(name, size, ratio) {
    const key = name + size.toFixed(1);
    if (this.marks[key]) return this.marks[key];
    const side = Math.ceil((size * 2 + 6) * ratio);
    const picture = new OffscreenCanvas(side, side);
    const ctx = picture.getContext("2d");
    ctx.scale(ratio, ratio);
    const c = side / ratio / 2;
    const colour = {kept: "#56b4e9", added: "#f0e442", removed: "#eb5400", below: "#b4b4bf"}[name];
    const shape = new Path2D();
    if (name === "added") shape.rect(c - size * 0.85, c - size * 0.85, size * 1.7, size * 1.7);
    else if (name === "removed") { const r = size * 0.7; shape.moveTo(c - r, c - r); shape.lineTo(c + r, c + r); shape.moveTo(c - r, c + r); shape.lineTo(c + r, c - r); }
    else shape.arc(c, c, size, 0, 7);
    if (name === "below") ctx.setLineDash([2, 2]);
    for (const [stroke, width] of [["#18181b", 3.4], [colour, 1.8]]) { ctx.strokeStyle = stroke; ctx.lineWidth = width; ctx.stroke(shape); }
    this.marks[key] = picture;
    return picture;
  }
}
