"use strict";
// data: size [w, h], step in px, truth, picture, methods [{name, slug, count, points}]; truth and
// points are base64 of little-endian uint16: x, y, x, y, ... in steps.
const data = JSON.parse(document.getElementById("data").textContent);
const get = (id) => document.getElementById(id);
const view = get("view");
function unpack(text) {
  const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const found = [];
  for (let i = 0; i + 3 < bytes.length; i += 4) {
    found.push([(bytes[i] + 256 * bytes[i + 1]) * data.step, (bytes[i + 2] + 256 * bytes[i + 3]) * data.step]);
  }
  return found;
}
const options = data.methods.map((m, i) => [i, m.name + " (" + m.count + ")"]);
for (const [id, first] of [["first", 0], ["second", -1]]) {
  get(id).replaceChildren(new Option("none", -1), ...options.map(([v, t]) => new Option(t, v)));
  get(id).value = data.methods.length ? first : -1;
}
const hash = readHash();
for (const id of ["first", "second"]) {
  const index = data.methods.findIndex((m) => m.slug === hash.get(id));
  if (index >= 0) get(id).value = index;
}
function rings(points, r) {
  return points.map(([x, y]) => `M${x - r} ${y}a${r} ${r} 0 1 0 ${2 * r} 0a${r} ${r} 0 1 0 ${-2 * r} 0`).join("");
}
function crosses(points, r) {
  return points.map(([x, y]) => `M${x - r} ${y}h${2 * r}M${x} ${y - r}v${2 * r}`).join("");
}
function squares(points, r) {
  return points.map(([x, y]) => `M${x - r} ${y - r}h${2 * r}v${2 * r}h${-2 * r}z`).join("");
}
function draw() {
  view.replaceChildren();
  if (data.picture && get("picture").checked) {
    view.append(svgPart("image", {href: data.picture, width: data.size[0], height: data.size[1], preserveAspectRatio: "none"}));
  }
  const base = Math.max(data.size[0], data.size[1]) / 90 * Number(get("radius").value);
  const drawn = [];
  const layers = [];
  if (data.truth !== null && get("truth").checked) layers.push(["truth", crosses, unpack(data.truth), 0.8, "annotated"]);
  for (const [id, shape, size] of [["first", rings, 1], ["second", squares, 1.1]]) {
    const method = data.methods[get(id).value];
    if (method) layers.push([id, shape, unpack(method.points), size, method.name]);
  }
  for (const [name, shape, points, size, word] of layers) {
    const path = shape(points, base * size);
    view.append(svgPart("path", {class: "under", d: path, "stroke-width": base * 0.55}));
    view.append(svgPart("path", {class: name, d: path, "stroke-width": base * 0.3}));
    drawn.push(`${points.length} places of ${word} (${{truth: "crosses", first: "rings", second: "squares"}[name]})`);
  }
  get("state").textContent = drawn.join("; ") || "Nothing is drawn.";
  const slug = (id) => { const m = data.methods[get(id).value]; return m ? m.slug : ""; };
  writeHash({first: slug("first"), second: slug("second")});
}
draw();
for (const id of ["first", "second", "truth", "picture", "radius"]) if (get(id)) get(id).addEventListener(id === "radius" ? "input" : "change", draw);
get("layers").addEventListener("submit", (event) => event.preventDefault());
