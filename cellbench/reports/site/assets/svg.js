"use strict";
// Scatter chart of the interactive pages, styled by classes of the style sheet.
const SVG = "http://www.w3.org/2000/svg";
const BOX = {left: 52, right: 408, top: 12, bottom: 256};
function svgPart(name, attributes, text) {
  const part = document.createElementNS(SVG, name);
  for (const key in attributes) part.setAttribute(key, attributes[key]);
  if (text !== undefined) part.textContent = text;
  return part;
}
function niceTicks(low, high, most = 6) {
  if (!(high > low)) { low -= 0.5; high += 0.5; }
  let step = 10 ** Math.floor(Math.log10((high - low) / most));
  for (const factor of [2, 2.5, 2]) if ((high - low) / step > most) step *= factor;
  const found = [];
  for (let i = Math.floor(low / step); i <= Math.ceil(high / step); i++) found.push(+(i * step).toFixed(9));
  return found;
}
// points: {x, y, label, href}; xTicks: [[value, text]]; front: indices joined by a line.
function drawChart(svg, points, xTicks, yTicks, xLabel, yLabel, front, diagonal) {
  svg.replaceChildren();
  const x0 = xTicks[0][0], x1 = xTicks[xTicks.length - 1][0];
  const y0 = yTicks[0][0], y1 = yTicks[yTicks.length - 1][0];
  const atX = (v) => BOX.left + (v - x0) / (x1 - x0) * (BOX.right - BOX.left);
  const atY = (v) => BOX.bottom - (v - y0) / (y1 - y0) * (BOX.bottom - BOX.top);
  for (const [v, text] of xTicks) {
    svg.append(svgPart("line", {class: "grid", x1: atX(v), x2: atX(v), y1: BOX.top, y2: BOX.bottom}));
    svg.append(svgPart("text", {x: atX(v), y: BOX.bottom + 15, "text-anchor": "middle"}, text));
  }
  for (const [v, text] of yTicks) {
    svg.append(svgPart("line", {class: "grid", x1: BOX.left, x2: BOX.right, y1: atY(v), y2: atY(v)}));
    svg.append(svgPart("text", {x: BOX.left - 5, y: atY(v) + 4, "text-anchor": "end"}, text));
  }
  svg.append(svgPart("text", {class: "label", x: 230, y: 292, "text-anchor": "middle"}, xLabel));
  svg.append(svgPart("text", {class: "label", x: 12, y: 134, "text-anchor": "middle", transform: "rotate(-90 12 134)"}, yLabel));
  if (diagonal) svg.append(svgPart("line", {class: "rule", x1: BOX.left, y1: BOX.bottom, x2: BOX.right, y2: BOX.top}));
  if (front.length > 1) {
    const path = front.map((i) => atX(points[i].x) + "," + atY(points[i].y)).join(" ");
    svg.append(svgPart("polyline", {class: "front", points: path}));
  }
  for (const point of points) {
    const link = svgPart("a", {href: point.href, tabindex: -1, "aria-label": point.label});
    const dot = svgPart("circle", {class: "dot", cx: atX(point.x), cy: atY(point.y), r: 3.5});
    dot.append(svgPart("title", {}, point.label));
    link.append(dot);
    svg.append(link);
  }
}
function readHash() { return new URLSearchParams(location.hash.slice(1)); }
function writeHash(values) {
  const kept = new URLSearchParams();
  for (const key in values) if (values[key]) kept.set(key, values[key]);
  history.replaceState(null, "", "#" + kept.toString());
}
