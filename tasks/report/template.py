"""The page around the report's data: style and script inlined, so that it opens without a network."""

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{{TITLE}}</title>
<style>
:root { --paper: #ffffff; --ink: #1d2126; --soft: #68707a; --line: #e3e6ea; --panel: #f7f8fa; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #101317; --ink: #e6e8eb; --soft: #98a1ab; --line: #2a3038; --panel: #171b20; }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
header, main { max-width: 1240px; margin: 0 auto; padding: 20px 24px; }
header { padding-bottom: 0; }
h1 { font-size: 22px; margin: 0; font-weight: 650; overflow-wrap: anywhere; }
header p { color: var(--soft); margin: 2px 0 0; }
#stage { display: grid; grid-template-columns: minmax(0, 1fr) 210px; gap: 18px; }
#frame { position: relative; height: min(72vh, 760px); border: 1px solid var(--line); border-radius: 10px;
  overflow: hidden; }
canvas { width: 100%; height: 100%; display: block; cursor: grab; touch-action: none; }
#tip { position: absolute; pointer-events: none; max-width: 340px; padding: 6px 10px; border-radius: 7px;
  font-size: 13px; background: var(--ink); color: var(--paper); display: none; }
#legend { list-style: none; margin: 0; padding: 0; overflow: auto; max-height: min(72vh, 760px); font-size: 13px; }
#legend li { display: flex; gap: 8px; align-items: center; padding: 2px 6px; border-radius: 6px; cursor: pointer; }
#legend li:hover, #legend li.on { background: var(--panel); }
#legend i { width: 11px; height: 11px; border-radius: 3px; flex: none; }
#legend span { flex: 1; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
#legend b, .soft { color: var(--soft); font-weight: 400; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(380px, 1fr)); gap: 18px; margin-top: 22px; }
.card { border: 1px solid var(--line); border-radius: 10px; padding: 16px 18px; overflow: auto; }
.card:has(h2:only-child) { display: none; }
h2 { font-size: 15px; margin: 0 0 8px; }
table { border-collapse: collapse; width: 100%; font-size: 13.5px; }
th, td { text-align: left; padding: 4px 10px 4px 0; border-bottom: 1px solid var(--line); font-weight: 400;
  overflow-wrap: anywhere; }
td { font-variant-numeric: tabular-nums; }
th { color: var(--soft); }
details { margin-bottom: 6px; }
summary { cursor: pointer; }
img { max-width: 100%; }
noscript img { position: absolute; inset: 0; margin: auto; max-height: 100%; }
@media (max-width: 760px) { #stage { grid-template-columns: 1fr; } #legend { max-height: 160px; } }
</style>
</head>
<body>
<header><h1>{{TITLE}}</h1><p>{{NOTE}} · drag to pan, wheel to zoom, double-click to start over</p></header>
<main>
<div id="stage"><div id="frame"><noscript>{{MAP}}</noscript><canvas id="map"></canvas><div id="tip"></div></div>
<ul id="legend"></ul></div>
<div class="cards">
<section class="card"><h2>Quality of the map, on sampled rows</h2>{{QUALITY}}</section>
<section class="card"><h2>Training</h2>{{LOSS}}</section>
<section class="card"><h2>How it was made</h2>{{TABLES}}</section>
</div>
</main>
<script id="data" type="application/json">{{DATA}}</script>
<script>
"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const bytes = text => Uint8Array.from(atob(text), c => c.charCodeAt(0)).buffer;
const x = new Float32Array(bytes(data.x)), y = new Float32Array(bytes(data.y));
const id = new Uint32Array(bytes(data.id)), code = new Uint16Array(bytes(data.code));
const [canvas, tip, legend] = ["map", "tip", "legend"].map(name => document.getElementById(name));
const pen = canvas.getContext("2d");
let scale = 1, first = 1, left = 0, top_ = 0, chosen = -1, queued = false;

function startOver() {
  const [x0, x1, y0, y1] = data.window, width = canvas.clientWidth, height = canvas.clientHeight;
  scale = first = Math.min(width / (x1 - x0), height / (y1 - y0));
  left = width / 2 - scale * (x0 + x1) / 2;
  top_ = height / 2 + scale * (y0 + y1) / 2;
  later();
}
function later() { if (!queued) { queued = true; requestAnimationFrame(draw); } }
function draw() {
  queued = false;
  const ratio = window.devicePixelRatio || 1, width = canvas.clientWidth, height = canvas.clientHeight;
  canvas.width = width * ratio; canvas.height = height * ratio;
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  const zoom = Math.min(2.5, Math.max(1, Math.sqrt(scale / first)));
  const base = zoom * Math.max(0.7, Math.min(3.2, 140 / Math.sqrt(x.length)));
  // The largest class first, so that it hides no other; a chosen one last.
  const order = data.names.map((_, kind) => kind).sort((a, b) => (a === chosen) - (b === chosen) || a - b);
  for (const kind of order) {
    const dim = chosen >= 0 && kind !== chosen;
    pen.fillStyle = data.colors[kind]; pen.globalAlpha = dim ? 0.06 : 0.75;
    pen.beginPath();
    for (const i of members[kind]) {
      const px = left + scale * x[i], py = top_ - scale * y[i];
      if (px < -5 || py < -5 || px > width + 5 || py > height + 5) continue;
      if (base < 1.6) pen.rect(px - base, py - base, 2 * base, 2 * base);
      else { pen.moveTo(px + base, py); pen.arc(px, py, base, 0, 6.2832); }
    }
    pen.fill();
  }
  pen.globalAlpha = 1;
  writeNames();
}
function writeNames() {
  const style = getComputedStyle(document.documentElement);
  pen.font = "600 13px system-ui, sans-serif"; pen.textAlign = "center"; pen.lineJoin = "round"; pen.lineWidth = 3.5;
  pen.strokeStyle = style.getPropertyValue("--paper"); pen.fillStyle = style.getPropertyValue("--ink");
  // The largest class first; a name that would lie over another waits until somebody zooms in.
  const taken = [];
  for (const [name, at, up] of data.places) {
    const x0 = left + scale * at, py = top_ - scale * up - 6, half = pen.measureText(name).width / 2 + 3;
    if (x0 < 0 || x0 > canvas.clientWidth) continue;
    const px = Math.max(half, Math.min(x0, canvas.clientWidth - half));
    if (taken.some(([x1, y1, wide]) => Math.abs(x1 - px) < wide + half && Math.abs(y1 - py) < 16)) continue;
    taken.push([px, py, half]);
    pen.strokeText(name, px, py); pen.fillText(name, px, py);
  }
}
function nearest(px, py) {
  let best = -1, distance = 100;
  for (let i = 0; i < x.length; i++) {
    const dx = left + scale * x[i] - px, dy = top_ - scale * y[i] - py, d = dx * dx + dy * dy;
    if (d < distance && (chosen < 0 || code[i] === chosen)) { distance = d; best = i; }
  }
  return best;
}
function point(event) {
  const i = nearest(event.offsetX, event.offsetY);
  tip.style.display = i < 0 ? "none" : "block";
  if (i < 0) return;
  const lines = ["row " + id[i]];
  if (data.names.length > 1) lines.push(data.names[code[i]]);
  if (data.texts) lines.push(data.texts[i]);
  tip.replaceChildren(...lines.map(line => element("div", line)));
  tip.style.left = Math.max(0, Math.min(event.offsetX + 14, canvas.clientWidth - tip.offsetWidth - 4)) + "px";
  tip.style.top = Math.max(0, Math.min(event.offsetY + 14, canvas.clientHeight - tip.offsetHeight - 4)) + "px";
}
function element(name, text) {
  const made = document.createElement(name);
  made.textContent = text;
  return made;
}
const members = data.names.map(() => []);
for (let i = 0; i < code.length; i++) members[code[i]].push(i);
data.names.forEach((name, kind) => {
  if (data.names.length < 2) return;
  const item = element("li", ""), swatch = element("i", ""), text = element("span", name);
  swatch.style.background = data.colors[kind]; text.title = name;
  item.append(swatch, text, element("b", data.counts[kind].toLocaleString("en")));
  item.onclick = () => {
    chosen = chosen === kind ? -1 : kind;
    [...legend.children].forEach((other, index) => other.classList.toggle("on", index === chosen));
    later();
  };
  legend.append(item);
});
canvas.addEventListener("wheel", event => {
  event.preventDefault();
  const factor = Math.exp(-event.deltaY * 0.0015);
  left = event.offsetX + (left - event.offsetX) * factor;
  top_ = event.offsetY + (top_ - event.offsetY) * factor;
  scale *= factor; later();
}, { passive: false });
let drag = null;
canvas.addEventListener("pointerdown", event => {
  drag = [event.clientX - left, event.clientY - top_]; canvas.setPointerCapture(event.pointerId);
});
canvas.addEventListener("pointerup", () => { drag = null; });
canvas.addEventListener("pointerleave", () => { tip.style.display = "none"; });
canvas.addEventListener("pointermove", event => {
  if (drag) { left = event.clientX - drag[0]; top_ = event.clientY - drag[1]; later(); } else point(event);
});
canvas.addEventListener("dblclick", startOver);
window.addEventListener("resize", startOver);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", later);
startOver();
document.body.dataset.ready = String(x.length);
</script>
</body>
</html>
"""
