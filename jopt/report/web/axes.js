// Where the values of a column lie on an axis: in order, on a log axis, or as they are.

const FEW = 6; // values at most that are set side by side, whatever they are

function spansDecades(values) {
  const low = values.reduce((a, b) => Math.min(a, b), Infinity);
  return low > 0 && values.reduce((a, b) => Math.max(a, b), 0) > 30 * low;
}

// place(value): where it lies, in log10 on a log axis; low, high: the ends; ticks.
function axisOf(name, ordered = true) {
  const known = columns[name].filter((value) => value !== null);
  const distinct = [...new Set(known)];
  const numbers = distinct.every((value) => typeof value === "number");
  distinct.sort(numbers ? (a, b) => a - b : (a, b) => (String(a) < String(b) ? -1 : 1));
  if (!numbers || (ordered && distinct.length <= FEW)) {
    const places = new Map(distinct.map((value, i) => [value, i]));
    const ticks = { tickvals: distinct.map((_, i) => i), ticktext: distinct.map(number) };
    return { kind: "ordered", distinct, place: (value) => places.get(value), low: -0.5, high: distinct.length - 0.5, ticks };
  }
  const positive = distinct.filter((value) => value > 0);
  if (spansDecades(positive) && (distinct[0] > 0 || distinct[0] === 0)) return logAxis(positive, distinct[0] === 0);
  const low = distinct.length ? distinct[0] : 0, high = distinct.length ? distinct[distinct.length - 1] : 1;
  return { kind: "linear", place: (value) => value, low, high: high > low ? high : low + 1, ticks: {} };
}

// Powers of ten, and their two- and fivefold if those are few; both are in log10.
function logTicks(low, high) {
  const leap = Math.ceil((high - low) / 7), folds = high - low < 1.5 ? [1, 2, 5] : [1], found = [];
  for (let power = Math.floor(low); power < high + leap; power += leap) {
    found.push(...folds.map((fold) => Number((fold * Math.pow(10, power)).toPrecision(6))));
  }
  // The last at or below the least value, to the first at or above the greatest.
  const places = found.map((value) => Math.log10(value));
  const from = Math.max(0, places.findLastIndex((at) => at <= low + 1e-9)), to = places.findIndex((at) => at >= high - 1e-9);
  return found.slice(from, to < 0 ? found.length : to + 1);
}

// Zero, if there is one, lies a little left of the least positive value.
function logAxis(positive, zero) {
  const first = Math.log10(positive[0]), high = Math.log10(positive[positive.length - 1]);
  const ticks = logTicks(first, high), tickvals = ticks.map((value) => Math.log10(value)), ticktext = ticks.map(number);
  const low = zero ? Math.min(first, tickvals[0]) - Math.max(0.4, 0.08 * (high - first)) : first;
  if (zero) tickvals.unshift(low), ticktext.unshift("0");
  const place = (value) => (value > 0 ? Math.log10(value) : value === 0 && zero ? low : undefined);
  return { kind: zero ? "zero and log" : "log", place, low, high, ticks: { tickvals, ticktext } };
}

// A plain log axis is Plotly's own, whose ticks follow a zoom; others carry their ticks.
function shownOn(axis, value, row = null) {
  if (axis.kind === "log") return value;
  const place = axis.place(value);
  // Trials that share a value lie beside each other, each always at its own place.
  if (axis.kind !== "ordered" || row === null) return place;
  return place + 0.24 * (((row * 0.618034) % 1) - 0.5);
}

function xaxis(axis) {
  const pad = axis.kind === "ordered" ? 0 : 0.04 * (axis.high - axis.low || 1);
  const range = [axis.low - pad, axis.high + pad];
  if (axis.kind === "log") return { type: "log", range, ...decades(range) };
  const text = axis.ticks.ticktext ? { ticktext: axis.ticks.ticktext.map(plain) } : {};
  return { range, ...axis.ticks, ...text };
}

// Ticks at the powers of ten, and at their two- and fivefold where those are few.
function decades([low, high]) {
  return { exponentformat: "power", dtick: high - low > 1.6 ? Math.ceil((high - low) / 8) : "D2" };
}

// The axis of losses: its range from what did not diverge, with room above for crosses.
function lossAxis(values, title) {
  const known = values.filter((value) => Number.isFinite(value));
  const log = known.length > 0 && spansDecades(known);
  const scale = log ? Math.log10 : (value) => value;
  let low = Infinity, high = -Infinity;
  for (const value of known) {
    low = Math.min(low, scale(value));
    high = Math.max(high, scale(value));
  }
  if (!known.length) [low, high] = [0, 1];
  const pad = 0.06 * (high - low || 1);
  const back = (place) => (log ? Math.pow(10, place) : place);
  const range = [low - pad, high + 2.6 * pad];
  const clipped = (value) => (Number.isFinite(value) ? Math.min(value, back(high + 1.6 * pad)) : back(high + 1.6 * pad));
  return { top: back(high + 1.6 * pad), clipped, layout: { title: { text: title }, type: log ? "log" : "linear", range, ...(log ? decades(range) : {}) } };
}
