"use strict";
// data: methods [name], slugs, images [id, page, truth], errors (method by image), pairs
// {"a,b": [difference, low, high, p after Holm, reason]} with a before b.
const data = JSON.parse(document.getElementById("data").textContent);
const get = (id) => document.getElementById(id);
for (const id of ["a", "b"]) get(id).replaceChildren(...data.methods.map((m, i) => new Option(m, i)));
function restore() {
  const hash = readHash();
  for (const [id, usual] of [["a", 0], ["b", 1]]) {
    const index = data.slugs.indexOf(hash.get(id));
    get(id).value = index < 0 ? usual : index;
  }
}
const signed = (v) => (v > 0 ? "+" : v < 0 ? "−" : "") + Math.abs(v).toFixed(2);
function verdict(a, b) {
  if (a === b) return "Choose two methods.";
  const turned = a > b;
  const pair = data.pairs[turned ? b + "," + a : a + "," + b];
  let [difference, low, high, p, reason] = pair;
  if (difference === null) return "They have no image in common.";
  if (turned) [difference, low, high] = [-difference, high === null ? null : -high, low === null ? null : -low];
  const names = [data.methods[a], data.methods[b]];
  let text = `Mean error of ${names[0]} minus that of ${names[1]}: ${signed(difference)} cells`;
  if (low !== null) text += `, 95 % interval ${signed(low)} to ${signed(high)}`;
  text += p === null ? `; not tested: ${reason}.` : `; p = ${p < 0.001 ? p.toExponential(1) : p.toFixed(3)} after Holm's correction.`;
  if (p === null) return text;
  return text + (p <= 0.05 ? ` ${names[difference < 0 ? 0 : 1]} errs less.` : " The images cannot tell them apart.");
}
function draw() {
  const a = Number(get("a").value), b = Number(get("b").value);
  get("verdict").textContent = verdict(a, b);
  const rows = [];
  data.images.forEach((image, i) => {
    const [x, y] = [data.errors[b][i], data.errors[a][i]];
    if (x !== null && y !== null) rows.push({image, x, y, d: y - x});
  });
  rows.sort((p, q) => Math.abs(q.d) - Math.abs(p.d));
  const points = rows.map((r) => ({x: r.x, y: r.y, label: `${r.image[0]}: ${r.y.toFixed(2)} and ${r.x.toFixed(2)}`, href: `images/${r.image[1]}.html#first=${data.slugs[a]}&second=${data.slugs[b]}`}));
  const ticks = niceTicks(0, Math.max(...rows.map((r) => Math.max(r.x, r.y)), 1)).map((v) => [v, String(v)]);
  drawChart(get("chart"), points, ticks, ticks, "error of the second, cells", "error of the first, cells", [], true);
  get("differences").tBodies[0].replaceChildren(...rows.map((r, i) => {
    const row = document.createElement("tr");
    const name = document.createElement("th");
    name.scope = "row";
    const link = document.createElement("a");
    link.href = points[i].href;
    link.textContent = r.image[0];
    name.append(link);
    row.append(name);
    for (const text of [String(r.image[2]), r.y.toFixed(2), r.x.toFixed(2), signed(r.d)]) {
      const cell = document.createElement("td");
      cell.className = "n";
      cell.textContent = text;
      row.append(cell);
    }
    return row;
  }));
  writeHash({a: data.slugs[a], b: data.slugs[b]});
}
restore();
draw();
for (const id of ["a", "b"]) get(id).addEventListener("change", draw);
get("swap").addEventListener("click", () => { [get("a").value, get("b").value] = [get("b").value, get("a").value]; draw(); });
get("pair").addEventListener("submit", (event) => event.preventDefault());
window.addEventListener("hashchange", () => { restore(); draw(); });
