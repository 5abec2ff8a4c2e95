"use strict";
// The cameras of a scene in 3D, on a plain 2D canvas: an orthographic view, so that one scale bar
// is true everywhere, of lines only, so that nothing has to be sorted by depth.
window.addEventListener("error", (event) => {
  document.documentElement.dataset.error = event.message; // for whoever tests the page
});

const page = JSON.parse(document.getElementById("data").textContent);
startScene(page.scene, page.unit);

function startScene(scene, unit) {
  const element = (id) => document.getElementById(id);
  const canvas = element("scene"), pen = canvas.getContext("2d");
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const tested = scene.tested;
  const layers = {
    training: { cameras: scene.training.map((frame) => frame.camera) },
    true: { cameras: tested.map((frame) => frame.true) },
    predicted: { cameras: tested.map((frame) => frame.predicted) }, // null where there is none
  };
  const view = { turn: 0, tilt: 0, zoom: 1, at: [0, 0, 0] }; // radians, pixels a unit, the middle
  let width = 1, height = 1, chosen = null, waiting = false;

  // --- Colours: viridis. Large errors get the end of it that stands out from the background.
  const VIRIDIS = [[68, 1, 84], [65, 68, 135], [42, 120, 142], [34, 168, 132], [122, 209, 81], [253, 231, 37]];
  const SHADES = 16;
  const largest = [0, 1].map((kind) => { // the 95th percentile, as in the picture of the trajectory
    const known = tested.flatMap((frame) => (frame.predicted ? [frame.errors[kind]] : []));
    return known.sort((a, b) => a - b)[Math.floor(0.95 * (known.length - 1))] || 1;
  });
  const kindOfError = () => Number(element("colour").value);
  function shade(index) {
    const share = 0.12 + 0.88 * index / (SHADES - 1);
    const place = 5 * (dark.matches ? 0.15 + 0.85 * share : 1 - share), low = Math.min(4, Math.floor(place));
    return `rgb(${VIRIDIS[low].map((v, i) => Math.round(v + (place - low) * (VIRIDIS[low + 1][i] - v)))})`;
  }
  function shadeOf(frame) {
    return Math.min(SHADES - 1, Math.floor(SHADES * frame.errors[kindOfError()] / largest[kindOfError()]));
  }

  // --- Frusta: the centre, corners (top left, top right, bottom left, bottom right) and a roof.
  const OUTLINE = [[0, 1, 2, 0, 3, 4, 0], [1, 3], [2, 4], [1, 5, 2]];
  function frustum(camera, size) {
    if (!camera) return null;
    const [c, r, d] = [0, 3, 6].map((i) => camera.slice(i, i + 3));
    const forward = [r[1] * d[2] - r[2] * d[1], r[2] * d[0] - r[0] * d[2], r[0] * d[1] - r[1] * d[0]];
    const [x, y] = scene.half_view;
    return [[0, 0, 0], [-x, -y, 1], [x, -y, 1], [-x, y, 1], [x, y, 1], [0, -1.6 * y, 1]].map(
      ([a, b, e]) => c.map((v, i) => v + size * (a * r[i] + b * d[i] + e * forward[i])));
  }
  // Whole are those that stand apart from the whole one before; the others are dots.
  function standApart(frusta, apart) {
    let last = null;
    return frusta.map((points) => {
      const step = (k) => Math.hypot(...points[k].map((v, i) => v - last[k][i]));
      if (last && step(0) + step(5) < apart) return false;
      last = points;
      return true;
    });
  }
  function build() {
    const size = 0.04 * scene.extent * 2 ** Number(element("size").value);
    for (const layer of Object.values(layers)) layer.frusta = layer.cameras.map((camera) => frustum(camera, size));
    for (const layer of [layers.training, layers.true]) layer.whole = standApart(layer.frusta, 1.2 * size);
    layers.predicted.whole = layers.true.whole;
  }

  // --- The view.
  function axes() { // in the world, to the right and to the top of the canvas
    const [ct, st, ce, se] = [Math.cos(view.turn), Math.sin(view.turn), Math.cos(view.tilt), Math.sin(view.tilt)];
    return [[ct, st, 0], [-st * se, ct * se, ce]];
  }
  let [right, up] = axes();
  function project(point) {
    let x = 0, y = 0;
    for (let i = 0; i < 3; i += 1) {
      x += right[i] * (point[i] - view.at[i]);
      y += up[i] * (point[i] - view.at[i]);
    }
    return [width / 2 + view.zoom * x, height / 2 - view.zoom * y];
  }
  function look(turn, tilt) { // at everything, from there
    Object.assign(view, { turn, tilt, zoom: 1, at: [0, 0, 0] });
    [right, up] = axes();
    const ends = [0, 1].map((i) => {
      const places = [...layers.training.cameras, ...layers.true.cameras].map((camera) => project(camera)[i]);
      return [Math.min(...places), Math.max(...places)];
    });
    const [wide, high] = ends.map(([least, most]) => most - least + 0.15 * scene.extent);
    view.zoom = Math.min(width / wide, (height - 70) / high);
    const [x, y] = ends.map(([least, most]) => (least + most) / 2);
    move((width / 2 - x) * view.zoom, (height / 2 - y) * view.zoom);
  }
  function move(x, y) { // by pixels
    view.at = view.at.map((v, i) => v + (y * up[i] - x * right[i]) / view.zoom);
    draw();
  }
  function turn(x, y) { // by pixels
    view.turn -= 0.008 * x;
    view.tilt = Math.min(Math.PI / 2, Math.max(-Math.PI / 2, view.tilt + 0.008 * y));
    [right, up] = axes();
    draw();
  }
  function zoom(factor) {
    view.zoom *= factor;
    draw();
  }
  const reset = () => look(-0.5, 0.6);

  // --- Drawing: one path for all lines of a colour.
  function stroke(colour, line, paths) {
    pen.strokeStyle = pen.fillStyle = colour;
    pen.lineWidth = line;
    pen.beginPath();
    paths();
    pen.stroke();
  }
  function trace(points) {
    points.forEach((point, k) => (k ? pen.lineTo(...project(point)) : pen.moveTo(...project(point))));
  }
  const outline = (points) => OUTLINE.forEach((line) => trace(line.map((k) => points[k])));
  const join = (frame) => trace([frame.true, frame.predicted]);
  const isShown = (name) => element(`show-${name}`).checked;
  function drawLayer(name, colour, line, wanted = () => true) {
    const { frusta, whole } = layers[name];
    const mine = frusta.flatMap((points, i) => (points && wanted(i) ? [i] : []));
    stroke(colour, line, () => mine.forEach((i) => whole[i] && outline(frusta[i])));
    for (const i of mine) {
      const [x, y] = project(frusta[i][0]);
      pen.fillRect(x - 1.3, y - 1.3, 2.6, 2.6);
    }
    return mine.length;
  }
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
    let drawn = isShown("training") ? drawLayer("training", colour("training"), 0.8) : 0;
    const shades = tested.map((frame) => (frame.predicted ? shadeOf(frame) : -1));
    for (let k = 0; k < SHADES; k += 1) {
      if (isShown("joins")) stroke(shade(k), 0.9, () => tested.forEach((frame, i) => shades[i] === k && join(frame)));
      if (isShown("predicted")) drawn += drawLayer("predicted", shade(k), 1.2, (i) => shades[i] === k);
    }
    if (isShown("true")) drawn += drawLayer("true", colour("true"), 1);
    if (chosen) stroke(colour("accent"), 2.5, () => drawChosen(...chosen));
    drawAxes(colour("ink"), colour("soft"));
    canvas.dataset.drawn = drawn; // for whoever tests the page
  }
  function drawChosen(name, index) {
    for (const each of name === "training" ? [name] : ["true", "predicted"]) {
      if (layers[each].frusta[index]) outline(layers[each].frusta[index]);
    }
    if (name !== "training" && tested[index].predicted) join(tested[index]);
  }
  function drawAxes(ink, soft) { // those of the dataset's world, and a bar of a round length
    pen.font = "12px system-ui, sans-serif";
    const [x, y] = [46, height - 46];
    scene.world.forEach((axis, i) => {
      const [dx, dy] = [right, up].map((side) => side.reduce((sum, v, k) => sum + v * axis[k], 0));
      stroke(soft, 1.2, () => { pen.moveTo(x, y); pen.lineTo(x + 28 * dx, y - 28 * dy); });
      pen.fillText("xyz"[i], x + 36 * dx - 3, y - 36 * dy + 4);
    });
    const most = 120 / view.zoom, ten = 10 ** Math.floor(Math.log10(most));
    const length = [5, 2, 1].find((step) => step * ten <= most) * ten, end = width - 20;
    const corners = [[0, 24], [0, 20], [1, 20], [1, 24]];
    stroke(ink, 1.5, () => corners.forEach(([k, above], i) => {
      pen[i ? "lineTo" : "moveTo"](end - (1 - k) * length * view.zoom, height - above);
    }));
    pen.textAlign = "right";
    pen.fillText(`${Number(length.toPrecision(1))} ${unit}`, end, height - 30);
    pen.textAlign = "left";
  }

  // --- Frames: which one is pointed at, and what is told of it.
  function choose(name, index) {
    chosen = [name, index];
    const frame = name === "training" ? scene.training[index] : tested[index];
    let told = "training";
    if (name !== "training") {
      element("frame").value = index;
      const far = frame.predicted && frame.errors[0];
      told = frame.predicted
        ? `off by ${unit === "m" ? far.toFixed(3) : far.toPrecision(3)} ${unit} and ${frame.errors[1].toFixed(2)}°`
        : "no usable prediction";
    }
    element("told").textContent = `${frame.name}: ${told}`;
    draw();
  }
  function pick([x, y], reach) {
    let nearest = reach, found = null;
    for (const name of Object.keys(layers).filter(isShown)) {
      layers[name].cameras.forEach((camera, index) => {
        if (!camera) return;
        const [u, v] = project(camera), distance = Math.hypot(u - x, v - y);
        if (distance <= nearest) [nearest, found] = [distance, [name, index]];
      });
    }
    if (found) choose(...found);
  }

  // --- Fingers, mouse and keyboard.
  const fingers = new Map();
  const place = (event) => [event.offsetX, event.offsetY];
  const apart = ([ax, ay], [bx, by]) => Math.hypot(ax - bx, ay - by);
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    fingers.set(event.pointerId, { now: place(event), start: place(event) });
  });
  canvas.addEventListener("pointermove", (event) => {
    const finger = fingers.get(event.pointerId), before = finger && finger.now;
    if (!finger) return pick(place(event), 14);
    finger.now = place(event);
    const [x, y] = finger.now.map((v, i) => v - before[i]);
    const other = [...fingers.values()].find((each) => each !== finger);
    if (other) {
      zoom(apart(finger.now, other.now) / Math.max(1, apart(before, other.now)));
      return move(x / 2, y / 2);
    }
    return event.shiftKey || event.buttons & 6 ? move(x, y) : turn(x, y);
  });
  canvas.addEventListener("pointerup", (event) => {
    const finger = fingers.get(event.pointerId);
    fingers.delete(event.pointerId);
    if (finger && apart(finger.start, finger.now) < 4) pick(finger.now, 24);
  });
  canvas.addEventListener("pointercancel", (event) => fingers.delete(event.pointerId));
  canvas.addEventListener("contextmenu", (event) => event.preventDefault());
  canvas.addEventListener("wheel", (event) => {
    if (document.activeElement !== canvas && !event.ctrlKey) return; // the page scrolls on
    event.preventDefault();
    zoom(Math.exp(-0.0015 * event.deltaY));
  }, { passive: false });
  const arrows = { ArrowLeft: [20, 0], ArrowRight: [-20, 0], ArrowUp: [0, 20], ArrowDown: [0, -20] };
  const others = { "+": () => zoom(1.2), "=": () => zoom(1.2), "-": () => zoom(1 / 1.2), 0: reset };
  canvas.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || !(event.key in arrows || event.key in others)) return;
    event.preventDefault();
    if (event.key in others) others[event.key]();
    else (event.shiftKey ? move : turn)(...arrows[event.key]);
  });

  // --- Controls.
  function showLegend() {
    const strip = element("shades").getContext("2d"), kind = kindOfError();
    for (let k = 0; k < SHADES; k += 1) {
      strip.fillStyle = shade(k);
      strip.fillRect(6 * k, 0, 6, 1);
    }
    element("most").textContent = `≥ ${Number(largest[kind].toPrecision(3))} ${kind ? "°" : unit}`;
    draw();
  }
  const on = (id, event, act) => element(id).addEventListener(event, act);
  on("reset", "click", reset);
  on("above", "click", () => look(0, Math.PI / 2));
  on("side", "click", () => look(0, 0));
  for (const name of [...Object.keys(layers), "joins"]) on(`show-${name}`, "change", draw);
  on("size", "input", () => { build(); draw(); });
  on("colour", "change", showLegend);
  dark.addEventListener("change", showLegend);
  element("frame").max = Math.max(0, tested.length - 1);
  on("frame", "input", () => choose("true", Number(element("frame").value)));
  for (const button of document.querySelectorAll(".locate")) {
    const index = tested.findIndex((frame) => frame.index === Number(button.dataset.frame));
    button.hidden = index < 0;
    button.addEventListener("click", () => {
      choose("true", index);
      canvas.scrollIntoView({ block: "center" });
    });
  }
  const drawnOf = [[scene.training, scene.of[0], "training"], [tested, scene.of[1], "tested"]];
  element("thinned").hidden = drawnOf.every(([some, all]) => some.length === all);
  element("thinned").textContent = "Of too many cameras an even choice is drawn: "
    + drawnOf.map(([some, all, name]) => `${some.length} of ${all} ${name}`).join(", ") + ".";

  build();
  showLegend();
  let isFresh = true;
  new ResizeObserver(() => {
    [width, height] = [canvas.clientWidth, canvas.clientHeight];
    [canvas.width, canvas.height] = [width, height].map((side) => Math.round(side * (window.devicePixelRatio || 1)));
    if (isFresh) reset();
    isFresh = false;
    paint(); // at once: a canvas that changes its size is blank
  }).observe(canvas);
}
