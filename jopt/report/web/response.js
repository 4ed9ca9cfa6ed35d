// The last value of what ranks against each hyperparameter that varies.

// A path: a circle's corners in pixels are misread on a log axis.
const RING = "M0,-9 C5,-9 9,-5 9,0 C9,5 5,9 0,9 C-5,9 -9,5 -9,0 C-9,-5 -5,-9 0,-9 Z";
const LINES = 6; // settings of the others at most that each have a line

function mean(values) {
  return values.reduce((a, b) => a + b, 0) / values.length;
}

// Settings of which every trial is complete: x, their mean loss, its least and greatest.
function completeSettings(name) {
  const rows = new Map();
  data.setting.forEach((setting, row) => rows.set(setting, [...(rows.get(setting) || []), row]));
  const found = [];
  for (const own of rows.values()) {
    const losses = own.map((row) => columns[metric][row]);
    if (!own.every((row, i) => columns.status[row] === "complete" && losses[i] !== null)) continue;
    found.push({ rows: own, value: columns[name][own[0]], mean: mean(losses), low: Math.min(...losses), high: Math.max(...losses) });
  }
  return found;
}

// A line a setting of the others if they are few, or else the best at each value; none
// where values are rarely shared, or have no order.
function responseLines(name) {
  if (columns[name].some((value) => typeof value !== "number")) return [];
  const others = data.varying.filter((other) => other !== name);
  const settings = completeSettings(name);
  const groups = new Map();
  for (const setting of settings) {
    // In full, not by the label: rounded, different values would be one line.
    const values = JSON.stringify(others.map((other) => columns[other][setting.rows[0]]));
    groups.set(values, [...(groups.get(values) || []), setting]);
  }
  const several = (line) => new Set(line.map(({ value }) => value)).size > 1;
  const labelled = (line) => ({ label: described(line[0].rows[0], others) || "mean over its seeds", line });
  if (groups.size <= LINES) return [...groups.values()].map(labelled).filter(({ line }) => several(line));
  const best = new Map();
  for (const setting of settings) {
    const held = best.get(setting.value);
    if (!held || sign * setting.mean < sign * held.mean) best.set(setting.value, setting);
  }
  return best.size * 3 <= settings.length ? [{ label: "the best of the others", line: [...best.values()] }] : [];
}

// The value from which on, or up to which, trials diverged: none did on the other side,
// and of those on this side at least half. Null if there is no such value.
function divergenceEdge(name) {
  if (columns[name].some((value) => typeof value !== "number")) return null;
  const bad = columns[name].filter((_, row) => columns.status[row] === "diverged");
  if (!bad.length) return null;
  const ends = (values) => [values.reduce((a, b) => Math.min(a, b)), values.reduce((a, b) => Math.max(a, b))];
  const [first, last] = ends(bad), [low, high] = ends(columns[name]);
  const most = (beyond) => 2 * bad.length >= columns[name].filter(beyond).length;
  if (first > low && most((value) => value >= first)) return { value: first, text: `divergence from ${number(first)}`, right: true };
  return last < high && first === low && most((value) => value <= last) ? { value: last, text: `divergence up to ${number(last)}`, right: false } : null;
}

function drawResponse(name, target, legend) {
  const axis = axisOf(name), losses = columns[metric];
  const seen = losses.filter((v, row) => v !== null && columns.status[row] !== "diverged");
  const y = lossAxis([...seen, ...data.baselines.map(([, value]) => value)], words(metric));
  const lines = responseLines(name), traces = [], tinted = new Map();
  lines.forEach(({ line }, i) => {
    const tint = viridis(lines.length > 1 ? i / (lines.length - 1) : 0.35);
    line.forEach(({ rows }) => rows.forEach((row) => tinted.set(row, tint)));
    line.sort((a, b) => axis.place(a.value) - axis.place(b.value));
    const x = line.map(({ value }) => shownOn(axis, value));
    if (line.some(({ rows }) => rows.length > 1)) {
      const band = [...line.map((s) => s.high), ...line.map((s) => s.low).reverse()];
      traces.push({ x: [...x, ...[...x].reverse()], y: band, mode: "lines", line: { width: 0 }, fill: "toself", fillcolor: faded(tint, 0.22), hoverinfo: "skip" });
    }
    traces.push({ x, y: line.map((s) => s.mean), mode: "lines", line: { color: tint, width: 2 }, hoverinfo: "skip" });
  });
  const place = (row) => [shownOn(axis, columns[name][row], row), columns.status[row] === "diverged" ? y.top : losses[row]];
  const points = (rows, marker) => {
    const at = rows.map(place);
    traces.push({ x: at.map((p) => p[0]), y: at.map((p) => p[1]), customdata: rows, mode: "markers", marker, text: rows.map(hover), hovertemplate: "%{text}<extra></extra>" });
  };
  const of = (...statuses) => [...Array(trials).keys()].filter((row) => statuses.includes(columns.status[row]));
  const size = trials > 1000 ? 4 : trials > 200 ? 5 : 6, crowded = trials > 1000 ? 0.35 : 0.8;
  const done = of("complete");
  points(of("pruned", "interrupted"), { symbol: "circle-open", size, color: colour("pruned"), opacity: crowded });
  points(done, { size, color: done.map((row) => tinted.get(row) || viridis(0.35)), opacity: 0.85 });
  points(of("diverged"), { symbol: "x", size: size + 1, color: colour("bad") });
  if (data.best !== null) points([data.best], { symbol: "star", size: 17, color: colour("winner"), line: { color: colour("edge"), width: 1 } });
  const edge = divergenceEdge(name);
  const changes = { xaxis: xaxis(axis), yaxis: y.layout, margin: { l: 62, r: 14, t: 28, b: 24 }, shapes: [] };
  if (edge) {
    const at = axis.kind === "ordered" ? axis.place(edge.value) + (edge.right ? -0.5 : 0.5) : shownOn(axis, edge.value);
    changes.shapes.push({ type: "line", x0: at, x1: at, y0: 0, y1: 1, yref: "paper", line: { color: colour("bad"), width: 1, dash: "dash" } });
    legend.push(["mark", colour("bad"), edge.text, "┆"]);
  }
  data.baselines.forEach(([label, value], i) => {
    const line = { color: colour("quiet"), width: 1.5, dash: ["dash", "dot", "dashdot"][i % 3] };
    changes.shapes.push({ type: "line", name: "baseline", x0: 0, x1: 1, xref: "paper", y0: value, y1: value, line });
    legend.push(["mark", colour("quiet"), `${label} ${number(value)}`, "┄┈╌"[i % 3]]);
  });
  // A ring is a shape: to move it, unlike a point, leaves the thousands of others alone.
  const fixed = changes.shapes, ring = (row) => {
    if (row === null || columns[name][row] === null) return [];
    const [xanchor, yanchor] = place(row);
    const pixels = { xsizemode: "pixel", ysizemode: "pixel", xanchor, yanchor };
    return [{ type: "path", name: "chosen", path: RING, ...pixels, line: { color: colour("chosen"), width: 3 } }];
  };
  draw(target, traces, { ...changes, shapes: [...fixed, ...ring(chosen)] });
  lines.forEach(({ label }, i) => legend.push(["", viridis(lines.length > 1 ? i / (lines.length - 1) : 0.35), label]));
  return (row) => Plotly.relayout(target, { shapes: [...fixed, ...ring(row)] });
}

function legendOf(target, entries) {
  target.replaceChildren(...entries.map(([kind, tint, text, mark = ""]) => {
    const entry = make("span", ""), sign = make("i", mark, { class: kind, style: `--colour: ${tint}` });
    entry.append(sign, text);
    return entry;
  }));
}

function response() {
  const several = columns.seed.some((s) => s !== columns.seed[0]) || (columns.fold || []).some((f) => f !== columns.fold[0]);
  element("response-note").textContent = data.varying.length === 0
    ? "No hyperparameter varies."
    : `The ${"best_step" in columns ? "best" : "last"} ${words(metric)} of each trial${several ? "; a line is a mean over seeds and folds, its band from the least to the greatest" : ""}.${data.best === null ? "" : " ★ the winner."}${columns.status.includes("diverged") ? " × diverged." : ""}${columns.status.includes("pruned") ? " ○ pruned: its value when it was stopped." : ""} Click a point to follow its trial.`;
  return panels(element("response"), data.varying).map((figure, i) => {
    const legend = [], mark = drawResponse(data.varying[i], figure.querySelector(".plot"), legend);
    legendOf(figure.querySelector(".legend"), legend);
    return mark;
  });
}
