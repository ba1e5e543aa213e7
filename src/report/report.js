"use strict";
// Tables are sorted by a click on a heading, and back into their first order by the third.
for (const table of document.querySelectorAll("main > section > .scroll > table")) {
  const head = [...table.tHead.rows];
  const first = [...head[0].cells].filter((cell) => cell.rowSpan === head.length);
  const last = head.length > 1 ? [...head[head.length - 1].cells] : [];
  const headings = [...first, ...last];
  const body = table.tBodies[0];
  const rows = [...body.rows];
  headings.forEach((heading, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    heading.append(button);
    button.addEventListener("click", () => {
      const next = { none: "descending", descending: "ascending", ascending: "none" };
      const order = next[heading.getAttribute("aria-sort") || "none"];
      headings.forEach((other) => other.removeAttribute("aria-sort"));
      if (order !== "none") heading.setAttribute("aria-sort", order);
      const sign = order === "ascending" ? 1 : -1;
      const value = (row) => row.cells[column].dataset.value;
      const text = (row) => row.cells[column].textContent;
      const compare = (a, b) => {
        const [x, y] = [value(a), value(b)];
        if (x !== undefined && y !== undefined) return sign * (x - y);
        // What has no value stands below what has one, in either order.
        if (x !== undefined || y !== undefined) return x === undefined ? 1 : -1;
        return sign * text(a).localeCompare(text(b), "en", { numeric: true });
      };
      body.append(...(order === "none" ? rows : [...rows].sort(compare)));
    });
  });
}
