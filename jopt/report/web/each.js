// The best setting of each value that is no number or has a program of its own.

function buildEach() {
  if (!data.each.length) return;
  element("each-section").hidden = false;
  for (const [name, found] of data.each) {
    const figure = make("figure", ""), table = make("table", ""), head = make("tr", "");
    const others = data.varying.filter((other) => other !== name);
    head.append(...[name, metric, "trial", ...others].map((title) => make("th", words(title), { scope: "col" })));
    const rows = found.map(([value, row, mean]) => {
      const texts = row === null ? [value, "none", "", ...others.map(() => "")] : [value, mean, columns.trial[row], ...others.map((other) => columns[other][row])];
      const line = make("tr", "");
      line.append(...texts.map((text) => make("td", number(text))));
      if (row !== null) line.addEventListener("click", () => choose(row));
      return line;
    });
    table.createTHead().append(head);
    table.createTBody().append(...rows);
    const scroll = make("div", "", { class: "scroll", tabindex: "0", role: "region", "aria-label": `the best of each ${words(name)}` });
    scroll.append(table);
    figure.append(make("figcaption", words(name)), scroll);
    element("each").append(figure);
  }
}
