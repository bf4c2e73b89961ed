"use strict";
const key = (row, column) => {
  const cell = row.cells[column];
  return cell.dataset.sort ?? cell.textContent.trim();
};
const words = new Intl.Collator("en", { numeric: true, sensitivity: "base" });
const sort = (table, column, head) => {
  const isNumber = head.classList.contains("number");
  const before = head.getAttribute("aria-sort");
  const first = isNumber ? "descending" : "ascending";
  const other = isNumber ? "ascending" : "descending";
  const order = before === first ? other : first;
  const sign = order === "ascending" ? 1 : -1;
  const body = table.tBodies[0];
  const rows = [...body.rows];
  rows.sort((one, two) => {
    const [a, b] = [key(one, column), key(two, column)];
    return sign * (isNumber ? a - b : words.compare(a, b));
  });
  body.append(...rows);
  for (const cell of table.tHead.rows[0].cells) cell.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", order);
};
const filter = (table) => {
  const rows = [...table.tBodies[0].rows];
  if (rows.length < 12) return;
  const label = document.createElement("label");
  const input = document.createElement("input");
  const count = document.createElement("output");
  input.type = "search";
  label.append(`Filter ${table.dataset.noun} `, input);
  const line = document.createElement("p");
  line.className = "filter";
  line.append(label, " ", count);
  table.parentElement.before(line);
  input.addEventListener("input", () => {
    const wanted = input.value.toLowerCase();
    for (const row of rows) row.hidden = !row.textContent.toLowerCase().includes(wanted);
    const shown = rows.filter((row) => !row.hidden).length;
    count.textContent = wanted ? `${shown} of ${rows.length}` : "";
  });
};
for (const table of document.querySelectorAll("table.sortable")) {
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    button.addEventListener("click", () => sort(table, column, head));
    head.append(button);
  });
  filter(table);
}
