"use strict";
// The form is sent once for each model; pictures, history and downloads stay in this page.
const MOST_KEPT = 12;
const SMALL_PX = 256; // pictures below are shown with hard pixels
const sides = JSON.parse(document.getElementById("sides").textContent);
const byId = (id) => document.getElementById(id);
const form = byId("form");
const kept = [];
let busy = false;

const say = (text, bad = false) => {
  byId("state").textContent = text;
  byId("state").classList.toggle("bad", bad);
};

function showFault(fault) {
  const field = fault.field && byId(fault.field);
  if (!field) return say(fault.message, true);
  byId(fault.field + "-fault").textContent = fault.message;
  field.setAttribute("aria-invalid", "true");
  say("Nothing was drawn: see the field.", true);
  field.focus();
}

function clearFaults() {
  for (const place of document.querySelectorAll(".fault")) place.textContent = "";
  for (const field of form.elements) field.removeAttribute("aria-invalid");
}

function setBusy(state) {
  busy = state;
  document.body.classList.toggle("busy", state);
  // Not `disabled`, which would take the focus away.
  byId("draw").setAttribute("aria-disabled", state);
}

async function ask(asked, side) {
  let answer;
  try {
    const headers = { "Content-Type": "application/json" };
    const body = JSON.stringify({ ...asked, side });
    answer = await fetch("/draw", { method: "POST", headers, body });
  } catch {
    throw { message: "The server does not answer. Does `nadir compare` still run?" };
  }
  if (answer.ok) return { blob: await answer.blob(), size: answer.headers.get("x-drawn-size") };
  const text = await answer.text();
  try {
    throw JSON.parse(text);
  } catch (fault) {
    throw fault.message && !(fault instanceof SyntaxError) ? fault : { message: text };
  }
}

async function isEqual(one, other) {
  const [a, b] = await Promise.all([one.arrayBuffer(), other.arrayBuffer()]);
  const [x, y] = [new Uint8Array(a), new Uint8Array(b)];
  return x.length === y.length && x.every((value, index) => value === y[index]);
}

async function draw(event) {
  event.preventDefault();
  if (busy) return;
  clearFaults();
  setBusy(true);
  const asked = Object.fromEntries(new FormData(form));
  const start = performance.now();
  try {
    const drawn = [];
    for (const side of [0, 1]) {
      say(`Drawing ${sides[side]}\u2026 (${side + 1} of 2)`);
      drawn.push(await ask(asked, side));
    }
    const seconds = ((performance.now() - start) / 1000).toFixed(1);
    keep(asked, drawn);
    const size = drawn[0].size.replace("x", " \u00d7 ");
    const equal = await isEqual(drawn[0].blob, drawn[1].blob);
    say(`Drawn at ${size} in ${seconds} s.` + (equal ? " Both pictures are equal, to the bit." : ""));
  } catch (fault) {
    showFault(fault);
  } finally {
    setBusy(false);
  }
}

function keep(asked, drawn) {
  const entry = { asked, size: drawn[0].size, urls: drawn.map((one) => URL.createObjectURL(one.blob)) };
  entry.button = document.createElement("button");
  entry.button.type = "button";
  entry.button.addEventListener("click", () => {
    if (busy) return;
    show(entry);
    say("");
    for (const [name, value] of Object.entries(asked)) form.elements[name].value = value;
    clearFaults();
  });
  const two = document.createElement("div");
  two.className = "two";
  for (const [side, url] of entry.urls.entries()) {
    const image = document.createElement("img");
    image.src = url;
    image.alt = sides[side];
    two.append(image);
  }
  const caption = document.createElement("span");
  caption.textContent = captionOf(entry);
  entry.button.title = captionOf(entry);
  entry.button.append(two, caption);
  const item = document.createElement("li");
  item.append(entry.button);
  byId("history").prepend(item);
  kept.unshift(entry);
  for (const old of kept.splice(MOST_KEPT)) {
    old.button.parentElement.remove();
    old.urls.forEach(URL.revokeObjectURL);
  }
  byId("before").hidden = kept.length < 2;
  show(entry);
}

const captionOf = ({ asked, size }) =>
  [asked.prompt || "no prompt", asked.negative_prompt && `without ${asked.negative_prompt}`,
    `seed ${asked.seed}`, `CFG ${asked.cfg_scale}`, `${asked.steps} steps`, asked.sampler, size]
    .filter(Boolean).join(", ");

function show(entry) {
  const figure = document.querySelector(".compare");
  const [width, height] = entry.size.split("x").map(Number);
  for (const [side, name] of ["first", "second"].entries()) {
    const image = figure.querySelector("img." + name);
    image.src = entry.urls[side];
    image.alt = `${sides[side]}: ${captionOf(entry)}`;
    image.width = width;
    image.height = height;
    image.style.height = name === "second" ? "auto" : "";
    const link = byId("download-" + side);
    link.href = entry.urls[side];
    link.download = `${sides[side]} seed ${entry.asked.seed}.png`.replace(/[^\w. -]+/g, "_");
    link.textContent = `Download ${sides[side]}`;
  }
  figure.querySelector("figcaption").textContent = captionOf(entry);
  const range = figure.querySelector("input");
  range.setAttribute("aria-label", `${sides[0]} beside ${sides[1]}`);
  // As large as fits into the window, whatever the shape.
  figure.querySelector(".stack").style.maxWidth = `min(100%, ${Math.round((78 * width) / height)}vh)`;
  byId("pictures").classList.toggle("pixels", Math.max(width, height) < SMALL_PX);
  byId("pictures").hidden = false;
  byId("empty").hidden = true;
  for (const other of kept) other.button.setAttribute("aria-current", other === entry);
}

form.addEventListener("submit", draw);
form.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) draw(event);
});
byId("another").addEventListener("click", () => {
  byId("seed").value = Math.floor(Math.random() * 2 ** 31);
});
