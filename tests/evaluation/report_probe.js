// Put into a report by a test: uses the page as a reader would, and writes down what became of it.
// A browser without a screen promises no frames of animation in its virtual time.
window.requestAnimationFrame = (paint) => setTimeout(paint, 0);
window.addEventListener("load", async () => {
  const element = (id) => document.getElementById(id);
  const canvas = element("scene");
  const layers = ["training", "true", "predicted", "joins"];
  const settle = () => new Promise((done) => setTimeout(done, 50));
  const ink = () => { // pixels unlike the corner's, above axes and scale bar
    const rows = canvas.height - 90 * window.devicePixelRatio;
    const copy = document.createElement("canvas");
    [copy.width, copy.height] = [canvas.width, rows];
    const pen = copy.getContext("2d");
    pen.drawImage(canvas, 0, 0);
    const data = pen.getImageData(0, 0, copy.width, rows).data;
    let count = 0;
    for (let i = 0; i < data.length; i += 4) {
      count += Number([0, 1, 2].some((k) => data[i + k] !== data[k]));
    }
    return count;
  };
  const told = () => element("told").textContent;
  const toggle = async (name) => {
    element(`show-${name}`).click();
    await settle();
    return ink();
  };
  const press = async (key) => {
    canvas.dispatchEvent(new KeyboardEvent("keydown", { key, cancelable: true }));
    await settle();
    return ink();
  };
  const point = (type, x, y, more = {}) => {
    const box = canvas.getBoundingClientRect();
    const place = { clientX: box.left + x, clientY: box.top + y, pointerId: 1, ...more };
    canvas.dispatchEvent(new PointerEvent(type, place));
  };

  await settle();
  const found = { images: [...document.images].map((image) => image.naturalWidth), ink: [ink()] };
  found.wide = [window.innerWidth, document.documentElement.scrollWidth - document.documentElement.clientWidth];
  for (const name of layers) found.ink.push(await toggle(name));
  for (const name of layers) await toggle(name);
  found.again = ink();
  found.turned = await press("ArrowLeft");
  found.nearer = await press("+");
  found.reset = await press("0");

  found.before = told();
  for (let x = 5; x < canvas.clientWidth && told() === found.before; x += 6) {
    for (let y = 5; y < canvas.clientHeight && told() === found.before; y += 6) {
      point("pointermove", x, y);
    }
  }
  found.hovered = told();
  canvas.setPointerCapture = () => {}; // refuses pointers that do not exist
  const quiet = ink();
  point("pointerdown", 100, 100);
  point("pointermove", 160, 130, { buttons: 1 });
  point("pointerup", 160, 130);
  await settle();
  found.dragged = ink() !== quiet;
  const slider = element("frame");
  found.frames = [0, 1, 2, 7].map((value) => {
    slider.value = value;
    slider.dispatchEvent(new Event("input"));
    return told();
  });
  document.querySelector(".locate").click();
  found.located = told();
  window.parent.postMessage(JSON.stringify(found), "*");
});
