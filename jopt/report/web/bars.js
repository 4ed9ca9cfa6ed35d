// What mattered, and who went on: two figures of bars.

function importance() {
  const target = element("importance"), found = data.importance;
  if (found.sentence) return sentence(target, found.sentence), [];
  element("importance-note").textContent = "Optuna's evaluators. PED-ANOVA: what it takes to be among the best " + `${Math.round(100 * found.top)} %. `
    + (found.fanova ? "fANOVA: the share of the loss's variance, of its log if positive." : "fANOVA needs scikit-learn.");
  const order = found.names.map((_, i) => i).sort((a, b) => found.ped_anova[a] - found.ped_anova[b]);
  const bars = (values, name, tint) => ({
    type: "bar", orientation: "h", name, y: order.map((i) => plain(found.names[i])), x: order.map((i) => values[i]), marker: { color: tint },
    text: order.map((i) => `${Math.round(100 * values[i])} %`), textposition: "outside", cliponaxis: false, hovertemplate: `${name}: %{x:.1%}<extra>%{y}</extra>`,
  });
  const traces = [bars(found.ped_anova, "PED-ANOVA", colour("accent"))];
  if (found.fanova) traces.unshift(bars(found.fanova, "fANOVA", colour("second")));
  draw(target, traces, {
    showlegend: true, legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom", traceorder: "reversed" }, bargap: 0.3, margin: { l: 20, r: 40, t: 30, b: 34 },
    xaxis: { tickformat: ".0%", range: [0, 1.08], tickvals: [0, 0.25, 0.5, 0.75, 1] }, yaxis: { showgrid: false, ticks: "", ticksuffix: " " },
  }, STILL);
  return [];
}

function rungs() {
  const target = element("rungs"), { steps, trained, pruned, diverged, last } = data.rungs;
  const on = trained.map((count, i) => count - pruned[i] - diverged[i]), x = steps.map((_, i) => i + 1);
  const bars = (y, name, tint) => ({ type: "bar", x, y, name, marker: { color: tint }, customdata: steps, hovertemplate: `%{y} ${name}<extra>to step %{customdata}</extra>` });
  const traces = [bars(on, "alive at its end", colour("accent")), bars(pruned, "pruned", colour("pruned")), bars(diverged, "diverged", colour("bad"))];
  const outline = (row) => row === null || last[row] < 0 ? [] : [{
    type: "rect", xref: "x", yref: "y", x0: last[row] + 0.52, x1: last[row] + 1.48, y0: 0, y1: trained[last[row]], line: { color: colour("chosen"), width: 3 },
  }];
  const leap = Math.ceil(x.length / 10);
  draw(target, traces.filter((trace) => trace.y.some((count) => count > 0)), {
    barmode: "stack", bargap: 0.12, showlegend: true, legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom" }, margin: { l: 54, r: 14, t: 30, b: 46 }, shapes: outline(chosen),
    xaxis: { title: { text: "step at the segment's end" }, tickvals: x.filter((at) => (at - 1) % leap === leap - 1 || leap === 1), ticktext: steps.filter((_, i) => i % leap === leap - 1 || leap === 1).map(String), showgrid: false },
    yaxis: { title: { text: "trials" }, rangemode: "tozero" },
  }, STILL);
  return [(row) => Plotly.relayout(target, { shapes: outline(row) })];
}
