// What ties the figures and the tables together: one chosen trial, and a sorted table.
"use strict";
const element = (id) => document.getElementById(id);
const { looks, specs, rows } = JSON.parse(element("figures").textContent);
const table = element("table"), body = table.tBodies[0], lines = [...body.rows];
const dark = matchMedia("(prefers-color-scheme: dark)");
const views = [];
let chosen = null; // a trial's row of the table

function choose(row) {
  chosen = row === chosen ? null : row;
  views.forEach((view) => view.signal("chosen", chosen ?? -1).runAsync()); // of those drawn
  table.querySelector("tr.chosen")?.classList.remove("chosen");
  element("chosen").hidden = chosen === null;
  if (chosen === null) return;
  const line = lines[chosen], cells = [...line.cells].map((cell) => cell.textContent);
  line.classList.add("chosen");
  // Within the table's own window: the page stays where the reader is.
  table.parentElement.scrollTop = line.offsetTop - table.parentElement.clientHeight / 2;
  const titles = [...table.tHead.rows[0].cells].map((cell) => cell.textContent);
  element("chosen").firstElementChild.textContent = titles.map((title, i) => `${title} ${cells[i]}`).join(" · ");
}

// Show a tip as plain text: names in it are never read as HTML.
function tip(handler, event, item, value) {
  const box = element("tip");
  box.hidden = typeof value !== "string";
  if (box.hidden) return;
  box.textContent = value;
  const right = event.clientX + 16 + box.offsetWidth > innerWidth;
  box.style.left = `${Math.max(4, right ? event.clientX - 12 - box.offsetWidth : event.clientX + 16)}px`;
  box.style.top = `${Math.max(4, Math.min(event.clientY + 12, innerHeight - box.offsetHeight - 4))}px`;
}

async function draw(spec, i) {
  const look = looks[dark.matches ? "dark" : "light"];
  const columns = Math.max(1, Math.floor(element(`figure-${i}`).clientWidth / 170));
  const options = {
    mode: "vega-lite", renderer: "canvas", config: { ...look, legend: { ...look.legend, columns } }, tooltip: tip,
    actions: { export: true, source: false, compiled: false, editor: false }, downloadFileName: `figure-${i}`,
  };
  // Vega writes into the rows that it is given: each figure has its own.
  const datasets = Object.fromEntries(spec.datasets.map((name) => [name, structuredClone(rows[name])]));
  const { view } = await vegaEmbed(`#figure-${i}`, { ...spec, datasets }, options);
  views[i]?.finalize();
  views[i] = view;
  view.addEventListener("click", (event, item) => {
    if (Number.isInteger(item?.datum?.row) && item.datum.row >= 0) choose(item.datum.row);
  });
  if (chosen !== null) view.signal("chosen", chosen).runAsync();
}

// A figure is drawn when it comes near the window, one after another.
let queue = Promise.resolve();
const near = new IntersectionObserver((entries) => {
  for (const { isIntersecting, target } of entries) {
    if (!isIntersecting) continue;
    near.unobserve(target);
    const i = Number(target.id.split("-")[1]);
    queue = queue.then(() => draw(specs[i], i));
  }
}, { rootMargin: "150px" });

function sort(title) {
  const at = title.cellIndex, up = title.getAttribute("aria-sort") !== "ascending";
  for (const other of title.parentElement.cells) other.setAttribute("aria-sort", "none");
  title.setAttribute("aria-sort", up ? "ascending" : "descending");
  const number = !title.classList.contains("text");
  const value = ({ cells }) => {
    const full = cells[at].title || cells[at].textContent;
    return full === "–" ? null : number ? Number(full.replace("inf", "Infinity")) : full;
  };
  const keys = new Map(lines.map((line) => [line, value(line)]));
  const order = [...lines].sort((one, other) => {
    const a = keys.get(one), b = keys.get(other);
    if (a === null || b === null) return (a === null) - (b === null);
    return (a < b ? -1 : a > b ? 1 : 0) * (up ? 1 : -1);
  });
  body.append(...order);
}

// A row is shown if it has every word that is searched.
function search() {
  const words = element("search").value.toLowerCase().split(/\s+/).filter(Boolean);
  for (const line of lines) {
    const text = words.length ? [...line.cells].map((cell) => `${cell.textContent} ${cell.title}`).join(" ").toLowerCase() : "";
    line.hidden = !words.every((word) => text.includes(word));
  }
}

for (const title of table.tHead.rows[0].cells) title.firstElementChild.addEventListener("click", () => sort(title));
document.addEventListener("click", ({ target }) => {
  const line = target.closest?.("tr[data-row]");
  if (line) choose(Number(line.dataset.row));
});
element("search").addEventListener("input", search);
element("chosen").querySelector("button").addEventListener("click", () => choose(chosen));
document.addEventListener("keydown", ({ key }) => key === "Escape" && chosen !== null && choose(chosen));
dark.addEventListener("change", () => views.forEach((view, i) => (queue = queue.then(() => draw(specs[i], i)))));
specs.forEach((spec, i) => near.observe(element(`figure-${i}`)));
