"use strict";
// data: columns [title, left], metrics [title, column, lower is better], sets, protocols, splits,
// rows [index of the row that includes this split or null, split, status, note, texts, seconds,
// parameters, set, protocol, href, method]; a row with an index has only the first six fields.
const data = JSON.parse(document.getElementById("data").textContent);
const rowsOf = data.rows.map(([whole, split, status, note, texts, seconds, parameters, set, protocol, href, method]) => (
  {whole, split, status, note, texts, seconds, parameters, set, protocol, href, method}));
for (const row of rowsOf) {
  if (row.whole === null) continue;
  const {parameters, set, protocol, href, method} = rowsOf[row.whole];
  Object.assign(row, {parameters, set, protocol, href, method});
}
const get = (id) => document.getElementById(id);
const [table, state, notes] = [get("results"), get("state"), get("notes")];
// Rows shown at first: the layout of more takes longer than everything else on the page.
const AT_ONCE = 60;
const METHOD = data.columns.findIndex((c) => c[0] === "Method");
// Rows of people and of papers are shown for every protocol and split of their dataset.
const isReference = (r) => r.status === "people" || r.status === "published";
let showAll = false;
let later = 0;
let sort = null; // [column, descending]
function fill(select, options) {
  select.replaceChildren(...options.map(([value, text]) => new Option(text, value)));
}
fill(get("set"), [["", "all"], ...data.sets.map((s) => [s, s])]);
fill(get("protocol"), data.protocols.map((p) => [p, p]));
fill(get("splits"), [["", "those that all compared rows have"], ...data.splits.map((s) => [s, "split " + s + " alone"])]);
fill(get("metric"), data.metrics.map((m) => [m[0], m[0]]));
const CHOICES = ["set", "protocol", "splits", "metric", "q"];
const BOXES = ["partial", "unranked", "published"];
function restore() {
  const hash = readHash();
  for (const id of CHOICES) {
    const value = hash.get(id);
    if (value !== null && (id === "q" || [...get(id).options].some((o) => o.value === value))) get(id).value = value;
  }
  for (const id of BOXES) get(id).checked = hash.get(id) === "1";
  const column = data.columns.findIndex((c) => c[0] === hash.get("sort"));
  sort = column < 0 ? null : [column, hash.get("order") === "down"];
}
function metric() { return data.metrics.find((m) => m[0] === get("metric").value) || data.metrics[0]; }
function chosen() {
  const words = get("q").value.toLowerCase().split(/\s+/).filter(Boolean);
  const hidden = new Set();
  if (!get("partial").checked) hidden.add("partial");
  if (!get("unranked").checked) hidden.add("unranked");
  if (!get("published").checked) hidden.add("published");
  const [set, protocol, split] = ["set", "protocol", "splits"].map((id) => get(id).value);
  return rowsOf.filter((r) =>
    (set === "" || r.set === set) &&
    (r.protocol === protocol || isReference(r)) &&
    (r.split === split || isReference(r)) &&
    !hidden.has(r.status) &&
    words.every((w) => (r.method + " " + r.set).toLowerCase().includes(w)));
}
function text(r, column) {
  if (column === METHOD) return r.method;
  if (typeof r.texts === "string") r.texts = r.texts.split("\t");
  return r.texts[column];
}
// Returns the number or text by which a row is sorted; null if unknown.
function key(r, column) {
  const [title, left] = data.columns[column];
  if (title === "Parameters") return r.parameters;
  if (title === "Training") return r.seconds;
  const shown = text(r, column);
  if (shown === "–") return null;
  if (left) return shown;
  const number = parseFloat(shown.replace("−", "-"));
  return isNaN(number) ? null : number;
}
function sorted(rows) {
  const [column, down] = sort || [null, false];
  if (column === null) {
    const measure = metric();
    if (measure === data.metrics[0]) return rows;
    return byKey(rows, measure[1], !measure[2], true);
  }
  return byKey(rows, column, down, false);
}
function byKey(rows, column, down, bySet) {
  const sign = down ? -1 : 1;
  return [...rows].sort((a, b) => {
    if (bySet && a.set !== b.set) return a.set < b.set ? -1 : 1;
    const x = key(a, column), y = key(b, column);
    if (x === null || y === null) return (x === null) - (y === null);
    if (typeof x === "string") return sign * String(x).localeCompare(String(y));
    return sign * (x - y);
  });
}
// Whether each column has a value in any row; the others are hidden.
let filled = [];
function head() {
  const row = document.createElement("tr");
  const cells = [["Set", true], ...data.columns];
  cells.forEach(([title, left], index) => {
    if (index > 0 && !filled[index - 1]) return;
    const cell = document.createElement("th");
    cell.scope = "col";
    if (!left) cell.className = "n";
    if (index === 0) { cell.textContent = title; row.append(cell); return; }
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = title;
    button.addEventListener("click", () => {
      const column = index - 1;
      const again = sort && sort[0] === column;
      sort = [column, again ? !sort[1] : false];
      draw();
    });
    if (sort && sort[0] === index - 1) cell.setAttribute("aria-sort", sort[1] ? "descending" : "ascending");
    cell.append(button);
    row.append(cell);
  });
  table.tHead.replaceChildren(row);
}
function line(r) {
  const row = document.createElement("tr");
  row.className = isReference(r) ? "paper" : r.status;
  const set = document.createElement("td");
  set.textContent = r.set;
  row.append(set);
  data.columns.forEach(([title, left], column) => {
    if (!filled[column]) return;
    const cell = document.createElement(column === METHOD ? "th" : "td");
    if (column === METHOD) cell.scope = "row";
    if (!left) cell.className = "n";
    const shown = text(r, column);
    if (r.href && (column === METHOD || title === "MAE") && shown !== "–") {
      const link = document.createElement("a");
      link.href = r.href + (column === METHOD ? "" : "#records");
      link.textContent = shown;
      cell.append(link);
    } else cell.textContent = shown;
    if (column === METHOD) {
      const marks = r.status === "ranked" ? [] : [r.status === "published" ? "from a paper" : r.status === "unranked" ? "not ranked" : r.status];
      if (/contaminated/.test(r.note)) marks.push("contaminated");
      for (const word of marks) {
        const mark = document.createElement("span");
        mark.className = "mark";
        mark.textContent = word;
        cell.append(" ", mark);
      }
    }
    row.append(cell);
  });
  return row;
}
function logTicks(values) {
  const known = values.filter((v) => v > 0);
  const low = Math.floor(Math.log10(Math.min(...known))), high = Math.ceil(Math.log10(Math.max(...known)));
  const found = [];
  for (let p = low; p <= Math.max(high, low + 1); p++) found.push([p, p < 3 ? String(10 ** p) : p < 6 ? 10 ** (p - 3) + " k" : p < 9 ? 10 ** (p - 6) + " M" : 10 ** (p - 9) + " G"]);
  return found;
}
function fronts(rows) {
  const holder = get("fronts");
  holder.replaceChildren();
  const measure = metric();
  for (const set of data.sets) {
    for (const [field, xLabel] of [["seconds", "training, s (log)"], ["parameters", "parameters (log)"]]) {
      const own = rows.filter((r) => r.set === set && r[field] > 0 && key(r, measure[1]) !== null && !isReference(r));
      if (own.length < 2) continue;
      const points = own.map((r) => ({x: Math.log10(r[field]), y: key(r, measure[1]), label: r.method + ": " + text(r, measure[1]), href: r.href}));
      const sign = measure[2] ? 1 : -1;
      const order = points.map((_, i) => i).sort((i, j) => points[i].x - points[j].x || sign * (points[i].y - points[j].y));
      const best = [];
      for (const i of order) if (!best.length || sign * points[i].y < sign * points[best[best.length - 1]].y) best.push(i);
      const ys = points.map((p) => p.y);
      const figure = document.createElement("figure");
      const svg = svgPart("svg", {class: "chart", viewBox: "0 0 420 300", role: "group", "aria-label": set + ": " + measure[0] + " against " + xLabel});
      drawChart(svg, points, logTicks(own.map((r) => r[field])), niceTicks(Math.min(...ys), Math.max(...ys)).map((v) => [v, String(v)]), xLabel, measure[0], best, false);
      const caption = document.createElement("figcaption");
      caption.textContent = set + ": on the front are " + best.map((i) => own[i].method).join(", ");
      figure.append(svg, caption);
      holder.append(figure);
    }
  }
}
function draw() {
  const rows = sorted(chosen());
  const shown = showAll ? rows : rows.slice(0, AT_ONCE);
  filled = data.columns.map((_, c) => c === METHOD || rows.some((r) => text(r, c) !== "–"));
  head();
  table.tBodies[0].replaceChildren(...shown.map(line));
  get("more").hidden = shown.length === rows.length;
  state.textContent = (shown.length < rows.length ? shown.length + " of " : "") + rows.length + (rows.length === 1 ? " row" : " rows");
  const noteTexts = [...new Set(shown.filter((r) => r.note).map((r) => r.method + " on " + r.set + ": " + r.note))];
  notes.replaceChildren(...noteTexts.slice(0, 100).map((text) => { const item = document.createElement("li"); item.textContent = text; return item; }));
  // Charts of thousands of points are drawn after the table, which appears first.
  clearTimeout(later);
  if (rows.length > AT_ONCE) later = setTimeout(fronts, 50, rows);
  else fronts(rows);
  const values = {};
  for (const id of CHOICES) values[id] = get(id).value;
  if (values.protocol === data.protocols[0]) delete values.protocol;
  if (values.metric === data.metrics[0][0]) delete values.metric;
  for (const id of BOXES) values[id] = get(id).checked ? "1" : "";
  if (sort) { values.sort = data.columns[sort[0]][0]; values.order = sort[1] ? "down" : ""; }
  writeHash(values);
}
restore();
draw();
for (const id of [...CHOICES, ...BOXES]) get(id).addEventListener(id === "q" ? "input" : "change", () => { if (id === "metric") sort = null; draw(); });
get("choice").addEventListener("submit", (event) => event.preventDefault());
get("more").addEventListener("click", () => { showAll = true; draw(); });
window.addEventListener("hashchange", () => { restore(); draw(); });
