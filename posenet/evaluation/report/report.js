"use strict";
// The cameras of a scene in 3D, on a plain 2D canvas: an orthographic view, so that one scale bar
// is true everywhere, of lines only, so that nothing has to be sorted by depth.
window.addEventListener("error", (event) => {
  document.documentElement.dataset.error = event.message; // for whoever tests the page
});

const page = JSON.parse(document.getElementById("data").textContent);
const element = (id) => document.getElementById(id);
const canvas = element("scene");
if (page.scene && canvas) startScene(page.scene, page.unit);

function startScene(scene, unit) {
  const pen = canvas.getContext("2d");
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  // Viridis. Large errors are drawn in the end of it that stands out from the background.
  const VIRIDIS = [[68, 1, 84], [65, 68, 135], [42, 120, 142], [34, 168, 132], [122, 209, 81], [253, 231, 37]];
  const SHADES = 16, LINES = [0, 1, 2, 0, 3, 4, 0, -1, 1, 3, -1, 2, 4, -1, 1, 5, 2];
  const layers = ["training", "true", "predicted"];
  const tested = scene.tested;
  const centers = {
    training: scene.training.map((frame) => frame.camera),
    true: tested.map((frame) => frame.true),
    predicted: tested.map((frame) => frame.predicted),
  };
  const ends = [0, 1].map((kind) => {
    const known = tested.map((frame) => frame.errors[kind]).filter((value) => value !== null);
    known.sort((a, b) => a - b);
    return known[Math.floor(0.95 * (known.length - 1))] || 1; // as in the picture of the trajectory
  });
  const view = { turn: 0, tilt: 0, zoom: 1, at: [0, 0, 0] };
  const frusta = {}, whole = {};
  let chosen = null, waiting = false, width = 1, height = 1;

  // A frustum: the centre, four corners (top left, top right, bottom left, bottom right) and a roof.
  function frustum(camera, size) {
    if (!camera) return null;
    const [c, r, d] = [0, 3, 6].map((i) => camera.slice(i, i + 3));
    const f = [r[1] * d[2] - r[2] * d[1], r[2] * d[0] - r[0] * d[2], r[0] * d[1] - r[1] * d[0]];
    const [x, y] = scene.half_view;
    const places = [[0, 0, 0], [-x, -y, 1], [x, -y, 1], [-x, y, 1], [x, y, 1], [0, -1.6 * y, 1]];
    return places.map(([a, b, e]) => c.map((v, i) => v + size * (a * r[i] + b * d[i] + e * f[i])));
  }
  function build() {
    const size = 0.04 * scene.extent * 2 ** Number(element("size").value);
    for (const name of layers) frusta[name] = centers[name].map((camera) => frustum(camera, size));
    for (const name of ["training", "true"]) whole[name] = spread(frusta[name], 1.2 * size);
    whole.predicted = whole.true;
  }
  // Which frusta to draw whole, the rest being dots: those that stand apart from the one before.
  function spread(all, apart) {
    let last = null;
    return all.map((points) => {
      const near = last && [0, 5].reduce((sum, k) => sum + Math.hypot(...points[k].map((v, i) => v - last[k][i])), 0) < apart;
      if (!near) last = points;
      return !near;
    });
  }
  function project(p) {
    const x = p[0] - view.at[0], y = p[1] - view.at[1], z = p[2] - view.at[2];
    const ca = Math.cos(view.turn), sa = Math.sin(view.turn), ce = Math.cos(view.tilt), se = Math.sin(view.tilt);
    return [width / 2 + view.zoom * (ca * x + sa * y),
      height / 2 - view.zoom * (se * (ca * y - sa * x) + ce * z)];
  }
  function look(turn, tilt) { // at everything, from there
    Object.assign(view, { turn, tilt, zoom: 1, at: [0, 0, 0] });
    const shown = [...centers.training, ...centers.true].map((p) => project(p));
    const range = [0, 1].map((i) => shown.reduce(([a, b], p) => [Math.min(a, p[i]), Math.max(b, p[i])], [Infinity, -Infinity]));
    const margin = 0.15 * scene.extent;
    view.zoom = Math.min(width / (range[0][1] - range[0][0] + margin), (height - 70) / (range[1][1] - range[1][0] + margin));
    move((width - range[0][0] - range[0][1]) / 2 * view.zoom, (height - range[1][0] - range[1][1]) / 2 * view.zoom);
  }
  function move(x, y) { // by pixels
    const ca = Math.cos(view.turn), sa = Math.sin(view.turn), ce = Math.cos(view.tilt), se = Math.sin(view.tilt);
    const [right, up] = [[ca, sa, 0], [-sa * se, ca * se, ce]];
    view.at = view.at.map((v, i) => v + (y * up[i] - x * right[i]) / view.zoom);
    draw();
  }
  function turn(x, y) {
    view.turn -= 0.008 * x;
    view.tilt = Math.min(Math.PI / 2, Math.max(-Math.PI / 2, view.tilt + 0.008 * y));
    draw();
  }
  function zoom(factor) { view.zoom *= factor; draw(); }

  function shade(index) {
    const t = 0.12 + 0.88 * index / (SHADES - 1);
    const place = 5 * (dark.matches ? 0.15 + 0.85 * t : 1 - t), low = Math.min(4, Math.floor(place));
    const mixed = VIRIDIS[low].map((v, i) => Math.round(v + (place - low) * (VIRIDIS[low + 1][i] - v)));
    return `rgb(${mixed})`;
  }
  function shadeOf(frame) {
    const kind = Number(element("colour").value);
    return Math.min(SHADES - 1, Math.floor(SHADES * frame.errors[kind] / ends[kind]));
  }
  function trace(points) {
    let down = false;
    for (const i of LINES) {
      if (i < 0) { down = false; continue; }
      const [x, y] = project(points[i]);
      if (down) pen.lineTo(x, y); else pen.moveTo(x, y);
      down = true;
    }
  }
  function stroke(colour, line, paths) {
    pen.strokeStyle = pen.fillStyle = colour;
    pen.lineWidth = line;
    pen.beginPath();
    paths();
    pen.stroke();
  }
  const isShown = (name) => element(`show-${name}`).checked;
  function draw() {
    if (!waiting) requestAnimationFrame(paint);
    waiting = true;
  }
  function paint() {
    waiting = false;
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(`--${name}`);
    const dense = window.devicePixelRatio || 1;
    pen.setTransform(dense, 0, 0, dense, 0, 0);
    pen.fillStyle = colour("card");
    pen.fillRect(0, 0, width, height);
    let drawn = 0;
    const cameras = (name, shown, line, wanted = () => true) => {
      const mine = frusta[name].flatMap((points, i) => (points && wanted(i) ? [i] : []));
      stroke(shown, line, () => mine.forEach((i) => whole[name][i] && trace(frusta[name][i])));
      mine.forEach((i) => dot(frusta[name][i][0], 1.3));
      drawn += mine.length;
    };
    if (isShown("training")) cameras("training", colour("training"), 0.8);
    const groups = tested.map((frame) => (frame.predicted ? shadeOf(frame) : -1));
    for (let k = 0; k < SHADES; k += 1) {
      if (isShown("joins")) stroke(shade(k), 0.9, () => groups.forEach((group, i) => group === k && join(i)));
      if (isShown("predicted")) cameras("predicted", shade(k), 1.2, (i) => groups[i] === k);
    }
    if (isShown("true")) cameras("true", colour("true"), 1);
    if (chosen) highlight(colour("accent"));
    drawAxes(colour("ink"), colour("soft"));
    canvas.dataset.drawn = drawn;
  }
  function dot(point, radius) {
    const [x, y] = project(point);
    pen.fillRect(x - radius, y - radius, 2 * radius, 2 * radius);
  }
  function join(i) {
    pen.moveTo(...project(tested[i].true));
    pen.lineTo(...project(tested[i].predicted));
  }
  function highlight(colour) {
    stroke(colour, 2.5, () => {
      const names = chosen.kind === "training" ? ["training"] : ["true", "predicted"];
      for (const name of names) if (frusta[name][chosen.index]) trace(frusta[name][chosen.index]);
      if (chosen.kind !== "training" && tested[chosen.index].predicted) join(chosen.index);
    });
  }
  function drawAxes(ink, soft) { // the world's, and a bar of a round length
    pen.font = "12px system-ui, sans-serif";
    pen.fillStyle = ink;
    const origin = project(view.at), corner = [46, height - 46];
    ["x", "y", "z"].forEach((name, i) => {
      const tip = project(view.at.map((v, k) => v + scene.world[i][k] / view.zoom));
      const [x, y] = [0, 1].map((k) => 28 * (tip[k] - origin[k]));
      stroke(soft, 1.2, () => { pen.moveTo(...corner); pen.lineTo(corner[0] + x, corner[1] + y); });
      pen.fillText(name, corner[0] + 1.25 * x - 3, corner[1] + 1.25 * y + 4);
    });
    const about = 120 / view.zoom, ten = 10 ** Math.floor(Math.log10(about));
    const bar = [5, 2, 1].find((step) => step * ten <= about) * ten, right = width - 20;
    stroke(ink, 1.5, () => {
      pen.moveTo(right - bar * view.zoom, height - 24);
      pen.lineTo(right - bar * view.zoom, height - 20);
      pen.lineTo(right, height - 20);
      pen.lineTo(right, height - 24);
    });
    pen.textAlign = "right";
    pen.fillText(`${Number(bar.toPrecision(1))} ${unit}`, right, height - 30);
    pen.textAlign = "left";
  }

  function choose(kind, index) {
    chosen = { kind, index };
    const frame = kind === "training" ? scene.training[index] : tested[index];
    const digits = (value) => (unit === "m" ? value.toFixed(3) : value.toPrecision(3));
    const errors = frame.predicted ? `off by ${digits(frame.errors[0])} ${unit} and ${frame.errors[1].toFixed(2)}°` : "no usable prediction";
    element("told").textContent = `${frame.name}: ${kind === "training" ? "training" : errors}`;
    if (kind !== "training") element("frame").value = index;
    draw();
  }
  function pick(x, y, reach) {
    let best = reach;
    let found = null;
    for (const name of layers) if (isShown(name)) centers[name].forEach((camera, index) => {
      if (!camera) return;
      const [u, v] = project(camera), distance = Math.hypot(u - x, v - y);
      if (distance <= best) { best = distance; found = [name, index]; }
    });
    if (found) choose(...found);
  }

  const fingers = new Map();
  const local = (event) => [event.offsetX, event.offsetY];
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    fingers.set(event.pointerId, { now: local(event), start: local(event) });
  });
  canvas.addEventListener("pointermove", (event) => {
    const finger = fingers.get(event.pointerId), [x, y] = local(event);
    if (!finger) { pick(x, y, 14); return; }
    const [dx, dy] = [x - finger.now[0], y - finger.now[1]];
    const spread = () => { const [a, b] = [...fingers.values()]; return Math.hypot(a.now[0] - b.now[0], a.now[1] - b.now[1]); };
    if (fingers.size > 1) {
      const before = spread();
      finger.now = [x, y];
      zoom(spread() / Math.max(before, 1));
      move(dx / 2, dy / 2);
    } else if (event.shiftKey || event.buttons & 6) move(dx, dy);
    else turn(dx, dy);
    finger.now = [x, y];
  });
  const lift = (event) => {
    const finger = fingers.get(event.pointerId);
    fingers.delete(event.pointerId);
    if (finger && Math.hypot(finger.now[0] - finger.start[0], finger.now[1] - finger.start[1]) < 4) pick(...finger.now, 24);
  };
  canvas.addEventListener("pointerup", lift);
  canvas.addEventListener("pointercancel", (event) => fingers.delete(event.pointerId));
  canvas.addEventListener("contextmenu", (event) => event.preventDefault());
  canvas.addEventListener("wheel", (event) => {
    // The page scrolls on, unless the picture was clicked before.
    if (document.activeElement !== canvas && !event.ctrlKey) return;
    event.preventDefault();
    zoom(Math.exp(-0.0015 * event.deltaY));
  }, { passive: false });
  const keys = {
    ArrowLeft: (by) => by(20, 0), ArrowRight: (by) => by(-20, 0), ArrowUp: (by) => by(0, 20), ArrowDown: (by) => by(0, -20),
    "+": () => zoom(1.2), "=": () => zoom(1.2), "-": () => zoom(1 / 1.2), 0: () => reset(),
  };
  canvas.addEventListener("keydown", (event) => {
    if (!keys[event.key] || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    keys[event.key](event.shiftKey ? move : turn);
  });

  const reset = () => look(-0.5, 0.6);
  element("reset").addEventListener("click", reset);
  element("above").addEventListener("click", () => look(0, Math.PI / 2));
  element("side").addEventListener("click", () => look(0, 0));
  for (const name of [...layers, "joins"]) element(`show-${name}`).addEventListener("change", draw);
  element("size").addEventListener("input", () => { build(); draw(); });
  element("frame").max = Math.max(0, tested.length - 1);
  element("frame").addEventListener("input", () => choose("true", Number(element("frame").value)));
  for (const button of document.querySelectorAll(".locate")) {
    const index = tested.findIndex((frame) => frame.index === Number(button.dataset.frame));
    button.hidden = index < 0;
    button.addEventListener("click", () => { choose("true", index); canvas.scrollIntoView({ block: "center" }); });
  }
  function legend() {
    const strip = element("shades"), kind = Number(element("colour").value);
    const ink = strip.getContext("2d");
    for (let k = 0; k < SHADES; k += 1) { ink.fillStyle = shade(k); ink.fillRect(6 * k, 0, 6, 1); }
    element("least").textContent = "0";
    element("most").textContent = `≥ ${Number(ends[kind].toPrecision(3))} ${kind ? "°" : unit}`;
    draw();
  }
  element("colour").addEventListener("change", legend);
  dark.addEventListener("change", legend);
  const [train, test] = scene.of;
  if (scene.training.length < train || tested.length < test) {
    element("thinned").hidden = false;
    element("thinned").textContent = `Drawn, evenly spread: ${scene.training.length} of ${train} training and ${tested.length} of ${test} tested cameras.`;
  }
  let fresh = true;
  new ResizeObserver(() => {
    const dense = window.devicePixelRatio || 1;
    [width, height] = [canvas.clientWidth, canvas.clientHeight];
    [canvas.width, canvas.height] = [width * dense, height * dense];
    if (fresh) reset();
    fresh = false;
    paint(); // at once: a canvas that changes its size is blank
  }).observe(canvas);
  build();
  legend();
}
