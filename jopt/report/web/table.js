// The table of all trials: sorted by a click on a title, what has no value last.

function buildTable() {
  const names = Object.keys(columns), body = element("table").tBodies[0], head = element("table").tHead;
  const isText = (name) => columns[name].some((value) => typeof value === "string");
  const rows = Array.from({ length: trials }, (_, row) => {
    const line = make("tr", "", { "data-trial": columns.trial[row] });
    line.classList.toggle("best", row === data.best);
    line.classList.toggle("out", columns.within_bounds?.[row] === false);
    for (const name of names) line.append(cell(name, row, isText(name)));
    line.addEventListener("click", () => choose(row));
    return line;
  });
  const titles = document.createElement("tr");
  names.forEach((name) => {
    const title = make("th", "", { scope: "col", "aria-sort": "none", ...(isText(name) ? { class: "text" } : {}) });
    const button = make("button", words(name), { type: "button" });
    button.addEventListener("click", () => sort(name, title));
    title.append(button);
    titles.append(title);
  });
  head.append(titles);
  body.append(...rows);

  function sort(name, title) {
    const up = title.getAttribute("aria-sort") !== "ascending", sign = up ? 1 : -1;
    for (const other of titles.children) other.setAttribute("aria-sort", "none");
    title.setAttribute("aria-sort", up ? "ascending" : "descending");
    const values = columns[name], order = rows.map((_, row) => row);
    order.sort((a, b) => {
      if (values[a] === null || values[b] === null) return (values[a] === null) - (values[b] === null);
      return values[a] < values[b] ? -sign : values[a] > values[b] ? sign : 0;
    });
    body.append(...order.map((row) => rows[row]));
  }

  let before = null;
  return (row) => {
    if (before !== null) rows[before].classList.remove("chosen");
    before = row;
    if (row === null) return;
    rows[row].classList.add("chosen");
    // Within the table's own window: the page stays where the reader is.
    const window = body.closest(".scroll"), top = rows[row].offsetTop, head = titles.offsetHeight;
    const seen = top >= window.scrollTop + head && top + rows[row].offsetHeight <= window.scrollTop + window.clientHeight;
    if (!seen) window.scrollTop = top - window.clientHeight / 2;
  };
}

function cell(name, row, text) {
  const made = make("td", "", { title: String(columns[name][row] ?? "none"), ...(text ? { class: "text" } : {}) });
  if (name === "trial") {
    const button = make("button", number(columns.trial[row]), { type: "button", "aria-label": `highlight trial ${columns.trial[row]}` });
    made.append(button); // its click reaches the row
  } else if (name === "status") {
    made.append(make("span", "", { class: "dot", style: `--colour: var(--${{ diverged: "bad", pruned: "pruned", complete: "accent" }[columns.status[row]] || "quiet"})` }), columns.status[row]);
  } else made.textContent = number(columns[name][row]);
  return made;
}
