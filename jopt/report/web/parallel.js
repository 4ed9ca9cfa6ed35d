// Parallel coordinates of what varies and of the metrics.

const FULL = 0.9; // of the colour scale; what is above is the chosen trial, drawn last

const BOLD = [-2, -1, 0, 1, 2]; // lines have one width: the chosen one is several, side by side

// The trials drawn: those of the curves, and the chosen one.
function drawn(row) {
  return row === null ? data.shown : [...data.shown, ...BOLD.map(() => row)];
}

// A column's places on its axis; what has no value lies above the others.
function dimension(name, ordered, rows) {
  const axis = axisOf(name, ordered);
  const ticks = axis.ticks.tickvals ? axis.ticks : linearTicks(axis.low, axis.high), missing = columns[name].includes(null);
  // An axis is drawn from its first to its last tick: they enclose all values.
  const [low, end] = axis.kind === "ordered" ? [axis.low + 0.25, axis.high - 0.25] : [ticks.tickvals[0], ticks.tickvals[ticks.tickvals.length - 1]];
  const high = missing ? end + 0.08 * (end - low) : end;
  const beside = (i) => (i < data.shown.length ? 0 : BOLD[i - data.shown.length] * 0.002 * (high - low));
  const place = (value) => (value === null ? high : axis.place(value));
  const values = rows.map((row, i) => place(columns[name][row]) + beside(i));
  return {
    label: words(name), values, range: [low, high],
    tickvals: missing ? [...ticks.tickvals, high] : ticks.tickvals,
    ticktext: missing ? [...ticks.ticktext, "none"] : ticks.ticktext,
  };
}

function linearTicks(low, high) {
  const rough = (high - low) / 5, power = Math.pow(10, Math.floor(Math.log10(rough)));
  const leap = [1, 2, 5, 10].map((m) => m * power).find((step) => step >= rough);
  const tickvals = [];
  for (let at = Math.floor(low / leap + 1e-9) * leap; at < high + (1 - 1e-9) * leap; at += leap) tickvals.push(at);
  return { tickvals, ticktext: tickvals.map(number) };
}

// Ranks and not values: a few huge losses leave colours for the others. The best is
// highest, and to the third power only few are near it.
function losses() {
  const known = columns[metric].map((value, row) => [value, row]).filter(([value]) => value !== null);
  const shares = new Array(trials).fill(0);
  known.sort((a, b) => sign * (b[0] - a[0])).forEach(([, row], i) => (shares[row] = FULL * Math.pow((i + 1) / known.length, 3)));
  return shares;
}

function parallelLine(row) {
  const all = losses(), best = Number(colour("best")); // the end of the colours that stands out
  const quiet = colour("grid"), ends = [0, 0.2, 0.4, 0.6, 0.8, 1];
  const scale = row === null
    ? ends.map((at) => [at * FULL, viridis(best ? at : 1 - at)])
    : [[0, quiet], [FULL, colour("second")]];
  const shares = drawn(row).map((at) => (at === row ? 1 : all[at]));
  const last = row === null ? viridis(best) : colour("chosen");
  return { color: shares, cmin: 0, cmax: 1, colorscale: [...scale, [0.95, last], [1, last]] };
}

function hasWebGL() {
  const canvas = document.createElement("canvas"), context = canvas.getContext("webgl");
  if (context && context.getExtension("WEBGL_lose_context")) context.getExtension("WEBGL_lose_context").loseContext();
  return context !== null;
}

function parallel() {
  element("parallel-note").textContent = `A line is a trial, the strongest colour the best ${words(metric)}. Drag along an axis to keep a range; drag a title to move an axis.${notAll()}`;
  const target = element("parallel"), metrics = Object.keys(columns).filter((name) => name.startsWith("valid_") && columns[name].some((value) => value !== null));
  if (!data.varying.length) return sentence(target, "No hyperparameter varies."), [];
  if (!hasWebGL()) return sentence(target, "This figure needs WebGL, which this browser has not; the table below has the same."), [];
  const names = [...data.varying, ...metrics];
  const dimensions = (row) => names.map((name) => dimension(name, data.varying.includes(name), drawn(row)));
  const first = !target.classList.contains("js-plotly-plot");
  const trace = { type: "parcoords", dimensions: dimensions(chosen), line: parallelLine(chosen), labelside: "top", tickfont: { size: 11 }, labelangle: names.length > 8 ? -20 : 0, unselected: { line: { color: colour("grid"), opacity: 0.3 } } };
  draw(target, [trace], { margin: { l: 64, r: 48, t: names.length > 8 ? 90 : 56, b: 22 } }, STILL);
  if (first) {
    // Parallel coordinates tell what the pointer is over, and nothing of clicks.
    let over = null, down = null;
    target.on("plotly_hover", (event) => (over = event.curveNumber));
    target.on("plotly_unhover", () => (over = null));
    target.addEventListener("mousedown", (event) => (down = [event.clientX, event.clientY, over]), true);
    target.addEventListener("mouseup", (event) => {
      const still = down && Math.hypot(event.clientX - down[0], event.clientY - down[1]) < 4;
      if (still && Number.isInteger(down[2])) choose(drawn(chosen)[down[2]]);
    }, true);
  }
  return [(row) => {
    // Only values change: ranges that a reader dragged, and the order of axes, stay.
    const made = dimensions(row), at = (label) => made.find((held) => held.label === label);
    const moved = Object.fromEntries(target.data[0].dimensions.map(({ label }, i) => [`dimensions[${i}].values`, [at(label).values]]));
    Plotly.restyle(target, { line: [parallelLine(row)], ...moved }, [0]);
  }];
}
