// Draw everything, and again when the background changes from light to dark.

function options(target, names, first) {
  target.append(...names.map((name) => make("option", words(name), { value: name })));
  if (names.includes(first)) target.value = first;
  target.closest("label").hidden = names.length < 2;
}

const markTable = buildTable();
buildEach();
const bar = element("chosen");
const marks = {}; // by figure, what shows the chosen trial in it

function markCurves() {
  marks.curves = curves();
}

// A figure at a time: what is drawn can be read, and clicked, while the rest is not yet.
async function drawAll() {
  for (const figure of [response, curves, front, ancestry, parallel, importance, rungs]) {
    marks[figure.name] = figure();
    await new Promise((resume) => setTimeout(resume));
  }
  document.body.dataset.drawn = "all";
}

function showChosen(row) {
  bar.hidden = row === null;
  if (row === null) return;
  const parts = [`trial ${columns.trial[row]}`, described(row, data.varying), `seed ${columns.seed[row]}`];
  if (columns.fold) parts.push(`fold ${columns.fold[row]}`);
  parts.push(`${columns.status[row]} at step ${columns.steps[row]}`, `${words(metric)} ${number(columns[metric][row])}`);
  bar.firstElementChild.textContent = parts.filter(Boolean).join(" · ");
}

options(element("colour"), [...data.varying, metric, "trial"], data.varying.includes("learning_rate") ? "learning_rate" : data.varying[0]);
options(element("metric"), Object.keys(validMetrics), metric.replace(/^valid_/, ""));
element("colour").addEventListener("change", markCurves);
element("metric").addEventListener("change", markCurves);
bar.querySelector("button").addEventListener("click", () => choose(chosen));
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && chosen !== null) choose(chosen);
});
listeners.push(markTable, showChosen, (row) => Object.values(marks).flat().forEach((mark) => mark(row)));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
drawAll();
