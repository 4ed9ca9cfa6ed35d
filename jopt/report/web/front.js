// The settings by two objectives, and the border of what they reach.

function front() {
  const found = data.front, target = element("front");
  if (!found) return [];
  element("front-section").hidden = false;
  element("front-note").textContent = "Settings that were trained to the end, means over seeds and folds. On the front are those that no other dominates: is as good in every objective, and better in one." + (found.best === null ? "" : " ★ the winner.");
  const at = (kind) => found.kinds.flatMap((own, i) => (own === kind ? [i] : []));
  const places = (rows) => ({ x: rows.map((i) => found.x.values[i]), y: rows.map((i) => found.y.values[i]) });
  const points = (rows, name, marker) => ({
    ...places(rows), name, mode: "markers", marker, customdata: rows.map((i) => found.trials[i]),
    text: rows.map((i) => hover(found.trials[i])), hovertemplate: "%{text}<extra></extra>",
  });
  const traces = [
    { ...places(found.line), mode: "lines", line: { shape: found.corners === "pre" ? "vh" : "hv", width: 2, color: colour("accent") }, hoverinfo: "skip", showlegend: false },
    points(at("dominated"), "dominated", { size: 7, color: colour("second") }),
    points(at("out of bounds"), "out of bounds", { size: 7, symbol: "circle-open", color: colour("pruned") }),
    points(at("front"), "front", { size: 9, color: colour("accent") }),
    points(found.best === null ? [] : [found.best], "best", { symbol: "star", size: 17, color: colour("winner"), line: { color: colour("edge"), width: 1 } }),
  ];
  const scale = (values) => (spansDecades(values.filter((_, i) => found.kinds[i])) ? { type: "log", exponentformat: "power" } : {});
  const axis = ({ title, values }) => ({ title: { text: plain(title) }, ...scale(values) });
  const dotted = { type: "line", line: { color: colour("bad"), width: 1, dash: "dot" } };
  const bounds = [
    ...found.x.bounds.map((end) => ({ ...dotted, x0: end, x1: end, y0: 0, y1: 1, yref: "paper" })),
    ...found.y.bounds.map((end) => ({ ...dotted, y0: end, y1: end, x0: 0, x1: 1, xref: "paper" })),
  ];
  const ring = (row) => {
    const i = row === null ? -1 : data.setting[row];
    if (i < 0 || !found.kinds[i]) return bounds;
    const place = { xsizemode: "pixel", ysizemode: "pixel", xanchor: found.x.values[i], yanchor: found.y.values[i] };
    return [...bounds, { type: "path", name: "chosen", path: RING, ...place, line: { color: colour("chosen"), width: 3 } }];
  };
  draw(target, traces.filter((trace) => trace.x.length), {
    xaxis: axis(found.x), yaxis: axis(found.y), shapes: ring(chosen), margin: { l: 62, r: 14, t: 30, b: 46 },
    showlegend: true, legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom" },
  });
  return (row) => Plotly.relayout(target, { shapes: ring(row) });
}
