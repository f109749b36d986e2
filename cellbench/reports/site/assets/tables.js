"use strict";
// Tables with column heads that sort the rows: by number in columns of class "n", else by text.
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const keyed = [...body.rows].map((row) => {
        const text = row.cells[column].textContent.trim();
        const scale = {k: 1e3, M: 1e6, G: 1e9, min: 60, h: 3600}[text.split(" ")[1]] || 1;
        const number = parseFloat(text.replace("−", "-")) * scale;
        return {row, text, number};
      });
      const numeric = head.classList.contains("n");
      keyed.sort((x, y) => {
        if (!numeric) return x.text.localeCompare(y.text) * (down ? -1 : 1);
        if (isNaN(x.number) || isNaN(y.number)) return isNaN(x.number) - isNaN(y.number);
        return (x.number - y.number) * (down ? -1 : 1);
      });
      body.append(...keyed.map((each) => each.row));
    });
  });
}
