// Keeps the page up to date, and serves the keyboard. Everything works without it as well, after a reload.
"use strict";

const live = document.getElementById("live");
const pulse = document.getElementById("pulse");
const tip = document.getElementById("tip");
const boxes = () => [...live.querySelectorAll("input[name=id]")];
const rows = () => [...live.querySelectorAll("[data-row]")];
let current = -1;

// What somebody is in the middle of must survive the page's being brought up to date.
function busy() {
  const at = document.activeElement;
  const typing = at && live.contains(at) && at.matches("input:not([type=checkbox]), textarea, select");
  return typing || document.querySelector("dialog[open]") || !getSelection().isCollapsed;
}

function swap(html) {
  if (busy()) return;
  const ticked = new Set(boxes().filter((box) => box.checked).map((box) => box.value));
  const folds = new Map([...live.querySelectorAll("details[id]")].map((one) => [one.id, one.open]));
  const all = live.querySelector("#all")?.checked;
  const scrolled = live.querySelector(".states")?.scrollLeft;
  const focused = focusPath(document.activeElement);
  live.innerHTML = html;
  for (const box of boxes()) box.checked = ticked.has(box.value);
  for (const one of live.querySelectorAll("details[id]")) if (folds.has(one.id)) one.open = folds.get(one.id);
  if (all && live.querySelector("#all")) live.querySelector("#all").checked = true;
  if (scrolled) live.querySelector(".states").scrollLeft = scrolled;
  if (focused !== null) focusables()[focused]?.focus({ preventScroll: true });
  mark();
  count();
}

const focusables = () => [...live.querySelectorAll("a, button, input, summary")];
function focusPath(element) {
  const place = element && live.contains(element) ? focusables().indexOf(element) : -1;
  return place < 0 ? null : place;
}

// Server-sent events, only while somebody looks.
let source = null;
function listen() {
  if (source || document.hidden || !live.dataset.stream) return;
  source = new EventSource(live.dataset.stream);
  source.addEventListener("page", (event) => { say("live", true); swap(event.data); });
  source.addEventListener("trouble", (event) => say(event.data, false));
  source.onerror = () => say("waiting", false);
}
function hush() {
  source?.close();
  source = null;
}
function say(text, well) {
  pulse.hidden = false;
  pulse.textContent = text;
  pulse.classList.toggle("well", well);
}
document.addEventListener("visibilitychange", () => (document.hidden ? hush() : listen()));
addEventListener("pagehide", hush);
addEventListener("pageshow", listen);

// Selecting jobs.
function count() {
  const every = live.querySelector("#every");
  if (!every) return;
  const chosen = boxes().filter((box) => box.checked).length;
  const all = live.querySelector("#all")?.checked;
  every.checked = chosen > 0 && chosen === boxes().length;
  every.indeterminate = chosen > 0 && chosen < boxes().length;
  live.querySelector("#chosen").textContent = all ? "All" : chosen ? `${chosen} selected` : "Select";
  for (const button of live.querySelectorAll("[data-bulk]")) button.disabled = !chosen && !all;
}
document.addEventListener("change", (event) => {
  if (event.target.id === "every") for (const box of boxes()) box.checked = event.target.checked;
  count();
});
document.addEventListener("submit", (event) => {
  const question = event.submitter?.dataset.confirm;
  if (question && !confirm(question)) event.preventDefault();
});

// Dark and light.
function turn() {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
  try { localStorage.setItem("sqla-oban-theme", root.dataset.theme); } catch { /* then for this page only */ }
}
document.getElementById("theme").addEventListener("click", turn);

// The keyboard.
const help = document.getElementById("help");
document.getElementById("keys").addEventListener("click", () => help.showModal());
function mark() {
  rows().forEach((row, place) => row.classList.toggle("current", place === current));
}
function move(by) {
  current = Math.max(0, Math.min(rows().length - 1, current + by));
  mark();
  rows()[current]?.scrollIntoView({ block: "nearest" });
}
const keys = {
  t: turn,
  r: () => location.reload(),
  "?": () => help.showModal(),
  "/": () => document.getElementById("search")?.focus(),
  a: () => live.querySelector("#every")?.click(),
  x: () => rows()[current]?.querySelector("input[name=id]")?.click(),
  ArrowDown: () => move(1),
  ArrowUp: () => move(-1),
  Enter: () => rows()[current]?.querySelector("a")?.click(),
};
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input, textarea, select, dialog *")) {
    if (event.key === "Escape") event.target.blur?.();
    return;
  }
  const link = document.querySelector(`nav [data-key="${CSS.escape(event.key)}"]`);
  const moves = event.key.startsWith("Arrow") || event.key === "Enter";
  if (moves && (!rows().length || (event.key === "Enter" && (current < 0 || event.target.matches("a, button, summary"))))) return;
  if (link) link.click();
  else if (keys[event.key]) keys[event.key]();
  else return;
  event.preventDefault();
});

// What a chart says of the time that is pointed at.
document.addEventListener("pointermove", (event) => {
  const text = event.target instanceof Element ? event.target.dataset.tip : undefined;
  tip.hidden = !text;
  if (!text) return;
  tip.textContent = text;
  const left = Math.min(event.clientX + 14, innerWidth - tip.offsetWidth - 8);
  tip.style.left = `${Math.max(8, left)}px`;
  tip.style.top = `${Math.max(8, event.clientY - tip.offsetHeight - 12)}px`;
});

for (const chosen of document.querySelectorAll(".states [aria-current]")) chosen.scrollIntoView({ block: "nearest", inline: "center" });
count();
listen();
