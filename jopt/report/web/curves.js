// Losses while training, and validation by segment, coloured by a column.

const BINS = 24; // colours: a trace each, which is far quicker than a trace a trial
const trainLosses = unpack(data.curves.losses, data.curves.steps.length);
const validMetrics = Object.fromEntries(Object.entries(data.valid.metrics).map(([name, text]) => [name, unpack(text, data.valid.steps.length)]));

// The steps and values of a trial's curve, to where it ended.
function curveOf(row, steps, values) {
  const x = [], y = [];
  steps.forEach((step, i) => {
    if (!Number.isFinite(values[row][i])) return;
    x.push(Math.min(step, columns.steps[row] || step));
    y.push(values[row][i]);
  });
  return { x, y };
}

function colouring(name) {
  const axis = axisOf(name), low = axis.kind === "ordered" ? 0 : axis.low;
  const high = axis.kind === "ordered" ? axis.distinct.length - 1 : axis.high;
  const share = (row) => {
    const value = columns[name][row];
    return value === null ? null : high > low ? (axis.place(value) - low) / (high - low) : 0.35;
  };
  return { axis, share };
}

function drawCurves(target, steps, values, title, by) {
  const { share } = colouring(by), bins = new Map(), ends = { pruned: [], diverged: [] }, sane = [];
  const text = new Map(data.shown.map((row) => [row, hover(row)]));
  const curves = new Map(data.shown.map((row) => [row, curveOf(row, steps, values)]));
  for (const [row, { x, y }] of curves) {
    const at = share(row), bin = at === null ? -1 : Math.round(at * BINS);
    if (!bins.has(bin)) bins.set(bin, { x: [], y: [], customdata: [], text: [] });
    const held = bins.get(bin);
    held.x.push(...x, null);
    held.y.push(...y, null);
    held.customdata.push(...x.map(() => row), null);
    held.text.push(...x.map(() => text.get(row)), "");
    if (columns.status[row] !== "diverged") sane.push(...y);
    if (ends[columns.status[row]] && x.length) ends[columns.status[row]].push([row, x[x.length - 1], y[y.length - 1]]);
  }
  const all = [...curves.values()].flatMap(({ y }) => y);
  const axis = lossAxis(sane.length ? sane : all, title);
  const width = trials > 200 ? 0.8 : 1.2, alpha = trials > 200 ? 0.55 : 0.8;
  const traces = [...bins].map(([bin, held]) => ({
    ...held, mode: "lines", connectgaps: false, opacity: chosen === null ? alpha : 0.15 * alpha + 0.1, hovertemplate: "%{text}<extra></extra>",
    line: { width, color: bin < 0 ? colour("bad") : viridis(bin / BINS) },
  }));
  const marks = (status, marker) => traces.push({
    x: ends[status].map((e) => e[1]), y: ends[status].map((e) => axis.clipped(e[2])), customdata: ends[status].map((e) => e[0]),
    text: ends[status].map((e) => hover(e[0])), hovertemplate: "%{text}<extra></extra>", mode: "markers", cliponaxis: false, marker,
  });
  marks("pruned", { symbol: "circle-open", size: 6, color: colour("pruned") });
  marks("diverged", { symbol: "x", size: 7, color: colour("bad") });
  const lines = bins.size, own = (row) => (row === null ? { x: [], y: [] } : curveOf(row, steps, values));
  const bold = (row, tint) => ({ ...own(row), customdata: row === null ? [] : own(row).x.map(() => row), mode: "lines+markers", line: { width: 3, color: tint }, marker: { size: 4 }, hovertemplate: row === null ? "" : `${hover(row)}<extra></extra>` });
  if (data.best !== null) traces.push({ ...bold(data.best, colour("winner")), mode: "lines", line: { width: 2, color: colour("winner") } });
  traces.push(bold(chosen, colour("chosen")));
  draw(target, traces, { xaxis: { title: { text: "step" }, range: [0, data.steps * 1.02] }, yaxis: axis.layout });
  return (row) => {
    const made = bold(row, colour("chosen"));
    Plotly.restyle(target, { x: [made.x], y: [made.y], customdata: [made.customdata], hovertemplate: made.hovertemplate }, [traces.length - 1]);
    Plotly.restyle(target, { opacity: row === null ? alpha : 0.15 * alpha + 0.1 }, [...Array(lines).keys()]);
  };
}

function colourLegend(by) {
  const { axis } = colouring(by), entries = [["", "transparent", by]];
  if (axis.kind === "ordered") {
    const last = axis.distinct.length - 1;
    axis.distinct.forEach((value, i) => entries.push(["", viridis(last > 0 ? i / last : 0.35), number(value)]));
  } else {
    const back = (place) => (axis.kind === "linear" ? place : place === axis.low && axis.kind !== "log" ? 0 : Math.pow(10, place));
    const ramp = Array.from({ length: 9 }, (_, i) => viridis(i / 8)).join(", ");
    entries.push(["ramp", `linear-gradient(90deg, ${ramp})`, `${number(back(axis.low))} to ${number(back(axis.high))}${axis.kind === "linear" ? "" : ", log"}`]);
  }
  if (data.best !== null) entries.push(["", colour("winner"), "the winner"]);
  if (columns.status.includes("pruned")) entries.push(["mark", colour("pruned"), "pruned", "○"]);
  if (columns.status.includes("diverged")) entries.push(["mark", colour("bad"), "diverged", "×"]);
  legendOf(element("colours"), entries);
}

function curves() {
  const by = element("colour").value, name = element("metric").value;
  element("curves-note").textContent = `Training losses are means over stretches of ${Math.max(1, Math.round(data.steps / data.curves.steps.length))} steps.${notAll()}`;
  colourLegend(by);
  const marks = [drawCurves(element("train"), data.curves.steps, trainLosses, "training loss", by)];
  if (validMetrics[name]) {
    element("valid-caption").textContent = `Validation ${words(name)} by segment`;
    marks.push(drawCurves(element("valid"), data.valid.steps, validMetrics[name], words(name), by));
  } else sentence(element("valid"), "No validation was recorded.");
  return marks;
}
