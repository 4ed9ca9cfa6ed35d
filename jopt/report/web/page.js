// What the figures share: the data, the chosen trial, colours, numbers as text.

const data = JSON.parse(document.getElementById("data").textContent);
const columns = data.columns;
const trials = columns.trial.length;
const metric = data.metric, sign = data.mode === "max" ? -1 : 1; // sign * value: lower is better

let chosen = null; // a row of the table
const listeners = []; // called with the chosen row, or null

function choose(row) {
  chosen = row === chosen ? null : row;
  listeners.forEach((listener) => listener(chosen));
}

function element(id) {
  return document.getElementById(id);
}

function make(tag, text, attributes = {}) {
  const made = document.createElement(tag);
  made.textContent = text;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

function words(name) {
  return name.replace(/_/g, " ");
}

function number(value) {
  if (value === null || value === undefined) return "–";
  if (typeof value !== "number") return String(value);
  if (Number.isInteger(value)) return String(value);
  const short = Number(value.toPrecision(4));
  return Math.abs(short) < 1e-3 ? short.toExponential() : String(short);
}

function described(row, names = data.hyperparameters) {
  return names.map((name) => `${name}=${number(columns[name][row])}`).join(", ");
}

// Plotly reads a few tags in text; a hyperparameter's name or value is never one.
function plain(text) {
  return String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
}

const hovers = new Map(); // made once: every figure shows the same

function hover(row) {
  if (!hovers.has(row)) hovers.set(row, hoverText(row));
  return hovers.get(row);
}

function hoverText(row) {
  const seed = columns.fold ? `seed ${columns.seed[row]}, fold ${columns.fold[row]}` : `seed ${columns.seed[row]}`;
  const lines = data.hyperparameters.map((name) => `${name} ${number(columns[name][row])}`);
  const loss = `${words(metric)} ${number(columns[metric][row])}`;
  return plain([`trial ${columns.trial[row]}, ${seed}`, ...lines, `${columns.status[row]}, ${loss}`].join("\n")).replace(/\n/g, "<br>");
}

function unpack(text, width) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const flat = new Float32Array(bytes.buffer);
  return Array.from({ length: trials }, (_, row) => flat.subarray(row * width, (row + 1) * width));
}

const STOPS = ["#440154", "#482878", "#3e4989", "#31688e", "#26828e", "#1f9e89", "#35b779", "#6ece58", "#b5de2b", "#fde725"];

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

// Viridis from 0 to 1, less the end that the background would swallow.
function viridis(share) {
  const low = Number(colour("low")), high = Number(colour("high"));
  const at = (low + (high - low) * Math.min(1, Math.max(0, share))) * (STOPS.length - 1);
  const first = Math.min(Math.floor(at), STOPS.length - 2), part = at - first;
  const mixed = [1, 3, 5].map((i) => {
    const [a, b] = [STOPS[first], STOPS[first + 1]].map((stop) => parseInt(stop.slice(i, i + 2), 16));
    return Math.round(a + (b - a) * part);
  });
  return `rgb(${mixed.join(",")})`;
}

function faded(rgb, alpha) {
  return rgb.replace("rgb(", "rgba(").replace(")", `,${alpha})`);
}

function ofStatus(status) {
  return colour({ diverged: "bad", pruned: "pruned", complete: "accent" }[status] || "quiet");
}

function layout(changes) {
  const axis = { gridcolor: colour("grid"), linecolor: colour("line"), zeroline: false, ticks: "outside", tickcolor: colour("line"), automargin: true };
  return {
    paper_bgcolor: colour("card"), plot_bgcolor: colour("card"), showlegend: false, hovermode: "closest",
    font: { family: "system-ui, 'Segoe UI', Roboto, 'Liberation Sans', sans-serif", size: 12, color: colour("ink") },
    margin: { l: 62, r: 14, t: 12, b: 46 },
    hoverlabel: { align: "left", bgcolor: colour("card"), bordercolor: colour("line"), font: { color: colour("ink"), size: 12 } },
    ...changes,
    xaxis: { ...axis, ...changes.xaxis },
    yaxis: { ...axis, ...changes.yaxis },
  };
}

function notAll() {
  return data.shown.length < trials ? ` ${data.shown.length} of ${trials} trials are drawn, the best and a fair rest; any other appears when it is chosen.` : "";
}

const CONFIG = { responsive: true, displaylogo: false, displayModeBar: "hover", modeBarButtons: [["zoom2d", "pan2d", "resetScale2d", "toImage"]] };

const STILL = { responsive: true, displayModeBar: false }; // of figures with nothing to zoom into

// Draw a figure; a click on any of its points chooses the point's trial.
function draw(target, traces, changes, config = CONFIG) {
  const first = !target.classList.contains("js-plotly-plot");
  const done = Plotly.react(target, traces, layout(changes), config);
  if (first) target.on("plotly_click", (event) => {
    const row = event.points[0] && event.points[0].customdata;
    if (Number.isInteger(row)) choose(row);
  });
  return done;
}

// The figures of a row of panels, all there before the first is drawn: it takes its width.
function panels(target, names) {
  if (!target.children.length) target.append(...names.map((name, i) => {
    const figure = make("figure", ""), id = `${target.id}-${i}`;
    const plot = make("div", "", { class: "plot", id, role: "img", "aria-labelledby": `${id}-caption` });
    figure.append(make("figcaption", name, { id: `${id}-caption` }), plot, make("p", "", { class: "legend under" }));
    return figure;
  }));
  return [...target.children];
}

function sentence(target, text) {
  target.classList.add("empty");
  target.removeAttribute("role");
  target.textContent = text;
}
