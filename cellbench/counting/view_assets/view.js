"use strict";
const get = (id) => document.getElementById(id);
let overview = null; // what the server has on disk
let picture = null;
let index = 0; // of the picture that is shown
let wanted = 0; // of the picture that was asked for last
let turns = 0;
let busy = Promise.resolve();
const view = new PictureView(get("canvas"), (level, column, row) => `tile/${index}/${level}/${column}/${row}`);
view.failed = async (level, column, row) => {
  const answer = await fetch(`tile/${index}/${level}/${column}/${row}`).catch(() => null);
  const document = answer && !answer.ok ? await answer.json().catch(() => ({})) : {};
  if (document.error) get("message").textContent = document.error;
};
const number = (v, digits = 1) => (v === null || v === undefined ? "–" : v.toFixed(digits));
const signed = (v) => (v === null ? "–" : (v > 0 ? "+" : v < 0 ? "−" : "") + Math.abs(v).toFixed(1));
async function ask(path, body) {
  const options = body === undefined ? {} : {method: "POST", headers: {"Content-Type": "application/json"}, body: JSON.stringify(body)};
  let answer;
  try { answer = await fetch(path, options); } catch { throw new Error("The viewer has ended; what is shown is kept. Start cellbench view again."); }
  const document = await answer.json().catch(() => ({error: "The viewer gave no answer."}));
  if (!answer.ok) throw new Error(document.error || "The viewer refused that.");
  return document;
}
// Actions run one after another; a change is shown only after the server has written it.
function act(path, body) {
  busy = busy.then(async () => {
    try {
      const answer = await ask(path, body);
      overview = answer.overview;
      get("message").textContent = overview.unwritten;
      if (answer.picture.index === index) picture = answer.picture;
      draw();
    } catch (error) { get("message").textContent = error.message; }
  });
  return busy;
}
function pairs(list, values) {
  list.replaceChildren(...values.flatMap(([name, value]) => {
    const [dt, dd] = [document.createElement("dt"), document.createElement("dd")];
    dt.textContent = name;
    dd.textContent = value;
    return [dt, dd];
  }));
}
function rows(table, lines) {
  table.tBodies[0].replaceChildren(...lines.map((cells) => {
    const row = document.createElement("tr");
    row.append(...cells.map((cell) => {
      const td = document.createElement("td");
      td.append(cell);
      return td;
    }));
    return row;
  }));
}
function threshold() { return picture.scored ? Number(get("threshold").value) : -Infinity; }
function below() {
  const t = threshold();
  return picture.points.filter((_, i) => picture.kept[i] && picture.scores[i] < t);
}
function drawPlaces() {
  const t = threshold();
  const groups = {kept: [], below: [], removed: []};
  picture.points.forEach((p, i) => groups[!picture.kept[i] ? "removed" : picture.scores[i] < t ? "below" : "kept"].push(p));
  view.layers = ["removed", "below", "kept"].map((mark) => ({mark, points: groups[mark]}));
  view.layers.push({mark: "added", points: picture.added});
  view.polygons = picture.regions.map((r) => r.corners);
  view.redraw();
  const would = groups.kept.length + picture.added.length;
  get("kept").textContent = `${would} would count`;
}
function draw() {
  const c = picture.counts;
  const density = overview.dense;
  pairs(get("counts"), [
    ["Method", number(c.method)],
    ["Corrected", number(c.corrected)],
    ["Method − corrected", signed(c.method - c.corrected)],
    ...(density ? [["Method per mm²", number(c.method_per_mm2)], ["Corrected per mm²", number(c.corrected_per_mm2)]] : []),
    ["Looked through", c.checked ? "yes" : "no"],
  ]);
  pairs(get("totals"), [
    ["Method", number(overview.total_method)],
    ["Corrected", number(overview.total_corrected)],
    ["Pictures looked through", `${overview.seen} of ${overview.pictures.length}`],
    ["Mean |method − person|", number(overview.mae, 2)],
    ["Mean method − person", signed(overview.bias)],
  ]);
  get("table").textContent = overview.table && `The corrected counts of all pictures are kept in ${overview.table}.`;
  rows(get("regions"), picture.regions.map((r) => {
    const remove = document.createElement("button");
    remove.type = "button";
    remove.textContent = "×";
    remove.setAttribute("aria-label", "Delete " + r.name);
    remove.addEventListener("click", () => saveRegions([], [r]));
    return [r.name, number(r.cells, 0), number(r.method, 0), r.area_px.toFixed(0), number(r.per_mm2), remove];
  }));
  const order = overview.ordered_by ? `, by ${overview.ordered_by}` : "";
  get("where").textContent = `${index + 1} of ${overview.pictures.length}${order}`;
  get("undo").disabled = !picture.undo;
  get("previous").disabled = index === 0;
  get("next").disabled = index === overview.pictures.length - 1;
  get("scores").hidden = !picture.scored;
  [...get("pictures").options].forEach((o, i) => { const p = overview.pictures[i]; o.title = p.name; o.textContent = `${p.name.split(/[\\/]/).pop()} (${number(p.corrected)}${p.checked ? ", checked" : ""})`; });
  drawPlaces();
}
// The current picture stays until the next one is loaded, so that changes go to the one shown.
async function open(number) {
  if (number < 0 || number >= overview.pictures.length) return;
  const turn = ++turns;
  wanted = number;
  await busy;
  let next = null;
  try { next = await ask("picture/" + number); } catch (error) { if (turn === turns) get("message").textContent = error.message; }
  if (turn !== turns) return; // another one was asked for since
  if (next === null) { wanted = index; get("pictures").value = index; return; }
  [index, picture] = [number, next];
  get("message").textContent = overview.unwritten;
  get("pictures").value = index;
  // Not Math.min(...), which accepts only some 100,000 arguments.
  const least = picture.scores.reduce((low, s) => (s >= 0 && s < low ? s : low), Infinity);
  get("threshold").value = picture.scored && least < Infinity ? Math.floor(least * 100) / 100 : 0;
  view.line = [];
  view.show(picture.size);
  draw();
  location.replace("#" + index);
}
// Only changes are sent, since others may draw regions of the same picture.
function saveRegions(added, removed) {
  const plain = (regions) => regions.map((r) => ({name: r.name, corners: r.corners}));
  return act("regions/" + index, {added: plain(added), removed: plain(removed)});
}
function nearest([x, y]) {
  const reach = (view.radius() + 3) / view.scale;
  let best = null, least = reach;
  const t = threshold();
  picture.points.forEach((p, i) => { const d = Math.hypot(p[0] - x, p[1] - y); if (picture.kept[i] && picture.scores[i] >= t && d < least) { best = p; least = d; } });
  for (const p of picture.added) { const d = Math.hypot(p[0] - x, p[1] - y); if (d < least) { best = p; least = d; } }
  return best;
}
function toggle(place) {
  const found = nearest(place);
  if (found) return act("change/" + index, [["removed", found[0], found[1]]]);
  if (place[0] < 0 || place[1] < 0 || place[0] > picture.size[0] || place[1] > picture.size[1]) return busy;
  return act("change/" + index, [["added", +place[0].toFixed(4), +place[1].toFixed(4)]]);
}
function inside([x, y], corners) {
  let found = false;
  corners.forEach(([x1, y1], i) => {
    const [x2, y2] = corners[(i + 1) % corners.length];
    if ((y1 > y) !== (y2 > y) && x < (x2 - x1) * (y - y1) / (y2 - y1) + x1) found = !found;
  });
  return found;
}
function finishLine() {
  const corners = view.line;
  view.line = [];
  view.redraw();
  if (corners.length < 3) return busy;
  if (tool() === "region") {
    const clipped = corners.map(([x, y]) => [Math.min(Math.max(x, 0), picture.size[0]), Math.min(Math.max(y, 0), picture.size[1])]);
    const used = picture.regions.map((r) => r.name);
    let n = 1;
    while (used.includes("region " + n)) n++;
    return saveRegions([{name: "region " + n, corners: clipped}], []);
  }
  const taken = [...picture.points.filter((_, i) => picture.kept[i]), ...picture.added].filter((p) => inside(p, corners));
  return taken.length ? act("change/" + index, taken.map((p) => ["removed", p[0], p[1]])) : busy;
}
const tool = () => document.querySelector("input[name=tool]:checked").value;
let press = null;
const canvas = get("canvas");
canvas.addEventListener("pointerdown", (event) => {
  if (!picture) return;
  canvas.focus({preventScroll: true});
  canvas.setPointerCapture(event.pointerId);
  press = {x: event.offsetX, y: event.offsetY, moved: false, button: event.button};
  if (tool() !== "cell" && event.button === 0) view.line = [view.toPicture(event.offsetX, event.offsetY)];
});
canvas.addEventListener("pointermove", (event) => {
  if (!press) return;
  const [dx, dy] = [event.offsetX - press.x, event.offsetY - press.y];
  if (!press.moved && Math.hypot(dx, dy) < 4) return;
  press.moved = true;
  if (tool() !== "cell" && press.button === 0) { view.line.push(view.toPicture(event.offsetX, event.offsetY)); view.redraw(); return; }
  view.move(dx, dy);
  press.x = event.offsetX;
  press.y = event.offsetY;
});
canvas.addEventListener("pointerup", (event) => {
  const was = press;
  press = null;
  if (!was) return;
  if (tool() !== "cell" && was.button === 0) { finishLine(); return; }
  if (!was.moved && was.button === 0) {
    view.cross = view.toPicture(event.offsetX, event.offsetY);
    toggle(view.cross);
  }
});
canvas.addEventListener("pointercancel", () => { press = null; view.line = []; view.redraw(); });
canvas.addEventListener("wheel", (event) => { event.preventDefault(); view.zoom(2 ** (-event.deltaY / 400), event.offsetX, event.offsetY); }, {passive: false});
canvas.addEventListener("focus", () => view.redraw());
canvas.addEventListener("blur", () => view.redraw());
function step(event, dx, dy) {
  const length = (event.shiftKey ? 40 : 6) / view.scale;
  view.cross = [Math.min(Math.max(view.cross[0] + dx * length, 0), picture.size[0]), Math.min(Math.max(view.cross[1] + dy * length, 0), picture.size[1])];
  view.bringIntoSight(view.cross);
  view.redraw();
}
const KEYS = {
  PageDown: () => open(wanted + 1),
  PageUp: () => open(wanted - 1),
  u: () => get("undo").click(),
  c: () => get("checked").click(),
  0: () => view.fit(),
  "+": () => view.zoom(1.25),
  "=": () => view.zoom(1.25),
  "-": () => view.zoom(0.8),
  Escape: () => { view.line = []; press = null; view.redraw(); },
};
const ON_CANVAS = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]};
document.addEventListener("keydown", (event) => {
  if (!picture) return;
  if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "z") { event.preventDefault(); get("undo").click(); return; }
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (["INPUT", "SELECT"].includes(event.target.tagName) && event.target.type !== "radio") return;
  if (event.target === canvas && event.key in ON_CANVAS) { event.preventDefault(); step(event, ...ON_CANVAS[event.key]); return; }
  if (event.target === canvas && event.key === " ") { event.preventDefault(); toggle(view.cross); return; }
  if (["1", "2", "3"].includes(event.key)) { document.querySelectorAll("input[name=tool]")[Number(event.key) - 1].click(); return; }
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key; // with caps lock too
  if (key in KEYS) { event.preventDefault(); KEYS[key](); }
});
get("previous").addEventListener("click", () => open(wanted - 1));
get("next").addEventListener("click", () => open(wanted + 1));
get("pictures").addEventListener("change", () => open(Number(get("pictures").value)));
get("undo").addEventListener("click", () => act("undo/" + index, null));
get("checked").addEventListener("click", () => act("change/" + index, [["checked", 0, 0]]));
get("fit").addEventListener("click", () => view.fit());
get("threshold").addEventListener("input", drawPlaces);
get("apply").addEventListener("click", () => { const taken = below(); if (taken.length) act("change/" + index, taken.map((p) => ["removed", p[0], p[1]])); });
get("refresh").addEventListener("click", async () => {
  try {
    const found = await ask("agreement");
    rows(get("pairs"), found.pairs.map(([a, b, n, mae, bias, low, high]) => [a, b, String(n), number(mae, 2), signed(bias), low === null ? "–" : `${signed(low)} to ${signed(high)}`]));
  } catch (error) { get("message").textContent = error.message; }
});
(async () => {
  try {
    overview = await ask("overview");
    document.title = "Counts" + (overview.method ? " of " + overview.method : "");
    get("pictures").replaceChildren(...overview.pictures.map((p, i) => new Option(p.name, i)));
    const asked = Number(location.hash.slice(1));
    await open(Number.isInteger(asked) && asked < overview.pictures.length ? asked : 0);
  } catch (error) { get("message").textContent = error.message; }
})();
