// The best setting of each value that is no number or has a program of its own.

function buildEach() {
  if (!data.each.length) return;
  element("each-section").hidden = false;
  for (const [name, found] of data.each) {
    const figure = make("figure", ""), table = make("table", ""), head = make("tr", "");
    const align = (i) => (i ? {} : { class: "text" });
    head.append(...[name, metric, "trial"].map((title, i) => make("th", words(title), { scope: "col", ...align(i) })));
    const rows = found.map(([value, row, mean]) => {
      const line = make("tr", "");
      line.append(...[value, mean, row === null ? null : columns.trial[row]].map((text, i) => make("td", number(text), align(i))));
      if (row !== null) line.addEventListener("click", () => choose(row));
      return line;
    });
    table.createTHead().append(head);
    table.createTBody().append(...rows);
    const scroll = make("div", "", { class: "scroll", tabindex: "0", role: "region", "aria-label": `the best of each ${words(name)}` });
    scroll.append(table);
    figure.append(scroll);
    element("each").append(figure);
  }
}
