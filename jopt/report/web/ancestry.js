// Population-based training: each trial's hyperparameters by step.

// A line that stays at a value until the next; `until` ends it.
function stairs(stretches, at, until) {
  const x = [], y = [];
  stretches.forEach(([step, , values], i) => {
    const end = i + 1 < stretches.length ? stretches[i + 1][0] : until;
    x.push(step, end);
    y.push(values[at], values[at]);
  });
  return { x, y };
}

function drawAncestry(target, at) {
  const found = data.ancestry, all = found.trials.flatMap((own) => own.map(([, , values]) => values[at]));
  const end = (row) => Math.max(columns.steps[row], found.trials[row][found.trials[row].length - 1][0]);
  const rows = found.trials.map((_, row) => row), faint = { x: [], y: [], customdata: [], text: [] };
  const copies = { x: [], y: [], customdata: [], text: [] };
  for (const row of rows) {
    const { x, y } = stairs(found.trials[row], at, end(row)), text = hover(row);
    faint.x.push(...x, null), faint.y.push(...y, null);
    faint.customdata.push(...x.map(() => row), null), faint.text.push(...x.map(() => text), "");
    for (const [step, copied, values] of found.trials[row]) {
      if (!copied) continue;
      copies.x.push(step), copies.y.push(values[at]), copies.customdata.push(row), copies.text.push(text);
    }
  }
  const hovertemplate = "%{text}<extra></extra>";
  const traces = [
    { ...faint, hovertemplate, mode: "lines", line: { width: 1, color: colour("second") }, connectgaps: false },
  ];
  if (found.best) traces.push({ ...stairs(found.best, at, data.steps), hoverinfo: "skip", mode: "lines", line: { width: 4, color: colour("winner") } });
  traces.push({ ...copies, hovertemplate, mode: "markers", marker: { size: 6, color: colour("accent"), line: { color: colour("card"), width: 1 } } });
  const bold = (row) => (row === null ? { x: [], y: [] } : stairs(found.trials[row], at, end(row)));
  traces.push({ ...bold(chosen), mode: "lines", line: { width: 3, color: colour("chosen") }, hoverinfo: "skip" });
  draw(target, traces, { xaxis: { title: { text: "step" }, range: [0, data.steps * 1.02] }, yaxis: { type: spansDecades(all) ? "log" : "linear", exponentformat: "power" } });
  return (row) => Plotly.restyle(target, { x: [bold(row).x], y: [bold(row).y] }, [traces.length - 1]);
}

function ancestry() {
  if (!data.ancestry) return [];
  element("ancestry-section").hidden = false;
  return panels(element("ancestry"), data.ancestry.names).map((figure, i) => drawAncestry(figure.querySelector(".plot"), i));
}
